//! Archives while others write: an archived event is never stored a second time, and nobody waits for long.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use firefly_eventstore_core::Backoff;
use firefly_eventstore_core::operate::{Archive, Archiving, LogDigest, Operations, RestorePoint, attach};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{IsolationLevel, TxOpts};
use firefly_eventstore_test_servers::{Database, MysqlServer};

use crate::support::{
    account, all_events, builder, client, deposited, fresh, on_both, run, until_an_append_waits,
    until_somebody_waits_for_a_table,
};

on_both!(
    writers_of_every_kind_store_nothing_twice_while_events_are_retired_and_attached,
    an_append_that_waited_for_its_gate_sees_what_was_archived_meanwhile,
    an_open_transaction_that_appended_keeps_events_in_the_log_and_holds_up_nobody,
    one_moves_events_at_a_time,
    an_append_of_another_program_is_refused_where_it_is_covered,
    a_page_that_was_read_before_an_archive_was_attached_is_read_again,
    a_replica_moves_nothing,
    a_log_that_lacks_events_is_not_restored,
);

const WRITERS: usize = 6;
const AGGREGATES: usize = 4;
const APPENDS: usize = 150;

/// An acknowledged append: its events, and their places.
struct Stored {
    aggregate: AggregateKey,
    events: Vec<NewEvent>,
    version: Version,
    sequences: Vec<GlobalSequence>,
}

