//! Several threads, connections and processes on one file: which of them wait for others, and which do not.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::driver::{self as rusqlite, Connection};
use firefly_eventstore_sqlite::{JournalMode, SqliteEventStore, Synchronous};

use support::{
    Peer, account, all_events, another, assert_intact, deposited, role, rows, tell, together, wait_for_parent,
    with_writer,
};

const THREADS: usize = 16;

#[test]
fn threads_that_append_at_once_share_commits() {
    const EACH: usize = 25;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let _log = keep_the_log(&path);
    let before = commits(&path);
    let gate = Gate::before_writers(&store);

    let results = together(THREADS, |_| {
        let own = account();
        gate.arrive();
        let append = |number| store.append(&own, ExpectedVersion::Any, &[deposited(number)]).unwrap();
        (0..EACH as u64).map(append).collect::<Vec<_>>()
    });

    for results in &results {
        let versions: Vec<u64> = results.iter().map(|result| result.version().get()).collect();
        assert_eq!(versions, (1..=EACH as u64).collect::<Vec<_>>());
    }
    let mut sequences: Vec<u64> = results
        .iter()
        .flatten()
        .flat_map(Appended::global_sequences)
        .map(|sequence| sequence.get())
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=(THREADS * EACH) as u64).collect::<Vec<_>>());
    let commits = commits(&path) - before;
    println!("{commits} commits");
    assert!(
        commits < THREADS * EACH,
        "{} appends took {commits} commits",
        THREADS * EACH
    );
}

#[test]
fn in_a_group_each_caller_gets_its_own_result() {
    const ROUNDS: usize = 30;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let _log = keep_the_log(&path);
    let before = commits(&path);

    for _ in 0..ROUNDS {
        let contested = account();
        let settled = account();
        let stored = [deposited(1), deposited(2)];
        store.append(&settled, ExpectedVersion::NoStream, &stored).unwrap();
        let misnamed = AggregateKey::new("Invoice", settled.id()).unwrap();
        let gate = Gate::before_writers(&store);

        let results = together(THREADS, |thread| {
            gate.arrive();
            let new = [deposited(3), deposited(4)];
            match thread % 4 {
                0 => store.append(&account(), ExpectedVersion::NoStream, &new),
                1 => store.append(&contested, ExpectedVersion::NoStream, &new),
                2 => store.append(&settled, ExpectedVersion::NoStream, &stored),
                _ if thread < 8 => store.append(&settled, ExpectedVersion::Any, &[deposited(3), stored[0].clone()]),
                _ => store.append(&misnamed, ExpectedVersion::Any, &new),
            }
        });

        let mut winners = 0;
        for (thread, result) in results.into_iter().enumerate() {
            match thread % 4 {
                0 => assert_eq!(result.unwrap().version(), 2),
                1 => match result {
                    Ok(won) => {
                        assert_eq!((won.version().get(), won.is_already_stored()), (2, false));
                        winners += 1;
                    }
                    Err(lost) => assert!(
                        matches!(lost.kind(), ErrorKind::Conflict { aggregate, actual, .. }
                            if *aggregate == contested && *actual == 2),
                        "{lost:?}"
                    ),
                },
                2 => assert!(result.unwrap().is_already_stored()),
                _ if thread < 8 => assert!(
                    matches!(result.as_ref().unwrap_err().kind(), ErrorKind::Duplicate { event_ids, .. }
                        if *event_ids == [stored[0].event_id()]),
                    "{result:?}"
                ),
                _ => assert!(
                    matches!(
                        result.as_ref().unwrap_err().kind(),
                        ErrorKind::TypeMismatch { aggregate, .. } if *aggregate == misnamed
                    ),
                    "{result:?}"
                ),
            }
        }
        assert_eq!(winners, 1);
        assert_eq!(store.version(&contested).unwrap(), 2);
        assert_eq!(store.version(&settled).unwrap(), 2);
    }

    // In each round two preparations commit, and of the threads the winner and the four that nobody contests.
    let alone = ROUNDS * (2 + 1 + THREADS / 4);
    let commits = commits(&path) - before;
    println!("{commits} commits");
    assert!(commits < alone, "{commits} commits, as if each were alone");
    assert_eq!(all_events(&store).len(), ROUNDS * (2 + 2 + 2 * THREADS / 4));
}

