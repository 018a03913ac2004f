//! Sessions: what a connection guarantees, and the statements that run on it.

use std::ops::ControlFlow;
use std::time::Duration;

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::backend::{self, Sql, SqlSession, microseconds};
use firefly_eventstore_core::{Error, Limits, Result, canonical};
use mysql::prelude::Queryable;
use mysql::{Conn, Params, Row, Value};

use crate::error::classify;
use crate::row::{Cells, decode, optional, text, time_value};
use crate::sql::{self, Layout};
use crate::standing::Standing;

/// MySQL or MariaDB, with their differences for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Mysql,
    Mariadb,
}

impl Flavour {
    /// The kind of a server, by its version. Fails if the server is too old.
    fn of(version: &str) -> Result<Self> {
        let flavour = match version.contains("MariaDB") {
            true => Self::Mariadb,
            false => Self::Mysql,
        };
        let least = flavour.least_version();
        if numbers(version).is_some_and(|found| found >= least) {
            return Ok(flavour);
        }
        let (major, minor, patch) = least;
        Err(Error::new(kinds::backend(format!(
            "the server is {} {version}; a store needs {major}.{minor}.{patch} at least",
            flavour.name()
        ))))
    }

    /// The least version that has what a store needs: locks without waiting, check constraints, and JSON values by path.
    fn least_version(self) -> (u32, u32, u32) {
        match self {
            Self::Mysql => (8, 0, 21),
            Self::Mariadb => (10, 6, 0),
        }
    }

