//! The errors of MySQL and MariaDB, by their codes, as the errors of every store.

use std::io;

use firefly_eventstore_core::{Error, ErrorKind, SchemaProblem};
use mysql::DriverError;

/// The error of every store that an error of the driver is. By code, never by text.
pub(crate) fn classify(error: mysql::Error) -> Error {
    let kind = match code(&error) {
        Some(_) if is_lost(&error) => unavailable("the server ended the connection; it restarts, or somebody ended it"),
        Some(code) => by_code(code),
        None if is_misunderstood(&error) => {
            backend("a packet is larger than the max_allowed_packet of the URL, or not one of the server's protocol")
        }
        None if is_lost(&error) => unavailable("the connection to the server was lost, or could not be made"),
        None => backend("the driver could not run the statement"),
    };
    Error::new(kind).with_source(error)
}

/// The error of a connection that could not be made.
pub(crate) fn classify_connecting(error: mysql::Error) -> Error {
    let is_network = match &error {
        mysql::Error::MySqlError(_) => return classify(error),
        mysql::Error::IoError(_) | mysql::Error::CodecError(_) => {
            io_error(&error).is_some_and(|error| error.kind() != io::ErrorKind::InvalidData) // which is what rustls gives
        }
        mysql::Error::DriverError(reason) => matches!(
            reason,
            DriverError::ConnectTimeout | DriverError::CouldNotConnect(_) | DriverError::Timeout
        ),
        _ => false,
    };
    if is_network {
        return Error::new(unavailable("the server cannot be reached")).with_source(error);
    }
    let reason = "no connection could be made: TLS failed, or the server wants what the configuration does not have";
    Error::new(backend(reason)).with_source(error)
}

/// What the driver said, of which an error was made.
pub(crate) fn driver_error(error: &Error) -> Option<&mysql::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the connection is gone, so that nobody knows what became of the statement.
pub(crate) fn is_lost(error: &mysql::Error) -> bool {
    match error {
        mysql::Error::MySqlError(error) => matches!(
            error.code,
            // Shut down or killed; what the server says of a connection that it gives up, and of one that is another by now,
            // without the statements that were prepared.
            1053 | 1077 | 1079 | 1152 | 1158..=1161 | 1184 | 1243 | 1927 | 2006 | 2013 | 3169 | 4031
        ),
        mysql::Error::IoError(_) | mysql::Error::CodecError(_) => true,
        mysql::Error::DriverError(reason) => matches!(
            reason,
            DriverError::PacketOutOfSync
                | DriverError::UnexpectedPacket
                | DriverError::Timeout
                | DriverError::ConnectTimeout
                | DriverError::CouldNotConnect(_)
        ),
        _ => false,
    }
}

/// Whether what came, or was to be sent, is not what both sides take: a connection in that state is lost, but one more would
/// fare no better.
fn is_misunderstood(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::CodecError(_)) && io_error(error).is_none()
}

fn io_error(error: &mysql::Error) -> Option<&io::Error> {
    match error {
        mysql::Error::IoError(error) => Some(error),
        mysql::Error::CodecError(error) => std::error::Error::source(error)?.downcast_ref(),
        _ => None,
    }
}

fn by_code(code: u16) -> ErrorKind {
    match code {
        // A read-only server, transaction or replica.
        1290 | 1792 | 1836 | 3100 => ErrorKind::ReadOnly,
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1419 | 1698 | 3118 => ErrorKind::PermissionDenied,
        // A full disk, a full table, no room for temporary files.
        3 | 28 | 1021 | 1041 | 1114 => ErrorKind::StorageFull,
        1040 | 1203 | 1226 => unavailable("the server accepts no more connections"),
        1461 => unavailable(
            "the server keeps no more prepared statements: raise max_prepared_stmt_count, or lower stmt_cache_size in the URL",
        ),
        1205 | 1213 | 1467 | 1614 | 3572 => unavailable("another transaction was in the way for too long"),
        // Of a MariaDB with innodb_snapshot_isolation, which has then rolled back.
        1020 => unavailable("another transaction changed what this one, with its older snapshot, has to lock"),
        1412 | 1615 => unavailable("a table was changed in the meantime"),
        1317 | 1969 | 3024 => {
            unavailable("the server cancelled the statement, because of its time limit or on request")
        }
        1129 | 1130 => backend("the server refuses connections from this host"),
        1049 => backend("the server has no such database; create it first"),
        1054 | 1146 | 1176 | 1305 | 1932 => ErrorKind::Schema(SchemaProblem::Altered {
            reason: "a table, column or index is missing; call migrate(), or restore what was changed".into(),
        }),
        126 | 127 | 1034 | 1194 | 1712 => ErrorKind::Integrity {
            event_id: None,
            global_sequence: None,
            reason: "the server reports that its data is damaged; restore it from a backup".into(),
        },
        1301 => invalid("the server cannot make so large a value of it: max_allowed_packet"),
        1390 => invalid("a statement takes 65,535 values; ask for fewer at once"),
        1153 => backend("the statement does not fit into one packet: max_allowed_packet"),
        1665 => backend("the server's binary log has statements; it must have rows: binlog_format"),
        1048 | 1062 | 3819 | 4025 => backend("a constraint of the schema was violated"),
        _ => backend("the server could not run the statement"),
    }
}

/// A schema that somebody changed, and how.
pub(crate) fn altered(reason: String) -> Error {
    Error::new(ErrorKind::Schema(SchemaProblem::Altered { reason: reason.into() }))
}

fn unavailable(reason: &str) -> ErrorKind {
    ErrorKind::Unavailable { reason: reason.into() }
}

fn invalid(reason: &str) -> ErrorKind {
    ErrorKind::InvalidInput { reason: reason.into() }
}

fn backend(reason: &str) -> ErrorKind {
    ErrorKind::Backend { reason: reason.into() }
}

fn code(error: &mysql::Error) -> Option<u16> {
    match error {
        mysql::Error::MySqlError(error) => Some(error.code),
        _ => None,
    }
}

/// Whether what is stored already may stand in the way: another append of the aggregate, or one of these events; or the
/// aggregate is elsewhere, so that no version comes out, or one beyond the greatest.
pub(crate) fn is_refused(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1048 | 1062 | 1690))
}

/// Whether the transaction was the victim of a deadlock and is rolled back as a whole, so that it may simply be repeated.
/// MariaDB has another code for one that includes the lock on a table's sequences, as `innodb_autoinc_lock_mode = 0` takes it.
pub(crate) fn is_deadlock(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1213 | 1467))
}

/// Whether a savepoint is gone, with the transaction that it belonged to.
pub(crate) fn is_missing_savepoint(error: &mysql::Error) -> bool {
    code(error) == Some(1305)
}

/// Whether a table was changed since the statement was prepared, so that it is to be run again.
pub(crate) fn is_stale(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1412 | 1615))
}

/// Whether a statement names an index that is not there.
pub(crate) fn is_missing_index(error: &mysql::Error) -> bool {
    code(error) == Some(1176)
}

/// No pooled connection became free in time.
pub(crate) fn pool(error: r2d2::Error) -> Error {
    Error::new(ErrorKind::PoolTimeout).with_source(error)
}
