//! Decoding the columns of rows, and values for statements.

pub(crate) use firefly_eventstore_core::backend::rows::decode;
use firefly_eventstore_core::backend::{self, Columns, Fingerprint};
use firefly_eventstore_core::{Error, Result};
use mysql::{Row, Value};
use time::macros::datetime;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};
use uuid::Uuid;

/// A row, for the decoders of the core.
#[expect(missing_debug_implementations, reason = "core alone uses it")]
pub struct Cells<'r>(pub(crate) &'r Row);

impl Columns for Cells<'_> {
    fn optional_text(&self, index: usize) -> Result<Option<&str>> {
        optional(self.0, index, text)
    }

    fn optional_integer(&self, index: usize) -> Result<Option<i64>> {
        optional(self.0, index, integer)
    }

    fn optional_id(&self, index: usize) -> Result<Option<Uuid>> {
        optional(self.0, index, uuid)
    }

    fn optional_time(&self, index: usize) -> Result<Option<OffsetDateTime>> {
        optional(self.0, index, time)
    }

    fn double(&self, index: usize) -> Result<f64> {
        match *column(self.0, index) {
            Value::Double(number) => Ok(number),
            _ => Err(not("a double", index)),
        }
    }

    fn fingerprint(&self, index: usize) -> Result<Fingerprint> {
        let bytes = match column(self.0, index) {
            Value::Bytes(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| not("a fingerprint of 32 bytes", index))?;
        Ok(Fingerprint::from_bytes(bytes))
    }
}

fn column(row: &Row, index: usize) -> &Value {
    row.as_ref(index).unwrap_or(&Value::NULL)
}

fn not(what: &str, index: usize) -> Error {
    Error::invalid(format!("column {index} is not {what}"))
}

/// A column that may be NULL.
pub(crate) fn optional<'a, T>(
    row: &'a Row,
    index: usize,
    decode: impl FnOnce(&'a Row, usize) -> Result<T>,
) -> Result<Option<T>> {
    match column(row, index) {
        Value::NULL => Ok(None),
        _ => decode(row, index).map(Some),
    }
}

/// A column with text.
pub(crate) fn text(row: &Row, index: usize) -> Result<&str> {
    match column(row, index) {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| not("UTF-8", index)),
        _ => Err(not("text", index)),
    }
}

/// A column with an id.
pub(crate) fn uuid(row: &Row, index: usize) -> Result<Uuid> {
    match column(row, index) {
        Value::Bytes(bytes) => Uuid::from_slice(bytes).map_err(|_| not("an id of 16 bytes", index)),
        _ => Err(not("an id", index)),
    }
}

/// A column with an integer.
pub(crate) fn integer(row: &Row, index: usize) -> Result<i64> {
    match *column(row, index) {
        Value::Int(number) => Ok(number),
        Value::UInt(number) => i64::try_from(number).map_err(|_| not("a 64-bit integer", index)),
        _ => Err(not("an integer", index)),
    }
}

/// A column with a time in UTC.
pub(crate) fn time(row: &Row, index: usize) -> Result<OffsetDateTime> {
    let Value::Date(year, month, day, hour, minute, second, microsecond) = *column(row, index) else {
        return Err(not("a time", index));
    };
    let of = || {
        let date = Date::from_calendar_date(year.into(), Month::try_from(month).ok()?, day).ok()?;
        let time = Time::from_hms_micro(hour, minute, second, microsecond).ok()?;
        Some(PrimitiveDateTime::new(date, time).assume_utc())
    };
    of().ok_or_else(|| not("a time", index))
}

/// A time as a value of a statement: in UTC, whatever the session's time zone is.
pub(crate) fn time_value(time: OffsetDateTime) -> Value {
    let time = floor(time);
    Value::Date(
        u16::try_from(time.year()).expect("the bounds of time are years from 1 to 9999"),
        time.month().into(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.microsecond(),
    )
}

/// The microsecond that contains a time, within the range that MySQL can compare. No stored time is outside of the
/// range.
fn floor(time: OffsetDateTime) -> OffsetDateTime {
    OffsetDateTime::truncate_to_microsecond(backend::to_utc(time)).clamp(
        datetime!(0001-01-01 0:00 UTC),
        datetime!(9999-12-31 23:59:59.999_999 UTC),
    )
}
