//! Following the log: reading it, and waiting for new events.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::consumer::{
    Appends, ConsumerStore, FIRST_LOOK, LONGEST_LISTEN, LONGEST_LOOK, LONGEST_PAUSE, Listening, Wake, time_left,
    with_causes,
};
use crate::{Backoff, Cursor, Error, EventEnvelope, EventQuery, GlobalSequence, Page, Result};

/// The events of the log, followed by new ones as they are committed: see [`EventStoreExt::follow`](crate::EventStoreExt::follow).
///
/// It is an iterator whose [`next`](Iterator::next) waits for an event. It returns `None`
///
/// - when no event came within the [timeout](Self::timeout): the next call waits again;
/// - after it was told to [stop](Self::stopper);
/// - after the query's limit or its `until` was reached;
/// - after it returned an error that waiting does not fix.
pub struct Follow<'a, S: ConsumerStore + ?Sized> {
    store: &'a S,
    query: EventQuery,
    /// Listens since before the first read of the log, so that no append is missed between a read and a wait.
    listening: Listening<'a>,
    told: Told,
    stopper: Stopper,
    timeout: Option<Duration>,
    page: std::vec::IntoIter<EventEnvelope>,
    /// What the pages of one read select.
    reading: EventQuery,
    cursor: Option<Cursor>,
    /// A mark beyond the checkpoint that was proved during the wait. Reads up to it need no other mark.
    proved: Option<GlobalSequence>,
    checkpoint: GlobalSequence,
    /// The checkpoint after every event of the page was handled.
    page_end: Option<GlobalSequence>,
    /// How many more events the query's limit allows.
    remaining: Option<u64>,
    /// Why the query cannot be followed.
    refusal: Option<Error>,
    is_over: bool,
}

/// How appends of other processes are reported.
enum Told {
    /// The store was not asked yet, or could not answer.
    Unknown,
    /// They are not reported: the log is polled.
    ByNobody,
    By(Box<dyn Appends>),
}

/// Ends a [`Follow`], from any thread: see [`Follow::stopper`].
#[derive(Clone, Debug)]
pub struct Stopper {
    is_asked: Arc<AtomicBool>,
    wake: Wake,
}

impl Stopper {
    /// Ends the iterator, even while it waits: the last returned event is the last one. A new one can continue after its
    /// [checkpoint](Follow::checkpoint).
    pub fn stop(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        self.wake.tell();
    }

    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }
}

impl<'a, S: ConsumerStore + ?Sized> Follow<'a, S> {
    pub(crate) fn new(store: &'a S, query: EventQuery) -> Self {
        let (query, refusal) = match query.clone().in_sequence() {
            Ok(query) => (query, None),
            Err(error) => (query, Some(error)),
        };
        Self {
            store,
            listening: store.wake().listen(),
            told: Told::Unknown,
            stopper: Stopper {
                is_asked: Arc::default(),
                wake: store.wake().clone(),
            },
            timeout: None,
            page: Vec::new().into_iter(),
            reading: query.clone(),
            cursor: None,
            proved: None,
            checkpoint: query.bounds().0,
            page_end: None,
            remaining: query.limited_to(),
            refusal,
            is_over: false,
            query,
        }
    }

