//! The methods that a program calls: extensions of the traits, which every store has.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::outcome::{keep, outcome};
use crate::consumer::ConsumerStore;
use crate::{
    AggregateKey, Append, Appended, AsOf, Error, EventEnvelope, EventQuery, EventStore, EventStream, EventTransaction,
    Events, ExpectedVersion, Follow, NewEvent, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotSelection,
    SnapshotStore, SnapshotType, StreamRange, TenantId, TenantStore, Version,
};

/// The methods of an event store that a program calls.
pub trait EventStoreExt: EventStore {
    /// Appends events to one aggregate that belongs to no tenant (see [`for_tenant`](Self::for_tenant) for one that does). Without events,
    /// does nothing and succeeds.
    ///
    /// One round trip on PostgreSQL; on MySQL and MariaDB too, and one more for [`Any`](ExpectedVersion::Any) and
    /// [`Exists`](ExpectedVersion::Exists).
    ///
    /// ```
    /// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let opened = NewEvent::new("account.opened", &serde_json::json!({ "owner": "Ada" }))?;
    ///
    /// let first = store.append(&account, ExpectedVersion::NoStream, &[opened.clone()])?;
    /// assert_eq!(first.version(), 1);
    ///
    /// let again = store.append(&account, ExpectedVersion::NoStream, &[opened])?;
    /// assert!(again.is_already_stored());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`EventStore::append_all`].
    fn append(
        &self,
        aggregate: &AggregateKey,
        expected: impl Into<ExpectedVersion>,
        events: &[NewEvent],
    ) -> Result<Appended> {
        only(self.append_all(&[Append::new(aggregate, expected, events)])?)
    }

