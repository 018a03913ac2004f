//! Rows: events and snapshots from the columns of a query, in the one order that every query has.

use std::error::Error as StdError;

use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::{
    AggregateKey, AggregateType, Checksum, Error, EventData, EventEnvelope, EventType, GlobalSequence, Metadata,
    Result, Snapshot, Version, backend,
};
use postgres::Row;
use postgres::types::{FromSql, Type};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

/// The text of a JSONB column, as the server writes it: not parsed.
pub(crate) struct Json<'a>(pub(crate) &'a str);

impl<'a> FromSql<'a> for Json<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let [1, text @ ..] = raw else {
            return Err("a version of JSONB that this library does not know".into());
        };
        Ok(Self(std::str::from_utf8(text)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}

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
            let sequence: Option<i64> = row.try_get(4).ok();
            let sequence = sequence.and_then(|sequence| GlobalSequence::try_from(sequence).ok());
            backend::damaged(&error, sequence)
        })
    }

    fn try_event(&mut self, row: &Row) -> Result<EventEnvelope> {
        Ok(EventEnvelope {
            event_id: get(row, 0)?,
            aggregate: self.aggregate(row)?,
            version: Version::try_from(get::<i64>(row, 3)?)?,
            global_sequence: GlobalSequence::try_from(get::<i64>(row, 4)?)?,
            event_type: self.event_type(row)?,
            data: EventData::from_stored(get::<Json<'_>>(row, 6)?.0),
            metadata: get::<Option<Json<'_>>>(row, 7)?.map(|json| Metadata::from_stored(json.0)),
            created_at: get(row, 8)?,
            updated_at: get(row, 9)?,
            created_by: name(row, 10)?,
            tenant: name(row, 11)?,
            correlation_id: name(row, 12)?,
            causation_id: name(row, 13)?,
            size_bytes: get::<Option<i32>>(row, 14)?.and_then(|size| u32::try_from(size).ok()),
            checksum: checksum(row, 15)?,
        })
    }

    fn aggregate(&mut self, row: &Row) -> Result<AggregateKey> {
        let id = get(row, 1)?;
        let aggregate_type: &str = get(row, 2)?;
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
        let name: &str = get(row, 5)?;
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
    match is_null(row, 4)? {
        true => snapshot_of(row, [0, 1, 2, 3, 5, 6, 8, 11, 15]).map(Some),
        false => Ok(None),
    }
}

fn snapshot_of(row: &Row, columns: [usize; 9]) -> Result<Snapshot> {
    let [id, aggregate, of_type, version, form, state, created_at, tenant, sum] = columns;
    Ok(Snapshot {
        snapshot_id: get(row, id)?,
        aggregate: AggregateKey::new(get::<&str>(row, of_type)?, get(row, aggregate)?)?,
        version: Version::try_from(get::<i64>(row, version)?)?,
        snapshot_type: get::<&str>(row, form)?.try_into()?,
        state: EventData::from_stored(get::<Json<'_>>(row, state)?.0),
        created_at: get(row, created_at)?,
        tenant: name(row, tenant)?,
        checksum: checksum(row, sum)?,
    })
}

/// A seal from the columns of `seals_after.sql`.
pub(crate) fn seal(row: &Row) -> Result<Seal> {
    Ok(Seal {
        global_sequence: GlobalSequence::try_from(get::<i64>(row, 0)?)?,
        events: count(row, 1)?,
        digest: get::<&str>(row, 2)?.parse()?,
        sealed_at: get(row, 3)?,
    })
}

/// A column.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        Error::invalid(format!("column {index}: {error}: {cause}")).with_source(error)
    })
}

/// Whether a column has no value.
pub(crate) fn is_null(row: &Row, index: usize) -> Result<bool> {
    struct Something;

    impl FromSql<'_> for Something {
        fn from_sql(_: &Type, _: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
            Ok(Self)
        }

        fn accepts(_: &Type) -> bool {
            true
        }
    }

    Ok(get::<Option<Something>>(row, index)?.is_none())
}

/// A column with a count.
pub(crate) fn count(row: &Row, index: usize) -> Result<u64> {
    u64::try_from(get::<i64>(row, index)?).map_err(|_| Error::invalid(format!("column {index} is negative")))
}

/// A column with a name, such as a tenant.
pub(crate) fn name<T: for<'a> TryFrom<&'a str, Error = Error>>(row: &Row, index: usize) -> Result<Option<T>> {
    get::<Option<&str>>(row, index)?.map(T::try_from).transpose()
}

/// A column with a checksum.
pub(crate) fn checksum(row: &Row, index: usize) -> Result<Option<Checksum>> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| Error::invalid(format!("{text:?} is not a checksum")))
    };
    get::<Option<&str>>(row, index)?.map(parse).transpose()
}

/// Each row, decoded.
pub(crate) fn decode<T>(rows: &[Row], decode: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    let decoded: Result<Vec<T>> = rows.iter().map(decode).collect();
    decoded.map_err(|error| backend::damaged(&error, None))
}

/// The microsecond that a time is in, within what PostgreSQL's times go back to: nothing that is stored is so old.
pub(crate) fn floor(time: OffsetDateTime) -> OffsetDateTime {
    OffsetDateTime::truncate_to_microsecond(backend::to_utc(time)).max(datetime!(0001-01-01 0:00 UTC))
}

/// The microsecond that a time is in, or the next one if the time is finer.
pub(crate) fn ceil(time: OffsetDateTime) -> OffsetDateTime {
    let floor = floor(time);
    if floor >= time {
        return floor;
    }
    floor.saturating_add(Duration::MICROSECOND)
}
