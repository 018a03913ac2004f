//! The store: options, opening, and what every store does.

use std::fmt;
use std::mem;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use firefly_eventstore_core::backend::{
    Found, Generation, Group, Line, ProvedMark, PublishedMark, Publisher, ServerCalls, ServerLog, ServerOptions,
    ServerTransaction, SlotsQuery, SqlTransaction, UsualSize, Window, WindowReading, Work, WorkTransaction, any_cause,
    any_transient, consumers, server_options, snapshot_store, tables,
};
use firefly_eventstore_core::consumer::{
    Appends, ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Transactional, Wake,
};
use firefly_eventstore_core::operate::{Diagnosis, Progress};
use firefly_eventstore_core::{
    AggregateKey, AggregateSummary, Append, Appended, Cursor, Error, ErrorKind, EventQuery, EventStore, EventStream,
    EventTransaction, GlobalSequence, Health, Limits, Migration, Page, Partitions, Result, Statistics, StreamRange,
    SummaryQuery, TenantId, backend,
};
use postgres::tls::{MakeTlsConnect, TlsConnect};
use postgres::{Client, Config, Socket, Transaction};
use uuid::Uuid;

use crate::conversion::Begun;
use crate::error::{classify, driver_error, is_elsewhere, is_lost, is_out_of_time, kind_of};
use crate::listen::Listener;
use crate::options::Options;
use crate::partitions::Starts;
use crate::pool::{Connect, Connection, Location, Place};
use crate::row::get;
use crate::session::{Session, Statements};
use crate::sql::Layout;
use crate::tls::{Tls, plain};
use crate::{append, consumer, convert, migrate, read, sql};

/// A store in a PostgreSQL database.
///
/// Clones share a pool of connections. An append is one round trip in autocommit. If a call finds that its connection was lost, it is
/// repeated once on a new connection. That is safe, because appends are safe to repeat. More than four threads that append at once share
/// statements: see [`group`](PostgresBuilder::group).
///
/// ```no_run
/// use firefly_eventstore_core::prelude::*;
/// use firefly_eventstore_postgres::PostgresEventStore;
///
/// let store = PostgresEventStore::open("postgres://clerk@localhost/ledger")?;
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::from_json("account.opened", "{}")?])?;
/// assert_eq!(store.load(&account)?.version(), 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct PostgresEventStore {
    shared: Arc<Shared>,
    /// Publishes the mark until the last clone is dropped. It has its own copy of the store, without a publisher.
    _publisher: Option<Arc<Publisher>>,
}

struct Shared {
    calls: ServerCalls<Connection>,
    location: Location,
    options: Options,
    /// The names of the tables, indexes and other objects in the schema when the store was opened.
    indexes: Vec<String>,
    /// The greatest mark that was proved. A writer that announces itself later can only allocate sequences beyond it.
    proved: ProvedMark,
    /// Where the partitions begin.
    starts: Starts,
    usual_size: UsualSize,
}

/// How to open a store: see [`PostgresEventStore::builder`].
#[derive(Clone, Debug)]
#[must_use = "call open()"]
pub struct PostgresBuilder {
    /// An invalid URL is reported when the store is opened, so that `builder` returns no error.
    location: Result<Box<Location>>,
    options: Options,
}

impl PostgresEventStore {
    /// Opens the store in the database that a URL names, such as `postgres://clerk:secret@db.example/ledger`.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if the URL cannot be understood, the database's encoding is not
    ///   UTF8, or the limits allow U+0000, which PostgreSQL cannot keep;
    /// - [`Schema`](firefly_eventstore_core::ErrorKind::Schema) if the schema is missing, older (see [`PostgresBuilder::migrate`]), newer or altered,
    ///   or its sequence is behind the log;
    /// - [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if the server cannot be reached;
    /// - [`PermissionDenied`](firefly_eventstore_core::ErrorKind::PermissionDenied) if it refuses the user;
    /// - [`Backend`](firefly_eventstore_core::ErrorKind::Backend) if it has no such database, or TLS fails.
    pub fn open(url: &str) -> Result<Self> {
        Self::builder(url).open()
    }

