//! Stores that have only some of the traits.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use firefly_eventstore_core::consumer::{
    Appends, ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Wake,
};
use firefly_eventstore_core::operate::{Diagnosis, Finding, IndexUsage, Operations, RestorePoint, Seal};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{
    AggregateSummary, Cursor, Health, Page, SnapshotAt, SnapshotSelection, SnapshotStatistics, Statistics, SummaryQuery,
};

use crate::ability::{Ability, missing};
use crate::environment::Handle;

/// A store that has only some of the traits. A case that calls a missing method ends there, as not applicable.
///
/// Name the missing traits in [`Environment::lacks`](crate::Environment::lacks): [`Ability::Snapshots`], [`Ability::Consumers`],
/// [`Ability::Operations`].
///
/// ```
/// use std::sync::Arc;
/// use firefly_eventstore_conformance::{Handle, Partial};
/// use firefly_eventstore_core::MemoryEventStore;
///
/// let store = Arc::new(MemoryEventStore::new()); // yours
/// let events_only: Handle = Partial::of(Arc::clone(&store)).handle();
/// let with_snapshots: Handle = Partial::of(Arc::clone(&store)).with_snapshots(store).handle();
/// ```
#[derive(Clone, Debug)]
pub struct Partial {
    events: Arc<dyn EventStore>,
    snapshots: Option<Arc<dyn SnapshotStore>>,
    consumers: Option<Arc<dyn ConsumerStore>>,
}

impl Partial {
    /// A store that implements only [`EventStore`].
    pub fn of(events: impl EventStore) -> Self {
        Self {
            events: Arc::new(events),
            snapshots: None,
            consumers: None,
        }
    }

    /// Adds the store's snapshots.
    #[must_use]
    pub fn with_snapshots(mut self, store: impl SnapshotStore) -> Self {
        self.snapshots = Some(Arc::new(store));
        self
    }

    /// Adds the store's consumers.
    #[must_use]
    pub fn with_consumers(mut self, store: impl ConsumerStore) -> Self {
        self.consumers = Some(Arc::new(store));
        self
    }

    /// The store in the form that an environment returns.
    #[must_use]
    pub fn handle(self) -> Handle {
        Arc::new(self)
    }

    fn snapshots(&self) -> &dyn SnapshotStore {
        match &self.snapshots {
            Some(store) => store,
            None => missing(Ability::Snapshots),
        }
    }

    fn consuming(&self) -> &dyn ConsumerStore {
        match &self.consumers {
            Some(store) => store,
            None => missing(Ability::Consumers),
        }
    }
}

impl EventStore for Partial {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.events.append_all(appends)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        self.events.transact(work)
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.events.load_range(aggregate, range)
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        self.events.read_page(query, cursor)
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        self.events.high_water_mark()
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
        self.events.statistics(tenant)
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        self.events.aggregate_summaries(query)
    }

    fn refresh_aggregate_summaries(&self) -> Result<()> {
        self.events.refresh_aggregate_summaries()
    }

    fn health(&self) -> Result<Health> {
        self.events.health()
    }
}

impl SnapshotStore for Partial {
    fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
        self.snapshots().save_snapshot(tenant, snapshot)
    }

    fn find_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>> {
        self.snapshots().find_snapshot(tenant, aggregate, at)
    }

    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream)> {
        self.snapshots().load_from_snapshot(tenant, aggregate, at)
    }

    fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>> {
        self.snapshots().list_snapshots(tenant, aggregate)
    }

    fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
        self.snapshots().count_snapshots(tenant, aggregate)
    }

    fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64> {
        self.snapshots().delete_snapshots(tenant, selection)
    }

    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
        self.snapshots().snapshot_statistics(tenant)
    }
}

impl ConsumerStore for Partial {
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
        self.consuming().consume(work)
    }

    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
        self.consuming().consumers(name)
    }

    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.consuming().parked_events(which)
    }

    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
        self.consuming().count_parked(consumer, aggregate_id)
    }

    fn wake(&self) -> &Wake {
        self.consuming().wake()
    }

    fn appends(&self) -> Result<Option<Box<dyn Appends>>> {
        self.consuming().appends()
    }

    fn is_transient(&self, error: &(dyn StdError + 'static)) -> bool {
        self.consuming().is_transient(error)
    }

    fn took_too_long(&self, error: &(dyn StdError + 'static)) -> bool {
        self.consuming().took_too_long(error)
    }

    fn longest_transaction(&self) -> Option<Duration> {
        self.consuming().longest_transaction()
    }

    fn max_connections(&self) -> Option<u32> {
        self.consuming().max_connections()
    }
}

/// A store that has operations has all the traits.
impl Operations for Partial {
    fn import_events(&self, _: &[EventEnvelope]) -> Result<()> {
        missing(Ability::Operations)
    }

    fn restore_table(&self, _: RestorePoint) -> Result<u64> {
        missing(Ability::Operations)
    }

    fn snapshots_after(&self, _: Option<&Snapshot>, _: u32) -> Result<Vec<Snapshot>> {
        missing(Ability::Operations)
    }

    fn insert_seal(&self, _: &Seal) -> Result<()> {
        missing(Ability::Operations)
    }

    fn seals_after(&self, _: GlobalSequence, _: u32) -> Result<Vec<Seal>> {
        missing(Ability::Operations)
    }

    fn newest_seals(&self, _: u32) -> Result<Vec<Seal>> {
        missing(Ability::Operations)
    }

    fn update_statistics(&self) -> Result<String> {
        missing(Ability::Operations)
    }

    fn vacuum(&self) -> Result<String> {
        missing(Ability::Operations)
    }

    fn index_usage(&self) -> Result<Vec<IndexUsage>> {
        missing(Ability::Operations)
    }

    fn check_storage(&self) -> Result<Vec<Finding>> {
        missing(Ability::Operations)
    }

    fn publish_mark(&self) -> Result<GlobalSequence> {
        missing(Ability::Operations)
    }

    fn diagnose(&self) -> Result<Vec<Diagnosis>> {
        missing(Ability::Operations)
    }
}