/// Moves events out of the log in batches, and all of them back, again and again.
fn move_back_and_forth(store: &MysqlEventStore, working: &AtomicBool) -> [u64; 2] {
    let mut moved = [0, 0];
    let patiently = |step: &mut dyn FnMut() -> Result<u64, Error>| loop {
        match Backoff::new().repeat(&mut *step) {
            Ok(moved) => return moved,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    };
    while working.load(Ordering::SeqCst) {
        let mut batches = Vec::new();
        let live = store.read(EventQuery::new().skip_archived());
        let mut live: Vec<EventEnvelope> = live.collect::<Result<_, Error>>().unwrap();
        live.pop();
        for batch in live.chunks(25) {
            moved[0] += patiently(&mut || store.retire_events(batch));
            batches.push(batch.to_vec());
        }
        for batch in batches.iter().rev() {
            moved[1] += patiently(&mut || store.attach_events(batch));
        }
    }
    moved
}

/// A random append: at a version that may be known, to a stream that may be new, in autocommit or in a transaction with an old snapshot. Or
/// a repetition of an acknowledged append.
fn append_somehow(
    store: &MysqlEventStore,
    database: &Database,
    aggregates: &[AggregateKey],
    stored: &Mutex<Vec<Stored>>,
    random: &mut fastrand::Rng,
) {
    let aggregate = &aggregates[random.usize(..aggregates.len())];
    let kind = random.u8(..100);
    if kind < 25 {
        let stored = stored.lock().unwrap();
        if let Some(one) = random.choice(&*stored) {
            let expected = [ExpectedVersion::NoStream, ExpectedVersion::Any, one.version.into()];
            let expected = random.choice(expected).unwrap();
            let again = store.append(&one.aggregate, expected, &one.events).unwrap();
            assert!(again.is_already_stored(), "{again:?}");
            assert_eq!(again.version(), one.version);
            assert_eq!(again.global_sequences(), one.sequences);
        }
        return;
    }
    let events: Vec<NewEvent> = (0..random.u64(1..=3)).map(deposited).collect();
    let expected = match kind {
        ..40 => ExpectedVersion::NoStream,
        40..70 => store.version(aggregate).unwrap().into(),
        _ => ExpectedVersion::Any,
    };
    let append = [Append::new(aggregate, expected, &events)];
    let result = match kind {
        90.. => {
            let mut client = client(database);
            let options = TxOpts::default().set_isolation_level(Some(IsolationLevel::RepeatableRead));
            let options = options.set_with_consistent_snapshot(true);
            let mut transaction = client.start_transaction(options).unwrap();
            thread::yield_now();
            let result = store.append_within(&mut transaction, &append);
            if result.is_ok() {
                transaction.commit().unwrap();
            }
            result
        }
        _ => store.append_all(&append),
    };
    match result {
        Ok(appended) => stored.lock().unwrap().push(Stored {
            aggregate: aggregate.clone(),
            events,
            version: appended[0].version(),
            sequences: appended[0].global_sequences().to_vec(),
        }),
        Err(error) => assert!(error.is_conflict() || error.is_retryable(), "{error:?}"),
    }
}

fn writers_of_every_kind_store_nothing_twice_while_events_are_retired_and_attached(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let aggregates: Vec<AggregateKey> = (0..AGGREGATES).map(|_| account()).collect();
    let stored = Mutex::new(Vec::new());
    let working = AtomicBool::new(true);
    let moved = thread::scope(|scope| {
        let moving = scope.spawn(|| move_back_and_forth(&store, &working));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, database, aggregates, stored) = (&store, &database, &aggregates, &stored);
                scope.spawn(move || {
                    let random = &mut fastrand::Rng::with_seed(writer as u64);
                    for _ in 0..APPENDS {
                        append_somehow(store, database, aggregates, stored, random);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        working.store(false, Ordering::SeqCst);
        let moved = moving.join().unwrap();
        ended.into_iter().for_each(|ended| ended.unwrap());
        moved
    });
    assert!(moved[0] > 0 && moved[0] == moved[1], "{moved:?}");

    // From both tables, because an event must not be in both.
    let events: Vec<(i64, Vec<u8>, Vec<u8>, u64)> = client(&database)
        .query(
            "SELECT global_sequence, event_id, aggregate_id, aggregate_version FROM events
             UNION ALL
             SELECT global_sequence, event_id, aggregate_id, aggregate_version FROM firefly_archived_events",
        )
        .unwrap();
    let stored = stored.into_inner().unwrap();
    let acknowledged: usize = stored.iter().map(|stored| stored.events.len()).sum();
    assert_eq!(events.len(), acknowledged, "what is stored, and what was acknowledged");
    let mut versions: HashMap<&[u8], Vec<u64>> = HashMap::new();
    for (_, _, aggregate, version) in &events {
        versions.entry(aggregate).or_default().push(*version);
    }
    for versions in versions.values_mut() {
        versions.sort_unstable();
        assert_eq!(*versions, (1..=versions.len() as u64).collect::<Vec<_>>());
    }
    let at: HashMap<&[u8], i64> = events.iter().map(|(at, id, ..)| (id.as_slice(), *at)).collect();
    assert_eq!(at.len(), events.len(), "ids are unique");
    for stored in &stored {
        for (event, sequence) in stored.events.iter().zip(&stored.sequences) {
            assert_eq!(at[event.event_id().as_bytes().as_slice()], sequence.as_i64());
        }
    }
    assert_eq!(all_events(&store).len(), acknowledged);
}

fn an_append_that_waited_for_its_gate_sees_what_was_archived_meanwhile(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let append = |aggregate: &AggregateKey, expected: ExpectedVersion, event: &NewEvent| {
        store.append(aggregate, expected, std::slice::from_ref(event)).map(drop)
    };
    // An archived version 1 of an aggregate, with this id.
    let archive = |aggregate: &AggregateKey, event: &NewEvent| {
        let [aggregate, event] = [aggregate.id(), event.event_id()].map(|id| id.simple().to_string());
        format!(
            "INSERT INTO firefly_archived_events SELECT COALESCE(MAX(global_sequence), 0) + 1, UNHEX('{event}'), UNHEX('{aggregate}'), 1, \
             UNHEX(SHA2('', 256)) FROM firefly_archived_events; \
             INSERT INTO firefly_archived_streams VALUES (UNHEX('{aggregate}'), 'Account', NULL, 1, UNHEX('{event}'), 1, 1, UTC_TIMESTAMP(6))"
        )
    };
    let other = account();
    for has_archived in [false, true] {
        for (expected, is_stored) in [
            (ExpectedVersion::NoStream, false),
            (ExpectedVersion::Any, true),
            (ExpectedVersion::Exact(1.into()), true),
            (ExpectedVersion::Exact(2.into()), false),
        ] {
            for is_same_event in [false, true] {
                let (account, event) = (account(), deposited(1));
                let archived = if is_same_event { event.clone() } else { deposited(1) };
                let (aggregate, is_stored) = match is_same_event {
                    // To another aggregate, so that only the id conflicts.
                    true => (&other, false),
                    false => (&account, is_stored),
                };
                let mut mover = client(&database);
                run(&mut mover, "UPDATE firefly_gate SET has_archived = 0");
                run(
                    &mut mover,
                    &format!("UPDATE firefly_gate SET has_archived = {has_archived}"),
                );
                run(&mut mover, "START TRANSACTION");
                run(&mut mover, "SELECT * FROM firefly_gate FOR UPDATE");
                let result = thread::scope(|scope| {
                    let appending = scope.spawn(|| append(aggregate, expected, &event));
                    until_an_append_waits(&database);
                    for statement in archive(&account, &archived).split("; ") {
                        run(&mut mover, statement);
                    }
                    run(&mut mover, "UPDATE firefly_gate SET has_archived = 1");
                    run(&mut mover, "COMMIT");
                    appending.join().unwrap()
                });
                let name = format!("{expected:?}, {is_same_event}, {has_archived}: {result:?}");
                assert_eq!(result.is_ok(), is_stored, "{name}");
            }
        }
    }
}

/// Appends this many events to a new aggregate, and returns them.
fn events(store: &MysqlEventStore, count: u64) -> Vec<EventEnvelope> {
    let account = account();
    let events: Vec<NewEvent> = (0..count).map(deposited).collect();
    store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    store.load(&account).unwrap().into_events()
}

/// Records an archive of events that are to be retired.
fn record(store: &MysqlEventStore, events: &[EventEnvelope]) {
    let [first, .., last] = events else {
        panic!("there are several");
    };
    let mut archive = Archive::new(
        LogDigest::OF_NOTHING,
        first.global_sequence..=last.global_sequence,
        events.len() as u64,
        first.created_at..=last.created_at,
        "somewhere",
        last.created_at,
    );
    archive.is_retired = true;
    store.record_archive(&archive).unwrap();
}

fn an_open_transaction_that_appended_keeps_events_in_the_log_and_holds_up_nobody(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let old = events(&store, 3);
    let other = MysqlEventStore::open(database.url()).unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (end, is_to_end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let other = &other;
        scope.spawn(move || {
            other.transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
                begun.send(()).unwrap();
                is_to_end.recv().unwrap();
                Ok::<_, Error>(())
            })
        });
        has_begun.recv().unwrap();
        let refused = store.retire_events(&old[..2]).unwrap_err();
        assert!(refused.is_retryable(), "{refused:?}");
        events(&store, 1);
        assert_eq!(store.load(&old[0].aggregate).unwrap().len(), 3);
        end.send(()).unwrap();
    });
    assert_eq!(store.retire_events(&old[..2]).unwrap(), 2);
    assert!(store.load(&old[0].aggregate).unwrap_err().is_archived());
    assert_eq!(store.version(&old[0].aggregate).unwrap(), 3);
}