    /// Options for opening a database that a URL, or a `key=value` string, names.
    ///
    /// The URL's options are those of the driver's [`Config`]. With the feature `rustls`, a URL also says how the connection is encrypted,
    /// as it does for PostgreSQL's own programs:
    ///
    /// | option | |
    /// |---|---|
    /// | none of these, or `sslmode=disable` | Not encrypted. |
    /// | `sslmode=prefer` | Encrypted if the server offers it. Only for servers and networks that you trust. |
    /// | `sslmode=require` | Encrypted, but any server is accepted: protects against listeners, not against impostors. With `sslrootcert`, as `verify-ca`. |
    /// | `sslmode=verify-ca` | Encrypted; a trusted authority must have signed the server's certificate. |
    /// | `sslmode=verify-full` | As `verify-ca`, and the certificate must be for this host. Use this mode on the open network. |
    /// | `sslrootcert=FILE` | The trusted authorities, as PEM. Without it, or with `system`: those that browsers trust. |
    /// | `sslcert=FILE`, `sslkey=FILE` | The client's certificate and its key, as PEM. |
    ///
    /// With certificates and no mode, the mode is `verify-full`. If encryption is required and the server has none, opening fails. There is
    /// no TLS on Unix sockets. The files are read when the builder is made.
    pub fn builder(url: &str) -> PostgresBuilder {
        let location = Tls::of(url).and_then(|(tls, rest)| {
            // The driver's error is dropped: it may contain a part of the URL, with the password.
            let mut config = Config::from_str(&rest).map_err(|_| {
                let takes = |option: &str| Config::from_str(&format!("postgres://host/database?{option}")).is_ok();
                backend::refused_url(&rest, "postgres://user:password@host:port/database", takes)
            })?;
            let connect = tls.connect(&mut config)?;
            Ok((config, connect))
        });
        PostgresBuilder::at(location)
    }

    /// Options for opening a database, for a configuration that a URL does not express.
    pub fn configure(config: Config) -> PostgresBuilder {
        PostgresBuilder::at(Ok((config, plain())))
    }

