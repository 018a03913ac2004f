//! The store: options, opening, and what every store does.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::{
    Connections, DataRules, Pool, ProvedMark, SlotsQuery, SqlTransaction, Work, WorkTransaction, any_cause,
    any_transient, consumers, snapshot_store, tables,
};
use firefly_eventstore_core::consumer::{
    ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Transactional, Wake,
};
use firefly_eventstore_core::{
    AggregateKey, AggregateSummary, Append, Appended, Cursor, Error, ErrorKind, EventQuery, EventStore, EventStream,
    EventTransaction, GlobalSequence, Health, Indexes, Limits, Migration, Page, Result, Statistics, StreamRange,
    SummaryQuery, TenantId, backend,
};
use rusqlite::Connection;
use uuid::Uuid;

use crate::error::{classify, is_interrupted, kind_of};
use crate::lent::WritingConnection;
use crate::options::{JournalMode, Options, Synchronous};
use crate::pool::{Database, Location, Readers};
use crate::session::Session;
use crate::writer::WriteLine;
use crate::{append, migrate, read, schema, transaction};

/// A store in an SQLite database.
///
/// Clones share the connections: a writing one, and a pool of reading ones. Threads that append at the same time share a commit. With a
/// write-ahead log, reads and writes do not wait for each other. Several processes may use a file.
///
/// ```
/// use firefly_eventstore_core::prelude::*;
/// use firefly_eventstore_sqlite::SqliteEventStore;
///
/// let store = SqliteEventStore::in_memory()?;
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let opened = NewEvent::new("account.opened", &serde_json::json!({ "owner": "Ada" }))?;
///
/// store.append(&account, ExpectedVersion::NoStream, &[opened])?;
/// assert_eq!(store.load(&account)?.version(), 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct SqliteEventStore(Arc<Shared>);

/// About how long a consumer's transaction may keep other writers waiting.
const LONGEST_TRANSACTION: Duration = Duration::from_millis(20);

struct Shared {
    database: Arc<Database>,
    writer: Writing,
    readers: Pool<Readers>,
    /// The indexes that existed when the store was opened, or when an index was last missing.
    indexes: RwLock<Arc<[String]>>,
    /// The greatest mark that was returned.
    given_out: ProvedMark,
    /// A database in memory has no write-ahead log, so readers and the writer take turns.
    gate: RwLock<()>,
    wake: Wake,
}

enum Writing {
    Allowed(WriteLine),
    /// A read-only store keeps its first connection: while the file is open, no other file gets its number.
    Refused(#[expect(dead_code, reason = "it is only kept")] Mutex<Connection>),
}

/// How to open a store: see [`SqliteEventStore::builder`].
#[derive(Clone, Debug)]
#[must_use = "call open()"]
pub struct SqliteBuilder {
    location: Location,
    options: Options,
}

impl SqliteEventStore {
    /// Opens the store in a file. A file that is missing or empty becomes a store.
    ///
    /// The store stays with that file, even if the working directory or a link in the path changes. On Unix, if the file or its write-ahead
    /// log is moved, replaced or removed while it is open, every later call is refused with [`Moved`](ErrorKind::Moved): appended events
    /// would be lost. The check costs each call three look-ups of a file, about 1 µs.
    ///
    /// # Errors
    ///
    /// - [`Schema`](ErrorKind::Schema) if the file's schema is older (see [`SqliteBuilder::migrate`]), newer or altered;
    /// - [`Integrity`](ErrorKind::Integrity) if the file is damaged or no SQLite database;
    /// - [`Io`](ErrorKind::Io) if the directory is missing, or the program has no right to the file;
    /// - [`Unavailable`](ErrorKind::Unavailable) if it is locked beyond the busy timeout;
    /// - [`InvalidInput`](ErrorKind::InvalidInput) if it is a directory, or a name that SQLite takes for something else than a
    ///   file: an empty one, `:memory:`, `file:…`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Opens a new store in memory. It exists until the last clone is dropped.
    ///
    /// Readers and the writer take turns.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub fn in_memory() -> Result<Self> {
        Self::in_memory_builder().open()
    }

    /// Options for opening a file.
    pub fn builder(path: impl AsRef<Path>) -> SqliteBuilder {
        SqliteBuilder::at(Location::File(PathBuf::from(path.as_ref())))
    }

    /// Options for opening a new store in memory.
    pub fn in_memory_builder() -> SqliteBuilder {
        SqliteBuilder::at(Location::memory())
    }

