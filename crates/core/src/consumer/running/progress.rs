//! How far a consumer of this process has come, for those that wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::GlobalSequence;
use crate::consumer::failure::ConsumerError;

/// How far a consumer has come, and whether it goes on.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    handled: GlobalSequence,
    /// The token of the checkpoint that this continues: another one begins when the consumer is reset.
    token: i64,
    is_told: bool,
    /// Whether another token was found in the store.
    is_doubted: bool,
    /// The greatest position that a thread waits for: up to there, the checkpoint is to be stored.
    wanted: GlobalSequence,
    /// Why it handles nothing now.
    halted: Option<ConsumerError>,
    /// The parts of it that wait for what is out of reach.
    waiting: Vec<Part>,
}

/// A part of a consumer, which may wait while another one goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Handling,
    Leases,
}

impl Progress {
    /// Everything up to a position is handled, and the consumer goes on. Returns whether that is another position than before.
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

    /// A part of it waits for what is out of reach.
    pub(crate) fn waits(&self, part: Part) {
        let waiting = &mut self.lock().waiting;
        if !waiting.contains(&part) {
            waiting.push(part);
        }
    }

    /// A part of it waits no more. Returns whether that is news, and no other part waits.
    pub(crate) fn recovered(&self, part: Part) -> bool {
        let waiting = &mut self.lock().waiting;
        let before = waiting.len();
        waiting.retain(|waiting| *waiting != part);
        waiting.is_empty() && before > 0
    }

    /// It handles nothing for now; `tell` is called if that is news.
    pub(crate) fn halted(&self, error: ConsumerError, tell: impl FnOnce(&ConsumerError)) {
        let before = self.lock().halted.as_ref().map(ToString::to_string);
        if before != Some(error.to_string()) {
            tell(&error);
        }
        self.lock().halted = Some(error);
    }

    /// Takes the reason for which it handles nothing now.
    pub(crate) fn take_halted(&self) -> Option<ConsumerError> {
        self.lock().halted.take()
    }

    /// A thread waits for a stored checkpoint at or after a position.
    pub(crate) fn want(&self, position: GlobalSequence) {
        let mut state = self.lock();
        state.wanted = state.wanted.max(position);
    }

    /// The greatest position that a thread waits for.
    pub(crate) fn wanted(&self) -> GlobalSequence {
        self.lock().wanted
    }

    /// The stored checkpoint has another token than the one known here: the consumer is to read it.
    pub(crate) fn doubt(&self) {
        self.lock().is_doubted = true;
    }

    /// Takes the doubt.
    pub(crate) fn take_doubt(&self) -> bool {
        std::mem::take(&mut self.lock().is_doubted)
    }

    /// Waits until every event up to a position is handled under this token or a later one. Returns that token; tells how far the consumer
    /// came if that is not so in time.
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

/// How long it is until then; without an end, very long.
pub(crate) fn time_left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| {
        deadline.saturating_duration_since(Instant::now())
    })
}
