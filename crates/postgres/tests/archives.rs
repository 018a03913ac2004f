//! Archives: while events are moved, no version and no id is assigned twice, and no page lacks events.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::ErrorKind;
use firefly_eventstore_core::operate::{Operations, RestorePoint};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::time::OffsetDateTime;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::{Client, Config, IsolationLevel, Transaction};
use firefly_eventstore_test_servers::Database;

use crate::support::{account, archive, archive_of, attach, client, deposited, fresh, movable};

/// A store whose first account has three events, all archived, and whose second one has one.
fn archived() -> Option<(Database, PostgresEventStore, AggregateKey, Vec<EventEnvelope>)> {
    let (database, store) = fresh()?;
    let [ada, bob] = [account(), account()];
    for (account, amounts) in [(&ada, &[1, 2, 3][..]), (&bob, &[4])] {
        let events: Vec<NewEvent> = amounts.iter().map(|amount| deposited(*amount)).collect();
        store.append(account, ExpectedVersion::NoStream, &events).unwrap();
    }
    let events = movable(&store);
    archive(&store, &events);
    Some((database, store, ada, events))
}

/// Stops the other threads, also if a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

const BOTH: &str = "
    SELECT event_id, aggregate_id, aggregate_version FROM events
    UNION ALL
    SELECT event_id, aggregate_id, aggregate_version FROM firefly_archived_events";

/// Checks that each version of each aggregate, and each id, exists once, in the log or archived, without a gap.
fn assert_nothing_twice(client: &mut Client) {
    for twice in [
        format!("SELECT event_id::text FROM ({BOTH}) AS everything GROUP BY 1 HAVING COUNT(*) > 1"),
        format!(
            "SELECT aggregate_id::text FROM ({BOTH}) AS everything
             GROUP BY 1
             HAVING COUNT(*) <> COUNT(DISTINCT aggregate_version) OR COUNT(*) <> MAX(aggregate_version)"
        ),
    ] {
        let found = client.query(&twice, &[]).unwrap();
        let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
        assert!(found.is_empty(), "{found:?} of {twice}");
    }
}

/// If an append saw neither an event nor its key, because it looked too early, it would assign the version or the id again.
#[test]
fn no_version_and_no_id_is_given_twice_whoever_moves_events_meanwhile() {
    let Some((database, store)) = fresh() else { return };
    let accounts: Vec<AggregateKey> = (0..6).map(|_| account()).collect();
    let acknowledged = Mutex::new(HashMap::<Uuid, (AggregateKey, Version)>::new());
    let repeated: Vec<NewEvent> = (0..30).map(deposited).collect();
    let working = AtomicBool::new(true);
    let write = |writer: u64| {
        let mut random = fastrand::Rng::with_seed(writer);
        let mut appended = 0;
        while working.load(Ordering::SeqCst) {
            let account = &accounts[random.usize(..accounts.len())];
            let new = [deposited(1), deposited(2)];
            let (expected, events) = match random.u8(..5) {
                0 => (ExpectedVersion::NoStream, &new[..1]),
                1 => match store.version(account).unwrap() {
                    Version::ZERO => continue,
                    version => (ExpectedVersion::Exact(version), &new[..1]),
                },
                2 => (ExpectedVersion::Any, &new[..]),
                3 => (ExpectedVersion::Exists, &new[..1]),
                _ => {
                    let event = random.usize(..repeated.len());
                    let account = &accounts[event % accounts.len()];
                    let events = std::slice::from_ref(&repeated[event]);
                    note(
                        &acknowledged,
                        store.append(account, ExpectedVersion::Any, events).unwrap(),
                        events,
                    );
                    continue;
                }
            };
            match store.append(account, expected, events) {
                Ok(stored) => {
                    note(&acknowledged, stored, events);
                    appended += 1;
                }
                Err(error) => assert!(error.is_conflict(), "{error}"),
            }
        }
        appended
    };
    thread::scope(|scope| {
        let stop = Stop(&working);
        let mut writers = Vec::new();
        for writer in 0..6 {
            let write = &write;
            writers.push(scope.spawn(move || write(writer)));
        }
        for _ in 0..8 {
            let events = movable(&store);
            if events.is_empty() {
                continue;
            }
            archive(&store, &events);
            attach(&store, &events);
        }
        archive(&store, &movable(&store));
        drop(stop);
        let appended: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(appended > 0);
    });
    let mut client = client(&database);
    assert_nothing_twice(&mut client);
    let rows = client.query(BOTH, &[]).unwrap();
    let places: HashMap<Uuid, (Uuid, i64)> = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    for (id, (account, version)) in acknowledged.into_inner().unwrap() {
        assert_eq!(places[&id], (account.id(), i64::try_from(version.get()).unwrap()));
    }
}

/// Records the position of acknowledged events. A repeated append must get the same answer.
fn note(acknowledged: &Mutex<HashMap<Uuid, (AggregateKey, Version)>>, stored: Appended, events: &[NewEvent]) {
    let mut acknowledged = acknowledged.lock().unwrap();
    let last = events[events.len() - 1].event_id();
    let place = (stored.aggregate().clone(), stored.version());
    let known = acknowledged.entry(last).or_insert_with(|| place.clone());
    assert_eq!(*known, place);
}

