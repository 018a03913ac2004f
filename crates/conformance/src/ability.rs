//! What a backend can do, or an environment can do to it, that not every one can.

use std::fmt;
use std::panic::resume_unwind;

/// Something that some cases need, and that a backend or its [`Environment`](crate::Environment) may lack.
///
/// A case that needs one of those in [`Environment::lacks`](crate::Environment::lacks) is reported as not applicable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ability {
    /// The store is a [`SnapshotStore`](firefly_eventstore_core::SnapshotStore).
    Snapshots,
    /// The store is a [`ConsumerStore`](firefly_eventstore_core::consumer::ConsumerStore).
    Consumers,
    /// The store has [`Operations`](firefly_eventstore_core::operate::Operations).
    Operations,
    /// The operations archive: [`Operations::retire_events`](firefly_eventstore_core::operate::Operations::retire_events) and those
    /// beside it.
    Archives,
    /// A store with other limits: [`Environment::store_with`](crate::Environment::store_with).
    Limits,
    /// A store that verifies what it reads: [`Environment::verifying_store`](crate::Environment::verifying_store).
    Verification,
    /// Stored events can be damaged: [`Environment::damage`](crate::Environment::damage).
    Damage,
    /// What is stored can be replaced: [`Environment::rewrite_log`](crate::Environment::rewrite_log), and likewise snapshots and seals, if
    /// the store keeps them.
    Rewriting,
    /// JSON is kept as text, so that text which is no JSON can take its place. A database with a JSON type refuses such text.
    JsonAsText,
    /// The database can be made to fail: [`Environment::break_at`](crate::Environment::break_at).
    Faults,
    /// The log can have a hole: [`Environment::make_hole`](crate::Environment::make_hole).
    Holes,
    /// The end of the log can be cut off: [`Environment::cut_log`](crate::Environment::cut_log).
    CutLog,
    /// The database has a time limit for statements: [`Environment::out_of_time`](crate::Environment::out_of_time).
    Timeouts,
    /// The database has a schema that is migrated: [`Environment::unmigrated`](crate::Environment::unmigrated).
    Schema,
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a case that cannot go on unwinds with.
pub(crate) struct Missing(pub(crate) Ability);

/// Ends the case, because it needs what the backend lacks. It is not a panic: nothing is printed.
pub(crate) fn missing(ability: Ability) -> ! {
    resume_unwind(Box::new(Missing(ability)))
}
