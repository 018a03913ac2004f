//! What the tests of this driver share.

#![allow(dead_code, reason = "each test binary uses a part")]

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::postgres::{Client, NoTls};
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

/// Everything in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}
