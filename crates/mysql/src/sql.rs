//! The statements, each from a file of its own.

use firefly_eventstore_core::backend::Sql;

firefly_eventstore_core::statements! {
    ADOPT_EVENT = "adopt_event.sql";
    ADOPT_SNAPSHOT = "adopt_snapshot.sql";
    AGGREGATE_SUMMARIES = "aggregate_summaries.sql";
    ANALYZE = "analyze.sql";
    ANY_ARCHIVED = "any_archived.sql";
    APPEND = "append.sql";
    APPEND_GATE = "append_gate.sql";
    APPEND_GATE_AND_GUARD = "append_gate_and_guard.sql";
    APPEND_GUARD = "append_guard.sql";
    APPEND_GUARD_ARCHIVED = "append_guard_archived.sql";
    APPEND_HEAD = "append_head.sql";
    APPEND_HEADS = "append_heads.sql";
    APPEND_TURN = "append_turn.sql";
    APPEND_UNLESS_ARCHIVED = "append_unless_archived.sql";
    APPLIED_MIGRATIONS = "applied_migrations.sql";
    ARCHIVED_IN = "archived_in.sql";
    ARCHIVED_KEY = "archived_key.sql";
    ARCHIVED_STREAM = "archived_stream.sql";
    BOUND_TO_TABLE = "bound_to_table.sql";
    BROKEN_STREAM = "broken_stream.sql";
    CLUSTER_SIZE = "cluster_size.sql";
    CONSUMER_SAVE_AFTER_WORK = "consumer_save_after_work.sql";
    CONSUMER_UNSEEN_MEMBERS = "consumer_unseen_members.sql";
    COUNT_ATTACHED = "count_attached.sql";
    COVER_OTHER_WRITERS = "cover_other_writers.sql";
    CUT_ARCHIVED_STREAM = "cut_archived_stream.sql";
    DO_NOT_COVER_OTHER_WRITERS = "do_not_cover_other_writers.sql";
    ENCRYPTION = "encryption.sql";
    FLUSH = "flush.sql";
    FORGET_ARCHIVED_STREAM = "forget_archived_stream.sql";
    FORGET_KEY = "forget_key.sql";
    FORGET_SUMMARIES = "forget_summaries.sql";
    FREE_GATES = "free_gates.sql";
    GATES = "gates.sql";
    GREATEST = "greatest.sql";
    HAS_ARCHIVED = "has_archived.sql";
    HEAD = "head.sql";
    HEAD_ARCHIVED = "head_archived.sql";
    HISTORY = "history.sql";
    HOLD_MOVES = "hold_moves.sql";
    IMPORT = "import.sql";
    INDEX_BYTES = "index_bytes.sql";
    INDEX_SCANS = "index_scans.sql";
    INDEXES = "indexes.sql";
    INTEGRITY_CHECK = "integrity_check.sql";
    KEEP_ARCHIVED_STREAM = "keep_archived_stream.sql";
    KEEP_KEY = "keep_key.sql";
    LIVE_KEY = "live_key.sql";
    LOAD = "load.sql";
    LOAD_BACKWARDS = "load_backwards.sql";
    LOAD_BEGINNING = "load_beginning.sql";
    LOAD_FROM_SNAPSHOT = "load_from_snapshot.sql";
    LOAD_WHOLE = "load_whole.sql";
    LOCATE = "locate.sql";
    LOCK_MIGRATIONS = "lock_migrations.sql";
    LOCK_RESTORE = "lock_restore.sql";
    LOG = "log.sql";
    LOG_POSITIONS = "log_positions.sql";
    MADE_AT = "made_at.sql";
    MARK = "mark.sql";
    NEXT_SEQUENCE = "next_sequence.sql";
    OPEN_TRANSACTIONS = "open_transactions.sql";
    PREPARED = "prepared.sql";
    PUBLISH_MARK = "publish_mark.sql";
    PUBLISHED_MARK = "published_mark.sql";
    RECORD_MIGRATION = "record_migration.sql";
    REDO_LOG = "redo_log.sql";
    REFRESH_SUMMARIES = "refresh_summaries.sql";
    REFRESHED_SUMMARIES = "refreshed_summaries.sql";
    REMOVE_EVENT = "remove_event.sql";
    REPLICA = "replica.sql";
    RESTORE_FINISH = "restore_finish.sql";
    RESTORE_TABLE = "restore_table.sql";
    RESTORE_UNDO = "restore_undo.sql";
    RESTORE_UNTIL_SEQUENCE = "restore_until_sequence.sql";
    RESTORE_UNTIL_TIME = "restore_until_time.sql";
    RETIRE_GATES = "retire_gates.sql";
    SCHEMA_NAMES = "schema_names.sql";
    SERVER = "server.sql";
    SESSION = "session.sql";
    SESSION_STATE = "session_state.sql";
    SETTINGS = "settings.sql";
    SURROUNDINGS = "surroundings.sql";
    TABLE_BYTES = "table_bytes.sql";
    TELL_ARCHIVED = "tell_archived.sql";
    TOPOLOGY = "topology.sql";
    UNLOCK_MIGRATIONS = "unlock_migrations.sql";
    UNLOCK_RESTORE = "unlock_restore.sql";
    VACUUM = "vacuum.sql";
    XA_RECOVER = "xa_recover.sql";
}

