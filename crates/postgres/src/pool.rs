//! Connections: how they are made, their prepared statements, and their pool.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::{Generation, ServerConnection};
use firefly_eventstore_core::{Error, ErrorKind, Result};
use postgres::config::TargetSessionAttrs;
use postgres::{Client, Config, SimpleQueryMessage, SimpleQueryRow};

use crate::error::{classify, classify_connecting, driver_error, is_elsewhere, is_stale};
use crate::row::{decode, get};
use crate::session::{Session, Statements};
use crate::sql::{self, Layout};

/// Makes a connection, with TLS or without.
pub(crate) type Connect = dyn Fn(&Config) -> Result<Client, postgres::Error> + Send + Sync;

/// The place of a store.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) config: Config,
    pub(crate) connect: Arc<Connect>,
    /// The PostgreSQL schema, or `None` for the one that the server chooses.
    pub(crate) schema: Option<String>,
    /// The identity of the store, which is known once it is open.
    pub(crate) place: Option<Place>,
    /// Whether a read-only server suffices.
    pub(crate) read_replica: bool,
}

/// The identity of a store, which no renaming changes.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    database: u32,
    schema: u32,
    /// The oid of the table of events, or of the first such table if the log was converted.
    events: u32,
    /// The time of the first migration.
    founded: String,
    /// The search path by which it was found, for the names of other objects.
    path: String,
}

impl Place {
    /// The place that the connection's search path leads to.
    pub(crate) fn of(session: &mut Session<'_, Client>) -> Result<Self> {
        let places = session.select(sql::PLACE, &[], |row| {
            Ok(Self {
                database: get(row, 0)?,
                schema: get(row, 1)?,
                events: get(row, 2)?,
                founded: get(row, 3)?,
                path: get(row, 4)?,
            })
        })?;
        let moved = || Error::new(ErrorKind::Moved { reason: GONE.into() });
        places.into_iter().next().ok_or_else(moved)
    }

    /// Whether a row of `place.sql` describes this place.
    pub(crate) fn is_that_of(&self, row: &SimpleQueryRow) -> bool {
        let own = [
            ("database", self.database.to_string()),
            ("schema", self.schema.to_string()),
            ("events", self.events.to_string()),
            ("founded", self.founded.clone()),
        ];
        own.iter()
            .all(|(column, value)| row.try_get(*column).is_ok_and(|found| found == Some(value.as_str())))
    }

    pub(crate) fn schema(&self) -> u32 {
        self.schema
    }