    /// Appends events, and whatever else `work` writes through the transaction's connection, in one commit.
    ///
    /// An error rolls everything back. So does a failed append, even if `work` returns `Ok`. Appends of other threads wait meanwhile.
    /// Within `work`, this thread must use the transaction: calls of the store and its clones are refused. To mix this crate's errors with
    /// `rusqlite`'s, let `work` return `Box<dyn Error + Send + Sync>`.
    ///
    /// ```
    /// use firefly_eventstore_core::prelude::*;
    /// use firefly_eventstore_sqlite::{SqliteEventStore, driver};
    ///
    /// let store = SqliteEventStore::in_memory()?;
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let deposited = NewEvent::new("money.deposited", &serde_json::json!({ "amount": 250 }))?;
    ///
    /// store.transaction(|tx| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ///     tx.append(&account, ExpectedVersion::NoStream, &[deposited])?;
    ///     tx.connection().execute_batch("CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER)")?;
    ///     tx.connection().execute("INSERT INTO balances VALUES (?1, ?2)", driver::params![account.id().to_string(), 250])?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `work`, that of the failed append, or one of SQLite's.
    pub fn transaction<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut SqliteTransaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let work = |connection: &Connection, had_connection: &Cell<bool>| {
            transaction::in_transaction(connection, Some(&self.0.database), |connection| {
                let mut transaction = SqliteTransaction {
                    connection,
                    had_connection,
                    work: Work::new(self.options().data_rules()),
                };
                let result = work(&mut transaction);
                let result = transaction.work.outcome(result)?;
                Ok((result, transaction.work.has_appended()))
            })
        };
        let committed: Result<(R, bool), E> = self.take_turn(|connection| connection.lend(work))??;
        let (result, has_appended) = committed?;
        if has_appended {
            self.0.wake.tell();
        }
        Ok(result)
    }

    /// Appends within the caller's transaction, on the caller's connection to the same file.
    ///
    /// The checks are those of every append, and it is as safe to retry. A failed append leaves nothing behind in the transaction. Begin
    /// the transaction with `BEGIN IMMEDIATE`: one that has read first may no longer be able to write. The store does not see the commit,
    /// so it does not [wake](ConsumerStore::wake) threads that wait for events. They find the events when they read next.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append_all`], and [`InvalidInput`](ErrorKind::InvalidInput) if no transaction was begun, or if the connection's
    /// main database is not this store's.
    pub fn append_within(&self, connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        backend::check(appends, &self.options().limits)?;
        if connection.is_autocommit() {
            return Err(
                Error::invalid("the connection has no transaction; begin one first").during(backend::describe(appends))
            );
        }
        let check = self.0.database.check_same(connection);
        check.map_err(|error| error.during(backend::describe(appends)))?;
        append::within(connection, appends)
    }

    /// How SQLite finds the page of a query: the details of `EXPLAIN QUERY PLAN`, for tests of the indexes.
    #[doc(hidden)]
    pub fn explain(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Vec<String>> {
        self.read(|connection| read::explain(connection, query, cursor, &self.indexes()))
    }

    fn indexes(&self) -> Arc<[String]> {
        Arc::clone(&self.0.indexes.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.database.options
    }

    fn writer(&self) -> Result<&WriteLine> {
        match &self.0.writer {
            Writing::Allowed(writer) => Ok(writer),
            Writing::Refused(_) => Err(Error::new(ErrorKind::ReadOnly)),
        }
    }

    /// The greatest mark that this store has given out.
    pub(crate) fn proved(&self) -> GlobalSequence {
        self.0.given_out.get()
    }

    /// Runs `work` while nothing else of this store writes.
    pub(crate) fn alone<R>(&self, work: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        self.take_turn(|connection| work(connection.get()?))?
    }

    /// Runs `work` in a transaction of its own.
    fn write<R>(&self, work: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        self.alone(|connection| transaction::in_transaction(connection, Some(&self.0.database), work))
    }

    fn take_turn<R>(&self, work: impl FnOnce(&mut WritingConnection) -> R) -> Result<R> {
        let writer = self.writer()?;
        writer.check_not_held()?;
        let _gate = self.close_gate();
        writer.alone(work)
    }

    fn close_gate(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        let shared = &*self.0;
        let close = || shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        shared.database.location.is_memory().then(close)
    }

    /// Runs `work` on a new connection, while nothing else of this store writes. So it leaves nothing on the writing connection.
    pub(crate) fn maintain<R>(&self, work: impl FnOnce(&mut Connection) -> Result<R>) -> Result<R> {
        self.take_turn(|_| work(&mut self.0.database.open_another()?))?
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&mut Connection) -> Result<R>) -> Result<R> {
        let _gate = self.pass_gate()?;
        let database = &self.0.database;
        database.check()?;
        let result = read(&mut *self.0.readers.get()?);
        if database.options.immutable {
            // SQLite did not check whether the file changed meanwhile.
            database.check()?;
        }
        result
    }

    /// Reads on a new connection, which has nothing of the file in its cache.
    pub(crate) fn read_afresh<R>(&self, read: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        let _gate = self.pass_gate()?;
        read(&self.0.database.open_reader()?)
    }

    /// The mark. If it is less than an earlier one, events were removed from the end of the log. That is an error once; then the old mark
    /// is forgotten.
    fn mark(&self, connection: &Connection) -> Result<GlobalSequence> {
        let before = self.0.given_out.get();
        let mark = read::mark(connection)?;
        self.0.given_out.check(before, mark, || Ok(mark))?;
        self.0.given_out.raise(mark);
        Ok(mark)
    }

    fn pass_gate(&self) -> Result<Option<RwLockReadGuard<'_, ()>>> {
        let shared = &*self.0;
        if let Writing::Allowed(writer) = &shared.writer {
            writer.check_not_held()?;
        }
        let pass = || shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        Ok(shared.database.location.is_memory().then(pass))
    }

    /// Reads with several statements that see one state of the database.
    pub(crate) fn read_one_state<R>(&self, read: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        self.read(|connection| {
            let transaction = connection.transaction().map_err(classify)?;
            read(&transaction)
        })
    }
}

