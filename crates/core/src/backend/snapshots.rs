//! Snapshots on a database: the logic that is the same on each, over its connections and its statements.

use time::{Duration, OffsetDateTime};

use super::damaged::{verified, verified_snapshots, verified_with_snapshot};
use super::head::check_snapshot;
use super::load::{self, SnapshotSource, StreamSource as _};
use super::rows::{self, Columns as _};
use super::rules::DataRules;
use super::sql::{Sql, SqlSession, Value};
use crate::store::snapshot::SnapshotDeletion;
use crate::{
    AggregateKey, EventStream, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotSelection, SnapshotStatistics,
    SnapshotType, StreamRange, TenantId, Version,
};

/// A store's connections, as its calls use them. The calls over them are the same for every database: [`load_range`], and the
/// [`SnapshotStore`](crate::SnapshotStore) that [`snapshot_store!`](crate::snapshot_store) writes.
pub trait Connections {
    /// A connection, while statements run on it.
    type Session<'c>: SqlSession + SnapshotSource;

    /// Runs `work`, whose statements only read, on a connection. It may be run again on another one.
    ///
    /// # Errors
    ///
    /// Those of `work`, and of getting a connection.
    fn read<R>(&self, work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R>;

    /// Runs `work`, whose statements may write, on a connection. It may be run again on another one.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly) if the store only reads; those of `work`, and of getting a connection.
    fn write<R>(&self, work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R>;

    /// The rules for events and snapshots.
    fn data_rules(&self) -> DataRules;
}

/// [`EventStore::load_range`](crate::EventStore::load_range).
///
/// # Errors
///
/// As there.
pub fn load_range(
    connections: &impl Connections,
    aggregate: &AggregateKey,
    range: &StreamRange,
) -> Result<EventStream> {
    connections
        .read(|session| load::load(session, aggregate, range))
        .and_then(|stream| verified(stream, connections.data_rules().verify_on_read))
        .map_err(|error| error.during(format_args!("load {aggregate}")))
}

/// [`SnapshotStore::save_snapshot`](crate::SnapshotStore::save_snapshot). Two statements: whose the aggregate is never changes, and its
/// version only grows.
///
/// # Errors
///
/// As there.
pub fn save(connections: &impl Connections, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
    let save = || {
        snapshot.check(&connections.data_rules().limits)?;
        connections.write(|session| {
            check_snapshot(session.head(snapshot.aggregate())?.as_ref(), tenant, snapshot)?;
            insert(session, &snapshot.stored(tenant))
        })
    };
    save().map_err(|error| {
        let (aggregate, version) = (snapshot.aggregate(), snapshot.version());
        error.during(format_args!("save a snapshot of {aggregate} at version {version}"))
    })
}

/// [`SnapshotStore::find_snapshot`](crate::SnapshotStore::find_snapshot).
///
/// # Errors
///
/// As there.
pub fn find(
    connections: &impl Connections,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Result<Option<Snapshot>> {
    connections
        .read(|session| Ok(select(session, tenant, aggregate, at.bounds(), Some(1))?.pop()))
        .and_then(|snapshot| verified_snapshots(snapshot, connections.data_rules().verify_on_read))
        .map_err(|error| error.during(format_args!("find a snapshot of {aggregate}")))
}

/// [`SnapshotStore::load_from_snapshot`](crate::SnapshotStore::load_from_snapshot).
///
/// # Errors
///
/// As there.
pub fn load_from(
    connections: &impl Connections,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Result<(Option<Snapshot>, EventStream)> {
    connections
        .read(|session| load::load_from_snapshot(session, tenant, aggregate, at))
        .and_then(|loaded| verified_with_snapshot(loaded, connections.data_rules().verify_on_read))
        .map_err(|error| error.during(format_args!("load {aggregate} from a snapshot")))
}

/// [`SnapshotStore::list_snapshots`](crate::SnapshotStore::list_snapshots).
///
/// # Errors
///
/// As there.
pub fn list(
    connections: &impl Connections,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
) -> Result<Vec<Snapshot>> {
    let all = (Version::ZERO, Version::MAX, None);
    connections
        .read(|session| select(session, tenant, aggregate, all, None))
        .and_then(|snapshots| verified_snapshots(snapshots, connections.data_rules().verify_on_read))
        .map_err(|error| error.during(format_args!("list the snapshots of {aggregate}")))
}

/// [`SnapshotStore::count_snapshots`](crate::SnapshotStore::count_snapshots).
///
/// # Errors
///
/// As there.
pub fn count(connections: &impl Connections, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
    let values = [
        aggregate.id().into(),
        aggregate.aggregate_type().as_str().into(),
        tenant.map(TenantId::as_str).into(),
    ];
    connections
        .read(|session| session.row(Sql::CountSnapshots, &values, |row| row.count(0)))
        .map_err(|error| error.during(format_args!("count the snapshots of {aggregate}")))
}

/// [`SnapshotStore::delete_snapshots`](crate::SnapshotStore::delete_snapshots).
///
/// # Errors
///
/// As there.
pub fn delete(
    connections: &impl Connections,
    tenant: Option<&TenantId>,
    selection: SnapshotSelection<'_>,
) -> Result<u64> {
    connections
        .write(|session| match selection.deletion() {
            Some(deletion) => delete_those(session, tenant, deletion),
            None => Ok(0),
        })
        .map_err(|error| error.during("delete snapshots"))
}

/// [`SnapshotStore::snapshot_statistics`](crate::SnapshotStore::snapshot_statistics).
///
/// # Errors
///
/// As there.
pub fn statistics(connections: &impl Connections, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
    let tenant = [tenant.map(TenantId::as_str).into()];
    connections
        .read(|session| session.row(Sql::SnapshotStatistics, &tenant, |row| rows::snapshot_statistics(row)))
        .map_err(|error| error.during("read statistics of snapshots"))
}

fn insert(session: &mut impl SqlSession, snapshot: &Snapshot) -> Result<()> {
    let checksum = snapshot.checksum.map(|checksum| checksum.to_string());
    let values = [
        snapshot.snapshot_id.into(),
        snapshot.aggregate.id().into(),
        snapshot.aggregate.aggregate_type().as_str().into(),
        snapshot.version.as_i64().into(),
        snapshot.snapshot_type.as_str().into(),
        snapshot.state.as_str().into(),
        snapshot.created_at.into(),
        snapshot.tenant.as_ref().map(TenantId::as_str).into(),
        checksum.as_deref().into(),
    ];
    session.change(Sql::SaveSnapshot, &values).map(drop)
}

/// The snapshots of an aggregate between two versions, both included, the newest first, up to a limit; with a form, only those of it.
fn select(
    session: &mut impl SqlSession,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    versions: (Version, Version, Option<&SnapshotType>),
    limit: Option<u32>,
) -> Result<Vec<Snapshot>> {
    let [id, of_type, tenant, from, to, form] = chosen(tenant, aggregate, versions);
    let values = [id, of_type, tenant, from, to, form, Value::Most(limit.map(i64::from))];
    session.rows(Sql::FindSnapshots, &values, |row| rows::snapshot(row))
}

fn delete_those(
    session: &mut impl SqlSession,
    tenant: Option<&TenantId>,
    deletion: SnapshotDeletion<'_>,
) -> Result<u64> {
    match deletion {
        SnapshotDeletion::Versions {
            aggregate,
            from,
            to,
            snapshot_type,
            keep,
        } => {
            let [id, of_type, tenant, from, to, form] = chosen(tenant, aggregate, (from, to, snapshot_type));
            let values = [id, of_type, tenant, from, to, form, keep.into()];
            session.change(Sql::DeleteSnapshots, &values)
        }
        SnapshotDeletion::Older(time) => {
            let values = [time.map(ceil).into(), tenant.map(TenantId::as_str).into()];
            session.change(Sql::DeleteSnapshotsOlder, &values)
        }
    }
}

/// What chooses the snapshots of an aggregate: the first values of the statements that find, load from, or delete them.
#[must_use]
pub fn chosen<'v>(
    tenant: Option<&'v TenantId>,
    aggregate: &'v AggregateKey,
    (from, to, form): (Version, Version, Option<&'v SnapshotType>),
) -> [Value<'v>; 6] {
    [
        aggregate.id().into(),
        aggregate.aggregate_type().as_str().into(),
        tenant.map(TenantId::as_str).into(),
        from.as_i64().into(),
        to.as_i64().into(),
        form.map(SnapshotType::as_str).into(),
    ]
}

/// The microsecond that a time is in, or the next one if the time is finer. What is stored has microseconds: what is before a finer time is
/// before the microsecond that follows it.
fn ceil(time: OffsetDateTime) -> OffsetDateTime {
    let floor = time.truncate_to_microsecond();
    match floor == time {
        true => time,
        false => floor.saturating_add(Duration::MICROSECOND),
    }
}

/// Writes a store's [`SnapshotStore`](crate::SnapshotStore): each method calls the function of
/// [`backend::snapshots`](crate::backend::snapshots) with the store's [`Connections`](crate::backend::Connections), which the second name
/// makes of it. For authors of backends.
#[doc(hidden)]
#[macro_export]
macro_rules! snapshot_store {
    ($Store:ident, $connections:expr) => {
        impl $crate::SnapshotStore for $Store {
            fn save_snapshot(
                &self,
                tenant: Option<&$crate::TenantId>,
                snapshot: &$crate::NewSnapshot,
            ) -> $crate::Result<()> {
                $crate::backend::snapshots::save(&$connections(self), tenant, snapshot)
            }

            fn find_snapshot(
                &self,
                tenant: Option<&$crate::TenantId>,
                aggregate: &$crate::AggregateKey,
                at: $crate::SnapshotAt<'_>,
            ) -> $crate::Result<Option<$crate::Snapshot>> {
                $crate::backend::snapshots::find(&$connections(self), tenant, aggregate, at)
            }

            fn load_from_snapshot(
                &self,
                tenant: Option<&$crate::TenantId>,
                aggregate: &$crate::AggregateKey,
                at: $crate::SnapshotAt<'_>,
            ) -> $crate::Result<(Option<$crate::Snapshot>, $crate::EventStream)> {
                $crate::backend::snapshots::load_from(&$connections(self), tenant, aggregate, at)
            }

            fn list_snapshots(
                &self,
                tenant: Option<&$crate::TenantId>,
                aggregate: &$crate::AggregateKey,
            ) -> $crate::Result<Vec<$crate::Snapshot>> {
                $crate::backend::snapshots::list(&$connections(self), tenant, aggregate)
            }

            fn count_snapshots(
                &self,
                tenant: Option<&$crate::TenantId>,
                aggregate: &$crate::AggregateKey,
            ) -> $crate::Result<u64> {
                $crate::backend::snapshots::count(&$connections(self), tenant, aggregate)
            }

            fn delete_snapshots(
                &self,
                tenant: Option<&$crate::TenantId>,
                selection: $crate::SnapshotSelection<'_>,
            ) -> $crate::Result<u64> {
                $crate::backend::snapshots::delete(&$connections(self), tenant, selection)
            }

            fn snapshot_statistics(
                &self,
                tenant: Option<&$crate::TenantId>,
            ) -> $crate::Result<$crate::SnapshotStatistics> {
                $crate::backend::snapshots::statistics(&$connections(self), tenant)
            }
        }
    };
}
