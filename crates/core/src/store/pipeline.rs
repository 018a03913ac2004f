//! Long work on a log in several threads: reading, computing and writing overlap, and the order is kept.
//!
//! One thread takes pieces from a source. As many threads as there are cores work on them. The caller's thread takes the results, in the
//! order of the pieces. So the slowest of the three decides the speed.
//!
//! The source runs ahead of the caller by at most [`BYTES_AHEAD`], however large the pieces are. An error or a panic of the caller stops
//! all threads. A panic of another thread is passed on to the caller.

use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU64, NonZeroUsize};
use std::panic;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::{Cursor, Error, EventEnvelope, EventQuery, EventStore, GlobalSequence, Page, Result};

/// How many bytes the pieces between the source and the caller may have together. A single piece may have more.
const BYTES_AHEAD: u64 = 16 << 20;

/// About how many bytes an event takes in memory besides its data and metadata.
const EVENT_OVERHEAD: u64 = 500;

/// A page ends after this many bytes of data and metadata, so that several pages are in work at once.
const PAGE_BYTES: u64 = 2 << 20;

/// Works on each piece of a source, and passes the results to `take` in the order of the pieces, in the calling thread.
///
/// `bytes` returns the memory of a piece, or of its result. If there is only one piece, the calling thread does all of the work.
///
/// # Errors
///
/// Those of `take`, after which nothing more is taken. [`Io`](crate::ErrorKind::Io) if the system cannot start threads.
pub(crate) fn in_order<P: Send, R: Send>(
    source: impl Iterator<Item = P> + Send,
    bytes: impl Fn(&P) -> u64 + Send,
    work: impl Fn(P) -> R + Sync,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    if let (_, Some(..=1)) = source.size_hint() {
        return source.map(work).try_for_each(take);
    }
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let line = &Line::new(2 * workers + 2);
    let work = &work;
    thread::scope(|scope| {
        let _stop = StopOnPanic(line);
        let mut threads = Vec::with_capacity(workers + 1);
        let started = start(scope, "firefly-source", move || line.fill(source, bytes)).and_then(|source| {
            threads.push(source);
            for _ in 0..workers {
                match start(scope, "firefly-worker", move || line.work(work)) {
                    Ok(worker) => threads.push(worker),
                    // One worker is enough.
                    Err(_) if threads.len() > 1 => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        let mut done = started;
        while done.is_ok()
            && let Some(result) = line.next()
        {
            done = take(result);
        }
        line.stop();
        for thread in threads {
            if let Err(panic) = thread.join() {
                panic::resume_unwind(panic);
            }
        }
        done
    })
}

/// Reads the events that a query selects, works on each page, and passes the results to `take` in the order of the pages, in the calling
/// thread. Returns the checkpoint of the last page: see [`Events::checkpoint`](crate::Events::checkpoint).
///
/// # Errors
///
/// Those of `take`; those of the store, after everything before the error was taken.
pub(crate) fn read_in_order<S: EventStore + ?Sized, R: Send>(
    store: &S,
    query: EventQuery,
    work: impl Fn(Vec<EventEnvelope>) -> R + Sync,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<GlobalSequence> {
    let (mut checkpoint, _) = query.bounds();
    let pages = Pages::new(store, query);
    let work = |page: Result<Page>| page.map(|page| (page.checkpoint, work(page.events)));
    let bytes = |page: &Result<Page>| page.as_ref().map_or(0, |page| bytes_of(&page.events));
    in_order(pages, bytes, work, |worked| {
        let (end, result) = worked?;
        checkpoint = end;
        take(result)
    })?;
    Ok(checkpoint)
}

/// About how much memory events take.
pub(crate) fn bytes_of(events: &[EventEnvelope]) -> u64 {
    let bytes = |event: &EventEnvelope| {
        let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len());
        (event.data.as_str().len() + metadata) as u64 + EVENT_OVERHEAD
    };
    events.iter().map(bytes).sum()
}

/// The query with pages that are small enough to work on one while others are read.
pub(crate) fn in_small_pages(query: EventQuery) -> EventQuery {
    let bytes = query.window(None, GlobalSequence::MAX).bytes.min(PAGE_BYTES);
    query.page_bytes(NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN))
}

/// The pages of a read, up to the first error.
struct Pages<'a, S: ?Sized> {
    store: &'a S,
    query: EventQuery,
    /// The first page. The calling thread reads it: if that thread is within a transaction of the store, the store refuses.
    first: Option<Result<Page>>,
    next: Option<Cursor>,
}

impl<'a, S: EventStore + ?Sized> Pages<'a, S> {
    fn new(store: &'a S, query: EventQuery) -> Self {
        let query = in_small_pages(query);
        let first = store.read_page(&query, None);
        Self {
            store,
            query,
            first: Some(first),
            next: None,
        }
    }
}

impl<S: EventStore + ?Sized> Iterator for Pages<'_, S> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut page = match self.first.take() {
            Some(first) => first,
            None => {
                let cursor = self.next.take()?;
                self.store.read_page(&self.query, Some(&cursor))
            }
        };
        if let Ok(page) = &mut page {
            self.next = page.next.take();
        }
        Some(page)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.first {
            Some(Ok(page)) if page.next.is_some() => (2, None),
            Some(_) => (1, Some(1)),
            None => (self.next.is_some().into(), self.next.is_none().then_some(0)),
        }
    }
}

fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, ()>> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread
        .spawn_scoped(scope, run)
        .map_err(|error| Error::io("start a thread", error))
}

/// The pieces on their way from the source through the workers to the caller.
struct Line<P, R> {
    most_pieces: u64,
    state: Mutex<State<P, R>>,
    changed: Condvar,
}

struct State<P, R> {
    /// The pieces that no worker has taken yet.
    waiting: VecDeque<Numbered<P>>,
    /// The results that the caller has not taken yet.
    done: BTreeMap<u64, (u64, R)>,
    /// How many pieces the source gave.
    given: u64,
    /// How many results the caller took.
    taken: u64,
    /// The bytes of all pieces and results in the line, and of the result that the caller is working on.
    bytes: u64,
    /// Of those, the bytes of the result that the caller is working on.
    bytes_taken: u64,
    /// Whether the source has ended.
    ended: bool,
    /// Whether all threads should stop.
    stopped: bool,
}

struct Numbered<P> {
    number: u64,
    bytes: u64,
    piece: P,
}

impl<P, R> Line<P, R> {
    fn new(most_pieces: usize) -> Self {
        Self {
            most_pieces: most_pieces as u64,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                done: BTreeMap::new(),
                given: 0,
                taken: 0,
                bytes: 0,
                bytes_taken: 0,
                ended: false,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Adds the pieces of a source, as long as there is room.
    fn fill(&self, source: impl Iterator<Item = P>, bytes: impl Fn(&P) -> u64) {
        let _stop = StopOnPanic(self);
        for piece in source {
            let bytes = bytes(&piece);
            let has_room = |state: &State<P, R>| {
                state.bytes == 0 || (state.bytes + bytes <= BYTES_AHEAD && state.given - state.taken < self.most_pieces)
            };
            let mut state = self.wait_until(|state| state.stopped || has_room(state));
            if state.stopped {
                return;
            }
            let number = state.given;
            state.waiting.push_back(Numbered { number, bytes, piece });
            state.given += 1;
            state.bytes += bytes;
            drop(state);
            self.changed.notify_all();
        }
        self.change(|state| state.ended = true);
    }

    /// Works on pieces until there are no more.
    fn work(&self, work: impl Fn(P) -> R) {
        let _stop = StopOnPanic(self);
        loop {
            let mut state = self.wait_until(|state| state.stopped || state.ended || !state.waiting.is_empty());
            if state.stopped {
                return;
            }
            let Some(Numbered { number, bytes, piece }) = state.waiting.pop_front() else {
                return;
            };
            drop(state);
            let result = work(piece);
            self.change(|state| drop(state.done.insert(number, (bytes, result))));
        }
    }

    /// The next result; none if there are no more.
    fn next(&self) -> Option<R> {
        self.change(|state| state.bytes -= std::mem::take(&mut state.bytes_taken));
        let is_over = |state: &State<P, R>| state.stopped || (state.ended && state.taken == state.given);
        let mut state = self.wait_until(|state| is_over(state) || state.done.contains_key(&state.taken));
        if state.stopped {
            return None;
        }
        let number = state.taken;
        let (bytes, result) = state.done.remove(&number)?;
        state.taken += 1;
        state.bytes_taken = bytes;
        Some(result)
    }

    fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    fn change(&self, change: impl FnOnce(&mut State<P, R>)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_until(&self, condition: impl Fn(&State<P, R>) -> bool) -> MutexGuard<'_, State<P, R>> {
        let waited = self.changed.wait_while(self.lock(), |state| !condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State<P, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the other threads if this one panics.
struct StopOnPanic<'a, P, R>(&'a Line<P, R>);

impl<P, R> Drop for StopOnPanic<'_, P, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;

    /// Works on numbers, each of which takes so many bytes.
    fn run(
        source: impl Iterator<Item = u64> + Send,
        bytes: u64,
        work: impl Fn(u64) -> u64 + Sync,
        take: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        in_order(source, |_| bytes, work, take)
    }

    fn message(panic: Box<dyn std::any::Any + Send>) -> &'static str {
        panic.downcast_ref::<&str>().expect("the panic has a message")
    }

    #[test]
    fn results_come_in_the_order_of_the_pieces() {
        // Of two pieces, the second is done first.
        let work = |number: u64| {
            if number.is_multiple_of(2) {
                thread::sleep(Duration::from_millis(5));
            }
            number
        };
        let mut taken = Vec::new();
        run(0..40, 1, work, |result| {
            taken.push(result);
            Ok(())
        })
        .unwrap();
        assert!(taken.into_iter().eq(0..40));
    }

    #[test]
    fn results_are_taken_by_the_calling_thread() {
        let mut takers: Vec<ThreadId> = Vec::new();
        run(
            0..10,
            1,
            |number| number,
            |_| {
                takers.push(thread::current().id());
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(takers, [thread::current().id(); 10]);
    }

    #[test]
    fn the_source_does_not_run_ahead_of_its_bytes() {
        let given = AtomicU64::new(0);
        let source = (0..100).inspect(|_| {
            given.fetch_add(1, Ordering::SeqCst);
        });
        let mut taken = 0;
        run(
            source,
            BYTES_AHEAD / 2,
            |number| number,
            |_| {
                taken += 1;
                // Two pieces are in the line, one of them with the caller, and the source holds the next.
                assert!(given.load(Ordering::SeqCst) <= taken + 2);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(taken, 100);
    }

    #[test]
    fn a_piece_that_is_larger_than_the_room_is_worked_on_alone() {
        let mut taken = 0;
        run(
            0..5,
            3 * BYTES_AHEAD,
            |number| number,
            |result| {
                assert_eq!(result, taken);
                taken += 1;
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(taken, 5);
    }

    #[test]
    fn a_caller_that_fails_stops_an_endless_source() {
        let refused = run(
            0..,
            1,
            |number| number,
            |result| match result {
                100 => Err(Error::invalid("enough")),
                _ => Ok(()),
            },
        );
        assert_eq!(refused.unwrap_err().to_string(), "enough");
    }

    #[test]
    fn a_panic_of_a_worker_reaches_the_caller() {
        let work = |number| match number {
            7 => panic!("seven"),
            _ => number,
        };
        let mut taken = 0;
        let ran = panic::catch_unwind(AssertUnwindSafe(|| {
            run(0.., 1, work, |_| {
                taken += 1;
                Ok(())
            })
        }));
        assert_eq!(message(ran.unwrap_err()), "seven");
        assert!(taken <= 7, "nothing that comes after it is taken");
    }

    #[test]
    fn a_panic_of_the_source_reaches_the_caller() {
        let source = (0..).inspect(|number| assert!(*number < 7, "seven"));
        let ran = panic::catch_unwind(AssertUnwindSafe(|| run(source, 1, |number| number, |_| Ok(()))));
        assert_eq!(message(ran.unwrap_err()), "seven");
    }

    #[test]
    fn a_panic_of_the_caller_stops_an_endless_source() {
        let ran = panic::catch_unwind(AssertUnwindSafe(|| {
            run(
                0..,
                1,
                |number| number,
                |result| {
                    assert!(result < 7, "seven");
                    Ok(())
                },
            )
        }));
        assert_eq!(message(ran.unwrap_err()), "seven");
    }

    #[test]
    fn a_source_without_pieces_is_done_at_once() {
        run(std::iter::empty(), 1, |number| number, |_| panic!("there is nothing")).unwrap();
    }
}