    /// Sets how long each call of [`next`](Iterator::next) waits for an event; for ever unless set. If the store cannot be reached for this
    /// long, the call returns the error.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A handle that stops this from another thread, even while it waits.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopper.is_asked()
    }

    /// The checkpoint to store when every returned event is handled. Following [after](EventQuery::after) it skips nothing and repeats
    /// nothing, whatever ended this one.
    ///
    /// It is the sequence of the last returned event. While [`next`](Iterator::next) waits, and after it returned `None`, it is the
    /// position up to which the log was read, even if no event matched the filters.
    #[must_use]
    pub fn checkpoint(&self) -> GlobalSequence {
        self.checkpoint
    }

    /// Reads the next page. Returns false if the log was read to its end.
    fn read(&mut self) -> Result<bool> {
        if self.cursor.is_none() {
            let (_, until) = self.query.bounds();
            let proved = self.proved.take().unwrap_or(GlobalSequence::MAX);
            let reading = self.query.clone().after(self.checkpoint).until(until.min(proved));
            self.reading = match self.remaining {
                Some(remaining) => reading.limit(remaining),
                None => reading,
            };
        }
        let page = self.store.read_page(&self.reading, self.cursor.as_ref())?;
        Ok(self.take(page))
    }

    fn take(&mut self, page: Page) -> bool {
        let has_more = !page.events.is_empty() || page.next.is_some();
        self.remaining = self.remaining.map(|left| left.saturating_sub(page.events.len() as u64));
        self.page = page.events.into_iter();
        self.page_end = Some(page.checkpoint);
        self.cursor = page.next;
        has_more
    }

    /// Every event of the page is handled.
    fn leave_page(&mut self) {
        if let Some(end) = self.page_end.take() {
            self.checkpoint = end;
        }
        let is_at_the_end = self.checkpoint >= self.query.bounds().1 || self.remaining == Some(0);
        self.is_over |= is_at_the_end && self.cursor.is_none();
    }

    /// Waits until there may be something new, and returns true. Returns false after the deadline, or if it was told to stop.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<bool> {
        let mut interval = FIRST_LOOK;
        loop {
            let left = time_left(deadline);
            if left.is_zero() || self.is_stopped() {
                return Ok(false);
            }
            if self.listen(interval.min(left)) {
                return Ok(true);
            }
            let mark = self.store.high_water_mark()?;
            if mark != self.checkpoint {
                // If the mark is before the checkpoint, the log was truncated or a replica is behind. The read reports that.
                self.proved = Some(mark).filter(|mark| *mark > self.checkpoint);
                return Ok(true);
            }
            interval = (interval * 2).min(LONGEST_LOOK);
        }
    }

    /// Waits for a notification of an append. Returns whether there was one.
    fn listen(&mut self, longest: Duration) -> bool {
        if matches!(self.told, Told::Unknown) {
            self.told = match self.store.appends() {
                Ok(Some(appends)) => Told::By(appends),
                Ok(None) => Told::ByNobody,
                Err(error) if error.is_retryable() => Told::Unknown,
                // A read-only server may not support listening.
                Err(_) => Told::ByNobody,
            };
        }
        let Told::By(appends) = &mut self.told else {
            return self.listening.wait(longest);
        };
        let deadline = Instant::now() + longest;
        while !self.stopper.is_asked() {
            let left = time_left(Some(deadline));
            if left.is_zero() {
                break;
            }
            match appends.wait(left.min(LONGEST_LISTEN)) {
                Ok(true) => return true,
                Ok(false) => {}
                // The next read of the log reports the error.
                Err(_) => return self.listening.wait(left),
            }
        }
        false
    }

    /// Waits before it tries again to reach the store, or until it is stopped.
    fn pause(&mut self, how_long: Duration) {
        let deadline = Instant::now() + how_long;
        while !self.is_stopped() {
            let left = time_left(Some(deadline));
            if left.is_zero() {
                return;
            }
            self.listening.wait(left);
        }
    }
}

impl<S: ConsumerStore + ?Sized> Iterator for Follow<'_, S> {
    type Item = Result<EventEnvelope>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(refusal) = self.refusal.take() {
            self.is_over = true;
            return Some(Err(refusal));
        }
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut pauses = Backoff::new();
        let mut is_lost = false;
        loop {
            if self.is_stopped() {
                return None;
            }
            if let Some(event) = self.page.next() {
                self.checkpoint = event.global_sequence;
                return Some(Ok(event));
            }
            self.leave_page();
            if self.is_over {
                return None;
            }
            // Clears earlier notifications: the following read sees those events.
            self.listening.wait(Duration::ZERO);
            let looked = self.read().and_then(|has_more| match has_more {
                true => Ok(true),
                false => {
                    self.leave_page();
                    match self.is_over {
                        true => Ok(true),
                        false => self.wait(deadline),
                    }
                }
            });
            match looked {
                Ok(may_go_on) => {
                    if is_lost {
                        log::warn!("a follower of the log continues");
                    }
                    is_lost = false;
                    pauses = Backoff::new();
                    if !may_go_on {
                        return None;
                    }
                }
                Err(error) if error.is_retryable() => {
                    let left = time_left(deadline);
                    if left.is_zero() {
                        return Some(Err(error));
                    }
                    if !is_lost {
                        log::warn!("a follower of the log waits, and tries again: {}", with_causes(&error));
                    }
                    is_lost = true;
                    self.pause(pauses.next().unwrap_or(LONGEST_PAUSE).min(left));
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<S: ConsumerStore + ?Sized> fmt::Debug for Follow<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("store", &self.store)
            .field("query", &self.query)
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}
