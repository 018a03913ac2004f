//! Waking threads that wait for events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wakes threads of this process that wait for events. Clones share one state. For authors of backends: a store and its clones share one,
/// and call [`tell`](Self::tell) after each commit of an append.
///
/// `tell` costs one atomic read while no thread waits.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<State>);

#[derive(Debug, Default)]
struct State {
    waiting: AtomicU64,
    told: Mutex<u64>,
    changed: Condvar,
}

impl Wake {
    /// Wakes all waiting threads: there are new events.
    pub fn tell(&self) {
        // A thread that begins to listen after this read looks for events after that, so it sees the commit.
        if self.0.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        *self.0.told.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_all();
    }

    /// Begins to listen: any later [`tell`](Self::tell) ends a [wait](Listening::wait).
    pub fn listen(&self) -> Listening<'_> {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let seen = *self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        Listening { wake: self, seen }
    }
}

/// A thread that waits for events: see [`Wake::listen`]. First listen, then look for events, then wait. In this order no event is missed.
#[derive(Debug)]
pub struct Listening<'a> {
    wake: &'a Wake,
    seen: u64,
}

impl Listening<'_> {
    /// Waits for a [`tell`](Wake::tell) since the last wait, but not longer than a time. Returns whether there was one.
    pub fn wait(&mut self, longest: Duration) -> bool {
        let deadline = Instant::now().checked_add(longest);
        let state = &*self.wake.0;
        let mut told = state.told.lock().unwrap_or_else(PoisonError::into_inner);
        while *told == self.seen {
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            let (guard, _) = state
                .changed
                .wait_timeout(told, left)
                .unwrap_or_else(PoisonError::into_inner);
            told = guard;
        }
        self.seen = *told;
        true
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.wake.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_told_while_one_listens_ends_the_next_wait() {
        let wake = Wake::default();
        let mut listening = wake.listen();
        wake.tell();
        assert!(listening.wait(LONG));
        assert!(!listening.wait(Duration::ZERO), "it was told once");
        thread::scope(|scope| {
            let woken = scope.spawn(move || listening.wait(LONG));
            wake.tell();
            assert!(woken.join().unwrap());
        });
        assert_eq!(wake.0.waiting.load(Ordering::SeqCst), 0);
    }
}
