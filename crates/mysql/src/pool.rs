//! Connections: how they are made, what each can count on, and their pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firefly_eventstore_core::{Error, ErrorKind, Limits, Result, canonical};
use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder, Params, Row, Value};

use crate::error::{classify, classify_connecting};
use crate::row::{count, decode, integer, text};
use crate::sql;

/// Where a store is.
#[derive(Clone)]
pub(crate) struct Location(Opts);

/// How many statements a connection keeps prepared: all of this crate's, and room for combinations of filters.
const PREPARED_STATEMENTS: usize = 256;

/// What every session needs: the whole of Unicode, errors for what would be changed silently, UTC, and reads that see what was
/// committed a moment ago.
const SETTINGS: &str = "SET NAMES utf8mb4; \
     SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         time_zone = '+00:00'; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options' own output has the password.
        f.debug_struct("Location")
            .field("host", &self.0.get_ip_or_hostname())
            .field("database", &self.0.get_db_name())
            .finish_non_exhaustive()
    }
}

impl Location {
    pub(crate) fn new(opts: Opts) -> Self {
        let statements = opts.get_stmt_cache_size().max(PREPARED_STATEMENTS);
        // A compressed packet has many others in it, and the driver would refuse it where those together are beyond a limit.
        let packet = opts.get_max_allowed_packet().filter(|_| opts.get_compress().is_none());
        let opts = OptsBuilder::from_opts(opts).max_allowed_packet(packet);
        Self(opts.stmt_cache_size(statements).into())
    }

    /// The name of the database.
    pub(crate) fn database(&self) -> Result<&str> {
        self.0
            .get_db_name()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Error::invalid("the URL names no database; write mysql://user:password@host:port/database"))
    }

    /// Makes a connection. Two round trips more than the driver's own greeting: what the server is, and the settings.
    pub(crate) fn open(&self) -> Result<Connection> {
        self.database()?;
        let mut client = Conn::new(self.0.clone()).map_err(classify_connecting)?;
        let mut server = Server::of(&mut client)?;
        if let Some(most) = self.0.get_max_allowed_packet() {
            server.packet = server.packet.min(most); // the driver refuses what is larger
        }
        client.query_drop(SETTINGS).map_err(classify)?;
        Ok(Connection {
            client,
            server,
            generation: 0,
        })
    }
}

/// MySQL, or what has become of it: everything in which they differ for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Mysql,
    Mariadb,
}

impl Flavour {
    /// The least version that has what a store needs: locks that are not waited for, checks, and JSON
    /// values by path.
    fn least_version(self) -> (u32, u32, u32) {
        match self {
            Self::Mysql => (8, 0, 21),
            Self::Mariadb => (10, 6, 0),
        }
    }

    /// What health says that the backend is.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// The collation that compares characters by their code points, and trailing spaces too.
    pub(crate) fn collation(self) -> &'static str {
        match self {
            Self::Mysql => "utf8mb4_0900_bin",
            Self::Mariadb => "utf8mb4_nopad_bin",
        }
    }

    /// Whether an `INSERT` can return the sequences that it allocated.
    pub(crate) fn returns_sequences(self) -> bool {
        self == Self::Mariadb
    }

    /// Refuses limits beyond what the server keeps.
    pub(crate) fn check(self, limits: &Limits) -> Result<()> {
        let deepest = match self {
            Self::Mysql => 100.min(canonical::MAX_DEPTH),
            Self::Mariadb => 31,
        };
        if limits.max_depth > deepest {
            return Err(Error::invalid(format!(
                "{} keeps JSON that nests {deepest} levels deep; do not lift that limit beyond it",
                self.name()
            )));
        }
        if limits.allow_inexact_numbers && self == Self::Mysql {
            return Err(Error::invalid(
                "mysql rounds numbers that are neither 64-bit integers nor doubles; do not lift that limit",
            ));
        }
        Ok(())
    }
}

/// What a connection can count on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) flavour: Flavour,
    /// The step from one sequence of a statement to its next.
    pub(crate) increment: i64,
    /// The most bytes of a statement and its values.
    pub(crate) packet: usize,
    /// Whether the connection, as it was found, stores values as they are, or refuses them.
    pub(crate) is_strict: bool,
}

