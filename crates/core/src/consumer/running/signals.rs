//! What the threads of a runner share: the end of the log, and whether to stop.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::progress::time_left;
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
    /// Counts the changes that workers may wait for.
    nudges: u64,
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

    /// Sets the watcher's latest high-water mark.
    pub(crate) fn set_mark(&self, mark: GlobalSequence) {
        let mut state = self.lock();
        if state.mark != mark {
            state.mark = mark;
            self.changed.notify_all();
        }
    }

    /// The watcher's latest high-water mark; none before the first event.
    pub(crate) fn mark(&self) -> Option<GlobalSequence> {
        Some(self.lock().mark).filter(|mark| *mark > GlobalSequence::ZERO)
    }

    /// Counts a change, and wakes the threads that wait for one.
    pub(crate) fn nudge(&self) {
        self.lock().nudges += 1;
        self.changed.notify_all();
    }

    /// The number of changes so far.
    pub(crate) fn nudges(&self) -> u64 {
        self.lock().nudges
    }

    /// Waits until the log has events after a position, or something changed since `nudges`.
    pub(crate) fn wait_for_change(&self, position: GlobalSequence, nudges: u64, longest: Duration) -> Waited {
        self.wait(longest, |state| state.mark > position || state.nudges != nudges)
    }

    /// Waits for a time, or until the runner stops.
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
            let left = time_left(deadline);
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
