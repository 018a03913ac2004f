//! Snapshots.

use std::collections::{BTreeMap, HashSet};

use super::store::{FaultPoint, MemoryEventStore, SnapshotPlace, lock, place_of};
use crate::backend;
use crate::{
    AggregateKey, EventStream, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotSelection, SnapshotStatistics,
    SnapshotStore, SnapshotType, StreamRange, TenantId,
};

impl SnapshotStore for MemoryEventStore {
    fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
        let aggregate = snapshot.aggregate();
        self.try_save(tenant, snapshot).map_err(|error| {
            error.during(format_args!(
                "save a snapshot of {aggregate} at version {}",
                snapshot.version()
            ))
        })
    }

    fn find_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>> {
        let found = find(&*self.snapshots()?, tenant, aggregate, at);
        backend::verified_snapshots(found, self.verify_on_read)
    }

    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream)> {
        self.pass(FaultPoint::Read)
            .and_then(|()| {
                self.read(|log| {
                    let snapshot = find(&lock(&self.shared.snapshots), tenant, aggregate, at);
                    let mut range = StreamRange::with_snapshot(tenant, snapshot.as_ref());
                    let archived = log.archived_streams.get(&aggregate.id());
                    if archived.is_some_and(|archived| snapshot.is_some() && archived.version == range.from) {
                        range.from = range.from.checked_add(1).unwrap_or(range.from);
                    }
                    let stream = self.select(aggregate, &range, &log.stream(aggregate.id()), archived)?;
                    Ok((snapshot, stream))
                })
            })
            .flatten()
            .and_then(|loaded| backend::verified_with_snapshot(loaded, self.verify_on_read))
            .map_err(|error| error.during(format_args!("load {aggregate} from a snapshot")))
    }

    fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>> {
        let snapshots = self.snapshots()?;
        let of_aggregate = snapshots
            .values()
            .rev()
            .filter(|snapshot| owned(snapshot, tenant, Some(aggregate)));
        backend::verified_snapshots(of_aggregate.cloned().collect(), self.verify_on_read)
    }

    fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
        let snapshots = self.snapshots()?;
        let of_aggregate = snapshots
            .values()
            .filter(|snapshot| owned(snapshot, tenant, Some(aggregate)));
        Ok(of_aggregate.count() as u64)
    }

    fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64> {
        let mut snapshots = self.snapshots()?;
        let before = snapshots.len();
        let mut newer = 0;
        // From the newest version to the oldest, so that the newest of an aggregate are counted first.
        let doomed: HashSet<SnapshotPlace> = snapshots
            .iter()
            .rev()
            .filter(|(_, snapshot)| match selection {
                SnapshotSelection::Exactly(aggregate, version) => {
                    owned(snapshot, tenant, Some(aggregate)) && snapshot.version == version
                }
                SnapshotSelection::Before(aggregate, version) => {
                    owned(snapshot, tenant, Some(aggregate)) && snapshot.version < version
                }
                SnapshotSelection::AllButLatest(aggregate, count) => {
                    let of_aggregate = owned(snapshot, tenant, Some(aggregate));
                    newer += u64::from(of_aggregate);
                    of_aggregate && newer > count
                }
                SnapshotSelection::AllButLatestOf(aggregate, form, count) => {
                    let of_form = owned(snapshot, tenant, Some(aggregate)) && is_of(snapshot, Some(form));
                    newer += u64::from(of_form);
                    of_form && newer > count
                }
                SnapshotSelection::Aggregate(aggregate) => owned(snapshot, tenant, Some(aggregate)),
                SnapshotSelection::OlderThan(time) => owned(snapshot, tenant, None) && snapshot.created_at < time,
                SnapshotSelection::All => owned(snapshot, tenant, None),
            })
            .map(|(key, _)| key.clone())
            .collect();
        snapshots.retain(|key, _| !doomed.contains(key));
        Ok((before - snapshots.len()) as u64)
    }

    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
        let snapshots = self.snapshots()?;
        let owned: Vec<_> = snapshots
            .values()
            .filter(|snapshot| owned(snapshot, tenant, None))
            .collect();
        let aggregates: HashSet<_> = owned.iter().map(|snapshot| snapshot.aggregate.id()).collect();
        Ok(SnapshotStatistics::new(
            owned.len() as u64,
            aggregates.len() as u64,
            owned.iter().map(|snapshot| snapshot.state.as_str().len() as u64).sum(),
            owned.iter().map(|snapshot| snapshot.created_at).min(),
            owned.iter().map(|snapshot| snapshot.created_at).max(),
        ))
    }
}

impl MemoryEventStore {
    fn try_save(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
        snapshot.check(&self.limits)?;
        self.pass(FaultPoint::SaveSnapshot)?;
        let aggregate = snapshot.aggregate();
        let head = self.read(|log| log.head(aggregate.id()))?;
        backend::check_snapshot(head.as_ref(), tenant, snapshot)?;
        let snapshot = snapshot.stored(tenant);
        lock(&self.shared.snapshots).insert(place_of(&snapshot), snapshot);
        Ok(())
    }
}

fn find(
    snapshots: &BTreeMap<SnapshotPlace, Snapshot>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Option<Snapshot> {
    let (from, to, form) = at.bounds();
    let from = (aggregate.id(), from, Box::default());
    let of_versions = snapshots
        .range(from..)
        .take_while(|((id, version, _), _)| *id == aggregate.id() && *version <= to)
        .map(|(_, snapshot)| snapshot);
    of_versions
        .filter(|snapshot| owned(snapshot, tenant, Some(aggregate)) && is_of(snapshot, form))
        .last()
        .cloned()
}

fn owned(snapshot: &Snapshot, tenant: Option<&TenantId>, aggregate: Option<&AggregateKey>) -> bool {
    (tenant.is_none() || snapshot.tenant.as_ref() == tenant)
        && aggregate.is_none_or(|aggregate| snapshot.aggregate == *aggregate)
}

fn is_of(snapshot: &Snapshot, form: Option<&SnapshotType>) -> bool {
    form.is_none_or(|form| snapshot.snapshot_type == *form)
}
