//! A process that takes part in a subscription, and the slots that it holds.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::consumer::stored::slot::{ConsumerSlot, ConsumerState};
use crate::consumer::stored::store::ConsumerStore;
use crate::consumer::stored::tables::ConsumerChange;
use crate::consumer::stored::transaction::ConsumerTransaction;
use crate::consumer::subscription::Subscription;
use crate::{Error, GlobalSequence, Result};

/// A process that takes part in a subscription.
pub(crate) struct Member<S> {
    pub(crate) store: S,
    pub(crate) subscription: Subscription,
    /// New at every start, so that a restarted process never takes up a lease of its earlier run.
    pub(crate) id: Uuid,
    held: Mutex<Held>,
}

/// What the two threads share.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) slots: BTreeMap<u16, Slot>,
    /// The slot whose events are being handled, and since when.
    pub(crate) in_hand: Option<(u16, Instant)>,
}

impl Held {
    /// The time until the first of the slots' pauses ends.
    pub(crate) fn shortest_pause(&self, now: Instant) -> Option<Duration> {
        let running = self.slots.values().filter(|slot| slot.state == ConsumerState::Running);
        let ends = running.filter_map(|slot| slot.not_before).filter(|end| *end > now);
        ends.min().map(|end| end - now)
    }

    /// Whether a running slot waits for a service that its handler needs.
    pub(crate) fn has_outages(&self) -> bool {
        let mut slots = self.slots.values();
        slots.any(|slot| slot.state == ConsumerState::Running && slot.outages > 0)
    }
}

/// A slot that this process holds.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) token: i64,
    /// The stored checkpoint.
    pub(crate) position: GlobalSequence,
    /// How far the log was handled, or read without finding an event of this slot.
    pub(crate) looked: GlobalSequence,
    pub(crate) committed: Instant,
    /// When the lease ends, by this process's clock, with a margin.
    pub(crate) until: Instant,
    /// When the pause after a failure ends.
    pub(crate) not_before: Option<Instant>,
    /// How long the pause was that is over, for outages of what the handler needs.
    pub(crate) outages: u32,
    pub(crate) failing: Option<(GlobalSequence, u32)>,
    pub(crate) state: ConsumerState,
    /// How many of the next events may have ended the slot's previous holder. Each attempt is counted before it is made.
    pub(crate) suspects: u32,
    /// Whether the current attempt was counted before it was made.
    pub(crate) is_counted: bool,
}

/// Why a slot does not continue.
pub(crate) enum Trouble {
    Store(Error),
    /// Another process holds the slot, or the operator moved its checkpoint.
    Lost,
    Halted(ConsumerState),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl<S: ConsumerStore> Member<S> {
    pub(crate) fn new(store: S, subscription: Subscription) -> Self {
        Self {
            store,
            subscription,
            id: Uuid::now_v7(),
            held: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.subscription.name
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a slot and runs `work` on it, if this process still holds the slot.
    pub(crate) fn with_slot<R>(
        &self,
        slot: u16,
        token: i64,
        mut work: impl FnMut(&mut dyn ConsumerTransaction, &mut ConsumerSlot) -> Result<R>,
    ) -> Result<R, Trouble> {
        let mut outcome = Err(Trouble::Lost);
        self.store.consume(&mut |transaction| {
            let mut found = transaction.lock_slot(self.name(), slot)?;
            outcome = match found.state {
                _ if found.holder != Some(self.id) || found.token != token => Err(Trouble::Lost),
                ConsumerState::Running => Ok(work(transaction, &mut found)?),
                state => Err(Trouble::Halted(state)),
            };
            Ok(())
        })?;
        outcome
    }

    /// Gives up every slot. If that fails, the leases end by themselves.
    pub(crate) fn leave(&self) {
        let slots = std::mem::take(&mut self.held().slots);
        for (number, slot) in slots {
            let _ = self.give_up(number, &slot);
        }
        let forget = ConsumerChange::ForgetMember {
            consumer: self.name(),
            holder: self.id,
        };
        let _ = self.store.consume(&mut |transaction| transaction.change(forget));
    }

    /// Stores how far the slot's events are handled, and gives the slot up.
    pub(crate) fn give_up(&self, number: u16, slot: &Slot) -> Result<()> {
        self.store.consume(&mut |transaction| {
            let mut found = transaction.lock_slot(self.name(), number)?;
            if found.holder != Some(self.id) || found.token != slot.token {
                return Ok(());
            }
            if slot.looked > found.position {
                found.position = slot.looked;
                transaction.change(ConsumerChange::Save(&found))?;
            }
            transaction.release(self.name(), number, self.id)
        })
    }
}

impl Slot {
    /// How often an event was tried before.
    pub(crate) fn attempts_of(&self, sequence: GlobalSequence) -> u32 {
        self.failing
            .filter(|(failing, _)| *failing == sequence)
            .map_or(0, |(_, attempts)| attempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_the_pause_of_a_slot_that_is_over_or_has_stopped() {
        let now = Instant::now();
        let slot = |not_before: Option<Instant>, state| Slot {
            token: 1,
            position: GlobalSequence::ZERO,
            looked: GlobalSequence::ZERO,
            committed: now,
            until: now,
            not_before,
            outages: 0,
            failing: None,
            state,
            suspects: 0,
            is_counted: false,
        };
        let held = |slots: Vec<Slot>| Held {
            slots: (0..).zip(slots).collect(),
            in_hand: None,
        };
        let (second, now_on) = (Duration::from_secs(1), now + Duration::from_secs(5));
        let over = Some(now_on - second);
        let paused = |seconds| Some(now_on + second * seconds);
        assert_eq!(
            held(vec![slot(over, ConsumerState::Failed)]).shortest_pause(now_on),
            None
        );
        assert_eq!(
            held(vec![slot(over, ConsumerState::Running)]).shortest_pause(now_on),
            None
        );
        assert_eq!(
            held(vec![slot(paused(1), ConsumerState::Paused)]).shortest_pause(now_on),
            None
        );
        let some = vec![
            slot(over, ConsumerState::Running),
            slot(paused(3), ConsumerState::Running),
            slot(paused(2), ConsumerState::Running),
            slot(None, ConsumerState::Running),
        ];
        assert_eq!(held(some).shortest_pause(now_on), Some(second * 2));
    }
}
