//! What every store does: appends, reads, consumers.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::log::Log;
use super::store::{FaultPoint, MemoryEventStore, lock};
use super::transaction::MemoryTransaction;
use crate::backend::{self, SlotsQuery};
use crate::consumer::{
    ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Transactional, Wake,
};
use crate::{
    AggregateKey, AggregateSummary, Append, Appended, Cursor, Error, EventQuery, EventStore, EventStream,
    EventTransaction, GlobalSequence, Health, Page, Result, Statistics, StreamRange, SummaryQuery, TenantId,
};

/// About how long a consumer's transaction may make other writers wait.
const LONGEST_TRANSACTION: Duration = Duration::from_millis(20);

impl EventStore for MemoryEventStore {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let name = |error: Error| error.during(backend::describe(appends));
        backend::check(appends, &self.limits)?;
        self.pass(FaultPoint::BeforeAppend).map_err(name)?;
        let _writing = self.shared.writer.lock().map_err(name)?;
        let mut staged = MemoryTransaction::of(self);
        let results = staged.append_all(appends)?;
        staged.commit();
        self.pass(FaultPoint::AfterCommit).map_err(name)?;
        Ok(results)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        self.commit_together(|transaction| work(transaction))
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.pass(FaultPoint::Read)
            .and_then(|()| {
                self.read(|log| {
                    let (stream, archived) = (log.stream(aggregate.id()), log.archived_streams.get(&aggregate.id()));
                    self.select(aggregate, range, &stream, archived)
                })
            })
            .flatten()
            .and_then(|stream| backend::verified(stream, self.verify_on_read))
            .map_err(|error| error.during(format_args!("load {aggregate}")))
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        self.pass(FaultPoint::Read)
            .and_then(|()| self.read(|log| self.page(log, query, cursor)))
            .flatten()
            .and_then(|page| backend::verified_page(page, self.verify_on_read))
            .map_err(|error| error.during("read the log"))
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        self.read(Log::mark)
            .map_err(|error| error.during("read the high-water mark"))
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
        self.read(|log| Statistics {
            archived_events: log.count_archived(tenant),
            ..backend::scan_statistics(&log.events, tenant)
        })
        .map_err(|error| error.during("read statistics"))
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        self.read(|log| backend::scan_summaries(&log.events, query))
            .map_err(|error| error.during("read aggregate summaries"))
    }

    fn refresh_aggregate_summaries(&self) -> Result<()> {
        Ok(())
    }

    fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        let mark = self.high_water_mark()?;
        let latency = asked.elapsed();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Health::new("memory", version, None, true, mark, latency))
    }
}

impl ConsumerStore for MemoryEventStore {
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
        self.commit_together(|transaction| work(transaction))
    }

    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
        self.shared.writer.check_not_held()?;
        let which = name.map_or(SlotsQuery::All, SlotsQuery::Of);
        Ok(lock(&self.shared.consumers).slots(which))
    }

    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.consumers).parked(which))
    }

    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.consumers).count_parked(consumer, aggregate_id))
    }

    fn wake(&self) -> &Wake {
        &self.shared.wake
    }

    fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        backend::any_transient(error, |_| None)
    }

    /// Nothing has a time limit here.
    fn took_too_long(&self, _: &(dyn std::error::Error + 'static)) -> bool {
        false
    }

    fn longest_transaction(&self) -> Option<Duration> {
        Some(LONGEST_TRANSACTION)
    }
}

impl Transactional for MemoryEventStore {
    type Transaction<'t> = MemoryTransaction<'t>;

    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let _writing = self.shared.writer.lock()?;
        let mut transaction = MemoryTransaction::of(self);
        let result = work(&mut transaction);
        let result = transaction.work.outcome(result)?;
        transaction.commit();
        Ok(result)
    }
}
