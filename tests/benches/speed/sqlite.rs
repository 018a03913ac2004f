//! SQLite, in a file, with each of the two levels of durability.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firefly_eventstore_core::consumer::{BoxError, Projection, project};
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::{EventEnvelope, EventQuery};
use firefly_eventstore_sqlite::{Indexes, SqliteEventStore, SqliteTransaction, Synchronous};
use rusqlite::{Connection, Row, params};
use tempfile::TempDir;
use uuid::Uuid;

use crate::backend::{Applied, Backend, Common, Database, Projector, Raw, Schema, counted};
use crate::events::Sample;

pub(crate) struct Sqlite {
    pub(crate) synchronous: Synchronous,
    pub(crate) scratch: PathBuf,
}

struct File {
    directory: TempDir,
    synchronous: Synchronous,
}

const LEAN: &str = "
    CREATE TABLE events (
        global_sequence   INTEGER PRIMARY KEY,
        event_id          TEXT NOT NULL UNIQUE,
        aggregate_id      TEXT NOT NULL,
        aggregate_type    TEXT NOT NULL,
        aggregate_version INTEGER NOT NULL,
        event_type        TEXT NOT NULL,
        event_data        TEXT NOT NULL,
        metadata          TEXT,
        created_at        TEXT NOT NULL,
        updated_at        TEXT,
        created_by        TEXT,
        tenant_id         TEXT,
        correlation_id    TEXT,
        causation_id      TEXT,
        checksum          TEXT,
        UNIQUE (aggregate_id, aggregate_version)
    )";

const INSERT: &str = "
    INSERT INTO events (
        event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata, created_at,
        created_by, tenant_id, correlation_id, causation_id, checksum
    )
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

const COLUMNS: &str = "
    event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data, metadata,
    created_at, updated_at, created_by, tenant_id, correlation_id, causation_id, event_size_bytes, checksum";

impl Backend for Sqlite {
    /// SQLite's own dump is another database file.
    fn own_dump(&self, database: &str, file: &Path) {
        let connection = open(Path::new(database), self.synchronous);
        let file = file.display().to_string();
        connection.execute("ATTACH ?1 AS dump", [file]).unwrap();
        connection
            .execute_batch("CREATE TABLE dump.events AS SELECT * FROM main.events")
            .unwrap();
    }

    fn own_restore(&self, file: &Path, database: &str) {
        let connection = open(Path::new(database), self.synchronous);
        let columns = "SELECT group_concat(name) FROM pragma_table_info('events')";
        let columns: String = connection.query_row(columns, [], |row| row.get(0)).unwrap();
        let file = file.display().to_string();
        connection.execute("ATTACH ?1 AS dump", [file]).unwrap();
        let insert = format!("INSERT INTO main.events ({columns}) SELECT {columns} FROM dump.events");
        connection.execute(&insert, []).unwrap();
    }

    fn own_check(&self, database: &str) {
        let connection = open(Path::new(database), self.synchronous);
        let check = connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(check.unwrap(), "ok");
    }

    fn name(&self) -> &'static str {
        match self.synchronous {
            Synchronous::Normal => "sqlite NORMAL",
            _ => "sqlite FULL",
        }
    }

    fn database(&self, schema: Schema) -> Box<dyn Database> {
        let file = File {
            directory: tempfile::tempdir_in(&self.scratch).unwrap(),
            synchronous: self.synchronous,
        };
        let builder = SqliteEventStore::builder(file.path());
        match schema {
            Schema::Lean => {
                let connection = open(&file.path(), Synchronous::Full);
                connection.pragma_update(None, "journal_mode", "wal").unwrap();
                connection.execute_batch(LEAN).unwrap();
            }
            Schema::Ours => drop(builder.open().unwrap()),
            Schema::OursWithAllIndexes => drop(builder.indexes(Indexes::Full).open().unwrap()),
            Schema::OursWithoutIndexes => drop(builder.indexes(Indexes::Lean).open().unwrap()),
            Schema::Empty => {}
        }
        Box::new(file)
    }

    fn has_many_writers(&self) -> bool {
        false
    }

    fn append_target(&self, threads: usize) -> f64 {
        // Threads that append at once share a commit.
        if threads == 16 && self.synchronous == Synchronous::Full {
            4.0
        } else {
            0.9
        }
    }
}

