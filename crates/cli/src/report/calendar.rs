//! Steps of time in UTC, for the bars of a plot and the labels under them.
//!
//! The library for time has a calendar, but no numbered steps from seconds to thousands of years.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime};

/// A step of time, such as five minutes. Steps begin at multiples of their length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Its name, after "per".
    pub(super) name: &'static str,
    unit: Unit,
    /// How many of the unit.
    units: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Day,
    Month,
}

/// From the finest to the coarsest.
const STEPS: [Step; 28] = [
    step("second", Unit::Second, 1),
    step("5 seconds", Unit::Second, 5),
    step("15 seconds", Unit::Second, 15),
    step("30 seconds", Unit::Second, 30),
    step("minute", Unit::Second, 60),
    step("5 minutes", Unit::Second, 5 * 60),
    step("15 minutes", Unit::Second, 15 * 60),
    step("30 minutes", Unit::Second, 30 * 60),
    step("hour", Unit::Second, 3_600),
    step("3 hours", Unit::Second, 3 * 3_600),
    step("6 hours", Unit::Second, 6 * 3_600),
    step("12 hours", Unit::Second, 12 * 3_600),
    step("day", Unit::Day, 1),
    // The days are counted from a Monday.
    step("week", Unit::Day, 7),
    step("month", Unit::Month, 1),
    step("quarter", Unit::Month, 3),
    step("half-year", Unit::Month, 6),
    step("year", Unit::Month, 12),
    step("2 years", Unit::Month, 2 * 12),
    step("5 years", Unit::Month, 5 * 12),
    step("10 years", Unit::Month, 10 * 12),
    step("20 years", Unit::Month, 20 * 12),
    step("50 years", Unit::Month, 50 * 12),
    step("100 years", Unit::Month, 100 * 12),
    step("200 years", Unit::Month, 200 * 12),
    step("500 years", Unit::Month, 500 * 12),
    step("1000 years", Unit::Month, 1_000 * 12),
    step("2000 years", Unit::Month, 2_000 * 12),
];

const fn step(name: &'static str, unit: Unit, units: i64) -> Step {
    Step { name, unit, units }
}

impl Step {
    /// The finest step that covers the time between two times in at most `most` steps.
    pub(super) fn for_span(first: OffsetDateTime, last: OffsetDateTime, most: i64) -> Self {
        let fits = |step: &&Self| step.index(last) - step.index(first) < most;
        let coarsest = STEPS[STEPS.len() - 1];
        STEPS.iter().find(fits).copied().unwrap_or(coarsest)
    }

    /// This step, and all coarser ones.
    pub(super) fn and_coarser(self) -> impl Iterator<Item = Self> {
        STEPS.into_iter().skip_while(move |step| step.name != self.name)
    }

    /// The number of the step that a time is in.
    pub(super) fn index(self, time: OffsetDateTime) -> i64 {
        let units = match self.unit {
            Unit::Second => time.unix_timestamp(),
            Unit::Day => time.to_julian_day().into(),
            Unit::Month => i64::from(time.year()) * 12 + i64::from(u8::from(time.month())) - 1,
        };
        units.div_euclid(self.units)
    }

    /// When a step begins, at most the greatest time.
    pub(super) fn start(self, index: i64) -> OffsetDateTime {
        let units = index * self.units;
        let time = match self.unit {
            Unit::Second => OffsetDateTime::from_unix_timestamp(units).ok(),
            Unit::Day => i32::try_from(units).ok().and_then(|day| {
                let date = Date::from_julian_day(day).ok()?;
                Some(date.midnight().assume_utc())
            }),
            Unit::Month => month(units).map(|date| date.midnight().assume_utc()),
        };
        time.unwrap_or(PrimitiveDateTime::MAX.assume_utc())
    }

