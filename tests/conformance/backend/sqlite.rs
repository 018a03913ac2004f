//! SQLite, in memory and in a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use firefly_eventstore_conformance::{Ability, Damage, Environment, FAULTY, Handle, Unmigrated};
use firefly_eventstore_core::consumer::BoxError;
use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Limits, Migration};
use firefly_eventstore_sqlite::driver::types::Value;
use firefly_eventstore_sqlite::driver::{Connection, params, params_from_iter};
use firefly_eventstore_sqlite::{Indexes, SqliteBuilder, SqliteEventStore, Synchronous};
use tempfile::TempDir;
use time::macros::format_description;

use super::{EVENT_COLUMNS, Fresh, SEAL_COLUMNS, SNAPSHOT_COLUMNS, unless_missing};

/// SQLite in memory, with every index, so that every way to find events is tested.
pub(crate) fn sqlite_memory() -> Fresh {
    unless_missing(
        "sqlite",
        Ok(Box::new(SqliteMemory(in_memory(Indexes::Full).open().unwrap()))),
    )
}

/// SQLite in memory, without the optional indexes.
pub(crate) fn sqlite_lean() -> Fresh {
    unless_missing(
        "sqlite",
        Ok(Box::new(SqliteMemory(in_memory(Indexes::Lean).open().unwrap()))),
    )
}

fn in_memory(indexes: Indexes) -> SqliteBuilder {
    SqliteEventStore::in_memory_builder().indexes(indexes)
}

/// SQLite in a file, with the usual indexes.
pub(crate) fn sqlite_file() -> Fresh {
    unless_missing("sqlite", {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        Ok(Box::new(SqliteFile {
            store: file(&path).open().unwrap(),
            path,
            _directory: directory,
        }))
    })
}

/// Not durable, to be fast: durability is tested elsewhere.
fn file(path: &PathBuf) -> SqliteBuilder {
    SqliteEventStore::builder(path).synchronous(Synchronous::Normal)
}

struct SqliteMemory(SqliteEventStore);

impl SqliteMemory {
    /// A copy of the database with the same rows, also damaged ones: a database in memory cannot be opened twice.
    fn copy(&self, options: SqliteBuilder) -> Handle {
        let copy = options.open().unwrap();
        for table in ["events", "snapshots", "firefly_seals"] {
            let (columns, rows) = write(&self.0, |connection| rows_of(connection, table));
            let marks = vec!["?"; columns.len()].join(", ");
            let insert = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
            write(&copy, |connection| {
                for row in rows {
                    connection.execute(&insert, params_from_iter(row)).unwrap();
                }
            });
        }
        Arc::new(copy)
    }
}

