//! Transactions: what they write is staged until the commit.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::consumers::MemoryConsumers;
use super::store::{FaultPoint, MemoryEventStore, lock};
use crate::backend::{
    self, ConsumerChange, ConsumerTables, DataRules, Head, Located, SlotsQuery, Work, WorkTransaction,
};
use crate::consumer::{ConsumerSlot, ConsumerTransaction, ParkedEvent, ParkedQuery};
use crate::{
    AggregateKey, Append, Appended, EventEnvelope, EventStream, EventTransaction, GlobalSequence, NewEvent, Result,
    StreamRange, TenantId, Version,
};

/// A transaction of a store in memory. No other transaction runs meanwhile, and readers do not see its changes before the commit.
#[derive(Debug)]
pub struct MemoryTransaction<'a> {
    store: &'a MemoryEventStore,
    /// The last committed sequence.
    committed: u64,
    events: Vec<EventEnvelope>,
    /// The tables of consumers, if this transaction has written to them.
    consumers: Option<MemoryConsumers>,
    pub(super) work: Work,
}

impl<'a> MemoryTransaction<'a> {
    pub(super) fn of(store: &'a MemoryEventStore) -> Self {
        Self {
            store,
            committed: store.look(|log| log.mark().get()),
            events: Vec::new(),
            consumers: None,
            work: Work::new(DataRules::new(store.limits, store.verify_on_read)),
        }
    }

    fn read_consumers<R>(&self, read: impl FnOnce(&MemoryConsumers) -> R) -> R {
        match &self.consumers {
            Some(consumers) => read(consumers),
            None => read(&lock(&self.store.shared.consumers)),
        }
    }

    fn try_append(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        if let Some(results) = backend::resolve_repeated(appends, &self.locate(appends))? {
            return Ok(self.with_versions(appends, results));
        }
        let mut results = Vec::with_capacity(appends.len());
        for append in appends {
            results.push(self.append_one(append)?);
        }
        Ok(results)
    }

    fn append_one(&mut self, append: &Append<'_>) -> Result<Appended> {
        let aggregate = append.aggregate;
        let head = self.head(aggregate.id());
        if append.events.is_empty() {
            let version = head.map_or(Version::ZERO, |head| head.version);
            return Ok(Appended::new(aggregate.clone(), version, Vec::new()));
        }
        let mut version = Head::admit(head.as_ref(), append)?;
        let now = OffsetDateTime::now_utc().truncate_to_microsecond();
        let mut sequences = Vec::with_capacity(append.events.len());
        for (number, event) in (1..).zip(append.events) {
            self.store.pass(FaultPoint::AtEvent(number))?;
            version = version.checked_add(1).expect("the head admitted these versions");
            let sequence = GlobalSequence::new(self.committed + self.events.len() as u64 + 1)?;
            self.events
                .push(event.stored(aggregate, append.tenant, version, sequence, now));
            sequences.push(sequence);
        }
        Ok(Appended::new(aggregate.clone(), version, sequences))
    }

    fn locate(&self, appends: &[Append<'_>]) -> Vec<Located> {
        let ids: HashSet<Uuid> = appends
            .iter()
            .flat_map(|append| append.events)
            .map(NewEvent::event_id)
            .collect();
        let staged = self.events.iter().filter(|event| ids.contains(&event.event_id));
        let mut found: Vec<Located> = staged.map(Located::of).collect();
        self.store
            .look(|log| found.extend(ids.iter().filter_map(|id| log.locate(*id))));
        found
    }

    /// Sets the versions of empty appends in a repeated append, which have no event to show them.
    fn with_versions(&self, appends: &[Append<'_>], results: Vec<Appended>) -> Vec<Appended> {
        let complete = |(append, result): (&Append<'_>, Appended)| {
            if !append.events.is_empty() {
                return result;
            }
            let version = self
                .head(append.aggregate.id())
                .map_or(Version::ZERO, |head| head.version);
            Appended::new(append.aggregate.clone(), version, Vec::new())
        };
        appends.iter().zip(results).map(complete).collect()
    }

    fn head(&self, id: Uuid) -> Option<Head> {
        let staged = self.events.iter().rev().find(|event| event.aggregate.id() == id);
        staged.map(Head::of).or_else(|| self.store.look(|log| log.head(id)))
    }

    pub(super) fn commit(self) {
        let shared = &self.store.shared;
        if let Some(consumers) = self.consumers {
            *lock(&shared.consumers) = consumers;
        }
        if self.events.is_empty() {
            return;
        }
        let mut log = shared.log.write().unwrap_or_else(PoisonError::into_inner);
        for event in self.events {
            log.push(event);
        }
        drop(log);
        shared.wake.tell();
    }
}

impl ConsumerTables for MemoryTransaction<'_> {
    fn change(&mut self, change: ConsumerChange<'_>) -> Result<()> {
        let shared = &self.store.shared;
        let consumers = self.consumers.get_or_insert_with(|| lock(&shared.consumers).clone());
        consumers.change(change);
        Ok(())
    }

    fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>> {
        Ok(self.read_consumers(|consumers| consumers.slots(which)))
    }

    fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        Ok(self.read_consumers(|consumers| consumers.parked(which)))
    }

    fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64> {
        Ok(self.read_consumers(|consumers| consumers.members(consumer, seen_within)))
    }
}

impl ConsumerTransaction for MemoryTransaction<'_> {
    fn scope(&mut self, tenant: &TenantId) -> Result<()> {
        self.work.narrow(tenant)
    }
}

impl WorkTransaction for MemoryTransaction<'_> {
    fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

impl EventTransaction for MemoryTransaction<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.append_by(appends, Self::try_append)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.load_by(aggregate, range, |transaction, range| {
            let store = transaction.store;
            store.look(|log| {
                let staged = transaction
                    .events
                    .iter()
                    .filter(|event| event.aggregate.id() == aggregate.id());
                let stream: Vec<_> = log.stream(aggregate.id()).into_iter().chain(staged).collect();
                let archived = log.archived_streams.get(&aggregate.id());
                store.select(aggregate, range, &stream, archived)
            })
        })
    }
}
