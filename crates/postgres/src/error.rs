//! PostgreSQL's errors, by their codes, as the errors of every store.

use std::error::Error as _;
use std::io;

use firefly_eventstore_core::{Error, ErrorKind, SchemaProblem};
use postgres::error::SqlState;

/// The error of every store that an error of PostgreSQL's is. By code, never by text.
pub(crate) fn classify(error: postgres::Error) -> Error {
    let kind = match error.code() {
        Some(_) if is_stale_plan(&error) => unavailable("a table was changed since the statement was prepared"),
        Some(code) => by_code(code),
        None if is_lost(&error) => unavailable("the connection to the server was lost, or could not be made"),
        None => backend("the driver could not run the statement"),
    };
    Error::new(kind).with_source(error)
}

/// Whether the connection is gone, so that nobody knows what became of the statement.
pub(crate) fn is_lost(error: &postgres::Error) -> bool {
    let ended = |code: &SqlState| code.code().starts_with("57P") || code.code().starts_with("08");
    error.code().is_some_and(ended)
        || error.is_closed()
        || error.source().is_some_and(|source| source.is::<io::Error>())
}

/// The error of a connection that could not be made.
pub(crate) fn classify_connecting(error: postgres::Error) -> Error {
    // What is neither the server's word nor the network's; a TLS library has only this kind of I/O error for a bad certificate.
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let is_refused_here = io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
    if error.code().is_some() || (is_lost(&error) && !is_refused_here) {
        return classify(error);
    }
    let reason = "no connection could be made: TLS failed, or the server wants what the configuration does not have";
    Error::new(backend(reason)).with_source(error)
}

fn by_code(code: &SqlState) -> ErrorKind {
    match code.code() {
        "25006" => ErrorKind::ReadOnly,
        "25P02" => backend(
            "a statement of the transaction failed before: nothing of it is kept; pass the error of that one on",
        ),
        "25P01" => backend("the transaction had ended before its work did; do not commit or roll back within it"),
        "42501" | "28000" | "28P01" => ErrorKind::PermissionDenied,
        "53100" => ErrorKind::StorageFull,
        "53300" => unavailable("the server accepts no more connections"),
        "57014" => unavailable("the server cancelled the statement, because of its statement timeout or on request"),
        "55P03" | "40001" | "40P01" => unavailable("another transaction was in the way for too long"),
        "3D000" => backend("the server has no such database; create it first"),
        "42P01" | "42703" | "42883" | "3F000" | "42704" => ErrorKind::Schema(SchemaProblem::Altered {
            reason: "a table, column or function is missing; call migrate(), or restore what was changed".into(),
        }),
        "XX001" | "XX002" => ErrorKind::Integrity {
            event_id: None,
            global_sequence: None,
            reason: "the server reports that its data is damaged; restore it from a backup".into(),
        },
        code => match &code[..2] {
            "08" | "53" => unavailable("the server is short of resources, or the connection was lost"),
            "57" => unavailable("the server ended the connection; it restarts, or somebody ended it"),
            "23" => backend("a constraint of the schema was violated"),
            _ => backend("PostgreSQL could not run the statement"),
        },
    }
}

fn unavailable(reason: &str) -> ErrorKind {
    ErrorKind::Unavailable { reason: reason.into() }
}

fn backend(reason: &str) -> ErrorKind {
    ErrorKind::Backend { reason: reason.into() }
}

/// Whether what is stored already stands in the way: another append of the aggregate, or one of these events.
pub(crate) fn is_refused(error: &postgres::Error) -> bool {
    let Some(database) = error.as_db_error() else {
        return false;
    };
    match *database.code() {
        // Another unique key is somebody else's, or that of a sequence that went astray: no repetition helps.
        SqlState::UNIQUE_VIOLATION => {
            matches!(
                database.constraint(),
                Some("events_pkey" | "idx_events_aggregate_version")
            )
        }
        // The version after the greatest.
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE => true,
        _ => false,
    }
}

/// Whether a table was changed since the statement was prepared, so that it must be prepared anew. Whatever else PostgreSQL does
/// not support has the same code, but is not found out where prepared statements are looked at again.
pub(crate) fn is_stale_plan(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|database| {
        *database.code() == SqlState::FEATURE_NOT_SUPPORTED && database.routine() == Some("RevalidateCachedQuery")
    })
}

/// Whether the transaction was the victim of a deadlock, and may simply be repeated.
pub(crate) fn is_deadlock(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// No pooled connection became free in time.
pub(crate) fn pool(error: r2d2::Error) -> Error {
    Error::new(ErrorKind::PoolTimeout).with_source(error)
}
