//! Any store, behind a pointer: each trait of stores is implemented for `Box` and `Arc`.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::consumer::{Appends, ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Wake};
use crate::{
    AggregateKey, AggregateSummary, Append, Appended, Cursor, EventQuery, EventStore, EventStream, EventTransaction,
    GlobalSequence, Health, NewSnapshot, Page, Result, Snapshot, SnapshotAt, SnapshotSelection, SnapshotStatistics,
    SnapshotStore, Statistics, StreamRange, SummaryQuery, TenantId,
};

/// Events, snapshots and consumers in one. `connect(url)` returns it in an `Arc`, which can be cloned and shared between threads.
pub trait Store: EventStore + SnapshotStore + ConsumerStore {}

impl<S: EventStore + SnapshotStore + ConsumerStore + ?Sized> Store for S {}

macro_rules! forward_through_pointers {
    ($($Pointer:ident),*) => {$(
        impl<S: EventStore + ?Sized> EventStore for $Pointer<S> {
            fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
                (**self).append_all(appends)
            }

            fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
                (**self).transact(work)
            }

            fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
                (**self).load_range(aggregate, range)
            }

            fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
                (**self).read_page(query, cursor)
            }

            fn high_water_mark(&self) -> Result<GlobalSequence> {
                (**self).high_water_mark()
            }

            fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
                (**self).statistics(tenant)
            }

            fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
                (**self).aggregate_summaries(query)
            }

            fn refresh_aggregate_summaries(&self) -> Result<()> {
                (**self).refresh_aggregate_summaries()
            }

            fn health(&self) -> Result<Health> {
                (**self).health()
            }
        }

        impl<S: SnapshotStore + ?Sized> SnapshotStore for $Pointer<S> {
            fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
                (**self).save_snapshot(tenant, snapshot)
            }

            fn find_snapshot(
                &self,
                tenant: Option<&TenantId>,
                aggregate: &AggregateKey,
                at: SnapshotAt<'_>,
            ) -> Result<Option<Snapshot>> {
                (**self).find_snapshot(tenant, aggregate, at)
            }

            fn load_from_snapshot(
                &self,
                tenant: Option<&TenantId>,
                aggregate: &AggregateKey,
                at: SnapshotAt<'_>,
            ) -> Result<(Option<Snapshot>, EventStream)> {
                (**self).load_from_snapshot(tenant, aggregate, at)
            }

            fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>> {
                (**self).list_snapshots(tenant, aggregate)
            }

            fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
                (**self).count_snapshots(tenant, aggregate)
            }

            fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64> {
                (**self).delete_snapshots(tenant, selection)
            }

            fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
                (**self).snapshot_statistics(tenant)
            }
        }

        impl<S: ConsumerStore + ?Sized> ConsumerStore for $Pointer<S> {
            fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
                (**self).consume(work)
            }

            fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
                (**self).consumers(name)
            }

            fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
                (**self).parked_events(which)
            }

            fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
                (**self).count_parked(consumer, aggregate_id)
            }

            fn appends(&self) -> Result<Option<Box<dyn Appends>>> {
                (**self).appends()
            }

            fn wake(&self) -> &Wake {
                (**self).wake()
            }

            fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
                (**self).is_transient(error)
            }

            fn took_too_long(&self, error: &(dyn std::error::Error + 'static)) -> bool {
                (**self).took_too_long(error)
            }

            fn longest_transaction(&self) -> Option<Duration> {
                (**self).longest_transaction()
            }

            fn max_connections(&self) -> Option<u32> {
                (**self).max_connections()
            }
        }
    )*};
}

forward_through_pointers!(Box, Arc);