    /// Appends events, and whatever else `work` writes through the transaction's connection, in one commit.
    ///
    /// An error rolls everything back. So does a failed append, or a failed statement of `work` outside a savepoint
    /// (`connection().transaction()`), even if `work` returns `Ok`. The begin and the commit take a round trip each. Once a second, one
    /// more checks whether the store was converted. An append takes three, because it has a savepoint of its own. To mix this crate's
    /// errors with `postgres`'s, let `work` return `Box<dyn Error + Send + Sync>`. A connection that was lost before `work` began is
    /// replaced. If it is lost during the commit, it is unknown whether the transaction was committed. Appends are safe to repeat; make the
    /// rest of `work` safe to repeat, too. Within `work`, this thread must use the transaction: calls of the store and its clones are
    /// refused, because the thread might wait for itself. If `work` used the transaction's connection, the round trip that ends the
    /// transaction also resets settings, the role, locks and temporary tables.
    ///
    /// # Errors
    ///
    /// That of `work`, that of the append that failed, or one of PostgreSQL's.
    pub fn transaction<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut PostgresTransaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.require_writable()?;
        let mut connection = self.shared.calls.connection()?;
        if connection.is_in_recovery {
            // The server may have been promoted, or another server may be the primary now.
            connection.generation.retire();
            drop(connection);
            connection = self.shared.calls.connection()?;
        }
        let error = match self.begin(&mut connection) {
            Ok(transaction) => return self.shared.calls.run(transaction, work),
            Err(error) => error,
        };
        if !self.is_lost(&connection, &error) {
            return Err(error.into());
        }
        // The work has not begun, so it can run on another connection.
        drop(connection);
        let mut connection = self.shared.calls.connection()?;
        self.shared.calls.run(self.begin(&mut connection)?, work)
    }

    /// Appends within the caller's transaction on the caller's connection. The connection's search path must lead to the same schema, and
    /// its role needs the right to `SELECT` from `firefly_schema_history`, too.
    ///
    /// The checks are those of every append, and it is as safe to retry. A failed append leaves nothing behind in the transaction, which
    /// goes on. An append with its savepoint takes three round trips, and one more to prepare the statement.
    ///
    /// Prefer a `READ COMMITTED` transaction. In another isolation level, it does not see events that were appended after its snapshot. If
    /// such an event conflicts, the error is retryable, and says to begin the whole transaction again. There, each append also opens a
    /// connection to check whether the aggregate was archived meanwhile. The store does not see the commit, so it does not
    /// [wake](ConsumerStore::wake) threads that wait for events. They find the events when they read next.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append_all`]; [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput), before anything is written, if the
    /// connection leads to another server, database or schema than the store was opened in, or has another `client_encoding` than UTF8.
    pub fn append_within(&self, transaction: &mut Transaction<'_>, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.require_writable()?;
        backend::check(appends, &self.shared.options.server.limits)?;
        let mut session = Session {
            client: transaction,
            statements: &mut Statements::default(),
            layout: Layout::default(), // until it was looked where the connection leads
            is_in_recovery: false,
        };
        append::within(&mut session, appends, Some(&self.shared.location))
    }

    /// Waits for appends of any program, so that a follower of the log need not poll. Appends must [notify](PostgresBuilder::notify).
    ///
    /// Most programs do not need this: [`follow`](firefly_eventstore_core::EventStoreExt::follow) and a runner of consumers listen by
    /// themselves. To miss nothing, first listen, then read to the end, then wait. A listener has its own connection, which is not one of
    /// the pool's.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use firefly_eventstore_core::prelude::*;
    /// # use firefly_eventstore_postgres::PostgresEventStore;
    /// # fn follow(store: &PostgresEventStore, mut checkpoint: GlobalSequence) -> Result<(), Error> {
    /// let mut appends = store.listen()?;
    /// loop {
    ///     let mut events = store.read(EventQuery::new().after(checkpoint));
    ///     for event in &mut events {
    ///         println!("{}", event?.data);
    ///     }
    ///     checkpoint = events.checkpoint();
    ///     appends.wait(Duration::from_secs(10))?;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if appends do not notify;
    /// [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if the server cannot be reached.
    pub fn listen(&self) -> Result<Listener> {
        Listener::new(self.shared.location.clone()).map_err(|error| error.during("listen for appends"))
    }

    /// Proves the high-water mark and publishes it, for stores on standbys that are opened with
    /// [`read_replica`](PostgresBuilder::read_replica). The published mark never decreases. Returns the published mark.
    ///
    /// This takes one round trip and writes one row. A standby shows the row only after every event that the mark covers.
    /// [`PostgresBuilder::publish_mark`] repeats it at an interval.
    ///
    /// # Errors
    ///
    /// - [`ReadOnly`](firefly_eventstore_core::ErrorKind::ReadOnly) on a standby, and in a store that was opened with `read_replica`;
    /// - [`BeyondEnd`](firefly_eventstore_core::ErrorKind::BeyondEnd) if the log ends before the published mark: events were lost. Readers
    ///   of replicas get the same error. When the loss is dealt with, `DELETE FROM firefly_published_mark` and publish again;
    /// - [`PermissionDenied`](firefly_eventstore_core::ErrorKind::PermissionDenied) without the rights to `SELECT`, `INSERT` and `UPDATE` on
    ///   the table `firefly_published_mark`.
    pub fn publish_mark(&self) -> Result<GlobalSequence> {
        self.require_writable()
            .and_then(|()| self.with(read::publish_mark))
            .map_err(|error| error.during("publish the high-water mark"))
    }

    /// How PostgreSQL finds the page of a query: the lines of `EXPLAIN`, for tests of the indexes. The first plan is made with the query's
    /// values. The second is made without values; it is left out if the driver never uses such a plan.
    #[doc(hidden)]
    pub fn explain(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Vec<Vec<String>>> {
        let Shared { indexes, starts, .. } = &*self.shared;
        self.with(|session| read::explain(session, query, cursor, indexes, starts))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn location(&self) -> &Location {
        &self.shared.location
    }

    /// The greatest mark that this store has proved so far.
    pub(crate) fn proved(&self) -> GlobalSequence {
        self.shared.proved.get()
    }

    pub(crate) fn require_writable(&self) -> Result<()> {
        self.shared.options.server.require_writable()
    }

    /// Runs `work`. If the connection was lost, runs it once more on a new one.
    pub(crate) fn with<R>(&self, mut work: impl FnMut(&mut Session<'_, Client>) -> Result<R>) -> Result<R> {
        self.on_connection(|connection| work(&mut connection.session()))
    }

    /// As [`with`](Self::with), for work that asks how the log is kept: shortly after a conversion, other work may still find the log as it was
    /// before. Repeats the work if the log was converted meanwhile. Two round trips more.
    pub(crate) fn with_layout_now<R>(&self, mut work: impl FnMut(&mut Session<'_, Client>) -> Result<R>) -> Result<R> {
        self.on_connection(|connection| {
            connection.look_now()?;
            let result = work(&mut connection.session());
            match connection.look_now() {
                Err(error) if connection.is_elsewhere() => Err(error),
                _ => result,
            }
        })
    }

    fn on_connection<R>(&self, work: impl FnMut(&mut Connection) -> Result<R>) -> Result<R> {
        let is_lost = |connection: &mut Connection, error: &Error| self.is_lost(connection, error);
        self.shared.calls.with(is_lost, work)
    }

    fn begin<'a>(&'a self, connection: &'a mut Connection) -> Result<PostgresTransaction<'a>> {
        connection.look()?;
        let transaction = connection.client.transaction();
        Ok(PostgresTransaction {
            transaction: transaction.map_err(|error| classify(error).during("begin"))?,
            statements: &mut connection.statements,
            layout: connection.layout,
            generation: &connection.generation,
            is_touched: &mut connection.is_touched,
            reset: &connection.reset,
            is_unchecked: false,
            store: &self.shared,
            work: Work::new(self.shared.options.server.data_rules()),
        })
    }

    /// Whether the connection is useless after this error: it was lost, leads to another schema because schemas were renamed, or leads to a
    /// standby after a failover. Then all connections of its generation are dropped.
    fn is_lost(&self, connection: &Connection, error: &Error) -> bool {
        let is_on_a_standby = !self.shared.options.server.read_replica
            && connection.is_in_recovery
            && matches!(error.kind(), ErrorKind::ReadOnly | ErrorKind::Unprovable { .. });
        let lost = connection.client.is_closed()
            || is_on_a_standby
            || connection.is_elsewhere()
            || driver_error(error).is_some_and(|error| is_lost(error) || is_elsewhere(error));
        if lost {
            connection.generation.retire();
        }
        lost
    }

    pub(crate) fn mark(&self) -> Result<GlobalSequence> {
        Sessions(self).mark()
    }

    /// Proves the mark. If the log ends before a mark that was proved earlier, events were lost. That is an error once; then the old mark
    /// is forgotten.
    fn prove(&self) -> Result<GlobalSequence> {
        // Read before the server is asked. Another thread may prove a greater mark meanwhile, which this answer need not reach.
        let proved = &self.shared.proved;
        let before = proved.get();
        let mark = self.with(read::mark)?;
        proved.check(before, mark, || self.with(read::end_of_log))?;
        Ok(proved.raise(mark))
    }
}

server_options!(PostgresBuilder);

impl PostgresBuilder {
    fn at(location: Result<(Config, Arc<Connect>)>) -> Self {
        Self {
            location: location.map(|(config, connect)| {
                Box::new(Location {
                    config,
                    connect,
                    schema: None,
                    place: None,
                    read_replica: false,
                })
            }),
            options: Options::default(),
        }
    }

    /// Sets the connector for TLS, one of the `postgres` ecosystem such as `postgres-native-tls` or `tokio-postgres-rustls`. The
    /// connector replaces the options of the [URL](PostgresEventStore::builder) for certificates. `sslmode` in the URL still says whether
    /// TLS is required.
    pub fn tls<T>(mut self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        if let Ok(location) = &mut self.location {
            location.connect = Arc::new(move |config| config.connect(connector.clone()));
        }
        self
    }

    /// Sets the PostgreSQL schema of the store, so that a database can hold several stores. Unless set, it is the first schema in the
    /// server's `search_path`, usually `public`.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        if let Ok(location) = &mut self.location {
            location.schema = Some(schema.into());
        }
        self
    }

    /// Sets whether the store only reads, on a server to which events are replicated, such as a streaming standby; off unless set.
    ///
    /// Reads of the log go up to the mark that was [published](Self::publish_mark) on the primary and has arrived here. So they skip no
    /// event. Their delay is the interval of publishing plus that of the replication. Each page takes one more round trip, for the mark.
    /// Loads return what the replica has. Appends, transactions, saved snapshots and maintenance fail with
    /// [`ReadOnly`](firefly_eventstore_core::ErrorKind::ReadOnly) before anything is sent.
    ///
    /// If the URL names several hosts, the first that answers is used. Without this option, the first that accepts writes is used.
    ///
    /// If no mark was published, reads fail with [`Unprovable`](firefly_eventstore_core::ErrorKind::Unprovable). If a read moves from one
    /// replica to another that is behind it, the next page fails with [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable). A
    /// checkpoint beyond the end of a standby gets an empty page, because the events may still arrive. Only the primary knows whether the
    /// checkpoint is beyond the end of the log.
    pub fn read_replica(mut self, read: bool) -> Self {
        self.options.server.read_replica = read;
        self
    }

    /// Sets whether appends notify programs that [`listen`](PostgresEventStore::listen). [`migrate`](Self::migrate) applies it, and so does
    /// [`open`](Self::open) with [`migrate_on_open`](Self::migrate_on_open). Unless set, appends of a new store do not notify, and an
    /// existing store does not change.
    ///
    /// In a PostgreSQL server, only one transaction with a notification commits at a time. So appends of several threads no longer share a
    /// flush of the disk: with 16 threads, 0.24 of the speed was measured. A single thread loses nothing.
    pub fn notify(mut self, notify: bool) -> Self {
        self.options.choices.notify = Some(notify);
        self
    }

    /// Sets how [`migrate`](Self::migrate) divides an empty log into partitions; so does [`open`](Self::open) with
    /// [`migrate_on_open`](Self::migrate_on_open). Unless set, a new store's log is one table, and an existing one keeps what it has.
    ///
    /// If the log has events and is one table, the choice is refused: call [`convert_to_partitions`](Self::convert_to_partitions). If it is
    /// partitioned, the choice counts for later partitions, and existing ones stay.
    /// [`add_partitions`](firefly_eventstore_core::operate::Operations::add_partitions) makes them: call it more often than a partition
    /// fills, and with [`Partitions::by_month`] at the beginning of each month. With [`Partitions::by_aggregate_type`], it is needed only
    /// after other types were chosen.
    ///
    /// A log that is divided by its sequence, as by events and by month, cannot be divided by aggregate type later: such a choice is refused.
    /// [Make it one table](Self::convert_to_one_table) first. The other way round is allowed.
    ///
    /// Whoever may `SELECT` from and `INSERT` into the table `events` needs the same rights on the table `firefly_event_keys`.
    ///
    /// ```no_run
    /// use firefly_eventstore_postgres::{Partitions, PostgresEventStore};
    ///
    /// let ledger = PostgresEventStore::builder("postgres://clerk@localhost/ledger");
    /// ledger.partitions(Partitions::by_events(5_000_000)).migrate()?;
    /// # Ok::<(), firefly_eventstore_core::Error>(())
    /// ```
    pub fn partitions(mut self, partitions: Partitions) -> Self {
        self.options.choices.partitions = Some(partitions);
        self
    }

    /// Sets the limits of events and snapshots; [`Limits::PORTABLE`] unless set. PostgreSQL cannot store U+0000: if the limits allow it, opening
    /// the store fails.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.server.limits = limits;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// As [`PostgresEventStore::open`]; with [`migrate_on_open`](Self::migrate_on_open), those of
    /// [`migrate`](Self::migrate).
    pub fn open(self) -> Result<PostgresEventStore> {
        let name = self.name();
        self.try_open()
            .map_err(|error| error.during(format_args!("open {name}")))
    }

    fn try_open(self) -> Result<PostgresEventStore> {
        let mut location = self.location()?;
        let options = self.options;
        if options.server.limits.allow_nul {
            return Err(Error::invalid("PostgreSQL cannot keep U+0000; do not lift that limit"));
        }
        options.server.check()?;
        let mut connection = location.open()?;
        if options.server.migrate_on_open {
            migrate::migrate(&mut connection, location.schema.as_deref(), &options.choices)?;
        }
        let indexes = migrate::require_current(&mut connection.session())?;
        location.place = Some(Place::of(&mut connection.session())?);
        let shared = Arc::new(Shared {
            calls: ServerCalls::new(location.clone(), options.server.clone(), Line::default()),
            location,
            options,
            indexes,
            proved: ProvedMark::default(),
            starts: Starts::default(),
            // Until it knows the usual size, a statement asks for as many rows as a page takes. The server does not send large events among
            // them.
            usual_size: UsualSize::guessed(1),
        });
        let publishing = PostgresEventStore {
            shared: Arc::clone(&shared),
            _publisher: None,
        };
        let publisher = shared.options.server.publisher(move || publishing.publish_mark())?;
        Ok(PostgresEventStore {
            shared,
            _publisher: publisher,
        })
    }

    /// Where the store is.
    fn location(&self) -> Result<Location> {
        let mut location = *self.location.clone()?;
        location.read_replica = self.options.server.read_replica;
        Ok(location)
    }

    /// Brings the schema up to date and returns the migrations that were applied; none if it was.
    ///
    /// Makes and drops indexes as [`indexes`](Self::indexes) says. Each step is a transaction, so the next call continues after a crash.
    /// Any number of processes may start at once. Tables that were made by hand from the schema of the Firefly Event Sourcing Library are
    /// adopted: their rows stay, missing parts are added, and missing checksums are computed.
    ///
    /// # Errors
    ///
    /// As [`PostgresEventStore::open`]; [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput), naming the row, if a table made by hand
    /// has one that cannot be adopted, or if [`partitions`](Self::partitions) is set to what no table can be made for, or the log has events
    /// in one table.
    pub fn migrate(&self) -> Result<Vec<Migration>> {
        self.change("migrate", |connection, schema| {
            migrate::migrate(connection, schema, &self.options.choices)
        })
    }

    /// Divides the log of a store that is in use into partitions, while programs read and write. If it was divided already, changes only the
    /// partitions to come. Returns false if there was nothing to do. The store must be [migrated](Self::migrate).
    ///
    /// It writes the keys of all events into a table of their own: about a minute and a half for a million events. [`migrate`](Self::migrate)
    /// does not do this, because programs that start would wait for it. `progress` is told how many sequences are done. Readers and writers
    /// wait a few times, for less than a second each. Open stores keep working, and switch to the statements for partitions. If a
    /// call is interrupted, the store keeps working, and the next call continues. Only one process converts at a time.
    ///
    /// Two things are refused:
    ///
    /// - before the tables are exchanged, appends beyond the end that is chosen for the first partition, with a retryable error. It is a
    ///   million events ahead, or one partition if that is more, so this happens only if a call is interrupted and not repeated in time;
    /// - afterwards, a `REPEATABLE READ` transaction that began before, with [`Moved`](firefly_eventstore_core::ErrorKind::Moved), which is
    ///   not retryable. Begin the transaction anew.
    ///
    /// The events that are there, and some later ones, become the first partition; with [`Partitions::by_month`], those of the rest of the
    /// month. With [`Partitions::by_aggregate_type`], the tables of types have the events after these.
    ///
    /// First update every program to this version of the library. Roles that may write to the table `events` get the same rights on its
    /// keys. Your own views, triggers, privileges and indexes on the table are moved to the new one. Foreign keys, policies, rules,
    /// publications, unique indexes, materialized views, rights on single columns and views of other owners cannot be moved: if there are
    /// any, the call fails before it changes anything. The role must own the store's tables, and the keys need disk space.
    ///
    /// # Errors
    ///
    /// - As [`PostgresEventStore::open`];
    /// - [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if something on the table cannot be moved, which it names;
    /// - [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if another process converts the store, if the table was locked each
    ///   time that it was asked for, or if the log is converted but a transaction that began before did not end within a minute. Call
    ///   again.
    pub fn convert_to_partitions(&self, partitions: Partitions, progress: impl FnMut(Progress)) -> Result<bool> {
        self.convert(Some(partitions), progress)
    }

    /// Makes the log of a partitioned store one table again, while programs read and write. Returns false if it is one table already.
    ///
    /// As [`convert_to_partitions`](Self::convert_to_partitions), but it copies all events: about two and a half minutes for a million, and
    /// it needs disk space for a second log.
    ///
    /// # Errors
    ///
    /// - As [`convert_to_partitions`](Self::convert_to_partitions);
    /// - [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if the server's setting `old_snapshot_threshold` is not -1;
    /// - [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if a transaction, a dump or a replication slot still uses a
    ///   snapshot from before the events were copied, 15 seconds after that. The copies are kept. Call again when it has ended.
    pub fn convert_to_one_table(&self, progress: impl FnMut(Progress)) -> Result<bool> {
        self.convert(None, progress)
    }

    fn convert(&self, into: Option<Partitions>, mut progress: impl FnMut(Progress)) -> Result<bool> {
        self.change("convert", |connection, _| {
            convert::convert(connection, into.as_ref(), &mut progress)
        })
    }

    /// Changes the schema on a connection of its own, unless the store only reads.
    fn change<R>(&self, what: &str, change: impl FnOnce(&mut Connection, Option<&str>) -> Result<R>) -> Result<R> {
        let change = || {
            self.options.server.require_writable()?;
            let location = self.location()?;
            change(&mut location.open()?, location.schema.as_deref())
        };
        change().map_err(|error: Error| error.during(format_args!("{what} {}", self.name())))
    }

    /// The migrations that [`migrate`](Self::migrate) would apply.
    ///
    /// # Errors
    ///
    /// As [`PostgresEventStore::open`].
    pub fn pending(&self) -> Result<Vec<Migration>> {
        self.look(migrate::pending)
    }

    /// A conversion that is not finished, because a process works on it or was interrupted: how far it is, and the call that continues it, as
    /// [`diagnose`](firefly_eventstore_core::operate::Operations::diagnose) reports it. `None` if there is none. One connection.
    ///
    /// # Errors
    ///
    /// As [`pending`](Self::pending).
    pub fn pending_conversion(&self) -> Result<Option<Diagnosis>> {
        self.look(Begun::pending)
    }

    /// Looks at the schema on a connection of its own.
    fn look<R>(&self, look: impl FnOnce(&mut Session<'_, Client>) -> Result<R>) -> Result<R> {
        let look = || look(&mut self.location()?.open()?.session());
        look().map_err(|error: Error| error.during(format_args!("look at the schema of {}", self.name())))
    }

    /// The database and the schema, without secrets.
    fn name(&self) -> String {
        let Ok(location) = &self.location else {
            return "a PostgreSQL database".to_owned();
        };
        let database = location.config.get_dbname().unwrap_or("the default one");
        match &location.schema {
            Some(schema) => format!("the PostgreSQL database {database}, schema {schema}"),
            None => format!("the PostgreSQL database {database}"),
        }
    }
}

impl fmt::Debug for PostgresEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEventStore")
            .field("location", &self.shared.location)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl EventStore for PostgresEventStore {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let alone = || self.with(|session| append::alone(session, appends));
        let lead = |group: &mut Group<'_>| self.with(|session| group.append(session, append::alone, append::together));
        self.shared.calls.append_all(appends, alone, lead)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        self.transaction(|transaction| work(transaction))
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        backend::load_range(&Sessions(self), aggregate, range)
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        Sessions(self).read_page(query, cursor)
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        self.mark().map_err(|error| error.during("read the high-water mark"))
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
        self.with(|session| session.in_one_state(|session| tables::statistics(session, tenant)))
            .map_err(|error| error.during("read statistics"))
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        self.with(|session| read::summaries(session, query))
            .map_err(|error| error.during("read aggregate summaries"))
    }

    fn refresh_aggregate_summaries(&self) -> Result<()> {
        let refresh = |session: &mut Session<'_, Client>| {
            session.execute(sql::HERE, &[]).map_err(classify)?;
            session.execute(sql::REFRESH_SUMMARIES, &[]).map_err(classify)
        };
        self.require_writable()
            .and_then(|()| self.with(refresh))
            .map(drop)
            .map_err(|error| error.during("refresh the aggregate summaries"))
    }

    fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        let check = || {
            let (server, writable) = self.with(|session| {
                session.select_one(sql::SERVER, &[], |row| {
                    Ok((get::<String>(row, 0)?, get::<bool>(row, 1)?))
                })
            })?;
            self.with(migrate::require_ahead)?;
            let mark = self.mark()?;
            let latency = asked.elapsed();
            let schema = self.with(migrate::version)?;
            let writable = writable && !self.shared.options.server.read_replica;
            Ok(Health::new("postgres", server, schema, writable, mark, latency))
        };
        check().map_err(|error: Error| error.during("check the health"))
    }
}

