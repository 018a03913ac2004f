//! Kinds of errors, with why: for drivers, which find them by the codes of their databases.

use crate::{Error, ErrorKind, EventEnvelope, SchemaProblem};

/// The database cannot be reached or is busy. The call may be repeated.
#[must_use]
pub fn unavailable(reason: impl Into<Box<str>>) -> ErrorKind {
    ErrorKind::Unavailable { reason: reason.into() }
}

/// The database does not take a value.
#[must_use]
pub fn invalid(reason: impl Into<Box<str>>) -> ErrorKind {
    ErrorKind::InvalidInput { reason: reason.into() }
}

/// An error of the database that has no other kind.
#[must_use]
pub fn backend(reason: impl Into<Box<str>>) -> ErrorKind {
    ErrorKind::Backend { reason: reason.into() }
}

/// Stored data is damaged, and it is not known which.
#[must_use]
pub fn damaged(reason: impl Into<Box<str>>) -> ErrorKind {
    ErrorKind::Integrity {
        event_id: None,
        global_sequence: None,
        reason: reason.into(),
    }
}

/// The schema was changed by another program.
#[must_use]
pub fn altered(reason: impl Into<Box<str>>) -> Error {
    Error::new(ErrorKind::Schema(SchemaProblem::Altered { reason: reason.into() }))
}

/// An event contradicts a stored one.
pub(super) fn contradiction(event: &EventEnvelope, reason: String) -> Error {
    Error::new(ErrorKind::Contradiction {
        event_id: event.event_id,
        global_sequence: event.global_sequence,
        reason: reason.into(),
    })
}
