//! The progress of long work.

use std::time::{Duration, Instant};

/// The progress of some work. The callback is called often enough for a progress bar, and seldom enough to cost nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// How many events, or snapshots, are done.
    pub done: u64,
    /// How many there are, if known; the number may include unused sequences.
    pub total: Option<u64>,
    /// The time since the beginning.
    pub elapsed: Duration,
}

impl Progress {
    /// For authors of backends.
    #[must_use]
    pub const fn new(done: u64, total: Option<u64>, elapsed: Duration) -> Self {
        Self { done, total, elapsed }
    }

    /// The average number per second since the beginning.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.done as f64 / seconds } else { 0.0 }
    }
}

/// Calls a callback after each step, and at the end.
pub(super) struct Telling<F> {
    tell: F,
    started: Instant,
    total: Option<u64>,
    done: u64,
    told: u64,
}

/// How much is done between two calls.
const STEP: u64 = 500;

impl<F: FnMut(Progress)> Telling<F> {
    pub(super) fn new(tell: F) -> Self {
        Self {
            tell,
            started: Instant::now(),
            total: None,
            done: 0,
            told: 0,
        }
    }

    pub(super) fn expect(&mut self, total: Option<u64>) {
        self.total = total;
    }

    pub(super) fn add(&mut self, done: u64) {
        self.done += done;
        if self.done - self.told >= STEP {
            self.tell();
        }
    }

    pub(super) fn finish(mut self) -> u64 {
        self.total = Some(self.done);
        self.tell();
        self.done
    }

    fn tell(&mut self) {
        self.told = self.done;
        (self.tell)(Progress {
            done: self.done,
            total: self.total,
            elapsed: self.started.elapsed(),
        });
    }
}
