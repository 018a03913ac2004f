//! Looking after what a consumer has parked.

use std::collections::HashSet;

use uuid::Uuid;

use super::slot::ParkedEvent;
use super::store::ConsumerStore;
use super::tables::ParkedQuery;
use crate::{Error, EventEnvelope, EventQuery, EventStore, GlobalSequence, Result};

/// How many rows are looked at in one round trip.
const PAGE: u32 = 1_000;

/// The aggregates of which a consumer has parked events.
pub(crate) fn parked_aggregates(store: &(impl ConsumerStore + ?Sized), consumer: &str) -> Result<HashSet<Uuid>> {
    let mut aggregates = HashSet::new();
    each_parked(store, consumer, |event| {
        aggregates.insert(event.aggregate_id);
        false
    })?;
    Ok(aggregates)
}

/// How many events a consumer has parked.
pub(crate) fn count_parked(store: &(impl ConsumerStore + ?Sized), consumer: &str) -> Result<u64> {
    let mut count = 0;
    each_parked(store, consumer, |_| {
        count += 1;
        false
    })?;
    Ok(count)
}

/// The first parked event that is the first of its aggregate, and is to be handled again.
pub(crate) fn first_to_replay(
    store: &(impl ConsumerStore + ?Sized),
    consumer: &str,
    is_mine: impl Fn(Uuid) -> bool,
) -> Result<Option<ParkedEvent>> {
    let mut seen = HashSet::new();
    each_parked(store, consumer, |event| {
        seen.insert(event.aggregate_id) && event.replay && is_mine(event.aggregate_id)
    })
}

/// Goes through the parked events until one is what is looked for.
fn each_parked(
    store: &(impl ConsumerStore + ?Sized),
    consumer: &str,
    mut is_found: impl FnMut(&ParkedEvent) -> bool,
) -> Result<Option<ParkedEvent>> {
    let mut after = GlobalSequence::ZERO;
    loop {
        let page = store.parked_events(ParkedQuery::Of {
            consumer,
            after,
            limit: PAGE,
        })?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        after = last.global_sequence;
        if let Some(found) = page.into_iter().find(|event| is_found(event)) {
            return Ok(Some(found));
        }
    }
}

/// The first parked event of an aggregate.
pub(crate) fn first_parked(consumer: &str, aggregate_id: Uuid) -> ParkedQuery<'_> {
    ParkedQuery::OfAggregate {
        consumer,
        aggregate_id,
        after: GlobalSequence::ZERO,
        limit: 1,
    }
}

/// The event at a sequence.
pub(crate) fn event_at(store: &(impl EventStore + ?Sized), sequence: GlobalSequence) -> Result<EventEnvelope> {
    let before = GlobalSequence::new(sequence.get() - 1)?;
    let page = store.read_page(&EventQuery::new().after(before).until(sequence), None)?;
    page.events
        .into_iter()
        .next()
        .ok_or_else(|| Error::invalid(format!("there is no event at global sequence {sequence} any more")))
}
