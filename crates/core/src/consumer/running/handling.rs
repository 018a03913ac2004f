//! Handles the events of a member's slots.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::idle::{REPLAY_INTERVAL, is_late, longest_wait};
use super::member::{Member, Slot, Trouble};
use super::progress::Part;
use super::signals::Waited;
use super::worker::Context;
use crate::consumer::failure::{ConsumerError, IN_HAND, Next, ended, is_outage, unless_panicked};
use crate::consumer::observer::ConsumerEvent;
use crate::consumer::stored::parking::{
    self, begin_replay, end_replay, event_at, first_to_replay, park_behind, parked_aggregates, still_first, uncount,
};
use crate::consumer::stored::slot::{ConsumerState, ParkedEvent, slot_of};
use crate::consumer::stored::store::ConsumerStore;
use crate::consumer::stored::tables::ConsumerChange;
use crate::consumer::subscription::{Batch, Failure};
use crate::{Backoff, EventEnvelope, GlobalSequence, Result};

/// How many events are read in one page.
const PAGE: NonZeroU32 = NonZeroU32::new(500).expect("500 is not zero");
/// How long a member waits after the store refused something, before it tries again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The thread that handles events.
pub(crate) struct Handling<'a, S> {
    member: &'a Member<S>,
    context: &'a Context,
    parked: HashSet<Uuid>,
    /// The slots for which `parked` was read.
    known: Vec<(u16, i64)>,
    replays_due: Instant,
}

/// Slots that have handled the log up to the same position, so that one page serves all of them.
struct Cohort {
    slots: Vec<u16>,
    position: GlobalSequence,
    /// The position of the slots that are next furthest behind. There, they join this cohort.
    until: GlobalSequence,
}

impl<'a, S: ConsumerStore> Handling<'a, S> {
    pub(crate) fn new(member: &'a Member<S>, context: &'a Context) -> Self {
        Self {
            member,
            context,
            parked: HashSet::new(),
            known: Vec::new(),
            replays_due: Instant::now(),
        }
    }

    pub(crate) fn run(&mut self) {
        let signals = &self.context.signals;
        let mut pauses = Backoff::new();
        let mut is_begun = false;
        while !signals.is_stopping() {
            let nudges = signals.nudges();
            let went_on = self.go_on(&mut is_begun);
            if went_on.is_ok() && !self.member.held().has_outages() {
                self.context.recovered(self.member.name(), Part::Handling);
            }
            match went_on {
                Ok(Some(wait)) => {
                    pauses = Backoff::new();
                    signals.wait_for_change(wait.beyond, nudges, wait.longest);
                }
                Ok(None) => pauses = Backoff::new(),
                Err(error) if error.is_retryable() => {
                    self.context.outage(self.member.name(), &error, &mut pauses);
                }
                Err(error) => {
                    let consumer = self.member.name().to_owned();
                    self.context
                        .halt(self.member.name(), ConsumerError::Store { consumer, error });
                    signals.pause(REFUSED_PAUSE);
                }
            }
        }
    }

    /// Handles a page for the slots that are furthest behind. If there is nothing to do, returns what to wait for.
    fn go_on(&mut self, is_begun: &mut bool) -> Result<Option<Wait>> {
        self.learn_parked()?;
        if let Some(parked) = self.next_replay()? {
            self.replay(&parked)?;
            return Ok(None);
        }
        let Some(cohort) = self.cohort() else {
            return Ok(Some(self.wait(GlobalSequence::MAX)));
        };
        if !*is_begun {
            *is_begun = true;
            self.context.observer.observe(&ConsumerEvent::Started {
                consumer: self.member.name(),
                position: cohort.position,
            });
        }
        let end = self.context.signals.mark();
        let exhausted = match end == Some(cohort.position) && cohort.until == GlobalSequence::MAX {
            true => end,
            false => self.handle_next_page(&cohort, end)?,
        };
        self.keep_late_positions()?;
        self.tell_progress();
        Ok(exhausted.map(|end| self.wait(end)))
    }

