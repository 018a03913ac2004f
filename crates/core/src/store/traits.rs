//! The store: a small object-safe trait for those who write a backend, an extension of it for those who use one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::follow::Follow;
use super::outcome::{keep, outcome};
use crate::consumer::{Appends, ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Wake};
use crate::{
    AggregateKey, AggregateSummary, Append, Appended, AsOf, Cursor, Error, EventEnvelope, EventQuery, EventStream,
    ExpectedVersion, GlobalSequence, Health, NewEvent, NewSnapshot, Page, Result, Snapshot, SnapshotAt,
    SnapshotSelection, SnapshotStatistics, SnapshotType, Statistics, StreamRange, SummaryQuery, TenantId, TenantStore,
    Version, backend,
};

/// A store of events. Everything takes `&self`; share it between threads by reference, by clone or in an `Arc`.
///
/// Implement this trait to write a backend: few methods, no generics. Use [`EventStoreExt`] to work with a store; it is
/// implemented for every store, `dyn EventStore` included.
pub trait EventStore: fmt::Debug + Send + Sync + 'static {
    /// Appends to one or more aggregates, in one transaction: all events of all aggregates are stored, or none.
    ///
    /// Repeating an append whose events are already stored returns the original result, marked as already stored, even if the expected
    /// version is outdated. So a call whose answer was lost is safe to repeat.
    ///
    /// # Errors
    ///
    /// - [`Conflict`](crate::ErrorKind::Conflict) if an aggregate is not at its expected version;
    /// - [`TypeMismatch`](crate::ErrorKind::TypeMismatch), [`TenantMismatch`](crate::ErrorKind::TenantMismatch) if an
    ///   aggregate's id belongs to another type or tenant;
    /// - [`Duplicate`](crate::ErrorKind::Duplicate) if event ids are stored already, but not as this append;
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) for what cannot be stored exactly, an event id or an aggregate
    ///   that occurs twice;
    /// - those of the backend.
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Runs `work` in a transaction: all that it appends is stored when it returns `Ok`, nothing when it returns an error.
    ///
    /// After an append that failed, the transaction is rolled back whatever `work` returns. `work` runs once. Within it,
    /// use the transaction: the store refuses to be used by the same thread meanwhile, which might wait for itself.
    ///
    /// # Errors
    ///
    /// That of `work`, that of the append that failed, or one of the backend's when committing;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), as every other method, within such a transaction of the same thread.
    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()>;

    /// Loads a part of one aggregate's stream, and the version it is at.
    ///
    /// Events and version are of one moment, also beside busy writers.
    ///
    /// On a server, one round trip for the whole stream, and for any part of it whose events tell the version: where the newest event is
    /// among them, as with [`last`](StreamRange::last), or with [`from_version`](StreamRange::from_version) where an event follows. Two
    /// where the version is looked up: no event was found, or a limit or the range's last version ended the part; three where somebody
    /// appended between these two. As of a time or a global sequence, one more, and
    /// another if the aggregate had no event yet; as of a version, none.
    ///
    /// Memory: all events of the part, with their data and metadata as text, and some hundred bytes for each besides; while it loads on
    /// PostgreSQL, up to three times that. No other bound is kept, since half of a stream is no state. Where streams are large, load
    /// from a snapshot, or see [`load`](EventStoreExt::load) for how to go through one page by page.
    ///
    /// # Errors
    ///
    /// - [`TypeMismatch`](crate::ErrorKind::TypeMismatch) if the id belongs to another type;
    /// - [`Archived`](crate::ErrorKind::Archived) if events of the part were [archived](crate::operate::Archiving);
    /// - [`Integrity`](crate::ErrorKind::Integrity) if a row is damaged, or does not match its checksum in a store that
    ///   verifies what it reads;
    /// - those of the backend.
    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream>;

    /// Reads a page of the log: the first if `cursor` is absent, else the one after the page it came with.
    ///
    /// No page reaches beyond the high-water mark, and the pages of one read share the mark of the first.
    ///
    /// On a server, one round trip for each later page. The first takes two, for the mark and for the events; it takes one if a mark that
    /// this store proved before will do: the query ends [at or before](EventQuery::until) that mark, or goes forwards with a
    /// [limit](EventQuery::limit) of one page, and the events up to that mark fill it. If they do not, two or three. Some take more.
    /// PostgreSQL plans a query by event ids, time or metadata anew. If a sequence is missing, MySQL and MariaDB first prove that it is
    /// final. Metadata filters may need further queries.
    ///
    /// # Errors
    ///
    /// - [`BeyondEnd`](crate::ErrorKind::BeyondEnd) if the query begins beyond the end of the log: events that were there are gone;
    /// - [`Unprovable`](crate::ErrorKind::Unprovable) if this server cannot prove the high-water mark;
    /// - [`Archived`](crate::ErrorKind::Archived) if the page may lack events that were [archived](crate::operate::Archiving), unless the
    ///   query
    ///   [skips](EventQuery::skip_archived) them;
    /// - [`Integrity`](crate::ErrorKind::Integrity) if a row is damaged, or does not match its checksum in a store that verifies what
    ///   it reads;
    /// - those of the backend.
    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page>;

    /// The last final position of the log: no event can still be committed at or before it. It is the global sequence of a
    /// committed event; 0 in an empty store. It never goes back, unless events are lost.
    ///
    /// # Errors
    ///
    /// - [`BeyondEnd`](crate::ErrorKind::BeyondEnd), once, if the log ends before a mark that this store gave out: events that
    ///   were there are gone. The next call proves the mark anew;
    /// - [`Unprovable`](crate::ErrorKind::Unprovable) if this server cannot prove it;
    /// - those of the backend.
    fn high_water_mark(&self) -> Result<GlobalSequence>;

    /// What there is in the store, or of one tenant. Reads the whole log: for dashboards, not for every request.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics>;

    /// A summary of each aggregate, ordered by id, computed from the log as it is now: every event that is committed counts, but those that
    /// are [archived](crate::operate::Archiving).
    ///
    /// It reads every event of the aggregates that it lists. PostgreSQL, MySQL and MariaDB also keep summaries in a table,
    /// which a query may [ask for](SummaryQuery::as_of_last_refresh): these are as of the last
    /// [`refresh_aggregate_summaries`](Self::refresh_aggregate_summaries).
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>>;

    /// Brings the table of aggregate summaries up to date, for queries
    /// [as of the last refresh](SummaryQuery::as_of_last_refresh) and for other programs that read the table.
    ///
    /// PostgreSQL, MySQL and MariaDB read the whole log for that. SQLite and the in-memory store keep no such table: there
    /// nothing is done.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn refresh_aggregate_summaries(&self) -> Result<()>;

    /// Asks the database whether it works, and what it is. On a server, four round trips; more on MySQL and MariaDB
    /// where the mark needs a proof.
    ///
    /// # Errors
    ///
    /// Those of the backend: a store that is not healthy returns why.
    fn health(&self) -> Result<Health>;
}