#[test]
fn a_row_that_the_schema_refuses_fails_its_own_append_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events
        WHEN NEW.event_type = 'money.forged' BEGIN SELECT RAISE(ABORT, 'forged'); END";
    with_writer(&store, |connection| connection.execute_batch(refuse).unwrap());
    let gate = Gate::before_writers(&store);

    let results = together(THREADS, |thread| {
        gate.arrive();
        let forged = NewEvent::new("money.forged", "nothing").unwrap();
        match thread % 2 {
            0 => store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]),
            _ => store.append(&account(), ExpectedVersion::NoStream, &[deposited(1), forged]),
        }
    });

    for (thread, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), thread % 2 == 0, "{thread}: {result:?}");
    }
    assert_eq!(
        all_events(&store).len(),
        THREADS / 2,
        "the deposit before the forgery is undone too"
    );
}

#[test]
fn a_transaction_waits_its_turn_and_no_longer() {
    const TRANSACTIONS: u64 = 20;
    const MOST: u64 = 5_000;
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::builder(directory.path().join("ledger.db"))
        .synchronous(Synchronous::Normal)
        .open()
        .unwrap();
    let done = AtomicBool::new(false);

    let hammered: Vec<u64> = thread::scope(|scope| {
        let hammer = || {
            let own = account();
            let mut count = 0;
            while count < MOST && !done.load(Ordering::Relaxed) {
                store.append(&own, ExpectedVersion::Any, &[deposited(count)]).unwrap();
                count += 1;
            }
            count
        };
        let mut hammers = Vec::new();
        for _ in 0..8 {
            hammers.push(scope.spawn(hammer));
        }
        let patient = account();
        for number in 0..TRANSACTIONS {
            store
                .transaction(|tx| tx.append(&patient, Version::new(number).unwrap(), &[deposited(number)]))
                .unwrap();
        }
        done.store(true, Ordering::Relaxed);
        hammers.into_iter().map(|hammer| hammer.join().unwrap()).collect()
    });

    assert!(
        hammered.iter().all(|count| *count < MOST),
        "the transactions came after the others were through: {hammered:?}"
    );
}

#[test]
fn an_iterator_that_is_open_blocks_nobody_and_sees_what_was_there_when_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::builder(directory.path().join("ledger.db"))
        .readers(1)
        .open()
        .unwrap();
    let events: Vec<_> = (0..10).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();

    let mut read = 0;
    for event in store.read(EventQuery::new().page_size(NonZeroU32::MIN)) {
        assert_eq!(event.unwrap().event_id, events[read].event_id());
        read += 1;
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(0)])
            .unwrap();
        assert_eq!(
            store.high_water_mark().unwrap(),
            (10 + read) as u64,
            "the only reader is free"
        );
    }
    assert_eq!(read, 10);
}

#[test]
fn a_snapshot_that_another_connection_holds_blocks_no_append() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();

    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count = || rows(&reader, "SELECT COUNT(*) FROM events", []);
    let before = count();
    for number in 0..100 {
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(number)])
            .unwrap();
    }
    assert_eq!(count(), before, "it sees its own past");
    assert_eq!(store.high_water_mark().unwrap(), 101);
}

#[test]
fn a_transaction_that_is_open_blocks_no_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();

    store
        .transaction(|tx| {
            tx.append(&known, Version::from(1), &[deposited(2)])?;
            let read = || {
                (
                    store.version(&known).unwrap(),
                    store.high_water_mark().unwrap(),
                    all_events(&store).len(),
                )
            };
            let elsewhere = thread::scope(|scope| scope.spawn(read).join().unwrap());
            assert_eq!(elsewhere, (Version::from(1), 1.into(), 1), "only what is committed");
            assert_eq!(tx.load(&known)?.version(), 2, "the transaction sees its own");
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(store.version(&known).unwrap(), 2);
}

#[test]
fn two_processes_on_one_file_lose_nothing() {
    append_from_two_processes(JournalMode::Wal);
}

#[test]
fn two_processes_on_one_file_without_a_write_ahead_log_lose_nothing() {
    append_from_two_processes(JournalMode::Delete);
}

const APPENDS_OF_A_PROCESS: u64 = 200;

fn append_from_two_processes(journal_mode: JournalMode) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::builder(&path)
        .journal_mode(journal_mode)
        .open()
        .unwrap();
    let shared = account();
    let argument = format!("{}|{journal_mode:?}|{}", path.display(), shared.id());
    let mut peer = Peer::start(another("append", &argument));

    peer.expect("opened");
    peer.go_on();
    append_from_two_threads(&store, &shared);
    peer.expect("appended");

    let stream = store.load(&shared).unwrap();
    let total = 2 * APPENDS_OF_A_PROCESS;
    assert_eq!(stream.version(), total);
    let versions: Vec<u64> = stream.events().iter().map(|event| event.version.get()).collect();
    assert_eq!(versions, (1..=total).collect::<Vec<_>>());
    assert_eq!(store.high_water_mark().unwrap(), total);
    peer.go_on();
    peer.expect(&total.to_string());
    peer.finish();
    drop(store);
    assert_intact(&path);
}

