//! The existing indexes and their sizes.

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::operate::{IndexState, IndexUsage};
use firefly_eventstore_core::{Indexes, Result};
use rusqlite::Connection;

use crate::error::classify;
use crate::statement::collect;
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
    let mut indexes = collect(connection, sql::INDEXES, [], |row| {
        let name = row.text(1)?;
        // SQLite makes and names the indexes that a table's keys need.
        let is_own =
            name.starts_with("sqlite_autoindex_") || migrate::indexes_of(Indexes::Full).any(|(_, own)| own == name);
        let state = if is_own {
            IndexState::Present
        } else {
            IndexState::Foreign
        };
        Ok(IndexUsage::new(row.text(0)?, name, state))
    })?;
    let names: Vec<_> = indexes.iter().map(|index| index.name.clone()).collect();
    let chosen = chosen.unwrap_or_else(|| migrate::nearest_choice(&names));
    let missing = migrate::indexes_of(chosen).filter(|(_, name)| !names.iter().any(|there| there == name));
    indexes.extend(missing.map(|(table, name)| IndexUsage::new(table, name, IndexState::Missing)));
    indexes.sort_by(|one, other| (&one.table, &one.name).cmp(&(&other.table, &other.name)));
    Ok(indexes)
}
