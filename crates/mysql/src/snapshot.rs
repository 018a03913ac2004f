//! Snapshots.

use firefly_eventstore_core::{
    AggregateKey, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotDeletion, SnapshotSelection, SnapshotStatistics,
    SnapshotType, TenantId, Version, backend,
};
use mysql::Value;
use mysql::prelude::Queryable;
use time::OffsetDateTime;

use crate::append::head;
use crate::error::classify;
use crate::row::{self, decode, optional, time, time_value};
use crate::session::Session;
use crate::sql;

/// Saves a snapshot. Two round trips: who the aggregate belongs to never changes, and its version only grows.
pub(crate) fn save<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    snapshot: &NewSnapshot,
) -> Result<()> {
    let aggregate = snapshot.aggregate();
    backend::check_snapshot(head(session, aggregate.id())?.as_ref(), tenant, snapshot)?;
    let row = snapshot.stored(tenant);
    session
        .execute(
            sql::SAVE_SNAPSHOT,
            vec![
                row.snapshot_id.into(),
                aggregate.id().into(),
                aggregate.aggregate_type().as_str().into(),
                row.version.as_i64().into(),
                row.snapshot_type.as_str().into(),
                row.state.as_str().into(),
                time_value(row.created_at),
                tenant.map(TenantId::as_str).into(),
                row.checksum.map(|checksum| checksum.to_string()).into(),
            ],
        )
        .map_err(classify)?;
    Ok(())
}

/// One snapshot of an aggregate.
pub(crate) fn find<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Result<Option<Snapshot>> {
    let (from, to, form) = at.bounds();
    Ok(select(session, tenant, aggregate, from, to, form, 1)?.pop())
}

/// All snapshots of an aggregate, the newest version first.
pub(crate) fn list<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
) -> Result<Vec<Snapshot>> {
    select(session, tenant, aggregate, Version::ZERO, Version::MAX, None, i64::MAX)
}

fn select<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    from: Version,
    to: Version,
    form: Option<&SnapshotType>,
    limit: i64,
) -> Result<Vec<Snapshot>> {
    let mut values = chosen(tenant, aggregate, from, to, form);
    values.push(limit.into());
    let rows = session.query(sql::FIND_SNAPSHOTS, values);
    decode(&rows.map_err(classify)?, row::snapshot)
}

/// What chooses the snapshots of an aggregate, in the order of the statements' parameters.
pub(crate) fn chosen(
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    from: Version,
    to: Version,
    form: Option<&SnapshotType>,
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

/// How many snapshots an aggregate has.
pub(crate) fn count<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
) -> Result<u64> {
    let rows = session.query(
        sql::COUNT_SNAPSHOTS,
        vec![
            aggregate.id().into(),
            aggregate.aggregate_type().as_str().into(),
            tenant.map(TenantId::as_str).into(),
            tenant.map(TenantId::as_str).into(),
        ],
    );
    let counts = decode(&rows.map_err(classify)?, |row| row::count(row, 0))?;
    Ok(counts.into_iter().sum())
}

/// Deletes snapshots.
pub(crate) fn delete<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    selection: SnapshotSelection<'_>,
) -> Result<u64> {
    let (aggregate, from, to, form, keep) = match selection.deletion() {
        None => return Ok(0),
        Some(SnapshotDeletion::Older(time)) => return delete_older(session, tenant, time),
        Some(SnapshotDeletion::Versions {
            aggregate,
            from,
            to,
            snapshot_type,
            keep,
        }) => (aggregate, from, to, snapshot_type, keep),
    };
    let mut values = chosen(tenant, aggregate, from, to, form);
    values.push(keep.into());
    session.execute(sql::DELETE_SNAPSHOTS, values).map_err(classify)
}

fn delete_older<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    time: Option<OffsetDateTime>,
) -> Result<u64> {
    // What is stored has microseconds: what is before a finer time is before the microsecond that follows it.
    let time = time.map_or(Value::NULL, |time| time_value(row::ceil(time)));
    let tenant = Value::from(tenant.map(TenantId::as_str));
    session
        .execute(
            sql::DELETE_SNAPSHOTS_OLDER,
            vec![time.clone(), time, tenant.clone(), tenant],
        )
        .map_err(classify)
}

/// What there is of snapshots.
pub(crate) fn statistics<C: Queryable>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
) -> Result<SnapshotStatistics> {
    let tenant = Value::from(tenant.map(TenantId::as_str));
    let rows = session.query(sql::SNAPSHOT_STATISTICS, vec![tenant.clone(), tenant]);
    let rows = decode(&rows.map_err(classify)?, |row| {
        Ok(SnapshotStatistics::new(
            row::count(row, 0)?,
            row::count(row, 1)?,
            row::count(row, 2)?,
            optional(row, 3, time)?,
            optional(row, 4, time)?,
        ))
    })?;
    Ok(rows.into_iter().next().expect("an aggregate query returns one row"))
}
