//! The traits that a backend implements: small and object-safe. Programs call the methods of their extensions.

use std::fmt;

use crate::{
    AggregateKey, AggregateSummary, Append, Appended, Cursor, EventQuery, EventStream, GlobalSequence, Health,
    NewSnapshot, Page, Result, Snapshot, SnapshotAt, SnapshotSelection, SnapshotStatistics, Statistics, StreamRange,
    SummaryQuery, TenantId,
};

/// A store of events. All methods take `&self`: share a store between threads by reference, by clone or in an `Arc`.
///
/// Implement this trait to write a backend: few methods, no generics. Use [`EventStoreExt`](crate::EventStoreExt) to work with a store; it is
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

    /// Runs `work` in a transaction. If it returns `Ok`, all its appends are stored; if it returns an error, none is.
    ///
    /// After a failed append, the transaction is rolled back whatever `work` returns. `work` runs once. Within it, use the transaction, not
    /// the store: the store refuses calls by the same thread, which might wait for themselves.
    ///
    /// # Errors
    ///
    /// That of `work`, that of a failed append, or one of the backend's at the commit; [`InvalidInput`](crate::ErrorKind::InvalidInput),
    /// like every other method, within such a transaction of the same thread.
    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()>;

    /// Loads a part of one aggregate's stream, and the aggregate's version.
    ///
    /// Events and version belong to one state of the store, even if others append meanwhile.
    ///
    /// On a server, one round trip if the events include the newest one: for the whole stream, for the [`last`](StreamRange::last) events, and
    /// [`from_version`](StreamRange::from_version) if an event follows. Otherwise, the version is queried separately: two round trips if no
    /// event is found, or if a limit or the range's last version ends the part, and three if another append comes between the two. A point in
    /// the past that is a time or a global sequence takes one more, and another if the aggregate had no event then.
    ///
    /// Memory: all events of the part, with their data and metadata as text, and some hundred bytes more for each; up to three times that
    /// while it loads from PostgreSQL. There is no other limit, because a state needs the whole stream. If streams are large, load from a
    /// snapshot, or read one page by page as [`load`](crate::EventStoreExt::load) shows.
    ///
    /// # Errors
    ///
    /// - [`TypeMismatch`](crate::ErrorKind::TypeMismatch) if the id belongs to another type;
    /// - [`Archived`](crate::ErrorKind::Archived) if events of the part were [archived](crate::operate::Archiving);
    /// - [`Integrity`](crate::ErrorKind::Integrity) if a row is damaged, or does not match its checksum in a store that
    ///   verifies what it reads;
    /// - those of the backend.
    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream>;

    /// Reads a page of the log: the first if `cursor` is absent, else the one after the page that returned the cursor.
    ///
    /// No page reaches beyond the high-water mark, and the pages of one read share the mark of the first.
    ///
    /// On a server, each later page takes one round trip. The first page takes two, for the mark and for the events. It takes one if an
    /// earlier proved mark is enough: if the query ends [at or before](EventQuery::until) that mark, or goes forwards with a
    /// [limit](EventQuery::limit) of one page, and the events up to that mark fill it. If they do not, it takes two or three. There are
    /// exceptions. PostgreSQL plans a query by event ids, time or metadata each time. If a sequence is missing, MySQL and MariaDB first
    /// prove that it is final. Metadata filters may need further queries.
    ///
    /// # Errors
    ///
    /// - [`BeyondEnd`](crate::ErrorKind::BeyondEnd) if the query begins beyond the end of the log: events were lost;
    /// - [`Unprovable`](crate::ErrorKind::Unprovable) if this server cannot prove the high-water mark;
    /// - [`Archived`](crate::ErrorKind::Archived) if the page may lack events that were [archived](crate::operate::Archiving), unless the
    ///   query [skips](EventQuery::skip_archived) them;
    /// - [`Integrity`](crate::ErrorKind::Integrity) if a row is damaged, or does not match its checksum in a store that verifies what
    ///   it reads;
    /// - those of the backend.
    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page>;

    /// The last final position of the log: no event can still be committed at or before it. It is the global sequence of a
    /// committed event; 0 in an empty store. It never goes back, unless events are lost.
    ///
    /// # Errors
    ///
    /// - [`BeyondEnd`](crate::ErrorKind::BeyondEnd), once, if the log ends before a mark that this store returned: events were lost. The
    ///   next call proves the mark again;
    /// - [`Unprovable`](crate::ErrorKind::Unprovable) if this server cannot prove it;
    /// - those of the backend.
    fn high_water_mark(&self) -> Result<GlobalSequence>;

    /// The number of events and aggregates in the store, or of one tenant, by type. Reads the whole log: for dashboards, not for requests.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics>;

    /// A summary of each aggregate, ordered by id, computed from the current log: every committed event counts, except
    /// [archived](crate::operate::Archiving) ones.
    ///
    /// It reads every event of the aggregates that it lists. PostgreSQL, MySQL and MariaDB also keep summaries in a table,
    /// which a query may [ask for](SummaryQuery::as_of_last_refresh): these are as of the last
    /// [`refresh_aggregate_summaries`](Self::refresh_aggregate_summaries).
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>>;

    /// Updates the table of aggregate summaries, for queries [as of the last refresh](SummaryQuery::as_of_last_refresh) and for other
    /// programs that read the table.
    ///
    /// PostgreSQL, MySQL and MariaDB read the whole log for that. SQLite and the in-memory store have no such table and do nothing.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn refresh_aggregate_summaries(&self) -> Result<()>;

    /// Checks that the database works, and returns its kind, version and state. On a server, four round trips; more on MySQL and MariaDB if a
    /// sequence is missing in the log.
    ///
    /// # Errors
    ///
    /// Those of the backend. If the store does not work, the error says why.
    fn health(&self) -> Result<Health>;
}