/// The value for each `?` in a statement of the core, or `None` if each value has one, in order.
pub(crate) const fn places(statement: Sql) -> Option<&'static [usize]> {
    Some(match statement {
        Sql::AggregateActivity | Sql::EventStatistics | Sql::EventTypeDistribution | Sql::SnapshotStatistics => &[0, 0],
        Sql::ConsumerCountParked => &[0, 1, 1],
        Sql::ConsumerHand => &[2, 3, 4, 0, 1],
        Sql::ConsumerParked => &[0, 0, 1, 2],
        Sql::ConsumerRenew => &[2, 0, 1],
        Sql::ConsumerSave => &[2, 3, 4, 5, 6, 7, 0, 1],
        Sql::CountSnapshots => &[0, 1, 2, 2],
        Sql::DeleteSnapshots | Sql::FindSnapshots => &[0, 1, 2, 2, 3, 4, 5, 5, 6],
        Sql::DeleteSnapshotsOlder => &[0, 0, 1, 1],
        Sql::SnapshotsAfter => &[0, 0, 1, 1, 2, 3],
        Sql::Totals => &[0, 0, 0, 0],
        Sql::VersionAtTime => &[0, 1, 0],
        _ => return None,
    })
}

/// A list of as many placeholders as values, at least one. The number is rounded up to a power of two, so that a connection prepares few
/// such statements; [`padded`] repeats a value for the rest.
pub(crate) fn list(values: usize) -> String {
    let placeholders = vec!["?"; values.next_power_of_two()];
    format!("({})", placeholders.join(", "))
}