    /// The backend's name in the health report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// The collation that compares characters by their code points, including trailing spaces.
    pub(crate) fn collation(self) -> &'static str {
        match self {
            Self::Mysql => "utf8mb4_0900_bin",
            Self::Mariadb => "utf8mb4_nopad_bin",
        }
    }

    /// Whether the server evaluates subqueries that find one row by a key in the order of the text. MariaDB evaluates them before the
    /// statement runs, the last one first.
    pub(crate) fn evaluates_in_order(self) -> bool {
        self == Self::Mysql
    }

    /// Whether an `INSERT` can return the sequences that it allocated.
    pub(crate) fn returns_sequences(self) -> bool {
        self == Self::Mariadb
    }

    /// Up to this many threads append without a group. MySQL flushes twice for a commit, its binary log and its redo log, so that three
    /// threads already gain from a group. On MariaDB three or four threads are slower with a group.
    pub(crate) fn appending_alone(self) -> usize {
        match self {
            Self::Mysql => 2,
            Self::Mariadb => 4,
        }
    }

    /// Fails if the limits exceed what the server can store.
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
        if limits.max_key_bytes > Limits::PORTABLE.max_key_bytes && self == Self::Mysql {
            return Err(Error::invalid(format!(
                "mysql keeps JSON keys of {} bytes; do not lift that limit beyond it",
                Limits::PORTABLE.max_key_bytes
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

/// What a connection guarantees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) flavour: Flavour,
    /// The step between two sequences of a statement.
    pub(crate) increment: i64,
    /// The most bytes of a statement with its values.
    pub(crate) packet: usize,
    /// Whether the session was found to store values unchanged or refuse them.
    pub(crate) is_strict: bool,
    /// Whether other sessions see commits that are not yet on the disk: see [`flush`](crate::flush).
    pub(crate) shows_before_flush: bool,
    /// Whether the connection is in autocommit.
    pub(crate) commits_by_itself: bool,
    /// Whether the server was read-only when the connection was made.
    pub(crate) is_read_only: bool,
    /// Whether appends look for archived events. If they do not, but events are archived, the gate refuses them, and then they do.
    pub(crate) looks_for_archived: bool,
    /// How the store keeps its events. It is unchecked when the connection is made.
    pub(crate) layout: Layout,
    /// The server's role when the connection was made. It is unchecked for a connection of the caller.
    pub(crate) standing: Standing,
}

/// The place of a connection: a server, and its current database, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) server: String,
    pub(crate) database: Option<String>,
}

impl Place {
    pub(crate) fn is_on_server_of(&self, other: &Self) -> bool {
        self.server == other.server
    }
}

impl Server {
    /// The server and the place of this connection. Fails if the server is too old.
    pub(crate) fn of(client: &mut impl Queryable) -> Result<(Self, Place)> {
        // As text: a prepared statement would return what it found when it was prepared.
        let rows: Vec<Row> = client.query(sql::SESSION).map_err(classify)?;
        let number = |row: &Row, index| {
            text(row, index)?
                .parse::<i64>()
                .map_err(|_| Error::invalid(format!("column {index} is no number")))
        };
        let found = decode(&rows, |row| {
            let place = Place {
                server: text(row, 4)?.to_owned(),
                database: optional(row, 5, text)?.map(str::to_owned),
            };
            let is_on = |index| Ok::<_, Error>(text(row, index)? == "1");
            let server = Self {
                flavour: Flavour::of(text(row, 0)?)?,
                increment: number(row, 1)?,
                packet: usize::try_from(number(row, 2)?).unwrap_or(usize::MAX),
                is_strict: is_on(3)?,
                shows_before_flush: is_on(6)?,
                commits_by_itself: is_on(7)?,
                is_read_only: is_on(8)?,
                looks_for_archived: false,
                layout: Layout::Whole,
                standing: Standing::Alone,
            };
            Ok((server, place))
        })?;
        Ok(found
            .into_iter()
            .next()
            .expect("a query without a table returns one row"))
    }
}

/// The first three numbers of a version, such as that of `10.11.19-MariaDB-0+deb12u1`.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let numbers = version.split(|character: char| !character.is_ascii_digit());
    let mut numbers = numbers.map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

/// A connection, or a transaction on it.
#[expect(missing_debug_implementations, reason = "core alone uses it")]
pub struct Session<'a, C> {
    pub(crate) client: &'a mut C,
    pub(crate) server: Server,
    /// Whether look-ups for an append must see the last commit although the transaction may have an older snapshot. A locking read sees it.
    pub(crate) locks: bool,
}

impl<C: Queryable> Session<'_, C> {
    /// The rows of a statement, which is prepared at its first use.
    pub(crate) fn query(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, mysql::Error> {
        self.client.exec(self.server.layout.of(sql), parameters(values))
    }

    /// The decoded rows of a statement.
    pub(crate) fn select<T>(
        &mut self,
        sql: &str,
        values: impl Into<Vec<Value>>,
        mut decode_row: impl FnMut(&Cells<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rows = self.query(sql, values.into()).map_err(classify)?;
        decode(&rows, |row| decode_row(&Cells(row)))
    }

    /// The decoded row of a statement that always returns one.
    pub(crate) fn select_one<T>(
        &mut self,
        sql: &str,
        values: impl Into<Vec<Value>>,
        decode_row: impl FnMut(&Cells<'_>) -> Result<T>,
    ) -> Result<T> {
        let rows = self.select(sql, values, decode_row)?;
        Ok(rows.into_iter().next().expect("the statement returns one row"))
    }

    /// Passes each row of a statement to `take` while the server still sends others. If `take` stops, the rest is read and dropped.
    pub(crate) fn query_until(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        mut take: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<(), mysql::Error> {
        for row in self.client.exec_iter(self.server.layout.of(sql), parameters(values))? {
            if take(row?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// How many rows a statement changed.
    pub(crate) fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, mysql::Error> {
        let sql = self.server.layout.of(sql);
        Ok(self.client.exec_iter(sql, parameters(values))?.affected_rows())
    }

    /// The first sequence that an `INSERT` allocated.
    pub(crate) fn insert(&mut self, sql: &str, values: Vec<Value>) -> Result<Option<u64>, mysql::Error> {
        let sql = self.server.layout.of(sql);
        Ok(self.client.exec_iter(sql, parameters(values))?.last_insert_id())
    }
}

impl<C: Queryable> SqlSession for Session<'_, C> {
    type Row<'r> = Cells<'r>;

    fn rows<T>(
        &mut self,
        statement: Sql,
        values: &[backend::Value<'_>],
        mut decode_row: impl FnMut(&Cells<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.select(sql::shared(statement), values_of(statement, values), |row| {
            decode_row(row)
        })
    }

    fn change(&mut self, statement: Sql, values: &[backend::Value<'_>]) -> Result<u64> {
        self.execute(sql::shared(statement), values_of(statement, values))
            .map_err(classify)
    }

    /// A `DELETE` by the time would lock every row that it reads. It would then wait for members that renew their rows, and they for it.
    fn forget_members(&mut self, consumer: &str, unseen_for: Duration) -> Result<()> {
        let values = vec![consumer.into(), microseconds(unseen_for).into()];
        for holder in self.select(sql::CONSUMER_UNSEEN_MEMBERS, values, |row| row.id(0))? {
            self.change(Sql::ConsumerForgetMember, &[consumer.into(), holder.into()])?;
        }
        Ok(())
    }
}

/// The values of a statement of the core, one for each placeholder. The current time is the server's.
fn values_of(statement: Sql, values: &[backend::Value<'_>]) -> Vec<Value> {
    match sql::places(statement) {
        Some(places) => placed(values, places),
        None => {
            let values = values.iter().filter(|value| **value != backend::Value::Now);
            values.copied().map(value_of).collect()
        }
    }
}

/// The values at these places, in this order.
pub(crate) fn placed(values: &[backend::Value<'_>], places: &[usize]) -> Vec<Value> {
    places.iter().map(|place| value_of(values[*place])).collect()
}

/// A value for MySQL.
pub(crate) fn value_of(value: backend::Value<'_>) -> Value {
    match value {
        backend::Value::Null | backend::Value::Now => Value::NULL,
        backend::Value::Boolean(value) => value.into(),
        backend::Value::Integer(value) => value.into(),
        backend::Value::Text(value) => value.into(),
        backend::Value::Id(value) => value.into(),
        backend::Value::Time(value) => time_value(value),
        backend::Value::Most(most) => most.unwrap_or(i64::MAX).into(),
        backend::Value::In(length) | backend::Value::Ago(length) => microseconds(length).into(),
    }
}

fn parameters(values: Vec<Value>) -> Params {
    match values.is_empty() {
        true => Params::Empty,
        false => Params::Positional(values),
    }
}

/// Runs statements, separated by semicolons, in one round trip, and returns the rows of the last. `query_drop` would only return an error
/// of the first.
pub(crate) fn run_all(client: &mut impl Queryable, statements: &str) -> Result<Vec<Row>, mysql::Error> {
    let mut results = client.query_iter(statements)?;
    let mut rows = Vec::new();
    while let Some(result) = results.iter() {
        rows = result.collect::<Result<_, _>>()?;
    }
    Ok(rows)
}

impl Session<'_, Conn> {
    /// Runs `work` in a transaction. If it fails, nothing of it is stored.
    pub(crate) fn committed<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.client.query_drop("START TRANSACTION").map_err(classify)?;
        let result = work(self);
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.client.query_drop(end).map_err(classify);
        let result = result?;
        ended?;
        Ok(result)
    }

    /// Runs statements that read, in a transaction in which they see one state of the database. Two round trips more.
    pub(crate) fn in_one_state<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        const BEGIN: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
             START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        run_all(self.client, BEGIN).map_err(classify)?;
        let result = work(self);
        self.client.query_drop("COMMIT").map_err(classify)?;
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::Flavour;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        let flavour = |version| Flavour::of(version).map_err(|error| error.to_string());
        for version in ["8.0.21", "8.4.0", "9.7.4-2", "10.0.0"] {
            assert_eq!(flavour(version), Ok(Flavour::Mysql), "{version}");
        }
        for version in ["10.6.0-MariaDB", "10.11.19-MariaDB-0+deb12u1", "12.1.2-MariaDB-ubu2404"] {
            assert_eq!(flavour(version), Ok(Flavour::Mariadb), "{version}");
        }
        for (version, least) in [
            ("5.7.44-log", "8.0.21"),
            ("8.0.20", "8.0.21"),
            ("8.0.11-TiDB-v7.5.1", "8.0.21"),
            ("10.5.29-MariaDB-0+deb11u1", "10.6.0"),
            ("nobody knows", "8.0.21"),
        ] {
            let error = flavour(version).unwrap_err();
            assert!(error.contains(version) && error.contains(least), "{error}");
        }
    }
}
