//! Abilities that not every backend or environment has.

use std::fmt;
use std::panic::resume_unwind;

/// An ability that some cases need, and that a backend or its [`Environment`](crate::Environment) may lack.
///
/// If [`Environment::lacks`](crate::Environment::lacks) names it, cases that need it are reported as not applicable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ability {
    /// The store is a [`SnapshotStore`](firefly_eventstore_core::SnapshotStore).
    Snapshots,
    /// The store is a [`ConsumerStore`](firefly_eventstore_core::consumer::ConsumerStore).
    Consumers,
    /// The store has [`Operations`](firefly_eventstore_core::operate::Operations).
    Operations,
    /// The operations include archives: [`Operations::retire_events`](firefly_eventstore_core::operate::Operations::retire_events) and the
    /// related methods.
    Archives,
    /// A store with other limits: [`Environment::store_with`](crate::Environment::store_with).
    Limits,
    /// A store that verifies what it reads: [`Environment::verifying_store`](crate::Environment::verifying_store).
    Verification,
    /// Stored events can be damaged: [`Environment::damage`](crate::Environment::damage).
    Damage,
    /// The stored log can be replaced: [`Environment::rewrite_log`](crate::Environment::rewrite_log). If the store has snapshots and seals,
    /// these can be replaced, too.
    Rewriting,
    /// JSON is stored as text, so that it can be replaced by text that is not JSON. A database with a JSON type refuses such text.
    JsonAsText,
    /// The database can be made to fail: [`Environment::break_at`](crate::Environment::break_at).
    Faults,
    /// A sequence can be left out of the log: [`Environment::make_hole`](crate::Environment::make_hole).
    Holes,
    /// The end of the log can be deleted: [`Environment::cut_log`](crate::Environment::cut_log).
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

/// The panic payload of a case that needs a missing ability.
pub(crate) struct Missing(pub(crate) Ability);

/// Ends the case, because the backend lacks an ability that it needs. This unwinds without a panic message.
pub(crate) fn missing(ability: Ability) -> ! {
    resume_unwind(Box::new(Missing(ability)))
}
