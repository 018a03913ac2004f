//! Snapshots.

use firefly_eventstore_core::{
    AggregateKey, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotDeletion, SnapshotSelection, SnapshotStatistics,
    SnapshotType, TenantId, Version, backend,
};
use postgres::GenericClient;
use time::OffsetDateTime;

use crate::append::head;
use crate::error::classify;
use crate::row::{self, decode, get};
use crate::session::Session;
use crate::sql;

/// Saves a snapshot. Two round trips: who the aggregate belongs to never changes, and its version only grows.
pub(crate) fn save<C: GenericClient>(
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
            &[
                &row.snapshot_id,
                &aggregate.id(),
                &aggregate.aggregate_type().as_str(),
                &row.version.as_i64(),
                &row.snapshot_type.as_str(),
                &row.state.as_str(),
                &row.created_at,
                &tenant.map(TenantId::as_str),
                &row.checksum.map(|checksum| checksum.to_string()),
            ],
        )
        .map_err(classify)?;
    Ok(())
}

/// One snapshot of an aggregate.
pub(crate) fn find<C: GenericClient>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Result<Option<Snapshot>> {
    let (from, to, form) = at.bounds();
    Ok(select(session, tenant, aggregate, from, to, form, Some(1))?.pop())
}

/// All snapshots of an aggregate, the newest version first.
pub(crate) fn list<C: GenericClient>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
) -> Result<Vec<Snapshot>> {
    select(session, tenant, aggregate, Version::ZERO, Version::MAX, None, None)
}

fn select<C: GenericClient>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    from: Version,
    to: Version,
    form: Option<&SnapshotType>,
    limit: Option<i64>,
) -> Result<Vec<Snapshot>> {
    let rows = session.query(
        sql::FIND_SNAPSHOTS,
        &[
            &aggregate.id(),
            &aggregate.aggregate_type().as_str(),
            &tenant.map(TenantId::as_str),
            &from.as_i64(),
            &to.as_i64(),
            &form.map(SnapshotType::as_str),
            &limit,
        ],
    );
    decode(&rows.map_err(classify)?, row::snapshot)
}

/// How many snapshots an aggregate has.
pub(crate) fn count<C: GenericClient>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
) -> Result<u64> {
    let rows = session.query(
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

/// Deletes snapshots.
pub(crate) fn delete<C: GenericClient>(
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
    session
        .execute(
            sql::DELETE_SNAPSHOTS,
            &[
                &aggregate.id(),
                &aggregate.aggregate_type().as_str(),
                &tenant.map(TenantId::as_str),
                &from.as_i64(),
                &to.as_i64(),
                &form.map(SnapshotType::as_str),
                &keep,
            ],
        )
        .map_err(classify)
}

fn delete_older<C: GenericClient>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
    time: Option<OffsetDateTime>,
) -> Result<u64> {
    // What is stored has microseconds: what is before a finer time is before the microsecond that follows it.
    let time = time.map(row::ceil);
    session
        .execute(sql::DELETE_SNAPSHOTS_OLDER, &[&time, &tenant.map(TenantId::as_str)])
        .map_err(classify)
}

/// What there is of snapshots.
pub(crate) fn statistics<C: GenericClient>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
) -> Result<SnapshotStatistics> {
    let rows = session.query(sql::SNAPSHOT_STATISTICS, &[&tenant.map(TenantId::as_str)]);
    let rows = decode(&rows.map_err(classify)?, |row| {
        Ok(SnapshotStatistics::new(
            row::count(row, 0)?,
            row::count(row, 1)?,
            row::count(row, 2)?,
            get(row, 3)?,
            get(row, 4)?,
        ))
    })?;
    Ok(rows.into_iter().next().expect("an aggregate query returns one row"))
}
