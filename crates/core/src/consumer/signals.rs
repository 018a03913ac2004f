//! What the threads of a runner tell each other: where the log ends, and that it is time to stop.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::GlobalSequence;

/// Shared by the threads of one runner.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    mark: GlobalSequence,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Events,
    TimedOut,
    Stopping,
}

impl Signals {
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// The watcher's latest high-water mark.
    pub(crate) fn set_mark(&self, mark: GlobalSequence) {
        let mut state = self.lock();
        if state.mark != mark {
            state.mark = mark;
            self.changed.notify_all();
        }
    }

    /// Waits until the log goes beyond a position.
    pub(crate) fn wait_beyond(&self, position: GlobalSequence, longest: Duration) -> Waited {
        self.wait(longest, |state| state.mark > position)
    }

    /// Waits for a while, or until it is time to stop.
    pub(crate) fn pause(&self, how_long: Duration) -> Waited {
        self.wait(how_long, |_| false)
    }

    fn wait(&self, longest: Duration, is_over: impl Fn(&State) -> bool) -> Waited {
        let deadline = Instant::now().checked_add(longest);
        let mut state = self.lock();
        loop {
            if state.is_stopping {
                return Waited::Stopping;
            }
            if is_over(&state) {
                return Waited::Events;
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Waited::TimedOut;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