impl Server {
    /// What this connection is connected to; an error if it is too old.
    pub(crate) fn of(client: &mut impl Queryable) -> Result<Self> {
        let rows = client.exec(sql::SESSION, ()).map_err(classify)?;
        let found = decode(&rows, |row| {
            let strict = integer(row, 3)? != 0;
            Ok((text(row, 0)?.to_owned(), count(row, 1)?, count(row, 2)?, strict))
        })?;
        let (version, increment, packet, is_strict) = found
            .into_iter()
            .next()
            .expect("a query without a table returns one row");
        let flavour = match version.contains("MariaDB") {
            true => Flavour::Mariadb,
            false => Flavour::Mysql,
        };
        let least = flavour.least_version();
        if numbers(&version).is_none_or(|found| found < least) {
            return Err(Error::new(ErrorKind::Backend {
                reason: format!(
                    "the server is {} {version}; a store needs {}.{}.{} at least",
                    flavour.name(),
                    least.0,
                    least.1,
                    least.2
                )
                .into(),
            }));
        }
        Ok(Self {
            flavour,
            increment: i64::try_from(increment).unwrap_or(1),
            packet: usize::try_from(packet).unwrap_or(usize::MAX),
            is_strict,
        })
    }
}

/// The three numbers that a version begins with, such as that of `10.11.19-MariaDB-0+deb12u1`.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let numbers = version.split(|character: char| !character.is_ascii_digit());
    let mut numbers = numbers.map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

/// A connection, or a transaction on it.
pub(crate) struct Session<'a, C> {
    pub(crate) client: &'a mut C,
    pub(crate) server: Server,
    /// Whether what is looked up for an append must be what was committed last, although the transaction may see an older state:
    /// a locking read sees it.
    pub(crate) locks: bool,
}

impl<C: Queryable> Session<'_, C> {
    /// The rows of a statement, which is prepared once.
    pub(crate) fn query(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, mysql::Error> {
        self.client.exec(sql, parameters(values))
    }

    /// What is made of each row of a statement, while the server still sends others.
    pub(crate) fn query_each<T>(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        make: impl FnMut(Row) -> T,
    ) -> Result<Vec<T>, mysql::Error> {
        self.client.exec_map(sql, parameters(values), make)
    }

    /// How many rows a statement changed.
    pub(crate) fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, mysql::Error> {
        Ok(self.client.exec_iter(sql, parameters(values))?.affected_rows())
    }

    /// The first sequence that an `INSERT` allocated.
    pub(crate) fn insert(&mut self, sql: &str, values: Vec<Value>) -> Result<Option<u64>, mysql::Error> {
        Ok(self.client.exec_iter(sql, parameters(values))?.last_insert_id())
    }
}

fn parameters(values: Vec<Value>) -> Params {
    match values.is_empty() {
        true => Params::Empty,
        false => Params::Positional(values),
    }
}

/// A pooled connection.
pub(crate) struct Connection {
    pub(crate) client: Conn,
    pub(crate) server: Server,
    generation: u64,
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

    /// Takes this connection, and all that are as old, for lost.
    pub(crate) fn retire(&self, generation: &AtomicU64) {
        generation.fetch_max(self.generation + 1, Ordering::AcqRel);
    }
}

/// Makes the connections of a pool. When one is lost, all that are as old are taken for lost.
#[derive(Debug)]
pub(crate) struct Manager {
    location: Location,
    generation: Arc<AtomicU64>,
}

impl r2d2::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection> {
        let generation = self.generation.load(Ordering::Acquire);
        let mut connection = self.location.open()?;
        connection.generation = generation;
        Ok(connection)
    }

    /// Asks nobody: a lost connection is found out by use.
    fn is_valid(&self, connection: &mut Connection) -> Result<()> {
        if self.has_broken(connection) {
            return Err(Error::new(ErrorKind::Unavailable {
                reason: "the connection was lost".into(),
            }));
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.generation < self.generation.load(Ordering::Acquire)
    }
}

/// The pool of connections; they are made when they are first needed.
pub(crate) fn connections(
    location: Location,
    generation: Arc<AtomicU64>,
    most: u32,
    timeout: Duration,
) -> r2d2::Pool<Manager> {
    r2d2::Pool::builder()
        .max_size(most)
        .min_idle(Some(0))
        .test_on_check_out(true)
        .idle_timeout(None)
        .max_lifetime(None)
        .connection_timeout(timeout.max(Duration::from_millis(1)))
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(Manager { location, generation })
}