fn rows_of(connection: &Connection, table: &str) -> (Vec<String>, Vec<Vec<Value>>) {
    // Generated columns are left out, because they cannot be written.
    let mut columns = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
    let columns: Vec<String> = columns
        .query_map([table], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let select = format!("SELECT {} FROM {table} ORDER BY rowid", columns.join(", "));
    let mut rows = connection.prepare(&select).unwrap();
    let rows = rows
        .query_map([], |row| (0..columns.len()).map(|index| row.get(index)).collect())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    (columns, rows)
}

impl Environment for SqliteMemory {
    fn store(&self) -> Handle {
        Arc::new(self.0.clone())
    }

    fn reopen(&self) -> Handle {
        self.store()
    }

    /// All handles of the database share one store, so a truncated log would be reported once only. The database cannot exist without its
    /// schema.
    fn lacks(&self) -> &[Ability] {
        &[Ability::CutLog, Ability::Timeouts, Ability::Schema]
    }

    fn store_with(&self, limits: Limits) -> Handle {
        self.copy(SqliteEventStore::in_memory_builder().limits(limits))
    }

    fn verifying_store(&self) -> Handle {
        self.copy(SqliteEventStore::in_memory_builder().verify_on_read(true))
    }

    fn damage(&self, event: Uuid, damage: &Damage<'_>) {
        damage_event(&self.0, event, damage);
    }

    fn rewrite_log(&self, events: &[EventEnvelope]) {
        rewrite(&self.0, "events", &EVENT_COLUMNS, events.iter().map(values_of_event));
    }

    fn rewrite_snapshots(&self, snapshots: &[Snapshot]) {
        let rows = snapshots.iter().map(values_of_snapshot);
        rewrite(&self.0, "snapshots", &SNAPSHOT_COLUMNS, rows);
    }

    fn rewrite_seals(&self, seals: &[Seal]) {
        rewrite(
            &self.0,
            "firefly_seals",
            &SEAL_COLUMNS,
            seals.iter().map(values_of_seal),
        );
    }

    fn break_at(&self, _position: u64) {
        refuse_faulty(&self.0);
    }

    fn repair(&self) {
        accept_faulty(&self.0);
    }

    fn make_hole(&self) -> GlobalSequence {
        delete_last_but_one(&self.0)
    }

    fn reads_beside_a_transaction(&self) -> bool {
        false
    }
}

struct SqliteFile {
    store: SqliteEventStore,
    path: PathBuf,
    _directory: TempDir,
}

impl Environment for SqliteFile {
    fn store(&self) -> Handle {
        Arc::new(self.store.clone())
    }

    fn reopen(&self) -> Handle {
        Arc::new(file(&self.path).open().unwrap())
    }

    fn store_with(&self, limits: Limits) -> Handle {
        Arc::new(file(&self.path).limits(limits).open().unwrap())
    }

    fn verifying_store(&self) -> Handle {
        Arc::new(file(&self.path).verify_on_read(true).open().unwrap())
    }

    fn damage(&self, event: Uuid, damage: &Damage<'_>) {
        damage_event(&self.store, event, damage);
    }

    fn rewrite_log(&self, events: &[EventEnvelope]) {
        rewrite(
            &self.store,
            "events",
            &EVENT_COLUMNS,
            events.iter().map(values_of_event),
        );
    }

    fn rewrite_snapshots(&self, snapshots: &[Snapshot]) {
        let rows = snapshots.iter().map(values_of_snapshot);
        rewrite(&self.store, "snapshots", &SNAPSHOT_COLUMNS, rows);
    }

    fn rewrite_seals(&self, seals: &[Seal]) {
        rewrite(
            &self.store,
            "firefly_seals",
            &SEAL_COLUMNS,
            seals.iter().map(values_of_seal),
        );
    }

    fn break_at(&self, _position: u64) {
        refuse_faulty(&self.store);
    }

    fn repair(&self) {
        accept_faulty(&self.store);
    }

    fn make_hole(&self) -> GlobalSequence {
        delete_last_but_one(&self.store)
    }

    fn cut_log(&self, after: GlobalSequence) {
        delete_after(&self.store, after);
    }

    fn out_of_time(&self) -> BoxError {
        let connection = Connection::open_in_memory().unwrap();
        let (handle, is_over) = (connection.get_interrupt_handle(), AtomicBool::new(false));
        let endless =
            "WITH RECURSIVE endless AS (SELECT 1 UNION ALL SELECT 1 FROM endless) SELECT COUNT(*) FROM endless";
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    handle.interrupt();
                    thread::yield_now();
                }
            });
            let error = connection.execute_batch(endless).unwrap_err();
            is_over.store(true, Ordering::SeqCst);
            error
        });
        error.into()
    }

    fn unmigrated(&self) -> Box<dyn Unmigrated> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.db");
        // An empty file would become a store when it is opened. This one belongs to a program that has its own tables.
        raw(&path, "CREATE TABLE notes (note TEXT NOT NULL)");
        Box::new(UnmigratedFile {
            path,
            _directory: directory,
        })
    }
}

/// Writes to the database behind the store's back.
fn write<R>(store: &SqliteEventStore, work: impl FnOnce(&Connection) -> R) -> R {
    let result: Result<R, Error> = store.transaction(|tx| {
        let connection = tx.connection();
        connection
            .pragma_update(None, "ignore_check_constraints", true)
            .unwrap();
        let result = work(connection);
        connection
            .pragma_update(None, "ignore_check_constraints", false)
            .unwrap();
        Ok(result)
    });
    result.unwrap()
}

fn delete_after(store: &SqliteEventStore, sequence: GlobalSequence) {
    let delete = "DELETE FROM events WHERE global_sequence > ?";
    write(store, |connection| {
        connection.execute(delete, [sequence.as_i64()]).unwrap()
    });
}

fn damage_event(store: &SqliteEventStore, event: Uuid, damage: &Damage<'_>) {
    let (column, value) = match damage {
        Damage::Data(data) => ("event_data", Value::Text((*data).to_owned())),
        Damage::Checksum(checksum) => ("checksum", Value::Text((*checksum).to_owned())),
        Damage::NoChecksum => ("checksum", Value::Null),
        Damage::Version(version) => ("aggregate_version", Value::Integer(version.cast_signed())),
    };
    let update = format!("UPDATE events SET {column} = ?1 WHERE event_id = ?2");
    let updated = write(store, |connection| {
        connection.execute(&update, params![value, event.to_string()]).unwrap()
    });
    assert_eq!(updated, 1);
}

