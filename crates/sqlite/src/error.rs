//! SQLite's errors, by their codes, as the errors of every store.

use firefly_eventstore_core::backend::kinds::{altered, backend, damaged, invalid, unavailable};
use firefly_eventstore_core::{Error, ErrorKind};
use rusqlite::ffi;

/// Converts an error of the driver to an error of a store. Its [kind](ErrorKind) follows from SQLite's code, never from a text. The driver's
/// error is the source. Use it for your own statements within a transaction, so that they return the same errors as the store.
///
/// ```
/// use firefly_eventstore_core::Error;
/// use firefly_eventstore_sqlite::{SqliteTransaction, classify};
///
/// fn count_down(transaction: &mut SqliteTransaction<'_>) -> Result<(), Error> {
///     let sql = "UPDATE seats SET free = free - 1";
///     transaction.connection().execute(sql, []).map_err(classify)?;
///     Ok(())
/// }
/// ```
#[must_use]
pub fn classify(error: rusqlite::Error) -> Error {
    Error::new(kind_of(&error)).with_source(error)
}

/// The kind of an error of SQLite.
pub(crate) fn kind_of(error: &rusqlite::Error) -> ErrorKind {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => damaged("a stored value has the wrong type"),
        other => by_code(extended_code(other).unwrap_or(ffi::SQLITE_ERROR)),
    }
}

/// An error of preparing one of this crate's statements. The statements are fixed, so the tables must have been changed.
pub(crate) fn classify_preparing(error: rusqlite::Error) -> Error {
    if !is_logic_error(&error) {
        return classify(error);
    }
    altered("a statement does not fit the tables: another program has changed them, or the file is damaged")
        .with_source(error)
}

/// An error while the rows of a prepared query are read. Such a query fails only on a damaged value, such as metadata that is not JSON.
pub(crate) fn classify_reading(error: rusqlite::Error) -> Error {
    let by_a_function = extended_code(&error) == Some(ffi::SQLITE_CONSTRAINT_FUNCTION);
    if !is_logic_error(&error) && !by_a_function {
        return classify(error);
    }
    Error::new(damaged("a stored value is damaged")).with_source(error)
}

fn is_logic_error(error: &rusqlite::Error) -> bool {
    extended_code(error) == Some(ffi::SQLITE_ERROR)
}

/// SQLite's code, or `None` if rusqlite made the error.
fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) | rusqlite::Error::SqlInputError { error: failure, .. } => {
            Some(failure.extended_code)
        }
        _ => None,
    }
}

/// The kind of a result code of SQLite. Only codes after which the same call may succeed later are `Unavailable`.
fn by_code(extended_code: i32) -> ErrorKind {
    let io = |reason: &str| ErrorKind::Io { reason: reason.into() };
    match extended_code {
        ffi::SQLITE_BUSY_SNAPSHOT => {
            return invalid(
                "the transaction has read data that another connection has changed since, so it cannot write; roll it back, begin it with BEGIN IMMEDIATE, and repeat all of it",
            );
        }
        ffi::SQLITE_READONLY_DBMOVED => {
            return ErrorKind::Moved {
                reason: "the file of the open store no longer exists; find out why, then open the store again".into(),
            };
        }
        ffi::SQLITE_IOERR_NOMEM => return by_code(ffi::SQLITE_NOMEM),
        ffi::SQLITE_IOERR_LOCK
        | ffi::SQLITE_IOERR_RDLOCK
        | ffi::SQLITE_IOERR_UNLOCK
        | ffi::SQLITE_IOERR_BLOCKED
        | ffi::SQLITE_IOERR_CHECKRESERVEDLOCK => {
            return unavailable("the operating system could not lock the file");
        }
        ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_CORRUPTFS => return by_code(ffi::SQLITE_CORRUPT),
        _ => {}
    }
    match extended_code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => {
            unavailable("the database is locked by another connection for longer than the busy timeout")
        }
        ffi::SQLITE_SCHEMA => unavailable("the tables are being changed by another connection"),
        ffi::SQLITE_INTERRUPT => unavailable("the statement was interrupted"),
        ffi::SQLITE_NOMEM => unavailable("there is not enough memory"),
        ffi::SQLITE_FULL => ErrorKind::StorageFull,
        ffi::SQLITE_READONLY => ErrorKind::ReadOnly,
        ffi::SQLITE_PERM | ffi::SQLITE_AUTH => ErrorKind::PermissionDenied,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_FORMAT | ffi::SQLITE_TOOBIG => {
            damaged("the file is damaged, or is not an SQLite database; restore it from a backup")
        }
        ffi::SQLITE_CANTOPEN => io(
            "a file of the database, or a temporary one, cannot be opened; give the program the right to use them and their \
             directory, and to have enough files open",
        ),
        // A commit whose sync failed may be stored nevertheless. So this is not retryable: check the disk first.
        ffi::SQLITE_IOERR => io(
            "the operating system could not read or write the file, and it is unknown whether the last commit is stored; check the disk, \
             then repeat the append, which stores its events once",
        ),
        ffi::SQLITE_NOLFS => io("the file is larger than the file system, or the operating system, can read or write"),
        ffi::SQLITE_CONSTRAINT => backend("a constraint of the schema was violated"),
        _ => backend("SQLite could not run the statement"),
    }
}

