//! The values of options.

use std::time::Duration;

use firefly_eventstore::{ExpectedVersion, GlobalSequence, Metadata, Version};
use time::format_description::StaticFormatDescription;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

const DATE: StaticFormatDescription = format_description!("[year]-[month]-[day]");
const TIME: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
const SHORT_TIME: StaticFormatDescription = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");

/// A time: RFC 3339; a date, which means its midnight in UTC; or an age.
pub(crate) fn time(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time);
    }
    if let Ok(date) = Date::parse(text, &DATE) {
        return Ok(date.midnight().assume_utc());
    }
    let age = humantime::parse_duration(text).ok();
    age.and_then(|age| OffsetDateTime::now_utc().checked_sub(age.try_into().ok()?))
        .ok_or_else(|| "write 2025-01-31T12:00:00Z, 2025-01-31, or an age such as 2h or 30days".to_owned())
}

/// A time as every answer shows it: RFC 3339, in UTC, with microseconds.
pub(crate) fn time_text(time: OffsetDateTime) -> String {
    time.format(&TIME).expect("the format has only what every time has")
}

/// A time as a table shows it: in UTC, to the second, with a space where a line may break.
pub(crate) fn short_time(time: OffsetDateTime) -> String {
    time.format(&SHORT_TIME)
        .expect("the format has only what every time has")
}

/// A length of time, such as `30days`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a length of time such as 500ms, 12h or 30days".to_owned())
}

pub(crate) fn sequence(text: &str) -> Result<GlobalSequence, String> {
    number(text).and_then(|number| GlobalSequence::new(number).map_err(|error| error.to_string()))
}

pub(crate) fn version(text: &str) -> Result<Version, String> {
    number(text).and_then(|number| Version::new(number).map_err(|error| error.to_string()))
}

pub(crate) fn expected(text: &str) -> Result<ExpectedVersion, String> {
    match text {
        "any" => Ok(ExpectedVersion::Any),
        "no-stream" => Ok(ExpectedVersion::NoStream),
        "exists" => Ok(ExpectedVersion::Exists),
        _ => version(text)
            .map(ExpectedVersion::Exact)
            .map_err(|_| "write any, no-stream, exists, or a version".to_owned()),
    }
}

pub(crate) fn metadata(text: &str) -> Result<Metadata, String> {
    Metadata::from_json(text).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_time_is_a_moment_a_date_or_an_age() {
        assert_eq!(
            time("2025-01-31T12:00:00+02:00").unwrap(),
            datetime!(2025-01-31 10:00 UTC)
        );
        assert_eq!(time("2025-01-31").unwrap(), datetime!(2025-01-31 0:00 UTC));
        let past = time("2h").unwrap();
        let age = OffsetDateTime::now_utc() - past;
        assert!(
            age >= time::Duration::HOUR * 2 && age < time::Duration::HOUR * 3,
            "{age}"
        );
        for text in ["", "yesterday", "2025-02-30", "2025-01-31 12:00"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