    /// The name of a step in a table.
    pub(super) fn name_of(self, index: i64) -> String {
        let start = self.start(index);
        match (self.unit, self.units) {
            (Unit::Second, 1..60) => format(
                start,
                format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"),
            ),
            (Unit::Second, _) => format(start, format_description!("[year]-[month]-[day] [hour]:[minute]")),
            (Unit::Day, 7) => format!("week of {}", day(start)),
            (Unit::Day, _) => day(start),
            (Unit::Month, 1) => format(start, format_description!("[year]-[month]")),
            (Unit::Month, 3) => format!("{} Q{}", start.year(), index.rem_euclid(4) + 1),
            (Unit::Month, 6) => format!("{} H{}", start.year(), index.rem_euclid(2) + 1),
            (Unit::Month, 12) => start.year().to_string(),
            (Unit::Month, months) => format!("{}–{}", start.year(), i64::from(start.year()) + months / 12 - 1),
        }
    }

    /// The label under an axis where a step begins, in one line or two.
    pub(super) fn label_of(self, index: i64) -> (String, Option<String>) {
        let start = self.start(index);
        match (self.unit, self.units) {
            (Unit::Second, 1..60) => {
                let time = format(start, format_description!("[hour]:[minute]:[second]"));
                (time, Some(day(start)))
            }
            (Unit::Second, _) => (format(start, format_description!("[hour]:[minute]")), Some(day(start))),
            (Unit::Day, _) => (day(start), None),
            (Unit::Month, 1..12) => (format(start, format_description!("[year]-[month]")), None),
            (Unit::Month, _) => (start.year().to_string(), None),
        }
    }
}

/// A month by its number, January of the year 0 being the month 0.
fn month(number: i64) -> Option<Date> {
    let year = i32::try_from(number.div_euclid(12)).ok()?;
    let month = u8::try_from(number.rem_euclid(12) + 1).ok()?;
    Date::from_calendar_date(year, Month::try_from(month).ok()?, 1).ok()
}

fn day(time: OffsetDateTime) -> String {
    format(time, format_description!("[year]-[month]-[day]"))
}

fn format(time: OffsetDateTime, format: &[BorrowedFormatItem<'_>]) -> String {
    time.format(format).expect("a time has all that these formats name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_step_begins_where_the_clock_or_the_calendar_does() {
        let time = datetime!(2024-05-16 13:47:29.5 UTC);
        let started: Vec<_> = STEPS.iter().map(|step| step.start(step.index(time))).collect();
        assert_eq!(
            started[..18],
            [
                datetime!(2024-05-16 13:47:29 UTC),
                datetime!(2024-05-16 13:47:25 UTC),
                datetime!(2024-05-16 13:47:15 UTC),
                datetime!(2024-05-16 13:47:00 UTC),
                datetime!(2024-05-16 13:47 UTC),
                datetime!(2024-05-16 13:45 UTC),
                datetime!(2024-05-16 13:45 UTC),
                datetime!(2024-05-16 13:30 UTC),
                datetime!(2024-05-16 13:00 UTC),
                datetime!(2024-05-16 12:00 UTC),
                datetime!(2024-05-16 12:00 UTC),
                datetime!(2024-05-16 12:00 UTC),
                datetime!(2024-05-16 00:00 UTC),
                datetime!(2024-05-13 00:00 UTC), // a Monday
                datetime!(2024-05-01 00:00 UTC),
                datetime!(2024-04-01 00:00 UTC),
                datetime!(2024-01-01 00:00 UTC),
                datetime!(2024-01-01 00:00 UTC),
            ]
        );
    }

    #[test]
    fn any_span_has_a_step_with_few_enough_bars_and_not_too_few() {
        let first = datetime!(1000-01-01 00:00 UTC);
        let mut seconds = 200;
        while let Some(last) = first.checked_add(time::Duration::seconds(seconds)) {
            let step = Step::for_span(first, last, 100);
            let bars = step.index(last) - step.index(first) + 1;
            assert!((15..=100).contains(&bars), "{bars} bars of {} for {last}", step.name);
            seconds += seconds / 3;
        }
    }

    #[test]
    fn the_last_step_of_all_time_has_an_end() {
        let last = datetime!(9999-12-31 23:59:59.999999 UTC);
        for step in STEPS {
            let index = step.index(last);
            assert!(
                step.start(index) <= last && step.start(index + 1) >= last,
                "{}",
                step.name
            );
        }
    }
}
