//! The power is cut, again and again: all unsynced writes are lost, and the process ends.
//!
//! With `FULL`, everything that was acknowledged, or that a follower saw, is still stored at the same sequence. With `NORMAL`, the last of
//! it may be lost completely. What is left is the beginning of the acknowledged log, and a follower that had read further gets an error.
//! (Stores that acknowledge before the sync lose bookings; those that show unsynced data let followers read events that are lost
//! afterwards.)

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::driver::types::Value;
use firefly_eventstore_sqlite::{JournalMode, SqliteEventStore, Synchronous};
use firefly_eventstore_test_servers::Disk;

use support::{
    Peer, account, all_events, another, assert_intact, deposited, role, rows, tell, wait_for_parent, with_writer,
};

/// The program of the process whose power is cut.
#[test]
fn child_process() {
    let Some((role, argument)) = role() else { return };
    let (synchronous, path) = argument.split_once('|').unwrap();
    let store = SqliteEventStore::builder(path).synchronous(match synchronous {
        "FULL" => Synchronous::Full,
        _ => Synchronous::Normal,
    });
    let store = store.open().unwrap();
    match role.as_str() {
        "work" => work(&store),
        "append one" => append_one(&store),
        other => panic!("{other}"),
    }
}

/// Pairs of clerks book the same events, so that half of the answers are "already stored". A follower reads the log.
fn work(store: &SqliteEventStore) {
    thread::scope(|scope| {
        for clerk in 0..4 {
            scope.spawn(move || {
                for number in 0..5_000_u128 {
                    let pair = clerk / 2;
                    let id = Uuid::from_u128(u128::from(std::process::id()) << 64 | pair << 32 | number);
                    let own = AggregateKey::new("Account", Uuid::from_u128(pair + 1)).unwrap();
                    let event = NewEvent::new("money.deposited", &serde_json::json!({ "amount": 1 })).unwrap();
                    let done = store.append(&own, ExpectedVersion::Any, &[event.with_id(id)]).unwrap();
                    tell(&format!("{id} {}", done.last_sequence().unwrap()));
                }
            });
        }
        scope.spawn(|| {
            let mut after = store.high_water_mark().unwrap();
            loop {
                for event in store.read(EventQuery::new().after(after)) {
                    let event = event.unwrap();
                    tell(&format!("{} {}", event.event_id, event.global_sequence));
                    after = event.global_sequence;
                }
                thread::yield_now();
            }
        });
    });
}

fn append_one(store: &SqliteEventStore) {
    tell("ready");
    wait_for_parent();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    tell("appended");
}

fn start(disk: &Disk, role: &str, synchronous: &str, path: &Path) -> Peer {
    let mut command = another(role, &format!("{synchronous}|{}", path.display()));
    disk.preloaded_into(&mut command);
    Peer::start(command)
}

/// The acknowledged events by their sequences.
type Told = BTreeMap<u64, Uuid>;

fn keep(told: &mut Told, line: &str) {
    let (id, sequence) = line.split_once(' ').unwrap();
    let before = told.insert(sequence.parse().unwrap(), id.parse().unwrap());
    assert!(
        before.is_none_or(|before| before.to_string() == id),
        "two events at {sequence}"
    );
}

/// Works until the power is cut after this many answers.
fn work_until_cut(disk: &Disk, synchronous: &str, path: &Path, answers: u64, told: &mut Told) {
    let mut peer = start(disk, "work", synchronous, path);
    for _ in 0..answers {
        keep(told, &peer.hear().unwrap());
    }
    peer.kill();
    while let Some(line) = peer.hear() {
        keep(told, &line);
    }
    peer.wait();
    disk.cut(path.parent().unwrap());
}

fn stored(path: &Path) -> (SqliteEventStore, Told) {
    assert_intact(path);
    let store = SqliteEventStore::open(path).unwrap();
    let events = all_events(&store).into_iter();
    let stored: Told = events
        .map(|event| (event.global_sequence.get(), event.event_id))
        .collect();
    assert!(stored.keys().copied().eq(1..=stored.len() as u64), "no hole");
    (store, stored)
}

#[test]
fn with_full_whatever_was_acknowledged_or_read_survives_power_cuts() {
    let (disk, directory) = (Disk::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("ledger.db");
    drop(SqliteEventStore::open(&path).unwrap());
    let mut told = Told::new();
    for round in 0..8 {
        work_until_cut(&disk, "FULL", &path, fastrand::u64(0..150), &mut told);
        let (_, stored) = stored(&path);
        for (sequence, id) in &told {
            assert_eq!(stored.get(sequence), Some(id), "{sequence}, round {round}");
        }
    }
    assert!(told.len() > 50, "{}", told.len());
}

#[test]
fn with_normal_a_power_cut_takes_the_last_appends_only_and_followers_are_told() {
    let (disk, directory) = (Disk::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("ledger.db");
    drop(SqliteEventStore::open(&path).unwrap());
    let (mut lost, mut kept) = (0, 0);
    for answers in [100, 300, 2_500] {
        let mut told = Told::new();
        work_until_cut(&disk, "NORMAL", &path, answers, &mut told);
        let (store, stored) = stored(&path);
        let end = stored.len() as u64;
        for (sequence, id) in told.range(..=end) {
            assert_eq!(stored.get(sequence), Some(id), "{sequence}");
        }
        kept += told.range(..=end).count();
        lost += told.range(end + 1..).count();

        let Some((last, gone)) = told.last_key_value().filter(|(last, _)| **last > end) else {
            continue;
        };
        let checkpoint = GlobalSequence::new(*last).unwrap();
        let error = store
            .read(EventQuery::new().after(checkpoint))
            .next()
            .unwrap()
            .unwrap_err();
        assert!(error.is_beyond_end(), "{error:?}");
        // Later events get the lost sequences, so a follower has to go back to the end that the error names.
        let again = store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        assert_eq!(again.last_sequence().unwrap().get(), end + 1);
        assert_ne!(all_events(&store).last().unwrap().event_id, *gone);
    }
    assert!(lost > 0 && kept > 0, "{lost} lost, {kept} kept");
}

#[test]
fn with_full_nothing_is_shown_or_acknowledged_before_it_is_synced() {
    let (disk, directory) = (Disk::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("ledger.db");
    let beside = SqliteEventStore::open(&path).unwrap();
    let mut peer = start(&disk, "append one", "FULL", &path);
    peer.expect("ready");
    disk.hold();
    peer.go_on();
    disk.until_held();
    assert_eq!(beside.high_water_mark().unwrap(), 0);
    assert_eq!(all_events(&beside).len(), 0);
    disk.release();
    peer.expect("appended");
    assert_eq!(beside.high_water_mark().unwrap(), 1);
    peer.finish();
}

#[test]
fn with_full_a_rollback_journal_that_is_removed_stays_removed() {
    let directory = tempfile::tempdir().unwrap();
    for (mode, level) in [
        (JournalMode::Wal, 2),
        (JournalMode::Truncate, 2),
        (JournalMode::Delete, 3), // EXTRA: the directory is synced too
    ] {
        let builder = SqliteEventStore::builder(directory.path().join("ledger.db")).journal_mode(mode);
        let synchronous = with_writer(&builder.open().unwrap(), |connection| {
            rows(connection, "PRAGMA synchronous", [])
        });
        assert_eq!(synchronous, [[Value::from(level)]], "{mode:?}");
    }
}