    /// Runs `work` in a transaction and returns its result: see [`EventStore::transact`].
    ///
    /// The error type of `work` is the caller's own, so that the caller's refusals can leave the transaction. Rust cannot infer the type:
    /// write it down, as here, or as `Result<_>` for the errors of the store.
    ///
    /// ```
    /// use firefly_eventstore_core::prelude::*;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let store: Box<dyn EventStore> = Box::new(MemoryEventStore::new());
    ///     let account = AggregateKey::new("Account", Uuid::now_v7())?;
    ///     let opened = NewEvent::new("account.opened", &serde_json::json!({}))?;
    ///
    ///     let version = store.in_transaction(|tx| -> Result<_> {
    ///         tx.append(&account, ExpectedVersion::NoStream, &[opened])?;
    ///         Ok(tx.load(&account)?.version())
    ///     })?;
    ///     assert_eq!(version, 1);
    ///
    ///     let refused = store.in_transaction(|tx| -> Result<(), Box<dyn std::error::Error>> {
    ///         let withdrawn = NewEvent::new("money.withdrawn", &serde_json::json!({ "amount": 70 }))?;
    ///         tx.append(&account, ExpectedVersion::Exists, &[withdrawn])?;
    ///         Err("there is not enough money in the account".into())
    ///     });
    ///     assert_eq!(refused.unwrap_err().to_string(), "there is not enough money in the account");
    ///     assert_eq!(store.version(&account)?, 1, "nothing of it was stored");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// That of `work`; else as [`EventStore::transact`].
    fn in_transaction<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut dyn EventTransaction) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut work = Some(work);
        let mut result = None;
        let committed = self.transact(&mut |tx| {
            let work = work.take().expect("a transaction runs its work once");
            keep(&mut result, work(tx))
        });
        outcome(result, committed)
    }

    /// Loads the whole stream of an aggregate. An aggregate without events has an empty stream at version 0.
    ///
    /// All events are in memory at once: see [`EventStore::load_range`] for the cost. If a stream is too large for that, read it from the
    /// log, up to the high-water mark, with the memory of a [page](EventQuery::page_bytes):
    ///
    /// ```
    /// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let deposits = (0..25).map(|n| NewEvent::new("money.deposited", &n)).collect::<Result<Vec<_>, Error>>()?;
    /// store.append(&account, ExpectedVersion::NoStream, &deposits)?;
    ///
    /// let mut balance = 0;
    /// for event in store.read(EventQuery::new().aggregate_id(account.id())) {
    ///     balance += event?.data::<u32>()?;
    /// }
    /// assert_eq!(balance, 300);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`].
    fn load(&self, aggregate: &AggregateKey) -> Result<EventStream> {
        self.load_range(aggregate, &StreamRange::all())
    }

    /// Loads an aggregate as of a version, a time or a global sequence.
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`].
    fn load_as_of(&self, aggregate: &AggregateKey, point: impl Into<AsOf>) -> Result<EventStream> {
        self.load_range(aggregate, &StreamRange::all().as_of(point))
    }

    /// The current version of an aggregate; 0 if it has no events. Loads no event: on a server, one round trip.
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`].
    fn version(&self, aggregate: &AggregateKey) -> Result<Version> {
        Ok(self.load_range(aggregate, &StreamRange::all().limit(0))?.version())
    }

    /// Reads the log, page by page, up to the high-water mark of the first page.
    ///
    /// Only one page is in memory, and no connection is held between pages. After an error the iterator ends.
    ///
    /// A consumer stores only the [`checkpoint()`](Events::checkpoint), wherever it stopped reading:
    ///
    /// ```
    /// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let opened = NewEvent::new("account.opened", &serde_json::json!({}))?;
    /// store.append(&account, ExpectedVersion::NoStream, &[opened])?;
    ///
    /// let mut checkpoint = GlobalSequence::ZERO;
    /// let mut events = store.read(EventQuery::new().event_types(["money.deposited"])?.after(checkpoint).limit(10));
    /// for event in &mut events {
    ///     println!("{}", event?.data);
    /// }
    /// checkpoint = events.checkpoint();
    /// assert_eq!(checkpoint, 1, "a filtered consumer advances too");
    /// # Ok::<(), Error>(())
    /// ```
    fn read(&self, query: EventQuery) -> Events<'_, Self> {
        Events::new(self, query)
    }

    /// Follows the log: reads the stored events, as [`read`](Self::read) does, and then waits for new ones, from this program or another.
    /// No event is skipped, and none is returned twice.
    ///
    /// Appends through this store, or a clone of it, end the wait at once. On PostgreSQL, if appends notify, those of other programs do,
    /// too. Otherwise it polls the log, first after 20 milliseconds, then after longer and longer pauses, up to a second: one statement,
    /// three on MySQL and MariaDB. While the store cannot be reached, it tries again after pauses of up to a second, and writes a line to
    /// the `log` crate. It holds no connection while it waits, except one to listen on if appends notify.
    ///
    /// If the store should keep the checkpoint, or several processes share the work, use a [`consumer`](crate::consumer) instead.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use firefly_eventstore_core::prelude::*;
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// store.append(&account, 0, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
    ///
    /// let mut events = store.follow(EventQuery::new().after(0)).timeout(Duration::from_secs(10));
    /// assert_eq!(events.next().expect("it is there")?.event_type, "account.opened");
    ///
    /// let (writer, stopper) = (store.clone(), events.stopper());
    /// let writing = thread::spawn(move || {
    ///     let deposited = NewEvent::new("money.deposited", &serde_json::json!({ "amount": 250 }))?;
    ///     writer.append(&account, 1, &[deposited])
    /// });
    /// assert_eq!(events.next().expect("it comes within 10 seconds")?.event_type, "money.deposited");
    /// writing.join().expect("it does not panic")?;
    ///
    /// stopper.stop(); // as a thread that handles signals does
    /// assert!(events.next().is_none());
    /// assert_eq!(events.checkpoint(), 2, "to go on after it");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read_page`](EventStore::read_page), as items, except errors that are [retryable](Error::is_retryable): see
    /// [`Follow::timeout`]. [`InvalidInput`](crate::ErrorKind::InvalidInput), as the first item, for a query that is not in the order of
    /// the log. A range of time alone does not change the order here.
    fn follow(&self, query: EventQuery) -> Follow<'_, Self>
    where
        Self: ConsumerStore,
    {
        Follow::new(self, query)
    }

    /// Finds one event by its id.
    ///
    /// # Errors
    ///
    /// As [`EventStore::read_page`].
    fn find_event(&self, event_id: Uuid) -> Result<Option<EventEnvelope>> {
        let page = self.read_page(&EventQuery::new().event_ids([event_id]), None)?;
        Ok(page.events.into_iter().next())
    }

    /// Reads the events that were created within `age` by this program's clock, the newest first. With 24 hours, these are the events of the
    /// view `v_recent_events`.
    fn recent_events(&self, age: Duration) -> Events<'_, Self> {
        let age = time::Duration::try_from(age).unwrap_or(time::Duration::MAX);
        let since = OffsetDateTime::now_utc().saturating_sub(age);
        self.read(EventQuery::new().created_at(since..).backwards())
    }

    /// A view of this store for one tenant: reads see only that tenant's events, and appends are for that tenant.
    fn for_tenant(&self, tenant: TenantId) -> TenantStore<Self>
    where
        Self: Clone,
    {
        TenantStore::new(self.clone(), tenant)
    }
}

impl<S: EventStore + ?Sized> EventStoreExt for S {}

