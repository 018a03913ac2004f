//! The parts of a mutant: a working in-memory store, and a bug that changes some calls.

use std::fmt;
use std::sync::Arc;

use firefly_eventstore_conformance::MemoryEnvironment;
use firefly_eventstore_core::backend::{ArchivedStream, EventFilter, PageEvents, Position, Window};
use firefly_eventstore_core::consumer::{ConsumerSlot, ConsumerTransaction, ParkedEvent, ParkedQuery, Wake};
use firefly_eventstore_core::operate::{
    Archive, Diagnosis, Finding, IndexUsage, LogDigest, Operations, RestorePoint, Seal,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{
    AggregateSummary, Cursor, Direction, Health, MemoryEventStore, Order, Page, SnapshotAt, SnapshotSelection,
    SnapshotStatistics, Statistics, SummaryQuery,
};

pub(super) type Work<'a> = &'a mut dyn FnMut(&mut dyn EventTransaction) -> Result<(), Error>;

pub(super) type Consuming<'a> = &'a mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<(), Error>;

/// One bug. What is not overridden works.
pub(super) trait Bug: fmt::Debug + Default + Send + Sync + 'static {
    fn prepare(memory: MemoryEventStore) -> MemoryEventStore {
        memory
    }

    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        memory.append_all(appends)
    }

    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        memory.transact(work)
    }

    fn load_range(
        &self,
        memory: &MemoryEventStore,
        aggregate: &AggregateKey,
        range: &StreamRange,
    ) -> Result<EventStream, Error> {
        memory.load_range(aggregate, range)
    }

    fn read_page(&self, memory: &MemoryEventStore, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page, Error> {
        memory.read_page(query, cursor)
    }

    fn high_water_mark(&self, memory: &MemoryEventStore) -> Result<GlobalSequence, Error> {
        memory.high_water_mark()
    }

    fn statistics(&self, memory: &MemoryEventStore, tenant: Option<&TenantId>) -> Result<Statistics, Error> {
        memory.statistics(tenant)
    }

    fn aggregate_summaries(
        &self,
        memory: &MemoryEventStore,
        query: &SummaryQuery,
    ) -> Result<Vec<AggregateSummary>, Error> {
        memory.aggregate_summaries(query)
    }

    fn refresh_aggregate_summaries(&self, memory: &MemoryEventStore) -> Result<(), Error> {
        memory.refresh_aggregate_summaries()
    }

    fn save_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        snapshot: &NewSnapshot,
    ) -> Result<(), Error> {
        memory.save_snapshot(tenant, snapshot)
    }

    fn find_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        memory.find_snapshot(tenant, aggregate, at)
    }

    fn load_from_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        memory.load_from_snapshot(tenant, aggregate, at)
    }

    fn list_snapshots(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
    ) -> Result<Vec<Snapshot>, Error> {
        memory.list_snapshots(tenant, aggregate)
    }

    fn delete_snapshots(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        selection: SnapshotSelection<'_>,
    ) -> Result<u64, Error> {
        memory.delete_snapshots(tenant, selection)
    }

    fn import_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<(), Error> {
        memory.import_events(events)
    }

    fn snapshots_after(
        &self,
        memory: &MemoryEventStore,
        after: Option<&Snapshot>,
        limit: u32,
    ) -> Result<Vec<Snapshot>, Error> {
        memory.snapshots_after(after, limit)
    }

    fn retire_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<u64, Error> {
        memory.retire_events(events)
    }

    fn attach_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<u64, Error> {
        memory.attach_events(events)
    }

    fn insert_seal(&self, memory: &MemoryEventStore, seal: &Seal) -> Result<(), Error> {
        memory.insert_seal(seal)
    }

    fn seals_after(&self, memory: &MemoryEventStore, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>, Error> {
        memory.seals_after(sequence, limit)
    }

    fn newest_seals(&self, memory: &MemoryEventStore, limit: u32) -> Result<Vec<Seal>, Error> {
        memory.newest_seals(limit)
    }

    fn consume(&self, memory: &MemoryEventStore, work: Consuming<'_>) -> Result<(), Error> {
        memory.consume(work)
    }

    fn consumers(&self, memory: &MemoryEventStore, name: Option<&str>) -> Result<Vec<ConsumerSlot>, Error> {
        memory.consumers(name)
    }

    fn parked_events(&self, memory: &MemoryEventStore, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
        memory.parked_events(which)
    }

    fn count_parked(
        &self,
        memory: &MemoryEventStore,
        consumer: &str,
        aggregate_id: Option<Uuid>,
    ) -> Result<u64, Error> {
        memory.count_parked(consumer, aggregate_id)
    }

    fn wake<'a>(&'a self, memory: &'a MemoryEventStore) -> &'a Wake {
        memory.wake()
    }
}

