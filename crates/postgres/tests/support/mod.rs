//! What the tests of this driver share.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::{Client, NoTls};
use firefly_eventstore_test_servers::{Database, postgres_unless_missing};

/// A database of its own, with a store in it; none where there is no server, which is said unless one is required.
pub(crate) fn fresh() -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let store = PostgresEventStore::builder(database.url())
        .max_connections(16)
        .migrate_on_open(true)
        .open()
        .unwrap();
    Some((database, store))
}

/// A database of its own; see [`fresh`].
pub(crate) fn database() -> Option<Database> {
    Some(postgres_unless_missing()?.new_database())
}

/// A connection of somebody else's.
pub(crate) fn client(database: &Database) -> Client {
    Client::connect(database.url(), NoTls).unwrap()
}

/// An aggregate of its own.
pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// An event of its own.
pub(crate) fn deposited(amount: u64) -> NewEvent {
    NewEvent::new("money.deposited", &serde_json::json!({ "amount": amount })).unwrap()
}

/// Eight threads with transactions of one to three appends, random delays, rollbacks and savepoints.
pub(crate) fn write_with_delays_and_rollbacks(store: &PostgresEventStore) {
    thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || write(store, &mut fastrand::Rng::with_seed(writer)));
        }
    });
}

fn write(store: &PostgresEventStore, random: &mut fastrand::Rng) {
    for _ in 0..150 {
        let gives_up = random.u8(..100) < 15;
        let result = store.transaction(|tx| {
            for _ in 0..random.u8(1..=3) {
                if random.u8(..100) < 15 {
                    let mut savepoint = tx.connection().savepoint("hammer").unwrap();
                    store.append_within(
                        &mut savepoint,
                        &[Append::new(&account(), ExpectedVersion::Any, &[deposited(1)])],
                    )?;
                    savepoint.rollback().unwrap();
                }
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1), deposited(2)])?;
                thread::sleep(Duration::from_micros(random.u64(..2_000)));
            }
            if gives_up {
                Err(Error::invalid("changed my mind"))
            } else {
                Ok(())
            }
        });
        assert_eq!(result.is_err(), gives_up, "{result:?}");
    }
}

/// The sequences in the log.
pub(crate) fn stored_sequences(database: &Database) -> HashSet<i64> {
    let rows = client(database).query("SELECT global_sequence FROM events", &[]);
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Everything in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}
