//! Projections: read models that change in one commit with their checkpoint.

use std::num::NonZeroU32;

use super::failure::{BoxError, OnFailure};
use super::stored::slot::ConsumerState;
use super::stored::store::Transactional;
use super::stored::transaction::Registration;
use crate::{EventEnvelope, EventQuery, Result};

/// How many events one commit takes unless a projection says otherwise.
pub const DEFAULT_BATCH: NonZeroU32 = NonZeroU32::new(500).expect("500 is not zero");

/// A read model, made of events: tables of the program's own, in the store's database.
///
/// What [`apply`](Self::apply) writes and the checkpoint are committed together. So no event is applied twice or left out, whenever
/// the process dies, and however many processes run the same projection. Do nothing in it but use the transaction: what else it does,
/// such as sending mail, is done again when the transaction is repeated. For that there are [subscriptions](super::Subscription).
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
/// project(&store, &Welcome)?; // goes on where it was: there is nothing new
/// assert_eq!(store.read(EventQuery::new().event_types(["letter.written"])?).count(), 2);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait Projection<S: Transactional>: Send + Sync + 'static {
    /// The name that its checkpoint is kept under, such as `balances.v1`. Another version has another name, and other tables.
    fn name(&self) -> &str;

    /// The events that it is made of: filters of the whole log. They cannot change under a name: a checkpoint says nothing about
    /// events that were not asked for.
    ///
    /// # Errors
    ///
    /// Those of making the query.
    fn query(&self) -> Result<EventQuery>;

    /// Changes the read model by an event.
    ///
    /// # Errors
    ///
    /// Whatever goes wrong. Everything of the transaction is rolled back. An error that is the server's fault is tried again for as
    /// long as it lasts; any other [counts](Self::on_failure) as a failure of the event. So does a statement that
    /// [took too long](super::ConsumerStore::took_too_long), if the server answers right after it.
    fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError>;

    /// Changes the read model by several events, which may take one statement for all of them; one by one unless implemented.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply). The events are applied again one by one then, each in a commit of its own, so that those before
    /// the one that fails are applied.
    fn apply_all(&self, tx: &mut S::Transaction<'_>, events: &[EventEnvelope]) -> Result<(), BoxError> {
        events.iter().try_for_each(|event| self.apply(tx, event))
    }

    /// Empties the read model, for [`reset`](super::reset). On MySQL and MariaDB use `DELETE`: a `TRUNCATE` commits by itself.
    ///
    /// # Errors
    ///
    /// Whatever goes wrong; unless implemented, that it is not.
    fn reset(&self, _tx: &mut S::Transaction<'_>) -> Result<(), BoxError> {
        Err(format!("projection {} does not say how its read model is emptied", self.name()).into())
    }

    /// How many events one commit takes at most: [`DEFAULT_BATCH`], where other writers wait for it fewer. A process manager takes 1,
    /// because readers of the log do not pass a transaction that has appended.
    fn batch(&self) -> NonZeroU32 {
        DEFAULT_BATCH
    }

    /// What is done about an event that cannot be applied: after five attempts the projection stops, unless it says otherwise.
    ///
    /// If a process ends while it applies an event, because the stack overflows or memory runs out, this counts as an attempt once another
    /// process continues: the first commit after a start is written down before it is made, in a commit of its own. After a process that
    /// did not finish, events are applied one by one, each written down before, until as many are passed as one commit takes.
    fn on_failure(&self) -> OnFailure {
        OnFailure::default()
    }
}

/// What a projection registers as.
pub(crate) fn registration<'a>(name: &'a str, query: &'a EventQuery, state: ConsumerState) -> Registration<'a> {
    Registration::new(name, query).state(state)
}
