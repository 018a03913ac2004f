//! Sessions: a connection's statements, each prepared once.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use bytes::BytesMut;
use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::{Sql, SqlSession, Value, microseconds};
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, GenericClient, IsolationLevel, Row, Statement, Transaction};

use crate::error::{classify, is_stale};
use crate::row::{Cells, decode, floor};
use crate::sql::{self, Layout};

/// The statements that one connection has prepared.
#[derive(Default)]
pub(crate) struct Statements(HashMap<String, Statement>);

/// How many prepared statements a connection keeps: all of this crate's, and some for combinations of filters.
const PREPARED_STATEMENTS: usize = 256;

/// A connection, or a transaction on it, with its prepared statements.
#[expect(missing_debug_implementations, reason = "core alone uses it")]
pub struct Session<'a, C> {
    pub(crate) client: &'a mut C,
    pub(crate) statements: &'a mut Statements,
    /// The layout of the store's events.
    pub(crate) layout: Layout,
    /// Whether the server was a standby when the connection was made. It is false, unchecked, for a connection of the
    /// caller.
    pub(crate) is_in_recovery: bool,
}

impl<C: GenericClient> Session<'_, C> {
    /// The rows of a statement, which is prepared at its first use.
    pub(crate) fn query(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, postgres::Error> {
        let statement = self.prepared(sql)?;
        let result = self.client.query(&statement, parameters);
        self.forget_if_stale(&result);
        result
    }

    /// The decoded rows of a statement.
    pub(crate) fn select<T>(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        decode_row: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rows = self.query(sql, parameters).map_err(classify)?;
        decode(&rows, decode_row)
    }

    /// The decoded row of a statement that always returns one.
    pub(crate) fn select_one<T>(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        decode_row: impl FnMut(&Row) -> Result<T>,
    ) -> Result<T> {
        let rows = self.select(sql, parameters, decode_row)?;
        Ok(rows.into_iter().next().expect("the statement returns one row"))
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

impl Session<'_, Client> {
    /// Runs statements that read, in a transaction in which they see one state of the database.
    pub(crate) fn in_one_state<R>(
        &mut self,
        read: impl FnOnce(&mut Session<'_, Transaction<'_>>) -> Result<R>,
    ) -> Result<R> {
        let transaction = self.client.build_transaction();
        let transaction = transaction.isolation_level(IsolationLevel::RepeatableRead);
        let mut transaction = transaction.read_only(true).start().map_err(classify)?;
        let result = read(&mut Session {
            client: &mut transaction,
            statements: &mut *self.statements,
            layout: self.layout,
            is_in_recovery: self.is_in_recovery,
        })?;
        transaction.commit().map_err(classify)?;
        Ok(result)
    }
}

impl<C: GenericClient> SqlSession for Session<'_, C> {
    type Row<'r> = Cells<'r>;

    fn rows<T>(
        &mut self,
        statement: Sql,
        values: &[Value<'_>],
        mut decode_row: impl FnMut(&Cells<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let parameters = parameters(values);
        self.select(sql::shared(statement), &references(&parameters), |row| {
            decode_row(&Cells(row))
        })
    }

    fn change(&mut self, statement: Sql, values: &[Value<'_>]) -> Result<u64> {
        let parameters = parameters(values);
        self.execute(sql::shared(statement), &references(&parameters))
            .map_err(classify)
    }

    fn forget_members(&mut self, consumer: &str, unseen_for: Duration) -> Result<()> {
        self.execute(sql::CONSUMER_FORGET_MEMBERS, &[&consumer, &microseconds(unseen_for)])
            .map(drop)
            .map_err(classify)
    }
}

/// A value, sent with the type of its parameter.
#[derive(Debug)]
pub(crate) struct Parameter<'v>(pub(crate) Value<'v>);

/// The values of a statement. The current time is the server's.
pub(crate) fn parameters<'v>(values: &[Value<'v>]) -> Vec<Parameter<'v>> {
    let values = values.iter().filter(|value| **value != Value::Now);
    values.copied().map(Parameter).collect()
}

pub(crate) fn references<'p>(parameters: &'p [Parameter<'_>]) -> Vec<&'p (dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| parameter as _).collect()
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Value::Null | Value::Now | Value::Most(None) => Ok(IsNull::Yes),
            Value::Boolean(value) => value.to_sql(of, out),
            Value::Integer(value) | Value::Most(Some(value)) => match *of {
                Type::INT4 => i32::try_from(value)?.to_sql(of, out),
                Type::OID => u32::try_from(value)?.to_sql(of, out),
                _ => value.to_sql(of, out),
            },
            Value::Text(value) => value.to_sql(of, out),
            Value::Id(value) => value.to_sql(of, out),
            Value::Time(value) => floor(value).to_sql(of, out),
            Value::In(length) | Value::Ago(length) => microseconds(length).to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Runs statements without preparing them.
pub(crate) fn run(client: &mut impl GenericClient, statements: &str) -> Result<()> {
    client.batch_execute(statements).map_err(classify)
}
