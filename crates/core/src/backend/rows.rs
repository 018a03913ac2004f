//! Decoding of rows: every database returns the same columns in the same order.

use time::OffsetDateTime;
use uuid::Uuid;

use super::archived::{ArchivedStream, EventKey};
use super::damaged::damaged;
use super::head::Head;
use crate::consumer::{ConsumerSlot, Failing, Lease, ParkedEvent};
use crate::operate::{Archive, Remembered, Seal};
use crate::values::fingerprint::Fingerprint;
use crate::{
    AggregateActivity, AggregateKey, AggregateSummary, AggregateType, Checksum, Contents, Error, EventData,
    EventEnvelope, EventStatistics, EventType, EventTypeShare, GlobalSequence, LiveContents, Located, Metadata, Result,
    Snapshot, SnapshotStatistics, Statistics, Version,
};

/// The columns of a row, by their index from 0. An error names the column that has an unexpected value.
#[expect(
    clippy::missing_errors_doc,
    reason = "each has the same: a column that is not what is asked for"
)]
pub trait Columns {
    /// A text, or none if it is NULL.
    fn optional_text(&self, index: usize) -> Result<Option<&str>>;

    /// The text of a JSON value, not parsed; none if it is NULL.
    fn optional_json(&self, index: usize) -> Result<Option<&str>> {
        self.optional_text(index)
    }

    /// A whole number, or none if it is NULL.
    fn optional_integer(&self, index: usize) -> Result<Option<i64>>;

    /// An id, or none if it is NULL.
    fn optional_id(&self, index: usize) -> Result<Option<Uuid>>;

    /// A time, or none if it is NULL.
    fn optional_time(&self, index: usize) -> Result<Option<OffsetDateTime>>;

    /// A floating-point number.
    fn double(&self, index: usize) -> Result<f64>;

    /// How long a process still holds a slot, or none if it is NULL: a number of microseconds, where the database has the clock.
    fn lease(&self, index: usize) -> Result<Option<Lease>> {
        Ok(self.optional_integer(index)?.map(Lease::of_microseconds))
    }

    /// A fingerprint, which is stored as 32 bytes.
    fn fingerprint(&self, index: usize) -> Result<Fingerprint>;

    /// A truth value; a number other than 0 means true.
    fn boolean(&self, index: usize) -> Result<bool> {
        Ok(self.integer(index)? != 0)
    }

    /// A text.
    fn text(&self, index: usize) -> Result<&str> {
        required(self.optional_text(index)?, index)
    }

    /// The text of a JSON value, not parsed.
    fn json(&self, index: usize) -> Result<&str> {
        required(self.optional_json(index)?, index)
    }

    /// A whole number.
    fn integer(&self, index: usize) -> Result<i64> {
        required(self.optional_integer(index)?, index)
    }

    /// An id.
    fn id(&self, index: usize) -> Result<Uuid> {
        required(self.optional_id(index)?, index)
    }

    /// A time.
    fn time(&self, index: usize) -> Result<OffsetDateTime> {
        required(self.optional_time(index)?, index)
    }

    /// A count.
    fn count(&self, index: usize) -> Result<u64> {
        u64::try_from(self.integer(index)?).map_err(|_| Error::invalid(format!("column {index} is negative")))
    }

    /// A number that has fewer bits than the column.
    fn small<T: TryFrom<i64>>(&self, index: usize) -> Result<T> {
        let number = self.integer(index)?;
        T::try_from(number).map_err(|_| Error::invalid(format!("column {index} is {number}")))
    }

    /// A name, such as a tenant; none if it is NULL.
    fn name<T: for<'a> TryFrom<&'a str, Error = Error>>(&self, index: usize) -> Result<Option<T>> {
        self.optional_text(index)?.map(T::try_from).transpose()
    }

    /// A checksum, or none if it is NULL.
    fn checksum(&self, index: usize) -> Result<Option<Checksum>> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Error::invalid(format!("{text:?} is not a checksum")))
        };
        self.optional_text(index)?.map(parse).transpose()
    }

    /// A version.
    fn version(&self, index: usize) -> Result<Version> {
        Version::try_from(self.integer(index)?)
    }

    /// A global sequence.
    fn sequence(&self, index: usize) -> Result<GlobalSequence> {
        GlobalSequence::try_from(self.integer(index)?)
    }
}

