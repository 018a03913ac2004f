//! Reads and writes of the tables besides the events, by one [statement](super::Sql) each: the same for every database.

use uuid::Uuid;

use super::archives::archives_between;
use super::rows;
use super::snapshots::Connections;
use super::sql::{Sql, SqlSession, Value};
use crate::operate::{Archive, LogDigest, Seal};
use crate::{GlobalSequence, Result, Snapshot, Statistics, TenantId};

/// [`Operations::snapshots_after`](crate::operate::Operations::snapshots_after).
///
/// # Errors
///
/// As there.
pub fn snapshots_after(connections: &impl Connections, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
    let (id, version, form) = after.map_or((Uuid::nil(), -1, ""), |after| {
        (
            after.aggregate.id(),
            after.version.as_i64(),
            after.snapshot_type.as_str(),
        )
    });
    let values = [id.into(), version.into(), form.into(), Value::most(limit)];
    connections
        .read(|session| session.rows(Sql::SnapshotsAfter, &values, |row| rows::snapshot(row)))
        .map_err(|error| error.during("list the snapshots"))
}

/// [`Operations::insert_seal`](crate::operate::Operations::insert_seal).
///
/// # Errors
///
/// As there.
pub fn insert_seal(connections: &impl Connections, seal: &Seal) -> Result<()> {
    let digest = seal.digest.to_string();
    let values = [
        seal.global_sequence.as_i64().into(),
        seal.events.into(),
        Value::from(&digest),
        seal.sealed_at.into(),
    ];
    connections
        .write(|session| session.change(Sql::InsertSeal, &values).map(drop))
        .map_err(|error| error.during("store a seal"))
}

/// [`Operations::seals_after`](crate::operate::Operations::seals_after).
///
/// # Errors
///
/// As there.
pub fn seals_after(connections: &impl Connections, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>> {
    let values = [sequence.as_i64().into(), Value::most(limit)];
    connections
        .read(|session| session.rows(Sql::SealsAfter, &values, |row| rows::seal(row)))
        .map_err(|error| error.during("list the seals"))
}

/// [`Operations::newest_seals`](crate::operate::Operations::newest_seals).
///
/// # Errors
///
/// As there.
pub fn newest_seals(connections: &impl Connections, limit: u32) -> Result<Vec<Seal>> {
    connections
        .read(|session| session.rows(Sql::NewestSeals, &[Value::most(limit)], |row| rows::seal(row)))
        .map_err(|error| error.during("list the newest seals"))
}

/// [`Operations::archives`](crate::operate::Operations::archives).
///
/// # Errors
///
/// As there.
pub fn archives(connections: &impl Connections) -> Result<Vec<Archive>> {
    connections
        .read(|session| archives_between(session, GlobalSequence::ZERO, GlobalSequence::MAX))
        .map_err(|error| error.during("list the archives"))
}

/// [`Operations::record_archive`](crate::operate::Operations::record_archive).
///
/// # Errors
///
/// As there.
pub fn record_archive(connections: &impl Connections, archive: &Archive) -> Result<()> {
    let digest = archive.digest.to_string();
    let log = archive.log.as_ref();
    let log_digest = log.map(|log| log.digest.to_string());
    let values = [
        Value::from(&digest),
        archive.first.as_i64().into(),
        archive.last.as_i64().into(),
        archive.events.into(),
        archive.created_from.into(),
        archive.created_until.into(),
        Value::from(&archive.location),
        archive.archived_at.into(),
        log.map(|log| log.events).into(),
        log_digest.as_deref().into(),
        archive.is_retired.into(),
    ];
    connections
        .write(|session| session.change(Sql::RecordArchive, &values).map(drop))
        .map_err(|error| error.during("record an archive"))
}

/// [`Operations::forget_archive`](crate::operate::Operations::forget_archive).
///
/// # Errors
///
/// As there.
pub fn forget_archive(connections: &impl Connections, digest: &LogDigest) -> Result<()> {
    let digest = digest.to_string();
    connections
        .write(|session| session.change(Sql::ForgetArchive, &[Value::from(&digest)]).map(drop))
        .map_err(|error| error.during("forget an archive"))
}

/// What there is in the log, or of one tenant, by several statements: they must see one state of the database.
///
/// # Errors
///
/// Those of the backend.
pub fn statistics(session: &mut impl SqlSession, tenant: Option<&TenantId>) -> Result<Statistics> {
    let tenant = [tenant.map(TenantId::as_str).into()];
    let mut statistics = session.row(Sql::Totals, &tenant, |row| rows::totals(row))?;
    let total = statistics.total_events;
    statistics.event_types = session.rows(Sql::EventTypeDistribution, &tenant, |row| {
        rows::event_type_share(row, total)
    })?;
    statistics.aggregate_types = session.rows(Sql::AggregateActivity, &tenant, |row| rows::aggregate_activity(row))?;
    statistics.details = session.rows(Sql::EventStatistics, &tenant, |row| rows::event_statistics(row))?;
    Ok(statistics)
}