/// Gives the code that all databases share the store's connections.
pub(crate) struct Sessions<'a>(pub(crate) &'a PostgresEventStore);

impl ServerLog for Sessions<'_> {
    type Session<'c> = Session<'c, Client>;

    fn options(&self) -> &ServerOptions {
        &self.0.shared.options.server
    }

    fn with<R>(&self, work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R> {
        self.0.with(work)
    }

    fn proved(&self) -> GlobalSequence {
        self.0.proved()
    }

    fn prove(&self) -> Result<GlobalSequence> {
        self.0.prove()
    }

    fn shows_all(session: &Session<'_, Client>) -> bool {
        !session.is_in_recovery
    }

    fn find(
        &self,
        session: &mut Session<'_, Client>,
        query: &EventQuery,
        window: &Window,
        _reading: WindowReading,
    ) -> Result<Found> {
        let Shared {
            indexes,
            starts,
            usual_size,
            ..
        } = &*self.0.shared;
        read::find(session, query, window, indexes, starts, usual_size)
    }

    fn published_mark(session: &mut Session<'_, Client>) -> Result<PublishedMark> {
        read::published_mark(session)
    }

    fn end_of_log(session: &mut Session<'_, Client>) -> Result<GlobalSequence> {
        read::end_of_log(session)
    }
}

