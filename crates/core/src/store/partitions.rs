//! The partitions of a log.

use std::fmt;

use crate::error::{Error, Result};

/// How a store divides its log into partitions: separate tables, each with a range of global sequences.
///
/// Partitions are for logs of many millions of events: the indexes of the newest events stay small, and a partition whose events were
/// archived costs nothing. Reads and appends have the same results as without partitions. Most stores need none: the repository's
/// `sql/README.md` says when they are worth their costs.
///
/// PostgreSQL has both kinds, MySQL and MariaDB those by events: see `PostgresBuilder::partitions` and `MysqlBuilder::partitions`. A backend
/// refuses a kind that it does not have as [`InvalidInput`](crate::ErrorKind::InvalidInput).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Events(u64),
    Month,
}

impl Partitions {
    /// Partitions of this many global sequences each, from 1 on. Choose the number so that the log has about 12 partitions: each statement
    /// that reads the log locks every one of them.
    ///
    /// ```
    /// use firefly_eventstore_core::Partitions;
    ///
    /// assert_eq!(Partitions::by_events(5_000_000).events(), Some(5_000_000));
    /// ```
    #[must_use]
    pub const fn by_events(events: u64) -> Self {
        Self { by: By::Events(events) }
    }

    /// A partition for each calendar month in UTC, by the clock of the database. The first call of
    /// [`add_partitions`](crate::operate::Operations::add_partitions) in a month, which the tool's `maintain` makes, too, ends the partition of
    /// the month before. So a partition has what was appended between the first call of its month and the first call of the next one. Call
    /// it at the beginning of each month, or every hour. A month without events gets no partition.
    ///
    /// A partition is ended after the events that are there, not in the past, since readers could miss events that move. So an event that
    /// was imported with an older time is in the partition of the month in which it was imported. To keep about 12 partitions, archive what is
    /// older than a year.
    ///
    /// ```
    /// use firefly_eventstore_core::Partitions;
    ///
    /// assert_eq!(Partitions::by_month().events(), None);
    /// ```
    #[must_use]
    pub const fn by_month() -> Self {
        Self { by: By::Month }
    }

    /// How many global sequences a partition has; `None` if it has those of a month.
    #[must_use]
    pub const fn events(self) -> Option<u64> {
        match self.by {
            By::Events(events) => Some(events),
            By::Month => None,
        }
    }

    /// The same number for a database. For authors of backends: one without partitions by month needs only this.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the number is 0, or too large, or if the partitions are those of months.
    pub fn checked_events(self) -> Result<i64> {
        let Some(events) = self.events() else {
            return Err(Error::invalid(
                "this store has no partitions by month: choose Partitions::by_events",
            ));
        };
        match i64::try_from(events) {
            Ok(events @ 1..=MOST) => Ok(events),
            _ => Err(Error::invalid(format!(
                "partitions of {events} events: choose a number from 1 to {MOST}"
            ))),
        }
    }
}

/// Such as `by month`, or `of 5000000 events each`.
impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            By::Events(events) => write!(f, "of {events} events each"),
            By::Month => f.write_str("by month"),
        }
    }
}

/// Keeps every bound below the greatest sequence.
const MOST: i64 = 1 << 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_without_partitions_by_month_refuses_them_with_a_reason() {
        let error = Partitions::by_month().checked_events().expect_err("there is no number");
        assert!(error.is_invalid_input());
        assert!(error.to_string().contains("by month"), "{error}");
        assert_eq!(Partitions::by_month().to_string(), "by month");
        assert_eq!(Partitions::by_events(50).to_string(), "of 50 events each");
    }
}
