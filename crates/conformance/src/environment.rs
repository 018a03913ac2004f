//! Where the cases run: an environment hands out stores on one database, and does to it what no store would.

use std::sync::Arc;

use firefly_eventstore_core::consumer::BoxError;
use firefly_eventstore_core::operate::{Operations, Seal};
use firefly_eventstore_core::{EventEnvelope, GlobalSequence, Limits, Result, Snapshot};
use uuid::Uuid;

use crate::ability::{Ability, missing};

/// A store of any backend. One that lacks some of the traits becomes a [`Partial`](crate::Partial).
pub type Handle = Arc<dyn Operations>;

/// The type of the event that a database refuses: see [`Environment::break_at`].
pub const FAULTY: &str = "suite.faulty";

/// One fresh database, and what a case may do to it. Dropping it leaves nothing behind.
///
/// [`store`](Self::store) and [`reopen`](Self::reopen) are all that a backend must have. The other methods are for what some cases need
/// besides: implement those that make sense, and name the rest in [`lacks`](Self::lacks). A case that needs a lacking ability is
/// reported as not applicable. A case that needs an ability that is neither implemented nor named fails, and says which method to implement.
pub trait Environment {
    /// The store, as it is by default.
    fn store(&self) -> Handle;

    /// The same database through a second store, as another process would open it; in memory, a second handle.
    fn reopen(&self) -> Handle;

    /// What the backend cannot do, or this environment cannot do to it. All else is tested.
    fn lacks(&self) -> &[Ability] {
        &[]
    }

    /// The same database through a store with other limits.
    fn store_with(&self, limits: Limits) -> Handle {
        let _ = limits;
        missing(Ability::Limits)
    }

    /// The most that the database keeps exactly, with limits lifted as far as they go. It keeps JSON as text by default.
    fn widest_limits(&self) -> Limits {
        Limits::TEXT
    }

    /// The same database through a store that verifies whatever it reads.
    fn verifying_store(&self) -> Handle {
        missing(Ability::Verification)
    }

    /// Damages an event behind the store's back.
    fn damage(&self, event: Uuid, damage: &Damage<'_>) {
        let _ = (event, damage);
        missing(Ability::Damage)
    }

    /// Replaces the whole log without the store's knowledge, as a person with write access to the database could.
    fn rewrite_log(&self, events: &[EventEnvelope]) {
        let _ = events;
        missing(Ability::Rewriting)
    }

    /// Replaces all snapshots behind the store's back.
    fn rewrite_snapshots(&self, snapshots: &[Snapshot]) {
        let _ = snapshots;
        missing(Ability::Rewriting)
    }

    /// Replaces all seals behind the store's back.
    fn rewrite_seals(&self, seals: &[Seal]) {
        let _ = seals;
        missing(Ability::Rewriting)
    }

    /// From now on the database itself fails when an event of the type [`FAULTY`] is written, which every append of the
    /// case has at this position of its events, from 1.
    fn break_at(&self, position: u64) {
        let _ = position;
        missing(Ability::Faults)
    }

    /// Undoes [`break_at`](Self::break_at).
    fn repair(&self) {
        missing(Ability::Faults)
    }

    /// Leaves a hole in the log before its last event, as a rolled-back transaction does, and returns the sequence that is
    /// missing. Every event must belong to an aggregate of its own.
    fn make_hole(&self) -> GlobalSequence {
        missing(Ability::Holes)
    }

    /// Deletes every event after a sequence behind the store's back, as a crash or a restore loses them.
    fn cut_log(&self, after: GlobalSequence) {
        let _ = after;
        missing(Ability::CutLog)
    }

    /// The driver's error of a statement that took longer than it may.
    fn out_of_time(&self) -> BoxError {
        missing(Ability::Timeouts)
    }

    /// A database of its own that has no schema yet.
    fn unmigrated(&self) -> Box<dyn Unmigrated> {
        missing(Ability::Schema)
    }

    /// Whether threads can read while another thread has a transaction open.
    fn reads_beside_a_transaction(&self) -> bool {
        true
    }

    /// Whether threads can append while another thread has a transaction open.
    fn writes_beside_a_transaction(&self) -> bool {
        false
    }

    /// Whether the database keeps summaries of aggregates, as of the last
    /// [`refresh_aggregate_summaries`](firefly_eventstore_core::EventStore::refresh_aggregate_summaries), beside those that are computed.
    fn keeps_summaries(&self) -> bool {
        false
    }

    /// Whether errors come from a driver, and have its error as their source, and whether
    /// [`Health`](firefly_eventstore_core::Health) tells a schema's version.
    fn has_driver(&self) -> bool {
        true
    }
}

/// A change of a stored event without the store's knowledge.
#[derive(Debug)]
pub enum Damage<'a> {
    /// Other data.
    Data(&'a str),
    /// Another checksum, 64 hexadecimal digits.
    Checksum(&'a str),
    /// No checksum.
    NoChecksum,
    /// Another version.
    Version(u64),
}

/// A database without a schema, as several processes may find it.
pub trait Unmigrated: Sync {
    /// The versions that would run.
    fn pending(&self) -> Result<Vec<String>>;

    /// Migrates, and returns the versions that ran.
    fn migrate(&self) -> Result<Vec<String>>;

    /// Opens the database without migrating it.
    fn open(&self) -> Result<Handle>;

    /// Makes the schema that of a newer library.
    fn make_newer(&self);

    /// Makes the recorded history another than the library's.
    fn alter_history(&self);

    /// Takes the last migration back, as the schema of an older library.
    fn make_older(&self);
}
