//! Helpers for the tests of this driver.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::Backoff;
use firefly_eventstore_core::operate::{Archive, LogDigest, Operations};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::time::OffsetDateTime;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::{Client, Config, IsolationLevel, NoTls, Transaction};
use firefly_eventstore_test_servers::{Database, postgres_unless_missing};

/// A new database with a store, or `None` if there is no server. A missing server is reported, or an error if it is
/// required.
pub(crate) fn fresh() -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let store = PostgresEventStore::builder(database.url())
        .max_connections(16)
        .migrate_on_open(true)
        .open()
        .unwrap();
    Some((database, store))
}

/// A new database; see [`fresh`].
pub(crate) fn database() -> Option<Database> {
    Some(postgres_unless_missing()?.new_database())
}

/// A connection that is not the store's.
pub(crate) fn client(database: &Database) -> Client {
    Client::connect(database.url(), NoTls).unwrap()
}

/// A new aggregate.
pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// A new event.
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

/// The sequences of all events in the log.
pub(crate) fn stored_sequences(database: &Database) -> HashSet<i64> {
    let rows = client(database).query("SELECT global_sequence FROM events", &[]);
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

/// All events in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}

/// The events that may be archived: all but the newest.
pub(crate) fn movable(store: &PostgresEventStore) -> Vec<EventEnvelope> {
    let events = store.read(EventQuery::new().skip_archived());
    let mut events: Vec<EventEnvelope> = events.collect::<Result<_, Error>>().unwrap();
    events.pop();
    events
}

/// The description of an archive with these events.
pub(crate) fn archive_of(events: &[EventEnvelope]) -> Archive {
    let times = || events.iter().map(|event| event.created_at);
    let mut archive = Archive::new(
        LogDigest::OF_NOTHING,
        events[0].global_sequence..=events[events.len() - 1].global_sequence,
        events.len() as u64,
        times().min().unwrap()..=times().max().unwrap(),
        "elsewhere",
        OffsetDateTime::UNIX_EPOCH,
    );
    archive.is_retired = true;
    archive
}

/// Moves these events from the log into an archive.
pub(crate) fn archive(store: &PostgresEventStore, events: &[EventEnvelope]) {
    store.record_archive(&archive_of(events)).unwrap();
    for batch in events.chunks(50) {
        Backoff::attempts(100).repeat(|| store.retire_events(batch)).unwrap();
    }
}

/// Moves these events from the archive back into the log.
pub(crate) fn attach(store: &PostgresEventStore, events: &[EventEnvelope]) {
    for batch in events.rchunks(50) {
        Backoff::attempts(100).repeat(|| store.attach_events(batch)).unwrap();
    }
    store.forget_archive(&LogDigest::OF_NOTHING).unwrap();
}

/// Begins a transaction that sees the present state from now on, and has not read the log.
pub(crate) fn looking_back(client: &mut Client) -> Transaction<'_> {
    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .unwrap();
    transaction.query("SELECT 1 FROM firefly_schema_history", &[]).unwrap();
    transaction
}

/// Waits until a condition holds.
pub(crate) fn until(client: &mut Client, condition: &str) {
    let condition = format!("SELECT COALESCE(({condition}), false)");
    while !client.query_one(&condition, &[]).unwrap().get::<_, bool>(0) {
        thread::yield_now();
    }
}

/// Whether somebody waits to change the partitions.
pub(crate) const IS_WAITING_FOR_LOCK: &str =
    "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'AccessExclusiveLock'
    AND NOT granted)";

/// Ends a session at a statement that changes the definition of something; see [`killed_at`].
pub(crate) const KILLING: &str = "
    CREATE SCHEMA killing;
    CREATE FUNCTION killing.kill() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        until integer := COALESCE(NULLIF(current_setting('killing.until', true), ''), '0');
    BEGIN
        PERFORM set_config('killing.until', (until - 1)::text, false);
        IF until = 1 THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
    END $$;
    CREATE FUNCTION killing.at_definition() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM killing.kill(); END';
    CREATE FUNCTION killing.at_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM killing.kill(); RETURN NULL; END';
    CREATE EVENT TRIGGER kill ON ddl_command_end EXECUTE FUNCTION killing.at_definition();";

/// Undoes it.
pub(crate) const NO_MORE_KILLING: &str = "DROP EVENT TRIGGER kill; DROP SCHEMA killing CASCADE";

/// A store whose sessions end at this statement.
pub(crate) fn killed_at(database: &Database, statement: u32) -> PostgresEventStore {
    let mut config: Config = database.url().parse().unwrap();
    config.options(&format!("-c killing.until={statement}"));
    PostgresEventStore::configure(config).open().unwrap()
}
