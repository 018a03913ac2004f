//! SQLite's errors, by their codes, as the errors of every store.

use firefly_eventstore_core::{Error, ErrorKind};
use rusqlite::ffi;

/// The error of every store that an error of SQLite's is. By code, never by text.
pub(crate) fn classify(error: rusqlite::Error) -> Error {
    let kind = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => by_code(failure.extended_code),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => ErrorKind::Integrity {
            event_id: None,
            reason: "a stored value has the wrong type".into(),
        },
        _ => ErrorKind::Backend {
            reason: "SQLite could not run the statement".into(),
        },
    };
    Error::new(kind).with_source(error)
}

fn by_code(extended_code: i32) -> ErrorKind {
    match extended_code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => ErrorKind::Unavailable {
            reason: "the database is locked by another connection for longer than the busy timeout".into(),
        },
        ffi::SQLITE_FULL => ErrorKind::StorageFull,
        ffi::SQLITE_READONLY => ErrorKind::ReadOnly,
        ffi::SQLITE_PERM | ffi::SQLITE_AUTH => ErrorKind::PermissionDenied,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => ErrorKind::Integrity {
            event_id: None,
            reason: "the file is damaged, or is not an SQLite database; restore it from a backup".into(),
        },
        ffi::SQLITE_CANTOPEN => ErrorKind::Unavailable {
            reason: "the file cannot be opened: it or its directory does not exist, is no file, or may not be read"
                .into(),
        },
        ffi::SQLITE_IOERR | ffi::SQLITE_NOMEM => ErrorKind::Unavailable {
            reason: "the operating system could not read or write the file".into(),
        },
        ffi::SQLITE_CONSTRAINT => ErrorKind::Backend {
            reason: "a constraint of the schema was violated".into(),
        },
        _ => ErrorKind::Backend {
            reason: "SQLite could not run the statement".into(),
        },
    }
}

/// Whether a unique key was violated.
pub(crate) fn is_unique_violation(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error(),
        Some(failure) if matches!(
            failure.extended_code,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID
        )
    )
}

/// No pooled connection became free in time, or none could be opened.
pub(crate) fn pool(error: r2d2::Error) -> Error {
    Error::new(ErrorKind::PoolTimeout).with_source(error)
}
