//! The table of snapshots.

use firefly_eventstore_core::backend::{SnapshotDeletion, SnapshotTable, rows};
use firefly_eventstore_core::{AggregateKey, Result, Snapshot, SnapshotStatistics, SnapshotType, TenantId, Version};
use postgres::GenericClient;

use crate::error::classify;
use crate::row::{self, Cells, decode};
use crate::session::Session;
use crate::sql;

impl<C: GenericClient> SnapshotTable for Session<'_, C> {
    fn insert(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.execute(
            sql::SAVE_SNAPSHOT,
            &[
                &snapshot.snapshot_id,
                &snapshot.aggregate.id(),
                &snapshot.aggregate.aggregate_type().as_str(),
                &snapshot.version.as_i64(),
                &snapshot.snapshot_type.as_str(),
                &snapshot.state.as_str(),
                &snapshot.created_at,
                &snapshot.tenant.as_ref().map(TenantId::as_str),
                &snapshot.checksum.map(|checksum| checksum.to_string()),
            ],
        )
        .map(drop)
        .map_err(classify)
    }

    fn select(
        &mut self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        (from, to, form): (Version, Version, Option<&SnapshotType>),
        limit: Option<u32>,
    ) -> Result<Vec<Snapshot>> {
        let rows = self.query(
            sql::FIND_SNAPSHOTS,
            &[
                &aggregate.id(),
                &aggregate.aggregate_type().as_str(),
                &tenant.map(TenantId::as_str),
                &from.as_i64(),
                &to.as_i64(),
                &form.map(SnapshotType::as_str),
                &limit.map(i64::from),
            ],
        );
        decode(&rows.map_err(classify)?, |row| rows::snapshot(&Cells(row)))
    }

    fn count(&mut self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
        let rows = self.query(
            sql::COUNT_SNAPSHOTS,
            &[
                &aggregate.id(),
                &aggregate.aggregate_type().as_str(),
                &tenant.map(TenantId::as_str),
            ],
        );
        let counts = decode(&rows.map_err(classify)?, |row| row::count(row, 0))?;
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
            } => self.execute(
                sql::DELETE_SNAPSHOTS,
                &[
                    &aggregate.id(),
                    &aggregate.aggregate_type().as_str(),
                    &tenant,
                    &from.as_i64(),
                    &to.as_i64(),
                    &snapshot_type.map(SnapshotType::as_str),
                    &keep,
                ],
            ),
            // What is stored has microseconds: what is before a finer time is before the microsecond that follows it.
            SnapshotDeletion::Older(time) => {
                self.execute(sql::DELETE_SNAPSHOTS_OLDER, &[&time.map(row::ceil), &tenant])
            }
        };
        deleted.map_err(classify)
    }

    fn statistics(&mut self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
        let rows = self.query(sql::SNAPSHOT_STATISTICS, &[&tenant.map(TenantId::as_str)]);
        let rows = decode(&rows.map_err(classify)?, |row| rows::snapshot_statistics(&Cells(row)))?;
        Ok(rows.into_iter().next().expect("an aggregate query returns one row"))
    }
}
