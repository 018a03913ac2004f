//! The digest of a log: the same for the same log, whatever database holds it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{CausationId, Checksum, CorrelationId, CreatedBy, Error, EventEnvelope, Metadata, Result, TenantId};

/// A chain of SHA-256 over the events of a log, in their order, with everything that was stored of them: ids, sequences,
/// versions, types, times, context, and the canonical JSON of data and metadata. Each event's link hashes the one before.
///
/// A database that reorders keys or respells numbers does not change it; the size of the text, which is the database's, is
/// left out. Two logs with the same digest are the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogDigest(Checksum);

impl LogDigest {
    /// The digest of a log without events.
    pub const OF_NOTHING: Self = Self(Checksum::from_bytes([0; 32]));

    /// The digest of the log that goes on with this event; and the checksum of the event's data, which had to be computed.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity) if its data or metadata is no JSON.
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

    fn link(self, event: &EventEnvelope, hashes: &Hashes) -> Self {
        let mut row = Row::after(self.0.as_bytes());
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
        Self(row.digest())
    }
}

/// An event, and the checksums of its JSON: they take most of the time that a digest takes, and need no other event.
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

    /// As [`EventEnvelope::verify`], which computes again only what does not match.
    pub(super) fn verify(&self) -> Result<()> {
        match &self.hashes {
            Ok(hashes) if self.event.checksum == Some(hashes.data) => Ok(()),
            _ => self.event.verify(),
        }
    }
}

impl Hashes {
    fn of(event: &EventEnvelope) -> Result<Self> {
        let damaged = |error: Error| Error::damaged(event, format!("its data or metadata is damaged: {error}"));
        let data = event.data.checksum().map_err(damaged)?;
        let metadata = event.metadata.as_ref().map(Metadata::checksum);
        let metadata = metadata.transpose().map_err(damaged)?;
        Ok(Self { data, metadata })
    }
}

/// The SHA-256 of a row, column by column, such that no two rows run together to the same bytes.
pub(crate) struct Row(Sha256);

impl Row {
    /// A row that goes on from other bytes.
    pub(crate) fn after(bytes: &[u8]) -> Self {
        Self(Sha256::new_with_prefix(bytes))
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    pub(crate) fn id(&mut self, id: Uuid) {
        self.0.update(id);
    }

    pub(crate) fn hash(&mut self, checksum: &Checksum) {
        self.0.update(checksum.as_bytes());
    }

    /// With its length before it; absent is not empty.
    pub(crate) fn text(&mut self, text: Option<&str>) {
        match text {
            None => self.number(u64::MAX),
            Some(text) => {
                self.number(text.len() as u64);
                self.0.update(text);
            }
        }
    }

    pub(crate) fn checksum(&mut self, checksum: Option<Checksum>) {
        match checksum {
            None => self.0.update([0]),
            Some(checksum) => {
                self.0.update([1]);
                self.hash(&checksum);
            }
        }
    }

    pub(crate) fn time(&mut self, time: Option<OffsetDateTime>) {
        match time {
            None => self.0.update([0]),
            Some(time) => {
                self.0.update([1]);
                self.0.update(time.unix_timestamp_nanos().to_be_bytes());
            }
        }
    }

    pub(crate) fn digest(self) -> Checksum {
        Checksum::from_bytes(self.0.finalize().into())
    }
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