snapshot_store!(PostgresEventStore, Sessions);

impl ConsumerStore for PostgresEventStore {
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
        self.transaction(|transaction| work(transaction))
    }

    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
        let which = name.map_or(SlotsQuery::All, SlotsQuery::Of);
        self.with(|session| consumers::slots(session, which))
    }

    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.with(|session| consumers::parked(session, which))
    }

    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
        self.with(|session| consumers::count_parked(session, consumer, aggregate_id))
    }

    fn wake(&self) -> &Wake {
        &self.shared.calls.wake
    }

    /// A [`Listener`] with its own connection, if appends [notify](PostgresBuilder::notify).
    fn appends(&self) -> Result<Option<Box<dyn Appends>>> {
        let channels = self.with(|session| session.query(sql::CHANNEL, &[]).map_err(classify));
        match channels
            .map_err(|error| error.during("look whether appends notify"))?
            .is_empty()
        {
            true => Ok(None),
            false => Ok(Some(Box::new(self.listen()?))),
        }
    }

    /// By SQLSTATE: a deadlock, a serialization failure, a lock or a statement that took too long, a lost connection, or a server that
    /// shuts down, is read-only, or lacks connections, memory or disk space.
    fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        any_transient(error, |error| error.downcast_ref().map(kind_of))
    }

    /// By SQLSTATE: `57014` of `statement_timeout` or of a cancelled statement, `25P04` of `transaction_timeout`, and `25P03` of
    /// `idle_in_transaction_session_timeout`. Not `55P03` of `lock_timeout`.
    fn took_too_long(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        any_cause(error, |error| error.downcast_ref().is_some_and(is_out_of_time))
    }

    fn max_connections(&self) -> Option<u32> {
        Some(self.shared.options.server.max_connections)
    }
}

