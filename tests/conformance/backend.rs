//! Where the cases run: a backend hands out fresh environments, an environment hands out stores on one database.

mod memory;
mod mysql;
mod postgres;
mod sqlite;

use std::env;
use std::fmt;

use firefly_eventstore_core::consumer::BoxError;
use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::{EventEnvelope, GlobalSequence, Limits, Result, Snapshot};
use uuid::Uuid;

use crate::support::Handle;

pub(crate) use memory::{MemoryEnvironment, memory};
pub(crate) use mysql::{mariadb, mariadb_lean, mysql, mysql_lean};
pub(crate) use postgres::{postgres, postgres_lean};
pub(crate) use sqlite::{sqlite_file, sqlite_lean, sqlite_memory};

/// The type of the event that a database refuses: see [`Environment::break_at`].
pub(crate) const FAULTY: &str = "suite.faulty";

/// A kind of database that the suite runs against. Servers are shared by all cases; each case has a database of its own.
pub(crate) struct Backend {
    /// What the tests are called.
    pub(crate) name: &'static str,
    /// What `REQUIRE_BACKENDS` calls it.
    pub(crate) family: &'static str,
    /// A new, empty database.
    pub(crate) fresh: fn() -> Result<Box<dyn Environment>, Missing>,
}

/// Why a backend is not there.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Backend {
    /// A fresh environment, or none, which is printed, and is a failure if this backend is required.
    pub(crate) fn environment(&self) -> Option<Box<dyn Environment>> {
        self.environment_unless_missing(&required())
    }

    fn environment_unless_missing(&self, required: &[String]) -> Option<Box<dyn Environment>> {
        match (self.fresh)() {
            Ok(environment) => Some(environment),
            Err(missing) => {
                let is_required = required.iter().any(|name| name == self.family);
                assert!(!is_required, "{} is required: {missing}", self.family);
                println!("skipped: {} is not there: {missing}", self.name);
                None
            }
        }
    }
}

/// The backends named in `REQUIRE_BACKENDS`, such as `sqlite,postgres`.
pub(crate) fn required() -> Vec<String> {
    let names = env::var("REQUIRE_BACKENDS").unwrap_or_default();
    names
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The columns of `events` that are written, in the order of an envelope's fields.
const EVENT_COLUMNS: [&str; 15] = [
    "event_id",
    "aggregate_id",
    "aggregate_type",
    "aggregate_version",
    "global_sequence",
    "event_type",
    "event_data",
    "metadata",
    "created_at",
    "updated_at",
    "created_by",
    "tenant_id",
    "correlation_id",
    "causation_id",
    "checksum",
];

/// Those of `snapshots`.
const SNAPSHOT_COLUMNS: [&str; 9] = [
    "snapshot_id",
    "aggregate_id",
    "aggregate_type",
    "version",
    "snapshot_type",
    "snapshot_data",
    "created_at",
    "tenant_id",
    "checksum",
];

/// Those of `firefly_seals`.
const SEAL_COLUMNS: [&str; 4] = ["global_sequence", "events", "digest", "sealed_at"];

/// One database, and what a case may do to it. Dropping it leaves nothing behind.
pub(crate) trait Environment {
    /// The store, as it is by default.
    fn store(&self) -> Handle;

    /// The same database through a second store, as another process would open it; in memory, a second handle.
    fn reopen(&self) -> Handle;

    /// The same database through a store with other limits.
    fn store_with(&self, limits: Limits) -> Handle;

    /// The same database through a store that verifies whatever it reads.
    fn verifying_store(&self) -> Handle;

    /// Damages an event behind the store's back.
    fn damage(&self, event: Uuid, damage: &Damage<'_>);

    /// Replaces the whole log behind the store's back, as whoever may write to the database can.
    fn rewrite_log(&self, events: &[EventEnvelope]);

    /// Replaces all snapshots behind the store's back.
    fn rewrite_snapshots(&self, snapshots: &[Snapshot]);

    /// Replaces all seals behind the store's back.
    fn rewrite_seals(&self, seals: &[Seal]);

    /// From now on the database itself fails when an event of the type [`FAULTY`] is written, which every append of the
    /// case has at this position of its events, from 1.
    fn break_at(&self, position: u64);

    /// Undoes [`break_at`](Self::break_at).
    fn repair(&self);

    /// Leaves a hole in the log before its last event, as a rolled-back transaction does, and returns the sequence that is
    /// missing. Every event must belong to an aggregate of its own.
    fn make_hole(&self) -> GlobalSequence;

    /// Deletes every event after a sequence behind the store's back, as a crash or a restore loses them; false where there is no way
    /// to.
    fn cut_log(&self, after: GlobalSequence) -> bool;

    /// Whether threads can read while another thread has a transaction open.
    fn reads_beside_a_transaction(&self) -> bool {
        true
    }

    /// Whether threads can append while another thread has a transaction open.
    fn writes_beside_a_transaction(&self) -> bool {
        false
    }

    /// Whether JSON is kept as the text it came as, so that it can hold whatever JSON can, and be damaged as text can.
    fn keeps_json_as_text(&self) -> bool {
        true
    }

    /// The most that the database keeps exactly.
    fn widest_limits(&self) -> Limits {
        Limits::TEXT
    }

    /// Whether errors come from a driver, and have its error as their source.
    fn has_driver(&self) -> bool {
        true
    }

    /// The driver's error of a statement that took longer than it may; none where there is no such limit.
    fn out_of_time(&self) -> Option<BoxError> {
        None
    }

    /// A database of its own that has no schema yet; none where there are no schemas.
    fn unmigrated(&self) -> Option<Box<dyn Unmigrated>>;
}

/// What happens to an event behind the store's back.
#[derive(Debug)]
pub(crate) enum Damage<'a> {
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
pub(crate) trait Unmigrated: Sync {
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

#[test]
fn a_missing_backend_is_skipped_unless_it_is_required() {
    let missing = Backend {
        name: "oracle",
        family: "oracle",
        fresh: || Err(Missing("no such server".to_owned())),
    };
    assert!(missing.environment_unless_missing(&["sqlite".to_owned()]).is_none());
    assert!(crate::quiet::panics(|| {
        missing.environment_unless_missing(&["sqlite".to_owned(), "oracle".to_owned()]);
    }));
}
