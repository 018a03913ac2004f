//! Servers without a binary log show commits that are not on the disk yet: nothing is told of such a one that a power cut could
//! make untrue.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_test_servers::{Database, Disk, Flavour, MysqlServer};

use support::{account, all_events, append_one, builder, client, deposited, fresh, mark, on_both, run};

on_both!(
    what_is_told_survives_a_power_cut,
    a_log_that_was_cut_off_is_told_and_what_was_proved_of_it_is_dropped,
);

/// Time enough for a wrong answer.
const A_MOMENT: Duration = Duration::from_millis(500);

fn what_is_told_survives_a_power_cut(server: &MysqlServer) {
    let disk = Disk::new();
    // Whoever saves statistics holds up all who open a table, until that is on the disk.
    let size = match server.flavour() {
        Flavour::Mysql => &[("innodb_redo_log_capacity", "64M"), ("performance_schema", "OFF")][..],
        Flavour::Mariadb => &[("innodb_log_file_size", "64M")],
    };
    let options = [
        &[
            ("skip_log_bin", ""),
            ("innodb_stats_auto_recalc", "0"),
            ("innodb_buffer_pool_size", "64M"),
        ],
        size,
    ]
    .concat();
    let server = MysqlServer::start_on(&disk, server.flavour(), &options).unwrap();
    let (database, _) = fresh(&server);
    let store = open(&database);
    no_append_is_answered_by_what_is_not_on_the_disk(&server, &disk, &store);
    a_follower_does_not_see_what_is_not_on_the_disk(&server, &disk, &database);
    nothing_acknowledged_or_followed_is_lost_or_replaced(&server, &disk, &database);
}

/// A store that does not wait for long for a server that is gone.
fn open(database: &Database) -> MysqlEventStore {
    builder(database).pool_timeout(Duration::from_secs(1)).open().unwrap()
}

fn no_append_is_answered_by_what_is_not_on_the_disk(server: &MysqlServer, disk: &Disk, store: &MysqlEventStore) {
    let (account, event) = (account(), [deposited(1)]);
    disk.hold();
    let (repeated, late) = thread::scope(|scope| {
        let first = scope.spawn(|| store.append(&account, ExpectedVersion::NoStream, &event));
        disk.until_held();
        let [repeated, late] = [event.clone(), [deposited(2)]].map(|events| {
            let (told, answers) = mpsc::channel();
            let account = &account;
            scope.spawn(move || {
                let _ = told.send(store.append(account, ExpectedVersion::NoStream, &events));
            });
            answers
        });
        let early = repeated.recv_timeout(A_MOMENT);
        let early = [early, late.recv_timeout(Duration::from_millis(1))];
        server.cut_power(disk);
        assert!(first.join().unwrap().is_err(), "the first was not held up");
        let [repeated, late] = [repeated, late].map(|answers| move || answers.recv().unwrap());
        let [first, second] = early;
        (first.unwrap_or_else(|_| repeated()), second.unwrap_or_else(|_| late()))
    });
    server.restart();
    let stored = store.version(&account).unwrap();
    match repeated {
        Ok(appended) => assert_eq!(stored, appended.version(), "acknowledged, and lost"),
        Err(error) => assert!(error.is_retryable(), "{error:?}"),
    }
    match late.unwrap_err().kind() {
        ErrorKind::Conflict { actual, .. } => assert_eq!(stored, *actual, "a conflict with what is lost"),
        kind => assert!(matches!(kind, ErrorKind::Unavailable { .. }), "{kind:?}"),
    }
    store.append(&account, ExpectedVersion::NoStream, &event).unwrap();
}

fn a_follower_does_not_see_what_is_not_on_the_disk(server: &MysqlServer, disk: &Disk, database: &Database) {
    let [writer, follower] = [(); 2].map(|()| open(database));
    let before = append_one(&writer);
    assert_eq!(mark(&follower), before);
    disk.hold();
    let seen = thread::scope(|scope| {
        let first = scope.spawn(|| writer.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]));
        disk.until_held();
        let (told, answers) = mpsc::channel();
        scope.spawn(|| {
            let told = told;
            let _ = told.send(follower.high_water_mark());
        });
        // MariaDB tells how far its disk is, so that the mark need not wait for it.
        let seen = match server.flavour() {
            Flavour::Mariadb => Some(answers.recv().unwrap().unwrap()),
            Flavour::Mysql => answers.recv_timeout(A_MOMENT).ok().map(Result::unwrap),
        };
        server.cut_power(disk);
        first.join().unwrap().unwrap_err();
        seen
    });
    server.restart();
    let next = append_one(&writer);
    if let Some(seen) = seen {
        assert_eq!(seen.as_i64(), before, "{next} was seen before it was stored");
    }
    assert_eq!(mark(&follower), next);
}

