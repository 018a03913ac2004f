//! The table of snapshots.

use firefly_eventstore_core::backend::{SnapshotDeletion, SnapshotTable, rows};
use firefly_eventstore_core::{AggregateKey, Result, Snapshot, SnapshotStatistics, SnapshotType, TenantId, Version};
use rusqlite::{Connection, params};

use crate::error::{classify, classify_writing};
use crate::read::Source;
use crate::row::{self, Cells, time_text};
use crate::sql;
use crate::statement::{collect, prepared};

impl SnapshotTable for Source<'_> {
    fn insert(&mut self, snapshot: &Snapshot) -> Result<()> {
        prepared(self.0, sql::SAVE_SNAPSHOT)?
            .execute(params![
                snapshot.snapshot_id.hyphenated().to_string(),
                snapshot.aggregate.id().hyphenated().to_string(),
                snapshot.aggregate.aggregate_type().as_str(),
                snapshot.version.as_i64(),
                snapshot.snapshot_type.as_str(),
                snapshot.state.as_str(),
                time_text(snapshot.created_at).as_str(),
                snapshot.tenant.as_ref().map(TenantId::as_str),
                snapshot.checksum.map(|checksum| checksum.to_string()),
            ])
            .map(drop)
            .map_err(classify_writing)
    }

    fn select(
        &mut self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        (from, to, form): (Version, Version, Option<&SnapshotType>),
        limit: Option<u32>,
    ) -> Result<Vec<Snapshot>> {
        let parameters = params![
            aggregate.id().hyphenated().to_string(),
            aggregate.aggregate_type().as_str(),
            tenant.map(TenantId::as_str),
            from.as_i64(),
            to.as_i64(),
            form.map(SnapshotType::as_str),
            limit.map_or(-1, i64::from),
        ];
        collect(self.0, sql::FIND_SNAPSHOTS, parameters, |row| {
            rows::snapshot(&Cells(row))
        })
    }

    fn count(&mut self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
        let parameters = params![
            aggregate.id().hyphenated().to_string(),
            aggregate.aggregate_type().as_str(),
            tenant.map(TenantId::as_str),
        ];
        let counts = collect(self.0, sql::COUNT_SNAPSHOTS, parameters, |row| row::count(row, 0))?;
        Ok(counts.into_iter().sum())
    }

    fn delete(&mut self, tenant: Option<&TenantId>, deletion: SnapshotDeletion<'_>) -> Result<u64> {
        let tenant = tenant.map(TenantId::as_str);
        let deleted = match deletion {
            SnapshotDeletion::Versions {
                aggregate,
                from,
                to,
                snapshot_type,
                keep,
            } => prepared(self.0, sql::DELETE_SNAPSHOTS)?.execute(params![
                aggregate.id().hyphenated().to_string(),
                aggregate.aggregate_type().as_str(),
                tenant,
                from.as_i64(),
                to.as_i64(),
                snapshot_type.map(SnapshotType::as_str),
                keep,
            ]),
            SnapshotDeletion::Older(time) => {
                // What is stored has microseconds: what is before a finer time is before the microsecond that follows it.
                let time = time.map(|time| time_text(row::ceil(time)));
                prepared(self.0, sql::DELETE_SNAPSHOTS_OLDER)?
                    .execute(params![time.as_ref().map(row::TimeText::as_str), tenant])
            }
        };
        deleted.map(|deleted| deleted as u64).map_err(classify)
    }

    fn statistics(&mut self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
        let parameters = params![tenant.map(TenantId::as_str)];
        let rows = collect(self.0, sql::SNAPSHOT_STATISTICS, parameters, |row| {
            rows::snapshot_statistics(&Cells(row))
        })?;
        Ok(rows.into_iter().next().expect("an aggregate query returns one row"))
    }
}

/// Snapshots of every aggregate, by its id, the version and the form, after one.
pub(crate) fn after(connection: &Connection, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
    let parameters = params![
        after.map_or_else(String::new, |after| after.aggregate.id().hyphenated().to_string()),
        after.map_or(-1, |after| after.version.as_i64()),
        after.map_or("", |after| after.snapshot_type.as_str()),
        limit,
    ];
    collect(connection, sql::SNAPSHOTS_AFTER, parameters, |row| {
        rows::snapshot(&Cells(row))
    })
}