fn one_moves_events_at_a_time(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let old = events(&store, 3);
    let mut mover = client(&database);
    run(&mut mover, "START TRANSACTION");
    run(&mut mover, "SELECT * FROM firefly_moves FOR UPDATE");
    let refused = store.retire_events(&old[..2]).unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    run(&mut mover, "COMMIT");
    assert_eq!(store.retire_events(&old[..2]).unwrap(), 2);
    assert_eq!(store.retire_events(&old[..2]).unwrap(), 0);
    assert_eq!(store.attach_events(&old[..2]).unwrap(), 2);
    assert_eq!(store.attach_events(&old[..2]).unwrap(), 0);
    assert_eq!(all_events(&store), old);
}

fn an_append_of_another_program_is_refused_where_it_is_covered(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let old = events(&store, 3);
    store.retire_events(&old[..2]).unwrap();
    builder(&database).cover_other_writers(true).migrate().unwrap();
    let mut other = client(&database);
    let mut insert = |event_id: Uuid, aggregate: Uuid, version: u64| {
        let [event_id, aggregate] = [event_id, aggregate].map(|id| id.simple().to_string());
        other.query_drop(format!(
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
             VALUES (UNHEX('{event_id}'), UNHEX('{aggregate}'), 'Account', {version}, 'money.deposited', '{{}}')"
        ))
    };
    let (archived, aggregate) = (old[0].event_id, old[0].aggregate.id());
    assert!(insert(archived, Uuid::now_v7(), 1).is_err());
    assert!(insert(Uuid::now_v7(), aggregate, 2).is_err());
    insert(Uuid::now_v7(), aggregate, 4).unwrap();
    insert(Uuid::now_v7(), Uuid::now_v7(), 1).unwrap();
    // The archive does not refuse these either.
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.attach_events(&old[..2]).unwrap(), 2);
    assert_eq!(store.load(&old[0].aggregate).unwrap().len(), 4);
}

