//! PostgreSQL's errors, by their codes, as the errors of every store.

use std::error::Error as _;
use std::io;

use firefly_eventstore_core::backend::kinds::{backend, damaged, invalid, unavailable};
use firefly_eventstore_core::{Error, ErrorKind, SchemaProblem};
use postgres::error::SqlState;

/// Converts an error of the driver to an error of a store. Its [kind](ErrorKind) follows from the database's code, never from a text. The
/// driver's error is the source. Use it for your own statements within a transaction, so that they return the same errors as the store.
///
/// ```
/// use firefly_eventstore_core::Error;
/// use firefly_eventstore_postgres::{PostgresTransaction, classify};
///
/// fn count_down(transaction: &mut PostgresTransaction<'_>) -> Result<(), Error> {
///     let sql = "UPDATE seats SET free = free - 1";
///     transaction.connection().execute(sql, &[]).map_err(classify)?;
///     Ok(())
/// }
/// ```
#[must_use]
pub fn classify(error: postgres::Error) -> Error {
    Error::new(kind_of(&error)).with_source(error)
}

/// The kind of an error of PostgreSQL.
pub(crate) fn kind_of(error: &postgres::Error) -> ErrorKind {
    match error.code() {
        Some(_) if is_stale(error) => {
            unavailable("a table was changed since the statement was prepared, or the statement is not there any more")
        }
        Some(_) if is_beyond_bound(error) => unavailable(
            "the log is being divided, and appends have reached the end of its last partition: if this lasts, a process died; run maintain, \
             or the conversion again",
        ),
        Some(code) => by_code(code),
        None if is_lost(error) => unavailable("the connection to the server was lost, or could not be made"),
        None => backend("the driver could not run the statement"),
    }
}

/// The driver's error that is the source of this error.
pub(crate) fn driver_error(error: &Error) -> Option<&postgres::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the connection is lost, so that it is unknown whether the statement ran.
pub(crate) fn is_lost(error: &postgres::Error) -> bool {
    error.code().is_some_and(ends_the_session)
        || error.is_closed()
        || error.source().is_some_and(|source| source.is::<io::Error>())
}

/// The error of a connection that could not be made.
pub(crate) fn classify_connecting(error: postgres::Error) -> Error {
    // An I/O error that comes neither from the server nor from the network. TLS libraries report a bad certificate in this way.
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let is_refused_here = io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
    // The driver made this error, not the operating system.
    if io.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()) {
        return Error::new(unavailable(
            "no server that answered is the one to write to: it is a standby that is not promoted yet, or its role may only read \
             (of several hosts, the one that accepts writes is taken, unless the store is opened with read_replica or the URL \
             says target_session_attrs)",
        ))
        .with_source(error);
    }
    if error.code().is_some() || (is_lost(&error) && !is_refused_here) {
        return classify(error);
    }
    let reason = "no connection could be made: TLS failed, or the server wants what the configuration does not have";
    Error::new(backend(reason)).with_source(error)
}

/// The error of proving the mark, which is not possible in recovery.
pub(crate) fn classify_mark(error: postgres::Error) -> Error {
    if error.code() != Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) {
        return classify(error);
    }
    let reason = "this PostgreSQL server is a standby, or is in recovery: it shows neither the sequence nor the locks of appends, so it cannot prove the high-water mark; read on the primary, or publish the mark there (publish_mark) and open this store with read_replica";
    Error::new(ErrorKind::Unprovable { reason: reason.into() }).with_source(error)
}

/// Whether the server ended the session: an administrator asked for it, the server restarts, or the session was idle for too long.
fn ends_the_session(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("57P") || code.starts_with("08") || code == "25P03" || code == "25P04"
}

