//! The operations that a backend implements for its operator.

use std::ops::RangeInclusive;

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

/// The operations that a backend implements for its operator. They need more rights than a program has: to change tables, to read
/// statistics.
///
/// Implement it so that logs can be moved and a store can be inspected. The functions of [this module](super) need nothing more.
pub trait Operations: EventStore + SnapshotStore + ConsumerStore {
    /// Stores events unchanged, with their sequences, versions, times and checksums, in one transaction: all of them, or none. Other
    /// writers wait, or are refused and may repeat.
    ///
    /// They must be in the order of their sequences, all after the last sequence of the log, and each aggregate's versions must follow its
    /// current one. Later appends get later sequences. Readers see all of the events or none, and skip nothing. [`Import`](super::Import)
    /// calls this for events that are not stored yet.
    ///
    /// # Errors
    ///
    /// - [`Contradiction`](crate::ErrorKind::Contradiction) if the log does not end before the first event, an aggregate has another
    ///   version or owner, or an event id is already stored;
    /// - [`Integrity`](crate::ErrorKind::Integrity) if data does not match its checksum;
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) for events beyond the store's limits, or in another order;
    /// - those of the backend.
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()>;

    /// Copies the log up to a past point into a new table `events_restored` of the same database. The table has the columns of `events`;
    /// the store does not use it. Returns the number of its events.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is already such a table: drop or rename it first.
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

    /// The archives of the store, in the order of their first sequences. None, unless the backend implements this and the following
    /// methods.
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

    /// Records an archive. If its digest is already recorded, updates the location and the state. [`retire`](super::retire) and
    /// [`attach`](super::attach) call this.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn record_archive(&self, archive: &Archive) -> Result<()> {
        let _ = archive;
        Err(does_not_archive())
    }

    /// Deletes the record of an archive whose events are back in the log.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn forget_archive(&self, digest: &LogDigest) -> Result<()> {
        let _ = digest;
        Err(does_not_archive())
    }

    /// Moves events, in the order of their sequences, out of the log and keeps their keys, in one transaction: all of them, or none.
    /// Archived events are skipped. Returns how many it moved. [`retire`](super::retire) calls it for 200 to 800 events at a time: fewer if
    /// it takes more than 20 ms, and with a pause after it.
    ///
    /// Other writers wait, or are refused and may repeat: an append that began earlier must not use a version or an id a second time.
    /// [`admit_retirement`](crate::backend::admit_retirement) decides what is moved.
    ///
    /// # Errors
    ///
    /// - [`Contradiction`](crate::ErrorKind::Contradiction) if the store has another event at the same position;
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), which is retryable, if other writers prevent it;
    /// - those of the backend.
    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let _ = events;
        Err(does_not_archive())
    }

    /// Begins to move events of an archive out of the log all at once, or continues after an interruption; `None` if all that are left have to
    /// be moved by [`retire_events`](Self::retire_events). [`retire`](super::retire) calls it after it recorded the archive, and again after
    /// each time that events left.
    ///
    /// A backend implements this if a part of its log can be detached as a whole, such as a partition of a table. While the detachment exists,
    /// nobody else moves events.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), which is retryable, if another process moves events;
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if that of another archive was interrupted;
    /// - those of the backend.
    fn detachment(&self, archive: &Archive) -> Result<Option<Box<dyn Detachment + '_>>> {
        let _ = archive;
        Ok(None)
    }

    /// Moves archived events, in the order of their sequences, back into the log, unchanged, in one transaction: all of them, or none.
    /// Events in the log are skipped. Returns how many it moved. [`attach`](super::attach) calls it, the newest events first.
    /// [`admit_attachment`](crate::backend::admit_attachment) decides what is moved.
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

    /// Adds the [partitions](crate::Partitions) that a partitioned log needs next, and returns what was done; `None` if the log is one
    /// table. Call it more often than a partition fills, such as every hour. A month's partition ends with the first call of the next month.
    /// Appends wait for some milliseconds on PostgreSQL, for up to two seconds in each of five attempts on MySQL and MariaDB.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), which is retryable, if readers and writers prevent it. Appends continue into the
    ///   last partition, and the next call adds the partitions;
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) on MySQL and MariaDB, if the last partition has more than 10,000 events already
    ///   (the error has the statement to run), or on a node of a Galera cluster;
    /// - [`ReadOnly`](crate::ErrorKind::ReadOnly) from a store that reads from a replica;
    /// - those of the backend.
    fn add_partitions(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Joins old partitions of a log that has more than about 24, so that their number stays small although the log grows. Returns what was done,
    /// or what prevented it; `None` if there was nothing to do. Call it after [`add_partitions`](Self::add_partitions), such as every day; the
    /// tool's `maintain` does. PostgreSQL has it.
    ///
    /// A call works for a bounded time, which depends on the size of the partitions. After an interruption, the next one continues.
    ///
    /// # Errors
    ///
    /// - [`StorageFull`](crate::ErrorKind::StorageFull), and others of the backend: nothing is changed;
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), which is retryable;
    /// - [`ReadOnly`](crate::ErrorKind::ReadOnly) from a store that reads from a replica.
    fn join_partitions(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Frees the space of deleted and updated rows, and returns what was done. This may take long, and needs space for a copy of the tables.
    /// Readers and writers wait only if the database cannot avoid it.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn vacuum(&self) -> Result<String>;

    /// The indexes of the store's tables: their size, their use, and whether each exists.
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
    /// Those of the backend, if it cannot check. Damage is returned as findings.
    fn check_storage(&self) -> Result<Vec<Finding>>;

    /// Proves the high-water mark and publishes it: stores it in a row of the database. Stores on replicas that are opened with
    /// `read_replica` read up to it. A published mark never goes back. Returns the published mark.
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

    /// Checks the server, the schema and the settings, and returns a finding for each.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn diagnose(&self) -> Result<Vec<Diagnosis>>;
}

/// Events of an archive that leave the log all at once: see [`Operations::detachment`].
///
/// After an error, or if it is dropped before its end, the preparation is undone, unless the database cannot be reached.
pub trait Detachment {
    /// The sequences of the first and the last of these events. All events of the log between them are in the archive.
    fn sequences(&self) -> RangeInclusive<GlobalSequence>;

    /// Prepares some of these events, in the order of their sequences: stores their keys. The events stay in the log. Appends do not wait.
    /// Prepared events are skipped.
    ///
    /// # Errors
    ///
    /// As [`Operations::retire_events`].
    fn prepare(&mut self, events: &[EventEnvelope]) -> Result<()>;

    /// Removes the events from the log in one step, after all were prepared. Returns false if that was not possible: the events are still in
    /// the log, and nothing is prepared.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable), which is retryable, and those of the backend. The events may have left the log
    /// already: begin again.
    fn detach(self: Box<Self>) -> Result<bool>;
}

/// The error of a backend that does not archive.
fn does_not_archive() -> Error {
    Error::invalid("this store archives nothing")
}

/// A point in the history of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePoint {
    /// The log up to this global sequence, inclusive.
    Sequence(GlobalSequence),
    /// The log up to this time, inclusive: for each aggregate, the events before its first later one. Times are not always in the order of
    /// the log; this way no stream has a gap.
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
