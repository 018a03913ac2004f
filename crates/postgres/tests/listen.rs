//! Followers that PostgreSQL's notifications wake.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{account, client, database, deposited};
use firefly_eventstore_core::consumer::{ConsumerEvent, Runner};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_test_servers::{Database, PostgresServer, WRITERS, appended_once_each_while};

/// Longer than anything takes here. A test that waits for this long fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does not wait, but only checks what has arrived.
const NOW: Duration = Duration::ZERO;

fn notifying() -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let builder = PostgresEventStore::builder(database.url()).notify(true);
    builder.migrate().unwrap();
    let store = builder.open().unwrap();
    Some((database, store))
}

fn append(store: &PostgresEventStore) {
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
}

#[test]
fn an_append_wakes_who_listens() {
    let Some((_database, store)) = notifying() else { return };
    let mut listener = store.listen().unwrap();
    assert!(!listener.wait(NOW).unwrap());
    append(&store);
    append(&store);
    assert!(listener.wait(PATIENCE).unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| listener.wait(PATIENCE).unwrap());
        append(&store);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn what_another_program_writes_wakes_who_listens() {
    let Some((database, store)) = notifying() else { return };
    let mut listener = store.listen().unwrap();
    client(&database)
        .batch_execute(
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
             VALUES (gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'account.opened', '{}')",
        )
        .unwrap();
    assert!(listener.wait(PATIENCE).unwrap());
    assert_eq!(store.read(EventQuery::new()).count(), 1);
}

#[test]
fn what_another_process_appends_wakes_a_runner_until_that_stops() {
    let Some((database, store)) = notifying() else { return };
    let other = PostgresEventStore::open(database.url()).unwrap();
    let (sender, grown) = mpsc::channel();
    let running = Runner::new(store.clone())
        .observer(move |event: &ConsumerEvent<'_>| {
            if let ConsumerEvent::Grown { mark } = event {
                sender.send(*mark).unwrap();
            }
        })
        .start()
        .unwrap();
    for number in 1..=3_u32 {
        // By then the watcher looks once a second, and has just looked.
        thread::sleep(Duration::from_millis(1_350));
        append(&other);
        assert_eq!(
            grown.recv_timeout(Duration::from_millis(500)),
            Ok(GlobalSequence::from(number)),
            "nothing woke the watcher"
        );
    }
    let listeners = || -> i64 {
        let row = client(&database).query_one(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
            &[],
        );
        row.unwrap().get(0)
    };
    assert_eq!(listeners(), 1);
    running.stop();
    // The server notices it a little later.
    let deadline = Instant::now() + PATIENCE;
    while listeners() > 0 {
        assert!(Instant::now() < deadline, "the listener outlives its runner");
        thread::yield_now();
    }
}

#[test]
fn nothing_wakes_before_the_commit() {
    let Some((_database, store)) = notifying() else { return };
    let mut listener = store.listen().unwrap();
    store
        .transaction(|transaction| {
            transaction.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            assert!(!listener.wait(Duration::from_millis(50))?);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert!(listener.wait(PATIENCE).unwrap());
}

#[test]
fn a_follower_misses_nothing() {
    let Some((_database, store)) = notifying() else { return };
    const EVENTS: usize = 200;
    let mut listener = store.listen().unwrap();
    let found = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..EVENTS / 2).for_each(|_| append(&store)));
        }
        let (mut checkpoint, mut found) = (GlobalSequence::ZERO, 0);
        while found < EVENTS {
            for event in store.read(EventQuery::new().after(checkpoint)) {
                checkpoint = event.unwrap().global_sequence;
                found += 1;
            }
            if found < EVENTS {
                assert!(listener.wait(PATIENCE).unwrap(), "{found} events came");
            }
        }
        found
    });
    assert_eq!(found, EVENTS);
}

#[test]
fn who_listens_looks_again_after_its_connection_was_lost() {
    let Some((database, store)) = notifying() else { return };
    let mut listener = store.listen().unwrap();
    assert!(!listener.wait(NOW).unwrap());
    let lost = client(&database)
        .execute(
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'LISTEN%'",
            &[],
        )
        .unwrap();
    assert_eq!(lost, 1);
    append(&store);
    assert!(listener.wait(PATIENCE).unwrap());
    assert!(!listener.wait(NOW).unwrap());
    append(&store);
    assert!(listener.wait(PATIENCE).unwrap());
}

#[test]
fn who_listens_is_told_that_the_server_is_gone_and_goes_on_when_it_is_back() {
    if database().is_none() {
        return;
    }
    let server = PostgresServer::start(&[]).unwrap();
    let database = server.new_database();
    let builder = PostgresEventStore::builder(database.url()).notify(true);
    builder.migrate().unwrap();
    let store = builder.open().unwrap();
    let mut listener = store.listen().unwrap();
    server.kill("QUIT");
    let error = listener.wait(PATIENCE).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    server.restart();
    assert!(listener.wait(PATIENCE).unwrap());
    append(&store);
    assert!(listener.wait(PATIENCE).unwrap());
}

#[test]
fn who_follows_the_log_is_told_of_appends_and_misses_none_beside_restarts() {
    if database().is_none() {
        return;
    }
    let server = PostgresServer::start(&[]).unwrap();
    let database = server.new_database();
    let builder = PostgresEventStore::builder(database.url()).notify(true);
    builder.migrate().unwrap();
    let store = builder.max_connections(2 * WRITERS as u32).open().unwrap();
    appended_once_each_while(&store, |until_one_more_is_acknowledged| {
        for _ in 0..3 {
            until_one_more_is_acknowledged();
            thread::sleep(Duration::from_millis(100));
            server.kill("QUIT");
            server.restart();
        }
    });
}

#[test]
fn listening_to_a_store_that_does_not_notify_is_refused_with_what_to_do() {
    let Some((_database, store)) = crate::support::fresh() else {
        return;
    };
    let error = store.listen().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidInput { .. }), "{error}");
    assert!(error.to_string().contains("notify(true)"), "{error}");
}

#[test]
fn notifications_can_be_turned_on_and_off_and_stay_as_they_are_unless_chosen() {
    let Some((database, store)) = notifying() else { return };
    let builder = || PostgresEventStore::builder(database.url());
    builder().migrate().unwrap();
    builder().notify(true).migrate().unwrap();
    store.listen().unwrap();
    builder().notify(false).migrate().unwrap();
    store.listen().unwrap_err();
    append(&store);
    builder().notify(false).migrate().unwrap();
    builder().migrate().unwrap();
    store.listen().unwrap_err();
    builder().notify(true).migrate().unwrap();
    store.listen().unwrap();
}

#[test]
fn stores_in_one_database_wake_only_their_own() {
    let Some(database) = database() else { return };
    let [one, other] = ["one", "other"].map(|schema| {
        let builder = PostgresEventStore::builder(database.url()).schema(schema).notify(true);
        builder.migrate().unwrap();
        builder.open().unwrap()
    });
    let (mut to_one, mut to_other) = (one.listen().unwrap(), other.listen().unwrap());
    append(&one);
    assert!(to_one.wait(PATIENCE).unwrap());
    assert!(!to_other.wait(Duration::from_millis(100)).unwrap());
}