/// If a page's rows were read before an event came back, and the archives after that, the event would be missing.
#[test]
fn a_page_is_whole_or_says_what_it_needs_whoever_moves_events_meanwhile() {
    let Some((_database, store)) = fresh() else { return };
    let (ada, bob) = (account(), account());
    let events: Vec<NewEvent> = (0..10).map(deposited).collect();
    store.append(&ada, ExpectedVersion::NoStream, &events).unwrap();
    store.append(&bob, ExpectedVersion::NoStream, &[deposited(1)]).unwrap();
    let movable = movable(&store);
    let working = AtomicBool::new(true);
    let read = |query: &EventQuery| {
        let (mut whole, mut refused) = (0, 0);
        while working.load(Ordering::SeqCst) {
            match store.read_page(query, None) {
                Ok(page) => {
                    assert_eq!(page.events.len(), movable.len());
                    whole += 1;
                }
                Err(error) => {
                    assert!(error.is_archived(), "{error}");
                    refused += 1;
                }
            }
        }
        (whole, refused)
    };
    let up_to_there = EventQuery::new().until(movable[9].global_sequence);
    let queries = [
        up_to_there.clone(),
        up_to_there.backwards(),
        EventQuery::new().aggregate_id(ada.id()),
    ];
    thread::scope(|scope| {
        let stop = Stop(&working);
        let readers: Vec<_> = queries.iter().map(|query| scope.spawn(move || read(query))).collect();
        for _ in 0..100 {
            archive(&store, &movable);
            attach(&store, &movable);
        }
        drop(stop);
        for reader in readers {
            let (whole, refused) = reader.join().unwrap();
            assert!(whole > 0 && refused > 0, "{whole} and {refused}");
        }
    });
}

#[test]
fn an_append_in_a_transaction_that_does_not_see_what_was_archived_is_refused() {
    let Some((database, store, ada, events)) = archived() else {
        return;
    };
    attach(&store, &events);
    let id = events[1].event_id;
    let same_id = NewEvent::new("money.withdrawn", &1).unwrap().with_id(id);
    for isolation in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        let mut other = client(&database);
        let appends = [
            (ada.clone(), ExpectedVersion::NoStream, deposited(1)),
            (ada.clone(), ExpectedVersion::Exact(2.into()), deposited(1)),
            (account(), ExpectedVersion::Any, same_id.clone()),
        ];
        for (aggregate, expected, event) in appends {
            let mut transaction = other.build_transaction().isolation_level(isolation).start().unwrap();
            transaction.query("SELECT 1 FROM events", &[]).unwrap();
            archive(&store, &events);
            let events_of = [event];
            let append = Append::new(&aggregate, expected, &events_of);
            let error = store.append_within(&mut transaction, &[append]).unwrap_err();
            assert!(error.is_retryable(), "{expected}: {error}");
            // The transaction goes on.
            let (other_account, unaware) = (account(), deposited(1));
            let append = Append::new(
                &other_account,
                ExpectedVersion::NoStream,
                std::slice::from_ref(&unaware),
            );
            store.append_within(&mut transaction, &[append]).unwrap();
            transaction.rollback().unwrap();
            attach(&store, &events);
        }
    }
    assert_nothing_twice(&mut client(&database));
}

