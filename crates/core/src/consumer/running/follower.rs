//! Runs one projection along the log: reads a page, applies it and moves the checkpoint in one commit, and repeats.

use std::collections::{HashSet, VecDeque};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::idle::{REPLAY_INTERVAL, is_late, longest_wait};
use crate::consumer::failure::{BoxError, ConsumerError, IN_HAND, Next, ended, is_outage, unless_panicked};
use crate::consumer::projection::{Projection, registration};
use crate::consumer::stored::parking::{
    begin_replay, end_replay, event_at, fail, first_to_replay, park_behind, parked_aggregates, still_first, uncount,
};
use crate::consumer::stored::slot::{ConsumerSlot, ConsumerState, Failing};
use crate::consumer::stored::store::Transactional;
use crate::consumer::stored::tables::{ConsumerChange, ConsumerTables as _};
use crate::consumer::stored::transaction::ConsumerTransaction as _;
use crate::{Cursor, Error, EventEnvelope, EventQuery, GlobalSequence, Page, Result};

pub(crate) struct Follower<'a, S, P: ?Sized> {
    store: &'a S,
    projection: &'a P,
    query: EventQuery,
    /// The stored checkpoint and its token. If the store has others, another process has moved the checkpoint.
    position: GlobalSequence,
    token: i64,
    /// How far the log was read: no event of this projection is between the checkpoint and this position.
    looked: GlobalSequence,
    /// Events that were read and not applied yet, and how far the log was read to find them.
    page: VecDeque<EventEnvelope>,
    page_end: GlobalSequence,
    /// How to read the next page, if more of the log is known to be final. The read then needs no high-water mark of its own.
    next: Option<(EventQuery, Cursor)>,
    /// How many events a commit takes on a database where commits must be short.
    batch: usize,
    /// How many of the next events are applied one by one, because they failed together or are suspects.
    one_by_one: usize,
    /// How many of the next events are suspects: one of them may have ended a process. Each attempt is counted before it is made.
    suspects: usize,
    /// Whether the next commit is announced in the row: until the first events were applied. Never if it runs without notes.
    notes: bool,
    /// What the row says about the next event.
    noted: Option<Noted>,
    parked: HashSet<Uuid>,
    /// The parked event that is being handled again.
    replaying: Option<EventEnvelope>,
    committed: Instant,
    replays_due: Instant,
}