    /// `pin.sql` with its values as literals, so that it needs no round trip of its own.
    fn pin(&self) -> String {
        let values = [
            ("$1", format!("'{}'", self.schema)),
            ("$2", format!("$path${}$path$", self.path)),
        ];
        let statement = sql::without_comments(sql::PIN);
        values.iter().fold(statement, |statement, (parameter, value)| {
            statement.replace(parameter, value)
        })
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

const GONE: &str = "the schema that the store was opened in, or its table of events, is not there any more: it was dropped or replaced; \
    nothing was written, open the store again where it is now";

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration's own output hides the password, but no other secrets.
        f.debug_struct("Location")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Location {
    /// Makes a connection. After the server's greeting, it takes one round trip, for its settings.
    pub(crate) fn open(&self) -> Result<Connection> {
        let mut client = self.connected()?;
        let in_recovery = sql::without_comments(sql::IN_RECOVERY);
        let mut settings = format!("{ENCODING}; {in_recovery}; {}", self.settings());
        if self.place.is_some() {
            settings += &format!("; {}", sql::without_comments(sql::PLACE));
        }
        let answers = match client.simple_query(&settings) {
            // If the schema does not exist, the later statements fail, too.
            Err(error) if self.place.is_some() && is_elsewhere(&error) => Vec::new(),
            answers => answers.map_err(classify)?,
        };
        let is_there = |place: &Place| rows(&answers).any(|row| place.is_that_of(row));
        let encoding = rows(&answers).find_map(|row| row.try_get("encoding").ok().flatten());
        if let Some(encoding) = encoding.filter(|encoding| *encoding != "UTF8") {
            return Err(Error::invalid(format!(
                "the database has the encoding {encoding}, which cannot keep every text; create one with ENCODING 'UTF8' TEMPLATE \
                 template0"
            )));
        }
        let told = |column: &str| rows(&answers).find_map(|row| row.try_get(column).ok().flatten());
        let pinned = told("pinned").zip(told("known"));
        Ok(Connection {
            is_in_recovery: rows(&answers).any(|row| row.try_get("in_recovery").ok().flatten() == Some("t")),
            is_elsewhere: !self.place.as_ref().is_none_or(is_there),
            reset: self.reset(pinned),
            client,
            statements: Statements::default(),
            layout: Layout::told(told("is_partitioned")),
            generation: Generation::default(),
            is_touched: false,
            looked: Instant::now(),
        })
    }

    /// If there are several hosts, connects to the one that accepts writes, unless a replica suffices. The first that answers may be a
    /// standby, which shows the log without its end. The connection to it would also stay in the pool after the primary is back.
    fn connected(&self) -> Result<Client> {
        let hosts = self.config.get_hosts().len().max(self.config.get_hostaddrs().len());
        let is_chosen = self.config.get_target_session_attrs() != TargetSessionAttrs::Any;
        if self.read_replica || is_chosen || hosts < 2 {
            return (self.connect)(&self.config).map_err(classify_connecting);
        }
        let mut config = self.config.clone();
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        (self.connect)(&config).map_err(classify_connecting)
    }

    /// The statements that set up a connection. Once the store is open, one of them also shows whether its schema still exists.
    fn settings(&self) -> String {
        match (&self.place, &self.schema) {
            (Some(place), _) => format!("{ISOLATION}; {}", place.pin()),
            (None, Some(schema)) => format!("{ISOLATION}; SET search_path = {}", quoted(schema)),
            (None, None) => ISOLATION.to_owned(),
        }
    }

    /// The statements that reset a connection after a caller's work. They set the search path to the one that the connection had before, so
    /// that the server keeps its plans. If the schema was renamed since, the next statement shows it, as on all other connections.
    fn reset(&self, pinned: Option<(&str, &str)>) -> String {
        let settings = match pinned {
            Some((path, store)) => format!(
                "{ISOLATION}; SELECT set_config('search_path', $path${path}$path$, false); SET firefly.store = '{store}'"
            ),
            None => self.settings(),
        };
        format!("{}; {settings}", sql::without_comments(sql::FORGET))
    }
}

/// The mark needs `READ COMMITTED`, but a server may have another default.
const ISOLATION: &str = "SET default_transaction_isolation = 'read committed'";

const ENCODING: &str = "SELECT current_setting('server_encoding') AS encoding";

/// The rows in the answers to several statements.
pub(crate) fn rows(answers: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// A name, quoted for SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A pooled connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) statements: Statements,
    pub(crate) layout: Layout,
    /// Whether the server was a standby when the connection was made. It may be the primary by now. A primary never becomes a standby.
    pub(crate) is_in_recovery: bool,
    pub(crate) generation: Generation,
    /// Whether a caller's work may have changed the connection.
    pub(crate) is_touched: bool,
    /// The statements that reset it after that.
    pub(crate) reset: String,
    /// When the connection was last known to lead to the store's table of events.
    looked: Instant,
    /// Whether the connection did not find the store.
    is_elsewhere: bool,
}

impl Connection {
    /// This connection, in autocommit.
    pub(crate) fn session(&mut self) -> Session<'_, Client> {
        Session {
            client: &mut self.client,
            statements: &mut self.statements,
            layout: self.layout,
            is_in_recovery: self.is_in_recovery,
        }
    }

    /// Fails if the connection did not find the store.
    pub(crate) fn check_place(&self) -> Result<()> {
        match self.is_elsewhere {
            true => Err(Error::new(ErrorKind::Moved { reason: GONE.into() })),
            false => Ok(()),
        }
    }

    /// Checks, at most once a second, whether the connection leads to the store's table of events. A transaction that begins after a
    /// conversion of the store needs other statements.
    pub(crate) fn look(&mut self) -> Result<()> {
        match self.looked.elapsed() >= LOOK_EVERY {
            true => self.look_now(),
            false => self.check_place(),
        }
    }

    /// Checks whether the connection leads to the store's table of events.
    pub(crate) fn look_now(&mut self) -> Result<()> {
        let rows = self.session().query(sql::LOOK, &[]).map_err(classify)?;
        self.is_elsewhere = decode(&rows, |row| get::<bool>(row, 0))? != [true];
        self.looked = Instant::now();
        self.check_place()
    }

    /// Whether a check showed that the connection does not lead to the store's table of events.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }
}

impl ServerConnection for Connection {
    type Location = Location;

    const MOST_REPETITIONS: usize = 1;

    fn connect(location: &Location) -> Result<Self> {
        location.open()
    }

    fn generation(&mut self) -> &mut Generation {
        &mut self.generation
    }

    /// The server has dropped the prepared statements, which are then prepared again.
    fn is_harmless(error: &Error) -> bool {
        driver_error(error).is_some_and(is_stale)
    }

    fn is_lost(&mut self) -> bool {
        self.client.is_closed() || self.generation.is_over()
    }

    fn is_spoiled(&mut self) -> bool {
        // A connection that did not find the store is handed out once, so that its user gets the error at once.
        self.is_lost() || self.is_touched || self.is_elsewhere
    }

    fn check(&mut self) -> Result<()> {
        self.check_place()
    }
}