fn append_from_two_threads(store: &SqliteEventStore, shared: &AggregateKey) {
    together(2, |_| {
        for number in 0..APPENDS_OF_A_PROCESS / 2 {
            store
                .append(shared, ExpectedVersion::Any, &[deposited(number)])
                .unwrap();
        }
    });
}

/// The other process.
#[test]
fn child_process() {
    let Some((_, argument)) = role() else { return };
    let [path, journal_mode, id] = argument.split('|').collect::<Vec<_>>()[..] else {
        panic!("{argument}")
    };
    let journal_mode = match journal_mode {
        "Wal" => JournalMode::Wal,
        _ => JournalMode::Delete,
    };
    let store = SqliteEventStore::builder(path)
        .journal_mode(journal_mode)
        .open()
        .unwrap();
    tell("opened");
    wait_for_parent();
    append_from_two_threads(&store, &AggregateKey::new("Account", id.parse().unwrap()).unwrap());
    tell("appended");
    wait_for_parent();
    tell(&all_events(&store).len().to_string());
}

#[test]
fn threads_append_and_read_with_every_journal() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete, JournalMode::Truncate] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let store = SqliteEventStore::builder(&path)
            .journal_mode(journal_mode)
            .synchronous(Synchronous::Normal)
            .open()
            .unwrap();
        append_and_read_from_threads(&store);
        drop(store);
        let mode = support::column(&Connection::open(&path).unwrap(), "PRAGMA journal_mode");
        // The file itself only stores whether it has a write-ahead log.
        assert_eq!(mode == ["wal"], journal_mode == JournalMode::Wal, "{mode:?}");
        assert_intact(&path);
    }
}

#[test]
fn a_store_in_memory_is_one_store_for_all_its_threads_and_no_other_store() {
    let store = SqliteEventStore::in_memory().unwrap();
    let other = SqliteEventStore::in_memory().unwrap();
    append_and_read_from_threads(&store);
    assert_eq!(other.high_water_mark().unwrap(), 0);
}

fn append_and_read_from_threads(store: &SqliteEventStore) {
    const EACH: u64 = 30;
    let shared = account();
    let seen = AtomicU64::new(0);
    together(8, |thread| {
        for number in 0..EACH {
            if thread % 2 == 0 {
                let result = store
                    .clone()
                    .append(&shared, ExpectedVersion::Any, &[deposited(number)]);
                assert!(!result.unwrap().is_already_stored());
                continue;
            }
            let stream = store.load(&shared).unwrap();
            assert_eq!(
                stream.len() as u64,
                stream.version().get(),
                "versions are contiguous at any time"
            );
            let before = seen.fetch_max(stream.version().get(), Ordering::Relaxed);
            assert!(
                store.high_water_mark().unwrap().get() >= before,
                "the mark does not go back"
            );
        }
    });
    assert_eq!(store.version(&shared).unwrap(), 4 * EACH);
}

