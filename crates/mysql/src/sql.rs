//! The statements, each from a file of its own.

use std::borrow::Cow;

use firefly_eventstore_core::backend::Sql;

firefly_eventstore_core::backend::statements! {
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
    ARCHIVED_IN = "archived_in.sql";
    ARCHIVED_KEY = "archived_key.sql";
    ARCHIVED_PART = "archived_part.sql";
    ARCHIVED_STREAM = "archived_stream.sql";
    BEGIN_CONVERSION = "begin_conversion.sql";
    BEGIN_LEAVING = "begin_leaving.sql";
    BOUND_TO_TABLE = "bound_to_table.sql";
    BROKEN_STREAM = "broken_stream.sql";
    CHOOSE_PARTITIONS = "choose_partitions.sql";
    CLUSTER_SIZE = "cluster_size.sql";
    CONSUMER_SAVE_AFTER_WORK = "consumer_save_after_work.sql";
    CONSUMER_UNSEEN_MEMBERS = "consumer_unseen_members.sql";
    CONVERSION = "conversion.sql";
    COUNT_ATTACHED = "count_attached.sql";
    COVER_OTHER_WRITERS = "cover_other_writers.sql";
    CUT_ARCHIVED_STREAM = "cut_archived_stream.sql";
    DO_NOT_COVER_OTHER_WRITERS = "do_not_cover_other_writers.sql";
    ENCRYPTION = "encryption.sql";
    ENDS_OF_PARTITION = "ends_of_partition.sql";
    EVENTS_OF_PARTITION = "events_of_partition.sql";
    FINISH_LEAVING = "finish_leaving.sql";
    FLUSH = "flush.sql";
    FORGET_ARCHIVED_STREAM = "forget_archived_stream.sql";
    FORGET_KEY = "forget_key.sql";
    FORGET_LEFT_KEYS = "forget_left_keys.sql";
    FORGET_PREPARED_KEYS = "forget_prepared_keys.sql";
    FORGET_PREPARED_STREAM = "forget_prepared_stream.sql";
    FORGET_SUMMARIES = "forget_summaries.sql";
    FREE_GATES = "free_gates.sql";
    GATES = "gates.sql";
    GREATEST = "greatest.sql";
    HAS_ARCHIVED = "has_archived.sql";
    HEAD = "head.sql";
    HEAD_ARCHIVED = "head_archived.sql";
    HINDRANCES = "hindrances.sql";
    HISTORY = "history.sql";
    HOLD_EVENTS = "hold_events.sql";
    HOLD_EVENTS_FOR_READING = "hold_events_for_reading.sql";
    HOLD_MOVES = "hold_moves.sql";
    IMPORT = "import.sql";
    INDEX_BYTES = "index_bytes.sql";
    INDEX_SCANS = "index_scans.sql";
    INTEGRITY_CHECK = "integrity_check.sql";
    KEEP_ARCHIVED_STREAM = "keep_archived_stream.sql";
    KEEP_KEY = "keep_key.sql";
    KEYS_WITHOUT_EVENT = "keys_without_event.sql";
    LAYOUT = "layout.sql";
    LEAVING = "leaving.sql";
    LEAVING_LOCKED = "leaving_locked.sql";
    LIVE_KEY = "live_key.sql";
    LOAD = "load.sql";
    LOAD_BACKWARDS = "load_backwards.sql";
    LOAD_BEGINNING = "load_beginning.sql";
    LOAD_FROM_SNAPSHOT = "load_from_snapshot.sql";
    LOAD_WHOLE = "load_whole.sql";
    LOCATE = "locate.sql";
    LOCATE_PARTITIONED = "locate_partitioned.sql";
    LOCK_CONVERSION = "lock_conversion.sql";
    LOCK_LEAVING = "lock_leaving.sql";
    LOCK_MIGRATIONS = "lock_migrations.sql";
    LOCK_RESTORE = "lock_restore.sql";
    LOG = "log.sql";
    LOG_POSITIONS = "log_positions.sql";
    MADE_AT = "made_at.sql";
    MARK = "mark.sql";
    NEXT_SEQUENCE = "next_sequence.sql";
    NEXT_TO_COPY = "next_to_copy.sql";
    OPEN_SNAPSHOTS = "open_snapshots.sql";
    OPEN_TRANSACTIONS = "open_transactions.sql";
    OWN_COLUMNS = "own_columns.sql";
    PARTITIONS = "partitions.sql";
    PREPARE_LEAVING = "prepare_leaving.sql";
    PREPARED = "prepared.sql";
    PREPARED_KEYS = "prepared_keys.sql";
    PUBLISH_MARK = "publish_mark.sql";
    PUBLISHED_MARK = "published_mark.sql";
    RECORD_MIGRATION = "record_migration.sql";
    REDO_LOG = "redo_log.sql";
    REFRESH_SUMMARIES = "refresh_summaries.sql";
    REFRESHED_SUMMARIES = "refreshed_summaries.sql";
    REMAINS_OF_TABLE = "remains_of_table.sql";
    REMOVE_EVENT = "remove_event.sql";
    REPLICA = "replica.sql";
    RESTORE_ARCHIVED_STREAM = "restore_archived_stream.sql";
    RESTORE_FINISH = "restore_finish.sql";
    RESTORE_TABLE = "restore_table.sql";
    RESTORE_UNDO = "restore_undo.sql";
    RESTORE_UNTIL_SEQUENCE = "restore_until_sequence.sql";
    RESTORE_UNTIL_TIME = "restore_until_time.sql";
    RETIRE_GATES = "retire_gates.sql";
    SAVE_CONVERSION = "save_conversion.sql";
    SCHEMA_NAMES = "schema_names.sql";
    SEES_TRIGGERS = "sees_triggers.sql";
    SERVER = "server.sql";
    SESSION = "session.sql";
    SESSION_STATE = "session_state.sql";
    SETTINGS = "settings.sql";
    SURROUNDINGS = "surroundings.sql";
    TABLE_BYTES = "table_bytes.sql";
    STAYING = "staying.sql";
    TELL_ARCHIVED = "tell_archived.sql";
    TOPOLOGY = "topology.sql";
    TRIGGERS_OF = "triggers_of.sql";
    UNLOCK_CONVERSION = "unlock_conversion.sql";
    UNLOCK_LEAVING = "unlock_leaving.sql";
    UNLOCK_MIGRATIONS = "unlock_migrations.sql";
    UNLOCK_RESTORE = "unlock_restore.sql";
    UNPREPARED = "unprepared.sql";
    VACUUM = "vacuum.sql";
    WITHOUT_KEYS = "without_keys.sql";
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

/// How a store keeps its events, which decides where statements find them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In one table, with all its keys.
    #[default]
    Whole,
    /// In partitions, with their keys in a table beside them.
    Partitioned,
}

