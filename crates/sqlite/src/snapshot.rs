//! Snapshots.

use firefly_eventstore_core::{
    AggregateKey, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotDeletion, SnapshotSelection, SnapshotStatistics,
    SnapshotType, TenantId, Version, backend,
};
use rusqlite::{Connection, params};
use time::OffsetDateTime;

use crate::append::head;
use crate::error::{classify, classify_writing};
use crate::row::{self, time_text};
use crate::sql;
use crate::statement::{collect, prepared};

/// Saves a snapshot, within a transaction.
pub(crate) fn save(connection: &Connection, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
    let aggregate = snapshot.aggregate();
    backend::check_snapshot(head(connection, aggregate.id())?.as_ref(), tenant, snapshot)?;
    let row = snapshot.stored(tenant);
    prepared(connection, sql::SAVE_SNAPSHOT)?
        .execute(params![
            row.snapshot_id.hyphenated().to_string(),
            aggregate.id().hyphenated().to_string(),
            aggregate.aggregate_type().as_str(),
            row.version.as_i64(),
            row.snapshot_type.as_str(),
            row.state.as_str(),
            time_text(row.created_at).as_str(),
            tenant.map(TenantId::as_str),
            row.checksum.map(|checksum| checksum.to_string()),
        ])
        .map_err(classify_writing)?;
    Ok(())
}

/// One snapshot of an aggregate.
pub(crate) fn find(
    connection: &Connection,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Result<Option<Snapshot>> {
    let (from, to, form) = at.bounds();
    Ok(select(connection, tenant, aggregate, from, to, form, 1)?.pop())
}

/// All snapshots of an aggregate, the newest version first.
pub(crate) fn list(
    connection: &Connection,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
) -> Result<Vec<Snapshot>> {
    select(connection, tenant, aggregate, Version::ZERO, Version::MAX, None, -1)
}

fn select(
    connection: &Connection,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    from: Version,
    to: Version,
    form: Option<&SnapshotType>,
    limit: i64,
) -> Result<Vec<Snapshot>> {
    let parameters = params![
        aggregate.id().hyphenated().to_string(),
        aggregate.aggregate_type().as_str(),
        tenant.map(TenantId::as_str),
        from.as_i64(),
        to.as_i64(),
        form.map(SnapshotType::as_str),
        limit,
    ];
    collect(connection, sql::FIND_SNAPSHOTS, parameters, row::snapshot)
}

/// Snapshots of every aggregate, by its id, the version and the form, after one.
pub(crate) fn after(connection: &Connection, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
    let parameters = params![
        after.map_or_else(String::new, |after| after.aggregate.id().hyphenated().to_string()),
        after.map_or(-1, |after| after.version.as_i64()),
        after.map_or("", |after| after.snapshot_type.as_str()),
        limit,
    ];
    collect(connection, sql::SNAPSHOTS_AFTER, parameters, row::snapshot)
}

/// How many snapshots an aggregate has.
pub(crate) fn count(connection: &Connection, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
    let parameters = params![
        aggregate.id().hyphenated().to_string(),
        aggregate.aggregate_type().as_str(),
        tenant.map(TenantId::as_str),
    ];
    let counts = collect(connection, sql::COUNT_SNAPSHOTS, parameters, |row| row::count(row, 0))?;
    Ok(counts.into_iter().sum())
}

/// Deletes snapshots, within a transaction.
pub(crate) fn delete(
    connection: &Connection,
    tenant: Option<&TenantId>,
    selection: SnapshotSelection<'_>,
) -> Result<u64> {
    let (aggregate, from, to, form, keep) = match selection.deletion() {
        None => return Ok(0),
        Some(SnapshotDeletion::Older(time)) => return delete_older(connection, tenant, time),
        Some(SnapshotDeletion::Versions {
            aggregate,
            from,
            to,
            snapshot_type,
            keep,
        }) => (aggregate, from, to, snapshot_type, keep),
    };
    let deleted = prepared(connection, sql::DELETE_SNAPSHOTS)?
        .execute(params![
            aggregate.id().hyphenated().to_string(),
            aggregate.aggregate_type().as_str(),
            tenant.map(TenantId::as_str),
            from.as_i64(),
            to.as_i64(),
            form.map(SnapshotType::as_str),
            keep,
        ])
        .map_err(classify)?;
    Ok(deleted as u64)
}

fn delete_older(connection: &Connection, tenant: Option<&TenantId>, time: Option<OffsetDateTime>) -> Result<u64> {
    // What is stored has microseconds: what is before a finer time is before the microsecond that follows it.
    let time = time.map(|time| time_text(row::ceil(time)));
    let deleted = prepared(connection, sql::DELETE_SNAPSHOTS_OLDER)?
        .execute(params![
            time.as_ref().map(row::TimeText::as_str),
            tenant.map(TenantId::as_str)
        ])
        .map_err(classify)?;
    Ok(deleted as u64)
}

/// What there is of snapshots.
pub(crate) fn statistics(connection: &Connection, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
    let parameters = params![tenant.map(TenantId::as_str)];
    let rows = collect(connection, sql::SNAPSHOT_STATISTICS, parameters, |row| {
        Ok(SnapshotStatistics::new(
            row::count(row, 0)?,
            row::count(row, 1)?,
            row::count(row, 2)?,
            row::optional(row, 3)?.map(row::parse_time).transpose()?,
            row::optional(row, 4)?.map(row::parse_time).transpose()?,
        ))
    })?;
    Ok(rows.into_iter().next().expect("an aggregate query returns one row"))
}
