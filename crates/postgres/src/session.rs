//! Sessions: the statements that run on a connection, each prepared once.

use std::collections::HashMap;

use firefly_eventstore_core::Result;
use postgres::types::ToSql;
use postgres::{GenericClient, Row, Statement};

use crate::error::{classify, is_stale};
use crate::sql::Layout;

/// The statements that one connection has prepared.
#[derive(Default)]
pub(crate) struct Statements(HashMap<String, Statement>);

/// How many statements a connection keeps prepared: all of this crate's, and room for combinations of filters.
const PREPARED_STATEMENTS: usize = 256;

/// A connection, or a transaction on it, with the statements it has prepared.
pub(crate) struct Session<'a, C> {
    pub(crate) client: &'a mut C,
    pub(crate) statements: &'a mut Statements,
    /// How the store keeps its events.
    pub(crate) layout: Layout,
    /// Whether the server was a standby when the connection was made. Nobody has asked on a connection of the caller's.
    pub(crate) is_in_recovery: bool,
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
        let statement = self.client.prepare(&self.layout.of(sql))?;
        if self.statements.0.len() >= PREPARED_STATEMENTS {
            self.statements.0.clear();
        }
        self.statements.0.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn forget_if_stale<T>(&mut self, result: &Result<T, postgres::Error>) {
        if result.as_ref().is_err_and(is_stale) {
            self.statements.0.clear();
        }
    }
}

/// Runs statements that are not prepared.
pub(crate) fn run(client: &mut impl GenericClient, statements: &str) -> Result<()> {
    client.batch_execute(statements).map_err(classify)
}
