//! The statements, each from its own file.

macro_rules! statements {
    ($($NAME:ident = $file:literal;)*) => {
        $(pub(crate) const $NAME: &str = include_str!(concat!("../sql/queries/", $file));)*

        /// Every statement, so that a test can prepare each.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($file, $NAME),)*];
    };
}

statements! {
    ADOPT_EVENT = "adopt_event.sql";
    AGGREGATE_ACTIVITY = "aggregate_activity.sql";
    AGGREGATE_SUMMARIES = "aggregate_summaries.sql";
    ANALYZE = "analyze.sql";
    APPEND = "append.sql";
    APPLIED_MIGRATIONS = "applied_migrations.sql";
    ARCHIVED_IN = "archived_in.sql";
    ARCHIVED_KEY = "archived_key.sql";
    ARCHIVED_STREAM = "archived_stream.sql";
    ARCHIVES = "archives.sql";
    BROKEN_STREAM = "broken_stream.sql";
    CANARY = "canary.sql";
    CONSUMER_COUNT_PARKED = "consumer_count_parked.sql";
    CONSUMER_FORGET_MEMBER = "consumer_forget_member.sql";
    CONSUMER_FORGET_MEMBERS = "consumer_forget_members.sql";
    CONSUMER_FREE_SLOTS = "consumer_free_slots.sql";
    CONSUMER_HAND = "consumer_hand.sql";
    CONSUMER_LOCK_SLOT = "consumer_lock_slot.sql";
    CONSUMER_MEMBERS = "consumer_members.sql";
    CONSUMER_PARK = "consumer_park.sql";
    CONSUMER_PARKED = "consumer_parked.sql";
    CONSUMER_PARKED_OF = "consumer_parked_of.sql";
    CONSUMER_PARKED_OF_AGGREGATE = "consumer_parked_of_aggregate.sql";
    CONSUMER_REGISTER = "consumer_register.sql";
    CONSUMER_RENEW = "consumer_renew.sql";
    CONSUMER_REPLAY = "consumer_replay.sql";
    CONSUMER_SAVE = "consumer_save.sql";
    CONSUMER_SEE_MEMBER = "consumer_see_member.sql";
    CONSUMER_SLOTS = "consumer_slots.sql";
    CONSUMER_SLOTS_OF = "consumer_slots_of.sql";
    CONSUMER_UNPARK = "consumer_unpark.sql";
    COUNT_SNAPSHOTS = "count_snapshots.sql";
    CUT_ARCHIVED_STREAM = "cut_archived_stream.sql";
    DELETE_SNAPSHOTS = "delete_snapshots.sql";
    DELETE_SNAPSHOTS_OLDER = "delete_snapshots_older.sql";
    EVENT_STATISTICS = "event_statistics.sql";
    EVENT_TYPE_DISTRIBUTION = "event_type_distribution.sql";
    FIND_SNAPSHOTS = "find_snapshots.sql";
    FOREIGN_KEY_CHECK = "foreign_key_check.sql";
    FORGET_ARCHIVE = "forget_archive.sql";
    FORGET_ARCHIVED_STREAM = "forget_archived_stream.sql";
    FORGET_KEY = "forget_key.sql";
    FORGET_SEQUENCE = "forget_sequence.sql";
    FUNCTIONS = "functions.sql";
    HAS_DBSTAT = "has_dbstat.sql";
    HAS_TABLE = "has_table.sql";
    HEAD = "head.sql";
    HISTORY = "history.sql";
    INDEXES = "indexes.sql";
    INDEX_BYTES = "index_bytes.sql";
    INSERT_SEAL = "insert_seal.sql";
    INTEGRITY_CHECK = "integrity_check.sql";
    KEEP_ARCHIVED_STREAM = "keep_archived_stream.sql";
    KEEP_KEY = "keep_key.sql";
    KEEP_SEQUENCE = "keep_sequence.sql";
    LAST_SEQUENCE = "last_sequence.sql";
    LIVE_KEY = "live_key.sql";
    LOAD = "load.sql";
    LOAD_BACKWARDS = "load_backwards.sql";
    LOAD_FROM_SNAPSHOT = "load_from_snapshot.sql";
    LOCATE = "locate.sql";
    LOCATE_ARCHIVED = "locate_archived.sql";
    LOG = "log.sql";
    MARK = "mark.sql";
    NEWEST_SEALS = "newest_seals.sql";
    NEXT_SEQUENCE = "next_sequence.sql";
    OBJECTS_ON_TABLES = "objects_on_tables.sql";
    OWN_DATABASE = "own_database.sql";
    RECORD_ARCHIVE = "record_archive.sql";
    RECORD_MIGRATION = "record_migration.sql";
    REMOVE_EVENT = "remove_event.sql";
    RESTORE_TABLE = "restore_table.sql";
    RESTORE_UNTIL_SEQUENCE = "restore_until_sequence.sql";
    RESTORE_UNTIL_TIME = "restore_until_time.sql";
    SAVE_SNAPSHOT = "save_snapshot.sql";
    SCHEMA_NAMES = "schema_names.sql";
    SEALS_AFTER = "seals_after.sql";
    SNAPSHOTS_AFTER = "snapshots_after.sql";
    SNAPSHOT_STATISTICS = "snapshot_statistics.sql";
    TABLE_COLUMNS = "table_columns.sql";
    TOTALS = "totals.sql";
    VACUUM = "vacuum.sql";
    VERSION_AT_SEQUENCE = "version_at_sequence.sql";
    VERSION_AT_TIME = "version_at_time.sql";
    WAL_CHECKPOINT = "wal_checkpoint.sql";
}

#[cfg(test)]
mod tests {
    use firefly_eventstore_core::Error;

    use crate::{SqliteEventStore, SqliteTransaction};

    #[test]
    fn every_statement_is_prepared_by_sqlite() {
        let store = SqliteEventStore::in_memory().unwrap();
        let prepare = |sql: &str| store.transaction(|tx| Ok::<_, Error>(tx.connection().prepare(sql).map(drop)));
        let has_dbstat = store.transaction(|tx| {
            let has_dbstat = tx.connection().query_row(super::HAS_DBSTAT, [], |row| row.get(0));
            Ok::<bool, Error>(has_dbstat.unwrap())
        });
        let has_dbstat = has_dbstat.unwrap();
        for (file, sql) in super::ALL {
            if *sql == super::INDEX_BYTES && !has_dbstat {
                continue; // nor does the store run it there
            }
            prepare(sql).unwrap().unwrap_or_else(|error| panic!("{file}: {error}"));
            if *sql == super::RESTORE_TABLE {
                // The statements that come after it fill the table.
                let make = |tx: &mut SqliteTransaction<'_>| Ok::<_, Error>(tx.connection().execute_batch(sql));
                store.transaction(make).unwrap().unwrap();
            }
        }
        assert!(prepare("SELECT nothing FROM events").unwrap().is_err());
    }

    #[test]
    fn every_file_is_a_statement() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/queries");
        for file in std::fs::read_dir(directory).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(super::ALL.iter().any(|(file, _)| *file == name), "{name} is not listed");
        }
    }
}
