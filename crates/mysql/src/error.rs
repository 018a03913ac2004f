//! The errors of MySQL and MariaDB, by their codes, as the errors of every store.

use std::io;

use firefly_eventstore_core::backend::kinds::{backend, damaged, invalid, unavailable};
use firefly_eventstore_core::{Error, ErrorKind, SchemaProblem};
use mysql::DriverError;

/// Converts an error of the driver to an error of a store. Its [kind](ErrorKind) follows from the database's code, never from a text. The
/// driver's error is the source. Use it for your own statements within a transaction, so that they return the same errors as the store.
///
/// ```
/// use firefly_eventstore_core::Error;
/// use firefly_eventstore_mysql::{MysqlTransaction, classify};
/// use firefly_eventstore_mysql::driver::prelude::Queryable as _;
///
/// fn count_down(transaction: &mut MysqlTransaction<'_>) -> Result<(), Error> {
///     let sql = "UPDATE seats SET free = free - 1";
///     transaction.connection().query_drop(sql).map_err(classify)?;
///     Ok(())
/// }
/// ```
#[must_use]
pub fn classify(error: mysql::Error) -> Error {
    Error::new(kind_of(&error)).with_source(error)
}

/// The kind of an error of the driver.
pub(crate) fn kind_of(error: &mysql::Error) -> ErrorKind {
    match code(error) {
        Some(_) if is_lost(error) => {
            unavailable("the server closed the connection; it restarts, or an administrator ended it")
        }
        Some(code) => by_code(code),
        None if is_misunderstood(error) => {
            backend("a packet is larger than the max_allowed_packet of the URL, or not one of the server's protocol")
        }
        None if is_lost(error) => unavailable("the connection to the server was lost, or could not be made"),
        None => backend("the driver could not run the statement"),
    }
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

/// The driver's error that is the source of this error.
pub(crate) fn driver_error(error: &Error) -> Option<&mysql::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the connection is lost, so that it is unknown whether the statement ran.
pub(crate) fn is_lost(error: &mysql::Error) -> bool {
    match error {
        mysql::Error::MySqlError(error) => matches!(
            error.code,
            // The server shuts down, went offline, or ended the connection, for example because it was idle. Or the connection has a new
            // session without the prepared statements.
            1053 | 1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1184 | 1243 | 1927 | 2006 | 2013 | 3032 | 3169 | 4031
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

/// Whether the client and the server do not accept each other's packets. The connection is lost then, but a new one would have the same
/// problem.
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
        // A read-only server, transaction, replica, table or database, or a server in forced recovery.
        1036 | 1290 | 1792 | 1836 | 1874 | 1881 | 3989 => ErrorKind::ReadOnly,
        // Also an account that is locked or whose password has expired.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1419 | 1698 | 1820 | 1862 | 3118 | 3955 | 4151 => {
            ErrorKind::PermissionDenied
        }
        // A full disk, a full table, no room for temporary files.
        3 | 28 | 1021 | 1114 | 1878 => ErrorKind::StorageFull,
        1037 | 1038 | 1041 | 1135 => unavailable("the server is out of memory or threads"),
        1040 | 1203 | 1226 => unavailable("the server accepts no more connections"),
        1461 => unavailable(
            "the server keeps no more prepared statements: raise max_prepared_stmt_count, or lower stmt_cache_size in the URL",
        ),
        1205 | 1206 | 1213 | 1467 | 1613 | 1614 | 1637 | 1689 | 3058 | 3572 => {
            unavailable("another transaction held a lock for too long")
        }
        // From MariaDB with innodb_snapshot_isolation, which has rolled the transaction back.
        1020 => unavailable(
            "another transaction changed what this one, with its older snapshot, has to lock: the server has rolled it back, begin it anew",
        ),
        // From a Galera node that is out of step with the cluster, or a replication group that has refused a commit.
        1047 => unavailable("this node of the cluster is not ready, or has lost the others"),
        3100 | 3101 => {
            unavailable("the group that the server replicates with refused the commit, which was rolled back")
        }
        3098 => backend(
            "the group that the server replicates with takes only InnoDB tables with a primary key, as the migrations make them",
        ),
        1412 | 1615 | 1735 => unavailable("a table was changed in the meantime"),
        1317 | 1969 | 3024 => {
            unavailable("the server cancelled the statement, because of its time limit or on request")
        }
        1129 | 1130 => backend("the server refuses connections from this host"),
        3159 => backend("the server wants TLS: add root_cert_path=FILE to the URL"),
        1049 => backend("the server has no such database; create it first"),
        1054 | 1146 | 1176 | 1305 | 1932 => ErrorKind::Schema(SchemaProblem::Altered {
            reason: "a table, column or index is missing; make it again as the migrations do, or restore it".into(),
        }),
        126 | 127 | 1033 | 1034 | 1035 | 1194 | 1195 | 1712 | 1877 => {
            damaged("the server reports that its data is damaged; restore it from a backup")
        }
        // A value, a row, a document or a key is too large, or a document is invalid.
        1118 | 1264 | 1265 | 1292 | 1366 | 1406 | 3019 | 3140 | 3141 | 3150 | 3151 | 3157 => invalid(
            "the server cannot keep such a value: it is too large, nests too deeply, or is not what its column takes",
        ),
        1153 | 1301 => invalid("the server cannot make so large a value of it: max_allowed_packet"),
        1197 | 1705 => invalid(
            "the server's binary log takes no transaction of this size: max_binlog_cache_size; append less at once",
        ),
        1390 => invalid("a statement takes 65,535 values; ask for fewer at once"),
        1104 => backend("the connection bounds joins by max_join_size: SET sql_big_selects = 1"),
        1665 => backend("the server's binary log has statements; it must have rows: binlog_format"),
        1048 | 1062 | 3819 | 4025 => backend("a constraint of the schema was violated"),
        _ => backend("the server could not run the statement"),
    }
}

fn code(error: &mysql::Error) -> Option<u16> {
    match error {
        mysql::Error::MySqlError(error) => Some(error.code),
        _ => None,
    }
}

/// Whether the append may conflict with stored events: another append of the aggregate, or one of these events. Or the aggregate has
/// another owner, so that the version is NULL or out of range.
pub(crate) fn is_refused(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1048 | 1062 | 1690))
}

