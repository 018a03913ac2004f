//! Rows: events and snapshots from the columns of a query, in the one order that every query has; and values for statements.

use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::{
    AggregateKey, AggregateType, Checksum, Error, EventData, EventEnvelope, EventType, GlobalSequence, Metadata,
    Result, Snapshot, Version, backend,
};
use mysql::{Row, Value};
use time::macros::datetime;
use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, Time};
use uuid::Uuid;

/// Reads the rows of one query; types that repeat from row to row are shared.
#[derive(Default)]
pub(crate) struct Decoder {
    aggregate: Option<AggregateKey>,
    event_type: Option<EventType>,
}

impl Decoder {
    /// An event from the columns of `load.sql`.
    pub(crate) fn event(&mut self, row: &Row) -> Result<EventEnvelope> {
        self.try_event(row).map_err(|error| {
            let sequence: Option<i64> = integer(row, 4).ok();
            let sequence = sequence.and_then(|sequence| GlobalSequence::try_from(sequence).ok());
            backend::damaged(&error, sequence)
        })
    }

    fn try_event(&mut self, row: &Row) -> Result<EventEnvelope> {
        Ok(EventEnvelope {
            event_id: uuid(row, 0)?,
            aggregate: self.aggregate(row)?,
            version: Version::try_from(integer(row, 3)?)?,
            global_sequence: GlobalSequence::try_from(integer(row, 4)?)?,
            event_type: self.event_type(row)?,
            data: EventData::from_stored(text(row, 6)?),
            metadata: optional(row, 7, text)?.map(Metadata::from_stored),
            created_at: time(row, 8)?,
            updated_at: optional(row, 9, time)?,
            created_by: name(row, 10)?,
            tenant: name(row, 11)?,
            correlation_id: name(row, 12)?,
            causation_id: name(row, 13)?,
            size_bytes: optional(row, 14, integer)?.and_then(|size| u32::try_from(size).ok()),
            checksum: checksum(row, 15)?,
        })
    }

    fn aggregate(&mut self, row: &Row) -> Result<AggregateKey> {
        let id = uuid(row, 1)?;
        let aggregate_type = text(row, 2)?;
        let known = self
            .aggregate
            .as_ref()
            .filter(|key| *key.aggregate_type() == aggregate_type);
        let key = match known {
            Some(key) if key.id() == id => return Ok(key.clone()),
            Some(key) => AggregateKey::new(key.aggregate_type().clone(), id)?,
            None => AggregateKey::new(AggregateType::new(aggregate_type)?, id)?,
        };
        self.aggregate = Some(key.clone());
        Ok(key)
    }

    fn event_type(&mut self, row: &Row) -> Result<EventType> {
        let name = text(row, 5)?;
        if let Some(known) = self.event_type.as_ref().filter(|known| **known == name) {
            return Ok(known.clone());
        }
        let event_type = EventType::new(name)?;
        self.event_type = Some(event_type.clone());
        Ok(event_type)
    }
}

/// A snapshot from the columns of `find_snapshots.sql`.
pub(crate) fn snapshot(row: &Row) -> Result<Snapshot> {
    snapshot_of(row, [0, 1, 2, 3, 4, 5, 6, 7, 8])
}

/// A snapshot from the columns of `load_from_snapshot.sql`, which are those of an event; none if the row is one.
pub(crate) fn snapshot_among_events(row: &Row) -> Result<Option<Snapshot>> {
    match column(row, 4) {
        Value::NULL => snapshot_of(row, [0, 1, 2, 3, 5, 6, 8, 11, 15]).map(Some),
        _ => Ok(None),
    }
}

fn snapshot_of(row: &Row, columns: [usize; 9]) -> Result<Snapshot> {
    let [id, aggregate, of_type, version, form, state, created_at, tenant, sum] = columns;
    Ok(Snapshot {
        snapshot_id: uuid(row, id)?,
        aggregate: AggregateKey::new(text(row, of_type)?, uuid(row, aggregate)?)?,
        version: Version::try_from(integer(row, version)?)?,
        snapshot_type: text(row, form)?.try_into()?,
        state: EventData::from_stored(text(row, state)?),
        created_at: time(row, created_at)?,
        tenant: name(row, tenant)?,
        checksum: checksum(row, sum)?,
    })
}

/// A seal from the columns of `seals_after.sql`.
pub(crate) fn seal(row: &Row) -> Result<Seal> {
    Ok(Seal {
        global_sequence: GlobalSequence::try_from(integer(row, 0)?)?,
        events: count(row, 1)?,
        digest: text(row, 2)?.parse()?,
        sealed_at: time(row, 3)?,
    })
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

/// A column with a count.
pub(crate) fn count(row: &Row, index: usize) -> Result<u64> {
    u64::try_from(integer(row, index)?).map_err(|_| Error::invalid(format!("column {index} is negative")))
}

/// A column with a floating-point number.
pub(crate) fn double(row: &Row, index: usize) -> Result<f64> {
    match *column(row, index) {
        Value::Double(number) => Ok(number),
        _ => Err(not("a double", index)),
    }
}

/// A column with a time, which is UTC.
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

/// A column with a name, such as a tenant.
pub(crate) fn name<T: for<'a> TryFrom<&'a str, Error = Error>>(row: &Row, index: usize) -> Result<Option<T>> {
    optional(row, index, text)?.map(T::try_from).transpose()
}

/// A column with a checksum.
pub(crate) fn checksum(row: &Row, index: usize) -> Result<Option<Checksum>> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| Error::invalid(format!("{text:?} is not a checksum")))
    };
    optional(row, index, text)?.map(parse).transpose()
}

/// Each row, decoded.
pub(crate) fn decode<T>(rows: &[Row], decode: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    let decoded: Result<Vec<T>> = rows.iter().map(decode).collect();
    decoded.map_err(|error| backend::damaged(&error, None))
}

/// A time as a statement has it: in UTC, whatever the time zone of the session is.
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

/// The microsecond that a time is in, within what MySQL compares: nothing that is stored is older, or later.
fn floor(time: OffsetDateTime) -> OffsetDateTime {
    OffsetDateTime::truncate_to_microsecond(backend::to_utc(time)).clamp(
        datetime!(0001-01-01 0:00 UTC),
        datetime!(9999-12-31 23:59:59.999_999 UTC),
    )
}

/// The microsecond that a time is in, or the next one if the time is finer.
pub(crate) fn ceil(time: OffsetDateTime) -> OffsetDateTime {
    let floor = floor(time);
    if floor >= time {
        return floor;
    }
    floor.saturating_add(Duration::MICROSECOND)
}