impl File {
    fn path(&self) -> PathBuf {
        self.directory.path().join("events.db")
    }
}

impl Database for File {
    fn raw(&self) -> Box<dyn Raw> {
        Box::new(open(&self.path(), self.synchronous))
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn store(&self) -> Arc<dyn Operations> {
        let builder = SqliteEventStore::builder(self.path()).synchronous(self.synchronous);
        Arc::new(builder.open().unwrap())
    }

    fn make_read_model(&self) {
        let tables = "
            CREATE TABLE counts (name TEXT, aggregate_id TEXT, events INTEGER NOT NULL, PRIMARY KEY (name, aggregate_id)) WITHOUT ROWID;
            CREATE TABLE checkpoints (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID";
        open(&self.path(), self.synchronous).execute_batch(tables).unwrap();
    }

    fn projector(&self) -> Projector {
        let builder = SqliteEventStore::builder(self.path()).synchronous(self.synchronous);
        let store = builder.open().unwrap();
        Box::new(move |name, how| {
            let name = name.to_owned();
            project(&store, &Counts { name, how }).unwrap()
        })
    }
}

/// Applies events to the read model. There are no round trips, so each event is a statement of its own.
fn count(connection: &Connection, name: &str, aggregates: impl Iterator<Item = Uuid>, how: Applied) {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO counts VALUES (?1, ?2, ?3)
             ON CONFLICT (name, aggregate_id) DO UPDATE SET events = events + excluded.events",
        )
        .unwrap();
    let mut buffer = Uuid::encode_buffer();
    let mut count = |id: Uuid, events: i64| {
        let id = &*id.hyphenated().encode_lower(&mut buffer);
        upsert.execute(params![name, id, events]).unwrap();
    };
    match how {
        Applied::OneByOne => aggregates.for_each(|id| count(id, 1)),
        Applied::Together => counted(aggregates)
            .into_iter()
            .for_each(|(id, events)| count(id, events)),
    }
}

/// How many events each aggregate has.
struct Counts {
    name: String,
    how: Applied,
}

impl Projection<SqliteEventStore> for Counts {
    fn name(&self) -> &str {
        &self.name
    }

    fn query(&self) -> firefly_eventstore_core::Result<EventQuery> {
        Ok(EventQuery::new())
    }

    fn apply(&self, tx: &mut SqliteTransaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
        self.apply_all(tx, std::slice::from_ref(event))
    }

    fn apply_all(&self, tx: &mut SqliteTransaction<'_>, events: &[EventEnvelope]) -> Result<(), BoxError> {
        let aggregates = events.iter().map(|event| event.aggregate.id());
        count(tx.connection(), &self.name, aggregates, self.how);
        Ok(())
    }
}

/// A connection with a store's settings.
pub(crate) fn open(path: &Path, synchronous: Synchronous) -> Connection {
    let connection = Connection::open(path).unwrap();
    // With sixteen writers and no queue, one of them may wait for long.
    connection.busy_timeout(Duration::from_secs(120)).unwrap();
    let level = match synchronous {
        Synchronous::Normal => "NORMAL",
        _ => "FULL",
    };
    connection.pragma_update(None, "synchronous", level).unwrap();
    connection
}

impl Raw for Connection {
    fn append(&mut self, common: &Common<'_>, events: &[&Sample]) {
        let version = common.aggregate.version;
        if let [event] = events {
            return insert(self, common, version + 1, event);
        }
        run(self, "BEGIN IMMEDIATE");
        for (version, event) in (version + 1..).zip(events) {
            insert(self, common, version, event);
        }
        run(self, "COMMIT");
    }

    fn load(&mut self, aggregate_id: Uuid) -> usize {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE aggregate_id = ?1 ORDER BY aggregate_version");
        let mut buffer = Uuid::encode_buffer();
        let aggregate_id = &*aggregate_id.hyphenated().encode_lower(&mut buffer);
        collect(self, &sql, params![aggregate_id]).len()
    }

    fn page_of_type(&mut self, event_type: &str, after: i64, rows: i64) -> usize {
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE event_type = ?1 AND global_sequence > ?2
             ORDER BY global_sequence LIMIT ?3"
        );
        collect(self, &sql, params![event_type, after, rows]).len()
    }