/// Whether the statement did not get a lock, at once or in time. It stored nothing.
pub(crate) fn is_locked(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1205 | 3572))
}

/// Whether the transaction was the victim of a deadlock. It was rolled back as a whole, so it may be repeated. MariaDB has another code for
/// a deadlock with the lock on a table's sequences, which `innodb_autoinc_lock_mode = 0` takes. MySQL has another code for a commit that
/// lost against another member of a replication group.
pub(crate) fn is_deadlock(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1213 | 1467 | 3101))
}

/// Whether a statement or a transaction exceeded its time limit.
pub(crate) fn is_out_of_time(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1969 | 3024))
}

/// Whether the server is read-only, such as the old primary after a failover.
pub(crate) fn is_read_only_server(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1290 | 1836))
}

/// Whether the user lacks the right.
pub(crate) fn is_denied(error: &mysql::Error) -> bool {
    code(error).is_some_and(|code| by_code(code) == ErrorKind::PermissionDenied)
}

/// Whether another node of a Galera cluster migrates at the same time: an object to be made exists, an object to be dropped is missing, or
/// a statement was aborted. The nodes do not share the lock for migrations.
pub(crate) fn is_of_another_who_migrates(error: &mysql::Error) -> bool {
    matches!(
        code(error),
        Some(1050 | 1060 | 1061 | 1062 | 1091 | 1205 | 1213 | 1317 | 1359 | 1826 | 3822)
    )
}

/// Whether a savepoint no longer exists, because its transaction has ended.
pub(crate) fn is_missing_savepoint(error: &mysql::Error) -> bool {
    code(error) == Some(1305)
}

/// Whether the user lacks the right to see prepared XA transactions. MySQL requires one.
pub(crate) fn is_not_told(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1227 | 1401))
}

/// Whether another transaction held a lock, at once, for too long, or in a deadlock. What failed may be repeated.
pub(crate) fn is_held(error: &Error) -> bool {
    driver_error(error).is_some_and(|error| is_locked(error) || is_deadlock(error))
}

/// Whether a table has changed since the statement was prepared, so that it must be run again.
pub(crate) fn is_stale(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1412 | 1615))
}

/// Whether MySQL cannot show the transactions at the moment: it also reads the first 1,024 bytes of each transaction's statement, with the
/// values in it, and fails if they are not text.
pub(crate) fn is_not_shown(error: &mysql::Error) -> bool {
    code(error) == Some(3854)
}

/// Whether the log may have been divided into partitions, or made one table, since the store looked: an index or a table is missing, or a
/// check refuses the version that a trigger of a partitioned log would look up.
pub(crate) fn is_of_another_layout(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1146 | 1176 | 3819 | 4025))
}

/// Whether a statement names an index that does not exist.
pub(crate) fn is_missing_index(error: &mysql::Error) -> bool {
    code(error) == Some(1176)
}

/// Whether a table is missing, or an index of the keys: a conversion makes and drops such.
pub(crate) fn is_missing_part(error: &mysql::Error) -> bool {
    let mysql::Error::MySqlError(said) = error else {
        return false;
    };
    let keys = ["'idx_events_event_id'", "'idx_events_aggregate_version'"];
    is_missing_table(error) || (is_missing_index(error) && keys.iter().any(|key| said.message.contains(key)))
}