fn required<T>(value: Option<T>, index: usize) -> Result<T> {
    value.ok_or_else(|| Error::invalid(format!("column {index} is NULL")))
}

/// Each row, decoded.
///
/// # Errors
///
/// [`Integrity`](crate::ErrorKind::Integrity) at the first row that `decode` refuses.
pub fn decode<R, T>(rows: &[R], decode: impl FnMut(&R) -> Result<T>) -> Result<Vec<T>> {
    let decoded: Result<Vec<T>> = rows.iter().map(decode).collect();
    decoded.map_err(|error| damaged(&error, None))
}

/// Reads the events of one query; types that repeat from row to row are shared.
#[derive(Debug, Default)]
pub struct EventDecoder {
    aggregate: Option<AggregateKey>,
    event_type: Option<EventType>,
}

impl EventDecoder {
    /// An event from the columns of `load.sql`.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity), with the event's global sequence if that can be read.
    pub fn event(&mut self, row: &impl Columns) -> Result<EventEnvelope> {
        self.try_event(row)
            .map_err(|error| damaged(&error, row.sequence(4).ok()))
    }

    fn try_event(&mut self, row: &impl Columns) -> Result<EventEnvelope> {
        Ok(EventEnvelope {
            event_id: row.id(0)?,
            aggregate: self.aggregate(row)?,
            version: row.version(3)?,
            global_sequence: row.sequence(4)?,
            event_type: self.event_type(row)?,
            data: EventData::from_stored(row.json(6)?),
            metadata: row.optional_json(7)?.map(Metadata::from_stored),
            created_at: row.time(8)?,
            updated_at: row.optional_time(9)?,
            created_by: row.name(10)?,
            tenant: row.name(11)?,
            correlation_id: row.name(12)?,
            causation_id: row.name(13)?,
            size_bytes: row.optional_integer(14)?.and_then(|size| u32::try_from(size).ok()),
            checksum: row.checksum(15)?,
        })
    }

    fn aggregate(&mut self, row: &impl Columns) -> Result<AggregateKey> {
        let id = row.id(1)?;
        let aggregate_type = row.text(2)?;
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

    fn event_type(&mut self, row: &impl Columns) -> Result<EventType> {
        let name = row.text(5)?;
        if let Some(known) = self.event_type.as_ref().filter(|known| **known == name) {
            return Ok(known.clone());
        }
        let event_type = EventType::new(name)?;
        self.event_type = Some(event_type.clone());
        Ok(event_type)
    }
}

/// A snapshot from the columns of `find_snapshots.sql`.
///
/// # Errors
///
/// [`Integrity`](crate::ErrorKind::Integrity) if it cannot be read.
pub fn snapshot(row: &impl Columns) -> Result<Snapshot> {
    snapshot_of(row, [0, 1, 2, 3, 4, 5, 6, 7, 8]).map_err(|error| damaged(&error, None))
}

/// A snapshot from the columns of `load_from_snapshot.sql`, which are those of an event; none if the row is one.
///
/// # Errors
///
/// [`Integrity`](crate::ErrorKind::Integrity) if it cannot be read.
pub fn snapshot_among_events(row: &impl Columns) -> Result<Option<Snapshot>> {
    let snapshot = || match row.optional_integer(4)? {
        None => snapshot_of(row, [0, 1, 2, 3, 5, 6, 8, 11, 15]).map(Some),
        Some(_) => Ok(None),
    };
    snapshot().map_err(|error| damaged(&error, None))
}

fn snapshot_of(row: &impl Columns, columns: [usize; 9]) -> Result<Snapshot> {
    let [id, aggregate, of_type, version, form, state, created_at, tenant, sum] = columns;
    Ok(Snapshot {
        snapshot_id: row.id(id)?,
        aggregate: AggregateKey::new(row.text(of_type)?, row.id(aggregate)?)?,
        version: row.version(version)?,
        snapshot_type: row.text(form)?.try_into()?,
        state: EventData::from_stored(row.json(state)?),
        created_at: row.time(created_at)?,
        tenant: row.name(tenant)?,
        checksum: row.checksum(sum)?,
    })
}

/// The statistics of snapshots, from the columns of `snapshot_statistics.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn snapshot_statistics(row: &impl Columns) -> Result<SnapshotStatistics> {
    Ok(SnapshotStatistics::new(
        row.count(0)?,
        row.count(1)?,
        row.count(2)?,
        row.optional_time(3)?,
        row.optional_time(4)?,
    ))
}

