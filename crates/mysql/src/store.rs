//! The store: options, opening, and what every store does.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::backend::{
    Found, Group, Line, PublishedMark, Publisher, ServerCalls, ServerLog, ServerOptions, ServerTransaction, SlotsQuery,
    SqlTransaction, Window, WindowReading, Work, WorkTransaction, any_cause, any_transient, consumers, server_options,
    snapshot_store, tables,
};
use firefly_eventstore_core::consumer::{
    ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Transactional, Wake,
};
use firefly_eventstore_core::operate::{Diagnosis, Progress};
use firefly_eventstore_core::{
    AggregateKey, AggregateSummary, Append, Appended, Cursor, Error, ErrorKind, EventQuery, EventStore, EventStream,
    EventTransaction, GlobalSequence, Health, Limits, Migration, Page, Partitions, Result, Statistics, StreamRange,
    SummaryQuery, TenantId, backend,
};
use mysql::prelude::Queryable;
use mysql::{Conn, Opts, Transaction};
use uuid::Uuid;

use crate::conversion::Begun;
use crate::error::{
    classify, driver_error, is_lost, is_missing_index, is_missing_part, is_missing_table, is_of_another_layout,
    is_out_of_time, is_read_only_server, kind_of,
};
use crate::mark::{Mark, View};
use crate::options::Options;
use crate::pool::{Connection, Location, made_at};
use crate::read::{Known, Reading};
use crate::session::{Place, Server, Session};
use crate::sql::{self, Layout};
use crate::topology::Watch;
use crate::{append, consumer, convert, flush, migrate, read, schema};

/// A store in a MySQL or MariaDB database.
///
/// Clones share a pool of connections. An append with `Exact` or `NoStream` is one round trip in autocommit, and one with `Any` or `Exists`
/// two. If a call finds that its connection was lost, or leads to a server that has become read-only, it is repeated once on a new
/// connection. That is safe, because appends are safe to repeat. If more than four threads append at once, on MySQL more than two, they share
/// statements: see [`group`](MysqlBuilder::group).
///
/// ```no_run
/// use firefly_eventstore_core::prelude::*;
/// use firefly_eventstore_mysql::MysqlEventStore;
///
/// let store = MysqlEventStore::open("mysql://clerk@localhost/ledger")?;
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::from_json("account.opened", "{}")?])?;
/// assert_eq!(store.load(&account)?.version(), 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct MysqlEventStore(
    pub(crate) Arc<Shared>,
    /// Publishes the mark until the last clone is dropped. It has its own copy of the store, without a publisher.
    #[expect(dead_code, reason = "it is there to be dropped")]
    Option<Arc<Publisher>>,
);

pub(crate) struct Shared {
    calls: ServerCalls<Connection>,
    pub(crate) location: Location,
    pub(crate) options: Options,
    pub(crate) server: Server,
    /// The place of the store when it was opened.
    place: Place,
    /// The indexes that the log had when the store was opened.
    indexes: Vec<String>,
    pub(crate) mark: Mark,
    topology: Watch,
    known: Known,
    /// Whether appends look for archived events. It becomes true when an append was refused because events are archived.
    looks_for_archived: AtomicBool,
    /// Whether a thread is making the server flush its redo log.
    is_flushing: AtomicBool,
}

/// How to open a store: see [`MysqlEventStore::builder`].
#[derive(Clone, Debug)]
#[must_use = "call open()"]
pub struct MysqlBuilder {
    /// An invalid URL is reported when the store is opened, so that `builder` returns no error.
    location: Result<Box<Location>>,
    options: Options,
}

impl MysqlEventStore {
    /// Opens the store in the database that a URL names, such as `mysql://clerk:secret@db.example/ledger`.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if the URL cannot be understood, names no database, or asks for
    ///   TLS without the feature `rustls`; or if the server cannot store what the limits allow;
    /// - [`Schema`](firefly_eventstore_core::ErrorKind::Schema) if the schema is missing, older (see [`MysqlBuilder::migrate`]), newer or altered;
    /// - [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if the server cannot be reached;
    /// - [`PermissionDenied`](firefly_eventstore_core::ErrorKind::PermissionDenied) if it refuses the user;
    /// - [`Backend`](firefly_eventstore_core::ErrorKind::Backend) if it is too old, has no such database, or TLS fails.
    pub fn open(url: &str) -> Result<Self> {
        Self::builder(url).open()
    }