impl Layout {
    /// A statement for this layout. The files are for one table, and say in comments where a partitioned log is read otherwise:
    ///
    /// - `events /* or their keys */`: only columns of the keys are read;
    /// - `events /* by their keys */`: the keys find the events, by the index that is named, or in the order of the streams;
    /// - `events /* and their keys */`: tables that are maintained;
    /// - `firefly_archived_streams /* that count */`: without events that are prepared to leave the log with their partition.
    pub(crate) fn of(self, sql: &str) -> Cow<'_, str> {
        if self == Self::Whole || !(sql.contains("events /*") || sql.contains("streams /*")) {
            return sql.into();
        }
        let sql = or_their_keys(sql).replace(
            "events /* and their keys */",
            "events, firefly_event_keys, firefly_partitions, firefly_leaving",
        );
        let that_count = format!("(\n{})", without_comment(THAT_COUNT));
        by_keys(&sql.replace("firefly_archived_streams /* that count */", &that_count)).into()
    }
}

/// Each statement names an index of the keys. While a conversion copies the keys, their indexes have other names. So a connection that still
/// takes the log for partitioned, because it was idle while the log was one table, gets an error, and no part of the keys.
fn or_their_keys(sql: &str) -> String {
    replaced(sql, "events /* or their keys */", |next| {
        let after_alias = next
            .strip_prefix(" AS ")
            .map_or(next, |alias| alias.trim_start_matches(char::is_alphabetic));
        let alias = &next[..next.len() - after_alias.len()];
        let index = match after_alias.starts_with(" FORCE INDEX") {
            true => "",
            false => " USE INDEX (PRIMARY, idx_events_event_id, idx_events_aggregate_version)",
        };
        (format!("firefly_event_keys{alias}{index}"), after_alias)
    })
}