/// The methods of a transaction that a program calls.
pub trait EventTransactionExt: EventTransaction {
    /// Appends events to one aggregate that belongs to no tenant.
    ///
    /// # Errors
    ///
    /// As [`EventTransaction::append_all`].
    fn append(
        &mut self,
        aggregate: &AggregateKey,
        expected: impl Into<ExpectedVersion>,
        events: &[NewEvent],
    ) -> Result<Appended> {
        only(self.append_all(&[Append::new(aggregate, expected, events)])?)
    }

    /// Loads the whole stream of an aggregate, including events that the transaction appended.
    ///
    /// # Errors
    ///
    /// As [`EventTransaction::load_range`].
    fn load(&mut self, aggregate: &AggregateKey) -> Result<EventStream> {
        self.load_range(aggregate, &StreamRange::all())
    }
}

impl<T: EventTransaction + ?Sized> EventTransactionExt for T {}

/// The methods of a snapshot store that a program calls.
pub trait SnapshotStoreExt: SnapshotStore {
    /// Saves a snapshot of an aggregate that belongs to no tenant.
    ///
    /// # Errors
    ///
    /// As [`SnapshotStore::save_snapshot`].
    fn save(&self, snapshot: &NewSnapshot) -> Result<()> {
        self.save_snapshot(None, snapshot)
    }

    /// The newest snapshot of an aggregate.
    ///
    /// # Errors
    ///
    /// As [`SnapshotStore::find_snapshot`].
    fn latest_snapshot(&self, aggregate: &AggregateKey) -> Result<Option<Snapshot>> {
        self.find_snapshot(None, aggregate, SnapshotAt::Latest)
    }

    /// The newest snapshot of an aggregate with this form of state: see [`SnapshotAt::LatestOf`].
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the form is not a valid name, and as [`SnapshotStore::find_snapshot`].
    fn latest_snapshot_of(
        &self,
        aggregate: &AggregateKey,
        snapshot_type: impl TryInto<SnapshotType, Error: Into<Error>>,
    ) -> Result<Option<Snapshot>> {
        let form = snapshot_type.try_into().map_err(Into::into)?;
        self.find_snapshot(None, aggregate, SnapshotAt::LatestOf(&form))
    }

    /// The newest snapshot of an aggregate at or before a version.
    ///
    /// # Errors
    ///
    /// As [`SnapshotStore::find_snapshot`].
    fn latest_snapshot_up_to(&self, aggregate: &AggregateKey, version: impl Into<Version>) -> Result<Option<Snapshot>> {
        self.find_snapshot(None, aggregate, SnapshotAt::LatestUpTo(version.into()))
    }

    /// The snapshot of an aggregate at a version: see [`SnapshotAt::Exactly`].
    ///
    /// # Errors
    ///
    /// As [`SnapshotStore::find_snapshot`].
    fn snapshot_at(&self, aggregate: &AggregateKey, version: impl Into<Version>) -> Result<Option<Snapshot>> {
        self.find_snapshot(None, aggregate, SnapshotAt::Exactly(version.into()))
    }

    /// Deletes all snapshots of an aggregate with this form of state, except the newest `count`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the form is not a valid name, and as
    /// [`SnapshotStore::delete_snapshots`].
    fn keep_latest_snapshots_of(
        &self,
        aggregate: &AggregateKey,
        snapshot_type: impl TryInto<SnapshotType, Error: Into<Error>>,
        count: u64,
    ) -> Result<u64> {
        let form = snapshot_type.try_into().map_err(Into::into)?;
        self.delete_snapshots(None, SnapshotSelection::AllButLatestOf(aggregate, &form, count))
    }

    /// Deletes all snapshots of an aggregate except the newest `count`, whatever their forms.
    ///
    /// # Errors
    ///
    /// As [`SnapshotStore::delete_snapshots`].
    fn keep_latest_snapshots(&self, aggregate: &AggregateKey, count: u64) -> Result<u64> {
        self.delete_snapshots(None, SnapshotSelection::AllButLatest(aggregate, count))
    }

    /// Deletes the snapshots, of every aggregate, that were created before a time.
    ///
    /// # Errors
    ///
    /// As [`SnapshotStore::delete_snapshots`].
    fn delete_snapshots_older_than(&self, time: OffsetDateTime) -> Result<u64> {
        self.delete_snapshots(None, SnapshotSelection::OlderThan(time))
    }
}

impl<S: SnapshotStore + ?Sized> SnapshotStoreExt for S {}

fn only(mut results: Vec<Appended>) -> Result<Appended> {
    Ok(results.pop().expect("a store returns a result for each append"))
}
