//! Parking events, and handling parked events again.

use std::collections::HashSet;

use uuid::Uuid;

use super::slot::{ConsumerSlot, ConsumerState, Failing, ParkedEvent};
use super::store::ConsumerStore;
use super::tables::{ConsumerChange, ParkedQuery};
use super::transaction::ConsumerTransaction;
use crate::consumer::failure::{IN_HAND, Next};
use crate::{Error, EventEnvelope, EventQuery, EventStore, GlobalSequence, Result};

/// How many rows one round trip reads.
const PAGE: u32 = 1_000;

/// The aggregates that have parked events of a consumer.
pub(crate) fn parked_aggregates(store: &(impl ConsumerStore + ?Sized), consumer: &str) -> Result<HashSet<Uuid>> {
    let mut aggregates = HashSet::new();
    each_parked(store, of(consumer), |event| {
        aggregates.insert(event.aggregate_id);
        false
    })?;
    Ok(aggregates)
}

/// The first parked event with a replay request that is also the first parked event of its aggregate.
pub(crate) fn first_to_replay(
    store: &(impl ConsumerStore + ?Sized),
    consumer: &str,
    is_mine: impl Fn(Uuid) -> bool,
) -> Result<Option<ParkedEvent>> {
    let mut seen = HashSet::new();
    each_parked(store, of(consumer), |event| {
        seen.insert(event.aggregate_id) && event.replay && is_mine(event.aggregate_id)
    })
}

/// Reads parked events page by page, until `is_found` accepts one.
fn each_parked<'a>(
    store: &(impl ConsumerStore + ?Sized),
    pages: impl Fn(GlobalSequence) -> ParkedQuery<'a>,
    mut is_found: impl FnMut(&ParkedEvent) -> bool,
) -> Result<Option<ParkedEvent>> {
    let mut after = GlobalSequence::ZERO;
    loop {
        let page = store.parked_events(pages(after))?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        after = last.global_sequence;
        if let Some(found) = page.into_iter().find(|event| is_found(event)) {
            return Ok(Some(found));
        }
    }
}

/// Queries for the pages of all parked events of a consumer.
pub(crate) fn of<'a>(consumer: &'a str) -> impl Fn(GlobalSequence) -> ParkedQuery<'a> {
    move |after| ParkedQuery::Of {
        consumer,
        after,
        limit: PAGE,
    }
}

/// Queries for the pages of the parked events of one aggregate.
pub(crate) fn of_aggregate<'a>(consumer: &'a str, aggregate_id: Uuid) -> impl Fn(GlobalSequence) -> ParkedQuery<'a> {
    move |after| ParkedQuery::OfAggregate {
        consumer,
        aggregate_id,
        after,
        limit: PAGE,
    }
}

/// Deletes all parked events that a query finds, and returns their number.
pub(crate) fn unpark_all<'a>(
    transaction: &mut (impl ConsumerTransaction + ?Sized),
    pages: impl Fn(GlobalSequence) -> ParkedQuery<'a>,
) -> Result<u64> {
    let mut forgotten = 0;
    loop {
        let page = transaction.parked(pages(GlobalSequence::ZERO))?;
        if page.is_empty() {
            return Ok(forgotten);
        }
        for event in &page {
            transaction.change(ConsumerChange::Unpark {
                consumer: &event.consumer,
                global_sequence: event.global_sequence,
            })?;
        }
        forgotten += page.len() as u64;
    }
}

/// Records in a locked slot that an event failed. The slot then either stops before the event, or parks it and moves to a position. An
/// attempt that was counted before it was made is not counted again. Returns the number of attempts.
pub(crate) fn fail(
    transaction: &mut (impl ConsumerTransaction + ?Sized),
    slot: &mut ConsumerSlot,
    event: &EventEnvelope,
    to: GlobalSequence,
    reason: &str,
    is_counted: bool,
    decide: impl FnOnce(u32) -> Next,
) -> Result<(u32, Next)> {
    if is_counted && let Some(failing) = &mut slot.failing {
        failing.attempts = failing.attempts.saturating_sub(1);
    }
    let attempts = transaction.fail(slot, event.global_sequence, reason)?;
    let next = decide(attempts);
    match next {
        Next::Retry(_) => {}
        Next::Park => {
            transaction.park(
                &slot.consumer,
                event.global_sequence,
                event.aggregate.id(),
                attempts,
                reason,
            )?;
            transaction.advance(slot, to)?;
        }
        Next::Stop => {
            slot.state = ConsumerState::Failed;
            transaction.change(ConsumerChange::Save(slot))?;
        }
    }
    Ok((attempts, next))
}