fn a_page_that_was_read_before_an_archive_was_attached_is_read_again(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let old = events(&store, 3);
    let columns = "event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data, created_at, checksum";
    let mut mover = client(&database);
    run(
        &mut mover,
        &format!("CREATE TABLE kept SELECT {columns} FROM events WHERE global_sequence <= 2"),
    );
    record(&store, &old[..2]);
    store.retire_events(&old[..2]).unwrap();
    let reader = MysqlEventStore::open(database.url()).unwrap();
    assert!(reader.read_page(&EventQuery::new().limit(9), None).is_err());

    // The page waits between reading its rows and reading the archives.
    let mut other = client(&database);
    run(&mut other, "LOCK TABLES firefly_archived_events WRITE");
    let page = thread::scope(|scope| {
        let reading = scope.spawn(|| reader.read_page(&EventQuery::new(), None));
        until_somebody_waits_for_a_table(&database);
        run(
            &mut mover,
            &format!("INSERT INTO events ({columns}) SELECT {columns} FROM kept"),
        );
        run(&mut mover, "DELETE FROM firefly_archived_streams");
        run(&mut mover, "UPDATE firefly_moves SET attached = attached + 1");
        run(&mut other, "DELETE FROM firefly_archived_events");
        run(&mut other, "UNLOCK TABLES");
        reading.join().unwrap()
    });
    let sequences = |events: &[EventEnvelope]| events.iter().map(|event| event.global_sequence).collect::<Vec<_>>();
    assert_eq!(sequences(&page.unwrap().events), sequences(&old));
}

fn a_replica_moves_nothing(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let old = events(&store, 3);
    store.publish_mark().unwrap();
    let replica = builder(&database).read_replica(true).open().unwrap();
    for refused in [replica.retire_events(&old[..2]), replica.attach_events(&old[..2])] {
        assert_eq!(refused.unwrap_err().kind(), &ErrorKind::ReadOnly);
    }
}

fn a_log_that_lacks_events_is_not_restored(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    let old = events(&store, 5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.jsonl");
    Archiving::until(2).into_file(&store, &path, |_| {}).unwrap();
    let refused = store
        .restore_table(RestorePoint::Sequence(old[3].global_sequence))
        .unwrap_err();
    assert!(refused.is_archived(), "{refused:?}");
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    attach(&store, file, |_| {}).unwrap();
    let restored = store
        .restore_table(RestorePoint::Sequence(old[3].global_sequence))
        .unwrap();
    assert_eq!(restored, 4);
}