/// A seal from the columns of `seals_after.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn seal(row: &impl Columns) -> Result<Seal> {
    Ok(Seal {
        global_sequence: row.sequence(0)?,
        events: row.count(1)?,
        digest: row.text(2)?.parse()?,
        sealed_at: row.time(3)?,
    })
}

/// Whose an aggregate is and its version, from columns that begin at one: its type, its tenant, its version.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn head(row: &impl Columns, first: usize) -> Result<Head> {
    Ok(Head {
        aggregate_type: row.text(first)?.try_into()?,
        tenant: row.name(first + 1)?,
        version: row.version(first + 2)?,
    })
}

/// Where an event in the log is, from the columns of `locate.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn located(row: &impl Columns) -> Result<Located> {
    let contents = LiveContents {
        event_type: EventType::new(row.text(6)?)?,
        checksum: row.checksum(7)?,
        metadata: row.optional_json(8)?.map(Metadata::from_stored),
        created_at: row.time(9)?,
        created_by: row.name(10)?,
        correlation_id: row.name(11)?,
        causation_id: row.name(12)?,
    };
    located_with(row, Contents::Live(Box::new(contents)))
}

/// Where an archived event was, from the columns that `locate.sql` begins with, and the fingerprint in the column with this number.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn located_archived(row: &impl Columns, fingerprint: usize) -> Result<Located> {
    located_with(row, Contents::Archived(row.fingerprint(fingerprint)?))
}

fn located_with(row: &impl Columns, contents: Contents) -> Result<Located> {
    Ok(Located {
        event_id: row.id(0)?,
        aggregate: AggregateKey::new(row.text(2)?, row.id(1)?)?,
        tenant: row.name(3)?,
        version: row.version(4)?,
        global_sequence: row.sequence(5)?,
        contents,
    })
}

/// The key of an event in the log, from the columns of `live_key.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn event_key(row: &impl Columns) -> Result<EventKey> {
    Ok(EventKey {
        global_sequence: row.sequence(0)?,
        event_id: row.id(1)?,
        aggregate_id: row.id(2)?,
        version: row.version(3)?,
    })
}

/// The key and the fingerprint of an archived event, from the columns of `archived_key.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn archived_key(row: &impl Columns) -> Result<(EventKey, Fingerprint)> {
    Ok((event_key(row)?, row.fingerprint(4)?))
}

/// The archived beginning of a stream, from the columns of `archived_stream.sql`.
///
/// # Errors
///
/// [`Integrity`](crate::ErrorKind::Integrity) if it cannot be read.
pub fn archived_stream(row: &impl Columns) -> Result<ArchivedStream> {
    archived_stream_of(row, [0, 1, 2, 3, 4, 5, 6, 7]).map_err(|error| damaged(&error, None))
}

/// What of a stream is archived, from the columns of `load.sql`, which are those of an event; none if the row is one. It has no id. Its
/// last event's id is in the column of the event's type, its first sequence in that of the size.
///
/// # Errors
///
/// [`Integrity`](crate::ErrorKind::Integrity) if it cannot be read.
pub fn archived_among_events(row: &impl Columns) -> Result<Option<ArchivedStream>> {
    let archived = || match row.optional_id(0)? {
        None => archived_stream_of(row, [1, 2, 11, 3, 5, 14, 4, 8]).map(Some),
        Some(_) => Ok(None),
    };
    archived().map_err(|error| damaged(&error, None))
}

fn archived_stream_of(row: &impl Columns, columns: [usize; 8]) -> Result<ArchivedStream> {
    let [aggregate, of_type, tenant, version, last_event, first, last, until] = columns;
    Ok(ArchivedStream {
        aggregate: AggregateKey::new(row.text(of_type)?, row.id(aggregate)?)?,
        tenant: row.name(tenant)?,
        version: row.version(version)?,
        last_event_id: row.id(last_event)?,
        first_sequence: row.sequence(first)?,
        last_sequence: row.sequence(last)?,
        created_until: row.time(until)?,
    })
}

