//! The digest of a log: the same for the same log, in any database.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::values::row::Row;
use crate::{CausationId, Checksum, CorrelationId, CreatedBy, Error, EventEnvelope, Metadata, Result, TenantId};

/// A chain of SHA-256 over the events of a log, in their order, with everything that is stored of them: ids, sequences, versions, types,
/// times, context, and the canonical JSON of data and metadata. Each event's link hashes the previous one.
///
/// A database that reorders keys or respells numbers does not change it. The size of the text depends on the database, and is left out. Two
/// logs with the same digest are the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogDigest(Checksum);

impl LogDigest {
    /// The digest of a log without events.
    pub const OF_NOTHING: Self = Self(Checksum::from_bytes([0; 32]));

    /// The digest of the log after this event, and the checksum of the event's data, which is computed for it.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity) if its data or metadata is not JSON.
    pub fn with(self, event: &EventEnvelope) -> Result<(Self, Checksum)> {
        let hashes = Hashes::of(event)?;
        Ok((self.link(event, &hashes), hashes.data))
    }

    /// As [`with`](Self::with), for an event that was hashed before.
    pub(super) fn with_hashed(self, hashed: &Hashed) -> Result<Self> {
        match &hashed.hashes {
            Ok(hashes) => Ok(self.link(&hashed.event, hashes)),
            Err(error) => Err(error.clone()),
        }
    }

    /// As [`with`](Self::with), for events that were hashed before.
    pub(super) fn with_rows(mut self, rows: &Rows) -> Self {
        let mut start = 0;
        for end in &rows.ends {
            let row = &rows.row.bytes()[start..*end];
            let hash = Sha256::new_with_prefix(self.0.as_bytes()).chain_update(row);
            self = Self(Checksum::from_bytes(hash.finalize().into()));
            start = *end;
        }
        self
    }

    fn link(self, event: &EventEnvelope, hashes: &Hashes) -> Self {
        let mut row = Row::after(self.0.as_bytes());
        add(&mut row, event, hashes);
        Self(row.digest())
    }
}

/// The input of a digest for several events. Computing it takes most of the time, and needs no other event.
pub(super) struct Rows {
    row: Row,
    /// Where the row of each event ends.
    ends: Vec<usize>,
}

impl Rows {
    /// The rows of events, up to the first whose data or metadata is not JSON.
    pub(super) fn of(events: &[EventEnvelope]) -> Result<Self> {
        let mut row = Row::after(&[]);
        let mut ends = Vec::with_capacity(events.len());
        for event in events {
            add(&mut row, event, &Hashes::of(event)?);
            ends.push(row.bytes().len());
        }
        Ok(Self { row, ends })
    }
}

/// An event, and the checksums of its JSON. Computing these takes most of the time of a digest, and needs no other event.
pub(super) struct Hashed {
    pub(super) event: EventEnvelope,
    hashes: Result<Hashes>,
}

#[derive(Clone, Copy)]
struct Hashes {
    data: Checksum,
    metadata: Option<Checksum>,
}

impl Hashed {
    pub(super) fn of(event: EventEnvelope) -> Self {
        let hashes = Hashes::of(&event);
        Self { event, hashes }
    }

    pub(super) fn all(events: Vec<EventEnvelope>) -> Vec<Self> {
        events.into_iter().map(Self::of).collect()
    }

    /// As [`EventEnvelope::verify`], but only computes again what does not match.
    pub(super) fn verify(&self) -> Result<()> {
        match &self.hashes {
            Ok(hashes) if self.event.checksum == Some(hashes.data) => Ok(()),
            _ => self.event.verify(),
        }
    }
}

impl Hashes {
    fn of(event: &EventEnvelope) -> Result<Self> {
        let damaged = |error: Error| event.damaged(format!("its data or metadata is damaged: {error}"));
        let data = event.data.checksum().map_err(damaged)?;
        let metadata = event.metadata.as_ref().map(Metadata::checksum);
        let metadata = metadata.transpose().map_err(damaged)?;
        Ok(Self { data, metadata })
    }
}

/// Adds to a row everything that is stored of an event, except the size of its text.
fn add(row: &mut Row, event: &EventEnvelope, hashes: &Hashes) {
    row.number(event.global_sequence.get());
    row.id(event.event_id);
    row.id(event.aggregate.id());
    row.number(event.version.get());
    row.text(Some(event.aggregate.aggregate_type().as_str()));
    row.text(Some(event.event_type.as_str()));
    row.hash(&hashes.data);
    row.checksum(hashes.metadata);
    row.checksum(event.checksum);
    row.time(Some(event.created_at));
    row.time(event.updated_at);
    row.text(event.created_by.as_ref().map(CreatedBy::as_str));
    row.text(event.tenant.as_ref().map(TenantId::as_str));
    row.text(event.correlation_id.as_ref().map(CorrelationId::as_str));
    row.text(event.causation_id.as_ref().map(CausationId::as_str));
}

/// As 64 hexadecimal digits.
impl fmt::Display for LogDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LogDigest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digest = text.parse();
        digest
            .map(Self)
            .map_err(|_| Error::invalid(format!("{text:?} is not a digest: 64 hexadecimal digits")))
    }
}
