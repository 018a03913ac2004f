//! The partitions of a log.

use crate::error::{Error, Result};

/// How a store divides its log into partitions: separate tables, each with a range of global sequences.
///
/// Partitions are for logs of many millions of events: the indexes of the newest events stay small, and a partition whose events were
/// archived costs nothing. Reads and appends have the same results as without partitions. Most stores need none: the repository's
/// `sql/README.md` says when they are worth their costs.
///
/// PostgreSQL has them: see `PostgresBuilder::partitions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    events: u64,
}

impl Partitions {
    /// Partitions of this many global sequences each, from 1 on. Choose the number so that the log has about 12 partitions: each statement
    /// that reads the log locks every one of them.
    ///
    /// ```
    /// use firefly_eventstore_core::Partitions;
    ///
    /// assert_eq!(Partitions::by_events(5_000_000).events(), 5_000_000);
    /// ```
    #[must_use]
    pub const fn by_events(events: u64) -> Self {
        Self { events }
    }

    /// How many global sequences a partition has.
    #[must_use]
    pub const fn events(self) -> u64 {
        self.events
    }

    /// The same number for a database. For authors of backends.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the number is 0, or too large.
    pub fn checked_events(self) -> Result<i64> {
        match i64::try_from(self.events) {
            Ok(events @ 1..=MOST) => Ok(events),
            _ => Err(Error::invalid(format!(
                "partitions of {} events: choose a number from 1 to {MOST}",
                self.events
            ))),
        }
    }
}

/// Keeps every bound below the greatest sequence.
const MOST: i64 = 1 << 48;