    /// Options for opening the database that a URL names. Its parameters are the driver's, such as `socket`, `compress`,
    /// `tcp_connect_timeout_ms` or, with the feature `rustls`, `root_cert_path`. Each connection keeps up to `stmt_cache_size` statements
    /// prepared on the server, 256 unless set.
    ///
    /// With `compress=true`, packets are compressed by zlib if the server supports that, and `max_allowed_packet` is the server's.
    pub fn builder(url: &str) -> MysqlBuilder {
        // The driver's error is dropped: it may contain a part of the URL, with the password.
        let opts = Opts::from_url(url).map_err(|_| {
            let takes = |option: &str| Opts::from_url(&format!("mysql://host/database?{option}")).is_ok();
            backend::refused_url(url, "mysql://user:password@host:port/database", takes)
        });
        MysqlBuilder::at(opts)
    }

    /// Options for opening a database, for a configuration that a URL does not express.
    ///
    /// For example `read_timeout`. Without it, a call waits as long as the server does: for ever, if its disk is too full for the binary
    /// log. With it, the call ends with a retryable error. If the append is repeated later, it is stored once.
    pub fn configure(opts: impl Into<Opts>) -> MysqlBuilder {
        MysqlBuilder::at(Ok(opts.into()))
    }

    /// Appends events, and whatever else `work` writes through the transaction's connection, in one commit.
    ///
    /// An error rolls everything back, and so does an append that failed, even if `work` returns `Ok`. The begin and the commit take a
    /// round trip each. An append takes one, or two with [`Any`](firefly_eventstore_core::ExpectedVersion::Any) and
    /// [`Exists`](firefly_eventstore_core::ExpectedVersion::Exists); an append waits for other transactions on its aggregates. Readers do
    /// not see later events before the commit. The transaction is `READ COMMITTED`, in UTC and `utf8mb4`, with a strict `sql_mode`. To mix
    /// this crate's errors with `mysql`'s, let `work` return `Box<dyn Error + Send + Sync>`. A connection that was lost before the
    /// transaction began is replaced.
    ///
    /// A deadlock gives a retryable error. If a statement of `work` itself was the victim of a deadlock and `work` continues, the commit
    /// fails with that error, and nothing that followed is kept. A statement that commits by itself, such as `CREATE TABLE`, also ends the
    /// transaction, but what came before it is kept. If the connection is lost during the commit, it is unknown whether the transaction was
    /// committed. Appends are safe to repeat; make the rest of `work` safe to repeat, too.
    ///
    /// What `work` leaves on the connection (`USE`, `SET`, a role, temporary tables, locks) does not affect other calls. If
    /// [`connection`](MysqlTransaction::connection) was used, the commit resets the session in the same round trip. If something else was
    /// changed, such as the database, the role or a time limit, the connection is closed. After `connection` was used, the next append or
    /// load of the transaction takes one round trip more. It is refused if the connection uses another database, is not strict, or has
    /// another character set than `utf8mb4`. Within `work`, this thread must use the transaction: calls of the store and its clones are
    /// refused, because the thread might wait for itself.
    ///
    /// # Errors
    ///
    /// That of `work`, that of the append that failed, or one of MySQL's.
    pub fn transaction<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut MysqlTransaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.require_writable()?;
        let begun = |error| classify(error).during("begin");
        let mut connection = self.0.calls.connection()?;
        let begun_there = connection.begin();
        if begun_there
            .as_ref()
            .map_or_else(is_lost, |has_become_read_only| *has_become_read_only)
        {
            // The work has not begun, so it can run on another connection.
            connection.give_up();
            drop(connection);
            connection = self.0.calls.connection()?;
            connection.begin().map_err(begun)?;
        } else {
            begun_there.map_err(begun)?;
        }
        let transaction = MysqlTransaction {
            connection: &mut connection,
            store: &self.0,
            is_unchecked: false,
            work: Work::new(self.0.options.server.data_rules()),
        };
        self.0.calls.run(transaction, work)
    }

    /// Appends within the caller's transaction, on the caller's connection to the same database. The transaction may have any isolation
    /// level. The session needs a strict `sql_mode` and the character set `utf8mb4`. If the connection leads to another database, or to a
    /// server with another store, the error is [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput), and nothing is written.
    /// A copy of the whole database on another server is not recognized.
    ///
    /// The checks are those of every append, and it is as safe to retry. A failed append leaves nothing behind in the transaction, which
    /// goes on. But if the append was the victim of a deadlock, which is a retryable error, the server rolls back the whole transaction:
    /// begin it again. Takes one round trip more than [`append_all`](EventStore::append_all), and one for each statement that the
    /// connection has not prepared yet. The store does not see the commit, so it does not [wake](ConsumerStore::wake) threads that wait for
    /// events. They find the events when they read next.
    ///
    /// Prefer a `READ COMMITTED` transaction. In a `REPEATABLE READ` one, the server's default, looking up the version for
    /// [`Any`](firefly_eventstore_core::ExpectedVersion::Any) or [`Exists`](firefly_eventstore_core::ExpectedVersion::Exists) locks the gap
    /// after the aggregate in the index: until the commit, new aggregates whose ids come next, as those of new version 7 UUIDs do, have to
    /// wait. With MariaDB's `innodb_snapshot_isolation` (on by default since 11.6), an append fails if the aggregate got events since the
    /// transaction's snapshot. The error is retryable, and the whole transaction is rolled back.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append_all`].
    pub fn append_within(&self, transaction: &mut Transaction<'_>, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.require_writable()?;
        backend::check(appends, &self.0.options.server.limits)?;
        let server = self
            .0
            .admit(transaction)
            .map_err(|error| error.during(backend::describe(appends)))?;
        let mut session = Session {
            client: transaction,
            server,
            locks: true,
        };
        if server.layout == Layout::Partitioned {
            let held = session.execute(sql::HOLD_EVENTS, Vec::new());
            held.map_err(|error| classify(error).during(backend::describe(appends)))?;
        }
        let appended = self
            .0
            .appending(&mut session, |session| append::within(session, appends));
        appended.map_err(|error| match self.0.was_converted(&mut session, &error) {
            true => converted().during(backend::describe(appends)),
            false => error,
        })
    }

    /// Proves the high-water mark and publishes it, for stores on replicas that are opened with
    /// [`read_replica`](MysqlBuilder::read_replica). The published mark never decreases. Returns the published mark.
    ///
    /// This takes two round trips more than the mark, and writes one row. A replica that commits in the order of its source shows the row
    /// only after every event that the mark covers. [`MysqlBuilder::publish_mark`] repeats it at an interval.
    ///
    /// # Errors
    ///
    /// - [`Unprovable`](firefly_eventstore_core::ErrorKind::Unprovable) on a replica, and where several servers write;
    ///   [`ReadOnly`](firefly_eventstore_core::ErrorKind::ReadOnly) in a store that was opened with `read_replica`;
    /// - [`BeyondEnd`](firefly_eventstore_core::ErrorKind::BeyondEnd) if the log ends before the published mark: events were lost. Readers
    ///   of replicas get the same error. When the loss is dealt with, `DELETE FROM firefly_published_mark` and publish again;
    /// - [`PermissionDenied`](firefly_eventstore_core::ErrorKind::PermissionDenied) without the rights to `SELECT`, `INSERT` and `UPDATE` on
    ///   the table `firefly_published_mark`.
    pub fn publish_mark(&self) -> Result<GlobalSequence> {
        let publish = || {
            self.require_writable()?;
            let mark = self.mark()?;
            self.with(|session| read::publish_mark(session, mark))
        };
        publish().map_err(|error: Error| error.during("publish the high-water mark"))
    }

    /// How the server finds the page of a query: the tables, indexes and remarks of `EXPLAIN`, for tests of the indexes.
    #[doc(hidden)]
    pub fn explain(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Vec<String>> {
        self.with(|session| read::explain(session, query, cursor, &self.0.indexes))
    }

    /// Runs `work`, whose statements are in autocommit. Repeats it if a statement was the victim of a deadlock. Runs it again on a new
    /// connection if one was lost, or led to a server that is no longer the primary, or if the log was converted meanwhile.
    pub(crate) fn with<R>(&self, mut work: impl FnMut(&mut Session<'_, Conn>) -> Result<R>) -> Result<R> {
        let is_lost = |connection: &mut Connection, error: &Error| {
            if self.is_overtaken(connection, error) {
                connection.give_up();
                self.0.topology.forget();
            }
            self.0.notice_conversion(connection, error);
            connection.is_in_doubt()
        };
        self.0.calls.with(is_lost, |connection| connection.run(&mut work))
    }

    /// Whether an error shows that the server is the old primary after a failover: it takes no writes, and a new connection may lead to the
    /// new primary.
    fn is_overtaken(&self, connection: &Connection, error: &Error) -> bool {
        !self.0.options.server.read_replica
            && match error.kind() {
                ErrorKind::ReadOnly => driver_error(error).is_some_and(is_read_only_server),
                ErrorKind::Unprovable { .. } => !connection.server.standing.is_one_of_equals(),
                _ => false,
            }
    }

    /// Runs `work`, which must not be repeated: on a lost connection, it is unknown how far it came.
    pub(crate) fn once<R>(&self, work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>) -> Result<R> {
        self.0.calls.connection()?.run(work)
    }

    /// As [`with`](Self::with), for work that asks how the events are kept now. Repeats the work if the log was converted meanwhile. Two round
    /// trips more.
    pub(crate) fn with_layout_now<R>(&self, mut work: impl FnMut(&mut Session<'_, Conn>) -> Result<R>) -> Result<R> {
        self.with(|session| {
            loop {
                let layout = schema::layout_now(session)?;
                session.server.layout = layout;
                let result = work(session);
                match schema::layout_now(session) {
                    Ok(now) if now != layout => {}
                    _ => return result,
                }
            }
        })
    }

    /// As [`transaction`](Self::transaction). Runs `work` once more if the log was converted meanwhile.
    pub(crate) fn transaction_as_kept<R>(
        &self,
        mut work: impl FnMut(&mut MysqlTransaction<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut judged = |transaction: &mut MysqlTransaction<'_>| {
            work(transaction).map_err(|error| SqlTransaction::judge(transaction, error))
        };
        let is_partitioned = || self.0.location.layout() == Layout::Partitioned;
        let before = is_partitioned();
        match self.transaction(&mut judged) {
            Err(_) if is_partitioned() != before => self.transaction(judged),
            result => result,
        }
    }

    /// As [`with`](Self::with), in a transaction whose statements see one state of the database. Two round trips more.
    fn with_one_state<R>(&self, work: impl Fn(&mut Session<'_, Conn>) -> Result<R>) -> Result<R> {
        self.with(|session| session.in_one_state(&work))
    }

    fn mark(&self) -> Result<GlobalSequence> {
        Sessions(self).mark()
    }

    fn prove(&self, session: &mut Session<'_, Conn>) -> Result<GlobalSequence> {
        let only_writer = self.0.options.only_writer;
        session.server.standing.require_provable(only_writer)?;
        let mark = self.0.mark.take(&mut View {
            session,
            flush_soon: &|| self.flush_soon(),
        })?;
        // After the rows: a server that joins later has written none of them.
        let standing = self.0.topology.standing(session)?;
        standing
            .require_provable(only_writer)
            .inspect_err(|_| self.0.mark.forget())?;
        Ok(mark)
    }

    pub(crate) fn require_writable(&self) -> Result<()> {
        self.0.options.server.require_writable()
    }

    /// Makes the server flush its redo log, in a thread of its own, because that takes as long as the disk.
    fn flush_soon(&self) {
        if self.0.is_flushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = Self(Arc::clone(&self.0), None);
        let flush = move || {
            // If this fails, the server flushes by itself a second later.
            let _ = store.once(|session| flush::flush(session).map_err(classify));
            store.0.is_flushing.store(false, Ordering::Release);
        };
        if thread::Builder::new().spawn(flush).is_err() {
            self.0.is_flushing.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    /// Appends with or without the look for archived events, and remembers if that has changed.
    fn appending<C, R>(&self, session: &mut Session<'_, C>, append: impl FnOnce(&mut Session<'_, C>) -> R) -> R {
        session.server.looks_for_archived = self.looks_for_archived.load(Ordering::Relaxed);
        let result = append(session);
        if session.server.looks_for_archived {
            self.looks_for_archived.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Looks how the events are kept now, if an error may mean that the log was converted since. Returns whether it was, or was to be. Then all
    /// connections are replaced by some with the statements for it.
    fn notice_conversion(&self, connection: &mut Connection, error: &Error) -> bool {
        let was_converted = self.was_converted(&mut connection.session(), error);
        if was_converted {
            connection.give_up();
        }
        was_converted
    }

    fn was_converted<C: Queryable>(&self, session: &mut Session<'_, C>, error: &Error) -> bool {
        let Some(cause) = driver_error(error).filter(|error| is_of_another_layout(error)) else {
            return false;
        };
        // If this fails, the error is told as it is.
        let Ok(layout) = schema::layout_now(session) else {
            return false;
        };
        self.location.set_layout(layout);
        if layout != session.server.layout {
            return true;
        }
        // Or a conversion was abandoned, or the log was converted there and back: nothing is missing any more. MariaDB also looks for a table
        // that triggers have written, because it does not notice that a prepared statement has to be prepared again.
        let is_missing = |error: Error| !error.is_retryable();
        is_missing_part(cause) && !migrate::require_current(session).is_err_and(is_missing)
    }

    /// What a caller's connection guarantees. Fails if the connection would change values silently, or does not lead to this store. One
    /// round trip, and more if it is on another server than the one that the store was opened on.
    fn admit(&self, client: &mut impl Queryable) -> Result<Server> {
        let (mut server, place) = Server::of(client)?;
        server.layout = self.location.layout();
        if !server.is_strict {
            return Err(Error::invalid(
                "the connection needs a strict sql_mode, unique_checks and the character set utf8mb4, or values would be changed \
                 silently",
            ));
        }
        if place == self.place {
            return Ok(server);
        }
        // After a failover or in a cluster, the server may be another one. Then the store's own record decides.
        if place.database == self.place.database {
            match made_at(client) {
                Ok(made_at) if Some(&*made_at) == self.location.made_at() => return Ok(server),
                Err(error) if error.is_retryable() => return Err(error),
                _ => {}
            }
        }
        let at = |place: &Place| {
            place
                .database
                .clone()
                .map_or_else(|| "no database".to_owned(), |name| format!("the database {name}"))
        };
        let elsewhere = if place.is_on_server_of(&self.place) {
            ""
        } else {
            " of another server"
        };
        Err(Error::invalid(format!(
            "the connection uses {}{elsewhere}, the store is in {}; append with a connection to the store's own",
            at(&place),
            at(&self.place)
        )))
    }
}

/// The error of a transaction that does not know that the log was converted.
fn converted() -> Error {
    Error::new(kinds::unavailable(
        "the log was divided into partitions, or made one table, since a statement was prepared: repeat the transaction",
    ))
}

server_options!(MysqlBuilder);

impl MysqlBuilder {
    fn at(opts: Result<Opts>) -> Self {
        Self {
            location: opts.map(|opts| Box::new(Location::new(opts))),
            options: Options::default(),
        }
    }

    /// Sets whether the store only reads, on a server to which events are replicated; off unless set.
    ///
    /// Reads of the log go up to the mark that was [published](Self::publish_mark) on the primary and has arrived here. So they skip no
    /// event. Their delay is the interval of publishing plus that of the replication. Each page takes one more round trip, for the mark.
    /// Loads return what the replica has. Appends, transactions, saved snapshots and maintenance fail with
    /// [`ReadOnly`](firefly_eventstore_core::ErrorKind::ReadOnly) before anything is sent.
    ///
    /// The server must commit in the order of its source. MariaDB does so within a GTID domain, MySQL with `replica_preserve_commit_order`,
    /// and Galera always. If it does not, or if no mark was published, reads fail with
    /// [`Unprovable`](firefly_eventstore_core::ErrorKind::Unprovable). If a read moves from one replica to another that is behind it, the
    /// next page fails with [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable). A checkpoint beyond the end of a replica gets
    /// an empty page, because the events may still arrive. Only the primary knows whether the checkpoint is beyond the end of the log.
    pub fn read_replica(mut self, read: bool) -> Self {
        self.options.server.read_replica = read;
        self
    }

    /// Sets whether you promise that no other node of the server's Galera cluster is written to; off unless set. Without this promise, a node with others
    /// in its cluster refuses to prove the mark. If the promise is broken, readers skip events. On the other nodes, open the store with
    /// [`read_replica`](Self::read_replica), and let this one [publish the mark](Self::publish_mark).
    pub fn only_writer(mut self, only: bool) -> Self {
        self.options.only_writer = only;
        self
    }

    /// Sets whether there is a trigger by which appends of programs without this library take a gate, too, so that readers do not skip
    /// them. [`migrate`](Self::migrate) applies it, and so does [`open`](Self::open) with [`migrate_on_open`](Self::migrate_on_open).
    /// Unless set, a new store has no trigger, and an existing store does not change. It needs the right to create triggers, which some
    /// servers with binary logging give to no user.
    pub fn cover_other_writers(mut self, cover: bool) -> Self {
        self.options.choices.cover_other_writers = Some(cover);
        self
    }

    /// Sets how [`migrate`](Self::migrate) divides an empty log into partitions; so does [`open`](Self::open) with
    /// [`migrate_on_open`](Self::migrate_on_open). Unless set, a new store's log is one table, and an existing one keeps what it has.
    ///
    /// Only [by events](Partitions::by_events). If the log has events and is one table, the choice is refused: call
    /// [`convert_to_partitions`](Self::convert_to_partitions). If the store is partitioned already, the choice counts for later partitions. [`add_partitions`](firefly_eventstore_core::operate::Operations::add_partitions) makes them: call it more often
    /// than a partition fills.
    ///
    /// Needs the right to create triggers, which some servers with binary logging give to no user. The triggers run with the rights of the
    /// user that migrates: do not drop that user. A user that may `SELECT` from the table `events` needs the same right on the tables
    /// `firefly_event_keys` and `firefly_leaving`. A node of a Galera cluster refuses the choice.
    ///
    /// ```no_run
    /// use firefly_eventstore_mysql::{MysqlEventStore, Partitions};
    ///
    /// let ledger = MysqlEventStore::builder("mysql://clerk@localhost/ledger");
    /// ledger.partitions(Partitions::by_events(5_000_000)).migrate()?;
    /// # Ok::<(), firefly_eventstore_core::Error>(())
    /// ```
    pub fn partitions(mut self, partitions: Partitions) -> Self {
        self.options.choices.partitions = Some(partitions);
        self
    }

    /// Sets the limits of events and snapshots; [`Limits::PORTABLE`] unless set. MySQL rounds inexact numbers, nests JSON 100 levels deep, and
    /// stores keys of 65,535 bytes. MariaDB nests JSON 31 levels deep. If the limits allow more of these than the server can store, opening
    /// the store fails. Sizes of events are not checked then: an event larger than the server's `max_allowed_packet` is refused when it is
    /// appended.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.server.limits = limits;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// As [`MysqlEventStore::open`]; with [`migrate_on_open`](Self::migrate_on_open), those of [`migrate`](Self::migrate).
    pub fn open(self) -> Result<MysqlEventStore> {
        let name = self.name();
        self.try_open()
            .map_err(|error| error.during(format_args!("open {name}")))
    }

    fn try_open(self) -> Result<MysqlEventStore> {
        let Self { location, options } = self;
        let location = *location?;
        options.server.check()?;
        let mut connection = location.open()?;
        let mut server = connection.server;
        server.flavour.check(&options.server.limits)?;
        if options.server.migrate_on_open {
            migrate::migrate(&mut connection, &options.choices)?;
        }
        let names = migrate::require_current(&mut connection.session())?;
        server.layout = schema::layout(&names);
        let location = location.of_store(made_at(&mut connection.client)?, server.layout);
        let shared = Arc::new(Shared {
            calls: ServerCalls::new(
                location.clone(),
                options.server.clone(),
                Line::of_few(server.flavour.appending_alone()),
            ),
            location,
            options,
            server,
            place: connection.place.clone(),
            indexes: schema::indexes(&names),
            mark: Mark::default(),
            topology: Watch::default(),
            known: Known::nothing(),
            looks_for_archived: AtomicBool::new(false),
            is_flushing: AtomicBool::new(false),
        });
        let publishing = MysqlEventStore(Arc::clone(&shared), None);
        let publisher = shared.options.server.publisher(move || publishing.publish_mark())?;
        Ok(MysqlEventStore(shared, publisher))
    }

    /// Brings the schema up to date. Returns the migrations that were applied, if any.
    ///
    /// Makes and drops indexes as [`indexes`](Self::indexes) says. The server commits each statement by itself, so the next call continues
    /// after a crash. Any number of processes may start at once, and each waits up to ten minutes for another. A statement that changes a
    /// table delays appends for at most five seconds.
    ///
    /// In a Galera cluster, migrate on one node at a time: its nodes do not share the lock for which processes wait here. MariaDB 10.11
    /// stopped a whole cluster, once in many tries, when three nodes changed the tables of one database at once.
    ///
    /// Tables that were made by hand from the schema of the Firefly Event Sourcing Library are adopted: they are renamed to
    /// `events_by_hand` and `snapshots_by_hand`, their rows are checked and moved, and then they are dropped. Make a backup first.
    ///
    /// # Errors
    ///
    /// As [`MysqlEventStore::open`]; [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if another process migrates, or open
    /// transactions use a table, for too long; [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if a row of a table made
    /// by hand cannot be adopted, which the error names, or if [`partitions`](Self::partitions) is set and the log has events in one table.
    pub fn migrate(&self) -> Result<Vec<Migration>> {
        self.change("migrate", |connection| {
            migrate::migrate(connection, &self.options.choices)
        })
    }

    /// Divides the log of a store that is in use into partitions, while programs read and write. If it was divided already, changes only the
    /// partitions to come. Returns false if there was nothing to do. The store must be [migrated](Self::migrate).
    ///
    /// It copies all events into a second table, so the disk needs room for the log once more. Triggers copy what is written meanwhile, so
    /// appends take longer. [`migrate`](Self::migrate) does not do this, because programs that start would wait for it. `progress` is told
    /// how many sequences are copied. Then the tables change their names in one step. A step that changes a table waits up to 1 second for
    /// transactions that use the log, on MariaDB up to twice, and other statements wait behind it. Open stores keep working: a call that finds
    /// the log converted is repeated, and a transaction fails with a retryable error. If a call is interrupted, the store keeps working,
    /// and the next call continues. Only one process converts at a time.
    ///
    /// Partitions have the chosen size from the first event on, but at most 22 are made for the events that are there: the first one has the
    /// rest. Afterwards call [`add_partitions`](firefly_eventstore_core::operate::Operations::add_partitions) more often than a partition
    /// fills.
    ///
    /// First update every program to this version of the library. Users that may `SELECT` from the table `events` need the same right on the
    /// tables `firefly_event_keys` and `firefly_leaving`. Needs all rights on the database's tables, and `PROCESS`: before the tables change
    /// their names, it waits up to a minute for transactions that began before everything was copied, because they could not see all copies.
    /// Your own indexes are kept. Foreign keys, other triggers, and unique or full-text indexes cannot be moved: if there are any, the call
    /// fails before it changes anything. A node of a Galera cluster, a replica, and one of several primaries refuse it.
    ///
    /// # Errors
    ///
    /// - As [`MysqlEventStore::open`];
    /// - [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if something on the table cannot be moved, which it names, or if the
    ///   server does not write alone;
    /// - [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if another process converts the store, if a table was in use
    ///   each time that it was asked for, or if a transaction that began before does not end. Call again;
    /// - [`PermissionDenied`](firefly_eventstore_core::ErrorKind::PermissionDenied) without the right `PROCESS`.
    pub fn convert_to_partitions(&self, partitions: Partitions, progress: impl FnMut(Progress)) -> Result<bool> {
        self.convert(Some(partitions), progress)
    }

    /// Makes the log of a partitioned store one table again, while programs read and write. Returns false if it is one table already.
    ///
    /// It copies all events, as [`convert_to_partitions`](Self::convert_to_partitions) does.
    ///
    /// # Errors
    ///
    /// As [`convert_to_partitions`](Self::convert_to_partitions).
    pub fn convert_to_one_table(&self, progress: impl FnMut(Progress)) -> Result<bool> {
        self.convert(None, progress)
    }

    fn convert(&self, into: Option<Partitions>, mut progress: impl FnMut(Progress)) -> Result<bool> {
        self.change("convert", |connection| {
            convert::convert(connection, into, &mut progress)
        })
    }

    /// Changes the schema on a connection of its own, unless the store only reads.
    fn change<R>(&self, what: &str, change: impl FnOnce(&mut Connection) -> Result<R>) -> Result<R> {
        let change = || {
            self.options.server.require_writable()?;
            change(&mut self.location.clone()?.open()?)
        };
        change().map_err(|error: Error| error.during(format_args!("{what} {}", self.name())))
    }

    /// The migrations that [`migrate`](Self::migrate) would apply.
    ///
    /// # Errors
    ///
    /// As [`MysqlEventStore::open`].
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
    fn look<R>(&self, look: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>) -> Result<R> {
        let look = || look(&mut self.location.clone()?.open()?.session());
        look().map_err(|error: Error| error.during(format_args!("look at the schema of {}", self.name())))
    }

    /// The database, without secrets.
    fn name(&self) -> String {
        let database = self
            .location
            .as_ref()
            .ok()
            .and_then(|location| location.database().ok());
        match database {
            Some(database) => format!("the MySQL database {database}"),
            None => "a MySQL database".to_owned(),
        }
    }
}

impl fmt::Debug for MysqlEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlEventStore")
            .field("location", &self.0.location)
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl EventStore for MysqlEventStore {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let alone = || self.with(|session| self.0.appending(session, |session| append::alone(session, appends)));
        let lead = |group: &mut Group<'_>| {
            self.with(|session| {
                self.0.appending(session, |session| {
                    group.append(session, append::alone, append::together)
                })
            })
        };
        self.0.calls.append_all(appends, alone, lead)
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
        self.with_one_state(|session| tables::statistics(session, tenant))
            .map_err(|error| error.during("read statistics"))
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        self.with(|session| read::summaries(session, query))
            .map_err(|error| error.during("read aggregate summaries"))
    }

    fn refresh_aggregate_summaries(&self) -> Result<()> {
        self.require_writable()
            .and_then(|()| self.with(read::refresh_summaries))
            .map_err(|error| error.during("refresh the aggregate summaries"))
    }

    fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        let check = || {
            let (server, writable) = self.with(|session| {
                session.select_one(sql::SERVER, [], |row| {
                    Ok((row.text(0)?.to_owned(), row.integer(1)? != 0))
                })
            })?;
            let mark = self.mark()?;
            let latency = asked.elapsed();
            let schema = self.with(migrate::version)?;
            let backend = self.0.server.flavour.name();
            Ok(Health::new(backend, server, schema, writable, mark, latency))
        };
        check().map_err(|error: Error| error.during("check the health"))
    }
}

/// Gives the code that all databases share the store's connections.
pub(crate) struct Sessions<'a>(pub(crate) &'a MysqlEventStore);

impl ServerLog for Sessions<'_> {
    type Session<'c> = Session<'c, Conn>;

    fn options(&self) -> &ServerOptions {
        &self.0.0.options.server
    }

    fn with<R>(&self, work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R> {
        self.0.with(work)
    }

    fn proved(&self) -> GlobalSequence {
        self.0.0.mark.proved()
    }

    fn prove(&self) -> Result<GlobalSequence> {
        self.0.with(|session| self.0.prove(session))
    }

    fn shows_all(session: &Session<'_, Conn>) -> bool {
        session.server.standing.writes_alone()
    }

    fn find(
        &self,
        session: &mut Session<'_, Conn>,
        query: &EventQuery,
        window: &Window,
        reading: WindowReading,
    ) -> Result<Found> {
        let Shared { indexes, known, .. } = &*self.0.0;
        match Reading::new(query, indexes, reading).find(session, window, known) {
            // The index was dropped since the store was opened. The log is scanned instead.
            Err(error)
                if driver_error(&error).is_some_and(is_missing_index) && !self.0.0.was_converted(session, &error) =>
            {
                Reading::new(query, &[], reading).find(session, window, known)
            }
            found => found,
        }
    }

    fn published_mark(session: &mut Session<'_, Conn>) -> Result<PublishedMark> {
        read::published_mark(session)
    }

    fn end_of_log(session: &mut Session<'_, Conn>) -> Result<GlobalSequence> {
        read::end(session)
    }
}

snapshot_store!(MysqlEventStore, Sessions);

impl ConsumerStore for MysqlEventStore {
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
        &self.0.calls.wake
    }

    /// By the server's code: a deadlock, a lock or a statement that took too long, a lost connection, or a server that shuts down, is
    /// read-only, or lacks connections, memory or disk space.
    fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        any_transient(error, |error| error.downcast_ref().map(kind_of))
    }

    /// By the server's code: 3024 of MySQL's `max_execution_time`, 1969 of MariaDB's `max_statement_time`. Not 1205 of
    /// `innodb_lock_wait_timeout`. Not 1317 of a killed statement, which is also the code of a server that shuts down.
    fn took_too_long(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        any_cause(error, |error| error.downcast_ref().is_some_and(is_out_of_time))
    }

    fn max_connections(&self) -> Option<u32> {
        Some(self.0.options.server.max_connections)
    }
}

