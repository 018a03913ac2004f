//! Archives: files with parts of the log.

use std::ops::RangeInclusive;

use time::OffsetDateTime;

use super::LogDigest;
use super::seal::Remembered;
use crate::{Error, ErrorKind, GlobalSequence};

/// A file with a part of the log: a row of the table `firefly_archives`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Archive {
    /// The digest of its events, which identifies it.
    pub digest: LogDigest,
    /// The sequence of its first event.
    pub first: GlobalSequence,
    /// The sequence of its last event.
    pub last: GlobalSequence,
    /// How many events it has.
    pub events: u64,
    /// When the earliest of them was created.
    pub created_from: OffsetDateTime,
    /// When the latest of them was created.
    pub created_until: OffsetDateTime,
    /// The location of the file, as the operator named it.
    pub location: String,
    /// When it was made, by the clock of the program that made it.
    pub archived_at: OffsetDateTime,
    /// The count and the digest of the whole log up to its last event, if the archive is a range that begins the log or follows the
    /// previous range. Seals and audits continue from there.
    pub log: Option<Remembered>,
    /// Whether all its events are removed from the log. If not, [`retire`](super::retire) or [`attach`](super::attach) is running, or was
    /// interrupted.
    pub is_retired: bool,
}

impl Archive {
    /// For authors of backends: an archive of streams whose events are still in the log. For others, set [`log`](Self::log) and
    /// [`is_retired`](Self::is_retired).
    #[must_use]
    pub fn new(
        digest: LogDigest,
        sequences: RangeInclusive<GlobalSequence>,
        events: u64,
        created: RangeInclusive<OffsetDateTime>,
        location: impl Into<String>,
        archived_at: OffsetDateTime,
    ) -> Self {
        Self {
            digest,
            first: *sequences.start(),
            last: *sequences.end(),
            events,
            created_from: *created.start(),
            created_until: *created.end(),
            location: location.into(),
            archived_at,
            log: None,
            is_retired: false,
        }
    }

    /// The error of a read that needs its events.
    #[must_use]
    pub fn needed(&self) -> Error {
        needed(self.first, self.last, std::slice::from_ref(self))
    }
}

/// The error of a read that needs archived events with these sequences. `archives` contain them.
pub(crate) fn needed(first: GlobalSequence, last: GlobalSequence, archives: &[Archive]) -> Error {
    let locations: Vec<&str> = archives.iter().map(|archive| archive.location.as_str()).collect();
    Error::new(ErrorKind::Archived {
        first,
        last,
        location: locations.join(", ").into(),
    })
}

/// The end of the ranges that were archived one after the other from the beginning of the log.
pub(super) fn end_of_ranges(archives: &[Archive]) -> GlobalSequence {
    archived_log(archives).map_or(GlobalSequence::ZERO, |log| log.global_sequence)
}

/// The log up to the end of the ranges that were archived one after the other.
pub(super) fn archived_log(archives: &[Archive]) -> Option<Remembered> {
    let logs = archives.iter().filter_map(|archive| archive.log);
    logs.max_by_key(|log| log.global_sequence)
}