impl Transactional for PostgresEventStore {
    type Transaction<'t> = PostgresTransaction<'t>;

    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.transaction(work)
    }
}

/// A transaction of a PostgreSQL store: see [`PostgresEventStore::transaction`].
pub struct PostgresTransaction<'a> {
    transaction: Transaction<'a>,
    statements: &'a mut Statements,
    layout: Layout,
    generation: &'a Generation,
    is_touched: &'a mut bool,
    reset: &'a str,
    /// Whether the caller has used the connection since a statement last checked where it leads.
    is_unchecked: bool,
    store: &'a Shared,
    work: Work,
}

impl<'a> PostgresTransaction<'a> {
    /// The transaction, for the caller's own tables. The store commits it, after the work.
    #[must_use]
    pub fn connection(&mut self) -> &mut Transaction<'a> {
        *self.is_touched = true;
        self.is_unchecked = true;
        &mut self.transaction
    }

    /// Ends the transaction. The same round trip resets what `work` left on the connection.
    fn end(mut self, how: &str) -> Result<(), postgres::Error> {
        if *self.is_touched {
            self.transaction.batch_execute(&format!("{how}; {}", self.reset))?;
            *self.is_touched = false;
        } else {
            self.transaction.batch_execute(how)?;
        }
        mem::forget(self.transaction); // it would roll back what is over
        Ok(())
    }
}