    /// Handles the next page of a cohort. If the watcher's high-water mark is known, pages up to it are read without asking for a mark
    /// again. Returns the end of the log if there were no more events.
    fn handle_next_page(&mut self, cohort: &Cohort, mark: Option<GlobalSequence>) -> Result<Option<GlobalSequence>> {
        let known = mark.filter(|mark| *mark > cohort.position);
        let until = known.map_or(cohort.until, |mark| cohort.until.min(mark));
        let query = self.member.subscription.query()?;
        let query = query.after(cohort.position).until(until).page_size(PAGE);
        let page = self.member.store.read_page(&query, None)?;
        let is_at_end = page.next.is_none() && until == GlobalSequence::MAX && page.events.is_empty();
        self.handle_page(cohort, &page.events, page.checkpoint)?;
        Ok(is_at_end.then_some(page.checkpoint))
    }

    /// The slots that are furthest behind, of those that can continue.
    fn cohort(&self) -> Option<Cohort> {
        let now = Instant::now();
        let held = self.member.held();
        let ready = |slot: &Slot| {
            slot.state == ConsumerState::Running && slot.until > now && slot.not_before.is_none_or(|time| time <= now)
        };
        let ready: Vec<(u16, GlobalSequence)> = held
            .slots
            .iter()
            .filter(|(_, slot)| ready(slot))
            .map(|(number, slot)| (*number, slot.looked))
            .collect();
        let position = ready.iter().map(|(_, looked)| *looked).min()?;
        let beyond = ready
            .iter()
            .map(|(_, looked)| *looked)
            .filter(|looked| *looked > position);
        Some(Cohort {
            slots: ready
                .iter()
                .filter(|(_, looked)| *looked == position)
                .map(|(number, _)| *number)
                .collect(),
            position,
            until: beyond.min().unwrap_or(GlobalSequence::MAX),
        })
    }

    /// What to wait for once the log is handled up to a position.
    fn wait(&self, beyond: GlobalSequence) -> Wait {
        let idle = longest_wait(!self.parked.is_empty());
        let pause = self.member.held().shortest_pause(Instant::now());
        Wait {
            beyond,
            longest: pause.map_or(idle, |pause| pause.min(idle)),
        }
    }

    fn handle_page(&mut self, cohort: &Cohort, events: &[EventEnvelope], checkpoint: GlobalSequence) -> Result<()> {
        let slots = self.member.subscription.slots();
        let most = self.member.subscription.batch as usize;
        let mut going: Vec<u16> = cohort.slots.clone();
        if most == 1 {
            for event in events {
                if self.context.signals.is_stopping() {
                    return Ok(());
                }
                let number = slot_of(event.aggregate.id(), slots);
                if going.contains(&number) && !self.handle(number, std::slice::from_ref(event))? {
                    going.retain(|going| *going != number);
                }
            }
        } else {
            for &number in &cohort.slots {
                let own: Vec<EventEnvelope> = events
                    .iter()
                    .filter(|event| slot_of(event.aggregate.id(), slots) == number)
                    .cloned()
                    .collect();
                for batch in own.chunks(most) {
                    if self.context.signals.is_stopping() {
                        return Ok(());
                    }
                    if !self.handle(number, batch)? {
                        going.retain(|going| *going != number);
                        break;
                    }
                }
            }
        }
        let mut held = self.member.held();
        for number in going {
            if let Some(slot) = held.slots.get_mut(&number) {
                slot.looked = slot.looked.max(checkpoint);
            }
        }
        Ok(())
    }

    /// Handles events of one slot and moves its checkpoint; returns whether the slot continues.
    fn handle(&mut self, number: u16, events: &[EventEnvelope]) -> Result<bool> {
        if let Some(place) = events
            .iter()
            .position(|event| self.parked.contains(&event.aggregate.id()))
        {
            let (before, rest) = events.split_at(place);
            let (parked, after) = rest.split_at(1);
            return Ok((before.is_empty() || self.handle(number, before)?)
                && self.park_late(number, &parked[0])?
                && (after.is_empty() || self.handle(number, after)?));
        }
        if events.len() > 1 && self.has_suspects(number) {
            return self.handle_one_by_one(number, events);
        }
        let Some(slot) = self.take_in_hand(number, &events[0])? else {
            return Ok(false);
        };
        let began = Instant::now();
        let attempts = slot.attempts_of(events[0].global_sequence);
        let handled = self.call(&self.batch(number, events), attempts);
        let goes_on = match handled {
            Ok(()) => self.pass(number, &slot, events, began),
            Err(_) if events.len() > 1 => {
                // The events are handled one by one to find out which of them fails.
                self.member.held().in_hand = None;
                return self.handle_one_by_one(number, events);
            }
            Err(failure) => self.fail(number, &slot, &events[0], failure),
        };
        self.member.held().in_hand = None;
        goes_on
    }