/// Replaces all rows of a table.
fn rewrite(store: &SqliteEventStore, table: &str, columns: &[&str], rows: impl Iterator<Item = Vec<Value>>) {
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
    write(store, |connection| {
        connection.execute(&format!("DELETE FROM {table}"), []).unwrap();
        for row in rows {
            connection.execute(&insert, params_from_iter(row)).unwrap();
        }
    });
}

fn values_of_event(event: &EventEnvelope) -> Vec<Value> {
    let text = |text: Option<&str>| text.map(str::to_owned).into();
    vec![
        event.event_id.to_string().into(),
        event.aggregate.id().to_string().into(),
        event.aggregate.aggregate_type().to_string().into(),
        event.version.as_i64().into(),
        event.global_sequence.as_i64().into(),
        event.event_type.to_string().into(),
        event.data.as_str().to_owned().into(),
        text(event.metadata.as_ref().map(|json| json.as_str())),
        time_text(event.created_at).into(),
        event.updated_at.map(time_text).into(),
        text(event.created_by.as_ref().map(|name| name.as_str())),
        text(event.tenant.as_ref().map(|name| name.as_str())),
        text(event.correlation_id.as_ref().map(|name| name.as_str())),
        text(event.causation_id.as_ref().map(|name| name.as_str())),
        event.checksum.map(|checksum| checksum.to_string()).into(),
    ]
}

fn values_of_snapshot(snapshot: &Snapshot) -> Vec<Value> {
    vec![
        snapshot.snapshot_id.to_string().into(),
        snapshot.aggregate.id().to_string().into(),
        snapshot.aggregate.aggregate_type().to_string().into(),
        snapshot.version.as_i64().into(),
        snapshot.snapshot_type.to_string().into(),
        snapshot.state.as_str().to_owned().into(),
        time_text(snapshot.created_at).into(),
        snapshot.tenant.as_ref().map(|name| name.to_string()).into(),
        snapshot.checksum.map(|checksum| checksum.to_string()).into(),
    ]
}

fn values_of_seal(seal: &Seal) -> Vec<Value> {
    vec![
        seal.global_sequence.as_i64().into(),
        seal.events.cast_signed().into(),
        seal.digest.to_string().into(),
        time_text(seal.sealed_at).into(),
    ]
}

fn time_text(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    time.format(format).unwrap()
}

fn refuse_faulty(store: &SqliteEventStore) {
    write(store, |connection| {
        let trigger = format!(
            "CREATE TRIGGER suite_fault BEFORE INSERT ON events WHEN NEW.event_type = '{FAULTY}'
             BEGIN SELECT RAISE(ABORT, 'the disk makes strange noises'); END"
        );
        connection.execute_batch(&trigger).unwrap();
    });
}

fn accept_faulty(store: &SqliteEventStore) {
    write(store, |connection| {
        connection.execute_batch("DROP TRIGGER suite_fault").unwrap();
    });
}

fn delete_last_but_one(store: &SqliteEventStore) -> GlobalSequence {
    let sequence: i64 = write(store, |connection| {
        let delete = "DELETE FROM events WHERE global_sequence =
                          (SELECT global_sequence FROM events ORDER BY global_sequence DESC LIMIT 1 OFFSET 1)
                      RETURNING global_sequence";
        connection.query_row(delete, [], |row| row.get(0)).unwrap()
    });
    GlobalSequence::try_from(sequence).unwrap()
}

struct UnmigratedFile {
    path: PathBuf,
    _directory: TempDir,
}

fn raw(path: &PathBuf, statements: &str) {
    Connection::open(path).unwrap().execute_batch(statements).unwrap();
}

fn versions(migrations: Vec<Migration>) -> Vec<String> {
    let version = |migration: Migration| migration.version.to_owned();
    migrations.into_iter().map(version).collect()
}

impl Unmigrated for UnmigratedFile {
    fn pending(&self) -> Result<Vec<String>, Error> {
        file(&self.path).pending().map(versions)
    }

    fn migrate(&self) -> Result<Vec<String>, Error> {
        file(&self.path).migrate().map(versions)
    }

    fn open(&self) -> Result<Handle, Error> {
        Ok(Arc::new(file(&self.path).migrate_on_open(false).open()?))
    }

    fn make_newer(&self) {
        raw(
            &self.path,
            "INSERT INTO firefly_schema_history (version, description, checksum) VALUES ('999.0.0', 'from the future', '')",
        );
    }

    fn alter_history(&self) {
        raw(
            &self.path,
            "UPDATE firefly_schema_history SET checksum = replace(checksum, substr(checksum, 1, 1), 'x') WHERE version = '1.0.0'",
        );
    }

    fn make_older(&self) {
        raw(
            &self.path,
            "DELETE FROM firefly_schema_history WHERE rowid = (SELECT MAX(rowid) FROM firefly_schema_history)",
        );
    }
}
