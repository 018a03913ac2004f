//! The statements, each from its own file.

firefly_eventstore_core::backend::statements! {
    ADOPT_EVENT = "adopt_event.sql";
    AGGREGATE_SUMMARIES = "aggregate_summaries.sql";
    ANALYZE = "analyze.sql";
    APPEND = "append.sql";
    ARCHIVED_IN = "archived_in.sql";
    ARCHIVED_KEY = "archived_key.sql";
    ARCHIVED_STREAM = "archived_stream.sql";
    BROKEN_STREAM = "broken_stream.sql";
    CANARY = "canary.sql";
    CONSUMER_FORGET_MEMBERS = "consumer_forget_members.sql";
    COPY_WAL = "copy_wal.sql";
    CUT_ARCHIVED_STREAM = "cut_archived_stream.sql";
    FOREIGN_KEY_CHECK = "foreign_key_check.sql";
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
    NEXT_SEQUENCE = "next_sequence.sql";
    OBJECTS_ON_TABLES = "objects_on_tables.sql";
    OWN_DATABASE = "own_database.sql";
    RECORD_MIGRATION = "record_migration.sql";
    REMOVE_EVENT = "remove_event.sql";
    RESTORE_TABLE = "restore_table.sql";
    RESTORE_UNTIL_SEQUENCE = "restore_until_sequence.sql";
    RESTORE_UNTIL_TIME = "restore_until_time.sql";
    SCHEMA_NAMES = "schema_names.sql";
    TABLE_COLUMNS = "table_columns.sql";
    VACUUM = "vacuum.sql";
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
}
