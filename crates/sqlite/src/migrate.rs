//! Migrations, and the adoption of tables that were made by hand.

use std::fmt::Write as _;

use firefly_eventstore_core::backend::adoption::{
    EVENT_COLUMNS, SNAPSHOT_COLUMNS, refuse_broken_streams, refuse_unknown_columns,
};
use firefly_eventstore_core::backend::indexes::OPTIONAL;
use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::backend::migration::{self, AppliedMigration};
use firefly_eventstore_core::backend::{Columns as _, Sql};
use firefly_eventstore_core::{Error, EventData, Indexes, Metadata, Migration, Result};
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use crate::error::classify;
use crate::row::time_text;
use crate::schema::names;
use crate::session::{Session, collect};
use crate::sql;
use crate::transaction::in_transaction;

firefly_eventstore_core::backend::migrations! {
    "1.0.0", "events", "1.0.0_events.sql";
    "1.1.0", "snapshots", "1.1.0_snapshots.sql";
    "1.2.0", "metadata indexes", "1.2.0_metadata_indexes.sql";
    "4.0.0", "production", "4.0.0_production.sql";
    "5.0.0", "integrity", "5.0.0_integrity.sql";
    "5.1.0", "hardening", "5.1.0_hardening.sql";
    "5.2.0", "seals", "5.2.0_seals.sql";
    "6.0.0", "consumers", "6.0.0_consumers.sql";
    "6.1.0", "snapshots by form", "6.1.0_snapshots_by_form.sql";
    "7.0.0", "archives", "7.0.0_archives.sql";
}

/// The indexes that every store has, with their tables. (SQLite names the indexes of keys itself.)
pub(crate) const LASTING_INDEXES: &[(&str, &str)] = &[
    ("events", "idx_events_aggregate_version"),
    ("events", "idx_events_event_id"),
    ("snapshots", "idx_snapshots_created_at"),
    ("snapshots", "idx_snapshots_version"),
    ("firefly_archived_events", "idx_archived_events_event_id"),
    ("firefly_archived_events", "idx_archived_events_version"),
    ("firefly_parked_events", "idx_parked_events_aggregate"),
];

/// The tables and indexes that every store has.
const REQUIRED: &[&str] = &[
    "events",
    "snapshots",
    "firefly_archived_events",
    "firefly_archived_streams",
    "firefly_archives",
    "firefly_seals",
    "firefly_consumers",
    "firefly_consumer_members",
    "firefly_parked_events",
    "idx_events_event_id",
    "idx_events_aggregate_version",
];

/// The other objects of the source document and of this crate. Adoption drops them, and makes those anew that a store has.
const OTHER_OBJECTS: &[&str] = &[
    "idx_events_aggregate",
    "idx_events_global_sequence",
    "idx_events_metadata_gin",
    "idx_events_recent",
    "idx_events_aggregate_recent",
    "idx_snapshots_aggregate",
    "idx_snapshots_version",
    "idx_snapshots_created_at",
    "trigger_events_updated_at",
    "trigger_calculate_event_size",
    "v_event_statistics",
    "v_recent_events",
    "mv_aggregate_summary",
];

fn is_own(name: &str) -> bool {
    REQUIRED.contains(&name) || OTHER_OBJECTS.contains(&name) || OPTIONAL.iter().any(|(index, _)| *index == name)
}

/// Fails if the schema is not the one for this crate.
pub(crate) fn require_current(connection: &Connection) -> Result<()> {
    migration::require_current(MIGRATIONS, &applied(connection)?)?;
    let names = names(connection)?;
    let is_missing = |required: &&&str| !names.iter().any(|name| name == **required);
    let Some(missing) = REQUIRED.iter().find(is_missing) else {
        return Ok(());
    };
    Err(altered(format!(
        "{missing} is missing; make it again as the migrations do"
    )))
}

/// The existing indexes, of those that a statement can name.
pub(crate) fn available_indexes(connection: &Connection) -> Result<Vec<String>> {
    let mut names = names(connection)?;
    names.retain(|name| is_own(name));
    Ok(names)
}

/// The migrations that the schema still needs.
pub(crate) fn pending(connection: &Connection) -> Result<Vec<Migration>> {
    Ok(migration::pending(MIGRATIONS, &applied(connection)?)?.to_vec())
}

/// The version of the schema.
pub(crate) fn version(connection: &Connection) -> Result<Option<String>> {
    Ok(applied(connection)?.pop().map(|step| step.version))
}

fn applied(connection: &Connection) -> Result<Vec<AppliedMigration>> {
    match has_table(connection, "firefly_schema_history")? {
        true => migration::applied(&mut Session(connection)),
        false => Ok(Vec::new()),
    }
}