fn by_code(code: &SqlState) -> ErrorKind {
    match code.code() {
        "25006" => ErrorKind::ReadOnly,
        "25P02" => backend(
            "a statement of the transaction failed before: nothing of it is kept; pass the error of that one on",
        ),
        "25P01" => backend("the transaction had ended before its work did; do not commit or roll back within it"),
        "25P03" | "25P04" | "57P05" => unavailable(
            "the server ended the connection, which was idle or in a transaction for longer than it allows; nothing of the transaction is \
             kept",
        ),
        "42501" | "28000" | "28P01" => ErrorKind::PermissionDenied,
        "53100" => ErrorKind::StorageFull,
        "53300" => unavailable("the server accepts no more connections"),
        "57014" => unavailable("the server cancelled the statement, because of its statement timeout or on request"),
        "57P04" => backend("the database was dropped"),
        "55006" | "55P03" | "40P01" => unavailable("another transaction held a lock for too long"),
        "40001" | "40003" => unavailable(BEGIN_ANEW),
        "3D000" => backend("the server has no such database; create it first"),
        "42P01" | "42703" | "42883" | "3F000" | "42704" => ErrorKind::Schema(SchemaProblem::Altered {
            reason: "a table, column or function is missing; restore what was dropped or renamed, then open the store again".into(),
        }),
        "ZF001" => ErrorKind::Moved {
            reason: "the search path leads to another store than the one that was opened: schemas were renamed, or the search path was set; \
                     nothing was written"
                .into(),
        },
        "XX001" | "XX002" => damaged("the server reports that its data is damaged; restore it from a backup"),
        code => match &code[..2] {
            "08" => unavailable("the connection to the server was lost, or could not be made"),
            "53" => unavailable("the server is short of resources"),
            "57" => unavailable("the server closed the connection; it restarts, or an administrator ended it"),
            "54" => invalid("the server does not take so much: a text, a number of elements or a nesting is beyond its limits"),
            "22" => invalid("the server does not take a value: it is beyond what its type keeps"),
            "23" => backend("a constraint of the schema was violated"),
            _ => backend("PostgreSQL could not run the statement"),
        },
    }
}

/// Advice for a transaction whose snapshot is too old.
pub(crate) const BEGIN_ANEW: &str =
    "another transaction stored something that this one does not see; roll it back and begin it anew";

/// Whether the append conflicts with stored events: another append of the aggregate, or one of these events.
pub(crate) fn is_refused(error: &postgres::Error) -> bool {
    let Some(database) = error.as_db_error() else {
        return false;
    };
    match *database.code() {
        // A unique key of another program, or a sequence that was set back. Retries do not help.
        SqlState::UNIQUE_VIOLATION => {
            matches!(
                database.constraint(),
                Some(
                    "events_pkey"
                        | "idx_events_aggregate_version"
                        | "firefly_event_keys_pkey"
                        | "idx_event_keys_aggregate_version"
                )
            )
        }
        // The version after the greatest possible one.
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE => true,
        _ => false,
    }
}

/// Whether the statement must be prepared again: a table has changed, the statement was deallocated, or another one has its name. A changed
/// table has the code of all unsupported features, but only its error comes from the function that checks prepared statements.
pub(crate) fn is_stale(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|database| match *database.code() {
        SqlState::FEATURE_NOT_SUPPORTED => database.routine() == Some("RevalidateCachedQuery"),
        _ => is_forgotten(error),
    })
}

/// Whether an append reached the bound of a partition that is about to be split. Once it is split, a retry succeeds.
fn is_beyond_bound(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|database| {
        *database.code() == SqlState::CHECK_VIOLATION && database.constraint() == Some("firefly_bound")
    })
}

/// Whether the prepared statement no longer exists, or another one has its name.
pub(crate) fn is_forgotten(error: &postgres::Error) -> bool {
    matches!(
        error.code(),
        Some(&SqlState::INVALID_SQL_STATEMENT_NAME | &SqlState::DUPLICATE_PSTATEMENT)
    )
}

/// Whether the search path leads to another schema, or to none, because a schema was renamed or dropped. A new connection finds the store,
/// or finds that it no longer exists.
pub(crate) fn is_elsewhere(error: &postgres::Error) -> bool {
    let code = error.code().map(SqlState::code);
    matches!(code, Some("ZF001" | "42P01" | "42883" | "3F000"))
}