/// Whether the table, or its database, does not exist.
pub(crate) fn is_missing_table(error: &mysql::Error) -> bool {
    matches!(code(error), Some(1046 | 1146))
}

#[cfg(test)]
mod tests {
    use firefly_eventstore_core::ErrorKind;

    use super::classify;

    /// Each kind by name, with the codes that have it, and the server's names for them.
    const TABLE: &[(&str, &[(u16, &str)])] = &[
        (
            "lost",
            &[
                (1053, "SERVER_SHUTDOWN"),
                (1077, "NORMAL_SHUTDOWN"),
                (1079, "SHUTDOWN_COMPLETE"),
                (1080, "FORCING_CLOSE"),
                (1152, "ABORTING_CONNECTION"),
                (1158, "NET_READ_ERROR"),
                (1159, "NET_READ_INTERRUPTED"),
                (1160, "NET_ERROR_ON_WRITE"),
                (1161, "NET_WRITE_INTERRUPTED"),
                (1184, "NEW_ABORTING_CONNECTION"),
                (1243, "UNKNOWN_STMT_HANDLER"),
                (1927, "CONNECTION_KILLED of MariaDB"),
                (3032, "SERVER_OFFLINE_MODE of MySQL"),
                (3169, "SESSION_WAS_KILLED of MySQL"),
                (4031, "CLIENT_INTERACTION_TIMEOUT of MySQL: wait_timeout"),
            ],
        ),
        (
            "unavailable",
            &[
                (1020, "CHECKREAD: innodb_snapshot_isolation of MariaDB"),
                (1037, "OUTOFMEMORY"),
                (1038, "OUT_OF_SORTMEMORY"),
                (1040, "CON_COUNT_ERROR"),
                (1041, "OUT_OF_RESOURCES: memory"),
                (1047, "UNKNOWN_COM_ERROR: WSREP has not yet prepared node"),
                (1135, "CANT_CREATE_THREAD"),
                (1203, "TOO_MANY_USER_CONNECTIONS"),
                (1205, "LOCK_WAIT_TIMEOUT"),
                (1206, "LOCK_TABLE_FULL"),
                (1213, "LOCK_DEADLOCK, and a conflict in Galera's cluster"),
                (1226, "USER_LIMIT_REACHED"),
                (1317, "QUERY_INTERRUPTED"),
                (1412, "TABLE_DEF_CHANGED"),
                (1461, "MAX_PREPARED_STMT_COUNT_REACHED"),
                (1467, "AUTOINC_READ_FAILED"),
                (1613, "XA_RBTIMEOUT"),
                (1614, "XA_RBDEADLOCK"),
                (1615, "NEED_REPREPARE"),
                (1637, "TOO_MANY_CONCURRENT_TRXS"),
                (1689, "LOCK_ABORTED"),
                (1969, "STATEMENT_TIMEOUT of MariaDB"),
                (3024, "QUERY_TIMEOUT of MySQL"),
                (3058, "USER_LOCK_DEADLOCK"),
                (3100, "RUN_HOOK_ERROR of group replication"),
                (3101, "TRANSACTION_ROLLBACK_DURING_COMMIT of group replication"),
                (3572, "LOCK_NOWAIT"),
            ],
        ),
        (
            "read-only",
            &[
                (1036, "OPEN_AS_READONLY"),
                (1290, "OPTION_PREVENTS_STATEMENT: read_only, super_read_only"),
                (1792, "CANT_EXECUTE_IN_READ_ONLY_TRANSACTION"),
                (1836, "READ_ONLY_MODE"),
                (1874, "INNODB_READ_ONLY"),
                (1881, "INNODB_FORCED_RECOVERY"),
                (3989, "SCHEMA_READ_ONLY of MySQL"),
            ],
        ),
        (
            "permission",
            &[
                (1044, "DBACCESS_DENIED_ERROR"),
                (1045, "ACCESS_DENIED_ERROR"),
                (1142, "TABLEACCESS_DENIED_ERROR"),
                (1143, "COLUMNACCESS_DENIED_ERROR"),
                (1227, "SPECIFIC_ACCESS_DENIED_ERROR"),
                (1370, "PROCACCESS_DENIED_ERROR"),
                (1419, "BINLOG_CREATE_ROUTINE_NEED_SUPER"),
                (1698, "ACCESS_DENIED_NO_PASSWORD_ERROR"),
                (1820, "MUST_CHANGE_PASSWORD"),
                (1862, "MUST_CHANGE_PASSWORD_LOGIN"),
                (3118, "ACCOUNT_HAS_BEEN_LOCKED of MySQL"),
                (
                    3955,
                    "USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK of MySQL",
                ),
                (4151, "ACCOUNT_HAS_BEEN_LOCKED of MariaDB"),
            ],
        ),
        (
            "full",
            &[
                (1021, "DISK_FULL"),
                (1114, "RECORD_FILE_FULL"),
                (1878, "TEMP_FILE_WRITE_FAILURE"),
            ],
        ),
        (
            "invalid",
            &[
                (1118, "TOO_BIG_ROWSIZE"),
                (1153, "NET_PACKET_TOO_LARGE"),
                (1197, "TRANS_CACHE_FULL"),
                (1264, "WARN_DATA_OUT_OF_RANGE"),
                (1265, "WARN_DATA_TRUNCATED"),
                (1292, "TRUNCATED_WRONG_VALUE"),
                (1301, "WARN_ALLOWED_PACKET_OVERFLOWED"),
                (1366, "TRUNCATED_WRONG_VALUE_FOR_FIELD"),
                (1390, "PS_MANY_PARAM"),
                (1406, "DATA_TOO_LONG"),
                (1705, "STMT_CACHE_FULL"),
                (3019, "UNDO_RECORD_TOO_BIG"),
                (3140, "INVALID_JSON_TEXT"),
                (3141, "INVALID_JSON_TEXT_IN_PARAM"),
                (3150, "JSON_VALUE_TOO_BIG"),
                (3151, "JSON_KEY_TOO_BIG"),
                (3157, "JSON_DOCUMENT_TOO_DEEP"),
            ],
        ),
        (
            "schema",
            &[
                (1054, "BAD_FIELD_ERROR"),
                (1146, "NO_SUCH_TABLE"),
                (1176, "KEY_DOES_NOT_EXIST"),
                (1305, "SP_DOES_NOT_EXIST"),
                (1932, "NO_SUCH_TABLE_IN_ENGINE of MariaDB"),
            ],
        ),
        (
            "damaged",
            &[
                (1033, "NOT_FORM_FILE"),
                (1034, "NOT_KEYFILE"),
                (1035, "OLD_KEYFILE"),
                (1194, "CRASHED_ON_USAGE"),
                (1195, "CRASHED_ON_REPAIR"),
                (1712, "INDEX_CORRUPT"),
                (1877, "TABLE_CORRUPT"),
            ],
        ),
        (
            "other",
            &[
                (1048, "BAD_NULL_ERROR"),
                (1049, "BAD_DB_ERROR"),
                (1062, "DUP_ENTRY"),
                (1064, "PARSE_ERROR"),
                (1104, "TOO_BIG_SELECT"),
                (1105, "UNKNOWN_ERROR"),
                (1129, "HOST_IS_BLOCKED"),
                (1130, "HOST_NOT_PRIVILEGED"),
                (1665, "BINLOG_STMT_MODE_AND_ROW_ENGINE"),
                (3098, "BEFORE_DML_VALIDATION_ERROR of group replication"),
                (3159, "SECURE_TRANSPORT_REQUIRED of MySQL"),
                (3819, "CHECK_CONSTRAINT_VIOLATED of MySQL"),
                (4025, "CONSTRAINT_FAILED of MariaDB"),
            ],
        ),
    ];

