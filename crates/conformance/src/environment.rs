//! Environments: an environment opens stores on one database, and can change the database behind their backs.

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

/// One fresh database, and what a case may do to it. Dropping it removes everything.
///
/// A backend needs only [`store`](Self::store) and [`reopen`](Self::reopen). Some cases need the other methods: implement those that make
/// sense, and name the rest in [`lacks`](Self::lacks). A case that needs a lacking ability is reported as not applicable. A case that needs
/// an ability that is neither implemented nor named fails, and says which method to implement.
pub trait Environment {
    /// A store with the default options.
    fn store(&self) -> Handle;

    /// A second store on the same database, as another process would open it; in memory, a second handle.
    fn reopen(&self) -> Handle;

    /// The abilities that the backend or this environment lacks. All others are tested.
    fn lacks(&self) -> &[Ability] {
        &[]
    }

    /// A store on the same database with other limits.
    fn store_with(&self, limits: Limits) -> Handle {
        let _ = limits;
        missing(Ability::Limits)
    }

    /// The widest limits that the database supports. By default those of a database that stores JSON as text.
    fn widest_limits(&self) -> Limits {
        Limits::TEXT
    }

    /// A store on the same database that verifies everything that it reads.
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

    /// Makes the database fail when an event of the type [`FAULTY`] is written. Every append of the case has such an event at this
    /// position, from 1.
    fn break_at(&self, position: u64) {
        let _ = position;
        missing(Ability::Faults)
    }

    /// Undoes [`break_at`](Self::break_at).
    fn repair(&self) {
        missing(Ability::Faults)
    }

    /// Leaves a hole in the log before its last event, as a rolled-back transaction does, and returns the missing sequence. Every event
    /// must belong to an aggregate of its own.
    fn make_hole(&self) -> GlobalSequence {
        missing(Ability::Holes)
    }

    /// Deletes every event after a sequence behind the store's back, as a crash or a restore may do.
    fn cut_log(&self, after: GlobalSequence) {
        let _ = after;
        missing(Ability::CutLog)
    }

    /// The driver's error of a statement that exceeded its time limit.
    fn out_of_time(&self) -> BoxError {
        missing(Ability::Timeouts)
    }

    /// Another database, without a schema.
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

    /// Whether the database stores summaries of aggregates, which the last
    /// [`refresh_aggregate_summaries`](firefly_eventstore_core::EventStore::refresh_aggregate_summaries) updated, besides those that it
    /// computes.
    fn keeps_summaries(&self) -> bool {
        false
    }

    /// Whether errors have a driver's error as their source, and whether [`Health`](firefly_eventstore_core::Health) returns a schema's
    /// version.
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

    /// Makes the schema look like that of a newer library.
    fn make_newer(&self);

    /// Changes the recorded history, so that it differs from the library's.
    fn alter_history(&self);

    /// Reverts the last migration, so that the schema is that of an older library.
    fn make_older(&self);
}
