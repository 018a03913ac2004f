//! Connections: how they are made, what they guarantee, and their pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firefly_eventstore_core::backend::kinds::{self, altered};
use firefly_eventstore_core::backend::{Generation, ServerConnection};
use firefly_eventstore_core::{Error, ErrorKind, Result};
use mysql::prelude::Queryable;
use mysql::{Conn, DEFAULT_STMT_CACHE_SIZE, DriverError, Opts, OptsBuilder, Row};

use crate::error::{
    classify, classify_connecting, driver_error, is_deadlock, is_denied, is_lost, is_missing_savepoint,
    is_read_only_server, is_stale,
};
use crate::row::{decode, text};
use crate::session::{Place, Server, Session, run_all};
use crate::sql::{self, Layout};
use crate::topology;

/// The place of a store.
#[derive(Clone)]
pub(crate) struct Location {
    opts: Opts,
    /// When the expected store was made. `None` before it was opened.
    made_at: Option<String>,
    /// Whether the expected store keeps its events in partitions, as far as known. A conversion changes it.
    is_partitioned: Arc<AtomicBool>,
}

/// How many prepared statements a connection keeps: all of this crate's, and some for combinations of filters.
const PREPARED_STATEMENTS: usize = 256;

/// The settings of every session, whatever the server's defaults are: all of Unicode; errors instead of silent changes of values; UTC;
/// autocommit; no limit of rows; enough recursion for the migrations; and `READ COMMITTED`. Every user may set these.
const SETTINGS: &str = "SET NAMES utf8mb4, \
         sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         time_zone = '+00:00', autocommit = 1, completion_type = 'NO_CHAIN', unique_checks = 1, \
         foreign_key_checks = 1, /*M!100600 check_constraint_checks = 1, max_recursive_iterations = 1000, */ \
         /*!80000 cte_max_recursion_depth = 1000, */ sql_safe_updates = 0, sql_auto_is_null = 0, sql_big_selects = 1, \
         sql_select_limit = 18446744073709551615; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE";

/// Resets what a caller's work may have left on a connection and a rollback does not undo: a stopped clock, table locks, and temporary
/// tables that hide those of the store.
const TIDY: &str = "SET timestamp = DEFAULT; UNLOCK TABLES; DROP TEMPORARY TABLE IF EXISTS \
     events, snapshots, mv_aggregate_summary, firefly_gate, firefly_turn, firefly_flush, firefly_published_mark, firefly_schema_history, \
     firefly_seals, firefly_consumers, firefly_consumer_members, firefly_parked_events, firefly_archives, \
     firefly_archived_streams, firefly_archived_events, firefly_moves, firefly_event_keys, firefly_partitions, firefly_leaving";

/// Begins a transaction. Autocommit is off until [`Connection::end`]: after a deadlock, by which the server ends the transaction, later
/// statements must not be kept. The savepoint is gone then, too. Also returns whether the server is read-only.
const BEGIN: &str = "SET autocommit = 0; START TRANSACTION";
const BEGUN: &str = "SAVEPOINT firefly_transaction; SELECT CAST(@@global.read_only AS CHAR) NOT IN ('0', 'OFF')";
const COMMIT: &str = "RELEASE SAVEPOINT firefly_transaction; COMMIT";

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options' own output shows the password.
        f.debug_struct("Location")
            .field("host", &self.opts.get_ip_or_hostname())
            .field("database", &self.opts.get_db_name())
            .finish_non_exhaustive()
    }
}

impl Location {
    pub(crate) fn new(opts: Opts) -> Self {
        let statements = match opts.get_stmt_cache_size() {
            DEFAULT_STMT_CACHE_SIZE => PREPARED_STATEMENTS,
            chosen => chosen,
        };
        // A compressed packet contains many others. The driver would refuse it if they are together beyond the limit.
        let packet = opts.get_max_allowed_packet().filter(|_| opts.get_compress().is_none());
        let opts = OptsBuilder::from_opts(opts).max_allowed_packet(packet);
        Self {
            opts: opts.stmt_cache_size(statements).into(),
            made_at: None,
            is_partitioned: Arc::default(),
        }
    }