impl Transactional for MysqlEventStore {
    type Transaction<'t> = MysqlTransaction<'t>;

    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.transaction(work)
    }
}

/// A transaction of a MySQL store: see [`MysqlEventStore::transaction`].
pub struct MysqlTransaction<'a> {
    connection: &'a mut Connection,
    store: &'a Shared,
    /// Whether the caller has used the connection since it was last checked.
    is_unchecked: bool,
    work: Work,
}

impl MysqlTransaction<'_> {
    /// The connection, for the caller's own tables. The store commits the transaction, after the work.
    #[must_use]
    pub fn connection(&mut self) -> &mut Conn {
        self.is_unchecked = true;
        self.connection.lend()
    }
}

impl fmt::Debug for MysqlTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlTransaction")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

impl WorkTransaction for MysqlTransaction<'_> {
    fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

impl ServerTransaction for MysqlTransaction<'_> {
    fn commit(self) -> Result<()> {
        self.connection.commit()
    }

    fn roll_back(self) {
        // If this fails, the connection is dropped, and the server rolls back.
        let _ = self.connection.roll_back();
        let failure = self.work.failure().and_then(driver_error);
        if failure.is_some_and(is_read_only_server) {
            self.connection.give_up();
        }
    }
}

impl SqlTransaction for MysqlTransaction<'_> {
    type Session<'s>
        = Session<'s, Conn>
    where
        Self: 's;

    fn session(&mut self) -> Result<Session<'_, Conn>> {
        if self.is_unchecked {
            let server = self.store.admit(&mut self.connection.client)?;
            if server.commits_by_itself {
                return Err(Error::invalid(
                    "the transaction's connection commits each statement by itself, so what follows could not be taken back: leave \
                     autocommit alone",
                ));
            }
            self.connection.server.increment = server.increment;
            self.is_unchecked = false;
        }
        Ok(self.connection.session())
    }

    /// An error that means that the log was converted becomes a retryable one.
    fn judge(&mut self, error: Error) -> Error {
        match self.store.notice_conversion(self.connection, &error) {
            true => converted(),
            false => error,
        }
    }

    fn append(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let store = self.store;
        store.appending(&mut self.session()?, |session| append::within(session, appends))
    }

    fn save_after_work(&mut self, slot: &ConsumerSlot) -> Result<bool> {
        if !self.is_unchecked {
            return Ok(false);
        }
        match consumer::save_after_work(&mut self.connection.session(), slot, &self.store.place) {
            Err(error) if is_missing_table(&error) => Ok(false),
            saved => saved.map_err(classify),
        }
    }
}
