//! Operating a store: export, import, restore, audit, maintenance.
//!
//! What a program needs every day is in [`EventStore`] and [`EventStoreExt`](crate::EventStoreExt); what its operator needs now
//! and then is here. [`Operations`] is what a backend offers for it; the rest works over any store:
//!
//! | to | use |
//! |---|---|
//! | write the log into a file, whole or what came since | [`Export`] |
//! | bring such a file into a store, whatever database it came from | [`Import`] |
//! | copy a store's past into another store | [`restore`] |
//! | find out whether what is stored is what was stored | [`Audit`] |
//! | make changes of the past, and missing events, be found out | [`seal`](seal()) |
//! | forget old snapshots | [`prune_snapshots`] |
//!
//! ```
//! use std::io::Cursor;
//!
//! use firefly_eventstore_core::operate::{Export, Import};
//! use firefly_eventstore_core::{prelude::*, MemoryEventStore};
//!
//! let (here, there) = (MemoryEventStore::new(), MemoryEventStore::new());
//! let account = AggregateKey::new("Account", Uuid::now_v7())?;
//! here.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
//!
//! let mut file = Vec::new();
//! let exported = Export::new().json_lines(&here, &mut file, |_| {})?;
//! let imported = Import::new().json_lines(&there, Cursor::new(file), |_| {})?;
//! assert_eq!(imported.digest, exported.digest);
//! assert_eq!(there.load(&account)?, here.load(&account)?);
//! # Ok::<(), Error>(())
//! ```

mod audit;
mod consumers;
mod diagnose;
mod digest;
mod export;
mod import;
mod lines;
mod progress;
mod restore;
mod seal;
mod snapshots;

pub use audit::{Audit, Audited, Finding, FindingKind, Remembered};
pub use consumers::CONSUMERS;
pub use diagnose::diagnose;
pub use digest::LogDigest;
pub use export::{Export, Exported};
pub use import::{CheckedExport, Import, Imported};
pub use progress::Progress;
pub use restore::{RestorePoint, restore};
pub use seal::{Seal, seal};
pub use snapshots::prune_snapshots;

pub(crate) use digest::Row;
pub(crate) use import::Streams;

use crate::consumer::ConsumerStore;
use crate::{Error, EventEnvelope, EventStore, GlobalSequence, Result, Snapshot, SnapshotStore};

/// What a backend does for its operator. Needs more rights than a program does: to change tables, to see statistics.
///
/// Implement it to make a backend's log movable and its state visible; the functions of [this module](self) need no more.
pub trait Operations: EventStore + SnapshotStore + ConsumerStore {
    /// Stores events exactly as they are, with the sequences, versions, times and checksums that they have, in one
    /// transaction: all of them, or none. Other writers wait, or are refused and may repeat.
    ///
    /// They are to be in the order of their sequences, all after the last sequence of the log; each aggregate's versions go on
    /// where the aggregate is. What is appended later gets later sequences. Readers never see a part of it, and skip nothing.
    /// [`Import`] skips what is there already, and calls this for what is not.
    ///
    /// # Errors
    ///
    /// - [`Contradiction`](crate::ErrorKind::Contradiction) if the log does not end before the first event, an aggregate is at
    ///   another version or is somebody else's, or an event id is stored already;
    /// - [`Integrity`](crate::ErrorKind::Integrity) if data does not match its checksum;
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) for what the store's limits refuse, or events in another order;
    /// - those of the backend.
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()>;

    /// Copies the log as it was at a point into a new table `events_restored` of the same database, which has the columns of
    /// `events` and no part in the store, and returns how many events it holds.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is such a table: drop or rename it first. Those of the backend.
    fn restore_table(&self, point: RestorePoint) -> Result<u64>;

    /// The snapshots of every aggregate, whatever its tenant, ordered by the aggregate's id, the version and the form; those after one,
    /// which may be gone by now, at most so many.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>>;

    /// Stores a seal, unless there is one at its sequence: that one stays. [`seal`](seal()) makes them.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn insert_seal(&self, seal: &Seal) -> Result<()>;

    /// The seals after a sequence, in their order, at most so many.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn seals_after(&self, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>>;

    /// The last seals, the newest first, at most so many.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn newest_seals(&self, limit: u32) -> Result<Vec<Seal>>;

    /// Brings what the planner knows of the tables up to date, and returns what was done. Locks nobody out.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn update_statistics(&self) -> Result<String>;

    /// Gives back the room that deleted and updated rows left, and returns what was done. May take long, and the room of a copy;
    /// does not keep readers and writers waiting where the database can do without.
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

    /// Lets the database check its own structures as far as it can, and compares what is to agree with the log: where the next
    /// sequence comes from, and the keys of every table. Reads everything.
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
    /// - [`BeyondEnd`](crate::ErrorKind::BeyondEnd) if the log ends before the mark that was published: events that were there are gone;
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

/// An index, and what use it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexUsage {
    /// The table it is on.
    pub table: String,
    /// Its name.
    pub name: String,
    /// How many bytes it takes; none where the database does not tell.
    pub bytes: Option<u64>,
    /// How often it was read since the database began to count; none where the database does not count.
    pub scans: Option<u64>,
    /// Whether it is there, and whose it is.
    pub state: IndexState,
}

/// Whether an index is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IndexState {
    /// The store's own, and there.
    Present,
    /// The store's own for the indexes that were chosen, but not there, or not usable: `migrate()` makes those again that a choice
    /// may leave out.
    Missing,
    /// Somebody else's.
    Foreign,
}

/// What was found out about one thing that matters to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, such as `synchronous_commit`.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do, if there is something to do.
    pub advice: Option<String>,
}

impl Diagnosis {
    /// Something that is as it should be.
    #[must_use]
    pub fn good(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            severity: Severity::Good,
            subject: subject.into(),
            found: found.into(),
            advice: None,
        }
    }

    /// Something that is not as it should be, and what to do.
    #[must_use]
    pub fn bad(
        severity: Severity,
        subject: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            subject: subject.into(),
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Worth a thought: it costs time or room.
    Notice,
    /// It will go wrong some day.
    Warning,
    /// What was stored may be lost, or nothing can be stored.
    Danger,
}