/// A transaction of a store: see [`EventStore::transact`].
pub trait EventTransaction {
    /// Appends within the transaction; other readers see it when the transaction has committed.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append_all`]. An error dooms the transaction.
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Loads a part of one aggregate's stream, with what the transaction appended.
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`].
    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream>;
}

/// A store of events that keeps snapshots of their aggregates. Snapshots are a cache: losing one costs time, nothing else.
pub trait SnapshotStore: EventStore {
    /// Saves a snapshot; one of the same aggregate and the same form at the same version is replaced. Those of other forms stay.
    ///
    /// On a server, two round trips.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) for what cannot be stored exactly, or if the aggregate has no
    ///   event at that version;
    /// - [`TypeMismatch`](crate::ErrorKind::TypeMismatch), [`TenantMismatch`](crate::ErrorKind::TenantMismatch) if the
    ///   aggregate's id belongs to another type or tenant;
    /// - those of the backend.
    fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()>;

    /// Finds one snapshot of an aggregate. With a tenant, only if it owns the aggregate.
    ///
    /// On a server, one round trip. A search by form reads the newer snapshots of the aggregate that are of other forms, without
    /// their states.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity) if its row is damaged, or does not match its checksum in a store that
    /// verifies what it reads, and those of the backend.
    fn find_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>>;

    /// Finds one snapshot of an aggregate, and loads the events from its version on: the one that it goes up to, and those after it. All
    /// events if there is no such snapshot. With a tenant, only if it owns the aggregate.
    ///
    /// The result includes the event at the snapshot's version, so that the caller can check that both belong together, unless that event
    /// is [archived](crate::operate::Archiving). The stream's version is that of the aggregate.
    ///
    /// A database store finds both by one statement, so they are of one moment. On a server, that is one round trip, and two more
    /// where the snapshot goes up to an event that is gone. The default is [`find_snapshot`](Self::find_snapshot), and then
    /// [`load_range`](EventStore::load_range). For the memory see there.
    ///
    /// ```
    /// use firefly_eventstore_core::{MemoryEventStore, SnapshotAt, SnapshotType, prelude::*};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let deposits = (0..9).map(|n| NewEvent::new("money.deposited", &n)).collect::<Result<Vec<_>, Error>>()?;
    /// store.append(&account, ExpectedVersion::NoStream, &deposits)?;
    /// store.save(&NewSnapshot::new(&account, Version::from(6), "AccountState.v1", &15)?)?;
    ///
    /// let form = SnapshotType::new("AccountState.v1")?;
    /// let (snapshot, stream) = store.load_from_snapshot(None, &account, SnapshotAt::LatestOf(&form))?;
    /// assert_eq!(snapshot.expect("it was saved").state::<u32>()?, 15);
    /// let versions: Vec<_> = stream.events().iter().map(|event| event.version.get()).collect();
    /// assert_eq!((versions, stream.version().get()), (vec![6, 7, 8, 9], 9));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`find_snapshot`](Self::find_snapshot) and [`load_range`](EventStore::load_range). A caller that can do without the snapshot
    /// loads all events then.
    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream)> {
        let snapshot = self.find_snapshot(tenant, aggregate, at)?;
        let mut range = backend::from_snapshot(tenant, snapshot.as_ref());
        let stream = match self.load_range(aggregate, &range) {
            // The event that the snapshot goes up to may be the last one that is archived.
            Err(error) if error.is_archived() && snapshot.is_some() => {
                range.from = range.from.checked_add(1).unwrap_or(range.from);
                self.load_range(aggregate, &range)?
            }
            stream => stream?,
        };
        Ok((snapshot, stream))
    }

    /// All snapshots of an aggregate, the newest version first, and of one version the last form by name. With a tenant, only if it owns
    /// the aggregate.
    ///
    /// # Errors
    ///
    /// As [`find_snapshot`](Self::find_snapshot).
    fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>>;

    /// How many snapshots an aggregate has. With a tenant, only if it owns the aggregate.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64>;

    /// Deletes snapshots and returns how many. With a tenant, only of aggregates that it owns.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64>;

    /// What there is of snapshots, or of one tenant's.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics>;
}