/// The values for the placeholders of [`list`]. `nothing` equals no stored value.
pub(crate) fn padded<T: Clone>(mut values: Vec<T>, nothing: T) -> Vec<T> {
    let last = values.last().cloned().unwrap_or(nothing);
    values.resize(values.len().next_power_of_two(), last);
    values
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use firefly_eventstore_test_servers::{MysqlServer, mariadb_unless_missing, mysql_unless_missing};
    use mysql::prelude::Queryable;

    use crate::MysqlEventStore;
    use crate::pool::Location;

    #[test]
    fn every_file_is_a_statement() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/queries");
        for file in std::fs::read_dir(directory).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(super::ALL.iter().any(|(file, _)| *file == name), "{name} is not listed");
        }
    }

    #[test]
    fn a_list_has_as_many_placeholders_as_values() {
        for (values, placeholders) in [(0, 1), (1, 1), (2, 2), (3, 4), (5, 8), (4_096, 4_096)] {
            assert_eq!(super::list(values).matches('?').count(), placeholders);
            assert_eq!(super::padded(vec![7; values], 0).len(), placeholders);
        }
        assert_eq!(super::padded(vec![7, 8, 9], 0), [7, 8, 9, 9]);
        assert_eq!(super::padded(Vec::new(), 0), [0]);
    }

    #[test]
    fn every_file_is_accepted_by_mysql() {
        if let Some(server) = mysql_unless_missing() {
            is_accepted_by(server);
        }
    }

    #[test]
    fn every_file_is_accepted_by_mariadb() {
        if let Some(server) = mariadb_unless_missing() {
            is_accepted_by(server);
        }
    }

    fn is_accepted_by(server: &MysqlServer) {
        let database = server.new_database();
        MysqlEventStore::builder(database.url()).migrate().unwrap();
        let opts = mysql::Opts::from_url(database.url()).unwrap();
        let mut client = Location::new(opts).open().unwrap().client;
        for (file, sql) in super::ALL {
            let accepted = match *file {
                // Parts of statements, and statements that are completed later.
                "append.sql" => client
                    .prep(format!("{sql} (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)"))
                    .map(drop),
                "append_head.sql" => client.prep(format!("SELECT 1 FROM events WHERE {sql}")).map(drop),
                "free_gates.sql" => client.prep(sql.replace("{list}", &super::list(3))).map(drop),
                "append_guard.sql"
                | "append_guard_archived.sql"
                | "append_gate.sql"
                | "append_gate_and_guard.sql"
                | "append_heads.sql"
                | "append_turn.sql"
                | "append_unless_archived.sql" => {
                    let part = sql.replace("{list}", &super::list(3));
                    let part = part.replace("{streams}", "aggregate_id = ? AND version > ?");
                    let part = part.replace("{gate}", super::APPEND_GATE);
                    let part = part.replace("{heads}", super::APPEND_HEAD);
                    client.prep(format!("SELECT {part}")).map(drop)
                }
                "import.sql" => {
                    let row = super::list(16).replacen("?, ", "", 1);
                    client.prep(format!("{sql} {row}")).map(drop)
                }
                "archived_in.sql" => client.prep(sql.replace("{events}", "SELECT 1")).map(drop),
                "cut_archived_stream.sql" => client.prep(sql.replace("{list}", &super::list(3))).map(drop),
                "keep_archived_stream.sql" => client.prep(sql.replace("{rows}", "(?, ?, ?, ?, ?, ?, ?, ?)")).map(drop),
                "keep_key.sql" => client.prep(format!("{sql} (?, ?, ?, ?, ?)")).map(drop),
                "locate.sql" => {
                    let statement = sql.replace("{list}", &super::list(3));
                    client
                        .prep(statement.replace("{locking}", "LOCK IN SHARE MODE"))
                        .map(drop)
                }
                "head_archived.sql"
                | "archived_key.sql"
                | "live_key.sql"
                | "archived_stream.sql"
                | "forget_key.sql"
                | "forget_archived_stream.sql"
                | "remove_event.sql" => client.prep(format!("{sql} {}", super::list(3))).map(drop),
                "prepared.sql" => client
                    .prep(sql.replace("{after}", "0").replace("{until}", "1"))
                    .map(drop),
                "xa_recover.sql" => client.query_drop(*sql),
                // These cannot be prepared on either server, and must run in this order.
                "cover_other_writers.sql" => client.query_drop(*sql),
                "integrity_check.sql" => client.query_drop(*sql),
                "restore_table.sql" => client.query_drop(*sql),
                "do_not_cover_other_writers.sql" => client.query_drop(*sql),
                _ => client.prep(*sql).map(drop),
            };
            accepted.unwrap_or_else(|error| panic!("{file} is refused: {error}"));
        }
    }
}
