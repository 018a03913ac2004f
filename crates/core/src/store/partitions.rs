//! The partitions of a log.

use std::fmt;

use crate::error::{Error, Result};
use crate::values::name::check;

/// How a store divides its log into partitions: separate tables, each with a range of global sequences, or with some types of aggregates.
///
/// Partitions are for logs of many millions of events: the indexes of the newest events stay small, and a partition whose events were
/// archived costs nothing. Reads and appends have the same results as without partitions. Most stores need none: the repository's
/// `sql/README.md` says when they are worth their costs.
///
/// PostgreSQL has all kinds, MySQL and MariaDB those by events: see `PostgresBuilder::partitions` and `MysqlBuilder::partitions`. A backend
/// refuses a kind that it does not have as [`InvalidInput`](crate::ErrorKind::InvalidInput).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions {
    by: By,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    Events(u64),
    Month,
    /// In the order of their bytes.
    Types(Vec<String>),
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

    /// A partition for each of these aggregate types, 20 at most, and one for all other types. Their order does not matter.
    ///
    /// It is for a log that outgrows the server's memory, of which programs read one type and seldom the others: the events of a type lie
    /// together. In memory, a page of a type is as fast as from one table, and everything else is slower, since it concerns every partition.
    /// All of them grow as long as the log does: to keep the indexes of new events small, choose another kind.
    ///
    /// A later choice of other types, or of another kind, is for the events to come: existing partitions stay. An event of a type that was
    /// not named is in the partition of all other types.
    ///
    /// ```
    /// use firefly_eventstore_core::Partitions;
    ///
    /// let partitions = Partitions::by_aggregate_type(["order", "customer"]);
    /// assert_eq!(partitions.to_string(), "by aggregate type (customer, order)");
    /// ```
    #[must_use]
    pub fn by_aggregate_type(types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut types: Vec<String> = types.into_iter().map(Into::into).collect();
        types.sort_unstable();
        Self { by: By::Types(types) }
    }

    /// How many global sequences a partition has; `None` if that is not what divides the log.
    #[must_use]
    pub const fn events(&self) -> Option<u64> {
        match self.by {
            By::Events(events) => Some(events),
            By::Month | By::Types(_) => None,
        }
    }

    /// The aggregate types that have partitions of their own, in the order of their bytes; `None` if that is not what divides the log.
    #[must_use]
    pub fn aggregate_types(&self) -> Option<&[String]> {
        match &self.by {
            By::Types(types) => Some(types),
            By::Events(_) | By::Month => None,
        }
    }

    /// [`events`](Self::events) for a database. For authors of backends: one that divides a log only by events needs only this.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the number is 0, or too large, or if the partitions are of another kind.
    pub fn checked_events(&self) -> Result<i64> {
        let Some(events) = self.events() else {
            let kind = match self.by {
                By::Types(_) => "by aggregate type",
                By::Events(_) | By::Month => "by month",
            };
            return Err(Error::invalid(format!(
                "this store has no partitions {kind}: choose Partitions::by_events"
            )));
        };
        match i64::try_from(events) {
            Ok(events @ 1..=MOST) => Ok(events),
            _ => Err(Error::invalid(format!(
                "partitions of {events} events: choose a number from 1 to {MOST}"
            ))),
        }
    }

    /// [`aggregate_types`](Self::aggregate_types) for a database. For authors of backends.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if no aggregate can have such a type, if a type is named twice, or if there are none or
    /// more than 20.
    pub fn checked_aggregate_types(&self) -> Result<Option<&[String]>> {
        let Some(types) = self.aggregate_types() else {
            return Ok(None);
        };
        let refused =
            |reason: fmt::Arguments<'_>| Err(Error::invalid(format!("partitions by aggregate type: {reason}")));
        if types.is_empty() {
            return refused(format_args!("name at least one type"));
        }
        for one in types {
            check("partitions by aggregate type: a type", one)?;
        }
        if let Some(twice) = types.windows(2).find(|pair| pair[0] == pair[1]) {
            return refused(format_args!("{} is named twice", twice[0]));
        }
        if types.len() > MOST_TYPES {
            return refused(format_args!(
                "{} types are named, at most {MOST_TYPES} can be: name those whose events are read most, and leave the others together",
                types.len()
            ));
        }
        Ok(Some(types))
    }
}

/// Such as `by month`, `of 5000000 events each`, or `by aggregate type (customer, order)`.
impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            By::Events(events) => write!(f, "of {events} events each"),
            By::Month => f.write_str("by month"),
            By::Types(types) => write!(f, "by aggregate type ({})", types.join(", ")),
        }
    }
}

/// Keeps every bound below the greatest sequence.
const MOST: i64 = 1 << 48;

/// Keeps the tables of a log few: every statement that reads it locks all of them.
const MOST_TYPES: usize = 20;

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
        let error = Partitions::by_aggregate_type(["order"])
            .checked_events()
            .expect_err("there is no number");
        assert!(error.is_invalid_input());
        assert!(error.to_string().contains("by aggregate type"), "{error}");
    }

    #[test]
    fn types_are_a_set() {
        let types = Partitions::by_aggregate_type(["order", "Order", "customer"]);
        assert_eq!(types, Partitions::by_aggregate_type(["customer", "order", "Order"]));
        let sorted = ["Order", "customer", "order"].map(str::to_owned);
        assert_eq!(
            types.checked_aggregate_types().expect("they are three"),
            Some(&sorted[..])
        );
        let none = Partitions::by_month();
        assert_eq!(none.checked_aggregate_types().expect("there are none to check"), None);
    }

    #[test]
    fn types_that_no_table_can_be_made_for_are_refused_with_a_reason() {
        let many: Vec<String> = (0..=MOST_TYPES).map(|number| format!("type {number}")).collect();
        let refused: [(&[&str], &str); 6] = [
            (&[], "at least one"),
            (&["order", ""], "empty"),
            (&["order", "customer", "order"], "order is named twice"),
            (&[&"x".repeat(256)], "256 characters"),
            (&["a\0b"], "U+0000"),
            (&many.iter().map(String::as_str).collect::<Vec<_>>(), "21 types"),
        ];
        for (types, reason) in refused {
            let error = Partitions::by_aggregate_type(types.iter().copied())
                .checked_aggregate_types()
                .expect_err(reason);
            assert!(error.is_invalid_input());
            assert!(error.to_string().contains(reason), "{error}");
        }
        let most = &many[..MOST_TYPES];
        assert!(Partitions::by_aggregate_type(most).checked_aggregate_types().is_ok());
    }
}
