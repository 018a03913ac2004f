//! Statements, each prepared once, and the rows of queries.

use std::ops::ControlFlow;

use firefly_eventstore_core::{Result, backend};
use rusqlite::{CachedStatement, Connection, Row};

use crate::error::{classify, classify_preparing, classify_reading};

/// A statement that the connection prepares once.
pub(crate) fn prepared<'a>(connection: &'a Connection, sql: &str) -> Result<CachedStatement<'a>> {
    connection.prepare_cached(sql).map_err(classify_preparing)
}

/// The rows of a query.
pub(crate) fn collect<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut decode: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut decoded = Vec::new();
    walk(connection, sql, parameters, |row| {
        decoded.push(decode(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(decoded)
}

/// Goes through the rows of a query, until `visit` has enough.
pub(crate) fn walk(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut statement = prepared(connection, sql)?;
    let mut rows = statement.query(parameters).map_err(classify)?;
    while let Some(row) = rows.next().map_err(classify_reading)? {
        if visit(row).map_err(|error| backend::damaged(&error, None))?.is_break() {
            break;
        }
    }
    Ok(())
}
