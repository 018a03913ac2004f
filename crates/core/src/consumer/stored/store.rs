//! Stores that keep the checkpoints of consumers.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::slot::{ConsumerSlot, ParkedEvent};
use super::tables::{ConsumerChange, ConsumerTables, ParkedQuery, SlotsQuery};
use super::transaction::ConsumerTransaction;
use super::wake::Wake;
use crate::store::outcome::{keep, outcome};
use crate::{
    AggregateKey, Append, Appended, Error, ErrorKind, EventStore, EventStream, EventTransaction, Result, StreamRange,
    TenantId,
};

/// A store that keeps the checkpoints of consumers. Object-safe. [Subscriptions](crate::consumer::Subscription) and operators need it.
pub trait ConsumerStore: EventStore {
    /// Runs `work` in a transaction that has the tables of consumers, as [`transact`](EventStore::transact) does.
    ///
    /// # Errors
    ///
    /// As [`transact`](EventStore::transact).
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()>;

    /// The slots of one consumer, or of all, ordered by name and number. One round trip, no lock.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>>;

    /// Parked events, ordered by the consumer's name and the sequence. One round trip, no lock.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>>;

    /// How many events a consumer has parked, of one aggregate or of all. One round trip, no lock: the database counts them with an index.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64>;

    /// Wakes the threads of this process that wait for events. The store calls it after each append.
    fn wake(&self) -> &Wake;

    /// A connection on which the database reports appends of other processes as soon as they are committed. None if the database cannot do
    /// that; consumers then poll the log.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn appends(&self) -> Result<Option<Box<dyn Appends>>> {
        Ok(None)
    }

    /// Whether the server, not the event, caused an error of the store or of the caller's own statements: a lost connection, a deadlock, a
    /// lock timeout, or a server that shuts down, is read-only for now or has no space left. Every other event would fail in the same way.
    /// Repeating the transaction later may help.
    fn is_transient(&self, error: &(dyn StdError + 'static)) -> bool;

    /// Whether an error of the store or of the caller's own statements says that the work exceeded a time limit for statements or
    /// transactions, of the server or the session. A lock timeout does not count: another transaction holds the lock.
    ///
    /// Such an error is [transient](Self::is_transient), too. But if the server answers afterwards, it counts as a failure of the event.
    /// Otherwise an event whose handling always takes too long would be tried for ever.
    fn took_too_long(&self, error: &(dyn StdError + 'static)) -> bool;

    /// The longest time that a consumer's transaction should take, on a database where other writers wait for it; none on others.
    fn longest_transaction(&self) -> Option<Duration> {
        None
    }

    /// How many connections the store may use at once; none if there is no limit.
    fn max_connections(&self) -> Option<u32> {
        None
    }
}

/// Reports appends of all processes: see [`ConsumerStore::appends`].
pub trait Appends: Send {
    /// Waits for an append since the last call, or since the connection was made, but not longer than a time. Returns whether to read the
    /// log.
    ///
    /// # Errors
    ///
    /// Those of the backend: call again later.
    fn wait(&mut self, longest: Duration) -> Result<bool>;
}

/// A store whose transactions can also write the caller's own tables, so that a read model and its checkpoint change in one commit.
///
/// Implemented by each driver's store, and by a [`TenantStore`](crate::TenantStore) of one.
pub trait Transactional: ConsumerStore + Clone {
    /// The driver's transaction, which has a `connection()` for the caller's own tables.
    type Transaction<'t>: ConsumerTransaction;

    /// Runs `work` in a transaction: everything it does is stored when it returns `Ok`, nothing when it returns an error.
    ///
    /// As the `transaction` method of each driver's store. Its documentation states the costs and the rules for `work`.
    ///
    /// # Errors
    ///
    /// That of `work`, that of an append that failed, or one of the backend's.
    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E>;
}

/// For stores behind a pointer, whatever the driver: for projections that append events and have no tables of their own.
impl<S: ConsumerStore + ?Sized> Transactional for Arc<S> {
    type Transaction<'t> = DynTransaction<'t>;

    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut work = Some(work);
        let mut result = None;
        let committed = self.consume(&mut |transaction| {
            let work = work.take().expect("a transaction runs its work once");
            keep(&mut result, work(&mut DynTransaction(transaction)))
        });
        outcome(result, committed)
    }
}

/// A transaction of a store behind a pointer.
pub struct DynTransaction<'t>(&'t mut (dyn ConsumerTransaction + 't));

impl fmt::Debug for DynTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynTransaction").finish_non_exhaustive()
    }
}

impl EventTransaction for DynTransaction<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.0.append_all(appends)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.0.load_range(aggregate, range)
    }
}

impl ConsumerTables for DynTransaction<'_> {
    fn change(&mut self, change: ConsumerChange<'_>) -> Result<()> {
        self.0.change(change)
    }

    fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>> {
        self.0.slots(which)
    }

    fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.0.parked(which)
    }

    fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64> {
        self.0.members(consumer, seen_within)
    }
}

impl ConsumerTransaction for DynTransaction<'_> {
    fn scope(&mut self, tenant: &TenantId) -> Result<()> {
        self.0.scope(tenant)
    }
}

/// Whether any error in a chain of causes is transient.
///
/// For authors of backends. `kind` classifies an error of the driver; it returns none for any other error.
#[must_use]
pub fn any_transient(
    error: &(dyn StdError + 'static),
    kind: impl Fn(&(dyn StdError + 'static)) -> Option<ErrorKind>,
) -> bool {
    any_cause(error, |error| match error.downcast_ref::<Error>() {
        // After a conflict the event is handled again, with fresh loads.
        Some(error) => error.is_conflict() || is_the_servers(error.kind()),
        None => kind(error).is_some_and(|kind| is_the_servers(&kind)),
    })
}

/// Whether `is_it` accepts an error, or any error in its chain of causes.
///
/// For authors of backends.
#[must_use]
pub fn any_cause(error: &(dyn StdError + 'static), is_it: impl Fn(&(dyn StdError + 'static)) -> bool) -> bool {
    causes(error).any(is_it)
}

/// An error and its causes, in their order.
pub(crate) fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Whether the server caused an error of this kind, not the request.
fn is_the_servers(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable { .. }
            | ErrorKind::PoolTimeout
            | ErrorKind::ReadOnly
            | ErrorKind::StorageFull
            | ErrorKind::Io { .. }
            | ErrorKind::Moved { .. }
    )
}
