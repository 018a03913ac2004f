//! Statements, each prepared once, and their rows.

use std::ops::ControlFlow;
use std::time::Duration;

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::{self, Sql, SqlSession, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, params_from_iter};
use time::OffsetDateTime;

use crate::error::{classify, classify_preparing, classify_reading, classify_writing};
use crate::row::{Cells, time_text};
use crate::sql;

/// A connection, on which the core runs statements.
#[expect(missing_debug_implementations, reason = "core alone uses it")]
pub struct Session<'a>(pub(crate) &'a Connection);

impl SqlSession for Session<'_> {
    type Row<'r> = Cells<'r, 'r>;

    fn rows<T>(
        &mut self,
        statement: Sql,
        values: &[Value<'_>],
        mut decode: impl FnMut(&Self::Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        collect(self.0, sql::shared(statement), parameters(values), |row| decode(row))
    }

    fn change(&mut self, statement: Sql, values: &[Value<'_>]) -> Result<u64> {
        execute(self.0, sql::shared(statement), parameters(values))
    }

    fn forget_members(&mut self, consumer: &str, unseen_for: Duration) -> Result<()> {
        let values = [consumer.into(), Value::Ago(unseen_for)];
        execute(self.0, sql::CONSUMER_FORGET_MEMBERS, parameters(&values)).map(drop)
    }
}

/// The values for SQLite. The current time is this machine's: every process that uses the file runs on this machine.
pub(crate) fn parameters<'v>(values: &'v [Value<'v>]) -> impl rusqlite::Params {
    let now = OffsetDateTime::now_utc();
    params_from_iter(values.iter().map(move |value| parameter(*value, now)))
}

pub(crate) fn parameter(value: Value<'_>, now: OffsetDateTime) -> ToSqlOutput<'_> {
    let length = |length| time::Duration::try_from(length).unwrap_or(time::Duration::MAX);
    let time = |time| time_text(time).as_str().to_owned().into();
    match value {
        Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
        Value::Boolean(value) => value.into(),
        Value::Integer(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::Id(value) => value.hyphenated().to_string().into(),
        Value::Time(value) => time(value),
        Value::Most(most) => most.unwrap_or(-1).into(),
        Value::In(lease) => time(now.saturating_add(length(lease))),
        Value::Ago(ago) => time(now.saturating_sub(length(ago))),
        Value::Now => time(now),
    }
}

/// Runs a statement that writes, and returns how many rows it changed.
pub(crate) fn execute(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<u64> {
    let changed = prepared(connection, sql)?.execute(parameters);
    changed.map(|changed| changed as u64).map_err(classify_writing)
}

/// A statement that the connection prepares once.
pub(crate) fn prepared<'a>(connection: &'a Connection, sql: &str) -> Result<CachedStatement<'a>> {
    connection.prepare_cached(sql).map_err(classify_preparing)
}

/// The rows of a query.
pub(crate) fn collect<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut decode: impl FnMut(&Cells<'_, '_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut decoded = Vec::new();
    walk(connection, sql, parameters, |row| {
        decoded.push(decode(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(decoded)
}

/// Reads the rows of a query until `visit` ends the walk.
pub(crate) fn walk(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut visit: impl FnMut(&Cells<'_, '_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut statement = prepared(connection, sql)?;
    let mut rows = statement.query(parameters).map_err(classify)?;
    while let Some(row) = rows.next().map_err(classify_reading)? {
        if visit(&Cells(row))
            .map_err(|error| backend::damaged(&error, None))?
            .is_break()
        {
            break;
        }
    }
    Ok(())
}