fn nothing_acknowledged_or_followed_is_lost_or_replaced(server: &MysqlServer, disk: &Disk, database: &Database) {
    let [writer, follower] = [(); 2].map(|()| open(database));
    disk.slow(Duration::from_millis(4));
    let ends = AtomicBool::new(false);
    let acknowledged = Mutex::new(Vec::new());
    let (told, enough) = mpsc::channel();
    let (checkpoint, seen) = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ends.load(Ordering::Acquire) {
                    let events = [deposited(1), deposited(2)];
                    if writer.append(&account(), ExpectedVersion::NoStream, &events).is_ok() {
                        let ids = events.map(|event| event.event_id());
                        acknowledged.lock().unwrap().extend(ids);
                    }
                }
            });
        }
        let (acknowledged, ends, follower) = (&acknowledged, &ends, &follower);
        let follows = scope.spawn(move || {
            let (mut checkpoint, mut seen) = (GlobalSequence::ZERO, HashMap::new());
            while !ends.load(Ordering::Acquire) {
                let mut events = follower.read(EventQuery::new().after(checkpoint));
                for event in events.by_ref() {
                    let Ok(event) = event else { break };
                    assert!(event.global_sequence > checkpoint);
                    seen.insert(event.global_sequence, event.event_id);
                }
                checkpoint = checkpoint.max(events.checkpoint());
                if seen.len() > 50 && acknowledged.lock().unwrap().len() > 50 {
                    let _ = told.send(()); // again and again, while nobody listens any more
                }
            }
            (checkpoint, seen)
        });
        enough.recv().unwrap();
        server.cut_power(disk);
        ends.store(true, Ordering::Release);
        follows.join().unwrap()
    });
    server.restart();
    let stored: HashMap<_, _> = all_events(&writer)
        .iter()
        .map(|event| (event.global_sequence, event.event_id))
        .collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    for id in acknowledged {
        assert!(stored.values().any(|stored| *stored == id), "acknowledged, and lost");
    }
    for (sequence, id) in &seen {
        assert_eq!(stored.get(sequence), Some(id), "{sequence} was followed, and is lost");
    }
    // What is beyond the checkpoint is all that the follower has not seen.
    let passed = stored.keys().filter(|sequence| **sequence <= checkpoint);
    assert_eq!(passed.count(), seen.len());
    let next = append_one(&writer);
    assert_eq!(mark(&follower), next);
}

fn a_log_that_was_cut_off_is_told_and_what_was_proved_of_it_is_dropped(server: &MysqlServer) {
    for cut in ["DELETE FROM events WHERE global_sequence > 1", "TRUNCATE TABLE events"] {
        let (database, store) = fresh(server);
        let follower = builder(&database).open().unwrap();
        let last = (0..3).map(|_| append_one(&store)).max().unwrap();
        let checkpoint = GlobalSequence::try_from(mark(&store)).unwrap();
        assert_eq!(checkpoint.as_i64(), last);
        run(&mut client(&database), cut);
        let left = all_events(&follower).len() as u64;
        let is_told = |error: &Error| match error.kind() {
            ErrorKind::BeyondEnd { position, end } => (position.get(), end.get()) == (3, left),
            _ => false,
        };
        // Once: then this store knows no more than any other.
        let error = store.high_water_mark().unwrap_err();
        assert!(is_told(&error), "{error:?}");
        assert_eq!(store.high_water_mark().unwrap().get(), left);
        // A checkpoint stays beyond the end, in every store.
        for store in [&store, &follower] {
            let error = store
                .read(EventQuery::new().after(checkpoint))
                .next()
                .unwrap()
                .unwrap_err();
            assert!(is_told(&error), "{error:?}");
            assert!(!error.is_retryable());
        }
        assert_eq!(all_events(&store).len() as u64, left);
        let next = append_one(&store);
        assert_eq!(mark(&store), next);
    }
}
