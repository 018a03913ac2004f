//! The tables of consumers in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::GlobalSequence;
use crate::backend::{ConsumerChange, SlotsQuery};
use crate::consumer::{ConsumerSlot, Lease, ParkedEvent, ParkedQuery};

/// The tables of consumers of the in-memory store. There is one writer at a time, so locking a row is reading it.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryConsumers {
    slots: BTreeMap<(String, u16), Slot>,
    members: BTreeMap<(String, Uuid), OffsetDateTime>,
    parked: BTreeMap<(String, GlobalSequence), ParkedEvent>,
}

#[derive(Clone, Debug)]
struct Slot {
    slot: ConsumerSlot,
    lease_until: Option<OffsetDateTime>,
}

impl Slot {
    fn at(&self, now: OffsetDateTime) -> ConsumerSlot {
        ConsumerSlot {
            lease: self.lease_until.map(|until| Lease::until(until, now)),
            ..self.slot.clone()
        }
    }

    fn is_free(&self, now: OffsetDateTime) -> bool {
        self.slot.holder.is_none() || self.lease_until.is_none_or(|until| until <= now)
    }
}

impl MemoryConsumers {
    pub(crate) fn slots(&self, which: SlotsQuery<'_>) -> Vec<ConsumerSlot> {
        let now = now();
        let wanted = |slot: &&Slot| match which {
            SlotsQuery::All => true,
            SlotsQuery::Of(name) => slot.slot.consumer == name,
            SlotsQuery::Lock(name, number) => slot.slot.consumer == name && slot.slot.slot == number,
            SlotsQuery::LockFree(name) => slot.slot.consumer == name && slot.is_free(now),
        };
        self.slots.values().filter(wanted).map(|slot| slot.at(now)).collect()
    }

    pub(crate) fn parked(&self, which: ParkedQuery<'_>) -> Vec<ParkedEvent> {
        let (after, limit) = match which {
            ParkedQuery::All {
                after: (name, sequence),
                limit,
            } => ((name.to_owned(), sequence), limit),
            ParkedQuery::Of { consumer, after, limit }
            | ParkedQuery::OfAggregate {
                consumer, after, limit, ..
            } => ((consumer.to_owned(), after), limit),
        };
        let wanted = |event: &&ParkedEvent| match which {
            ParkedQuery::All { .. } => true,
            ParkedQuery::Of { consumer, .. } => event.consumer == consumer,
            ParkedQuery::OfAggregate {
                consumer, aggregate_id, ..
            } => event.consumer == consumer && event.aggregate_id == aggregate_id,
        };
        let events = self.parked.range((Bound::Excluded(after), Bound::Unbounded));
        let events = events.map(|(_, event)| event).filter(wanted);
        events.take(limit as usize).cloned().collect()
    }

    pub(crate) fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> u64 {
        let wanted = |event: &&ParkedEvent| {
            event.consumer == consumer && aggregate_id.is_none_or(|aggregate_id| event.aggregate_id == aggregate_id)
        };
        self.parked.values().filter(wanted).count() as u64
    }

    fn slot(&mut self, consumer: &str, slot: u16) -> Option<&mut Slot> {
        self.slots.get_mut(&(consumer.to_owned(), slot))
    }

    pub(crate) fn members(&self, consumer: &str, seen_within: Duration) -> u64 {
        let since = now() - seen_within;
        let seen = self
            .members
            .iter()
            .filter(|((name, _), seen)| name == consumer && **seen >= since);
        seen.count() as u64
    }

    pub(crate) fn change(&mut self, change: ConsumerChange<'_>) {
        let now = now();
        match change {
            ConsumerChange::Register {
                consumer,
                slot,
                position,
                state,
                definition,
            } => {
                self.slots.entry((consumer.to_owned(), slot)).or_insert_with(|| Slot {
                    slot: ConsumerSlot {
                        consumer: consumer.to_owned(),
                        slot,
                        position,
                        token: 0,
                        holder: None,
                        lease: None,
                        state,
                        failing: None,
                        definition: Some(definition.to_owned()),
                        updated_at: now,
                    },
                    lease_until: None,
                });
            }
            ConsumerChange::Save(saved) => {
                if let Some(found) = self.slot(&saved.consumer, saved.slot) {
                    found.slot = ConsumerSlot {
                        position: saved.position,
                        token: saved.token,
                        state: saved.state,
                        failing: saved.failing.clone(),
                        updated_at: now,
                        ..found.slot.clone()
                    };
                }
            }
            ConsumerChange::Hand {
                consumer,
                slot,
                token,
                holder,
            } => {
                if let Some(found) = self.slot(consumer, slot) {
                    found.slot.token = token;
                    found.slot.holder = holder.map(|(holder, _)| holder);
                    found.slot.updated_at = now;
                    found.lease_until = holder.map(|(_, lease)| now + lease);
                }
            }
            ConsumerChange::Renew {
                consumer,
                holder,
                lease,
            } => {
                let held = |slot: &&mut Slot| slot.slot.consumer == consumer && slot.slot.holder == Some(holder);
                for slot in self.slots.values_mut().filter(held) {
                    slot.lease_until = Some(now + lease);
                }
            }
            ConsumerChange::SeeMember { consumer, holder } => {
                self.members.insert((consumer.to_owned(), holder), now);
            }
            ConsumerChange::ForgetMember { consumer, holder } => {
                self.members.remove(&(consumer.to_owned(), holder));
            }
            ConsumerChange::ForgetMembers { consumer, unseen_for } => {
                self.members
                    .retain(|(name, _), seen| name != consumer || *seen >= now - unseen_for);
            }
            ConsumerChange::Park {
                consumer,
                global_sequence,
                aggregate_id,
                attempts,
                reason,
            } => {
                let key = (consumer.to_owned(), global_sequence);
                let before = self.parked.get(&key);
                let parked_at = before.map_or(now, |event| event.parked_at);
                let replay = before.is_some_and(|event| event.replay && event.attempts >= attempts);
                let event = ParkedEvent::new(
                    consumer.to_owned(),
                    global_sequence,
                    aggregate_id,
                    attempts,
                    reason.to_owned(),
                    parked_at,
                    replay,
                );
                self.parked.insert(key, event);
            }
            ConsumerChange::Replay { consumer, aggregate_id } => {
                let asked = |event: &&mut ParkedEvent| event.consumer == consumer && event.aggregate_id == aggregate_id;
                for event in self.parked.values_mut().filter(asked) {
                    event.replay = true;
                }
            }
            ConsumerChange::Unpark {
                consumer,
                global_sequence,
            } => {
                self.parked.remove(&(consumer.to_owned(), global_sequence));
            }
        }
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().truncate_to_microsecond()
}