fn has_table(connection: &Connection, table: &str) -> Result<bool> {
    Ok(!collect(connection, sql::HAS_TABLE, [table], |_| Ok(()))?.is_empty())
}

/// Brings the schema up to date, in one transaction, and returns the steps that were applied.
pub(crate) fn migrate(connection: &mut Connection, indexes: Option<Indexes>) -> Result<Vec<Migration>> {
    // When an old table is renamed, objects that name it must not follow. These settings cannot be changed within the transaction.
    set_renaming(connection, true)?;
    // Some builds of SQLite forbid changes of a definition's text by default.
    let defensive = connection
        .db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE)
        .map_err(classify)?;
    set_defensive(connection, false)?;
    let result = in_transaction(connection, None, |connection| apply(connection, indexes));
    set_defensive(connection, defensive)?;
    set_renaming(connection, false)?;
    result
}

fn set_defensive(connection: &Connection, defensive: bool) -> Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, defensive)
        .map(drop)
        .map_err(classify)
}

fn set_renaming(connection: &Connection, plain: bool) -> Result<()> {
    connection
        .pragma_update(None, "foreign_keys", !plain)
        .and_then(|()| connection.pragma_update(None, "legacy_alter_table", plain))
        .map_err(classify)
}

fn apply(connection: &Connection, indexes: Option<Indexes>) -> Result<Vec<Migration>> {
    let applied = applied(connection)?;
    let pending = migration::pending(MIGRATIONS, &applied)?;
    if pending.is_empty() && indexes.is_none() {
        return Ok(Vec::new());
    }
    let by_hand = match applied.is_empty() {
        true => ByHand::set_aside(connection)?,
        false => None,
    };
    run(connection, sql::HISTORY)?;
    for step in pending {
        run(connection, step.sql)?;
        connection
            .execute(
                sql::RECORD_MIGRATION,
                params![step.version, step.name, step.checksum().to_string()],
            )
            .map_err(classify)?;
    }
    let made = by_hand.as_ref().map_or(&[][..], |by_hand| &by_hand.indexes);
    match indexes {
        Some(chosen) => choose_indexes(connection, chosen, &[])?,
        None if applied.is_empty() => choose_indexes(connection, Indexes::default(), made)?,
        // An existing store keeps its indexes.
        None => {}
    }
    if let Some(by_hand) = by_hand {
        by_hand.adopt(connection)?;
    }
    Ok(pending.to_vec())
}

/// Makes the optional indexes that are chosen or were `made` by hand, and drops the others.
fn choose_indexes(connection: &Connection, chosen: Indexes, made: &[String]) -> Result<()> {
    for (index, least) in OPTIONAL {
        if *least <= chosen || made.iter().any(|name| name == index) {
            run(connection, &statement_of(index))?;
        } else {
            run(connection, &format!("DROP INDEX IF EXISTS {index}"))?;
        }
    }
    Ok(())
}

/// The statement in the migrations that makes an index, for a schema that may have the index.
fn statement_of(index: &str) -> String {
    let start = format!("CREATE INDEX {index} ");
    let statement = MIGRATIONS
        .iter()
        .flat_map(|step| step.sql.lines())
        .find(|line| line.starts_with(&start))
        .expect("the migrations make each optional index in a line of its own");
    statement.replacen("CREATE INDEX", "CREATE INDEX IF NOT EXISTS", 1)
}

fn run(connection: &Connection, statements: &str) -> Result<()> {
    connection.execute_batch(statements).map_err(classify)
}

/// Tables that were made by hand, with their indexes, triggers and views.
struct ByHand {
    events: bool,
    snapshots: bool,
    /// The indexes of the source document that exist.
    indexes: Vec<String>,
    /// The statements for indexes, triggers and views that the source document does not have.
    extras: Vec<String>,
}

impl ByHand {
    /// Renames the tables that were made by hand, so that their names are free. Returns `None` if there are none.
    fn set_aside(connection: &Connection) -> Result<Option<Self>> {
        let events = has_table(connection, "events")?;
        let snapshots = has_table(connection, "snapshots")?;
        if !events && !snapshots {
            return Ok(None);
        }
        for (table, there, columns) in [
            ("events", events, EVENT_COLUMNS),
            ("snapshots", snapshots, SNAPSHOT_COLUMNS),
        ] {
            if there {
                refuse_unknown_columns(table, &columns_of(connection, table)?, columns)?;
            }
        }
        let (indexes, extras) = take_objects(connection)?;
        if events {
            run(connection, "ALTER TABLE events RENAME TO events_by_hand")?;
        }
        if snapshots {
            run(connection, "ALTER TABLE snapshots RENAME TO snapshots_by_hand")?;
        }
        Ok(Some(Self {
            events,
            snapshots,
            indexes,
            extras,
        }))
    }