/// The driver's error in an error of a store.
fn driver_error(error: &Error) -> Option<&rusqlite::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether a file could not be opened, or its write-ahead log cannot be read.
pub(crate) fn is_about_files(error: &Error) -> bool {
    let code = driver_error(error).and_then(extended_code).unwrap_or(ffi::SQLITE_OK);
    matches!(code & 0xff, ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY)
}

/// An error of a statement that writes: a value that is too large was refused, and not stored.
pub(crate) fn classify_writing(error: rusqlite::Error) -> Error {
    if extended_code(&error) != Some(ffi::SQLITE_TOOBIG) {
        return classify(error);
    }
    Error::invalid("it is larger than SQLite can keep: 1 GB in a row").with_source(error)
}

/// Whether the program interrupted the statement.
pub(crate) fn is_interrupted(error: &rusqlite::Error) -> bool {
    extended_code(error) == Some(ffi::SQLITE_INTERRUPT)
}

/// Whether a statement was refused because of a unique key.
pub(crate) fn is_refused(error: &Error) -> bool {
    driver_error(error).is_some_and(is_unique_violation)
}

/// Whether a unique key was violated.
pub(crate) fn is_unique_violation(error: &rusqlite::Error) -> bool {
    matches!(
        extended_code(error),
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_code(code: i32) -> Error {
        classify(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn every_result_code_says_what_to_do() {
        type Means = fn(&Error) -> bool;
        let table: &[(Means, &[i32])] = &[
            (
                Error::is_retryable,
                &[
                    ffi::SQLITE_BUSY,
                    ffi::SQLITE_BUSY_RECOVERY,
                    ffi::SQLITE_BUSY_TIMEOUT,
                    ffi::SQLITE_LOCKED,
                    ffi::SQLITE_LOCKED_SHAREDCACHE,
                    ffi::SQLITE_LOCKED_VTAB,
                    ffi::SQLITE_PROTOCOL,
                    ffi::SQLITE_SCHEMA,
                    ffi::SQLITE_INTERRUPT,
                    ffi::SQLITE_NOMEM,
                    ffi::SQLITE_IOERR_NOMEM,
                    ffi::SQLITE_IOERR_LOCK,
                    ffi::SQLITE_IOERR_RDLOCK,
                    ffi::SQLITE_IOERR_UNLOCK,
                    ffi::SQLITE_IOERR_BLOCKED,
                    ffi::SQLITE_IOERR_CHECKRESERVEDLOCK,
                ],
            ),
            (Error::is_invalid_input, &[ffi::SQLITE_BUSY_SNAPSHOT]),
            (Error::is_moved, &[ffi::SQLITE_READONLY_DBMOVED]),
            (
                |error| *error.kind() == ErrorKind::ReadOnly,
                &[
                    ffi::SQLITE_READONLY,
                    ffi::SQLITE_READONLY_CANTINIT,
                    ffi::SQLITE_READONLY_CANTLOCK,
                    ffi::SQLITE_READONLY_DIRECTORY,
                    ffi::SQLITE_READONLY_RECOVERY,
                    ffi::SQLITE_READONLY_ROLLBACK,
                ],
            ),
            (|error| *error.kind() == ErrorKind::StorageFull, &[ffi::SQLITE_FULL]),
            (
                |error| *error.kind() == ErrorKind::PermissionDenied,
                &[ffi::SQLITE_PERM, ffi::SQLITE_AUTH, ffi::SQLITE_AUTH_USER],
            ),
            (
                Error::is_integrity,
                &[
                    ffi::SQLITE_CORRUPT,
                    ffi::SQLITE_CORRUPT_INDEX,
                    ffi::SQLITE_CORRUPT_SEQUENCE,
                    ffi::SQLITE_CORRUPT_VTAB,
                    ffi::SQLITE_NOTADB,
                    ffi::SQLITE_FORMAT,
                    ffi::SQLITE_TOOBIG,
                    ffi::SQLITE_IOERR_DATA,
                    ffi::SQLITE_IOERR_CORRUPTFS,
                ],
            ),
            (
                |error| matches!(error.kind(), ErrorKind::Io { .. }),
                &[
                    ffi::SQLITE_CANTOPEN,
                    ffi::SQLITE_CANTOPEN_CONVPATH,
                    ffi::SQLITE_CANTOPEN_DIRTYWAL,
                    ffi::SQLITE_CANTOPEN_FULLPATH,
                    ffi::SQLITE_CANTOPEN_ISDIR,
                    ffi::SQLITE_CANTOPEN_NOTEMPDIR,
                    ffi::SQLITE_CANTOPEN_SYMLINK,
                    ffi::SQLITE_IOERR,
                    ffi::SQLITE_IOERR_ACCESS,
                    ffi::SQLITE_IOERR_CLOSE,
                    ffi::SQLITE_IOERR_DELETE,
                    ffi::SQLITE_IOERR_DIR_FSYNC,
                    ffi::SQLITE_IOERR_FSTAT,
                    ffi::SQLITE_IOERR_FSYNC,
                    ffi::SQLITE_IOERR_MMAP,
                    ffi::SQLITE_IOERR_READ,
                    ffi::SQLITE_IOERR_SEEK,
                    ffi::SQLITE_IOERR_SHMLOCK,
                    ffi::SQLITE_IOERR_SHMMAP,
                    ffi::SQLITE_IOERR_SHMOPEN,
                    ffi::SQLITE_IOERR_SHMSIZE,
                    ffi::SQLITE_IOERR_SHORT_READ,
                    ffi::SQLITE_IOERR_TRUNCATE,
                    ffi::SQLITE_IOERR_WRITE,
                    ffi::SQLITE_NOLFS,
                ],
            ),
            (
                |error| matches!(error.kind(), ErrorKind::Backend { .. }),
                &[
                    ffi::SQLITE_ERROR,
                    ffi::SQLITE_ERROR_MISSING_COLLSEQ,
                    ffi::SQLITE_ERROR_RETRY,
                    ffi::SQLITE_ERROR_SNAPSHOT,
                    ffi::SQLITE_INTERNAL,
                    ffi::SQLITE_ABORT,
                    ffi::SQLITE_ABORT_ROLLBACK,
                    ffi::SQLITE_NOTFOUND,
                    ffi::SQLITE_EMPTY,
                    ffi::SQLITE_CONSTRAINT,
                    ffi::SQLITE_CONSTRAINT_CHECK,
                    ffi::SQLITE_CONSTRAINT_UNIQUE,
                    ffi::SQLITE_CONSTRAINT_TRIGGER,
                    ffi::SQLITE_MISMATCH,
                    ffi::SQLITE_MISUSE,
                    ffi::SQLITE_RANGE,
                ],
            ),
        ];
        for (means, codes) in table {
            for code in *codes {
                let error = of_code(*code);
                assert!(means(&error), "{code}: {error:?}");
                assert!(std::error::Error::source(&error).is_some(), "{code}");
            }
        }
        let errors: Vec<i32> = table
            .iter()
            .flat_map(|(_, codes)| *codes)
            .map(|code| code & 0xff)
            .collect();
        assert!(
            (1..=26).all(|code| errors.contains(&code)),
            "a result code is not in the table"
        );
    }
}
