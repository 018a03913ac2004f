//! Projections: read models that change in the same commit as their checkpoint.

use std::num::NonZeroU32;

use super::failure::{BoxError, OnFailure};
use super::stored::slot::ConsumerState;
use super::stored::store::Transactional;
use super::stored::transaction::Registration;
use crate::{EventEnvelope, EventQuery, Result};

/// How many events one commit takes, unless the projection sets another number.
pub const DEFAULT_BATCH: NonZeroU32 = NonZeroU32::new(500).expect("500 is not zero");

/// A read model, built from events: tables of the program's own, in the store's database.
///
/// What [`apply`](Self::apply) writes is committed together with the checkpoint. So no event is applied twice or left out, whenever the
/// process is killed, and however many processes run the same projection. Use nothing but the transaction in `apply`: other effects, such
/// as sending mail, happen again when the transaction is repeated. Use [subscriptions](super::Subscription) for those.
///
/// ```
/// use firefly_eventstore_core::consumer::{BoxError, Projection, Transactional, project};
/// use firefly_eventstore_core::{MemoryEventStore, prelude::*};
///
/// /// Opens a welcome letter for every account: a projection that appends is a process manager.
/// struct Welcome;
///
/// impl<S: Transactional> Projection<S> for Welcome {
///     fn name(&self) -> &str {
///         "welcome.v1"
///     }
///
///     fn query(&self) -> Result<EventQuery, Error> {
///         EventQuery::new().event_types(["account.opened"])
///     }
///
///     fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
///         let letter = AggregateKey::new("Letter", event.event_id)?; // one letter for each such event
///         tx.append(&letter, ExpectedVersion::NoStream, &[NewEvent::new("letter.written", &serde_json::json!({}))?])?;
///         Ok(())
///     }
/// }
/// # let store = MemoryEventStore::new();
/// # let (account, other) = (AggregateKey::new("Account", Uuid::now_v7())?, AggregateKey::new("Account", Uuid::now_v7())?);
/// # store.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
/// # store.append(&other, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
///
/// project(&store, &Welcome)?;
/// project(&store, &Welcome)?; // continues where it stopped: there is nothing new
/// assert_eq!(store.read(EventQuery::new().event_types(["letter.written"])?).count(), 2);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait Projection<S: Transactional>: Send + Sync + 'static {
    /// The name of the stored checkpoint, such as `balances.v1`. A new version of the projection needs another name and other tables.
    fn name(&self) -> &str;

    /// The events that the projection needs: filters of the whole log. The query cannot change while the name stays the same: a checkpoint
    /// says nothing about events that the query did not ask for.
    ///
    /// # Errors
    ///
    /// Those of building the query.
    fn query(&self) -> Result<EventQuery>;

    /// Applies one event to the read model.
    ///
    /// # Errors
    ///
    /// Any error of the caller's. The whole transaction is rolled back. If the server caused the error, the event is tried again for as
    /// long as the outage lasts. Any other error [counts](Self::on_failure) as a failure of the event, and so does a statement that [took
    /// too long](super::ConsumerStore::took_too_long), if the server answers right after it.
    fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError>;

    /// Applies several events to the read model, perhaps with one statement for all of them. Unless implemented, applies them one by one.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply). The events are then applied again one by one, each in its own commit, so that the events before the
    /// failing one are applied.
    fn apply_all(&self, tx: &mut S::Transaction<'_>, events: &[EventEnvelope]) -> Result<(), BoxError> {
        events.iter().try_for_each(|event| self.apply(tx, event))
    }

    /// Empties the read model, for [`reset`](super::reset). On MySQL and MariaDB use `DELETE`: a `TRUNCATE` commits by itself.
    ///
    /// # Errors
    ///
    /// Any error of the caller's. Unless implemented, `reset` always fails.
    fn reset(&self, _tx: &mut S::Transaction<'_>) -> Result<(), BoxError> {
        Err(format!("projection {} does not say how its read model is emptied", self.name()).into())
    }

    /// The largest number of events in one commit: [`DEFAULT_BATCH`] unless implemented. On a database where other writers wait for the
    /// commit, it takes fewer if they are slow. A process manager returns 1, because readers of the log do not pass a transaction that has
    /// appended.
    fn batch(&self) -> NonZeroU32 {
        DEFAULT_BATCH
    }

    /// What happens to an event that cannot be applied. Unless implemented, the projection stops after five attempts.
    ///
    /// If the process ends while it applies an event, because the stack overflows or memory runs out, the next process counts this as an
    /// attempt. For that, the first commit after a start is announced before it is made, in a commit of its own. If the previous process
    /// did not finish, events are applied one by one, each announced before, until as many events are handled as one commit takes.
    fn on_failure(&self) -> OnFailure {
        OnFailure::default()
    }
}

/// The registration of a projection.
pub(crate) fn registration<'a>(name: &'a str, query: &'a EventQuery, state: ConsumerState) -> Registration<'a> {
    Registration::new(name, query).state(state)
}
