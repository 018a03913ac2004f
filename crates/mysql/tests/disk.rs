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
    let options = [("skip_log_bin", ""), ("innodb_stats_auto_recalc", "0")];
    let server = MysqlServer::start_on(&disk, server.flavour(), &options).unwrap();
    let (database, _) = fresh(&server);
    let store = open(&database);
    a_repeated_append_is_not_stored_before_it_is_on_the_disk(&server, &disk, &store);
    a_conflict_is_not_told_of_what_is_not_on_the_disk(&server, &disk, &store);
    a_follower_does_not_see_what_is_not_on_the_disk(&server, &disk, &database);
    nothing_acknowledged_or_followed_is_lost_or_replaced(&server, &disk, &database);
}

/// A store that does not wait for long for a server that is gone.
fn open(database: &Database) -> MysqlEventStore {
    builder(database).pool_timeout(Duration::from_secs(1)).open().unwrap()
}

fn a_repeated_append_is_not_stored_before_it_is_on_the_disk(
    server: &MysqlServer,
    disk: &Disk,
    store: &MysqlEventStore,
) {
    let (account, event) = (account(), [deposited(1)]);
    let answer = told_while_the_first_append_is_flushed(server, disk, || {
        store.append(&account, ExpectedVersion::NoStream, &event)
    });
    let stored = store.version(&account).unwrap();
    match answer {
        Ok(appended) => assert_eq!(stored, appended.version(), "acknowledged, and lost"),
        Err(error) => assert!(error.is_retryable(), "{error:?}"),
    }
    store.append(&account, ExpectedVersion::NoStream, &event).unwrap();
}

fn a_conflict_is_not_told_of_what_is_not_on_the_disk(server: &MysqlServer, disk: &Disk, store: &MysqlEventStore) {
    let account = account();
    let answer = told_while_the_first_append_is_flushed(server, disk, || {
        store.append(&account, ExpectedVersion::NoStream, &[deposited(1)])
    });
    let error = answer.unwrap_err();
    if let ErrorKind::Conflict { actual, .. } = error.kind() {
        assert_eq!(store.version(&account).unwrap(), *actual);
    } else {
        assert!(error.is_retryable(), "{error:?}");
    }
}

/// What an append is told, if it is told anything, while one before it is being flushed, until the power is cut.
fn told_while_the_first_append_is_flushed<R: Send>(
    server: &MysqlServer,
    disk: &Disk,
    append: impl Fn() -> Result<R, Error> + Sync,
) -> Result<R, Error> {
    disk.hold();
    let answer = thread::scope(|scope| {
        let first = scope.spawn(&append);
        disk.until_held();
        let (told, answers) = mpsc::channel();
        scope.spawn(|| {
            let told = told;
            let _ = told.send(append());
        });
        let early = answers.recv_timeout(A_MOMENT);
        server.cut_power(disk);
        assert!(first.join().unwrap().is_err(), "the first was not held up");
        early.or_else(|_| answers.recv()).unwrap()
    });
    server.restart();
    answer
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
    let seen = Mutex::new(HashMap::new());
    let mut checkpoint = GlobalSequence::ZERO;
    for _ in 0..2 {
        let [writer, follower] = [(); 2].map(|()| open(database));
        disk.slow(Duration::from_millis(4));
        let ends = AtomicBool::new(false);
        let acknowledged = Mutex::new(Vec::new());
        checkpoint = thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !ends.load(Ordering::Acquire) {
                        let events = [deposited(1), deposited(2)];
                        if writer.append(&account(), ExpectedVersion::NoStream, &events).is_ok() {
                            acknowledged
                                .lock()
                                .unwrap()
                                .extend(events.map(|event| event.event_id()));
                        }
                    }
                });
            }
            let follows = scope.spawn(|| {
                let mut checkpoint = checkpoint;
                while !ends.load(Ordering::Acquire) {
                    let mut events = follower.read(EventQuery::new().after(checkpoint));
                    for event in events.by_ref() {
                        let Ok(event) = event else { break };
                        assert!(event.global_sequence > checkpoint);
                        seen.lock().unwrap().insert(event.global_sequence, event.event_id);
                    }
                    checkpoint = checkpoint.max(events.checkpoint());
                }
                checkpoint
            });
            thread::sleep(Duration::from_millis(400));
            server.cut_power(disk);
            ends.store(true, Ordering::Release);
            follows.join().unwrap()
        });
        server.restart();
        let stored = all_events(&writer);
        let there: HashMap<_, _> = stored
            .iter()
            .map(|event| (event.global_sequence, event.event_id))
            .collect();
        let acknowledged = acknowledged.into_inner().unwrap();
        assert!(acknowledged.len() > 10, "{}", acknowledged.len());
        for id in acknowledged {
            assert!(
                stored.iter().any(|event| event.event_id == id),
                "acknowledged, and lost"
            );
        }
        let mut seen = seen.lock().unwrap();
        assert!(seen.len() > 10, "{}", seen.len());
        for (sequence, id) in seen.iter() {
            assert_eq!(there.get(sequence), Some(id), "{sequence} was followed, and is lost");
        }
        // What is beyond the checkpoint is all that the follower has not seen.
        let missed = there.keys().filter(|sequence| **sequence <= checkpoint).count();
        assert_eq!(missed, seen.len());
        seen.clear();
        seen.extend(there);
        checkpoint = GlobalSequence::try_from(mark(&follower)).unwrap();
    }
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