/// An archive from the columns of `archives.sql`.
///
/// # Errors
///
/// [`Integrity`](crate::ErrorKind::Integrity) if it cannot be read.
pub fn archive(row: &impl Columns) -> Result<Archive> {
    let read = || -> Result<Archive> {
        let last = row.sequence(2)?;
        let log = match row.optional_text(9)? {
            None => None,
            Some(digest) => Some(Remembered {
                global_sequence: last,
                events: row.count(8)?,
                digest: digest.parse()?,
            }),
        };
        Ok(Archive {
            digest: row.text(0)?.parse()?,
            first: row.sequence(1)?,
            last,
            events: row.count(3)?,
            created_from: row.time(4)?,
            created_until: row.time(5)?,
            location: row.text(6)?.to_owned(),
            archived_at: row.time(7)?,
            log,
            is_retired: row.boolean(10)?,
        })
    };
    read().map_err(|error| damaged(&error, None))
}

/// A slot of a consumer, from the columns of `consumer_slots.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn slot(row: &impl Columns) -> Result<ConsumerSlot> {
    let failing = match row.optional_integer(7)? {
        None => None,
        Some(sequence) => Some(Failing::new(
            GlobalSequence::try_from(sequence)?,
            row.small(8)?,
            row.optional_text(9)?.unwrap_or_default().to_owned(),
        )),
    };
    Ok(ConsumerSlot::new(
        row.text(0)?.to_owned(),
        row.small(1)?,
        row.sequence(2)?,
        row.integer(3)?,
        row.optional_id(4)?,
        row.lease(5)?,
        row.text(6)?.parse()?,
        failing,
        row.optional_text(10)?.map(str::to_owned),
        row.time(11)?,
    ))
}

/// A parked event, from the columns of `consumer_parked.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn parked_event(row: &impl Columns) -> Result<ParkedEvent> {
    Ok(ParkedEvent::new(
        row.text(0)?.to_owned(),
        row.sequence(1)?,
        row.id(2)?,
        row.small(3)?,
        row.text(4)?.to_owned(),
        row.time(5)?,
        row.boolean(6)?,
    ))
}

/// The totals of a log, from the columns of `totals.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn totals(row: &impl Columns) -> Result<Statistics> {
    Ok(Statistics {
        total_events: row.count(0)?,
        total_aggregates: row.count(1)?,
        current_global_sequence: row.sequence(2)?,
        unique_event_types: row.count(3)?,
        unique_aggregate_types: row.count(4)?,
        archived_events: row.count(5)?,
        ..Statistics::default()
    })
}

/// The share of an event type in a log of `total` events, from the columns of `event_type_distribution.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn event_type_share(row: &impl Columns, total: u64) -> Result<EventTypeShare> {
    Ok(EventTypeShare::new(row.text(0)?.try_into()?, row.count(1)?, total))
}

/// The aggregates of a type, from the columns of `aggregate_activity.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn aggregate_activity(row: &impl Columns) -> Result<AggregateActivity> {
    Ok(AggregateActivity {
        aggregate_type: row.text(0)?.try_into()?,
        aggregate_count: row.count(1)?,
        average_version: row.double(2)?,
        max_version: row.version(3)?,
    })
}

/// The events of a type, from the columns of `event_statistics.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn event_statistics(row: &impl Columns) -> Result<EventStatistics> {
    Ok(EventStatistics {
        aggregate_type: row.text(0)?.try_into()?,
        event_type: row.text(1)?.try_into()?,
        event_count: row.count(2)?,
        average_size_bytes: row.double(3)?,
        max_size_bytes: row.count(4)?,
        first_event_at: row.time(5)?,
        last_event_at: row.time(6)?,
        unique_aggregates: row.count(7)?,
    })
}

/// The summary of an aggregate, from the columns of `aggregate_summaries.sql`.
///
/// # Errors
///
/// If a column is not what it should be.
pub fn summary(row: &impl Columns) -> Result<AggregateSummary> {
    Ok(AggregateSummary {
        aggregate_id: row.id(0)?,
        aggregate_type: row.text(1)?.try_into()?,
        current_version: row.version(2)?,
        total_events: row.count(3)?,
        created_at: row.time(4)?,
        last_modified_at: row.time(5)?,
        total_size_bytes: row.count(6)?,
        tenant: row.name(7)?,
    })
}
