//! Stores whose consumers keep their checkpoints in them.

use std::error::Error as StdError;

use super::slot::{ConsumerSlot, ParkedEvent};
use super::tables::ParkedQuery;
use super::transaction::ConsumerTransaction;
use super::wake::Wake;
use crate::{Error, EventStore, Result};

/// A store that keeps the checkpoints of consumers. Object-safe: what [subscriptions](super::Subscription) and operators need.
pub trait ConsumerStore: EventStore {
    /// Runs `work` in a transaction, as [`transact`](EventStore::transact), with the tables of consumers.
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

    /// Where appends of this process tell those that wait for events.
    fn wake(&self) -> &Wake;

    /// How many connections the store may use at once; none if it does not count them.
    fn max_connections(&self) -> Option<u32> {
        None
    }
}

/// A store whose transactions take in the caller's own tables, so that a read model and its checkpoint change in one commit.
///
/// Implemented by each driver's store, and by a [`TenantStore`](crate::TenantStore) of one.
pub trait Transactional: ConsumerStore + Clone {
    /// The driver's transaction, which has a `connection()` for the caller's own tables.
    type Transaction<'t>: ConsumerTransaction;

    /// Runs `work` in a transaction: everything it does is stored when it returns `Ok`, nothing when it returns an error.
    ///
    /// As the `transaction` of each driver, which says what it costs and what `work` has to heed.
    ///
    /// # Errors
    ///
    /// That of `work`, that of an append that failed, or one of the backend's.
    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E>;

    /// Whether an error of the caller's own statements, or one that was caused by one, is the server's fault and not the event's: a
    /// lost connection, a deadlock, a lock that was waited for too long, a server that shuts down or writes nothing for now.
    /// Repeating the transaction may help.
    fn is_transient(error: &(dyn StdError + 'static)) -> bool;
}

/// Whether any error in a chain of causes is transient, by the driver's own classification of one.
///
/// For those who write a backend. The store's own errors know it themselves.
#[must_use]
pub fn any_transient(
    error: &(dyn StdError + 'static),
    is_transient: impl Fn(&(dyn StdError + 'static)) -> bool,
) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let is_retryable = error.downcast_ref::<Error>().is_some_and(|error| error.is_retryable());
        if is_retryable || is_transient(error) {
            return true;
        }
        next = error.source();
    }
    false
}
