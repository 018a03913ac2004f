//! The statements, each from a file of its own.

use std::borrow::Cow;

firefly_eventstore_core::backend::statements! {
    ADVANCE_SEQUENCE = "advance_sequence.sql";
    AGGREGATE_SUMMARIES = "aggregate_summaries.sql";
    ANALYZE = "analyze.sql";
    ANALYZE_ARCHIVED = "analyze_archived.sql";
    APPEND = "append.sql";
    APPEND_BATCH = "append_batch.sql";
    APPEND_GROUP = "append_group.sql";
    APPEND_ONE = "append_one.sql";
    APPEND_ONE_EXACTLY = "append_one_exactly.sql";
    ARCHIVED_GREW = "archived_grew.sql";
    ARCHIVED_IN = "archived_in.sql";
    ARCHIVED_STREAMS = "archived_streams.sql";
    ATTACH = "attach.sql";
    BEGIN_CONVERSION = "begin_conversion.sql";
    BEGIN_JOIN = "begin_join.sql";
    BEGIN_LEAVING = "begin_leaving.sql";
    BOUND_CONVERSION = "bound_conversion.sql";
    CHANGE_INDEXES = "change_indexes.sql";
    CHANNEL = "channel.sql";
    CHECK_INDEX = "check_index.sql";
    CHOOSE_PARTITIONS = "choose_partitions.sql";
    COLUMNS = "columns.sql";
    CONSUMER_FORGET_MEMBERS = "consumer_forget_members.sql";
    CONSUMER_SAVE_AFTER_WORK = "consumer_save_after_work.sql";
    CONVERSION = "conversion.sql";
    CREATE_RESTORED = "create_restored.sql";
    DO_NOT_NOTIFY = "do_not_notify.sql";
    END_OF_LOG = "end_of_log.sql";
    FILLED_PARTITIONS = "filled_partitions.sql";
    FILL_CHECKSUMS = "fill_checksums.sql";
    FILL_RESTORED = "fill_restored.sql";
    FILL_SNAPSHOT_CHECKSUMS = "fill_snapshot_checksums.sql";
    FIND_IN_SCHEMA = "find_in_schema.sql";
    FINISH_CONVERSION = "finish_conversion.sql";
    FINISH_LEAVING = "finish_leaving.sql";
    FORGET = "forget.sql";
    FORGET_LEFT_KEYS = "forget_left_keys.sql";
    HAS_TABLE = "has_table.sql";
    HEAD = "head.sql";
    HERE = "here.sql";
    HINDRANCES = "hindrances.sql";
    HISTORY = "history.sql";
    IMPORT = "import.sql";
    IN_RECOVERY = "in_recovery.sql";
    INDEX_CHECKER = "index_checker.sql";
    INDEXES = "indexes.sql";
    IS_CONVERSION_KNOWN = "is_conversion_known.sql";
    IS_INDEX_VALID = "is_index_valid.sql";
    IS_LEAVING_PREPARED = "is_leaving_prepared.sql";
    JOINING = "joining.sql";
    KEYS = "keys.sql";
    LAST_SEQUENCES = "last_sequences.sql";
    LEAVING = "leaving.sql";
    LEAVING_KEYS = "leaving_keys.sql";
    LEAVING_STREAMS = "leaving_streams.sql";
    LEFT_TABLES = "left_tables.sql";
    LOAD = "load.sql";
    LOAD_BACKWARDS = "load_backwards.sql";
    LOAD_BACKWARDS_IN_PARTITIONS = "load_backwards_in_partitions.sql";
    LOAD_FROM_SNAPSHOT = "load_from_snapshot.sql";
    LOAD_FROM_SNAPSHOT_IN_PARTITIONS = "load_from_snapshot_in_partitions.sql";
    LOAD_IN_PARTITIONS = "load_in_partitions.sql";
    LOCATE = "locate.sql";
    LOCK_CONVERSION = "lock_conversion.sql";
    LOCK_EVENTS = "lock_events.sql";
    LOCK_MIGRATIONS = "lock_migrations.sql";
    LOCK_PREPARATION = "lock_preparation.sql";
    LOCK_TO_MOVE = "lock_to_move.sql";
    LOCK_TO_SWAP = "lock_to_swap.sql";
    LOG = "log.sql";
    LOOK = "look.sql";
    LOG_END = "log_end.sql";
    MARK = "mark.sql";
    MAY_REPLACE = "may_replace.sql";
    MERGE_PARTITIONS = "merge_partitions.sql";
    NEXT_SEQUENCE = "next_sequence.sql";
    NOTIFY = "notify.sql";
    OBSTACLES = "obstacles.sql";
    OLDEST_WRITER = "oldest_writer.sql";
    OPEN_TRANSACTIONS = "open_transactions.sql";
    PARTITION_STARTS = "partition_starts.sql";
    PARTITIONS = "partitions.sql";
    PARTITIONS_WITHOUT_STREAM_INDEX = "partitions_without_stream_index.sql";
    PIN = "pin.sql";
    PLACE = "place.sql";
    PREPARE_KEYS = "prepare_keys.sql";
    PREPARE_LEAVING = "prepare_leaving.sql";
    PUBLISH_MARK = "publish_mark.sql";
    PUBLISHED_MARK = "published_mark.sql";
    RECORD_MIGRATION = "record_migration.sql";
    REFRESH_SUMMARIES = "refresh_summaries.sql";
    REFRESHED_SUMMARIES = "refreshed_summaries.sql";
    RETIRE = "retire.sql";
    SAVE_CONVERSION = "save_conversion.sql";
    SCHEMA_NAMES = "schema_names.sql";
    SEQUENCE = "sequence.sql";
    SERVER = "server.sql";
    SETTINGS = "settings.sql";
    SKIP_SEQUENCE = "skip_sequence.sql";
    SNAPSHOTS_WITHOUT_CHECKSUM = "snapshots_without_checksum.sql";
    SPLIT_PARTITION = "split_partition.sql";
    SWAP_CONVERSION = "swap_conversion.sql";
    TABLES = "tables.sql";
    TAKES_TYPES = "takes_types.sql";
    TOPOLOGY = "topology.sql";
    TRANSACTIONS_BEFORE_CONVERSION = "transactions_before_conversion.sql";
    UNLOCK_CONVERSION = "unlock_conversion.sql";
    UNLOCK_MIGRATIONS = "unlock_migrations.sql";
    UNVALIDATED_CONSTRAINTS = "unvalidated_constraints.sql";
    VACUUM = "vacuum.sql";
    WITHOUT_CHECKSUM = "without_checksum.sql";
}

