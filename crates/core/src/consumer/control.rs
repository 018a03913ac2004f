//! Operating consumers: read their status, pause, resume and move them, replay or discard their parked events.

use std::collections::HashSet;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::stored::parking::{of, of_aggregate, unpark_all};
use super::stored::slot::{ConsumerSlot, ConsumerState, Failing, Lease, ParkedEvent};
use super::stored::store::ConsumerStore;
use super::stored::tables::{ConsumerChange, ParkedQuery, SlotsQuery};
use super::stored::transaction::ConsumerTransaction;
use crate::{Error, EventQuery, GlobalSequence, Result};

/// The state of a consumer, and how far it is behind the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// Its slots.
    pub slots: Vec<ConsumerSlot>,
    /// Everything up to here is handled: the smallest position of its slots.
    pub position: GlobalSequence,
    /// How many sequences the position is behind the high-water mark.
    pub behind: u64,
    /// The age of the oldest event after the position: the difference between the clock of this program and the clock of the program that
    /// appended the event. None if there is no such event; 0 if its time is in the future. An event that the consumer does not ask for
    /// counts until the checkpoint passes it, which takes 10 seconds at most while the consumer runs.
    pub age: Option<Duration>,
    /// How many events the consumer has parked.
    pub parked: u64,
}

impl ConsumerStatus {
    /// The state of the consumer. If its slots differ, the state that needs an operator most: failed, then paused.
    #[must_use]
    pub fn state(&self) -> ConsumerState {
        let has = |state| self.slots.iter().any(|slot| slot.state == state);
        [ConsumerState::Failed, ConsumerState::Paused, ConsumerState::Inline]
            .into_iter()
            .find(|state| has(*state))
            .unwrap_or(ConsumerState::Running)
    }

    /// The failing event of the slot that is furthest behind, if an event of that slot fails.
    #[must_use]
    pub fn failing(&self) -> Option<&Failing> {
        let failing = self.slots.iter().filter_map(|slot| slot.failing.as_ref());
        failing.min_by_key(|failing| failing.sequence)
    }

    /// The processes whose leases on slots have not ended.
    #[must_use]
    pub fn holders(&self) -> Vec<Uuid> {
        let is_live = |slot: &&ConsumerSlot| slot.lease.is_some_and(Lease::is_live);
        let mut holders: Vec<Uuid> = self
            .slots
            .iter()
            .filter(is_live)
            .filter_map(|slot| slot.holder)
            .collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }
}

/// The status of one consumer, or of all, ordered by name. A consumer that was never started is left out.
///
/// Costs two round trips, for the slots and the high-water mark, and two more for each consumer, for the number of parked events and the
/// age.
///
/// # Errors
///
/// Those of the store.
pub fn status(store: &(impl ConsumerStore + ?Sized), name: Option<&str>) -> Result<Vec<ConsumerStatus>> {
    let mut slots = store.consumers(name)?.into_iter().peekable();
    let mark = store.high_water_mark()?;
    let mut found = Vec::new();
    while let Some(first) = slots.next() {
        let name = first.consumer.clone();
        let mut own = vec![first];
        while let Some(slot) = slots.next_if(|slot| slot.consumer == name) {
            own.push(slot);
        }
        let position = own.iter().map(|slot| slot.position).min().unwrap_or_default();
        let is_inline = own.iter().all(|slot| slot.state == ConsumerState::Inline);
        let position = if is_inline { mark } else { position };
        found.push(ConsumerStatus {
            parked: store.count_parked(&name, None)?,
            name,
            slots: own,
            position,
            behind: mark.get().saturating_sub(position.get()),
            age: oldest_after(store, position, mark)?,
        });
    }
    Ok(found)
}

fn oldest_after(
    store: &(impl ConsumerStore + ?Sized),
    position: GlobalSequence,
    mark: GlobalSequence,
) -> Result<Option<Duration>> {
    if position >= mark {
        return Ok(None);
    }
    let page = store.read_page(&EventQuery::new().after(position).limit(1), None)?;
    Ok(page
        .events
        .first()
        .map(|event| Duration::try_from(OffsetDateTime::now_utc() - event.created_at).unwrap_or_default()))
}

/// Pauses all slots of a consumer, in every process. The consumer keeps its checkpoint and handles nothing. Events that it is handling at
/// that moment do not count as handled.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the consumer was never started, or is applied within appends; those of the store.
pub fn pause(store: &(impl ConsumerStore + ?Sized), name: &str) -> Result<()> {
    change(store, name, |slot| slot.state = ConsumerState::Paused)
}

/// Resumes a consumer that was paused or has failed. The event that failed is tried again. The processes of a subscription notice this
/// within a third of their lease, those of a projection within a second.
///
/// # Errors
///
/// As [`pause`].
pub fn resume(store: &(impl ConsumerStore + ?Sized), name: &str) -> Result<()> {
    change(store, name, |slot| {
        slot.state = ConsumerState::Running;
        slot.failing = None;
    })
}

/// Moves the checkpoint of all slots of a consumer, and raises their tokens. Events that its processes are handling at that moment do not
/// count as handled.
///
/// Moving forwards skips events; moving backwards handles events again. The read model of a projection is not changed. To build it again,
/// use [`reset`](super::reset), which empties it in the same transaction.
///
/// # Errors
///
/// As [`pause`]; [`InvalidInput`](crate::ErrorKind::InvalidInput) beyond the high-water mark.
pub fn reposition(
    store: &(impl ConsumerStore + ?Sized),
    name: &str,
    position: impl Into<GlobalSequence>,
) -> Result<()> {
    let position = position.into();
    let mark = store.high_water_mark()?;
    if position > mark {
        return Err(Error::invalid(format!(
            "consumer {name} cannot be moved to {position}: the log goes to {mark}, and what comes next would be left out"
        )));
    }
    change(store, name, |slot| {
        slot.position = position;
        slot.token += 1;
        slot.failing = None;
    })
}