impl fmt::Debug for PostgresTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

impl WorkTransaction for PostgresTransaction<'_> {
    fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

impl ServerTransaction for PostgresTransaction<'_> {
    fn commit(self) -> Result<()> {
        // If a statement of the transaction has failed, `COMMIT` would roll back without an error. A savepoint fails then, which shows it.
        self.end("SAVEPOINT firefly_end; COMMIT").map_err(classify)
    }

    fn roll_back(self) {
        // If this fails, the connection is dropped, and the server rolls back.
        let _ = self.end("ROLLBACK");
    }
}

impl<'a> SqlTransaction for PostgresTransaction<'a> {
    type Session<'s>
        = Session<'s, Transaction<'a>>
    where
        Self: 's;

    fn session(&mut self) -> Result<Session<'_, Transaction<'a>>> {
        Ok(Session {
            client: &mut self.transaction,
            statements: self.statements,
            layout: self.layout,
            is_in_recovery: false, // it takes no transactions
        })
    }

    fn append(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        // The caller's statements may have changed where the connection leads.
        let unchecked = Some(&self.store.location).filter(|_| *self.is_touched);
        append::within(&mut self.session()?, appends, unchecked)
    }

    fn check_consumers(&mut self) -> Result<()> {
        match &self.store.location.place {
            Some(place) if mem::take(&mut self.is_unchecked) => append::check_place(&mut self.session()?, place),
            _ => Ok(()),
        }
    }

    fn save_after_work(&mut self, slot: &ConsumerSlot) -> Result<bool> {
        let Some(place) = self.store.location.place.as_ref().filter(|_| self.is_unchecked) else {
            return Ok(false);
        };
        consumer::save_after_work(&mut self.session()?, slot, place).map_err(|error| match is_elsewhere(&error) {
            true => Error::invalid(append::LEADS_ELSEWHERE),
            false => classify(error),
        })
    }

    /// If schemas were renamed and the connection leads to another one, drops all connections of its generation.
    fn judge(&mut self, error: Error) -> Error {
        if driver_error(&error).is_some_and(is_elsewhere) {
            self.generation.retire();
        }
        error
    }
}
