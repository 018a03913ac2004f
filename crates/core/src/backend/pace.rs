//! The pace at which much is changed in small transactions.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// The pace at which much is changed in many transactions, while appends wait for the locks of each, or for the disk that it keeps busy. A
/// transaction is as large as its time allows, 20 ms, and a pause follows it.
///
/// ```
/// use firefly_eventstore_core::backend::Pace;
///
/// let mut left: Vec<u32> = (0..1_000).collect();
/// let mut pace = Pace::new();
/// while !left.is_empty() {
///     let most = pace.events();
///     pace.step(|| {
///         left.truncate(left.len().saturating_sub(most));
///         Ok(())
///     })?;
/// }
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Pace {
    events: usize,
    /// When the last transaction ended.
    ended: Option<Instant>,
}

/// How long a transaction should take.
const LONGEST: Duration = Duration::from_millis(20);

/// How many events it changes. A server prepares a statement for each number of values, so the numbers are few: each is twice the one before.
const FEWEST: usize = 200;
const MOST: usize = 800;
const BYTES_OF_AN_EVENT: u64 = 4 << 10;

/// The pause after a transaction. On SQLite, appends of other processes do not queue. They try again after up to 25 ms, so the pause is
/// longer.
const PAUSE: Duration = Duration::from_millis(26);

impl Pace {
    /// Begins with few events.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            events: FEWEST,
            ended: None,
        }
    }

    /// How many events the next transaction is to change, at most.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.events
    }

    /// With the event that has this many bytes in all, together with those before it, the next transaction is full.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.events as u64 * BYTES_OF_AN_EVENT
    }

    /// Runs the next transaction, after the pause.
    ///
    /// # Errors
    ///
    /// Those of the transaction. It may be repeated by another step.
    pub fn step<R>(&mut self, transaction: impl FnOnce() -> Result<R>) -> Result<R> {
        if let Some(ended) = self.ended {
            thread::sleep(PAUSE.saturating_sub(ended.elapsed()));
        }
        let begun = Instant::now();
        let done = transaction();
        if done.is_ok() {
            self.events = next(self.events, begun.elapsed());
        }
        self.ended = Some(Instant::now());
        done
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

/// How many events the next transaction changes, after one that was to change this many took this long.
fn next(events: usize, took: Duration) -> usize {
    if took > LONGEST {
        (events / 2).max(FEWEST)
    } else if 2 * took <= LONGEST {
        (2 * events).min(MOST)
    } else {
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn after(events: usize, milliseconds: u64) -> usize {
        next(events, Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_slow_transaction_is_followed_by_a_smaller_one_and_a_fast_one_by_a_larger_one() {
        assert_eq!(after(400, 21), 200);
        assert_eq!(after(400, 20), 400);
        assert_eq!(after(400, 11), 400);
        assert_eq!(after(400, 10), 800);
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(after(FEWEST, 1_000), FEWEST);
        assert_eq!(after(MOST, 0), MOST);
    }

    #[test]
    fn bytes_grow_with_the_events() {
        let mut pace = Pace::new();
        assert_eq!((pace.events(), pace.bytes()), (200, 200 * 4_096));
        pace.events = 800;
        assert_eq!((pace.events(), pace.bytes()), (800, 800 * 4_096));
    }

    #[test]
    fn appends_have_their_turn_between_two_transactions_also_after_an_error() {
        let mut pace = Pace::new();
        let begun = Instant::now();
        pace.step(|| Ok(())).unwrap();
        pace.step(|| Err::<(), _>(Error::invalid("no"))).unwrap_err();
        pace.step(|| Ok(())).unwrap();
        let longest_pause_of_sqlite = Duration::from_millis(25);
        assert!(begun.elapsed() > 2 * longest_pause_of_sqlite);
    }
}
