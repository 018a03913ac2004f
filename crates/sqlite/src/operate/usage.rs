//! The existing indexes and their sizes.

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::indexes::{OPTIONAL, usage};
use firefly_eventstore_core::operate::{IndexState, IndexUsage};
use firefly_eventstore_core::{Indexes, Result};
use rusqlite::Connection;

use crate::error::classify;
use crate::session::collect;
use crate::{migrate, sql};

/// The value of a pragma.
pub(super) fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Result<T> {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(classify)
}

pub(super) fn index_usage(connection: &Connection, chosen: Option<Indexes>) -> Result<Vec<IndexUsage>> {
    let mut usage = indexes(connection, chosen)?;
    let has_dbstat: bool = connection
        .query_row(sql::HAS_DBSTAT, [], |row| row.get(0))
        .map_err(classify)?;
    if has_dbstat {
        for index in usage.iter_mut().filter(|index| index.state != IndexState::Missing) {
            index.bytes = collect(connection, sql::INDEX_BYTES, [&index.name], |row| row.count(0))?.pop();
        }
    }
    Ok(usage)
}

/// The indexes that exist or should exist, without their sizes.
pub(super) fn indexes(connection: &Connection, chosen: Option<Indexes>) -> Result<Vec<IndexUsage>> {
    let found = collect(connection, sql::INDEXES, [], |row| {
        Ok(IndexUsage::new(row.text(0)?, row.text(1)?, IndexState::Present))
    })?;
    let mut indexes = usage(found, migrate::LASTING_INDEXES, OPTIONAL, chosen);
    for index in &mut indexes {
        // SQLite makes and names the indexes that a table's keys need.
        if index.name.starts_with("sqlite_autoindex_") {
            index.state = IndexState::Present;
        }
    }
    Ok(indexes)
}