/// Asks the process that runs the consumer to handle the parked events of an aggregate again, in their order. Returns how many are parked.
///
/// If an event fails again, or the process ends during the attempt, the event and all later ones of the aggregate stay parked.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if no event of the aggregate is parked; those of the store.
pub fn replay(store: &(impl ConsumerStore + ?Sized), name: &str, aggregate_id: Uuid) -> Result<u64> {
    store.consume(&mut |transaction| {
        check_parked(transaction, name, aggregate_id)?;
        transaction.change(ConsumerChange::Replay {
            consumer: name,
            aggregate_id,
        })
    })?;
    store.count_parked(name, Some(aggregate_id))
}

/// Asks for all parked events of a consumer to be handled again, as [`replay`] does for one aggregate. Returns how many events are parked.
///
/// Uses one transaction for every 1,000 events. Repeating the call after an error is safe.
///
/// # Errors
///
/// Those of the store.
pub fn replay_all(store: &(impl ConsumerStore + ?Sized), name: &str) -> Result<u64> {
    let mut asked = HashSet::new();
    let mut parked = 0;
    let mut after = GlobalSequence::ZERO;
    loop {
        let page = store.parked_events(of(name)(after))?;
        let Some(last) = page.last() else {
            return Ok(parked);
        };
        after = last.global_sequence;
        parked += page.len() as u64;
        let aggregates: Vec<Uuid> = page
            .iter()
            .map(|event| event.aggregate_id)
            .filter(|id| asked.insert(*id))
            .collect();
        store.consume(&mut |transaction| {
            aggregates.iter().try_for_each(|aggregate_id| {
                transaction.change(ConsumerChange::Replay {
                    consumer: name,
                    aggregate_id: *aggregate_id,
                })
            })
        })?;
    }
}

/// Reads one parked event of a consumer. None if the event is not parked.
///
/// # Errors
///
/// Those of the store.
pub fn find_parked(
    store: &(impl ConsumerStore + ?Sized),
    name: &str,
    global_sequence: GlobalSequence,
) -> Result<Option<ParkedEvent>> {
    let mut found = store.parked_events(just(name, global_sequence)?)?;
    found.retain(|event| event.global_sequence == global_sequence);
    Ok(found.pop())
}

/// Discards a parked event: it is never handled. Once no event of its aggregate is parked, later events of the aggregate are handled as
/// usual.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the event is not parked; those of the store.
pub fn discard(store: &(impl ConsumerStore + ?Sized), name: &str, global_sequence: GlobalSequence) -> Result<()> {
    store.consume(&mut |transaction| {
        let parked = transaction.parked(just(name, global_sequence)?)?;
        if parked
            .first()
            .is_none_or(|event| event.global_sequence != global_sequence)
        {
            return Err(Error::invalid(format!(
                "consumer {name} has not parked the event with global sequence {global_sequence}"
            )));
        }
        transaction.change(ConsumerChange::Unpark {
            consumer: name,
            global_sequence,
        })
    })
}

/// Discards all parked events of an aggregate, in one transaction, and returns their number. They are never handled. Later events of the
/// aggregate are handled as usual.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if no event of the aggregate is parked; those of the store.
pub fn discard_aggregate(store: &(impl ConsumerStore + ?Sized), name: &str, aggregate_id: Uuid) -> Result<u64> {
    let mut discarded = 0;
    store.consume(&mut |transaction| {
        check_parked(transaction, name, aggregate_id)?;
        discarded = unpark_all(transaction, of_aggregate(name, aggregate_id))?;
        Ok(())
    })?;
    Ok(discarded)
}

fn check_parked(transaction: &mut (impl ConsumerTransaction + ?Sized), name: &str, aggregate_id: Uuid) -> Result<()> {
    match transaction.is_parked(name, aggregate_id)? {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "consumer {name} has parked no event of aggregate {aggregate_id}"
        ))),
    }
}

/// The first parked event at or after a sequence.
fn just(consumer: &str, global_sequence: GlobalSequence) -> Result<ParkedQuery<'_>> {
    Ok(ParkedQuery::Of {
        consumer,
        after: GlobalSequence::new(global_sequence.get().saturating_sub(1))?,
        limit: 1,
    })
}

/// Changes every slot of a consumer, in one transaction.
fn change(store: &(impl ConsumerStore + ?Sized), name: &str, change: impl Fn(&mut ConsumerSlot)) -> Result<()> {
    store.consume(&mut |transaction| {
        let slots = transaction.slots(SlotsQuery::Of(name))?;
        if slots.is_empty() {
            return Err(Error::invalid(format!("there is no consumer {name}: no program has run it yet")));
        }
        for slot in slots {
            let mut slot = transaction.lock_slot(name, slot.slot)?;
            if slot.state == ConsumerState::Inline {
                return Err(Error::invalid(format!(
                    "consumer {name} is applied within appends: it has no checkpoint, and stops with the programs that append"
                )));
            }
            change(&mut slot);
            transaction.change(ConsumerChange::Save(&slot))?;
        }
        Ok(())
    })
}