    fn scan(&mut self, events: i64) -> usize {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE global_sequence <= ?1 ORDER BY global_sequence");
        let mut statement = self.prepare_cached(&sql).unwrap();
        let rows = statement.query_map([events], Event::of).unwrap();
        rows.inspect(|event| assert!(event.is_ok())).count()
    }

    fn page(&mut self, after: i64, until: i64, rows: i64) -> Vec<(i64, Uuid)> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE global_sequence > ?1 AND global_sequence <= ?2
             ORDER BY global_sequence LIMIT ?3"
        );
        let page = collect(self, &sql, params![after, until, rows]);
        page.iter()
            .map(|event| (event.global_sequence, event.aggregate_id))
            .collect()
    }

    fn last_sequence(&mut self) -> i64 {
        let mut statement = self.prepare_cached("SELECT MAX(global_sequence) FROM events").unwrap();
        let last: Option<i64> = statement.query_one([], |row| row.get(0)).unwrap();
        last.unwrap_or(0)
    }

    fn begin_read_model(&mut self, name: &str) {
        self.execute("INSERT INTO checkpoints VALUES (?1, 0)", [name]).unwrap();
    }

    fn apply(&mut self, name: &str, aggregates: &[Uuid], how: Applied, to: i64) {
        run(self, "BEGIN IMMEDIATE");
        let position: i64 = self
            .prepare_cached("SELECT position FROM checkpoints WHERE name = ?1")
            .unwrap()
            .query_one([name], |row| row.get(0))
            .unwrap();
        assert!(position < to);
        count(self, name, aggregates.iter().copied(), how);
        self.prepare_cached("UPDATE checkpoints SET position = ?2 WHERE name = ?1")
            .unwrap()
            .execute(params![name, to])
            .unwrap();
        run(self, "COMMIT");
    }
}

fn insert(connection: &Connection, common: &Common<'_>, version: i64, event: &Sample) {
    let mut event_id = Uuid::encode_buffer();
    let row = &event.row;
    connection
        .prepare_cached(INSERT)
        .unwrap()
        .execute(params![
            &*Uuid::now_v7().hyphenated().encode_lower(&mut event_id),
            common.aggregate.id_text,
            common.aggregate.key.aggregate_type().as_str(),
            version,
            row.event_type,
            &*row.data,
            row.metadata.as_deref(),
            common.now.text,
            row.created_by,
            None::<&str>,
            common.correlation_id,
            None::<&str>,
            row.checksum,
        ])
        .unwrap();
}

fn run(connection: &Connection, sql: &str) {
    connection.prepare_cached(sql).unwrap().execute([]).unwrap();
}

fn collect(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Vec<Event> {
    let mut statement = connection.prepare_cached(sql).unwrap();
    let events = statement.query_map(parameters, Event::of).unwrap();
    events.collect::<Result<_, _>>().unwrap()
}

/// An event with every column decoded into what it owns; the JSON and the time stay text.
#[expect(dead_code, reason = "most of what the raw driver reads is thrown away")]
pub(crate) struct Event {
    event_id: Uuid,
    aggregate_id: Uuid,
    aggregate_type: String,
    version: i64,
    global_sequence: i64,
    event_type: String,
    data: String,
    metadata: Option<String>,
    created_at: String,
    updated_at: Option<String>,
    created_by: Option<String>,
    tenant_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    size_bytes: u32,
    checksum: Option<String>,
}

impl Event {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            event_id: id(row, 0)?,
            aggregate_id: id(row, 1)?,
            aggregate_type: row.get(2)?,
            version: row.get(3)?,
            global_sequence: row.get(4)?,
            event_type: row.get(5)?,
            data: row.get(6)?,
            metadata: row.get(7)?,
            created_at: row.get(8)?,
            updated_at: row.get(9)?,
            created_by: row.get(10)?,
            tenant_id: row.get(11)?,
            correlation_id: row.get(12)?,
            causation_id: row.get(13)?,
            size_bytes: row.get(14)?,
            checksum: row.get(15)?,
        })
    }
}

fn id(row: &Row<'_>, index: usize) -> rusqlite::Result<Uuid> {
    Ok(Uuid::try_parse(row.get_ref(index)?.as_str()?).unwrap())
}
