//! The adoption of tables that were made by hand: their rows are moved into the tables of the migrations.

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::adoption::{
    EVENT_COLUMNS, SNAPSHOT_COLUMNS, refuse_broken_streams, refuse_unknown_columns,
};
use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::{Error, EventData, Metadata, Result};
use mysql::prelude::Queryable;
use mysql::{Conn, Row, Value};
use uuid::Uuid;

use crate::error::classify;
use crate::read;
use crate::row::{decode, integer, optional, text, time, time_value, uuid};
use crate::schema::{has, names, run};
use crate::session::{Flavour, Session};
use crate::sql;

/// A table that may have been made by hand, with the columns that are taken over, in their order.
struct Table {
    name: &'static str,
    id: &'static str,
    columns: &'static [&'static str],
    /// The key by which its rows are read in parts.
    key: &'static str,
}

const EVENTS: Table = Table {
    name: "events",
    id: "event_id",
    columns: EVENT_COLUMNS,
    key: "global_sequence",
};

const SNAPSHOTS: Table = Table {
    name: "snapshots",
    id: "snapshot_id",
    columns: SNAPSHOT_COLUMNS,
    key: "snapshot_id",
};

/// A summary of the events. If it was made by hand, it is computed anew.
const SUMMARIES: Table = Table {
    name: "mv_aggregate_summary",
    id: "aggregate_id",
    columns: &[
        "aggregate_id",
        "aggregate_type",
        "current_version",
        "total_events",
        "created_at",
        "last_modified_at",
        "total_size_bytes",
        "tenant_id",
    ],
    key: "aggregate_id",
};

/// The key by which [`SUMMARIES`] is refreshed. A table made by hand may not have it.
const SUMMARIES_KEY: &str = "index mv_aggregate_summary.idx_mv_aggregate_summary_pk";

/// The check constraints on events that the migrations make.
const CHECKS: &[&str] = &[
    "events_aggregate_version_check",
    "events_event_type_check",
    "events_aggregate_type_check",
];

/// Views that the migrations make anew.
const VIEWS: &[&str] = &["v_event_statistics", "v_recent_events", "v_events"];

/// How many rows are moved at once. After a crash, at most these are moved again.
const ROWS_AT_ONCE: usize = 1_000;

impl Table {
    fn by_hand(&self) -> String {
        format!("{}_by_hand", self.name)
    }

    /// A table whose ids are text is not the store's.
    fn is_by_hand(&self, there: &[String]) -> bool {
        has(there, &format!("table {}", self.name)) && !has(there, &format!("binary {}.{}", self.name, self.id))
    }

    fn refuse_unless_known(&self, there: &[String]) -> Result<()> {
        let prefix = format!("column {}.", self.name);
        let found: Vec<&str> = there.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
        refuse_unknown_columns(self.name, &found, self.columns)?;
        if !found.contains(&self.key) {
            return Err(altered(format!(
                "the table {}, made by hand, has no column {}; add it first",
                self.name, self.key
            )));
        }
        if has(there, &format!("table {}", self.by_hand())) {
            return Err(altered(format!(
                "there are both {} and {}; rename one of them first",
                self.name,
                self.by_hand()
            )));
        }
        Ok(())
    }

    fn refuse_if_bound(&self, session: &mut Session<'_, Conn>) -> Result<()> {
        let bound = session.query(sql::BOUND_TO_TABLE, vec![self.name.into(); 3]);
        let bound = decode(&bound.map_err(classify)?, |row| Ok(text(row, 0)?.to_owned()))?;
        if bound.is_empty() {
            return Ok(());
        }
        Err(altered(format!(
            "the table {}, made by hand, is replaced, and objects that depend on it would be lost: {}; drop them first, and make them again afterwards",
            self.name,
            bound.join(", ")
        )))
    }

    /// The columns, with NULL for columns that the table made by hand does not have.
    fn select(&self, there: &[String]) -> String {
        let table = self.by_hand();
        let value = |column: &&str| match has(there, &format!("column {table}.{column}")) {
            true => (*column).to_owned(),
            false => "NULL".to_owned(),
        };
        let values: Vec<String> = self.columns.iter().map(value).collect();
        format!("SELECT {} FROM {table}", values.join(", "))
    }

    fn count(session: &mut Session<'_, Conn>, table: &str) -> Result<u64> {
        let counts = session.select(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.count(0))?;
        Ok(counts.into_iter().sum())
    }