impl SqliteBuilder {
    fn at(location: Location) -> Self {
        Self {
            location,
            options: Options::default(),
        }
    }

    /// Sets what a commit survives; [`Synchronous::Full`] unless set.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.options.synchronous = synchronous;
        self
    }

    /// Sets how SQLite makes a commit atomic; [`JournalMode::Wal`] unless set. It is stored in the file.
    pub fn journal_mode(mut self, journal_mode: JournalMode) -> Self {
        self.options.journal_mode = journal_mode;
        self
    }

    /// Sets how long to wait for another process that has locked the file, or for a reading connection; 5 seconds unless set.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.options.busy_timeout = timeout;
        self
    }

    /// Sets the number of reading connections, at least 1. Unless set, it is the number of cores, from 4 to 16. Each connection is opened when
    /// it is first needed.
    pub fn readers(mut self, readers: u32) -> Self {
        self.options.readers = readers.max(1);
        self
    }

    /// Sets whether the store only reads; off unless set. Every append is then refused with [`ReadOnly`](ErrorKind::ReadOnly).
    ///
    /// A store that was closed can be read in a directory without the right to write, such as a backup on read-only media. If another
    /// program writes to it meanwhile, every later call fails with [`Moved`](ErrorKind::Moved); then open it again. If the write-ahead log
    /// exists, as in a copy of an open store, first copy both files to a directory where the program may write.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Sets whether [`open`](Self::open) migrates an older schema, or tables that were made by hand; off unless set: then opening fails.
    pub fn migrate_on_open(mut self, migrate: bool) -> Self {
        self.options.migrate_on_open = migrate;
        self
    }

    /// Sets the indexes that the store has after [`migrate`](Self::migrate), after [`open`](Self::open) of a new file, or with
    /// [`migrate_on_open`](Self::migrate_on_open). Unless set, a new store gets [`Indexes::Standard`], and an existing store keeps its
    /// indexes.
    pub fn indexes(mut self, indexes: Indexes) -> Self {
        self.options.indexes = Some(indexes);
        self
    }

    /// Sets whether the checksum of every event and snapshot is verified when it is read; off unless set. This costs a SHA-256 of each one's canonical JSON. A
    /// wrong checksum, or none because another program wrote the row, is an [`Integrity`](ErrorKind::Integrity) error.
    pub fn verify_on_read(mut self, verify: bool) -> Self {
        self.options.verify_on_read = verify;
        self
    }

    /// Sets the limits of events and snapshots, up to [`Limits::TEXT`]; [`Limits::PORTABLE`] unless set.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// As [`SqliteEventStore::open`]; with [`migrate_on_open`](Self::migrate_on_open), those of
    /// [`migrate`](Self::migrate).
    pub fn open(self) -> Result<SqliteEventStore> {
        let name = format!("open {}", self.location);
        self.try_open().map_err(|error| error.during(name))
    }

    fn try_open(self) -> Result<SqliteEventStore> {
        let Self { location, mut options } = self;
        let location = location.absolute()?;
        let mut connection = crate::pool::open(&location, &mut options)?;
        if !options.read_only && (options.migrate_on_open || schema::is_empty(&connection)?) {
            migrate::migrate(&mut connection, options.indexes)?;
        }
        migrate::require_current(&connection)?;
        let indexes = migrate::available_indexes(&connection)?;
        if !options.read_only {
            crate::pool::set_up_writer(&connection, &location, &options)?;
        }
        let Options {
            readers, busy_timeout, ..
        } = options;
        let database = Arc::new(Database::of(&connection, location, options)?);
        let writer = match database.options.read_only {
            true => Writing::Refused(Mutex::new(connection)),
            false => Writing::Allowed(WriteLine::new(
                WritingConnection::new(connection, Arc::clone(&database))?,
                Arc::clone(&database),
            )),
        };
        Ok(SqliteEventStore(Arc::new(Shared {
            readers: Pool::new(Readers(Arc::clone(&database)), readers, busy_timeout),
            database,
            writer,
            indexes: RwLock::new(indexes.into()),
            given_out: ProvedMark::default(),
            gate: RwLock::new(()),
            wake: Wake::default(),
        })))
    }

    /// Brings the schema up to date. Returns the migrations that were applied, if any.
    ///
    /// Makes and drops indexes as [`indexes`](Self::indexes) says. All of it is one transaction: a crash in the middle leaves the file as
    /// it was, and any number of processes may start at once. Tables that were made by hand from the schema of the Firefly Event Sourcing
    /// Library are adopted: their rows keep their ids, versions, sequences and times, and get checksums.
    ///
    /// # Errors
    ///
    /// As [`SqliteEventStore::open`]; [`InvalidInput`](ErrorKind::InvalidInput) if a row of a table made by hand cannot be adopted. The
    /// error names the row, and the file does not change.
    pub fn migrate(&self) -> Result<Vec<Migration>> {
        let migrate = || {
            let mut connection = crate::pool::open(&self.location.absolute()?, &mut self.options.clone())?;
            migrate::migrate(&mut connection, self.options.indexes)
        };
        migrate().map_err(|error: Error| error.during(format_args!("migrate {}", self.location)))
    }

    /// The migrations that [`migrate`](Self::migrate) would apply.
    ///
    /// # Errors
    ///
    /// As [`SqliteEventStore::open`].
    pub fn pending(&self) -> Result<Vec<Migration>> {
        let pending = || {
            let connection = crate::pool::open(&self.location.absolute()?, &mut self.options.clone())?;
            migrate::pending(&connection)
        };
        pending().map_err(|error: Error| error.during(format_args!("look at the schema of {}", self.location)))
    }
}