/// Events, snapshots and consumers in one: what `connect(url)` returns behind an `Arc`, which is cloned and shared between threads.
pub trait Store: EventStore + SnapshotStore + ConsumerStore {}

impl<S: EventStore + SnapshotStore + ConsumerStore + ?Sized> Store for S {}

/// What a program does with an event store.
pub trait EventStoreExt: EventStore {
    /// Appends events to one aggregate that belongs to no tenant (see [`for_tenant`](Self::for_tenant) for one that
    /// does). No events are a no-op that succeeds.
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

    /// Runs `work` in a transaction and returns what it returns: see [`EventStore::transact`].
    ///
    /// `work` returns an error of the caller's own type, so that a refusal of its own can leave the transaction. Rust cannot guess that
    /// type: write it down, as here, or as `Result<_>` for the errors of the store.
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
    ///         Err("there is not so much in the account".into())
    ///     });
    ///     assert_eq!(refused.unwrap_err().to_string(), "there is not so much in the account");
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

    /// Loads the whole stream of an aggregate; an aggregate without events has an empty stream at version 0.
    ///
    /// All events are in memory at once: see [`EventStore::load_range`] for the cost. A stream that is too large for that is read from the
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

    /// Loads an aggregate as it was at a version, a time or a global sequence.
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`].
    fn load_as_of(&self, aggregate: &AggregateKey, point: impl Into<AsOf>) -> Result<EventStream> {
        self.load_range(aggregate, &StreamRange::all().as_of(point))
    }

    /// The version an aggregate is at; 0 if it has no events. Loads no event: on a server, one round trip.
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`].
    fn version(&self, aggregate: &AggregateKey) -> Result<Version> {
        Ok(self.load_range(aggregate, &StreamRange::all().limit(0))?.version())
    }

    /// Reads the log, page by page behind the scenes, up to the high-water mark of the first page.
    ///
    /// Memory stays that of one page, and no connection is held between pages. After an error the iterator ends.
    ///
    /// A consumer keeps [`checkpoint()`](Events::checkpoint), and nothing else, wherever it stopped reading:
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
        Events {
            store: self,
            checkpoint: query.bounds().0,
            query,
            cursor: None,
            page: Vec::new().into_iter(),
            mark: None,
            at_the_end: None,
            finished: false,
        }
    }

    /// Follows the log: reads the stored events, as [`read`](Self::read) does, and then waits for new ones, from this program or another.
    /// Nothing is skipped, and nothing is handed out twice.
    ///
    /// Appends through this store, or a clone of it, end the wait at once. So do those of other programs on PostgreSQL, where appends
    /// notify; elsewhere the log is looked at after 20 milliseconds, and then ever less often, down to once a second: one statement,
    /// three on MySQL and MariaDB. While the store cannot be reached, it is tried again, with pauses of up to a second, and a line is
    /// written to the `log` crate. No connection is held while it waits, but one to listen on where appends notify.
    ///
    /// A program that keeps its checkpoint in the store, or runs in several processes, is better served by [`consumer`](crate::consumer).
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
    /// Those of [`read_page`](EventStore::read_page), as items, but for errors that are [retryable](Error::is_retryable): see
    /// [`Follow::timeout`]. [`InvalidInput`](crate::ErrorKind::InvalidInput), as the first item, for a query that is not in the order of the
    /// log; a range of time alone does not order it.
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

    /// As the view `v_recent_events`, by this program's clock: what was created within `age`, which is 24 hours in the
    /// view, the newest first.
    fn recent_events(&self, age: Duration) -> Events<'_, Self> {
        let age = time::Duration::try_from(age).unwrap_or(time::Duration::MAX);
        let since = OffsetDateTime::now_utc().saturating_sub(age);
        self.read(EventQuery::new().created_at(since..).backwards())
    }

    /// This store as one tenant sees it: reads see only that tenant's events, appends are for that tenant.
    fn for_tenant(&self, tenant: TenantId) -> TenantStore<Self>
    where
        Self: Clone,
    {
        TenantStore::new(self.clone(), tenant)
    }
}