/// Whether a statement or a transaction exceeded its time limit.
pub(crate) fn is_out_of_time(error: &postgres::Error) -> bool {
    matches!(error.code().map(SqlState::code), Some("57014" | "25P03" | "25P04"))
}

/// Whether a number is out of its type's range.
pub(crate) fn is_out_of_range(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE)
}

/// Whether the transaction was the victim of a deadlock, and may be repeated.
pub(crate) fn is_deadlock(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    /// The codes that a store may get, with the names of the errors, and whether the session has ended.
    const CODES: &[(&str, &str, bool)] = &[
        ("08000", "unavailable", true),
        ("08001", "unavailable", true),
        ("08003", "unavailable", true),
        ("08004", "unavailable", true),
        ("08006", "unavailable", true),
        ("08P01", "unavailable", true),
        ("0A000", "backend", false),
        ("21000", "backend", false),
        ("22001", "invalid input", false),
        ("22003", "invalid input", false),
        ("22021", "invalid input", false),
        ("22P02", "invalid input", false),
        ("22P05", "invalid input", false),
        ("23502", "backend", false),
        ("23505", "backend", false),
        ("23514", "backend", false),
        ("25006", "read-only", false),
        ("25P01", "backend", false),
        ("25P02", "backend", false),
        ("25P03", "unavailable", true),
        ("25P04", "unavailable", true),
        ("28000", "permission denied", false),
        ("28P01", "permission denied", false),
        ("3D000", "backend", false),
        ("3F000", "altered", false),
        ("40001", "unavailable", false),
        ("40003", "unavailable", false),
        ("40P01", "unavailable", false),
        ("42501", "permission denied", false),
        ("42601", "backend", false),
        ("42703", "altered", false),
        ("42704", "altered", false),
        ("42883", "altered", false),
        ("42P01", "altered", false),
        ("53000", "unavailable", false),
        ("53100", "storage full", false),
        ("53200", "unavailable", false),
        ("53300", "unavailable", false),
        ("53400", "unavailable", false),
        ("54000", "invalid input", false),
        ("54001", "invalid input", false),
        ("54023", "invalid input", false),
        ("55006", "unavailable", false),
        ("55P03", "unavailable", false),
        ("57000", "unavailable", false),
        ("57014", "unavailable", false),
        ("57P01", "unavailable", true),
        ("57P02", "unavailable", true),
        ("57P03", "unavailable", true),
        ("57P04", "backend", true),
        ("57P05", "unavailable", true),
        ("58000", "backend", false),
        ("58030", "backend", false),
        ("F0000", "backend", false),
        ("XX000", "backend", false),
        ("XX001", "integrity", false),
        ("XX002", "integrity", false),
        ("ZF001", "moved", false),
    ];

    #[test]
    fn each_code_is_a_kind_of_error_and_tells_whether_the_session_is_over() {
        for (code, expected, ends) in CODES {
            let code = SqlState::from_code(code);
            let kind = by_code(&code);
            let name = match &kind {
                ErrorKind::Unavailable { .. } => "unavailable",
                ErrorKind::InvalidInput { .. } => "invalid input",
                ErrorKind::ReadOnly => "read-only",
                ErrorKind::PermissionDenied => "permission denied",
                ErrorKind::StorageFull => "storage full",
                ErrorKind::Schema(SchemaProblem::Altered { .. }) => "altered",
                ErrorKind::Integrity { .. } => "integrity",
                ErrorKind::Moved { .. } => "moved",
                ErrorKind::Backend { .. } => "backend",
                other => panic!("{code:?}: {other:?}"),
            };
            assert_eq!(name, *expected, "{code:?}");
            assert_eq!(ends_the_session(&code), *ends, "{code:?}");
            assert_eq!(Error::new(kind).is_retryable(), *expected == "unavailable", "{code:?}");
        }
    }
}