fn by_keys(sql: &str) -> String {
    replaced(sql, "events /* by their keys */", |next| {
        let named = next
            .strip_prefix(" FORCE INDEX (")
            .and_then(|next| next.split_once(')'));
        let (index, rest) = named.unwrap_or(("idx_events_aggregate_version", next));
        let by_keys = without_comment(BY_KEYS).replace("{index}", index);
        (format!("(\n{by_keys}) AS events"), rest)
    })
}

/// A statement in which each of these markers is replaced. `replacement` gets what follows the marker, and returns what comes instead of the
/// marker, and the rest that stays.
fn replaced(sql: &str, marker: &str, replacement: impl Fn(&str) -> (String, &str)) -> String {
    let mut parts = sql.split(marker);
    let mut found = parts.next().unwrap_or_default().to_owned();
    for next in parts {
        let (instead, rest) = replacement(next);
        found += &instead;
        found += rest;
    }
    found
}

const BY_KEYS: &str = include_str!("../sql/partitions/by_keys.sql");
const THAT_COUNT: &str = include_str!("../sql/partitions/archived_that_count.sql");

/// A condition for a partitioned log, which is true if the row of the archived event `event` is no longer in the log.
pub(crate) fn has_left() -> &'static str {
    without_comment(include_str!("../sql/partitions/has_left.sql")).trim_end()
}