impl<S: EventStore + ?Sized> EventStoreExt for S {}

/// What a program does within a transaction.
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

    /// Loads the whole stream of an aggregate, with what the transaction appended.
    ///
    /// # Errors
    ///
    /// As [`EventTransaction::load_range`].
    fn load(&mut self, aggregate: &AggregateKey) -> Result<EventStream> {
        self.load_range(aggregate, &StreamRange::all())
    }
}

impl<T: EventTransaction + ?Sized> EventTransactionExt for T {}

/// What a program does with a snapshot store.
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

    /// The newest snapshot of an aggregate of those whose state is of this form: see [`SnapshotAt::LatestOf`].
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

    /// Deletes all snapshots of an aggregate whose state is of this form but the newest `count`.
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

    /// Deletes all snapshots of an aggregate but the newest `count`, whatever their forms.
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

/// The events of a read: see [`EventStoreExt::read`].
#[derive(Debug)]
pub struct Events<'a, S: EventStore + ?Sized> {
    store: &'a S,
    query: EventQuery,
    cursor: Option<Cursor>,
    page: std::vec::IntoIter<EventEnvelope>,
    mark: Option<GlobalSequence>,
    checkpoint: GlobalSequence,
    /// The checkpoint once the last page is handed out.
    at_the_end: Option<GlobalSequence>,
    finished: bool,
}

impl<S: EventStore + ?Sized> Events<'_, S> {
    /// The checkpoint to keep when every event that was handed out is handled: a read that continues [after](EventQuery::after) it skips
    /// nothing and repeats nothing, whatever ended this one.
    ///
    /// It is the last event that was handed out. Once the iterator has returned `None`, it is the position up to which the log was
    /// looked through: the high-water mark or the query's `until`, whichever is smaller, whatever the filters let pass; but the last
    /// event, where the query's limit ended the read. Reads in the order of time, or backwards, leave the query's `after` as it
    /// is until the log is exhausted. After an error it is what was handed out before.
    ///
    /// ```
    /// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let deposits = (0..25).map(|n| NewEvent::new("money.deposited", &n)).collect::<Result<Vec<_>, Error>>()?;
    /// store.append(&account, ExpectedVersion::NoStream, &deposits)?;
    ///
    /// let mut events = store.read(EventQuery::new().limit(10));
    /// assert_eq!((&mut events).count(), 10);
    /// assert_eq!(events.checkpoint(), 10); // the high-water mark is 25, but 15 events are still to be read
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn checkpoint(&self) -> GlobalSequence {
        self.checkpoint
    }

    /// The high-water mark that this read goes up to, known once it began. Not a checkpoint: the read may have ended before it.
    #[must_use]
    pub fn high_water_mark(&self) -> Option<GlobalSequence> {
        self.mark
    }
}