/// Takes back the count of an attempt that was counted in advance and is not made. The slot is locked.
pub(crate) fn uncount(transaction: &mut (impl ConsumerTransaction + ?Sized), slot: &mut ConsumerSlot) -> Result<()> {
    let failing = slot.failing.take().filter(|failing| failing.attempts > 1);
    slot.failing = failing.map(|failing| Failing {
        attempts: failing.attempts - 1,
        ..failing
    });
    transaction.change(ConsumerChange::Save(slot))
}

/// If the aggregate of an event is parked, parks the event too and moves to a position. Returns whether the aggregate is parked.
pub(crate) fn park_behind(
    transaction: &mut (impl ConsumerTransaction + ?Sized),
    slot: &mut ConsumerSlot,
    event: &EventEnvelope,
    to: GlobalSequence,
) -> Result<bool> {
    let aggregate_id = event.aggregate.id();
    if !transaction.is_parked(&slot.consumer, aggregate_id)? {
        return Ok(false);
    }
    let reason = "an earlier event of its aggregate is parked";
    transaction.park(&slot.consumer, event.global_sequence, aggregate_id, 0, reason)?;
    transaction.advance(slot, to)?;
    Ok(true)
}

/// The current row of a parked event; none if it is no longer the first parked event of its aggregate.
pub(crate) fn still_first(
    transaction: &mut (impl ConsumerTransaction + ?Sized),
    consumer: &str,
    event: &EventEnvelope,
) -> Result<Option<ParkedEvent>> {
    let first = transaction.parked(ParkedQuery::first_of(consumer, event.aggregate.id()))?;
    Ok(first
        .into_iter()
        .next()
        .filter(|first| first.global_sequence == event.global_sequence))
}

/// Counts an attempt to handle a parked event again, before the attempt. This also clears the request: if the process ends during the
/// attempt, the event stays parked. Returns the number of attempts including this one; none if the event is not to be handled.
pub(crate) fn begin_replay(
    transaction: &mut (impl ConsumerTransaction + ?Sized),
    consumer: &str,
    event: &EventEnvelope,
) -> Result<Option<u32>> {
    let Some(parked) = still_first(transaction, consumer, event)?.filter(|parked| parked.replay) else {
        return Ok(None);
    };
    let attempts = parked.attempts.saturating_add(1);
    transaction.park(consumer, parked.global_sequence, parked.aggregate_id, attempts, IN_HAND)?;
    Ok(Some(attempts))
}

/// Records why a parked event failed again. If the operator asked for another replay meanwhile, the event is tried once more.
pub(crate) fn end_replay(
    transaction: &mut (impl ConsumerTransaction + ?Sized),
    consumer: &str,
    event: &EventEnvelope,
    reason: &str,
) -> Result<()> {
    match still_first(transaction, consumer, event)? {
        Some(parked) => transaction.park(
            consumer,
            parked.global_sequence,
            parked.aggregate_id,
            parked.attempts,
            reason,
        ),
        None => Ok(()),
    }
}

/// The event at a sequence.
pub(crate) fn event_at(store: &(impl EventStore + ?Sized), sequence: GlobalSequence) -> Result<EventEnvelope> {
    let before = GlobalSequence::new(sequence.get() - 1)?;
    let page = store.read_page(&EventQuery::new().after(before).until(sequence), None)?;
    page.events
        .into_iter()
        .next()
        .ok_or_else(|| Error::invalid(format!("the event with global sequence {sequence} no longer exists")))
}