    /// Drops the table made by hand when all of its rows are in the other table.
    fn drop_by_hand(&self, session: &mut Session<'_, Conn>) -> Result<()> {
        let before = Self::count(session, &self.by_hand())?;
        let after = Self::count(session, self.name)?;
        if after < before {
            return Err(altered(format!(
                "{} has {before} rows, and {} only {after} after they were taken in",
                self.by_hand(),
                self.name
            )));
        }
        run(session, &format!("DROP TABLE {}", self.by_hand()))
    }
}

/// Renames tables that were made by hand, and drops objects that the migrations make again. After a crash, only the rest is done.
pub(crate) fn set_aside(session: &mut Session<'_, Conn>, there: &[String]) -> Result<()> {
    let tables: Vec<Table> = [EVENTS, SNAPSHOTS]
        .into_iter()
        .filter(|table| table.is_by_hand(there))
        .collect();
    tables.iter().try_for_each(|table| table.refuse_unless_known(there))?;
    tables.iter().try_for_each(|table| table.refuse_if_bound(session))?;
    let checks = checks_in_the_way(session.server.flavour, there)?;
    let summaries = summaries_by_hand(there)?;

    if let Some(kind) = summaries {
        run(session, &format!("DROP {kind} {}", SUMMARIES.name))?;
    }
    for (table, check) in checks {
        run(session, &format!("ALTER TABLE {table} DROP CONSTRAINT {check}"))?;
    }
    for table in tables {
        for view in VIEWS {
            run(session, &format!("DROP VIEW IF EXISTS {view}"))?;
        }
        run(session, &format!("RENAME TABLE {} TO {}", table.name, table.by_hand()))?;
    }
    Ok(())
}

/// Check constraints on the table made by hand that have the names of the store's. In MySQL, such a name is unique in a database. Dropping
/// them loses nothing: the table is dropped when all of its rows have passed the store's constraints.
fn checks_in_the_way(flavour: Flavour, there: &[String]) -> Result<Vec<(&str, &str)>> {
    let by_hand = EVENTS.by_hand();
    let mut in_the_way = Vec::new();
    for name in there {
        let Some((table, check)) = name.strip_prefix("check ").and_then(|name| name.split_once('.')) else {
            continue;
        };
        if !CHECKS.iter().any(|ours| ours.eq_ignore_ascii_case(check)) {
            continue;
        }
        if table == by_hand || (table == EVENTS.name && EVENTS.is_by_hand(there)) {
            in_the_way.push((table, check));
        } else if table != EVENTS.name && flavour == Flavour::Mysql {
            return Err(altered(format!(
                "the table {table} has a check named {check}, as the table {} is to have one; MySQL takes a name once: give \
                 it another first",
                EVENTS.name
            )));
        }
    }
    Ok(in_the_way)
}

/// The kind of the summaries that were made by hand, if any: a view, or a table with other columns.
fn summaries_by_hand(there: &[String]) -> Result<Option<&'static str>> {
    let has_column = |column: &&str| has(there, &format!("column {}.{column}", SUMMARIES.name));
    if has(there, &format!("view {}", SUMMARIES.name)) {
        return Ok(Some("VIEW"));
    }
    let is_refreshable = has(there, SUMMARIES_KEY) && SUMMARIES.columns.iter().all(has_column);
    if !has(there, &format!("table {}", SUMMARIES.name)) || (is_refreshable && !SUMMARIES.is_by_hand(there)) {
        return Ok(None);
    }
    SUMMARIES.refuse_unless_known(there)?;
    Ok(Some("TABLE"))
}

/// Moves the rows of tables made by hand into the tables of the migrations. Continues after a crash.
pub(crate) fn take_in(session: &mut Session<'_, Conn>) -> Result<()> {
    let there = names(session)?;
    if has(&there, &format!("table {}", EVENTS.by_hand())) {
        take_in_events(session, &there)?;
    }
    if has(&there, &format!("table {}", SNAPSHOTS.by_hand())) {
        take_in_snapshots(session, &there)?;
    }
    Ok(())
}

fn take_in_events(session: &mut Session<'_, Conn>, there: &[String]) -> Result<()> {
    let select = format!(
        "{} WHERE global_sequence > ? ORDER BY global_sequence LIMIT {ROWS_AT_ONCE}",
        EVENTS.select(there)
    );
    loop {
        let last = session.query(sql::GREATEST, Vec::new()).map_err(classify)?;
        let last: i64 = decode(&last, |row| integer(row, 0))?.into_iter().sum();
        let rows = session.query(&select, vec![last.into()]).map_err(classify)?;
        if rows.is_empty() {
            break;
        }
        session.committed(|session| {
            rows.iter().try_for_each(|row| {
                event(row)
                    .and_then(|values| session.execute(sql::ADOPT_EVENT, values).map_err(classify))
                    .map(drop)
                    .map_err(|error| refused("event", row, &error))
            })
        })?;
    }
    refuse_broken_streams(&session.select(sql::BROKEN_STREAM, [], |row| row.id(0))?)?;
    keep_last_sequence(session)?;
    read::refresh_summaries(session)?;
    EVENTS.drop_by_hand(session)
}