    fn told(code: u16) -> mysql::Error {
        mysql::Error::MySqlError(mysql::MySqlError {
            state: "HY000".to_owned(),
            message: "the server's own words, which decide nothing".to_owned(),
            code,
        })
    }

    #[test]
    fn each_number_of_the_servers_has_its_kind() {
        for (word, codes) in TABLE {
            for (code, name) in *codes {
                let lost = super::is_lost(&told(*code));
                let error = classify(told(*code));
                let found = match error.kind() {
                    ErrorKind::Unavailable { .. } if lost => "lost",
                    ErrorKind::Unavailable { .. } => "unavailable",
                    ErrorKind::ReadOnly => "read-only",
                    ErrorKind::PermissionDenied => "permission",
                    ErrorKind::StorageFull => "full",
                    ErrorKind::InvalidInput { .. } => "invalid",
                    ErrorKind::Schema(_) => "schema",
                    ErrorKind::Integrity { .. } => "damaged",
                    _ => "other",
                };
                assert_eq!(found, *word, "{code} {name}: {error}");
            }
        }
    }

    #[test]
    fn a_hint_to_migrate_is_given_only_where_that_helps() {
        let codes = TABLE.iter().flat_map(|(_, codes)| *codes);
        for (code, name) in codes {
            let error = classify(told(*code));
            assert!(!error.to_string().contains("migrate()"), "{code} {name}: {error}");
        }
    }
}
