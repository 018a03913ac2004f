//! Aggregates: the trait that a program implements, and a loaded aggregate.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::vocabulary::DomainEvent;
use crate::{AggregateKey, Error, Version};

/// The state that decisions need, computed from the events of one aggregate alone.
///
/// Keep only what decisions need. Write commands as methods that read the state and return events, or an error of your own type. They
/// change nothing:
///
/// ```
/// use firefly_eventstore_core::{Aggregate, DomainEvent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     #[serde(rename = "money.deposited")]
///     Deposited { cents: i64 },
///     #[serde(rename = "money.withdrawn")]
///     Withdrawn { cents: i64 },
/// }
///
/// impl DomainEvent for AccountEvent {}
///
/// #[derive(Default)]
/// struct Account { cents: i64 }
///
/// impl Aggregate for Account {
///     const TYPE: &'static str = "Account";
///     type Event = AccountEvent;
///
///     fn evolve(&mut self, event: AccountEvent) {
///         match event {
///             AccountEvent::Deposited { cents } => self.cents += cents,
///             AccountEvent::Withdrawn { cents } => self.cents -= cents,
///         }
///     }
/// }
///
/// impl Account {
///     fn withdraw(&self, cents: i64) -> Result<Vec<AccountEvent>, Overdrawn> {
///         if cents > self.cents {
///             return Err(Overdrawn { by: cents - self.cents });
///         }
///         Ok(vec![AccountEvent::Withdrawn { cents }])
///     }
/// }
///
/// #[derive(Debug, PartialEq)]
/// struct Overdrawn { by: i64 }
/// ```
pub trait Aggregate: Default + Send + Sync + 'static {
    /// The aggregate type of the stored events. It does not change when the Rust type is renamed.
    const TYPE: &'static str;

    /// The events of the aggregate.
    type Event: DomainEvent;

    /// Applies an event to the state. The event has happened, so it cannot be refused. Change only the state: events are applied each time
    /// that the aggregate is loaded.
    fn evolve(&mut self, event: Self::Event);
}

/// An aggregate whose state can be stored as a snapshot, so that a load need not begin at its first event.
pub trait Snapshotted: Aggregate + Serialize + DeserializeOwned {
    /// The form of the state, such as `Account.v1`.
    ///
    /// Change it if older snapshots cannot be read any more, **or if the events now result in another state**: when a field is added, or
    /// [`evolve`](Aggregate::evolve) computes another state. Snapshots of other forms are ignored and kept, so that two versions of a
    /// program can run side by side. [`Repository::verify_snapshots`](crate::Repository::verify_snapshots) detects a forgotten change.
    const FORM: &'static str;
}

/// An aggregate at a version.
pub struct Root<A> {
    key: AggregateKey,
    version: Version,
    /// The id of the event at that version.
    last_event: Option<Uuid>,
    state: A,
    snapshot_error: Option<Error>,
}

impl<A: Aggregate> Root<A> {
    pub(super) fn new(key: AggregateKey, version: Version, state: A) -> Self {
        Self {
            key,
            version,
            last_event: None,
            state,
            snapshot_error: None,
        }
    }

    /// Applies a stored event.
    pub(super) fn evolve(&mut self, event: A::Event) {
        self.state.evolve(event);
    }

    /// Sets the version and the id of the last applied event.
    pub(super) fn move_to(&mut self, version: Version, event_id: Uuid) {
        self.version = version;
        self.last_event = Some(event_id);
    }

    /// The id of the event at its version, if it is known.
    pub(super) fn last_event(&self) -> Option<Uuid> {
        self.last_event
    }

    /// Remembers the error of a snapshot. The first one is kept.
    pub(super) fn with_snapshot_error(mut self, error: Option<Error>) -> Self {
        self.snapshot_error = self.snapshot_error.or(error);
        self
    }

    /// The aggregate.
    #[must_use]
    pub fn key(&self) -> &AggregateKey {
        &self.key
    }

    /// Its version; 0 if there are no events.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether it has any event.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.version > Version::ZERO
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> &A {
        &self.state
    }

    /// Its state, owned.
    #[must_use]
    pub fn into_state(self) -> A {
        self.state
    }

    /// Why a snapshot could not be used or saved. Loading took longer, but the state is correct.
    ///
    /// A missing snapshot, or one of another form, is not an error.
    #[must_use]
    pub fn snapshot_error(&self) -> Option<&Error> {
        self.snapshot_error.as_ref()
    }
}

impl<A: fmt::Debug> fmt::Debug for Root<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("state", &self.state)
            .field("snapshot_error", &self.snapshot_error)
            .finish()
    }
}