#[test]
fn events_and_a_read_model_are_committed_together_on_a_connection_of_the_callers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let mut own = Connection::open(&path).unwrap();
    own.execute_batch("CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL)")
        .unwrap();
    let aggregate = account();
    let events = [deposited(250), deposited(50)];
    let book = |connection: &Connection| {
        let append = Append::new(&aggregate, ExpectedVersion::NoStream, &events);
        let results = store.append_within(connection, &[append]).unwrap();
        let balance = (aggregate.id().to_string(), 300);
        connection
            .execute("INSERT OR REPLACE INTO balances VALUES (?1, ?2)", balance)
            .unwrap();
        results
    };
    let balances = || rows(&Connection::open(&path).unwrap(), "SELECT balance FROM balances", []).len();
    let begin = |connection: &mut Connection| {
        connection.set_transaction_behavior(rusqlite::TransactionBehavior::Immediate);
    };
    begin(&mut own);

    let transaction = own.transaction().unwrap();
    assert_eq!(book(&transaction)[0].version(), 2);
    transaction.rollback().unwrap();
    assert_eq!((store.version(&aggregate).unwrap(), balances()), (Version::ZERO, 0));

    let transaction = own.transaction().unwrap();
    let first = book(&transaction);
    assert_eq!(store.version(&aggregate).unwrap(), 0, "not before the commit");
    transaction.commit().unwrap();
    assert_eq!((store.version(&aggregate).unwrap(), balances()), (Version::from(2), 1));

    let transaction = own.transaction().unwrap();
    let again = book(&transaction);
    transaction.commit().unwrap();
    assert!(again[0].is_already_stored());
    assert_eq!(again[0].global_sequences(), first[0].global_sequences());
}

#[test]
fn a_refused_append_leaves_nothing_in_the_callers_transaction_which_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let (first, second) = (account(), account());
    let own = Connection::open(&path).unwrap();
    let events = [[deposited(1), deposited(2)], [deposited(3), deposited(4)]];

    own.execute_batch("BEGIN IMMEDIATE").unwrap();
    let stale = [
        Append::new(&first, ExpectedVersion::NoStream, &events[0]),
        Append::new(&second, Version::from(7), &events[1]),
    ];
    let error = store.append_within(&own, &stale).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let good = Append::new(&second, ExpectedVersion::NoStream, &events[1]);
    assert_eq!(store.append_within(&own, &[good]).unwrap()[0].version(), 2);
    own.execute_batch("COMMIT").unwrap();

    let stored: Vec<_> = all_events(&store).iter().map(|event| event.event_id).collect();
    assert_eq!(stored, events[1].each_ref().map(NewEvent::event_id));
}

#[test]
fn appending_within_a_transaction_that_nobody_began_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let aggregate = account();
    let events = [deposited(1)];

    let append = Append::new(&aggregate, ExpectedVersion::Any, &events);
    let error = store
        .append_within(&Connection::open(&path).unwrap(), &[append])
        .unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    assert!(error.to_string().contains(&aggregate.to_string()), "{error}");
    assert!(all_events(&store).is_empty());
}

#[test]
fn a_stream_that_begins_while_it_is_loaded_has_the_events_that_its_version_says() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::builder(directory.path().join("ledger.db"))
        .synchronous(Synchronous::Normal)
        .open()
        .unwrap();
    let accounts: Vec<_> = (0..300).map(|_| account()).collect();
    together(4, |thread| {
        for aggregate in &accounts {
            if thread == 0 {
                store
                    .append(aggregate, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
                    .unwrap();
                continue;
            }
            let begun = || {
                let stream = store.load(aggregate).unwrap();
                assert_eq!(stream.len() as u64, stream.version().get());
                stream.exists()
            };
            while !begun() {}
        }
    });
}

/// Holds writers back until all threads have arrived, so that they start at the same time.
#[derive(Clone)]
struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    fn before_writers(store: &SqliteEventStore) -> Self {
        let gate = Self(Arc::default());
        let (held, store) = (gate.clone(), store.clone());
        let (begin, begun) = mpsc::channel();
        thread::spawn(move || {
            with_writer(&store, |_| {
                begin.send(()).unwrap();
                held.wait();
            });
        });
        begun.recv().unwrap();
        gate
    }

    fn arrive(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let arrived = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(arrived, |arrived| *arrived < THREADS).unwrap());
    }
}

/// An open read, which keeps SQLite from reusing the write-ahead log from its start, so that its commits can be
/// counted.
fn keep_the_log(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("BEGIN; SELECT COUNT(*) FROM events").unwrap();
    connection
}

/// How many commits are in the write-ahead log: the header of each frame has the file's size if the frame ends a
/// commit, and zero if it does not.
fn commits(path: &Path) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let log = std::fs::read(PathBuf::from(format!("{}-wal", path.display()))).unwrap();
    if log.is_empty() {
        return 0;
    }
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let (page, salts) = (number(8) as usize, &log[16..24]);
    (HEADER..log.len())
        .step_by(FRAME_HEADER + page)
        .filter(|frame| log[frame + 8..frame + 16] == *salts && number(frame + 4) != 0)
        .count()
}