/// A statement without the comment before it, to be part of another.
fn without_comment(sql: &str) -> &str {
    let mut rest = sql;
    while let Some(line) = rest.strip_prefix("--") {
        rest = line.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}

/// What makes a log partitioned: the keys and the triggers that write them, each with its name, and the partitioned table.
pub(crate) const KEYS: &str = include_str!("../sql/partitions/keys.sql");
pub(crate) const KEEP_KEYS: &[(&str, &str)] = &[
    ("trigger_events_guard", include_str!("../sql/partitions/guard.sql")),
    ("trigger_events_keys", include_str!("../sql/partitions/keep_keys.sql")),
    (
        "trigger_events_keys_deleted",
        include_str!("../sql/partitions/forget_keys.sql"),
    ),
    (
        "trigger_events_keys_updated",
        include_str!("../sql/partitions/correct_keys.sql"),
    ),
];
pub(crate) const PARTITION_EVENTS: &str = include_str!("../sql/partitions/events_partitioned.sql");

/// The steps of a conversion into partitions or into one table, and the triggers that copy what is written meanwhile. The one that inserts
/// copies is made last, so that each copy is updated and deleted.
pub(crate) const CONVERSION_TABLE: &str = include_str!("../sql/partitions/conversion.sql");
pub(crate) const NEXT_EVENTS: &str = include_str!("../sql/partitions/next_events.sql");
pub(crate) const WHOLE_EVENTS: &str = include_str!("../sql/partitions/events_whole.sql");
pub(crate) const COPY_CHANGES: &[(&str, &str)] = &[
    (
        "trigger_events_next_deleted",
        include_str!("../sql/partitions/copy_deleted.sql"),
    ),
    (
        "trigger_events_next_updated",
        include_str!("../sql/partitions/copy_updated.sql"),
    ),
    (
        "trigger_events_next_inserted",
        include_str!("../sql/partitions/copy_inserted.sql"),
    ),
];
pub(crate) const COPY_EVENTS: &str = include_str!("../sql/partitions/copy_events.sql");
pub(crate) const COUNT_COPIED: &str = include_str!("../sql/partitions/count_copied.sql");
pub(crate) const SWAP_INTO_PARTITIONS: &str = include_str!("../sql/partitions/swap_into_partitions.sql");
pub(crate) const SWAP_INTO_ONE_TABLE: &str = include_str!("../sql/partitions/swap_into_one_table.sql");

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

    use firefly_eventstore_test_servers::{Flavour, MysqlServer, mariadb_unless_missing, mysql_unless_missing};
    use mysql::prelude::Queryable;

    use super::Layout;
    use crate::pool::Location;
    use crate::{MysqlEventStore, Partitions};

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
            is_accepted_by(server, Layout::Whole);
            is_accepted_by(server, Layout::Partitioned);
        }
    }

    #[test]
    fn every_file_is_accepted_by_mariadb() {
        if let Some(server) = mariadb_unless_missing() {
            is_accepted_by(server, Layout::Whole);
            is_accepted_by(server, Layout::Partitioned);
        }
    }

    /// MariaDB opens every table of every database if a statement does not name the column by which it finds one.
    #[test]
    fn what_mariadb_tells_of_the_schema_is_of_one_database() {
        let Some(server) = mariadb_unless_missing() else { return };
        let database = server.new_database();
        let builder = MysqlEventStore::builder(database.url());
        builder.partitions(Partitions::by_events(50)).migrate().unwrap();
        let opts = mysql::Opts::from_url(database.url()).unwrap();
        let mut client = Location::new(opts).open().unwrap().client;
        let of_schemas = super::ALL
            .iter()
            .filter(|(_, sql)| sql.contains("_schema = DATABASE()"));
        for (file, sql) in of_schemas {
            let plan: Vec<mysql::Row> = client.query(format!("EXPLAIN {}", sql.replace('?', "NULL"))).unwrap();
            for row in plan {
                let extra: Option<String> = row.get("Extra").unwrap();
                assert!(!extra.unwrap_or_default().contains("Scanned all databases"), "{file}");
            }
        }
    }

    fn is_accepted_by(server: &MysqlServer, layout: Layout) {
        let database = server.new_database();
        let builder = MysqlEventStore::builder(database.url());
        match layout {
            Layout::Whole => builder.migrate().unwrap(),
            Layout::Partitioned => builder.partitions(Partitions::by_events(50)).migrate().unwrap(),
        };
        let opts = mysql::Opts::from_url(database.url()).unwrap();
        let mut client = Location::new(opts).open().unwrap().client;
        client.query_drop(super::CONVERSION_TABLE).unwrap();
        for (file, sql) in super::ALL {
            let for_the_other = match layout {
                Layout::Whole => FOR_PARTITIONS,
                Layout::Partitioned => FOR_ONE_TABLE,
            };
            let is_of_mariadb = *file == "remains_of_table.sql";
            if for_the_other.contains(file) || (is_of_mariadb && server.flavour() == Flavour::Mysql) {
                continue;
            }
            let sql = &*layout.of(sql);
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
                "keep_archived_stream.sql" | "prepare_leaving.sql" => {
                    client.prep(sql.replace("{rows}", "(?, ?, ?, ?, ?, ?, ?, ?)")).map(drop)
                }
                "ends_of_partition.sql" | "unprepared.sql" => {
                    client.prep(sql.replace("{partition}", "events_from_1_to_50")).map(drop)
                }
                "keep_key.sql" => client.prep(format!("{sql} (?, ?, ?, ?, ?)")).map(drop),
                "locate.sql" | "locate_partitioned.sql" => {
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
                | "forget_prepared_stream.sql"
                | "restore_archived_stream.sql"
                | "remove_event.sql" => client.prep(format!("{sql} {}", super::list(3))).map(drop),
                "prepared.sql" => client
                    .prep(sql.replace("{after}", "0").replace("{until}", "1"))
                    .map(drop),
                "xa_recover.sql" => client.query_drop(sql),
                // These cannot be prepared on either server, and must run in this order.
                "cover_other_writers.sql" => client.query_drop(sql),
                "integrity_check.sql" => client.query_drop(sql),
                "restore_table.sql" => client.query_drop(sql),
                "do_not_cover_other_writers.sql" => client.query_drop(sql),
                _ => client.prep(sql).map(drop),
            };
            accepted.unwrap_or_else(|error| panic!("{file} is refused: {error}"));
        }
    }

    /// What only a log in one table has.
    const FOR_ONE_TABLE: &[&str] = &[
        "append_gate_and_guard.sql",
        "append_guard.sql",
        "append_guard_archived.sql",
        "append_heads.sql",
        "locate.sql",
    ];

    /// What only a partitioned log has.
    const FOR_PARTITIONS: &[&str] = &[
        "begin_leaving.sql",
        "choose_partitions.sql",
        "events_of_partition.sql",
        "finish_leaving.sql",
        "forget_left_keys.sql",
        "forget_prepared_stream.sql",
        "keys_without_event.sql",
        "leaving.sql",
        "leaving_locked.sql",
        "locate_partitioned.sql",
        "partitions.sql",
        "prepare_leaving.sql",
        "restore_archived_stream.sql",
        "ends_of_partition.sql",
        "unprepared.sql",
        "without_keys.sql",
    ];
}
