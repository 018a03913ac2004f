//! Seals: digests of the log at points of its past, stored in the store or elsewhere.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;

use super::LogDigest;
use super::digest::Hashed;
use super::lines::parse_time;
use crate::values::timestamp::time_text;
use crate::{Error, EventStore, GlobalSequence, Result};

/// The digest of the log up to a sequence: a row of the table `firefly_seals`.
///
/// The digest covers the whole log up to the sequence, with everything that is stored of each event: it equals that of an
/// [`Export`](super::Export) up to this sequence. It continues the digest of the previous seal, so a seal covers all earlier events, and
/// sealing reads only new events.
///
/// A person who can write to the database can rewrite the seals along with the log. So keep the newest seal outside of the database. Its
/// text is one line, which [parses](str::parse) as a seal.
///
/// ```
/// use firefly_eventstore_core::operate::{Audit, Seal, seal};
/// use firefly_eventstore_core::{MemoryEventStore, prelude::*};
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
///
/// let kept: String = seal(&store, |_| {})?.to_string();
///
/// // Later: is the log still the one that was sealed?
/// let kept: Seal = kept.parse()?;
/// let audited = Audit::new().against(kept).run(&store, |_| {}, |finding| panic!("{finding}"))?;
/// assert_eq!((audited.seals, audited.unsealed), (1, 0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seal {
    /// The last sequence that is sealed.
    pub global_sequence: GlobalSequence,
    /// How many events the log had up to that sequence.
    pub events: u64,
    /// The digest of the log up to that sequence.
    pub digest: LogDigest,
    /// When it was sealed, by the clock of the sealing program, in UTC, to the microsecond. The digest does not cover it.
    pub sealed_at: OffsetDateTime,
}

impl Seal {
    /// For authors of backends: a row of `firefly_seals`.
    #[must_use]
    pub fn new(global_sequence: GlobalSequence, events: u64, digest: LogDigest, sealed_at: OffsetDateTime) -> Self {
        Self {
            global_sequence,
            events,
            digest,
            sealed_at,
        }
    }
}

/// The digest of a log that an audit found intact. Store it outside of the database: a later audit then finds every change of these events,
/// including the removal of the last ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remembered {
    /// The last sequence of the log.
    pub global_sequence: GlobalSequence,
    /// How many events the log had.
    pub events: u64,
    /// Its digest.
    pub digest: LogDigest,
}

impl Remembered {
    /// The log up to a sequence, from values that were stored elsewhere.
    #[must_use]
    pub fn new(global_sequence: GlobalSequence, events: u64, digest: LogDigest) -> Self {
        Self {
            global_sequence,
            events,
            digest,
        }
    }

    /// A log without events.
    pub(super) const NOTHING: Self = Self {
        global_sequence: GlobalSequence::ZERO,
        events: 0,
        digest: LogDigest::OF_NOTHING,
    };

    /// Adds the next event. An unreadable event is counted, too.
    pub(super) fn add(&mut self, hashed: &Hashed) -> Result<()> {
        self.events += 1;
        self.global_sequence = hashed.event.global_sequence;
        self.digest = self.digest.with_hashed(hashed)?;
        Ok(())
    }
}

/// The part of a seal that an audit compares with the log.
impl From<Seal> for Remembered {
    fn from(seal: Seal) -> Self {
        Self {
            global_sequence: seal.global_sequence,
            events: seal.events,
            digest: seal.digest,
        }
    }
}

/// The beginning of the line of a seal.
const NAME: &str = "firefly-seal";

/// One line without spaces: `firefly-seal/SEQUENCE/EVENTS/TIME/DIGEST`.
impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            global_sequence,
            events,
            digest,
            sealed_at,
        } = self;
        write!(
            f,
            "{NAME}/{global_sequence}/{events}/{}/{digest}",
            time_text(*sealed_at)
        )
    }
}

impl FromStr for Seal {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("{line:?} is not the line of a seal: it begins with {NAME}/"));
        let [NAME, sequence, events, sealed_at, digest] = line.trim().split('/').collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        let sequence: u64 = sequence.parse().map_err(|_| wrong())?;
        Ok(Self {
            global_sequence: GlobalSequence::new(sequence)?,
            events: events.parse().map_err(|_| wrong())?,
            digest: digest.parse()?,
            sealed_at: parse_time(sealed_at)?,
        })
    }
}

/// Whether the log ends before a sequence that it once had. The mark does not show that, because another store may have proved a greater
/// one.
pub(super) fn log_ends_before(store: &(impl EventStore + ?Sized), sequence: GlobalSequence) -> Result<bool> {
    Ok(store.statistics(None)?.current_global_sequence < sequence)
}
