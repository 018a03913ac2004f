//! The store's tables and indexes, their sizes, and how often they are used.

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::indexes;
use firefly_eventstore_core::operate::{IndexState, IndexUsage};
use firefly_eventstore_core::{Indexes, Result};
use postgres::Client;
use time::OffsetDateTime;

use crate::migrate::{optional_indexes, required_indexes};
use crate::row::{Cells, get};
use crate::session::Session;
use crate::sql::{self, Layout};

/// A table that maintenance covers.
pub(super) struct Table {
    pub(super) name: String,
    /// With its unit.
    pub(super) size: String,
    pub(super) estimated_rows: i64,
    pub(super) dead_rows: i64,
    pub(super) live_rows: i64,
    pub(super) vacuumed_at: Option<OffsetDateTime>,
    pub(super) may_maintain: bool,
}

pub(super) fn tables(session: &mut Session<'_, Client>) -> Result<Vec<Table>> {
    session.select(sql::TABLES, &[], |row| {
        Ok(Table {
            name: get(row, 0)?,
            size: get(row, 1)?,
            estimated_rows: get(row, 2)?,
            dead_rows: get(row, 3)?,
            live_rows: get(row, 4)?,
            vacuumed_at: get(row, 5)?,
            may_maintain: get(row, 6)?,
        })
    })
}

/// An index on one of the store's tables.
pub(super) struct Index {
    pub(super) table: String,
    pub(super) name: String,
    /// The oids of its parts: the index itself, or one index for each partition.
    pub(super) parts: Vec<u32>,
    pub(super) bytes: u64,
    pub(super) scans: Option<u64>,
    pub(super) is_valid: bool,
    pub(super) is_unique: bool,
    pub(super) is_btree: bool,
}

pub(super) fn indexes(session: &mut Session<'_, Client>) -> Result<Vec<Index>> {
    session.select(sql::INDEXES, &[], |row| {
        Ok(Index {
            table: get(row, 0)?,
            name: get(row, 1)?,
            parts: get(row, 2)?,
            bytes: Cells(row).count(3)?,
            scans: get::<Option<i64>>(row, 4)?.map(i64::unsigned_abs),
            is_valid: get(row, 5)?,
            is_unique: get(row, 6)?,
            is_btree: get(row, 7)?,
        })
    })
}

/// The state of the existing indexes and of those that the store should have.
pub(super) fn usage(indexes: &[Index], chosen: Option<Indexes>, layout: Layout) -> Vec<IndexUsage> {
    let found = indexes.iter().map(|index| {
        let state = match index.is_valid {
            true => IndexState::Present,
            false => IndexState::Missing,
        };
        let mut usage = IndexUsage::new(&*index.table, &*index.name, state);
        usage.bytes = Some(index.bytes);
        usage.scans = index.scans;
        usage
    });
    let required = required_indexes(layout).map(|(table, name, _)| (table, name));
    indexes::usage(
        found.collect(),
        &required.collect::<Vec<_>>(),
        &optional_indexes(),
        chosen,
    )
}
