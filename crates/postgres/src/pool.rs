//! Connections: how they are made, the statements each has prepared, and their pool.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firefly_eventstore_core::{Error, ErrorKind, Result};
use postgres::types::ToSql;
use postgres::{Client, Config, GenericClient, Row, Statement};

use crate::error::{classify, classify_connecting};

/// Makes a connection, with TLS or without.
pub(crate) type Connect = dyn Fn(&Config) -> Result<Client, postgres::Error> + Send + Sync;

/// Where a store is.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) config: Config,
    pub(crate) connect: Arc<Connect>,
    /// The PostgreSQL schema, if not the one that the server chooses.
    pub(crate) schema: Option<String>,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration's own output has a password's place taken by an underscore, but not that of other secrets.
        f.debug_struct("Location")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Location {
    /// Makes a connection. A round trip more than the server's own greeting: its settings.
    pub(crate) fn open(&self) -> Result<Connection> {
        let mut client = (self.connect)(&self.config).map_err(classify_connecting)?;
        // The mark needs to see what was committed a moment ago, whatever the server's default.
        let mut settings = String::from("SET default_transaction_isolation = 'read committed'");
        if let Some(schema) = &self.schema {
            settings += &format!("; SET search_path = {}", quoted(schema));
        }
        client.batch_execute(&settings).map_err(classify)?;
        Ok(Connection {
            client,
            statements: Statements::default(),
            generation: 0,
        })
    }
}

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statements that one connection has prepared.
#[derive(Default)]
pub(crate) struct Statements(HashMap<String, Statement>);

/// How many statements a connection keeps prepared: all of this crate's, and room for combinations of filters.
const PREPARED_STATEMENTS: usize = 256;

/// A connection, or a transaction on it, with the statements it has prepared.
pub(crate) struct Session<'a, C> {
    pub(crate) client: &'a mut C,
    pub(crate) statements: &'a mut Statements,
}

impl<C: GenericClient> Session<'_, C> {
    /// The rows of a statement, which is prepared once.
    pub(crate) fn query(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, postgres::Error> {
        let statement = self.prepared(sql)?;
        let result = self.client.query(&statement, parameters);
        self.forget_if_stale(&result);
        result
    }

    /// How many rows a statement changed.
    pub(crate) fn execute(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, postgres::Error> {
        let statement = self.prepared(sql)?;
        let result = self.client.execute(&statement, parameters);
        self.forget_if_stale(&result);
        result
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.statements.0.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        if self.statements.0.len() >= PREPARED_STATEMENTS {
            self.statements.0.clear();
        }
        self.statements.0.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn forget_if_stale<T>(&mut self, result: &Result<T, postgres::Error>) {
        if result.as_ref().is_err_and(crate::error::is_stale_plan) {
            self.statements.0.clear();
        }
    }
}

/// A pooled connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) statements: Statements,
    generation: u64,
}

impl Connection {
    /// This connection, in autocommit.
    pub(crate) fn session(&mut self) -> Session<'_, Client> {
        Session {
            client: &mut self.client,
            statements: &mut self.statements,
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
        connection.client.is_closed() || connection.generation < self.generation.load(Ordering::Acquire)
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