/// A fresh environment whose stores all have the bug, and share its state.
pub(super) fn environment<B: Bug>() -> MemoryEnvironment {
    let bug = Arc::new(B::default());
    MemoryEnvironment::new(move |memory| {
        Arc::new(Mutant {
            memory: B::prepare(memory),
            bug: Arc::clone(&bug),
        })
    })
}

#[derive(Debug)]
struct Mutant<B> {
    memory: MemoryEventStore,
    bug: Arc<B>,
}

impl<B: Bug> EventStore for Mutant<B> {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        self.bug.append_all(&self.memory, appends)
    }

    fn transact(&self, work: Work<'_>) -> Result<(), Error> {
        self.bug.transact(&self.memory, work)
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        self.bug.load_range(&self.memory, aggregate, range)
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page, Error> {
        self.bug.read_page(&self.memory, query, cursor)
    }

    fn high_water_mark(&self) -> Result<GlobalSequence, Error> {
        self.bug.high_water_mark(&self.memory)
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics, Error> {
        self.bug.statistics(&self.memory, tenant)
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>, Error> {
        self.bug.aggregate_summaries(&self.memory, query)
    }

    fn refresh_aggregate_summaries(&self) -> Result<(), Error> {
        self.bug.refresh_aggregate_summaries(&self.memory)
    }

    fn health(&self) -> Result<Health, Error> {
        self.memory.health()
    }
}

impl<B: Bug> SnapshotStore for Mutant<B> {
    fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<(), Error> {
        self.bug.save_snapshot(&self.memory, tenant, snapshot)
    }

    fn find_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        self.bug.find_snapshot(&self.memory, tenant, aggregate, at)
    }

    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        self.bug.load_from_snapshot(&self.memory, tenant, aggregate, at)
    }

    fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>, Error> {
        self.bug.list_snapshots(&self.memory, tenant, aggregate)
    }

    fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64, Error> {
        self.memory.count_snapshots(tenant, aggregate)
    }

    fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64, Error> {
        self.bug.delete_snapshots(&self.memory, tenant, selection)
    }

    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics, Error> {
        self.memory.snapshot_statistics(tenant)
    }
}

impl<B: Bug> ConsumerStore for Mutant<B> {
    fn consume(&self, work: Consuming<'_>) -> Result<(), Error> {
        self.bug.consume(&self.memory, work)
    }

    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>, Error> {
        self.bug.consumers(&self.memory, name)
    }

    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
        self.bug.parked_events(&self.memory, which)
    }

    fn wake(&self) -> &Wake {
        self.bug.wake(&self.memory)
    }

    fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        self.memory.is_transient(error)
    }

    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64, Error> {
        self.bug.count_parked(&self.memory, consumer, aggregate_id)
    }

    fn took_too_long(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        self.memory.took_too_long(error)
    }
}

impl<B: Bug> Operations for Mutant<B> {
    fn import_events(&self, events: &[EventEnvelope]) -> Result<(), Error> {
        self.bug.import_events(&self.memory, events)
    }

    fn restore_table(&self, point: RestorePoint) -> Result<u64, Error> {
        self.memory.restore_table(point)
    }

    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>, Error> {
        self.bug.snapshots_after(&self.memory, after, limit)
    }

    fn insert_seal(&self, seal: &Seal) -> Result<(), Error> {
        self.bug.insert_seal(&self.memory, seal)
    }