    fn handle_one_by_one(&mut self, number: u16, events: &[EventEnvelope]) -> Result<bool> {
        events.iter().try_fold(true, |goes_on, event| match goes_on {
            true => self.handle(number, std::slice::from_ref(event)),
            false => Ok(false),
        })
    }

    /// Whether the previous holder of a slot may have died while it handled the slot's next events.
    fn has_suspects(&self, number: u16) -> bool {
        self.member
            .held()
            .slots
            .get(&number)
            .is_some_and(|slot| slot.suspects > 0)
    }

    fn batch<'e>(&self, number: u16, events: &'e [EventEnvelope]) -> Batch<'e>
    where
        'a: 'e,
    {
        Batch::new(self.member.name(), number, self.member.subscription.slots(), events)
    }

    fn call(&self, batch: &Batch<'_>, attempts: u32) -> Result<(), Failure> {
        unless_panicked(|| (self.member.subscription.handler)(batch, attempts))
            .unwrap_or_else(|panic| Err(Failure::Retry(panic)))
    }

    /// Marks events of a slot as being handled, if this process certainly still holds the slot.
    fn hold(&self, number: u16) -> Option<Slot> {
        let mut held = self.member.held();
        let now = Instant::now();
        let slot = held.slots.get(&number).filter(|slot| slot.until > now).cloned()?;
        held.in_hand = Some((number, now));
        Some(slot)
    }

    /// Marks events of a slot as being handled. If a process may have ended over the first of them, the attempt is counted first.
    fn take_in_hand(&mut self, number: u16, event: &EventEnvelope) -> Result<Option<Slot>> {
        let Some(slot) = self.hold(number) else {
            return Ok(None);
        };
        if slot.suspects == 0 {
            return Ok(Some(slot));
        }
        // A process that ends over an event leaves no other trace. So this attempt is counted before it is made.
        let taken = self.count_attempt(number, &slot, event);
        if !matches!(taken, Ok(Some(_))) {
            self.member.held().in_hand = None;
        }
        taken
    }

    fn count_attempt(&mut self, number: u16, slot: &Slot, event: &EventEnvelope) -> Result<Option<Slot>> {
        let attempts = slot.attempts_of(event.global_sequence);
        if attempts > 0 && !matches!(self.member.subscription.on_failure.after(attempts), Next::Retry(_)) {
            let exhausted = Slot {
                is_counted: true,
                ..slot.clone()
            };
            self.fail(number, &exhausted, event, Failure::Retry(ended(attempts)))?;
            return Ok(None);
        }
        let counted = self.member.with_slot(number, slot.token, |transaction, found| {
            transaction.fail(found, event.global_sequence, IN_HAND)
        });
        let Some(attempts) = self.settle(number, counted)? else {
            return Ok(None);
        };
        let mut held = self.member.held();
        Ok(held.slots.get_mut(&number).map(|slot| {
            slot.failing = Some((event.global_sequence, attempts));
            // The number of earlier attempts, without this one.
            Slot {
                failing: Some((event.global_sequence, attempts - 1)),
                is_counted: true,
                ..slot.clone()
            }
        }))
    }

    /// Moves the checkpoint past events that were handled. During an outage, it waits and does not handle them again.
    fn pass(&mut self, number: u16, slot: &Slot, events: &[EventEnvelope], began: Instant) -> Result<bool> {
        let to = events[events.len() - 1].global_sequence;
        let mut pauses = Backoff::new();
        let advanced = loop {
            let advanced = self
                .member
                .with_slot(number, slot.token, |transaction, found| transaction.advance(found, to));
            match advanced {
                Err(Trouble::Store(error)) if error.is_retryable() => {
                    if self.context.outage(self.member.name(), &error, &mut pauses) == Waited::Stopping {
                        return Ok(false);
                    }
                }
                advanced => break advanced,
            }
        };
        // If the slot was halted meanwhile, its events are handled again when it continues.
        if self.settle(number, advanced)?.is_none() {
            return Ok(false);
        }
        self.moved(number, to);
        self.context.observer.observe(&ConsumerEvent::Handled {
            consumer: self.member.name(),
            events: events.len(),
            position: to,
            elapsed: began.elapsed(),
        });
        Ok(true)
    }

    fn moved(&self, number: u16, to: GlobalSequence) {
        if let Some(slot) = self.member.held().slots.get_mut(&number) {
            slot.position = to;
            slot.looked = slot.looked.max(to);
            slot.committed = Instant::now();
            slot.not_before = None;
            slot.outages = 0;
            slot.failing = None;
            slot.suspects = slot.suspects.saturating_sub(1);
        }
    }

    /// The result of a change to a slot; none if the slot does not continue.
    fn settle<R>(&self, number: u16, done: Result<R, Trouble>) -> Result<Option<R>> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(Trouble::Store(error)) => Err(error),
            Err(Trouble::Lost) => {
                self.member.held().slots.remove(&number);
                self.context.tell_lost(self.member.name(), number);
                Ok(None)
            }
            Err(Trouble::Halted(state)) => {
                if let Some(slot) = self.member.held().slots.get_mut(&number) {
                    slot.state = state;
                }
                Ok(None)
            }
        }
    }

    /// Reacts to an event that could not be handled: it is tried again after a pause, it is parked, or the slot stops before it.
    fn fail(&mut self, number: u16, slot: &Slot, event: &EventEnvelope, failure: Failure) -> Result<bool> {
        if self.is_outage(&failure) {
            return self.postpone(number, slot, &*failure.into_error());
        }
        let decided = match &failure {
            Failure::Park(_) => Some(Next::Park),
            Failure::Stop(_) => Some(Next::Stop),
            Failure::Retry(_) | Failure::Later(_) => None,
        };
        let error = failure.into_error();
        // If the handler hides the driver's error, an outage looks like a failure. So the server is asked.
        self.member.store.high_water_mark()?;
        let (sequence, aggregate_id, reason) = (event.global_sequence, event.aggregate.id(), error.to_string());
        let failed = self.member.with_slot(number, slot.token, |transaction, found| {
            parking::fail(
                transaction,
                found,
                event,
                sequence,
                &reason,
                slot.is_counted,
                |attempts| decided.unwrap_or_else(|| self.member.subscription.on_failure.after(attempts)),
            )
        });
        let Some((attempts, next)) = self.settle(number, failed)? else {
            return Ok(false);
        };
        self.context.observer.observe(&ConsumerEvent::Failing {
            consumer: self.member.name(),
            sequence,
            attempts,
            error: &*error,
        });
        match next {
            Next::Retry(pause) => {
                if let Some(slot) = self.member.held().slots.get_mut(&number) {
                    slot.not_before = Some(Instant::now() + pause);
                    slot.outages = 0;
                    slot.failing = Some((sequence, attempts));
                }
                Ok(false)
            }
            Next::Park => {
                self.parked.insert(aggregate_id);
                self.moved(number, sequence);
                self.context.observer.observe(&ConsumerEvent::Parked {
                    consumer: self.member.name(),
                    sequence,
                    aggregate_id,
                    reason: &reason,
                });
                Ok(true)
            }
            Next::Stop => {
                if let Some(slot) = self.member.held().slots.get_mut(&number) {
                    slot.state = ConsumerState::Failed;
                    slot.failing = Some((sequence, attempts));
                }
                let consumer = self.member.name().to_owned();
                self.context.halt(
                    self.member.name(),
                    ConsumerError::Event {
                        consumer,
                        sequence,
                        error,
                    },
                );
                Ok(false)
            }
        }
    }

    /// Waits until the handler's services can be reached again. No attempt is counted.
    fn postpone(&self, number: u16, slot: &Slot, error: &(dyn std::error::Error + 'static)) -> Result<bool> {
        let mut pause = Duration::ZERO;
        if let Some(held) = self.member.held().slots.get_mut(&number) {
            held.outages = held.outages.saturating_add(1);
            pause = self.member.subscription.on_failure.pause(held.outages);
            held.not_before = Some(Instant::now() + pause);
            held.failing = slot.failing;
        }
        self.context
            .tell_outage(self.member.name(), Part::Handling, error, pause);
        if slot.is_counted {
            let uncounted = self
                .member
                .with_slot(number, slot.token, |transaction, found| uncount(transaction, found));
            self.settle(number, uncounted)?;
        }
        Ok(false)
    }

    /// Parks an event if its aggregate is still parked. Returns whether the slot continues.
    fn park_late(&mut self, number: u16, event: &EventEnvelope) -> Result<bool> {
        let Some(token) = self.member.held().slots.get(&number).map(|slot| slot.token) else {
            return Ok(false);
        };
        let (sequence, aggregate_id) = (event.global_sequence, event.aggregate.id());
        let parked = self.member.with_slot(number, token, |transaction, found| {
            park_behind(transaction, found, event, sequence)
        });
        match self.settle(number, parked)? {
            None => Ok(false),
            Some(true) => {
                self.moved(number, sequence);
                Ok(true)
            }
            Some(false) => {
                self.parked.remove(&aggregate_id);
                self.handle(number, std::slice::from_ref(event))
            }
        }
    }

    /// Reads again which events are parked after this process took other slots: their previous holders may have parked some.
    fn learn_parked(&mut self) -> Result<()> {
        let held: Vec<(u16, i64)> = {
            let held = self.member.held();
            held.slots.iter().map(|(number, slot)| (*number, slot.token)).collect()
        };
        if held != self.known {
            self.parked = parked_aggregates(&self.member.store, self.member.name())?;
            self.known = held;
        }
        Ok(())
    }

    /// The next parked event of this process's slots for which the operator asked for a replay.
    fn next_replay(&mut self) -> Result<Option<ParkedEvent>> {
        if self.parked.is_empty() || Instant::now() < self.replays_due {
            return Ok(None);
        }
        let slots = self.member.subscription.slots();
        let is_mine = |aggregate| {
            self.known
                .iter()
                .any(|(number, _)| *number == slot_of(aggregate, slots))
        };
        let found = first_to_replay(&self.member.store, self.member.name(), is_mine)?;
        self.replays_due = Instant::now();
        if found.is_none() {
            self.parked = parked_aggregates(&self.member.store, self.member.name())?;
            self.replays_due += REPLAY_INTERVAL;
        }
        Ok(found)
    }

    fn replay(&mut self, parked: &ParkedEvent) -> Result<()> {
        let number = slot_of(parked.aggregate_id, self.member.subscription.slots());
        let event = event_at(&self.member.store, parked.global_sequence)?;
        let Some(slot) = self.hold(number) else {
            return Ok(());
        };
        let replayed = self.replay_in_hand(number, &slot, parked, &event);
        self.member.held().in_hand = None;
        replayed
    }

    fn replay_in_hand(&mut self, number: u16, slot: &Slot, parked: &ParkedEvent, event: &EventEnvelope) -> Result<()> {
        let name = self.member.name();
        let (consumer, global_sequence, aggregate_id) = (name, parked.global_sequence, parked.aggregate_id);
        let begun = self.member.with_slot(number, slot.token, |transaction, _| {
            begin_replay(transaction, name, event)
        });
        let Some(Some(_)) = self.settle(number, begun)? else {
            return Ok(());
        };
        let batch = self.batch(number, std::slice::from_ref(event)).replayed();
        let handled = self.call(&batch, parked.attempts);
        let is_outage = handled.as_ref().is_err_and(|failure| self.is_outage(failure));
        if let Some(slot) = self.member.held().slots.get_mut(&number).filter(|_| !is_outage) {
            slot.outages = 0;
        }
        let settled = match handled {
            Ok(()) => self.member.with_slot(number, slot.token, |transaction, _| {
                transaction.change(ConsumerChange::Unpark {
                    consumer,
                    global_sequence,
                })
            }),
            Err(failure) if is_outage => {
                self.replays_due += REPLAY_INTERVAL;
                self.postpone(number, slot, &*failure.into_error())?;
                self.member.with_slot(number, slot.token, |transaction, _| {
                    if still_first(transaction, name, event)?.is_none() {
                        return Ok(());
                    }
                    transaction.park(name, global_sequence, aggregate_id, parked.attempts, &parked.reason)?;
                    transaction.change(ConsumerChange::Replay { consumer, aggregate_id })
                })
            }
            Err(failure) => {
                self.member.store.high_water_mark()?;
                let reason = failure.into_error().to_string();
                self.member.with_slot(number, slot.token, |transaction, _| {
                    end_replay(transaction, name, event, &reason)
                })
            }
        };
        self.settle(number, settled).map(drop)
    }

    /// Whether something other than the event caused a failure: a service of the handler, or the store's server, cannot be reached.
    fn is_outage(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Later(_) => true,
            Failure::Retry(error) => is_outage(&self.member.store, &**error),
            Failure::Park(_) | Failure::Stop(_) => false,
        }
    }

    /// Stores the positions of slots that have had no event of their own for long.
    fn keep_late_positions(&self) -> Result<()> {
        let late: Vec<(u16, Slot)> = {
            let held = self.member.held();
            let wanted = self.context.progress.wanted();
            let is_late = |slot: &Slot| {
                let is_waited_for = slot.position < wanted && wanted <= slot.looked;
                is_waited_for || is_late(slot.position, slot.looked, slot.committed)
            };
            let late = held.slots.iter().filter(|(_, slot)| is_late(slot));
            late.map(|(number, slot)| (*number, slot.clone())).collect()
        };
        for (number, slot) in late {
            let advanced = self.member.with_slot(number, slot.token, |transaction, found| {
                found.position = slot.looked;
                transaction.change(ConsumerChange::Save(found))
            });
            if self.settle(number, advanced)?.is_some()
                && let Some(held) = self.member.held().slots.get_mut(&number)
            {
                held.position = slot.looked;
                held.committed = Instant::now();
            }
        }
        Ok(())
    }

    /// Reports how far this process's slots have come.
    fn tell_progress(&self) {
        let looked = {
            let held = self.member.held();
            let is_running = held.slots.values().all(|slot| slot.state == ConsumerState::Running);
            let looked = held.slots.values().map(|slot| slot.looked).min();
            looked.filter(|_| is_running)
        };
        if let Some(looked) = looked {
            // Waiting for a subscription reads the stored checkpoints, so the token does not matter here.
            self.context.handled(self.member.name(), looked, 0);
        }
    }
}

