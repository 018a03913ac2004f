//! Helpers for the tests of this driver.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses a part")]

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, IsolationLevel, Row, TxOpts};
use firefly_eventstore_mysql::{MysqlBuilder, MysqlEventStore};
use firefly_eventstore_test_servers::{Database, MysqlServer};

/// Makes a test of each function for each server, such as `mariadb::name`. It is skipped if the server is missing.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod mysql {
            $(#[test]
            fn $test() {
                if let Some(server) = firefly_eventstore_test_servers::mysql_unless_missing() {
                    super::$test(server);
                }
            })+
        }

        mod mariadb {
            $(#[test]
            fn $test() {
                if let Some(server) = firefly_eventstore_test_servers::mariadb_unless_missing() {
                    super::$test(server);
                }
            })+
        }
    };
}
pub(crate) use on_both;

/// A new database with a store.
pub(crate) fn fresh(server: &MysqlServer) -> (Database, MysqlEventStore) {
    let database = server.new_database();
    let store = builder(&database).migrate_on_open(true).open().unwrap();
    (database, store)
}

/// Options for opening a store in a database.
pub(crate) fn builder(database: &Database) -> MysqlBuilder {
    MysqlEventStore::builder(database.url()).max_connections(20)
}

/// A connection that is not the store's.
pub(crate) fn client(database: &Database) -> Conn {
    Conn::new(database.url()).unwrap()
}

/// Runs a statement on a connection that is not the store's.
pub(crate) fn run(client: &mut Conn, statement: &str) {
    client
        .query_drop(statement)
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A new aggregate.
pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// A new event.
pub(crate) fn deposited(amount: u64) -> NewEvent {
    NewEvent::from_json("money.deposited", format!(r#"{{"amount":{amount}}}"#)).unwrap()
}

/// Appends an event to a new aggregate, and returns its sequence.
pub(crate) fn append_one(store: &MysqlEventStore) -> i64 {
    let appended = store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    appended.unwrap().last_sequence().unwrap().as_i64()
}

/// All events in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}

/// The mark, as a number.
pub(crate) fn mark(store: &MysqlEventStore) -> i64 {
    store.high_water_mark().unwrap().as_i64()
}

/// The connections to a database. The information schema of MySQL cannot show statements with binary values, so it is
/// not used.
pub(crate) fn connections(client: &mut Conn, database: &Database) -> Vec<Row> {
    let mut connections: Vec<Row> = client.query("SHOW PROCESSLIST").unwrap();
    connections.retain(|row| row.get::<Option<String>, _>("db").unwrap().as_deref() == Some(database.name()));
    connections
}

/// Waits until a connection to the database satisfies `is`.
pub(crate) fn until_some_connection(database: &Database, is: impl Fn(&Row) -> bool) {
    let mut other = client(database);
    let asked = Instant::now();
    while !connections(&mut other, database).iter().any(&is) {
        assert!(asked.elapsed() < Duration::from_secs(40), "nobody is");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a session waits for a table: because of `LOCK TABLES`, or because a transaction has used a table that is
/// to be changed.
pub(crate) fn until_somebody_waits_for_a_table(database: &Database) {
    let state = |row: &Row| row.get::<Option<String>, _>("State").flatten();
    until_some_connection(database, |row| {
        state(row).as_deref() == Some("Waiting for table metadata lock")
    });
}

/// Waits until an append is at work, and somebody waits for a row.
pub(crate) fn until_an_append_waits(database: &Database) {
    until_a_statement_waits(database, "INSERT INTO events");
}

/// Waits until a statement with this text is at work, and somebody waits for a row.
pub(crate) fn until_a_statement_waits(database: &Database, text: &str) {
    let mut other = client(database);
    let asked = Instant::now();
    loop {
        let connections: Vec<Row> = other.query("SHOW FULL PROCESSLIST").unwrap();
        let is_at_work = |row: &Row| {
            let is_there = row.get::<Option<String>, _>("db").unwrap().as_deref() == Some(database.name());
            let statement = row.get::<Option<Vec<u8>>, _>("Info").unwrap().unwrap_or_default();
            is_there && String::from_utf8_lossy(&statement).contains(text)
        };
        let waiting: Option<(String, u64)> = other
            .query_first("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
            .unwrap();
        if connections.iter().any(is_at_work) && waiting.unwrap().1 > 0 {
            return;
        }
        assert!(asked.elapsed() < Duration::from_secs(40), "none does");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A transaction of one to three appends, with pauses. Some are rolled back at the end.
pub(crate) fn write_with_delays_and_rollbacks(store: &MysqlEventStore, url: &str, random: &mut fastrand::Rng) {
    let gives_up = random.u8(..100) < 15;
    let appends = random.u8(1..=3);
    let pause = |random: &mut fastrand::Rng| thread::sleep(Duration::from_micros(random.u64(..3_000)));
    if random.u8(..100) < 10 {
        // The caller's own transaction, with an old snapshot.
        let mut client = Conn::new(url).unwrap();
        let isolation = TxOpts::default()
            .set_isolation_level(Some(IsolationLevel::RepeatableRead))
            .set_with_consistent_snapshot(true);
        let mut transaction = client.start_transaction(isolation).unwrap();
        pause(random);
        for _ in 0..appends {
            let account = account();
            let events = [deposited(1), deposited(2)];
            let append = [Append::new(&account, ExpectedVersion::NoStream, &events)];
            store.append_within(&mut transaction, &append).unwrap();
            pause(random);
        }
        if !gives_up {
            transaction.commit().unwrap();
        }
        return;
    }
    let result = store.transaction(|tx| {
        for _ in 0..appends {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1), deposited(2)])?;
            pause(random);
        }
        if gives_up {
            Err(Error::invalid("changed my mind"))
        } else {
            Ok(())
        }
    });
    assert_eq!(result.is_err(), gives_up, "{result:?}");
}

/// Waits until it is so.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come true");
        thread::sleep(Duration::from_millis(20));
    }
}
