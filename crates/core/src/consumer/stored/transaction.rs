//! What consumers do within a transaction with checkpoints, leases and parked events. Written once, on top of a backend's statements.

use std::time::Duration;

use uuid::Uuid;

use super::definition::definition;
use super::slot::{ConsumerSlot, ConsumerState, Failing};
use super::tables::{ConsumerChange, ConsumerTables, ParkedQuery, SlotsQuery};
use crate::{Error, EventQuery, EventTransaction, GlobalSequence, Result, TenantId};

/// A transaction in which a consumer's checkpoint moves together with the consumer's effects.
///
/// For authors of other kinds of consumers: projections and subscriptions use it for you. A backend implements only [`scope`](Self::scope).
/// The other methods use its [`ConsumerTables`].
pub trait ConsumerTransaction: EventTransaction + ConsumerTables {
    /// Limits later appends and loads of this transaction to one tenant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the transaction is already limited to another tenant.
    fn scope(&mut self, tenant: &TenantId) -> Result<()>;

    /// Registers a consumer: inserts its slots, unless they exist. Returns them, without locks.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a consumer of this name has another definition, or the query has more than
    /// filters.
    fn register(&mut self, consumer: &Registration<'_>) -> Result<Vec<ConsumerSlot>> {
        let Registration { name, .. } = *consumer;
        let definition = definition(consumer.query, consumer.slots)?;
        crate::values::name::check("the name of a consumer", name)?;
        let mut found = self.slots(SlotsQuery::Of(name))?;
        if found.is_empty() {
            let position = match consumer.start {
                StartAt::Position(position) => position,
                StartAt::After(other) => self.handled(other)?.ok_or_else(|| {
                    Error::invalid(format!(
                        "consumer {name} is to start after {other}, which has not begun"
                    ))
                })?,
            };
            for slot in 0..consumer.slots {
                self.change(ConsumerChange::Register {
                    consumer: name,
                    slot,
                    position,
                    state: consumer.state,
                    definition: &definition,
                })?;
            }
            found = self.slots(SlotsQuery::Of(name))?;
        }
        consumer.check(&definition, &found)?;
        Ok(found)
    }

    /// The position up to which all slots of a consumer have handled everything; none if the consumer was never started.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn handled(&mut self, consumer: &str) -> Result<Option<GlobalSequence>> {
        Ok(self
            .slots(SlotsQuery::Of(consumer))?
            .iter()
            .map(|slot| slot.position)
            .min())
    }

    /// Locks a slot until the transaction ends, and returns it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no such slot; those of the backend.
    fn lock_slot(&mut self, consumer: &str, slot: u16) -> Result<ConsumerSlot> {
        let found = self.slots(SlotsQuery::Lock(consumer, slot))?;
        found
            .into_iter()
            .next()
            .ok_or_else(|| Error::invalid(format!("consumer {consumer} has no slot {slot}; it has not begun")))
    }

    /// Moves the checkpoint of a slot that this transaction has locked, and clears the slot's failure.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn advance(&mut self, slot: &mut ConsumerSlot, to: GlobalSequence) -> Result<()> {
        slot.position = to;
        slot.failing = None;
        self.change(ConsumerChange::Save(slot))
    }

    /// Records a failed attempt at an event, in a slot that this transaction has locked, and returns the number of attempts.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn fail(&mut self, slot: &mut ConsumerSlot, sequence: GlobalSequence, error: &str) -> Result<u32> {
        let attempts = slot.attempts_of(sequence).saturating_add(1);
        slot.failing = Some(Failing {
            sequence,
            attempts,
            error: stored_reason(error),
        });
        self.change(ConsumerChange::Save(slot))?;
        Ok(attempts)
    }

    /// Records that a process is alive, renews its leases, takes its share of the free slots, and returns all slots that it holds.
    ///
    /// The share is the number of slots divided by the number of members seen within a lease, rounded up. A process that holds more must
    /// [release](Self::release) the surplus, between two events.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a lease of more than a day; those of the backend.
    fn claim(&mut self, consumer: &str, holder: Uuid, lease: Duration) -> Result<Claimed> {
        check_lease(lease)?;
        self.change(ConsumerChange::SeeMember { consumer, holder })?;
        self.change(ConsumerChange::ForgetMembers {
            consumer,
            unseen_for: lease * 10,
        })?;
        self.change(ConsumerChange::Renew {
            consumer,
            holder,
            lease,
        })?;
        let members = self.members(consumer, lease)?.max(1);
        let slots = self.slots(SlotsQuery::Of(consumer))?;
        let share = (slots.len() as u64).div_ceil(members) as usize;
        let is_mine = |slot: &ConsumerSlot| slot.holder == Some(holder);
        let mine = slots.iter().filter(|slot| is_mine(slot)).count();
        if mine >= share {
            return Ok(Claimed {
                slots: slots.into_iter().filter(is_mine).collect(),
                share,
                taken_over: Vec::new(),
            });
        }
        let free = self.slots(SlotsQuery::LockFree(consumer))?;
        let mut taken_over = Vec::new();
        for slot in free.iter().filter(|slot| !is_mine(slot)).take(share - mine) {
            if slot.holder.is_some() {
                taken_over.push(slot.slot);
            }
            self.change(ConsumerChange::Hand {
                consumer,
                slot: slot.slot,
                token: slot.token + 1,
                holder: Some((holder, lease)),
            })?;
        }
        let slots = self.slots(SlotsQuery::Of(consumer))?;
        Ok(Claimed {
            slots: slots.into_iter().filter(is_mine).collect(),
            share,
            taken_over,
        })
    }

    /// Releases a slot, if this process holds it.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn release(&mut self, consumer: &str, slot: u16, holder: Uuid) -> Result<()> {
        let found = self.lock_slot(consumer, slot)?;
        if found.holder != Some(holder) {
            return Ok(());
        }
        self.change(ConsumerChange::Hand {
            consumer,
            slot,
            token: found.token + 1,
            holder: None,
        })
    }

    /// Parks an event. All later events of its aggregate have to be parked too.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn park(
        &mut self,
        consumer: &str,
        global_sequence: GlobalSequence,
        aggregate_id: Uuid,
        attempts: u32,
        reason: &str,
    ) -> Result<()> {
        self.change(ConsumerChange::Park {
            consumer,
            global_sequence,
            aggregate_id,
            attempts,
            reason: &stored_reason(reason),
        })
    }

    /// Whether a consumer has parked any event.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn has_parked(&mut self, consumer: &str) -> Result<bool> {
        let first = ParkedQuery::Of {
            consumer,
            after: GlobalSequence::ZERO,
            limit: 1,
        };
        Ok(!self.parked(first)?.is_empty())
    }

    /// Whether a consumer has parked an event of an aggregate.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn is_parked(&mut self, consumer: &str, aggregate_id: Uuid) -> Result<bool> {
        Ok(!self.parked(ParkedQuery::first_of(consumer, aggregate_id))?.is_empty())
    }
}