impl fmt::Debug for SqliteEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteEventStore")
            .field("location", &self.0.database.location)
            .field("options", &self.0.database.options)
            .finish_non_exhaustive()
    }
}

impl EventStore for SqliteEventStore {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        backend::check(appends, &self.options().limits)?;
        let name = |error: Error| error.during(backend::describe(appends));
        let writer = self.writer().map_err(name)?;
        writer.check_not_held().map_err(name)?;
        let results = {
            let _gate = self.close_gate();
            writer.append(appends)?
        };
        self.0.wake.tell();
        Ok(results)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        self.transaction(|transaction| work(transaction))
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        backend::load_range(&Sessions(self), aggregate, range)
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        let page = |connection: &mut Connection| {
            let mark = match cursor {
                Some(cursor) => cursor.high_water_mark(),
                None => {
                    let mark = self.mark(connection)?;
                    query.check_end(mark, || Ok(mark))?;
                    mark
                }
            };
            let indexes = self.indexes();
            let page = |indexes: &[String]| read::page(connection, query, cursor, mark, indexes);
            page(&indexes).or_else(|error| {
                if indexes.is_empty() || !matches!(error.kind(), ErrorKind::Schema(_) | ErrorKind::Integrity { .. }) {
                    return Err(error);
                }
                // An index may have been dropped, or replaced by another with its name. A query without indexes finds the same events.
                let page = page(&[])?;
                let there = migrate::available_indexes(connection)?.into();
                *self.0.indexes.write().unwrap_or_else(PoisonError::into_inner) = there;
                Ok(page)
            })
        };
        self.read(page)
            .and_then(|page| backend::verified_page(page, self.options().verify_on_read))
            .map_err(|error| error.during("read the log"))
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        self.read(|connection| self.mark(connection))
            .map_err(|error| error.during("read the high-water mark"))
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
        self.read_one_state(|connection| tables::statistics(&mut Session(connection), tenant))
            .map_err(|error| error.during("read statistics"))
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        self.read(|connection| read::summaries(connection, query))
            .map_err(|error| error.during("read aggregate summaries"))
    }

    /// Does nothing: SQLite's summary is a view.
    fn refresh_aggregate_summaries(&self) -> Result<()> {
        Ok(())
    }

    fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        let (mark, schema) = self
            .read_one_state(|connection| Ok((read::mark(connection)?, migrate::version(connection)?)))
            .map_err(|error| error.during("check the health"))?;
        let latency = asked.elapsed();
        let version = rusqlite::version().to_owned();
        let writable = !self.options().read_only;
        Ok(Health::new("sqlite", version, schema, writable, mark, latency))
    }
}

