//! Rows: events and snapshots from the columns of a query, in the one order that every query has.

pub(crate) use firefly_eventstore_core::backend::{TimeText, parse_time, time_text};
use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::{
    AggregateKey, AggregateType, Checksum, Error, EventData, EventEnvelope, EventType, GlobalSequence, Metadata,
    Result, Snapshot, Version, backend,
};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::error::classify;

/// Reads the rows of one query; types that repeat from row to row are shared.
#[derive(Default)]
pub(crate) struct Decoder {
    aggregate: Option<AggregateKey>,
    event_type: Option<EventType>,
}

impl Decoder {
    /// An event from the columns of `load.sql`.
    pub(crate) fn event(&mut self, row: &Row<'_>) -> Result<EventEnvelope> {
        self.try_event(row).map_err(|error| {
            let sequence: Option<i64> = row.get(4).ok();
            let sequence = sequence.and_then(|sequence| GlobalSequence::try_from(sequence).ok());
            backend::damaged(&error, sequence)
        })
    }

    fn try_event(&mut self, row: &Row<'_>) -> Result<EventEnvelope> {
        Ok(EventEnvelope {
            event_id: uuid(row, 0)?,
            aggregate: self.aggregate(row)?,
            version: Version::try_from(integer(row, 3)?)?,
            global_sequence: GlobalSequence::try_from(integer(row, 4)?)?,
            event_type: self.event_type(row)?,
            data: EventData::from_stored(text(row, 6)?),
            metadata: optional(row, 7)?.map(Metadata::from_stored),
            created_at: parse_time(text(row, 8)?)?,
            updated_at: optional(row, 9)?.map(parse_time).transpose()?,
            created_by: name(row, 10)?,
            tenant: name(row, 11)?,
            correlation_id: name(row, 12)?,
            causation_id: name(row, 13)?,
            size_bytes: u32::try_from(integer(row, 14)?).ok(),
            checksum: optional(row, 15)?.map(parse_checksum).transpose()?,
        })
    }

    fn aggregate(&mut self, row: &Row<'_>) -> Result<AggregateKey> {
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

    fn event_type(&mut self, row: &Row<'_>) -> Result<EventType> {
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
pub(crate) fn snapshot(row: &Row<'_>) -> Result<Snapshot> {
    snapshot_of(row, [0, 1, 2, 3, 4, 5, 6, 7, 8])
}

/// A snapshot from the columns of `load_from_snapshot.sql`, which are those of an event; none if the row is one.
pub(crate) fn snapshot_among_events(row: &Row<'_>) -> Result<Option<Snapshot>> {
    match row.get_ref(4).map_err(classify)? {
        ValueRef::Null => snapshot_of(row, [0, 1, 2, 3, 5, 6, 8, 11, 15]).map(Some),
        _ => Ok(None),
    }
}

fn snapshot_of(row: &Row<'_>, columns: [usize; 9]) -> Result<Snapshot> {
    let [id, aggregate, of_type, version, form, state, created_at, tenant, sum] = columns;
    let read = || -> Result<Snapshot> {
        Ok(Snapshot {
            snapshot_id: uuid(row, id)?,
            aggregate: AggregateKey::new(text(row, of_type)?, uuid(row, aggregate)?)?,
            version: Version::try_from(integer(row, version)?)?,
            snapshot_type: text(row, form)?.try_into()?,
            state: EventData::from_stored(text(row, state)?),
            created_at: parse_time(text(row, created_at)?)?,
            tenant: name(row, tenant)?,
            checksum: optional(row, sum)?.map(parse_checksum).transpose()?,
        })
    };
    read().map_err(|error| backend::damaged(&error, None))
}

/// A seal from the columns of `seals_after.sql`.
pub(crate) fn seal(row: &Row<'_>) -> Result<Seal> {
    let read = || -> Result<Seal> {
        Ok(Seal {
            global_sequence: GlobalSequence::try_from(integer(row, 0)?)?,
            events: count(row, 1)?,
            digest: text(row, 2)?.parse()?,
            sealed_at: parse_time(text(row, 3)?)?,
        })
    };
    read().map_err(|error| backend::damaged(&error, None))
}

/// A text column that must not be NULL.
pub(crate) fn text<'a>(row: &'a Row<'_>, index: usize) -> Result<&'a str> {
    optional(row, index)?.ok_or_else(|| Error::invalid(format!("column {index} is NULL")))
}

/// A text column.
pub(crate) fn optional<'a>(row: &'a Row<'_>, index: usize) -> Result<Option<&'a str>> {
    match row.get_ref(index).map_err(classify)? {
        ValueRef::Null => Ok(None),
        value => value
            .as_str()
            .map(Some)
            .map_err(|error| Error::invalid(format!("column {index}: {error}"))),
    }
}

/// A column with a whole number.
pub(crate) fn integer(row: &Row<'_>, index: usize) -> Result<i64> {
    row.get(index).map_err(classify)
}

/// A column with a count.
pub(crate) fn count(row: &Row<'_>, index: usize) -> Result<u64> {
    u64::try_from(integer(row, index)?).map_err(|_| Error::invalid(format!("column {index} is negative")))
}

/// A column with an id.
pub(crate) fn uuid(row: &Row<'_>, index: usize) -> Result<Uuid> {
    let text = text(row, index)?;
    Uuid::try_parse(text).map_err(|error| Error::invalid(format!("{text:?} is not an id: {error}")))
}

/// A column with a name, such as a tenant.
pub(crate) fn name<T: for<'a> TryFrom<&'a str, Error = Error>>(row: &Row<'_>, index: usize) -> Result<Option<T>> {
    optional(row, index)?.map(T::try_from).transpose()
}

/// A column with a checksum.
pub(crate) fn parse_checksum(text: &str) -> Result<Checksum> {
    text.parse()
        .map_err(|_| Error::invalid(format!("{text:?} is not a checksum")))
}

/// The microsecond that a time is in, or the next one if the time is finer.
pub(crate) fn ceil(time: OffsetDateTime) -> OffsetDateTime {
    let floor = time.truncate_to_microsecond();
    if floor == time {
        return floor;
    }
    floor.saturating_add(Duration::MICROSECOND)
}