    /// Moves the rows into the tables of the migrations.
    fn adopt(self, connection: &Connection) -> Result<()> {
        if self.events {
            adopt_events(connection)?;
            keep_last_sequence(connection)?;
            run(connection, "DROP TABLE events_by_hand")?;
        }
        if self.snapshots {
            adopt_snapshots(connection)?;
            run(connection, "DROP TABLE snapshots_by_hand")?;
        }
        self.extras.iter().try_for_each(|statement| run(connection, statement))
    }
}

fn columns_of(connection: &Connection, table: &str) -> Result<Vec<String>> {
    collect(connection, sql::TABLE_COLUMNS, [table], |row| {
        Ok(row.text(0)?.to_owned())
    })
}

/// Drops the indexes, triggers and views of the tables. Returns the names of those in the source document, and the statements that make the
/// others again.
fn take_objects(connection: &Connection) -> Result<(Vec<String>, Vec<String>)> {
    let objects = collect(connection, sql::OBJECTS_ON_TABLES, [], |row| {
        Ok((
            row.text(0)?.to_owned(),
            row.text(1)?.to_owned(),
            row.text(2)?.to_owned(),
        ))
    })?;
    let (mut names, mut extras) = (Vec::new(), Vec::new());
    for (kind, name, statement) in objects {
        let own = is_own(&name);
        if kind == "view" && !own {
            // A view names its tables, and will find the new ones by these names.
            continue;
        }
        run(connection, &format!("DROP {kind} {}", quoted(&name)))?;
        match own {
            true => names.push(name),
            false => extras.push(statement),
        }
    }
    Ok((names, extras))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `SELECT` of the known columns in their order, with NULL for columns that the table made by hand does not have.
fn select_known(connection: &Connection, table: &str, known: &[&str], order: &str) -> Result<String> {
    let present = columns_of(connection, table)?;
    let mut select = String::from("SELECT rowid");
    for column in known {
        let value = if present.iter().any(|name| name == column) {
            column
        } else {
            "NULL"
        };
        write!(select, ", {value}").expect("writing to a string does not fail");
    }
    Ok(format!("{select} FROM {table} ORDER BY {order}"))
}

fn adopt_events(connection: &Connection) -> Result<()> {
    let has_sequence = columns_of(connection, "events_by_hand")?
        .iter()
        .any(|name| name == "global_sequence");
    let order = if has_sequence {
        "global_sequence IS NULL, global_sequence, rowid"
    } else {
        "rowid"
    };
    let select = select_known(connection, "events_by_hand", EVENT_COLUMNS, order)?;
    let mut statement = connection.prepare(&select).map_err(classify)?;
    let mut rows = statement.query([]).map_err(classify)?;
    while let Some(row) = rows.next().map_err(classify)? {
        adopt_event(connection, row).map_err(|error| refused("events", row, &error))?;
    }
    refuse_broken_streams(&collect(connection, sql::BROKEN_STREAM, [], |row| row.id(0))?)
}

/// Keeps the last sequence, so that the sequence of a deleted event is not used again.
fn keep_last_sequence(connection: &Connection) -> Result<()> {
    let last: Option<i64> = connection
        .query_row(sql::LAST_SEQUENCE, [], |row| row.get(0))
        .map_err(classify)?;
    let Some(last) = last else { return Ok(()) };
    run(connection, sql::FORGET_SEQUENCE)?;
    connection.execute(sql::KEEP_SEQUENCE, [last]).map_err(classify)?;
    Ok(())
}

fn adopt_event(connection: &Connection, row: &Row<'_>) -> Result<()> {
    let data = EventData::from_json(json(row, 7)?.ok_or_else(|| Error::invalid("event_data is NULL"))?)?;
    let metadata = json(row, 8)?.map(Metadata::from_json).transpose()?;
    let sequence: Option<i64> = row.get(5).map_err(classify)?;
    connection
        .prepare_cached(sql::ADOPT_EVENT)
        .and_then(|mut insert| {
            insert.execute(params![
                id(row, 1)?,
                id(row, 2)?,
                row.get::<_, String>(3)?,
                row.get::<_, i64>(4)?,
                sequence,
                row.get::<_, String>(6)?,
                data.as_str(),
                metadata.as_ref().map(Metadata::as_str),
                time(row, 9)?.ok_or_else(|| refuse_value(9, &"it is NULL"))?,
                time(row, 10)?,
                row.get::<_, Option<String>>(11)?,
                row.get::<_, Option<String>>(12)?,
                row.get::<_, Option<String>>(13)?,
                row.get::<_, Option<String>>(14)?,
                data.checksum()
                    .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))?
                    .to_string(),
            ])
        })
        .map_err(classify)?;
    Ok(())
}

