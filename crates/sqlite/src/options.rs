//! How a store is opened.

use std::thread;
use std::time::Duration;

use firefly_eventstore_core::{Indexes, Limits};

/// How a store is opened: see [`SqliteBuilder`](crate::SqliteBuilder).
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) synchronous: Synchronous,
    pub(crate) journal_mode: JournalMode,
    pub(crate) busy_timeout: Duration,
    pub(crate) readers: u32,
    pub(crate) read_only: bool,
    /// Whether SQLite is told that the file does not change: see [`crate::pool::open`].
    pub(crate) immutable: bool,
    pub(crate) migrate_on_open: bool,
    pub(crate) indexes: Option<Indexes>,
    pub(crate) verify_on_read: bool,
    pub(crate) limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            journal_mode: JournalMode::Wal,
            busy_timeout: Duration::from_secs(5),
            readers: thread::available_parallelism().map_or(4, |cores| cores.get().clamp(4, 16) as u32),
            read_only: false,
            immutable: false,
            migrate_on_open: false,
            indexes: None,
            verify_on_read: false,
            limits: Limits::PORTABLE,
        }
    }
}

/// How sure a commit is before it is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// It survives a power failure: an `fsync` for each commit, which all threads that append at once share. With
    /// [`JournalMode::Delete`] the directory is synced too.
    #[default]
    Full,
    /// It survives a crash of the program; a power failure may undo the last commits, never damage the file.
    ///
    /// The next events get the sequences of the undone ones. So a follower may have read events that no longer exist, and its checkpoint
    /// may be beyond the end of the log: its next read is then refused with [`BeyondEnd`](firefly_eventstore_core::ErrorKind::BeyondEnd),
    /// unless new events have come as far meanwhile. Let the follower keep the id of the last event beside the checkpoint, and compare it
    /// when it starts. If the event at the checkpoint has another id, rebuild the read model from an older checkpoint, or from the
    /// beginning.
    Normal,
}

/// How SQLite makes a commit atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalMode {
    /// A write-ahead log beside the file: readers and the writer never wait for one another.
    #[default]
    Wal,
    /// A rollback journal beside the file, for places where a write-ahead log cannot be, such as a network drive.
    Delete,
    /// As [`Delete`](Self::Delete), but the journal is truncated instead of deleted.
    Truncate,
}
