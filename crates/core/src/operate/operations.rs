//! The operations that a backend implements for its operator.

use time::OffsetDateTime;
use uuid::Uuid;

use super::LogDigest;
use super::archive::Archive;
use super::diagnosis::Diagnosis;
use super::finding::Finding;
use super::index::IndexUsage;
use super::seal::Seal;
use crate::backend::ArchivedStream;
use crate::consumer::ConsumerStore;
use crate::{Error, EventEnvelope, EventStore, GlobalSequence, Result, Snapshot, SnapshotStore};

/// The operations that a backend implements for its operator. They need more rights than a program: to change tables, to see statistics.
///
/// Implement it to make a backend's log movable and its state visible; the functions of [this module](super) need no more.
pub trait Operations: EventStore + SnapshotStore + ConsumerStore {
    /// Stores events exactly as they are, with the sequences, versions, times and checksums that they have, in one
    /// transaction: all of them, or none. Other writers wait, or are refused and may repeat.
    ///
    /// They must be in the order of their sequences, all after the last sequence of the log, and each aggregate's versions must follow its
    /// current one. Later appends get later sequences. Readers see all of the events or none, and skip nothing. [`Import`](super::Import)
    /// calls this for events that are not stored yet.
    ///
    /// # Errors
    ///
    /// - [`Contradiction`](crate::ErrorKind::Contradiction) if the log does not end before the first event, an aggregate is at
    ///   another version or is somebody else's, or an event id is stored already;
    /// - [`Integrity`](crate::ErrorKind::Integrity) if data does not match its checksum;
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) for what the store's limits refuse, or events in another order;
    /// - those of the backend.
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()>;

    /// Copies the log as it was at a point into a new table `events_restored` of the same database. The table has the columns of `events`;
    /// the store does not use it. Returns how many events it holds.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is such a table: drop or rename it first.
    /// [`Archived`](crate::ErrorKind::Archived) if a part of the log is archived: attach it first. Those of the backend.
    fn restore_table(&self, point: RestorePoint) -> Result<u64>;

    /// The snapshots of all aggregates of all tenants, ordered by aggregate id, version and form: at most `limit`, after the snapshot
    /// `after`, which may have been deleted.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>>;

    /// Stores a seal, unless there is already one at its sequence. [`seal`](super::seal()) makes seals.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn insert_seal(&self, seal: &Seal) -> Result<()>;

    /// The seals after a sequence, in their order, up to a number.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn seals_after(&self, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>>;

    /// The last seals, the newest first, up to a number.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn newest_seals(&self, limit: u32) -> Result<Vec<Seal>>;

    /// The archives of the store, in the order of their first sequences. None, unless the backend implements this and the methods that
    /// follow it.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn archives(&self) -> Result<Vec<Archive>> {
        Ok(Vec::new())
    }

    /// The archived beginning of an aggregate's stream; none if no event is archived.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn archived_stream(&self, aggregate_id: Uuid) -> Result<Option<ArchivedStream>> {
        let _ = aggregate_id;
        Ok(None)
    }

    /// Records an archive, or the location and the state of the one with the same digest. [`retire`](super::retire) and
    /// [`attach`](super::attach) do it.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn record_archive(&self, archive: &Archive) -> Result<()> {
        let _ = archive;
        Err(does_not_archive())
    }

    /// Forgets an archive whose events are back in the log.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn forget_archive(&self, digest: &LogDigest) -> Result<()> {
        let _ = digest;
        Err(does_not_archive())
    }

    /// Moves events, which are in the order of their sequences, out of the log and keeps their keys, in one transaction: all of them, or
    /// none. What is archived already is skipped. Returns how many it moved. [`retire`](super::retire) calls it for some hundred events
    /// at once.
    ///
    /// Other writers wait, or are refused and may repeat: an append that began before must not take a version or an id a second time.
    /// [`admit_retirement`](crate::backend::admit_retirement) decides what is moved.
    ///
    /// # Errors
    ///
    /// - [`Contradiction`](crate::ErrorKind::Contradiction) if the store holds something else at the same place;
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), which is retryable, if other writers do not let it;
    /// - those of the backend.
    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let _ = events;
        Err(does_not_archive())
    }

    /// Moves archived events, which are in the order of their sequences, back into the log as they were, in one transaction: all of them,
    /// or none. What is in the log already is skipped. Returns how many it moved. [`attach`](super::attach) calls it, the newest events
    /// first. [`admit_attachment`](crate::backend::admit_attachment) decides what is moved.
    ///
    /// # Errors
    ///
    /// As [`retire_events`](Self::retire_events).
    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let _ = events;
        Err(does_not_archive())
    }

    /// Updates the planner's statistics of the tables, and returns what was done. Readers and writers do not wait.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn update_statistics(&self) -> Result<String>;

    /// Where the log is divided into [partitions](crate::Partitions), makes those that it needs next, and returns what was done; `None`
    /// where it is one table. Call it more often than a partition fills, such as every hour.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), which is retryable, if readers and writers do not let it; appends go on, into the last
    ///   partition, and the next call makes up for it;
    /// - those of the backend.
    fn add_partitions(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Frees the space of deleted and updated rows, and returns what was done. This may take long, and needs space for a copy of the tables.
    /// Readers and writers wait only if the database cannot avoid it.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn vacuum(&self) -> Result<String>;

    /// The indexes of the store's tables: how large they are, how much they are used, and whether they are all there.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn index_usage(&self) -> Result<Vec<IndexUsage>>;

    /// Lets the database check its own structures, as far as it can. Also compares the next sequence and the keys of every table with the
    /// log. Reads everything.
    ///
    /// # Errors
    ///
    /// Those of the backend, when it cannot check; what it finds is returned.
    fn check_storage(&self) -> Result<Vec<Finding>>;

    /// Proves the high-water mark and publishes it: stores it in a row of the database, up to which stores on replicas read that are
    /// opened with `read_replica`. A published mark never goes back. Returns the mark that is published now.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) on a database that has no replicas to read from;
    /// - [`ReadOnly`](crate::ErrorKind::ReadOnly) in a store that was opened with `read_replica`;
    /// - [`BeyondEnd`](crate::ErrorKind::BeyondEnd) if the log ends before the mark that was published: events were lost;
    /// - those of [`high_water_mark`](EventStore::high_water_mark), and of the backend.
    fn publish_mark(&self) -> Result<GlobalSequence> {
        Err(Error::invalid(
            "a mark is published for replicas of PostgreSQL, MySQL and MariaDB; this database has none",
        ))
    }

    /// Looks at the server, the schema and the settings, and says of each whether it is as it should be.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn diagnose(&self) -> Result<Vec<Diagnosis>>;
}

/// The refusal of a backend that keeps all its events.
fn does_not_archive() -> Error {
    Error::invalid("this store archives nothing")
}

/// A point in the history of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePoint {
    /// After the event with this global sequence, which is included.
    Sequence(GlobalSequence),
    /// At this time, inclusive: of each aggregate, what comes before its first event that was created later. Times are not always in
    /// the order of the log, and an aggregate keeps no gap.
    Time(OffsetDateTime),
}

impl From<GlobalSequence> for RestorePoint {
    fn from(sequence: GlobalSequence) -> Self {
        Self::Sequence(sequence)
    }
}

impl From<OffsetDateTime> for RestorePoint {
    fn from(time: OffsetDateTime) -> Self {
        Self::Time(time)
    }
}
