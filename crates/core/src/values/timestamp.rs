//! Times as text: in exports, and in databases that have no type for them.

use std::fmt;

use time::{Date, Month, OffsetDateTime, Time};

use super::event::to_utc;
use crate::{Error, Result};

/// The text of a time, such as `2025-01-15T10:30:00.000000Z`: RFC 3339 in UTC with microseconds. It always has 27 characters, so texts sort
/// as their times do. For authors of backends.
#[must_use]
pub fn time_text(time: OffsetDateTime) -> TimeText {
    let time = to_utc(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.time().as_hms_micro();
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    if year < 0 {
        // No stored time is so old. The text only has to sort before the stored times.
        return TimeText(text);
    }
    let mut put = |end: usize, digits: usize, mut number: u32| {
        for index in (end - digits..end).rev() {
            text[index] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(4, 4, year.unsigned_abs());
    put(7, 2, u32::from(u8::from(month)));
    put(10, 2, u32::from(day));
    put(13, 2, u32::from(hour));
    put(16, 2, u32::from(minute));
    put(19, 2, u32::from(second));
    put(26, 6, micro);
    TimeText(text)
}

/// See [`time_text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeText([u8; 27]);

impl TimeText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and punctuation are ASCII")
    }
}

impl fmt::Display for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Parses the text that [`time_text`] writes. For authors of backends.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the text is something else.
pub fn parse_time(text: &str) -> Result<OffsetDateTime> {
    try_parse_time(text.as_bytes()).ok_or_else(|| Error::invalid(format!("{text:?} is not a time in UTC")))
}

fn try_parse_time(text: &[u8]) -> Option<OffsetDateTime> {
    let number = |start: usize, end: usize| {
        text[start..end].iter().try_fold(0_u32, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    let small = |start: usize, end: usize| number(start, end).and_then(|number| u8::try_from(number).ok());
    let punctuated = text.len() == 27
        && [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
            (26, b'Z'),
        ]
        .iter()
        .all(|(index, mark)| text[*index] == *mark);
    if !punctuated {
        return None;
    }
    let month = Month::try_from(small(5, 7)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(number(0, 4)?).ok()?, month, small(8, 10)?).ok()?;
    let time = Time::from_hms_micro(small(11, 13)?, small(14, 16)?, small(17, 19)?, number(20, 26)?).ok()?;
    Some(date.with_time(time).assume_utc())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_27_characters_and_come_back_exactly() {
        for time in [
            datetime!(1000-01-01 00:00:00 UTC),
            datetime!(2025-01-15 10:30:00.000_001 UTC),
            datetime!(9999-12-31 23:59:59.999_999 UTC),
        ] {
            let text = time_text(time);
            assert_eq!(text.as_str().len(), 27);
            assert_eq!(parse_time(text.as_str()).unwrap(), time);
        }
        assert_eq!(
            time_text(datetime!(2025-01-15 10:30:00.000_001 UTC)).as_str(),
            "2025-01-15T10:30:00.000001Z"
        );
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2025-01-15 10:30:00",
            "2025-02-30T10:30:00.000000Z",
            "2025-01-15T10:30:00.00000éZ",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