impl<S: EventStore + ?Sized> Iterator for Events<'_, S> {
    type Item = Result<EventEnvelope>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.page.next() {
                if self.query.is_log_order() {
                    self.checkpoint = event.global_sequence;
                }
                return Some(Ok(event));
            }
            if self.finished {
                self.checkpoint = self.at_the_end.unwrap_or(self.checkpoint);
                return None;
            }
            match self.store.read_page(&self.query, self.cursor.as_ref()) {
                Ok(page) => {
                    self.mark = Some(page.high_water_mark);
                    self.page = page.events.into_iter();
                    self.finished = page.next.is_none();
                    self.at_the_end = self.finished.then_some(page.checkpoint);
                    self.cursor = page.next;
                }
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<S: EventStore + ?Sized> std::iter::FusedIterator for Events<'_, S> {}

macro_rules! forward_through_pointers {
    ($($Pointer:ident),*) => {$(
        impl<S: EventStore + ?Sized> EventStore for $Pointer<S> {
            fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
                (**self).append_all(appends)
            }

            fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
                (**self).transact(work)
            }

            fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
                (**self).load_range(aggregate, range)
            }

            fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
                (**self).read_page(query, cursor)
            }

            fn high_water_mark(&self) -> Result<GlobalSequence> {
                (**self).high_water_mark()
            }

            fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
                (**self).statistics(tenant)
            }

            fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
                (**self).aggregate_summaries(query)
            }

            fn refresh_aggregate_summaries(&self) -> Result<()> {
                (**self).refresh_aggregate_summaries()
            }

            fn health(&self) -> Result<Health> {
                (**self).health()
            }
        }

        impl<S: SnapshotStore + ?Sized> SnapshotStore for $Pointer<S> {
            fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
                (**self).save_snapshot(tenant, snapshot)
            }

            fn find_snapshot(
                &self,
                tenant: Option<&TenantId>,
                aggregate: &AggregateKey,
                at: SnapshotAt<'_>,
            ) -> Result<Option<Snapshot>> {
                (**self).find_snapshot(tenant, aggregate, at)
            }

            fn load_from_snapshot(
                &self,
                tenant: Option<&TenantId>,
                aggregate: &AggregateKey,
                at: SnapshotAt<'_>,
            ) -> Result<(Option<Snapshot>, EventStream)> {
                (**self).load_from_snapshot(tenant, aggregate, at)
            }

            fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>> {
                (**self).list_snapshots(tenant, aggregate)
            }

            fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
                (**self).count_snapshots(tenant, aggregate)
            }

            fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64> {
                (**self).delete_snapshots(tenant, selection)
            }

            fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
                (**self).snapshot_statistics(tenant)
            }
        }

        impl<S: ConsumerStore + ?Sized> ConsumerStore for $Pointer<S> {
            fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
                (**self).consume(work)
            }

            fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
                (**self).consumers(name)
            }

            fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
                (**self).parked_events(which)
            }

            fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
                (**self).count_parked(consumer, aggregate_id)
            }

            fn appends(&self) -> Result<Option<Box<dyn Appends>>> {
                (**self).appends()
            }

            fn wake(&self) -> &Wake {
                (**self).wake()
            }

            fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
                (**self).is_transient(error)
            }

            fn took_too_long(&self, error: &(dyn std::error::Error + 'static)) -> bool {
                (**self).took_too_long(error)
            }

            fn longest_transaction(&self) -> Option<Duration> {
                (**self).longest_transaction()
            }

            fn max_connections(&self) -> Option<u32> {
                (**self).max_connections()
            }
        }
    )*};
}

forward_through_pointers!(Box, Arc);
