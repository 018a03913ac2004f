//! Times as text: what exports, seals and events as JSON have.

use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::{Error, Result};

const TIME: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// A time in UTC as text: RFC 3339, with microseconds.
pub(crate) fn time_text(time: OffsetDateTime) -> String {
    time.format(&TIME).expect("the format has only what every time has")
}

/// The time that [`time_text`] wrote.
pub(crate) fn parse_time(text: &str) -> Result<OffsetDateTime> {
    let time = PrimitiveDateTime::parse(text, &TIME);
    let time = time.map_err(|error| Error::invalid(format!("{text:?} is not a time: {error}")))?;
    crate::event::check_time(time.assume_utc())
}