/// Gives the code that all databases share the store's connections.
pub(crate) struct Sessions<'a>(pub(crate) &'a SqliteEventStore);

impl Connections for Sessions<'_> {
    type Session<'c> = Session<'c>;

    fn read<R>(&self, mut work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R> {
        self.0.read(|connection| work(&mut Session(connection)))
    }

    fn write<R>(&self, mut work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R> {
        self.0.write(|connection| work(&mut Session(connection)))
    }

    fn data_rules(&self) -> DataRules {
        self.0.options().data_rules()
    }
}

snapshot_store!(SqliteEventStore, Sessions);

impl ConsumerStore for SqliteEventStore {
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
        self.transaction(|transaction| work(transaction))
    }

    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
        let which = name.map_or(SlotsQuery::All, SlotsQuery::Of);
        self.read(|connection| consumers::slots(&mut Session(connection), which))
    }

    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.read(|connection| consumers::parked(&mut Session(connection), which))
    }

    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
        self.read(|connection| consumers::count_parked(&mut Session(connection), consumer, aggregate_id))
    }

    fn wake(&self) -> &Wake {
        &self.0.wake
    }

    /// By SQLite's result code: a file that is locked, that cannot be read, written or enlarged, or that was moved.
    fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        any_transient(error, |error| error.downcast_ref().map(kind_of))
    }

    /// By SQLite's result code: `SQLITE_INTERRUPT`, by which a program stops its own statements. Not `SQLITE_BUSY` of the busy timeout,
    /// which means that another connection writes.
    fn took_too_long(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        any_cause(error, |error| error.downcast_ref().is_some_and(is_interrupted))
    }

    /// Appends of other threads and processes wait that long.
    fn longest_transaction(&self) -> Option<Duration> {
        Some(LONGEST_TRANSACTION)
    }

    /// The [readers](SqliteBuilder::readers) and the writing connection.
    fn max_connections(&self) -> Option<u32> {
        Some(self.0.readers.max_size().saturating_add(1))
    }
}

impl Transactional for SqliteEventStore {
    type Transaction<'t> = SqliteTransaction<'t>;

    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.transaction(work)
    }
}

/// A transaction of an SQLite store: see [`SqliteEventStore::transaction`].
#[derive(Debug)]
pub struct SqliteTransaction<'a> {
    connection: &'a Connection,
    had_connection: &'a Cell<bool>,
    work: Work,
}

impl SqliteTransaction<'_> {
    /// The connection, for the caller's own tables. Do not commit or roll back through it.
    ///
    /// Pragmas, temporary tables, attached databases and functions that are left on it do not affect other calls: the store replaces such a
    /// connection, which costs about 0.3 ms. Written rows cost nothing more. (A new collation, or a new function that no statement called, may
    /// stay.)
    #[must_use]
    pub fn connection(&self) -> &Connection {
        self.had_connection.set(true);
        self.connection
    }
}

impl WorkTransaction for SqliteTransaction<'_> {
    fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

impl SqlTransaction for SqliteTransaction<'_> {
    type Session<'s>
        = Session<'s>
    where
        Self: 's;

    fn session(&mut self) -> Result<Session<'_>> {
        Ok(Session(self.connection))
    }

    fn append(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        append::within(self.connection, appends)
    }

    /// A failed statement of the caller's may have ended the transaction, for example because the disk is full. A checkpoint that is written
    /// now would be committed without the changes of the read model.
    fn check_consumers(&mut self) -> Result<()> {
        match self.connection.is_autocommit() {
            true => Err(transaction::ended()),
            false => Ok(()),
        }
    }
}
