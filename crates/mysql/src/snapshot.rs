//! The table of snapshots.

use firefly_eventstore_core::backend::{SnapshotDeletion, SnapshotTable, rows};
use firefly_eventstore_core::{AggregateKey, Result, Snapshot, SnapshotStatistics, SnapshotType, TenantId, Version};
use mysql::Value;
use mysql::prelude::Queryable;

use crate::error::classify;
use crate::row::{self, Cells, decode, time_value};
use crate::session::Session;
use crate::sql;

impl<C: Queryable> SnapshotTable for Session<'_, C> {
    fn insert(&mut self, snapshot: &Snapshot) -> Result<()> {
        let values = vec![
            snapshot.snapshot_id.into(),
            snapshot.aggregate.id().into(),
            snapshot.aggregate.aggregate_type().as_str().into(),
            snapshot.version.as_i64().into(),
            snapshot.snapshot_type.as_str().into(),
            snapshot.state.as_str().into(),
            time_value(snapshot.created_at),
            snapshot.tenant.as_ref().map(TenantId::as_str).into(),
            snapshot.checksum.map(|checksum| checksum.to_string()).into(),
        ];
        self.execute(sql::SAVE_SNAPSHOT, values).map(drop).map_err(classify)
    }

    fn select(
        &mut self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        versions: (Version, Version, Option<&SnapshotType>),
        limit: Option<u32>,
    ) -> Result<Vec<Snapshot>> {
        let mut values = chosen(tenant, aggregate, versions);
        values.push(limit.map_or(i64::MAX, i64::from).into());
        let rows = self.query(sql::FIND_SNAPSHOTS, values);
        decode(&rows.map_err(classify)?, |row| rows::snapshot(&Cells(row)))
    }

    fn count(&mut self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
        let tenant = tenant.map(TenantId::as_str);
        let values = vec![
            aggregate.id().into(),
            aggregate.aggregate_type().as_str().into(),
            tenant.into(),
            tenant.into(),
        ];
        let rows = self.query(sql::COUNT_SNAPSHOTS, values);
        let counts = decode(&rows.map_err(classify)?, |row| row::count(row, 0))?;
        Ok(counts.into_iter().sum())
    }

    fn delete(&mut self, tenant: Option<&TenantId>, deletion: SnapshotDeletion<'_>) -> Result<u64> {
        let (statement, values) = match deletion {
            SnapshotDeletion::Versions {
                aggregate,
                from,
                to,
                snapshot_type,
                keep,
            } => {
                let mut values = chosen(tenant, aggregate, (from, to, snapshot_type));
                values.push(keep.into());
                (sql::DELETE_SNAPSHOTS, values)
            }
            SnapshotDeletion::Older(time) => {
                // What is stored has microseconds: what is before a finer time is before the microsecond that follows it.
                let time = time.map_or(Value::NULL, |time| time_value(row::ceil(time)));
                let tenant = Value::from(tenant.map(TenantId::as_str));
                (
                    sql::DELETE_SNAPSHOTS_OLDER,
                    vec![time.clone(), time, tenant.clone(), tenant],
                )
            }
        };
        self.execute(statement, values).map_err(classify)
    }

    fn statistics(&mut self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
        let tenant = Value::from(tenant.map(TenantId::as_str));
        let rows = self.query(sql::SNAPSHOT_STATISTICS, vec![tenant.clone(), tenant]);
        let rows = decode(&rows.map_err(classify)?, |row| rows::snapshot_statistics(&Cells(row)))?;
        Ok(rows.into_iter().next().expect("an aggregate query returns one row"))
    }
}

/// What chooses the snapshots of an aggregate, in the order of the statements' parameters.
pub(crate) fn chosen(
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    (from, to, form): (Version, Version, Option<&SnapshotType>),
) -> Vec<Value> {
    let tenant = tenant.map(TenantId::as_str);
    let form = form.map(SnapshotType::as_str);
    vec![
        aggregate.id().into(),
        aggregate.aggregate_type().as_str().into(),
        tenant.into(),
        tenant.into(),
        from.as_i64().into(),
        to.as_i64().into(),
        form.into(),
        form.into(),
    ]
}
