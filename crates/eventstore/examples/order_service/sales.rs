//! The read model: what each customer has ordered and paid, in a table in the store's database.

use std::collections::BTreeMap;

use firefly_eventstore::consumer::{BoxError, Projection, Transactional};
use firefly_eventstore::prelude::*;
use firefly_eventstore::sqlite::SqliteTransaction;
use firefly_eventstore::{Result, SnapshotStore};

use crate::orders::OrderEvent;

/// Orders and cents of each customer.
pub(crate) type Sums = BTreeMap<String, (i64, i64)>;

/// The projection.
pub(crate) struct Sales;

/// The statements that differ between databases: how the table is created, changed and read.
pub(crate) trait Database: Transactional + SnapshotStore {
    fn run(tx: &mut Self::Transaction<'_>, statement: &str) -> Result<(), BoxError>;
    fn add(tx: &mut Self::Transaction<'_>, customer: &str, orders: i64, cents: i64) -> Result<(), BoxError>;
    fn read(tx: &mut Self::Transaction<'_>) -> Result<Sums, BoxError>;
}

const TABLE: &str =
    "CREATE TABLE sales (customer VARCHAR(100) PRIMARY KEY, orders BIGINT NOT NULL, cents BIGINT NOT NULL)";
const ROWS: &str = "SELECT customer, orders, cents FROM sales";

/// Creates the table, before the projection runs for the first time.
pub(crate) fn make_table<S: Database>(store: &S) -> Result<(), BoxError> {
    // MySQL commits a `CREATE TABLE` at once, and the store reports that as an error.
    match store.commit_together(|tx| S::run(tx, TABLE)) {
        Err(error) if !error.to_string().contains("commit") => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn read<S: Database>(store: &S) -> Result<Sums, BoxError> {
    store.commit_together(|tx| S::read(tx))
}

impl<S: Database> Projection<S> for Sales {
    fn name(&self) -> &str {
        "sales.v1"
    }

    fn query(&self) -> Result<EventQuery> {
        EventQuery::of::<OrderEvent>()
    }

    fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
        for event in event.decode()? {
            match event {
                OrderEvent::Placed { customer, cents } => S::add(tx, &customer, 1, cents)?,
                OrderEvent::Paid { .. } | OrderEvent::Shipped => {}
            }
        }
        Ok(())
    }

    fn reset(&self, tx: &mut S::Transaction<'_>) -> Result<(), BoxError> {
        S::run(tx, "DELETE FROM sales")
    }
}

impl Database for SqliteEventStore {
    fn run(tx: &mut SqliteTransaction<'_>, statement: &str) -> Result<(), BoxError> {
        Ok(tx.connection().execute_batch(statement)?)
    }

    fn add(tx: &mut SqliteTransaction<'_>, customer: &str, orders: i64, cents: i64) -> Result<(), BoxError> {
        const ADD: &str = "INSERT INTO sales VALUES (?1, ?2, ?3)
            ON CONFLICT (customer) DO UPDATE SET orders = orders + ?2, cents = cents + ?3";
        tx.connection().execute(ADD, (customer, orders, cents))?;
        Ok(())
    }

    fn read(tx: &mut SqliteTransaction<'_>) -> Result<Sums, BoxError> {
        let mut statement = tx.connection().prepare(ROWS)?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(feature = "postgres")]
impl Database for PostgresEventStore {
    fn run(tx: &mut firefly_eventstore::postgres::PostgresTransaction<'_>, statement: &str) -> Result<(), BoxError> {
        Ok(tx.connection().batch_execute(statement)?)
    }

    fn add(
        tx: &mut firefly_eventstore::postgres::PostgresTransaction<'_>,
        customer: &str,
        orders: i64,
        cents: i64,
    ) -> Result<(), BoxError> {
        const ADD: &str = "INSERT INTO sales VALUES ($1, $2, $3)
            ON CONFLICT (customer) DO UPDATE SET orders = sales.orders + $2, cents = sales.cents + $3";
        tx.connection().execute(ADD, &[&customer, &orders, &cents])?;
        Ok(())
    }

    fn read(tx: &mut firefly_eventstore::postgres::PostgresTransaction<'_>) -> Result<Sums, BoxError> {
        let rows = tx.connection().query(ROWS, &[])?;
        Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
    }
}

#[cfg(feature = "mysql")]
impl Database for MysqlEventStore {
    fn run(tx: &mut firefly_eventstore::mysql::MysqlTransaction<'_>, statement: &str) -> Result<(), BoxError> {
        use firefly_eventstore::mysql::driver::prelude::Queryable as _;
        Ok(tx.connection().query_drop(statement)?)
    }

    fn add(
        tx: &mut firefly_eventstore::mysql::MysqlTransaction<'_>,
        customer: &str,
        orders: i64,
        cents: i64,
    ) -> Result<(), BoxError> {
        use firefly_eventstore::mysql::driver::prelude::Queryable as _;
        const ADD: &str = "INSERT INTO sales VALUES (?, ?, ?)
            ON DUPLICATE KEY UPDATE orders = orders + VALUES(orders), cents = cents + VALUES(cents)";
        Ok(tx.connection().exec_drop(ADD, (customer, orders, cents))?)
    }

    fn read(tx: &mut firefly_eventstore::mysql::MysqlTransaction<'_>) -> Result<Sums, BoxError> {
        use firefly_eventstore::mysql::driver::prelude::Queryable as _;
        let rows: Vec<(String, i64, i64)> = tx.connection().query(ROWS)?;
        Ok(rows
            .into_iter()
            .map(|(customer, orders, cents)| (customer, (orders, cents)))
            .collect())
    }
}