    /// The name of the database.
    pub(crate) fn database(&self) -> Result<&str> {
        self.opts
            .get_db_name()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Error::invalid("the URL names no database; write mysql://user:password@host:port/database"))
    }

    /// Returns an error where the driver would panic.
    fn refuse_tls_unless(&self, there_is_tls: bool) -> Result<()> {
        match self.opts.get_ssl_opts() {
            Some(_) if !there_is_tls => Err(Error::invalid(
                "TLS is asked for, which this program was built without: turn on the feature rustls of firefly-eventstore-mysql",
            )),
            _ => Ok(()),
        }
    }

    /// The location of the store that was made at this time. Another store at its place is refused, which costs each new connection one
    /// round trip.
    pub(crate) fn of_store(self, made_at: String, layout: Layout) -> Self {
        Self {
            made_at: Some(made_at),
            is_partitioned: Arc::new((layout == Layout::Partitioned).into()),
            ..self
        }
    }

    /// How the store keeps its events, as far as known.
    pub(crate) fn layout(&self) -> Layout {
        match self.is_partitioned.load(Ordering::Acquire) {
            false => Layout::Whole,
            true => Layout::Partitioned,
        }
    }

    /// Remembers how the store keeps its events, for later connections.
    pub(crate) fn set_layout(&self, layout: Layout) {
        self.is_partitioned
            .store(layout == Layout::Partitioned, Ordering::Release);
    }

    /// When the store was made.
    pub(crate) fn made_at(&self) -> Option<&str> {
        self.made_at.as_deref()
    }

    /// Fails if another store has taken this store's place.
    fn check_store(&self, client: &mut Conn) -> Result<()> {
        let Some(expected) = &self.made_at else {
            return Ok(());
        };
        let found = made_at(client)?;
        if found == *expected {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Moved {
            reason: format!(
                "the database {} has another store now, which was made at {found}, not at {expected}; open it again",
                self.database()?
            )
            .into(),
        }))
    }

    /// Makes a connection. After the driver's greeting, it takes four round trips: the server, its role, and the settings.
    pub(crate) fn open(&self) -> Result<Connection> {
        self.database()?;
        self.refuse_tls_unless(cfg!(feature = "rustls"))?;
        let mut client = Conn::new(self.opts.clone()).map_err(classify_connecting)?;
        let (mut server, place) = Server::of(&mut client)?;
        server.layout = self.layout();
        if let Some(most) = self.opts.get_max_allowed_packet() {
            server.packet = server.packet.min(most); // the driver refuses what is larger
        }
        // First, because a server may limit the rows of the next statement.
        let state = run_all(&mut client, &format!("{SETTINGS}; {}", sql::SESSION_STATE)).map_err(classify)?;
        server.standing = topology::standing_of(&mut Session {
            client: &mut client,
            server,
            locks: false,
        })?;
        self.check_store(&mut client)?;
        Ok(Connection {
            id: client.connection_id(),
            client,
            server,
            place,
            state: state_of(&state),
            generation: Generation::default(),
            in_doubt: false,
            is_lent: false,
            transactions: 0,
        })
    }
}

/// When the store in the connection's database was made. It distinguishes stores with the same name.
pub(crate) fn made_at(client: &mut impl Queryable) -> Result<String> {
    let rows = client.query::<Row, _>(sql::MADE_AT).map_err(classify)?;
    let found = decode(&rows, |row| Ok(text(row, 0)?.to_owned()))?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| altered("the history of migrations does not tell when the store was made"))
}

/// A pooled connection.
pub(crate) struct Connection {
    pub(crate) client: Conn,
    pub(crate) server: Server,
    pub(crate) place: Place,
    /// The server's number of the connection, and the result of `session_state.sql` when it was made.
    id: u32,
    state: Option<String>,
    generation: Generation,
    /// Whether the connection is in use, or was left while an answer was outstanding. Its next answer may belong to an earlier question.
    in_doubt: bool,
    /// Whether the caller has used it since the transaction began.
    is_lent: bool,
    /// The number of transactions that have ended.
    transactions: u64,
}

/// The answer to `session_state.sql`.
fn state_of(rows: &[Row]) -> Option<String> {
    rows.first()?.get(1)
}