/// What the projection's row says about the next event. If the process ends while it applies the event, the next process finds this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    /// The event is being applied, perhaps with others after it. No attempt is counted.
    Begun,
    /// The event is being applied. The attempt is counted already.
    Counted,
    /// The event failed.
    Failed,
    /// This many processes ended while they applied the event. It is not tried again.
    Exhausted(u32),
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Handled { events: usize, elapsed: Duration },
    Idle,
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(crate) enum Trouble {
    Store(Error),
    /// The next event of the page failed.
    Event(BoxError),
    /// Several events failed together.
    Batch,
    Overtaken(Box<ConsumerSlot>),
    Halted(ConsumerState),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl<'a, S: Transactional, P: Projection<S> + ?Sized> Follower<'a, S, P> {
    /// Registers the projection, and begins at its checkpoint. The first events are announced in its row before they are applied. If the
    /// process ends meanwhile, the next process finds the note.
    pub(crate) fn begin(store: &'a S, projection: &'a P) -> Result<Self> {
        Self::start(store, projection, true)
    }

    /// As [`begin`](Self::begin), but nothing is stored about events that fail.
    pub(crate) fn begin_without_notes(store: &'a S, projection: &'a P) -> Result<Self> {
        Self::start(store, projection, false)
    }

    fn start(store: &'a S, projection: &'a P, notes: bool) -> Result<Self> {
        let query = projection.query()?;
        let name = projection.name();
        let slots = store.commit_together(|tx| tx.register(&registration(name, &query, ConsumerState::Running)))?;
        let now = Instant::now();
        let mut follower = Self {
            store,
            projection,
            query,
            position: GlobalSequence::ZERO,
            token: 0,
            looked: GlobalSequence::ZERO,
            page: VecDeque::new(),
            page_end: GlobalSequence::ZERO,
            next: None,
            batch: projection.batch().get() as usize,
            one_by_one: 0,
            suspects: 0,
            notes,
            noted: None,
            parked: HashSet::new(),
            replaying: None,
            committed: now,
            replays_due: now,
        };
        follower.go_on_at(&slots[0])?;
        Ok(follower)
    }

    /// Drops the events that were read, and continues at the checkpoint.
    pub(crate) fn go_on_at(&mut self, slot: &ConsumerSlot) -> Result<()> {
        self.position = slot.position;
        self.token = slot.token;
        self.looked = slot.position;
        self.page.clear();
        self.next = None;
        self.noted = None;
        self.suspects = match self.notes && slot.failing.is_some() {
            // A process ended over one of these events. They are applied one by one to find out which one.
            true => self.projection.batch().get() as usize,
            false => 0,
        };
        self.one_by_one = self.suspects.max(usize::from(slot.failing.is_some()));
        self.parked = parked_aggregates(self.store, self.projection.name())?;
        Ok(())
    }

    /// Whether the server caused an error, not the event. If a statement took too long and the server still answers, the event caused it.
    /// The server is asked before the attempt is counted.
    pub(crate) fn is_outage(&self, error: &BoxError) -> bool {
        is_outage(self.store, &**error)
    }

    /// The position up to which everything is handled.
    pub(crate) fn handled(&self) -> GlobalSequence {
        self.looked
    }

    /// The token of the checkpoint.
    pub(crate) fn token(&self) -> i64 {
        self.token
    }

    /// Checks that the stored checkpoint is still the one that is known here.
    pub(crate) fn look_at_checkpoint(&self) -> Result<(), Trouble> {
        let slots = self.store.consumers(Some(self.projection.name()))?;
        slots
            .first()
            .map_or(Ok(()), |slot| compare(slot, self.position, self.token))
    }

    /// Makes one commit at most. The log is not read if it is known to end at the current position. If the high-water mark is known, pages
    /// up to it are read without asking for a mark again.
    pub(crate) fn step(&mut self, end: Option<GlobalSequence>) -> Result<Step, Trouble> {
        if self.page.is_empty() {
            if let Some(replayed) = self.replay()? {
                return Ok(replayed);
            }
            if end != Some(self.looked) {
                self.read(end)?;
            }
        }
        if self.page.is_empty() {
            self.looked = self.looked.max(self.page_end);
            self.suspects = 0;
            self.one_by_one = 0;
            return match is_late(self.position, self.looked, self.committed) {
                true => self.apply(0),
                false => Ok(Step::Idle),
            };
        }
        let is_parked = |event: &EventEnvelope| self.parked.contains(&event.aggregate.id());
        match self.page.iter().position(is_parked) {
            Some(0) => self.park_next(),
            free => {
                let free = free.unwrap_or(self.page.len());
                let most = if self.one_by_one > 0 { 1 } else { self.batch };
                self.note()?;
                self.apply_and_read_on(free.min(most))
            }
        }
    }

    /// Applies the first events of the page. If these are the whole page and more of the log is known to be final, another thread reads the
    /// next page meanwhile.
    fn apply_and_read_on(&mut self, count: usize) -> Result<Step, Trouble> {
        let is_all = count == self.page.len();
        let Some((query, cursor)) = self.next.take_if(|_| is_all) else {
            return self.apply(count);
        };
        let store = self.store;
        let (applied, read) = thread::scope(|scope| {
            let reader = thread::Builder::new().name("firefly-reader".to_owned());
            let reading = reader.spawn_scoped(scope, || store.read_page(&query, Some(&cursor)));
            let applied = self.apply(count);
            (applied, reading.ok().and_then(|reading| reading.join().ok()))
        });
        match read {
            Some(Ok(page)) if applied.is_ok() => self.take(query, page),
            // If reading ahead failed, the page is read again later. That read reports the error.
            _ => self.next = Some((query, cursor)),
        }
        applied
    }

    fn read(&mut self, mark: Option<GlobalSequence>) -> Result<()> {
        let (query, cursor) = match self.next.take() {
            Some((query, cursor)) => (query, Some(cursor)),
            None => {
                let known = mark.filter(|mark| *mark > self.looked);
                let query = self
                    .query
                    .clone()
                    .after(self.looked)
                    .until(known.unwrap_or(GlobalSequence::MAX));
                (query.page_size(self.projection.batch()), None)
            }
        };
        let page = self.store.read_page(&query, cursor.as_ref())?;
        self.take(query, page);
        Ok(())
    }

    fn take(&mut self, query: EventQuery, page: Page) {
        self.page_end = page.checkpoint;
        self.next = page.next.map(|cursor| (query, cursor));
        self.page = page.events.into();
    }

    /// If the checkpoint is behind, stores how far the log was read, and that no attempt is under way.
    pub(crate) fn keep_position(&mut self) -> Result<()> {
        let kept = match self.noted {
            Some(noted @ (Noted::Begun | Noted::Counted)) => self.take_back(noted),
            _ if self.page.is_empty() && self.looked > self.position => self.apply(0).map(drop),
            _ => Ok(()),
        };
        match kept {
            // The process that overtook this consumer, or halted it, has stored the consumer's state.
            Ok(_) | Err(Trouble::Overtaken(_) | Trouble::Halted(_) | Trouble::Event(_) | Trouble::Batch) => Ok(()),
            Err(Trouble::Store(error)) => Err(error),
        }
    }

    /// Announces in the row that the next events are about to be applied: before the first commit after a start, and before each suspect. A
    /// process that finds this note later knows that the process before it ended over these events.
    fn note(&mut self) -> Result<(), Trouble> {
        match self.noted {
            Some(Noted::Exhausted(attempts)) => return Err(Trouble::Event(ended(attempts))),
            None if self.notes => {}
            _ => return Ok(()),
        }
        let (name, sequence) = (self.projection.name(), self.page[0].global_sequence);
        let (is_suspect, on_failure) = (self.suspects > 0, self.projection.on_failure());
        let noted = self.store.commit_together(|tx| {
            let mut slot = tx.lock_slot(name, 0)?;
            compare(&slot, self.position, self.token)?;
            let attempts = slot.attempts_of(sequence);
            if !is_suspect {
                slot.failing = Some(Failing {
                    sequence,
                    attempts,
                    error: IN_HAND.to_owned(),
                });
                tx.change(ConsumerChange::Save(&slot))?;
                return Ok(Noted::Begun);
            }
            if attempts > 0 && !matches!(on_failure.after(attempts), Next::Retry(_)) {
                return Ok(Noted::Exhausted(attempts));
            }
            tx.fail(&mut slot, sequence, IN_HAND)?;
            Ok::<_, Trouble>(Noted::Counted)
        })?;
        self.noted = Some(noted);
        match noted {
            Noted::Exhausted(attempts) => Err(Trouble::Event(ended(attempts))),
            _ => Ok(()),
        }
    }

    /// Removes the note about the next events from the row: no attempt is under way.
    fn take_back(&mut self, noted: Noted) -> Result<(), Trouble> {
        let name = self.projection.name();
        self.store.commit_together(|tx| {
            let mut slot = tx.lock_slot(name, 0)?;
            compare(&slot, self.position, self.token)?;
            if noted == Noted::Counted {
                return Ok(uncount(tx, &mut slot)?);
            }
            slot.failing = None;
            Ok::<_, Trouble>(tx.change(ConsumerChange::Save(&slot))?)
        })?;
        self.noted = None;
        Ok(())
    }

    /// Applies the first events of the page and moves the checkpoint behind them, in one commit.
    fn apply(&mut self, count: usize) -> Result<Step, Trouble> {
        let began = Instant::now();
        let to = self.after(count);
        let (projection, name) = (self.projection, self.projection.name());
        let events = &self.page.make_contiguous()[..count];
        self.store.commit_together(|tx| {
            let mut slot = tx.lock_slot(name, 0)?;
            compare(&slot, self.position, self.token)?;
            let apply = || match events {
                [] => Ok(()),
                [event] if self.one_by_one > 0 => projection.apply(tx, event),
                events => projection.apply_all(tx, events),
            };
            unless_panicked(apply).flatten().map_err(|error| match count {
                0 | 1 => Trouble::Event(error),
                _ if is_outage(self.store, &*error) => Trouble::Event(error),
                _ => Trouble::Batch,
            })?;
            tx.advance(&mut slot, to)?;
            Ok::<(), Trouble>(())
        })?;
        self.passed(count, to);
        self.notes &= count == 0 || self.suspects > 0;
        let elapsed = began.elapsed();
        self.adapt(count, elapsed);
        Ok(Step::Handled { events: count, elapsed })
    }

    /// The checkpoint after this many events of the page were handled.
    fn after(&self, count: usize) -> GlobalSequence {
        match count {
            0 => self.looked,
            _ if count == self.page.len() => self.page_end,
            _ => self.page[count - 1].global_sequence,
        }
    }

    fn passed(&mut self, count: usize, to: GlobalSequence) {
        self.page.drain(..count);
        self.one_by_one = self.one_by_one.saturating_sub(count);
        self.suspects = self.suspects.saturating_sub(count);
        self.noted = None;
        self.position = to;
        self.looked = to;
        self.committed = Instant::now();
    }

    /// Adapts the batch so that the next commit takes about as long as other writers may wait.
    fn adapt(&mut self, count: usize, elapsed: Duration) {
        let Some(longest) = self.store.longest_transaction() else {
            return;
        };
        if count == 0 || self.one_by_one > 0 {
            return;
        }
        let fitting = count as f64 * longest.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
        // At most twice as many events as the last commit showed to fit.
        self.batch = (fitting as usize)
            .clamp(1, 2 * count.max(self.batch / 2))
            .min(self.projection.batch().get() as usize);
    }

    /// Parks the next event because its aggregate is parked, and moves the checkpoint past it. Does nothing if the aggregate is no longer
    /// parked.
    fn park_next(&mut self) -> Result<Step, Trouble> {
        let began = Instant::now();
        let event = &self.page[0];
        let (aggregate_id, to) = (event.aggregate.id(), self.after(1));
        let is_parked = self.store.commit_together(|tx| {
            let mut slot = tx.lock_slot(self.projection.name(), 0)?;
            compare(&slot, self.position, self.token)?;
            Ok::<bool, Trouble>(park_behind(tx, &mut slot, event, to)?)
        })?;
        if is_parked {
            self.passed(1, to);
        } else {
            self.parked.remove(&aggregate_id);
        }
        Ok(Step::Handled {
            events: usize::from(is_parked),
            elapsed: began.elapsed(),
        })
    }

    /// Handles one parked event for which the operator asked for a replay.
    fn replay(&mut self) -> Result<Option<Step>, Trouble> {
        if self.parked.is_empty() || Instant::now() < self.replays_due {
            return Ok(None);
        }
        self.replays_due = Instant::now() + REPLAY_INTERVAL;
        let name = self.projection.name();
        if self.replaying.is_none() {
            let found = first_to_replay(self.store, name, |_| true)?;
            let Some(found) = found else {
                self.parked = parked_aggregates(self.store, name)?;
                return Ok(None);
            };
            let event = event_at(self.store, found.global_sequence)?;
            let begun = self.store.commit_together(|tx| {
                let slot = tx.lock_slot(name, 0)?;
                compare(&slot, self.position, self.token)?;
                Ok::<_, Trouble>(begin_replay(tx, name, &event)?)
            })?;
            self.replaying = begun.map(|_| event);
        }
        self.replays_due = Instant::now();
        match self.replaying.take() {
            Some(event) => self.replay_one(event).map(Some),
            None => Ok(None),
        }
    }

    fn replay_one(&mut self, event: EventEnvelope) -> Result<Step, Trouble> {
        let began = Instant::now();
        let name = self.projection.name();
        let replayed = self.store.commit_together(|tx| {
            let slot = tx.lock_slot(name, 0)?;
            compare(&slot, self.position, self.token)?;
            if still_first(tx, name, &event)?.is_none() {
                return Ok(());
            }
            unless_panicked(|| self.projection.apply(tx, &event))
                .flatten()
                .map_err(Trouble::Event)?;
            tx.change(ConsumerChange::Unpark {
                consumer: name,
                global_sequence: event.global_sequence,
            })?;
            Ok(())
        });
        let replayed = match replayed {
            Err(Trouble::Event(error)) if !self.is_outage(&error) => self.park_again(&event, &*error),
            replayed => replayed,
        };
        if let Err(trouble) = replayed {
            self.replaying = Some(event);
            return Err(trouble);
        }
        Ok(Step::Handled {
            events: 1,
            elapsed: began.elapsed(),
        })
    }

    fn park_again(&self, event: &EventEnvelope, error: &(dyn std::error::Error + 'static)) -> Result<(), Trouble> {
        let name = self.projection.name();
        // If the projection hides the driver's error, an outage looks like a failure. So the server is asked.
        self.store.high_water_mark()?;
        self.store.commit_together(|tx| {
            let slot = tx.lock_slot(name, 0)?;
            compare(&slot, self.position, self.token)?;
            Ok::<(), Trouble>(end_replay(tx, name, event, &error.to_string())?)
        })
    }

    /// Arranges that events that failed together are applied one by one. Any other trouble is returned as an error.
    pub(crate) fn bear(&mut self, trouble: Trouble) -> Result<(), ConsumerError> {
        let consumer = self.projection.name().to_owned();
        match trouble {
            Trouble::Batch => {
                self.apply_one_by_one();
                Ok(())
            }
            Trouble::Store(error) => Err(ConsumerError::Store { consumer, error }),
            Trouble::Event(error) => Err(ConsumerError::Event {
                consumer,
                sequence: self.failing(),
                error,
            }),
            Trouble::Halted(state) => Err(ConsumerError::Halted { consumer, state }),
            Trouble::Overtaken(slot) => self
                .go_on_at(&slot)
                .map_err(|error| ConsumerError::Store { consumer, error }),
        }
    }

    /// Arranges that the events of the page are applied one by one, each in its own commit.
    pub(crate) fn apply_one_by_one(&mut self) {
        self.one_by_one = self.page.len();
    }

    /// The longest wait before the next step if nothing is appended.
    pub(crate) fn longest_idle(&self) -> Duration {
        longest_wait(!self.parked.is_empty())
    }

    /// The next event.
    fn failing(&self) -> GlobalSequence {
        self.page.front().map_or(self.looked, |event| event.global_sequence)
    }

    /// Records that the next event failed, and decides what happens to it.
    pub(crate) fn fail(&mut self, error: &BoxError) -> Result<Failed, Trouble> {
        let name = self.projection.name();
        let Some(event) = self.page.front() else {
            return Err(Trouble::Store(Error::invalid(format!(
                "a statement of {name} failed without an event: {error}"
            ))));
        };
        let (sequence, aggregate_id) = (event.global_sequence, event.aggregate.id());
        let (to, reason, on_failure) = (self.after(1), error.to_string(), self.projection.on_failure());
        let is_counted = matches!(self.noted, Some(Noted::Counted | Noted::Exhausted(_)));
        // If the projection hides the driver's error, an outage looks like a failure. So the server is asked.
        self.store.high_water_mark()?;
        let (attempts, next) = self.store.commit_together(|tx| {
            let mut slot = tx.lock_slot(name, 0)?;
            compare(&slot, self.position, self.token)?;
            let decide = |attempts| on_failure.after(attempts);
            Ok::<_, Trouble>(fail(tx, &mut slot, event, to, &reason, is_counted, decide)?)
        })?;
        match next {
            Next::Park => {
                self.parked.insert(aggregate_id);
                self.passed(1, to);
            }
            // An attempt at a suspect is counted before it is made.
            Next::Retry(_) if self.suspects > 0 => self.noted = None,
            Next::Retry(_) | Next::Stop => self.noted = Some(Noted::Failed),
        }
        Ok(Failed {
            sequence,
            aggregate_id,
            attempts,
            next,
        })
    }

    /// Reads the stored state again, and continues if the projection is running.
    pub(crate) fn wake_up(&mut self) -> Result<(), Trouble> {
        let slots = self.store.consumers(Some(self.projection.name()))?;
        let slot = slots
            .first()
            .ok_or_else(|| Error::invalid("the consumer is gone from the store"))?;
        match slot.state {
            ConsumerState::Running => Ok(self.go_on_at(slot)?),
            state => Err(Trouble::Halted(state)),
        }
    }
}

/// What happens to an event that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) sequence: GlobalSequence,
    pub(crate) aggregate_id: Uuid,
    pub(crate) attempts: u32,
    pub(crate) next: Next,
}

/// Refuses to continue if another process moved the checkpoint, or the consumer was paused or failed.
fn compare(slot: &ConsumerSlot, position: GlobalSequence, token: i64) -> Result<(), Trouble> {
    match slot.state {
        ConsumerState::Running if slot.position == position && slot.token == token => Ok(()),
        ConsumerState::Running => Err(Trouble::Overtaken(Box::new(slot.clone()))),
        state => Err(Trouble::Halted(state)),
    }
}
