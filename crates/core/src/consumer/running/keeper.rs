//! Keeps the leases of a member, takes free slots, and gives up slots beyond its share.

use std::time::Instant;

use super::member::{Member, Slot};
use super::progress::Part;
use super::signals::Waited;
use super::worker::{Context, LONGEST_PAUSE};
use crate::consumer::observer::ConsumerEvent;
use crate::consumer::stored::store::ConsumerStore;
use crate::consumer::stored::transaction::Claimed;
use crate::{Backoff, Result};

/// The thread that keeps the leases.
pub(crate) struct Keeper<'a, S> {
    pub(crate) member: &'a Member<S>,
    pub(crate) context: &'a Context,
}

impl<S: ConsumerStore> Keeper<'_, S> {
    pub(crate) fn run(&self) {
        let lease = self.member.subscription.lease;
        let mut pauses = Backoff::new();
        loop {
            let pause = match self.keep() {
                Ok(()) => {
                    self.context.recovered(self.member.name(), Part::Leases);
                    pauses = Backoff::new();
                    lease / 3
                }
                Err(error) => {
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE).min(lease / 3);
                    self.context
                        .tell_outage(self.member.name(), Part::Leases, &error, pause);
                    pause
                }
            };
            if self.context.signals.pause(pause) == Waited::Stopping {
                return;
            }
        }
    }

    /// Renews the leases, takes free slots, and releases slots beyond this process's share.
    pub(crate) fn keep(&self) -> Result<()> {
        let member = self.member;
        if self.is_hung() {
            // A process whose handler hangs lets its leases end, so that another process takes the slots.
            return Ok(());
        }
        let asked = Instant::now();
        let mut claimed = None;
        member.store.consume(&mut |transaction| {
            claimed = Some(transaction.claim(member.name(), member.id, member.subscription.lease)?);
            Ok(())
        })?;
        let claimed = claimed.expect("a transaction that succeeds ran its work");
        let until = asked + member.subscription.lease;
        let excess = claimed.slots.len().saturating_sub(claimed.share);
        self.note(&claimed, until);
        self.context.signals.nudge();
        for (number, slot) in self.take_back(excess) {
            member.give_up(number, &slot)?;
            self.context.tell_lost(member.name(), number);
        }
        Ok(())
    }

    fn is_hung(&self) -> bool {
        let in_hand = self.member.held().in_hand;
        in_hand.is_some_and(|(_, since)| since.elapsed() > self.member.subscription.deadline)
    }

    /// Records the slots that this process holds now.
    fn note(&self, claimed: &Claimed, until: Instant) {
        let mut held = self.member.held();
        let mut lost = Vec::new();
        held.slots.retain(|number, slot| {
            let is_held = claimed
                .slots
                .iter()
                .any(|found| found.slot == *number && found.token == slot.token);
            if !is_held {
                lost.push(*number);
            }
            is_held
        });
        let mut taken = Vec::new();
        for found in &claimed.slots {
            let slot = held.slots.entry(found.slot).or_insert_with(|| {
                taken.push(found.slot);
                Slot {
                    token: found.token,
                    position: found.position,
                    looked: found.position,
                    committed: Instant::now(),
                    until,
                    not_before: None,
                    outages: 0,
                    failing: found
                        .failing
                        .as_ref()
                        .map(|failing| (failing.sequence, failing.attempts)),
                    state: found.state,
                    suspects: match claimed.taken_over.contains(&found.slot) {
                        true => self.member.subscription.batch,
                        false => 0,
                    },
                    is_counted: false,
                }
            });
            slot.until = until;
            if slot.state != found.state {
                // The operator resumed or paused the slot.
                slot.state = found.state;
                slot.failing = found
                    .failing
                    .as_ref()
                    .map(|failing| (failing.sequence, failing.attempts));
                slot.not_before = None;
                slot.outages = 0;
            }
        }
        drop(held);
        lost.into_iter()
            .for_each(|number| self.context.tell_lost(self.member.name(), number));
        for slot in taken {
            self.context.observer.observe(&ConsumerEvent::SlotTaken {
                consumer: self.member.name(),
                slot,
            });
        }
    }

    /// Takes this many slots away from the handler, none of which has an event that is being handled.
    fn take_back(&self, count: usize) -> Vec<(u16, Slot)> {
        let mut held = self.member.held();
        let mut given_up = Vec::with_capacity(count);
        let in_hand = held.in_hand.map(|(number, _)| number);
        while given_up.len() < count {
            let Some(number) = held.slots.keys().copied().rev().find(|number| Some(*number) != in_hand) else {
                break;
            };
            given_up.extend(held.slots.remove(&number).map(|slot| (number, slot)));
        }
        given_up
    }
}