impl Connection {
    /// This connection, in autocommit.
    pub(crate) fn session(&mut self) -> Session<'_, Conn> {
        Session {
            client: &mut self.client,
            server: self.server,
            locks: false,
        }
    }

    /// Runs `work` on this connection, in autocommit. The connection is in doubt until `work` has returned. If it was lost, it stays in
    /// doubt, with all connections of its generation.
    pub(crate) fn run<R>(&mut self, work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>) -> Result<R> {
        self.in_doubt = true;
        let result = work(&mut self.session());
        self.in_doubt = result.as_ref().err().and_then(driver_error).is_some_and(is_lost);
        if self.in_doubt {
            self.generation.retire();
        }
        result
    }

    /// The connection, for the caller's own statements until the transaction ends.
    pub(crate) fn lend(&mut self) -> &mut Conn {
        self.is_lent = true;
        &mut self.client
    }

    /// Begins a transaction. The connection is in doubt until the transaction has ended. One round trip, and one more in a partitioned log
    /// if the user may not insert events. Returns whether the server has become read-only since the connection was made.
    pub(crate) fn begin(&mut self) -> Result<bool, mysql::Error> {
        self.in_doubt = true;
        self.is_lent = false;
        let rows = match self.server.layout {
            Layout::Whole => run_all(&mut self.client, &format!("{BEGIN}; {BEGUN}"))?,
            Layout::Partitioned => match self.begin_holding(sql::HOLD_EVENTS) {
                Err(error) if is_denied(&error) || is_read_only_server(&error) => {
                    self.begin_holding(sql::HOLD_EVENTS_FOR_READING)?
                }
                begun => begun?,
            },
        };
        let is_read_only = rows.first().and_then(|row| row.get(0)) == Some(true);
        Ok(is_read_only && !self.server.is_read_only)
    }

    /// Begins a transaction that holds the table of events.
    fn begin_holding(&mut self, hold: &str) -> Result<Vec<Row>, mysql::Error> {
        run_all(&mut self.client, &format!("{BEGIN};\n{hold};\n{BEGUN}"))
    }

    /// Commits the transaction. Fails if it has already ended. One round trip.
    pub(crate) fn commit(&mut self) -> Result<()> {
        match self.end(COMMIT) {
            Err(error) if is_missing_savepoint(&error) => {
                self.roll_back().map_err(classify)?;
                Err(Error::new(kinds::unavailable(
                    "the transaction had ended before its work did, as the victim of a deadlock or by a statement that \
                             commits, such as CREATE TABLE; what followed was not kept",
                )))
            }
            ended => ended.map_err(classify),
        }
    }

    /// Rolls the transaction back. One round trip.
    pub(crate) fn roll_back(&mut self) -> Result<(), mysql::Error> {
        self.end("ROLLBACK")
    }

    /// Ends a transaction, and checks that the answer belongs to this question. After a time-out, the server's late answer would otherwise
    /// be taken for the answer to the next question.
    ///
    /// A connection that the caller has used is reset in the same round trip. If something has changed that the reset does not cover, the
    /// connection stays in doubt, so that no other call gets it.
    fn end(&mut self, how: &str) -> Result<(), mysql::Error> {
        self.transactions += 1;
        let number = self.transactions;
        let rest = match self.is_lent {
            true => format!("{SETTINGS}; {TIDY}; {}, {number}", sql::SESSION_STATE.trim_end()),
            false => format!("SET autocommit = 1; SELECT {number}"),
        };
        let rows = run_all(&mut self.client, &format!("{how}; {rest}"))?;
        let answer = rows.first().and_then(|row| row.get::<u64, _>(row.len() - 1));
        if answer != Some(number) {
            return Err(DriverError::PacketOutOfSync.into());
        }
        self.in_doubt = self.is_lent && (self.client.connection_id() != self.id || state_of(&rows) != self.state);
        Ok(())
    }

    /// Whether the connection was lost, or its next answer may belong to an earlier question.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Drops this connection and all of its generation: they lead to a server that must no longer be used.
    pub(crate) fn give_up(&mut self) {
        self.in_doubt = true;
        self.generation.retire();
    }
}

impl ServerConnection for Connection {
    type Location = Location;

    /// How often a statement is repeated after deadlocks.
    const MOST_REPETITIONS: usize = 100;

    fn connect(location: &Location) -> Result<Self> {
        location.open()
    }

    fn generation(&mut self) -> &mut Generation {
        &mut self.generation
    }

    /// The statement was the victim of a deadlock, or its table has changed.
    fn is_harmless(error: &Error) -> bool {
        driver_error(error).is_some_and(|error| is_stale(error) || is_deadlock(error))
    }

    fn is_lost(&mut self) -> bool {
        self.in_doubt || self.generation.is_over()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use mysql::Opts;

    use super::Location;

    #[test]
    fn tls_is_refused_where_there_is_none() {
        let location = |url| Location::new(Opts::from_url(url).unwrap());
        let plain = location("mysql://clerk@db.example/ledger");
        let secure = location("mysql://clerk@db.example/ledger?root_cert_path=ca.pem");
        plain.refuse_tls_unless(false).unwrap();
        secure.refuse_tls_unless(true).unwrap();
        let error = secure.refuse_tls_unless(false).unwrap_err();
        assert!(
            error.is_invalid_input() && error.to_string().contains("rustls"),
            "{error}"
        );
    }
}
