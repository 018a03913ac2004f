//! Options for opening a store.

use std::thread;
use std::time::Duration;

use firefly_eventstore_core::backend::DataRules;
use firefly_eventstore_core::{Indexes, Limits};

/// Options for opening a store: see [`SqliteBuilder`](crate::SqliteBuilder).
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

impl Options {
    pub(crate) fn data_rules(&self) -> DataRules {
        DataRules::new(self.limits, self.verify_on_read)
    }
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

/// What a commit survives once it is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// A power failure: each commit makes an `fsync`, which threads that append at the same time share. With [`JournalMode::Delete`], the
    /// directory is synced, too.
    #[default]
    Full,
    /// A crash of the program. A power failure may undo the last commits, but never damages the file.
    ///
    /// Later events get the sequences of the undone ones. So a follower may have read events that no longer exist, and its checkpoint may
    /// be beyond the end of the log. Its next read then fails with [`BeyondEnd`](firefly_eventstore_core::ErrorKind::BeyondEnd), unless new
    /// events have reached the checkpoint. Let the follower store the id of the last event with the checkpoint, and compare it when it
    /// starts. If the event at the checkpoint has another id, rebuild the read model from an older checkpoint, or from the beginning.
    Normal,
}

/// How SQLite makes a commit atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalMode {
    /// A write-ahead log beside the file: readers and the writer never wait for one another.
    #[default]
    Wal,
    /// A rollback journal beside the file, for file systems without support for a write-ahead log, such as a network drive.
    Delete,
    /// As [`Delete`](Self::Delete), but the journal is truncated instead of deleted.
    Truncate,
}