/// A transaction of a store: see [`EventStore::transact`].
pub trait EventTransaction {
    /// Appends within the transaction. Other readers see the events after the commit.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append_all`]. After an error, the transaction cannot commit.
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Loads a part of one aggregate's stream, including events that the transaction appended.
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`].
    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream>;
}

/// A store that also keeps snapshots of aggregates. Snapshots are a cache: losing one only costs time.
pub trait SnapshotStore: EventStore {
    /// Saves a snapshot. It replaces a snapshot of the same aggregate and form at the same version. Other forms stay.
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
    /// On a server, one round trip. A search by form also reads newer snapshots of other forms, but not their states.
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

    /// Finds one snapshot of an aggregate, and loads the events from the snapshot's version on, including the event at that version. If
    /// there is no such snapshot, loads all events. With a tenant, only if it owns the aggregate.
    ///
    /// The result includes the event at the snapshot's version, so that the caller can check that both belong together, unless that event
    /// is [archived](crate::operate::Archiving). The stream's version is that of the aggregate.
    ///
    /// A database store finds both with one statement, so they belong to one state. On a server, that is one round trip, and two more if
    /// the event at the snapshot's version is missing. The default calls [`find_snapshot`](Self::find_snapshot) and then
    /// [`load_range`](EventStore::load_range), which also states the memory that events need.
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
    /// As [`find_snapshot`](Self::find_snapshot) and [`load_range`](EventStore::load_range). After an error, a caller can still load all
    /// events without the snapshot.
    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream)> {
        let snapshot = self.find_snapshot(tenant, aggregate, at)?;
        let mut range = StreamRange::with_snapshot(tenant, snapshot.as_ref());
        let stream = match self.load_range(aggregate, &range) {
            // The event at the snapshot's version may be the last archived one.
            Err(error) if error.is_archived() && snapshot.is_some() => {
                range.from = range.from.checked_add(1).unwrap_or(range.from);
                self.load_range(aggregate, &range)?
            }
            stream => stream?,
        };
        Ok((snapshot, stream))
    }

    /// All snapshots of an aggregate. Newest version first; for the same version, by descending name of the form. With a tenant, only if it
    /// owns the aggregate.
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

    /// The number, size and age of all snapshots, or of one tenant's.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics>;
}