/// How a consumer is registered.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Registration<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many slots it has.
    pub slots: u16,
    /// Where it starts, if it was never started before.
    pub start: StartAt<'a>,
    /// Its first state.
    pub state: ConsumerState,
    /// The events that it asks for: filters of the whole log.
    pub query: &'a EventQuery,
}

impl<'a> Registration<'a> {
    /// Registers a running consumer with one slot that starts at the beginning of the log.
    #[must_use]
    pub fn new(name: &'a str, query: &'a EventQuery) -> Self {
        Self {
            name,
            slots: 1,
            start: StartAt::Position(GlobalSequence::ZERO),
            state: ConsumerState::Running,
            query,
        }
    }

    /// Sets the number of slots.
    #[must_use]
    pub fn slots(mut self, slots: u16) -> Self {
        self.slots = slots;
        self
    }

    /// Sets where it starts, if it was never started before.
    #[must_use]
    pub fn start(mut self, start: StartAt<'a>) -> Self {
        self.start = start;
        self
    }

    /// Sets its first state.
    #[must_use]
    pub fn state(mut self, state: ConsumerState) -> Self {
        self.state = state;
        self
    }

    /// Refuses slots that were registered with another definition.
    fn check(&self, definition: &str, found: &[ConsumerSlot]) -> Result<()> {
        let name = self.name;
        if found.len() != usize::from(self.slots) {
            return Err(Error::invalid(format!(
                "consumer {name} was begun with {} slots, not {}, and keeps them; take another name for another number",
                found.len(),
                self.slots
            )));
        }
        if found.iter().any(|slot| slot.definition.as_deref() != Some(definition)) {
            return Err(Error::invalid(format!(
                "consumer {name} was begun with another query; its checkpoint says nothing about events that it did not ask for, so \
                 take another name, such as that with a higher number"
            )));
        }
        let is_inline = |state| state == ConsumerState::Inline;
        match found.first() {
            Some(slot) if is_inline(slot.state) && !is_inline(self.state) => Err(Error::invalid(format!(
                "{name} changes its read model within appends; to follow the log for it as well would apply each event twice"
            ))),
            Some(slot) if is_inline(self.state) && !is_inline(slot.state) => Err(Error::invalid(format!(
                "{name} follows the log; to change its read model within appends as well would apply each event twice"
            ))),
            _ => Ok(()),
        }
    }
}

/// Where a consumer that was never started begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartAt<'a> {
    /// After this sequence.
    Position(GlobalSequence),
    /// At the position of another consumer.
    After(&'a str),
}

/// The slots that a process holds, and how many it should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claimed {
    /// The slots that it holds now.
    pub slots: Vec<ConsumerSlot>,
    /// How many it should hold.
    pub share: usize,
    /// The numbers of slots whose lease ended while another process held them. That process may have ended over the slot's next event.
    pub taken_over: Vec<u16>,
}

/// The longest lease. If a process dies, its events wait until its leases end.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Refuses a lease that is too long to be useful. A database might not be able to store its end.
pub(crate) fn check_lease(lease: Duration) -> Result<()> {
    if lease > LONGEST_LEASE {
        return Err(Error::invalid(format!(
            "a lease of {lease:?} is too long: after a process dies, its events wait until the lease ends; take a day at most"
        )));
    }
    Ok(())
}

/// How many characters of an error's text are stored.
const LONGEST_REASON: usize = 4_000;

/// An error's text in a form that every database can store.
fn stored_reason(reason: &str) -> String {
    reason
        .chars()
        .take(LONGEST_REASON)
        .map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .collect()
}
