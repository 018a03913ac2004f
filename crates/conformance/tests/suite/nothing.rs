//! A store that does nothing, and reports success.

use std::sync::Arc;
use std::time::Duration;

use firefly_eventstore_conformance::MemoryEnvironment;
use firefly_eventstore_core::backend::{ConsumerChange, ConsumerTables, SlotsQuery};
use firefly_eventstore_core::consumer::{ConsumerSlot, ConsumerTransaction, ParkedEvent, ParkedQuery, Wake};
use firefly_eventstore_core::operate::{Diagnosis, Finding, IndexUsage, Operations, RestorePoint, Seal};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{
    AggregateSummary, Cursor, Health, Page, SnapshotAt, SnapshotSelection, SnapshotStatistics, Statistics, SummaryQuery,
};

/// Stores that do nothing.
pub(super) fn environment() -> MemoryEnvironment {
    MemoryEnvironment::new(|_| Arc::new(Nothing::default()))
}

#[derive(Debug, Default)]
struct Nothing {
    wake: Wake,
}

fn nothing(appends: &[Append<'_>]) -> Vec<Appended> {
    let appended = |append: &Append<'_>| Appended::new(append.aggregate.clone(), Version::ZERO, Vec::new());
    appends.iter().map(appended).collect()
}

impl EventStore for Nothing {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        Ok(nothing(appends))
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<(), Error>) -> Result<(), Error> {
        // The work has to be run, because it makes a result of the type that the caller wants.
        work(&mut Self::default())
    }

    fn load_range(&self, aggregate: &AggregateKey, _: &StreamRange) -> Result<EventStream, Error> {
        Ok(EventStream::new(aggregate.clone(), Version::ZERO, Vec::new()))
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page, Error> {
        Ok(Page::new(query, cursor, GlobalSequence::ZERO, Vec::new()))
    }

    fn high_water_mark(&self) -> Result<GlobalSequence, Error> {
        Ok(GlobalSequence::ZERO)
    }

    fn statistics(&self, _: Option<&TenantId>) -> Result<Statistics, Error> {
        Ok(Statistics::default())
    }

    fn aggregate_summaries(&self, _: &SummaryQuery) -> Result<Vec<AggregateSummary>, Error> {
        Ok(Vec::new())
    }

    fn refresh_aggregate_summaries(&self) -> Result<(), Error> {
        Ok(())
    }

    fn health(&self) -> Result<Health, Error> {
        Ok(Health::new(
            "",
            String::new(),
            None,
            false,
            GlobalSequence::ZERO,
            Duration::ZERO,
        ))
    }
}

impl EventTransaction for Nothing {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        Ok(nothing(appends))
    }

    fn load_range(&mut self, aggregate: &AggregateKey, _: &StreamRange) -> Result<EventStream, Error> {
        Ok(EventStream::new(aggregate.clone(), Version::ZERO, Vec::new()))
    }
}

impl SnapshotStore for Nothing {
    fn save_snapshot(&self, _: Option<&TenantId>, _: &NewSnapshot) -> Result<(), Error> {
        Ok(())
    }

    fn find_snapshot(
        &self,
        _: Option<&TenantId>,
        _: &AggregateKey,
        _: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        Ok(None)
    }

    fn list_snapshots(&self, _: Option<&TenantId>, _: &AggregateKey) -> Result<Vec<Snapshot>, Error> {
        Ok(Vec::new())
    }

    fn count_snapshots(&self, _: Option<&TenantId>, _: &AggregateKey) -> Result<u64, Error> {
        Ok(0)
    }

    fn delete_snapshots(&self, _: Option<&TenantId>, _: SnapshotSelection<'_>) -> Result<u64, Error> {
        Ok(0)
    }

    fn snapshot_statistics(&self, _: Option<&TenantId>) -> Result<SnapshotStatistics, Error> {
        Ok(SnapshotStatistics::new(0, 0, 0, None, None))
    }
}

impl ConsumerStore for Nothing {
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<(), Error>) -> Result<(), Error> {
        work(&mut Self::default())
    }

    fn consumers(&self, _: Option<&str>) -> Result<Vec<ConsumerSlot>, Error> {
        Ok(Vec::new())
    }

    fn parked_events(&self, _: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
        Ok(Vec::new())
    }

    fn wake(&self) -> &Wake {
        &self.wake
    }

    fn count_parked(&self, _: &str, _: Option<Uuid>) -> Result<u64, Error> {
        Ok(0)
    }

    fn took_too_long(&self, _: &(dyn std::error::Error + 'static)) -> bool {
        false
    }

    fn is_transient(&self, _: &(dyn std::error::Error + 'static)) -> bool {
        false
    }
}

impl ConsumerTables for Nothing {
    fn change(&mut self, _: ConsumerChange<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn slots(&mut self, _: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>, Error> {
        Ok(Vec::new())
    }

    fn parked(&mut self, _: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
        Ok(Vec::new())
    }

    fn members(&mut self, _: &str, _: Duration) -> Result<u64, Error> {
        Ok(0)
    }
}

impl ConsumerTransaction for Nothing {
    fn scope(&mut self, _: &TenantId) -> Result<(), Error> {
        Ok(())
    }
}

impl Operations for Nothing {
    fn import_events(&self, _: &[EventEnvelope]) -> Result<(), Error> {
        Ok(())
    }

    fn restore_table(&self, _: RestorePoint) -> Result<u64, Error> {
        Ok(0)
    }

    fn snapshots_after(&self, _: Option<&Snapshot>, _: u32) -> Result<Vec<Snapshot>, Error> {
        Ok(Vec::new())
    }

    fn insert_seal(&self, _: &Seal) -> Result<(), Error> {
        Ok(())
    }

    fn seals_after(&self, _: GlobalSequence, _: u32) -> Result<Vec<Seal>, Error> {
        Ok(Vec::new())
    }

    fn newest_seals(&self, _: u32) -> Result<Vec<Seal>, Error> {
        Ok(Vec::new())
    }

    fn update_statistics(&self) -> Result<String, Error> {
        Ok(String::new())
    }

    fn vacuum(&self) -> Result<String, Error> {
        Ok(String::new())
    }

    fn index_usage(&self) -> Result<Vec<IndexUsage>, Error> {
        Ok(Vec::new())
    }

    fn check_storage(&self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }

    fn diagnose(&self) -> Result<Vec<Diagnosis>, Error> {
        Ok(Vec::new())
    }
}