/// Otherwise an automatic vacuum would delay the move for as long as it runs.
#[test]
fn appends_go_on_while_a_move_waits_for_a_vacuum() {
    let Some((database, store, _, events)) = archived() else {
        return;
    };
    let mut other = client(&database);
    let mut vacuum = other.transaction().unwrap();
    vacuum
        .batch_execute("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
        .unwrap();
    thread::scope(|scope| {
        let moving = scope.spawn(|| store.attach_events(&events));
        wait_until_somebody_waits(&database);
        for _ in 0..20 {
            store
                .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap();
        }
        assert!(!moving.is_finished());
        vacuum.rollback().unwrap();
        assert_eq!(moving.join().unwrap().unwrap(), 3);
    });
}

fn wait_until_somebody_waits(database: &Database) {
    let mut client = client(database);
    let waits = "SELECT 1 FROM pg_locks WHERE relation = 'events'::regclass AND NOT granted";
    let began = Instant::now();
    while client.query(waits, &[]).unwrap().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody waits");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_move_gives_way_to_a_transaction_that_appended_and_may_be_repeated() {
    let Some((_database, store, ada, events)) = archived() else {
        return;
    };
    let attached = store.transaction(|transaction| {
        transaction.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
        let elsewhere = store.clone();
        let attached = thread::scope(|scope| scope.spawn(|| elsewhere.attach_events(&events)).join().unwrap());
        let error = attached.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        // Later appends do not wait.
        thread::scope(|scope| {
            let append = || elsewhere.append(&ada, ExpectedVersion::Exact(3.into()), &[deposited(1)]);
            scope.spawn(append).join().unwrap()
        })?;
        Ok::<(), Error>(())
    });
    attached.unwrap();
    assert_eq!(store.attach_events(&events).unwrap(), 3);
    assert_eq!(store.load(&ada).unwrap().len(), 4);
}

#[test]
fn what_was_planned_while_nothing_was_archived_looks_by_keys_afterwards() {
    let Some((database, store)) = fresh() else { return };
    client(&database).batch_execute("ANALYZE").unwrap();
    let one = PostgresEventStore::builder(database.url())
        .max_connections(1)
        .open()
        .unwrap();
    let accounts: Vec<AggregateKey> = (0..100).map(|_| account()).collect();
    let append = |account| {
        let events: Vec<NewEvent> = (0..20).map(deposited).collect();
        one.append(account, ExpectedVersion::Any, &events[..10]).unwrap();
        one.append(account, ExpectedVersion::Any, &events[10..11]).unwrap();
        one.append(account, ExpectedVersion::Exact(11.into()), &events[11..12])
            .unwrap();
    };
    accounts.iter().for_each(append);
    let events = movable(&store);
    store.record_archive(&archive_of(&events)).unwrap();
    for batch in events.chunks(500) {
        store.retire_events(batch).unwrap();
    }
    let plans = one.transaction(|transaction| Ok::<_, Error>(plans_of_appends(transaction.connection())));
    let plans = plans.unwrap();
    assert!(
        plans.iter().any(|line| line.contains("idx_archived_events_event_id")),
        "{plans:#?}"
    );
    assert!(
        plans
            .iter()
            .all(|line| !line.contains("Seq Scan on firefly_archived_events")),
        "{plans:#?}"
    );
}

/// The generic plans of the prepared appends of this connection.
fn plans_of_appends(connection: &mut Transaction<'_>) -> Vec<String> {
    let prepared =
        "SELECT name, statement FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO ' || $1 || '%'";
    let mut plans = Vec::new();
    for row in connection.query(prepared, &[&"events"]).unwrap() {
        let (name, statement): (String, String) = (row.get(0), row.get(1));
        let is_parameter = |number: &usize| statement.contains(&format!("${number}"));
        let parameters = (1..20).rev().find(is_parameter).unwrap();
        let values = vec!["NULL"; parameters].join(", ");
        connection
            .batch_execute("SET LOCAL plan_cache_mode = force_generic_plan")
            .unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE \"{name}\" ({values})");
        let lines = connection.query(&explain, &[]).unwrap();
        plans.extend(lines.iter().map(|line| line.get::<_, String>(0)));
    }
    plans
}

#[test]
fn whoever_could_append_and_read_before_archives_can_do_so_with_them() {
    let Some((database, store)) = fresh() else { return };
    let ada = account();
    store.append(&ada, ExpectedVersion::NoStream, &[deposited(1)]).unwrap();
    drop(store);
    let clerk = format!("clerk of {}", database.name());
    let mut admin = client(&database);
    let mut sql = |script: &str| {
        admin
            .batch_execute(&script.replace("CLERK", &format!("\"{clerk}\"")))
            .unwrap();
    };
    sql(
        "DROP TABLE firefly_archives, firefly_archived_streams, firefly_archived_events, firefly_conversions;
         DELETE FROM firefly_schema_history WHERE version IN ('7.0.0', '8.0.0', '9.0.0');
         CREATE ROLE CLERK LOGIN;
         GRANT SELECT ON firefly_schema_history, snapshots TO CLERK;
         GRANT SELECT, INSERT ON events TO CLERK;
         GRANT SELECT, USAGE ON SEQUENCE events_global_sequence_seq TO CLERK",
    );
    let migrated = PostgresEventStore::builder(database.url()).migrate().unwrap();
    assert_eq!(
        migrated.iter().map(|step| step.version).collect::<Vec<_>>(),
        ["7.0.0", "8.0.0", "9.0.0"]
    );
    let config: Config = database.url().parse().unwrap();
    let store = PostgresEventStore::configure(config.clone().user(&clerk).clone())
        .open()
        .unwrap();
    store
        .append(&ada, ExpectedVersion::Exact(1.into()), &[deposited(2)])
        .unwrap();
    assert_eq!(store.load(&ada).unwrap().len(), 2);
    assert_eq!(store.read(EventQuery::new()).count(), 2);
    let events = movable(&store);
    let refused = store.retire_events(&events).unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::PermissionDenied, "{refused}");
    drop(store);
    sql("DROP OWNED BY CLERK; DROP ROLE CLERK");
}

#[test]
fn a_log_that_lacks_what_is_archived_is_not_restored_from() {
    let Some((_database, store, _, events)) = archived() else {
        return;
    };
    for point in [
        RestorePoint::Sequence(events[0].global_sequence),
        RestorePoint::Time(OffsetDateTime::now_utc()),
    ] {
        let error = store.restore_table(point).unwrap_err();
        assert!(error.is_archived(), "{error}");
    }
    attach(&store, &events);
    assert_eq!(
        store
            .restore_table(RestorePoint::Sequence(GlobalSequence::MAX))
            .unwrap(),
        4
    );
}