fn take_in_snapshots(session: &mut Session<'_, Conn>, there: &[String]) -> Result<()> {
    let select = SNAPSHOTS.select(there);
    let rows = session.query(&select, Vec::new()).map_err(classify)?;
    session.committed(|session| {
        rows.iter().try_for_each(|row| {
            snapshot(row)
                .and_then(|values| session.execute(sql::ADOPT_SNAPSHOT, values).map_err(classify))
                .map(drop)
                .map_err(|error| refused("snapshot", row, &error))
        })
    })?;
    SNAPSHOTS.drop_by_hand(session)
}

/// The values of an event for `adopt_event.sql`.
fn event(row: &Row) -> Result<Vec<Value>> {
    let data = EventData::from_json(required(row, 6, "event_data")?)?;
    let metadata = optional(row, 7, text)?.map(Metadata::from_json).transpose()?;
    let texts = |index| Ok::<_, Error>(Value::from(optional(row, index, text)?));
    Ok(vec![
        id(row, 0)?.into(),
        id(row, 1)?.into(),
        required(row, 2, "aggregate_type")?.into(),
        integer(row, 3)?.into(),
        integer(row, 4)?.into(),
        required(row, 5, "event_type")?.into(),
        data.as_str().into(),
        metadata.as_ref().map(Metadata::as_str).into(),
        created_at(row, 8)?,
        optional(row, 9, time)?.map_or(Value::NULL, time_value),
        texts(10)?,
        texts(11)?,
        texts(12)?,
        texts(13)?,
        data.checksum()?.to_string().into(),
    ])
}

/// The values of a snapshot for `adopt_snapshot.sql`.
fn snapshot(row: &Row) -> Result<Vec<Value>> {
    let state = EventData::from_json(required(row, 5, "snapshot_data")?)?;
    Ok(vec![
        id(row, 0)?.into(),
        id(row, 1)?.into(),
        required(row, 2, "aggregate_type")?.into(),
        integer(row, 3)?.into(),
        required(row, 4, "snapshot_type")?.into(),
        state.as_str().into(),
        created_at(row, 6)?,
        optional(row, 7, text)?.into(),
        state.checksum()?.to_string().into(),
    ])
}

fn required<'a>(row: &'a Row, index: usize, name: &str) -> Result<&'a str> {
    optional(row, index, text)?.ok_or_else(|| Error::invalid(format!("{name} is NULL")))
}

fn created_at(row: &Row, index: usize) -> Result<Value> {
    let time = optional(row, index, time)?.ok_or_else(|| Error::invalid("created_at is NULL"))?;
    Ok(time_value(time))
}

/// An id in any spelling, or as sixteen bytes.
fn id(row: &Row, index: usize) -> Result<Uuid> {
    uuid(row, index).or_else(|_| {
        let spelled = required(row, index, "an id")?;
        Uuid::try_parse(spelled).map_err(|_| Error::invalid(format!("{spelled:?} is not a UUID")))
    })
}

fn refused(what: &str, row: &Row, error: &Error) -> Error {
    let name = match text(row, 0) {
        Ok(spelled) => spelled.to_owned(),
        Err(_) => uuid(row, 0).map_or_else(|_| "without an id".to_owned(), |id| id.to_string()),
    };
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::invalid(format!(
        "the {what} {name} of the table made by hand cannot be adopted: {cause}"
    ))
}

/// Keeps the next sequence, so that the sequence of a deleted event is not used again.
fn keep_last_sequence(session: &mut Session<'_, Conn>) -> Result<()> {
    let table = session
        .client
        .query::<(String, String), _>(format!("SHOW CREATE TABLE {}", EVENTS.by_hand()));
    for (_, statement) in table.map_err(classify)? {
        let next = statement.rsplit_once("AUTO_INCREMENT=").map(|(_, rest)| rest);
        let digits: String = next
            .into_iter()
            .flat_map(str::chars)
            .take_while(char::is_ascii_digit)
            .collect();
        if !digits.is_empty() {
            run(session, &format!("ALTER TABLE events AUTO_INCREMENT = {digits}"))?;
        }
    }
    Ok(())
}