    fn seals_after(&self, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>, Error> {
        self.bug.seals_after(&self.memory, sequence, limit)
    }

    fn newest_seals(&self, limit: u32) -> Result<Vec<Seal>, Error> {
        self.bug.newest_seals(&self.memory, limit)
    }

    fn archives(&self) -> Result<Vec<Archive>, Error> {
        self.memory.archives()
    }

    fn archived_stream(&self, aggregate_id: Uuid) -> Result<Option<ArchivedStream>, Error> {
        self.memory.archived_stream(aggregate_id)
    }

    fn record_archive(&self, archive: &Archive) -> Result<(), Error> {
        self.memory.record_archive(archive)
    }

    fn forget_archive(&self, digest: &LogDigest) -> Result<(), Error> {
        self.memory.forget_archive(digest)
    }

    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64, Error> {
        self.bug.retire_events(&self.memory, events)
    }

    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64, Error> {
        self.bug.attach_events(&self.memory, events)
    }

    fn update_statistics(&self) -> Result<String, Error> {
        self.memory.update_statistics()
    }

    fn vacuum(&self) -> Result<String, Error> {
        self.memory.vacuum()
    }

    fn index_usage(&self) -> Result<Vec<IndexUsage>, Error> {
        self.memory.index_usage()
    }

    fn check_storage(&self) -> Result<Vec<Finding>, Error> {
        self.memory.check_storage()
    }

    fn diagnose(&self) -> Result<Vec<Diagnosis>, Error> {
        self.memory.diagnose()
    }
}

/// A working read of the log, in steps, so that a bug can change each step.
pub(super) struct Reading<'a> {
    pub(super) memory: &'a MemoryEventStore,
    pub(super) query: &'a EventQuery,
    pub(super) cursor: Option<&'a Cursor>,
    /// The mark of the read, taken before anything is read.
    pub(super) mark: GlobalSequence,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        memory: &'a MemoryEventStore,
        query: &'a EventQuery,
        cursor: Option<&'a Cursor>,
    ) -> Result<Self, Error> {
        // Fails if the store does.
        let current = memory.high_water_mark()?;
        // Fails if archived events are needed.
        if let Err(error) = memory.read_page(query, cursor)
            && error.is_archived()
        {
            return Err(error);
        }
        Ok(Self {
            memory,
            query,
            cursor,
            mark: cursor.map_or(current, Cursor::high_water_mark),
        })
    }

    /// What the page may contain.
    pub(super) fn window(&self) -> Window {
        self.query.window(self.cursor, self.mark)
    }

    /// The events in the window, in order, neither filtered nor limited.
    pub(super) fn candidates(&self, window: &Window) -> Vec<EventEnvelope> {
        let unverified = self.memory.clone().verify_on_read(false);
        let all = unverified.read(EventQuery::new().skip_archived()).map(Result::unwrap);
        let mut events: Vec<_> = all
            .filter(|event| event.global_sequence > window.after && event.global_sequence <= window.until)
            .filter(|event| match (window.beyond, self.query.direction()) {
                (None, _) => true,
                (Some(at), Direction::Forwards) => Position::of(event) > at,
                (Some(at), Direction::Backwards) => Position::of(event) < at,
            })
            .collect();
        if self.query.order() == Order::Time {
            events.sort_by_key(Position::of);
        }
        if self.query.direction() == Direction::Backwards {
            events.reverse();
        }
        events
    }

    /// The events in the window that match, in order.
    pub(super) fn matches(&self, window: &Window) -> Vec<EventEnvelope> {
        let mut events = self.candidates(window);
        events.retain(|event| self.query.filter().matches(event).unwrap());
        events
    }

    /// The page, with an altered filter.
    pub(super) fn filtered(&self, alter: impl FnOnce(&mut EventFilter)) -> Result<Page, Error> {
        let mut filter = self.query.filter().clone();
        alter(&mut filter);
        let window = self.window();
        let mut events = self.candidates(&window);
        events.retain(|event| filter.matches(event).unwrap());
        self.page(&window, events)
    }

    /// The page, with altered bounds.
    pub(super) fn bounded(&self, alter: impl FnOnce(&mut Window)) -> Result<Page, Error> {
        let mut window = self.window();
        alter(&mut window);
        self.page(&window, self.matches(&window))
    }

    /// As many of the events as fit into the page.
    pub(super) fn page(&self, window: &Window, events: Vec<EventEnvelope>) -> Result<Page, Error> {
        if self.cursor.is_none() {
            self.query.check_end(self.mark, || Ok(self.mark))?;
        }
        let mut page = PageEvents::new(window);
        for event in events {
            if page.is_full() {
                break;
            }
            page.push(event);
        }
        let page = page.into_page(self.query, self.cursor, self.mark);
        // The store verifies them if verification is on.
        let ids = page.events.iter().map(|event| event.event_id);
        self.memory.read_page(&EventQuery::new().event_ids(ids), None)?;
        Ok(page)
    }
}