/// The layout of a store's events. Statements depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One table, with all keys.
    #[default]
    Whole,
    /// Partitions, with the keys in another table.
    Partitioned,
}

impl Layout {
    /// The layout that `place.sql` returns as text.
    pub(crate) fn told(is_partitioned: Option<&str>) -> Self {
        match is_partitioned {
            Some("t") => Self::Partitioned,
            _ => Self::Whole,
        }
    }

    /// The statement for this layout. The files are written for one table. Comments in them mark what is different for a partitioned log:
    ///
    /// - `events /* or their keys */`: only columns of the keys are read;
    /// - `events /* by their keys */`: the keys find the events;
    /// - `firefly_archived_streams /* that count */`: without events that are prepared to leave the log with their partitions.
    pub(crate) fn of(self, sql: &str) -> Cow<'_, str> {
        if self == Self::Whole || !(sql.contains("events /*") || sql.contains("streams /*")) {
            return sql.into();
        }
        sql.replace("events /* or their keys */", "firefly_event_keys")
            .replace("events /* by their keys */", &format!("(\n{BY_KEYS})"))
            .replace(
                "firefly_archived_streams /* that count */",
                &format!("(\n{THAT_COUNT})"),
            )
            .into()
    }
}

/// What makes a log partitioned: indexes that each partition has, the keys, the partitioned table, further partitions, and the view that is
/// stored.
pub(crate) const INDEX_STREAMS: &str = include_str!("../sql/partitions/index_streams.sql");
pub(crate) const INDEX_TYPES: &str = include_str!("../sql/partitions/index_types.sql");
pub(crate) const BEGIN_BY_TYPE: &str = include_str!("../sql/partitions/begin_by_type.sql");
pub(crate) const PREPARE_PARTITION: &str = include_str!("../sql/partitions/prepare_partition.sql");
pub(crate) const KEEP_KEYS: &str = include_str!("../sql/partitions/keys.sql");
pub(crate) const PARTITION_EVENTS: &str = include_str!("../sql/partitions/events_partitioned.sql");
pub(crate) const MAKE_SUMMARIES: &str = include_str!("../sql/partitions/make_summaries.sql");
pub(crate) const TAKE_SUMMARIES: &str = include_str!("../sql/partitions/take_summaries.sql");
pub(crate) const FORGET_OWN_KEYS: &str = include_str!("../sql/partitions/forget_own_keys.sql");
pub(crate) const OWN_SEQUENCE: &str = include_str!("../sql/partitions/own_sequence.sql");

