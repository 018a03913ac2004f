//! How far a consumer of this process has come, for the threads that wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::GlobalSequence;
use crate::consumer::failure::ConsumerError;

/// How far a consumer has come, and whether it is halted.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    handled: GlobalSequence,
    /// The token of the checkpoint. A reset of the consumer changes it.
    token: i64,
    is_told: bool,
    /// Whether a waiting thread found another token in the store.
    is_doubted: bool,
    /// The greatest position that a thread waits for. The checkpoint has to be stored up to there.
    wanted: GlobalSequence,
    /// Why the consumer handles nothing now.
    halted: Option<ConsumerError>,
    /// The parts of the consumer that wait for the end of an outage.
    waiting: Vec<Part>,
}

/// A part of a consumer. One part may wait while another one continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Handling,
    Leases,
}

impl Progress {
    /// Records that everything up to a position is handled, and that the consumer is not halted. Returns whether the position changed.
    pub(crate) fn handled(&self, position: GlobalSequence, token: i64) -> bool {
        let mut state = self.lock();
        state.token = token;
        let is_news = state.handled != position || !state.is_told;
        state.is_told = true;
        state.handled = position;
        state.halted = None;
        self.changed.notify_all();
        is_news
    }

    /// Records that a part waits for the end of an outage.
    pub(crate) fn waits(&self, part: Part) {
        let waiting = &mut self.lock().waiting;
        if !waiting.contains(&part) {
            waiting.push(part);
        }
    }

    /// Records that a part waits no longer. Returns whether it had waited and no other part waits.
    pub(crate) fn recovered(&self, part: Part) -> bool {
        let waiting = &mut self.lock().waiting;
        let before = waiting.len();
        waiting.retain(|waiting| *waiting != part);
        waiting.is_empty() && before > 0
    }

    /// Records that the consumer handles nothing for now. Calls `tell` if it was not halted before.
    pub(crate) fn halted(&self, error: ConsumerError, tell: impl FnOnce(&ConsumerError)) {
        let before = self.lock().halted.as_ref().map(ToString::to_string);
        if before != Some(error.to_string()) {
            tell(&error);
        }
        self.lock().halted = Some(error);
    }

    /// Takes the reason why the consumer handles nothing now.
    pub(crate) fn take_halted(&self) -> Option<ConsumerError> {
        self.lock().halted.take()
    }

    /// Records that a thread waits until the checkpoint is stored at or after a position.
    pub(crate) fn want(&self, position: GlobalSequence) {
        let mut state = self.lock();
        state.wanted = state.wanted.max(position);
    }

    /// The greatest position that a thread waits for.
    pub(crate) fn wanted(&self) -> GlobalSequence {
        self.lock().wanted
    }

    /// Records that the stored checkpoint has another token than the one known here. The consumer has to read the checkpoint again.
    pub(crate) fn doubt(&self) {
        self.lock().is_doubted = true;
    }

    /// Returns whether there was a doubt, and clears it.
    pub(crate) fn take_doubt(&self) -> bool {
        std::mem::take(&mut self.lock().is_doubted)
    }

    /// Waits until every event up to a position is handled under this token or a later one, and returns that token. On a timeout, returns
    /// how far the consumer came.
    pub(crate) fn wait_for(
        &self,
        wanted: GlobalSequence,
        least_token: i64,
        deadline: Option<Instant>,
    ) -> Result<i64, GlobalSequence> {
        let mut state = self.lock();
        while state.handled < wanted || state.token < least_token {
            let left = time_left(deadline);
            if left.is_zero() {
                return Err(state.handled);
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(state.token)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time until the deadline; a very long time if there is none.
pub(crate) fn time_left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| {
        deadline.saturating_duration_since(Instant::now())
    })
}
