//! SQLite's errors, by their codes, as the errors of every store.

use firefly_eventstore_core::{Error, ErrorKind, SchemaProblem};
use rusqlite::ffi;

/// The error of every store that an error of SQLite's is. By code, never by text.
pub(crate) fn classify(error: rusqlite::Error) -> Error {
    let kind = match &error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => damaged("a stored value has the wrong type"),
        other => by_code(extended_code(other).unwrap_or(ffi::SQLITE_ERROR)),
    };
    Error::new(kind).with_source(error)
}

/// An error when one of this crate's statements is prepared: they are fixed, so the tables are not ours any more.
pub(crate) fn classify_preparing(error: rusqlite::Error) -> Error {
    if !is_logic_error(&error) {
        return classify(error);
    }
    Error::new(ErrorKind::Schema(SchemaProblem::Altered {
        reason: "a statement does not fit the tables; somebody changed them, or the file is damaged".into(),
    }))
    .with_source(error)
}

/// An error while the rows of a prepared query are read: such a query fails by itself only on a value that is not what it
/// was, such as metadata that is no JSON any more.
pub(crate) fn classify_reading(error: rusqlite::Error) -> Error {
    if !is_logic_error(&error) {
        return classify(error);
    }
    Error::new(damaged("a stored value is damaged")).with_source(error)
}

fn is_logic_error(error: &rusqlite::Error) -> bool {
    extended_code(error) == Some(ffi::SQLITE_ERROR)
}

/// SQLite's own code; none of an error that rusqlite found.
fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) | rusqlite::Error::SqlInputError { error: failure, .. } => {
            Some(failure.extended_code)
        }
        _ => None,
    }
}

fn damaged(reason: &str) -> ErrorKind {
    ErrorKind::Integrity {
        event_id: None,
        global_sequence: None,
        reason: reason.into(),
    }
}

fn by_code(extended_code: i32) -> ErrorKind {
    match extended_code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => ErrorKind::Unavailable {
            reason: "the database is locked by another connection for longer than the busy timeout".into(),
        },
        ffi::SQLITE_FULL => ErrorKind::StorageFull,
        ffi::SQLITE_READONLY => ErrorKind::ReadOnly,
        ffi::SQLITE_PERM | ffi::SQLITE_AUTH => ErrorKind::PermissionDenied,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_FORMAT | ffi::SQLITE_TOOBIG => {
            damaged("the file is damaged, or is not an SQLite database; restore it from a backup")
        }
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
        extended_code(error),
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID)
    )
}

/// No pooled connection became free in time, or none could be opened.
pub(crate) fn pool(error: r2d2::Error) -> Error {
    Error::new(ErrorKind::PoolTimeout).with_source(error)
}