const BY_KEYS: &str = include_str!("../sql/partitions/by_keys.sql");
const THAT_COUNT: &str = include_str!("../sql/partitions/archived_that_count.sql");

/// A statement without its leading comments, for sending it together with others.
pub(crate) fn without_comments(sql: &str) -> String {
    let lines: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
    lines.join("\n").trim_end().trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use firefly_eventstore_test_servers::postgres_unless_missing;
    use postgres::{Client, NoTls};

    use super::Layout;
    use crate::{Partitions, PostgresEventStore};

    #[test]
    fn every_file_is_accepted_by_the_server() {
        accepts_every_file(Layout::Whole);
    }

    #[test]
    fn every_file_is_accepted_by_the_server_of_a_partitioned_log() {
        accepts_every_file(Layout::Partitioned);
    }

    fn accepts_every_file(layout: Layout) {
        let Some(server) = postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
        let builder = PostgresEventStore::builder(database.url());
        match layout {
            Layout::Whole => builder.migrate().unwrap(),
            Layout::Partitioned => builder.partitions(Partitions::by_events(50)).migrate().unwrap(),
        };
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        let accepted = |file: &str, result: Result<(), postgres::Error>| {
            result.unwrap_or_else(|error| panic!("{file} is refused: {error:?}"));
        };
        client.batch_execute("CREATE EXTENSION amcheck").unwrap();
        let (scripts, statements): (Vec<_>, Vec<_>) = super::ALL.iter().partition(|(file, _)| SCRIPTS.contains(file));
        for script in SCRIPTS {
            for (file, sql) in scripts.iter().filter(|(file, _)| file == script) {
                accepted(file, client.batch_execute(sql));
            }
        }
        for (file, sql) in statements {
            if layout == Layout::Partitioned || !FOR_PARTITIONS.contains(&file) {
                accepted(file, client.prepare(&layout.of(sql)).map(drop));
            }
        }
    }

    /// Objects that only a partitioned log has.
    const FOR_PARTITIONS: &[&str] = &[
        "begin_join.sql",
        "begin_leaving.sql",
        "choose_partitions.sql",
        "filled_partitions.sql",
        "forget_left_keys.sql",
        "is_leaving_prepared.sql",
        "joining.sql",
        "leaving_keys.sql",
        "load_backwards_in_partitions.sql",
        "load_from_snapshot_in_partitions.sql",
        "load_in_partitions.sql",
        "merge_partitions.sql",
        "partitions.sql",
        "partitions_without_stream_index.sql",
        "prepare_keys.sql",
        "prepare_leaving.sql",
        "split_partition.sql",
    ];

    /// Scripts that change the schema or have several statements. They are run, in this order, and not prepared.
    const SCRIPTS: &[&str] = &[
        "create_restored.sql",
        "notify.sql",
        "do_not_notify.sql",
        "forget.sql",
        "lock_preparation.sql",
        "lock_to_move.sql",
        "lock_to_swap.sql",
    ];
}