fn adopt_snapshots(connection: &Connection) -> Result<()> {
    let select = select_known(connection, "snapshots_by_hand", SNAPSHOT_COLUMNS, "rowid")?;
    let mut statement = connection.prepare(&select).map_err(classify)?;
    let mut rows = statement.query([]).map_err(classify)?;
    while let Some(row) = rows.next().map_err(classify)? {
        adopt_snapshot(connection, row).map_err(|error| refused("snapshots", row, &error))?;
    }
    Ok(())
}

fn adopt_snapshot(connection: &Connection, row: &Row<'_>) -> Result<()> {
    let state = EventData::from_json(json(row, 6)?.ok_or_else(|| Error::invalid("snapshot_data is NULL"))?)?;
    let checksum = state.checksum()?.to_string();
    connection
        .prepare_cached(sql::shared(Sql::SaveSnapshot))
        .and_then(|mut insert| {
            insert.execute(params![
                id(row, 1)?,
                id(row, 2)?,
                row.get::<_, String>(3)?,
                row.get::<_, i64>(4)?,
                row.get::<_, String>(5)?,
                state.as_str(),
                time(row, 7)?.ok_or_else(|| refuse_value(7, &"it is NULL"))?,
                row.get::<_, Option<String>>(8)?,
                checksum,
            ])
        })
        .map_err(classify)?;
    Ok(())
}

fn refused(table: &str, row: &Row<'_>, error: &Error) -> Error {
    let number: i64 = row.get(0).unwrap_or_default();
    let source = std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref);
    let cause = match source {
        Some(rusqlite::Error::FromSqlConversionFailure(index, _, reason)) => {
            format!("{}: {reason}", row.as_ref().column_name(*index).unwrap_or_default())
        }
        Some(other) => other.to_string(),
        None => error.to_string(),
    };
    Error::invalid(format!(
        "row {number} of the table {table}, made by hand, cannot be adopted: {cause}"
    ))
}

/// JSON that was stored as text or as bytes.
fn json(row: &Row<'_>, index: usize) -> Result<Option<String>> {
    match row.get_ref(index).map_err(classify)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => std::str::from_utf8(bytes)
            .map(|text| Some(text.to_owned()))
            .map_err(|error| Error::invalid(format!("column {index} is not UTF-8: {error}"))),
        ValueRef::Integer(number) => Ok(Some(number.to_string())),
        ValueRef::Real(number) => Ok(Some(EventData::new(&number)?.as_str().to_owned())),
    }
}

/// An id in any spelling, or as sixteen bytes.
fn id(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    let id = match row.get_ref(index)? {
        ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map_err(|_| format!("its {} bytes are no UUID", bytes.len())),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            Uuid::try_parse(&text).map_err(|_| format!("{text:?} is not a UUID"))
        }
        other => Err(format!("{} is not a UUID", other.data_type())),
    };
    id.map(|id| id.hyphenated().to_string())
        .map_err(|reason| refuse_value(index, &reason))
}

/// A time as SQLite, PostgreSQL or Java write it. Without an offset, it is in UTC.
fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    let Some(text) = row.get::<_, Option<String>>(index)? else {
        return Ok(None);
    };
    let time = parse_time(&text).ok_or_else(|| refuse_value(index, &format!("{text:?} is not a time")))?;
    if time != time.truncate_to_microsecond() || !(1000..=9999).contains(&time.year()) {
        return Err(refuse_value(index, &format!("{text:?} cannot be kept exactly")));
    }
    Ok(Some(time_text(time).as_str().to_owned()))
}

fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let with_offset = format_description!(
        version = 2,
        "[year]-[month]-[day][first [T] [ ]][hour]:[minute]:[second][optional [.[subsecond]]][offset_hour sign:mandatory][optional [:[offset_minute]]]"
    );
    let in_utc = format_description!(
        version = 2,
        "[year]-[month]-[day][first [T] [ ]][hour]:[minute][optional [:[second][optional [.[subsecond]]]]]"
    );
    let day = format_description!(version = 2, "[year]-[month]-[day]");
    let time = text.strip_suffix('Z').unwrap_or(text);
    PrimitiveDateTime::parse(time, in_utc)
        .or_else(|_| Date::parse(text, day).map(Date::midnight))
        .map(PrimitiveDateTime::assume_utc)
        .or_else(|_| OffsetDateTime::parse(text, with_offset))
        .ok()
}

fn refuse_value(index: usize, reason: &dyn std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        index,
        rusqlite::types::Type::Text,
        Box::new(Error::invalid(reason.to_string())),
    )
}
