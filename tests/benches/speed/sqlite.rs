//! The raw driver, on our schema or on a lean one.

use std::path::Path;
use std::time::Duration;

use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous};
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use crate::events::Sample;

/// Our columns without what our schema adds to them: the three unique keys are what no event store can do without.
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

/// Makes a file with the lean schema.
pub(crate) fn create_lean(path: &Path) {
    let connection = open(path, Synchronous::Full);
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.execute_batch(LEAN).unwrap();
}

/// Makes a file with our schema, by the store's own migrations.
pub(crate) fn create_ours(path: &Path) {
    drop(SqliteEventStore::open(path).unwrap());
}

/// A connection with a store's settings.
pub(crate) fn open(path: &Path, synchronous: Synchronous) -> Connection {
    let connection = Connection::open(path).unwrap();
    // Sixteen writers without a line may starve one for long.
    connection.busy_timeout(Duration::from_secs(120)).unwrap();
    let level = match synchronous {
        Synchronous::Normal => "NORMAL",
        _ => "FULL",
    };
    connection.pragma_update(None, "synchronous", level).unwrap();
    connection
}

/// A prepared `INSERT` of everything that the store writes: one commit for one event, or for a batch.
pub(crate) fn append(connection: &Connection, common: &Common<'_>, version: i64, events: &[&Sample]) {
    if let [event] = events {
        return insert(connection, common, version + 1, event);
    }
    execute(connection, "BEGIN IMMEDIATE");
    for (version, event) in (version + 1..).zip(events) {
        insert(connection, common, version, event);
    }
    execute(connection, "COMMIT");
}

/// What the events of one append have in common: text that is ready.
pub(crate) struct Common<'a> {
    pub(crate) aggregate_id: &'a str,
    pub(crate) aggregate_type: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) now: &'a str,
}

fn insert(connection: &Connection, common: &Common<'_>, version: i64, event: &Sample) {
    let mut event_id = Uuid::encode_buffer();
    let row = &event.row;
    connection
        .prepare_cached(INSERT)
        .unwrap()
        .execute(params![
            &*Uuid::now_v7().hyphenated().encode_lower(&mut event_id),
            common.aggregate_id,
            common.aggregate_type,
            version,
            row.event_type,
            &*row.data,
            row.metadata.as_deref(),
            common.now,
            row.created_by,
            None::<&str>,
            common.correlation_id,
            None::<&str>,
            row.checksum,
        ])
        .unwrap();
}

fn execute(connection: &Connection, sql: &str) {
    connection.prepare_cached(sql).unwrap().execute([]).unwrap();
}

/// The time as the column has it.
pub(crate) fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    OffsetDateTime::now_utc().format(format).unwrap()
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

/// The stream of an aggregate.
pub(crate) fn load(connection: &Connection, aggregate_id: Uuid) -> Vec<Event> {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE aggregate_id = ?1 ORDER BY aggregate_version");
    let mut buffer = Uuid::encode_buffer();
    let aggregate_id = &*aggregate_id.hyphenated().encode_lower(&mut buffer);
    collect(connection, &sql, params![aggregate_id])
}

/// A page of the events of one type.
pub(crate) fn page_of_type(connection: &Connection, event_type: &str, after: i64, rows: i64) -> Vec<Event> {
    let sql = format!(
        "SELECT {COLUMNS} FROM events WHERE event_type = ?1 AND global_sequence > ?2 ORDER BY global_sequence LIMIT ?3"
    );
    collect(connection, &sql, params![event_type, after, rows])
}

fn collect(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Vec<Event> {
    let mut statement = connection.prepare_cached(sql).unwrap();
    let events = statement.query_map(parameters, Event::of).unwrap();
    events.collect::<Result<_, _>>().unwrap()
}

/// Reads the first events of the log in one statement, one after the other, and returns how many there were.
pub(crate) fn scan(connection: &Connection, events: i64) -> usize {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE global_sequence <= ?1 ORDER BY global_sequence");
    let mut statement = connection.prepare_cached(&sql).unwrap();
    let rows = statement.query_map([events], Event::of).unwrap();
    rows.inspect(|event| assert!(event.is_ok())).count()
}

/// As [`scan`], but in pages, between which the connection is free for others.
pub(crate) fn scan_in_pages(connection: &Connection, events: i64, rows: i64) -> usize {
    let sql = format!(
        "SELECT {COLUMNS} FROM events WHERE global_sequence > ?1 AND global_sequence <= ?2
         ORDER BY global_sequence LIMIT ?3"
    );
    let mut after = 0;
    let mut count = 0;
    while after < events {
        let page = collect(connection, &sql, params![after, events, rows]);
        after = page.last().map_or(events, |event| event.global_sequence);
        count += page.into_iter().inspect(|event| assert!(event.version > 0)).count();
    }
    count
}

/// The first thing a program asks.
pub(crate) fn last_sequence(connection: &Connection) -> Option<i64> {
    connection
        .query_row("SELECT MAX(global_sequence) FROM events", [], |row| row.get(0))
        .optional()
        .unwrap()
        .flatten()
}