/// What to wait for.
struct Wait {
    /// Until the log has events after this position.
    beyond: GlobalSequence,
    /// But not longer than this.
    longest: Duration,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::keeper::Keeper;
    use super::*;
    use crate::consumer::observer::LogObserver;
    use crate::consumer::subscription::Subscription;
    use crate::{AggregateKey, EventQuery, EventStoreExt, ExpectedVersion, FaultPoint, MemoryEventStore, NewEvent};

    #[test]
    fn the_mark_of_the_watcher_serves_every_page_up_to_it() {
        let store = MemoryEventStore::new();
        let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
        let events: Vec<_> = (0..1_203)
            .map(|n| NewEvent::new("money.deposited", &n).unwrap())
            .collect();
        store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
        let handled = Arc::new(AtomicU64::new(0));
        let last = Arc::clone(&handled);
        let subscription = Subscription::of("last.v1", EventQuery::new(), move |delivery| {
            last.store(delivery.event.global_sequence.get(), Ordering::SeqCst);
            Ok(())
        });
        subscription.register(&store).unwrap();
        let member = Member::new(store.clone(), subscription);
        let context = Context {
            signals: Arc::default(),
            observer: Arc::new(LogObserver::default()),
            progress: Arc::default(),
        };
        let (member, context) = (&member, &context);
        Keeper { member, context }.keep().unwrap();

        let mut handling = Handling::new(member, context);
        for mark in [1_200, 1_201, 1_203] {
            context.signals.set_mark(GlobalSequence::from(mark));
            while handled.load(Ordering::SeqCst) < u64::from(mark) {
                assert!(handling.go_on(&mut false).unwrap().is_none());
            }
            assert_eq!(
                handled.load(Ordering::SeqCst),
                u64::from(mark),
                "it reads up to the mark"
            );
            // The log is known to end there, so it must not be read.
            store.fail_at(FaultPoint::Read);
            let wait = handling.go_on(&mut false).unwrap().expect("there is nothing to do");
            assert_eq!(wait.beyond, u64::from(mark));
            store.load(&account).unwrap_err();
        }
    }
}
