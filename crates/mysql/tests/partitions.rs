//! A log in partitions: how it gets them, that one is always ahead, and what others do to it meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::operate::{
    Archiving, Diagnosis, FindingKind, IndexState, Operations, RestorePoint, Severity, attach,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Order, SnapshotAt, SummaryQuery};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Row, TxOpts};
use firefly_eventstore_mysql::{Indexes, MysqlEventStore, MysqlTransaction, Partitions};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer};

use crate::support::{
    account, all_events, builder, client, deposited, fresh, on_both, run, until_a_statement_waits,
    until_somebody_waits_for_a_table,
};

on_both!(
    a_partition_is_always_ahead_of_the_log,
    a_store_that_is_opened_without_the_choice_finds_what_is_there,
    only_an_empty_log_is_partitioned,
    a_choice_that_was_cut_off_is_made_by_the_next_migration,
    partitions_are_added_while_others_append_read_and_add,
    a_store_opens_while_partitions_are_added,
    a_server_that_dies_while_partitions_are_added_loses_nothing,
    readers_miss_nothing_while_writers_roll_back_and_partitions_are_added,
    who_holds_the_log_is_waited_for_briefly_and_not_cut_off,
    a_transaction_that_began_before_a_partition_is_added_goes_on,
    an_append_in_a_transaction_of_the_caller_goes_on_beside_a_partition_that_is_added,
    transactions_and_imports_succeed_while_partitions_are_added,
    a_large_last_partition_is_not_copied_while_others_append,
    an_append_that_expects_what_is_not_there_is_refused_by_the_trigger_and_the_check,
    a_log_without_its_triggers_refuses_every_append,
    what_other_programs_write_has_its_keys,
    another_program_cannot_store_an_id_or_a_version_twice,
    emptied_partitions_are_joined_and_their_events_come_back,
    a_log_whose_other_writers_are_covered_is_archived_and_goes_on,
    an_optional_index_that_is_made_later_is_in_the_order_of_the_log,
    the_store_is_sound_and_says_so,
    what_is_lost_or_without_keys_is_found,
    a_page_is_found_in_its_order_without_a_sort,
    a_stream_is_looked_up_in_one_partition_for_each_event,
    a_log_in_partitions_is_restored_into_one_table,
);

/// There, adding a partition would abort the appends of every node.
#[test]
fn a_node_of_a_cluster_keeps_its_log_in_one_table() {
    let Some(nodes) = MysqlServer::cluster_unless_missing(Flavour::Mariadb.forgetful()) else {
        return;
    };
    let database = nodes[0].new_database();
    let chosen = || builder(&database).partitions(Partitions::by_events(10));
    for error in [
        chosen().migrate().unwrap_err(),
        chosen().migrate_on_open(true).open().unwrap_err(),
        builder(&database)
            .convert_to_partitions(Partitions::by_events(10), |_| ())
            .unwrap_err(),
    ] {
        assert!(
            error.is_invalid_input() && error.to_string().contains("Galera"),
            "{error:?}"
        );
    }
    // It is a store as ever, which nothing was begun in.
    let store = builder(&database).only_writer(true).open().unwrap();
    append(&store, 3);
    assert_eq!(all_events(&store).len(), 3);
    assert!(ranges(&database).is_empty());
    assert_eq!(store.add_partitions().unwrap(), None);
    assert!(
        store
            .diagnose()
            .unwrap()
            .iter()
            .all(|told| told.subject != "partitions")
    );
}

/// A store in partitions of so many events.
fn partitioned(server: &MysqlServer, events: u64) -> (Database, MysqlEventStore) {
    let database = server.new_database();
    let store = builder(&database)
        .indexes(Indexes::Full)
        .partitions(Partitions::by_events(events))
        .migrate_on_open(true)
        .open()
        .unwrap();
    (database, store)
}

/// What each partition ends before, none for the last one; and how many events each has.
fn ranges(database: &Database) -> Vec<(Option<i64>, u64)> {
    let mut client = client(database);
    let partitions: Vec<(String, String)> = client
        .query(
            "SELECT partition_name, partition_description FROM information_schema.partitions
             WHERE table_schema = DATABASE() AND table_name = 'events' AND partition_name IS NOT NULL ORDER BY partition_ordinal_position",
        )
        .unwrap();
    let range = |(name, end): (String, String)| {
        let count = format!("SELECT COUNT(*) FROM events PARTITION ({name})");
        (end.parse().ok(), client.query_first(count).unwrap().unwrap())
    };
    partitions.into_iter().map(range).collect()
}

fn append(store: &MysqlEventStore, events: u64) -> AggregateKey {
    let key = account();
    let events: Vec<NewEvent> = (0..events).map(deposited).collect();
    store.append(&key, ExpectedVersion::NoStream, &events).unwrap();
    key
}

/// Each event of the log has its keys, and there are no others.
fn assert_keys(store: &MysqlEventStore) {
    assert_eq!(store.check_storage().unwrap(), []);
}

fn told(store: &MysqlEventStore, subject: &str) -> Diagnosis {
    let told = store.diagnose().unwrap();
    told.into_iter().find(|told| told.subject == subject).unwrap()
}

fn a_partition_is_always_ahead_of_the_log(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    assert_eq!(ranges(&database), [(Some(11), 0), (None, 0)]);
    assert_eq!(
        store.add_partitions().unwrap().unwrap(),
        "the log has 2, and needs no more"
    );
    append(&store, 1);
    assert_eq!(store.add_partitions().unwrap().unwrap(), "the log has 3, 1 of them new");
    assert_eq!(ranges(&database), [(Some(11), 1), (Some(21), 0), (None, 0)]);
    // The last one takes what comes when nobody made another, and is cut where nothing was appended yet.
    append(&store, 25);
    assert_eq!(ranges(&database), [(Some(11), 10), (Some(21), 10), (None, 6)]);
    let before = told(&store, "partitions");
    assert_eq!(before.severity, Severity::Warning, "{before:?}");
    store.add_partitions().unwrap();
    let filled = [(Some(11), 10), (Some(21), 10), (Some(37), 6), (None, 0)];
    assert_eq!(ranges(&database), filled);
    let after = told(&store, "partitions");
    assert_eq!(after.severity, Severity::Good, "{after:?}");
    assert_eq!(all_events(&store).len(), 26);
    append(&store, 1);
    let sequences: Vec<i64> = all_events(&store)
        .iter()
        .map(|event| event.global_sequence.as_i64())
        .collect();
    assert_eq!(sequences, (1..=27).collect::<Vec<_>>());
    assert_keys(&store);
}

fn a_store_that_is_opened_without_the_choice_finds_what_is_there(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    append(&store, 15);
    let other = builder(&database).open().unwrap();
    append(&other, 15);
    assert_eq!(all_events(&other), all_events(&store));
    assert_eq!(builder(&database).migrate().unwrap(), []);
    assert_eq!(builder(&database).pending().unwrap(), []);
    assert_eq!(ranges(&database).len(), 2);
    // Another choice is for partitions to come.
    builder(&database)
        .partitions(Partitions::by_events(100))
        .migrate()
        .unwrap();
    other.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(Some(11), 10), (Some(131), 20), (None, 0)]);
}

fn only_an_empty_log_is_partitioned(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let by_events = |events| {
        let builder = builder(&database).partitions(Partitions::by_events(events));
        builder.migrate_on_open(true).open()
    };
    assert_eq!(store.add_partitions().unwrap(), None);
    for none in [0, u64::MAX] {
        assert!(by_events(none).unwrap_err().is_invalid_input());
    }
    for other in [
        Partitions::by_month(),
        Partitions::by_aggregate_type(["order", "customer"]),
    ] {
        let error = builder(&database).partitions(other).migrate().unwrap_err();
        assert!(error.is_invalid_input(), "{error:?}");
        assert!(error.to_string().contains("choose Partitions::by_events"), "{error}");
    }
    append(&store, 1);
    assert!(by_events(10).unwrap_err().is_invalid_input());
    let tables: Vec<String> = client(&database)
        .query("SHOW TABLES LIKE 'firefly_event_keys'")
        .unwrap();
    assert!(tables.is_empty());
    run(&mut client(&database), "DELETE FROM events");

    let partitioned = by_events(10).unwrap();
    append(&partitioned, 1);
    // Who opened it before finds out.
    store.append(&account(), ExpectedVersion::Any, &[deposited(1)]).unwrap();
    append(&store, 1);
    assert_eq!(all_events(&partitioned).len(), 3);
    assert_keys(&partitioned);
}

/// Each statement commits by itself.
fn a_choice_that_was_cut_off_is_made_by_the_next_migration(server: &MysqlServer) {
    let whole = |database: &Database| ranges(database).is_empty();
    for statements in 1..9 {
        let database = server.new_database();
        builder(&database).migrate().unwrap();
        let made = [
            include_str!("../sql/partitions/keys.sql").split(";\n").next().unwrap(),
            include_str!("../sql/partitions/keys.sql").split(";\n").nth(1).unwrap(),
            include_str!("../sql/partitions/keys.sql").split(";\n").nth(2).unwrap(),
            include_str!("../sql/partitions/keys.sql").split(";\n").nth(3).unwrap(),
            include_str!("../sql/partitions/guard.sql"),
            include_str!("../sql/partitions/keep_keys.sql"),
            include_str!("../sql/partitions/forget_keys.sql"),
            include_str!("../sql/partitions/correct_keys.sql"),
        ];
        let mut dying = client(&database);
        let collation: Option<String> = dying
            .query_first("SELECT table_collation FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'events'")
            .unwrap();
        for statement in &made[..statements] {
            run(
                &mut dying,
                &statement.replace("{collation}", collation.as_deref().unwrap()),
            );
        }
        // The store works meanwhile.
        let store = builder(&database).open().unwrap();
        assert!(whole(&database));
        let is_kept = statements == made.len();
        if is_kept {
            append(&store, 3);
            let told = told(&store, "partitions");
            assert_eq!(told.severity, Severity::Notice, "{told:?}");
        }
        drop(store);
        let store = builder(&database)
            .partitions(Partitions::by_events(10))
            .migrate_on_open(true)
            .open()
            .unwrap();
        assert!(!whole(&database), "{statements}");
        append(&store, 3);
        assert_keys(&store);
    }
}

fn partitions_are_added_while_others_append_read_and_add(server: &MysqlServer) {
    let (database, store) = partitioned(server, 20);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let key = account();
                for amount in 0..50 {
                    store.append(&key, ExpectedVersion::Any, &[deposited(amount)]).unwrap();
                    assert_eq!(store.load(&key).unwrap().version(), amount + 1);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while all_events(&store).len() < 300 {
                    match store.add_partitions() {
                        Err(error) if !error.is_retryable() => panic!("{error:?}"),
                        _ => {}
                    }
                }
            });
        }
    });
    store.add_partitions().unwrap();
    let ranges = ranges(&database);
    assert!(ranges.len() > 5, "{ranges:?}");
    assert_eq!(ranges.iter().map(|(_, events)| events).sum::<u64>(), 300);
    let sequences: Vec<_> = all_events(&store).iter().map(|event| event.global_sequence).collect();
    assert!(sequences.is_sorted());
    assert_keys(&store);
}

/// While a statement changes the table, a server may show a schema without it, or as one table.
fn a_store_opens_while_partitions_are_added(server: &MysqlServer) {
    let (database, store) = partitioned(server, 1);
    let is_over = AtomicBool::new(false);
    let opened = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let mut opened = 0;
            while !is_over.load(Ordering::Acquire) {
                let store = builder(&database).open().unwrap();
                assert_eq!(told(&store, "keys of events").severity, Severity::Good);
                opened += 1;
            }
            opened
        });
        for _ in 0..40 {
            append(&store, 1);
            store.add_partitions().unwrap();
        }
        is_over.store(true, Ordering::Release);
        opening.join().unwrap()
    });
    assert!(opened > 2, "{opened}");
}

/// A server that dies at any moment of a statement that changes the table has changed it or not.
fn a_server_that_dies_while_partitions_are_added_loses_nothing(server: &MysqlServer) {
    let server = MysqlServer::start(server.flavour(), &[]).unwrap();
    let (database, store) = partitioned(&server, 2);
    // It does not wait for the server to come back.
    let dying = builder(&database).pool_timeout(Duration::from_secs(1)).open().unwrap();
    let mut acknowledged: Vec<EventEnvelope> = Vec::new();
    for round in 0..3 {
        let is_dead = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while dying.add_partitions().is_ok() && !is_dead.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            });
            let appending = scope.spawn(|| {
                let mut appended = Vec::new();
                while !is_dead.load(Ordering::Acquire)
                    && let Ok(one) = dying.append(&account(), ExpectedVersion::NoStream, &[deposited(round)])
                {
                    appended.push(one.last_sequence().unwrap());
                }
                appended
            });
            thread::sleep(Duration::from_millis(100 + fastrand::u64(..150)));
            server.kill("KILL");
            is_dead.store(true, Ordering::Release);
            let appended = appending.join().unwrap();
            server.restart();
            let stored = all_events(&builder(&database).open().unwrap());
            let is_stored = |sequence| stored.iter().any(|event| event.global_sequence == sequence);
            assert!(appended.into_iter().all(is_stored));
            assert!(stored.starts_with(&acknowledged), "{round}");
            acknowledged = stored;
        });
        assert_keys(&store);
        assert_eq!(told(&store, "keys of events").severity, Severity::Good);
        append(&store, 3);
        store.add_partitions().unwrap();
        assert_eq!(ranges(&database).last().unwrap(), &(None, 0));
        acknowledged = all_events(&store);
    }
}

/// A transaction of one to three appends, with pauses, some of which are rolled back at their end.
fn write_with_pauses(store: &MysqlEventStore, random: &mut fastrand::Rng) {
    let gives_up = random.u8(..100) < 15;
    let appends = random.u8(1..=3);
    let result = store.transaction(|transaction| {
        for _ in 0..appends {
            transaction.append(&account(), ExpectedVersion::NoStream, &[deposited(1), deposited(2)])?;
            thread::sleep(Duration::from_micros(random.u64(..3_000)));
        }
        match gives_up {
            true => Err(Error::invalid("changed my mind")),
            false => Ok(()),
        }
    });
    assert_eq!(result.is_err(), gives_up, "{result:?}");
}

fn readers_miss_nothing_while_writers_roll_back_and_partitions_are_added(server: &MysqlServer) {
    let (database, store) = partitioned(server, 50);
    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut checkpoint) = (Vec::new(), GlobalSequence::ZERO);
            loop {
                let was_over = is_over.load(Ordering::Acquire);
                let mut events = store.read(EventQuery::new().after(checkpoint));
                seen.extend(events.by_ref().map(|event| event.unwrap().global_sequence.as_i64()));
                checkpoint = events.checkpoint();
                if was_over {
                    return seen;
                }
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                match store.add_partitions() {
                    Err(error) if !error.is_retryable() => panic!("{error:?}"),
                    _ => thread::yield_now(),
                }
            }
        });
        let writers = [0, 1, 2, 3].map(|seed| {
            let store = &store;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                (0..40).for_each(|_| write_with_pauses(store, &mut random));
            })
        });
        let written = writers.map(thread::ScopedJoinHandle::join);
        is_over.store(true, Ordering::Release);
        written.into_iter().for_each(Result::unwrap);
        reader.join().unwrap()
    });
    assert!(seen.is_sorted());
    let stored: BTreeSet<i64> = client(&database)
        .query("SELECT global_sequence FROM events")
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), stored);
    assert!(ranges(&database).len() > 3);
    assert_keys(&store);
}

fn who_holds_the_log_is_waited_for_briefly_and_not_cut_off(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    append(&store, 5);
    store
        .transaction(|transaction| -> Result<(), Error> {
            transaction.append(&account(), ExpectedVersion::Any, &[deposited(1)])?;
            let other = builder(&database).open().unwrap();
            let error = other.add_partitions().unwrap_err();
            assert!(error.is_retryable(), "{error:?}");
            append(&other, 1);
            Ok(())
        })
        .unwrap();
    assert_eq!(ranges(&database), [(Some(11), 7), (None, 0)]);
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(Some(11), 7), (Some(21), 0), (None, 0)]);
}

/// The server takes back a transaction that wants a table after one that the addition of a partition waits for (1213).
fn a_transaction_that_began_before_a_partition_is_added_goes_on(server: &MysqlServer) {
    let begin: [fn(&mut MysqlTransaction<'_>, &AggregateKey); 2] =
        [|_, _| (), |transaction, key| drop(transaction.load(key).unwrap())];
    for begin in begin {
        let (database, store) = partitioned(server, 10);
        let key = append(&store, 5);
        let adding = builder(&database).open().unwrap();
        thread::scope(|scope| {
            let transaction = store.transaction(|transaction| -> Result<(), Error> {
                begin(transaction, &key);
                scope.spawn(|| adding.add_partitions());
                until_somebody_waits_for_a_table(&database);
                transaction.append(&key, ExpectedVersion::Any, &[deposited(1)])?;
                transaction.load(&key)?;
                Ok(())
            });
            transaction.unwrap();
        });
        assert_eq!(store.load(&key).unwrap().version(), 6);
        assert_keys(&store);
    }
}

fn an_append_in_a_transaction_of_the_caller_goes_on_beside_a_partition_that_is_added(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    let key = append(&store, 5);
    let adding = builder(&database).open().unwrap();
    let mut caller = client(&database);
    run(
        &mut caller,
        "CREATE TABLE balances (id INT PRIMARY KEY) ENGINE = InnoDB",
    );
    thread::scope(|scope| {
        let mut appending = None;
        let first = store.transaction(|transaction| -> Result<(), Error> {
            transaction.append(&key, ExpectedVersion::Any, &[deposited(1)])?;
            appending = Some(scope.spawn(|| {
                let mut transaction = caller.start_transaction(TxOpts::default()).unwrap();
                transaction.query_drop("INSERT INTO balances VALUES (1)").unwrap();
                let events = [deposited(2)];
                let append = [Append::new(&key, ExpectedVersion::Any, &events)];
                store.append_within(&mut transaction, &append)?;
                transaction.commit().unwrap();
                Ok::<_, Error>(())
            }));
            until_a_statement_waits(&database, "firefly_event_keys");
            scope.spawn(|| adding.add_partitions());
            until_somebody_waits_for_a_table(&database);
            Ok(())
        });
        first.unwrap();
        appending.unwrap().join().unwrap().unwrap();
    });
    assert_eq!(store.load(&key).unwrap().version(), 7);
}

fn transactions_and_imports_succeed_while_partitions_are_added(server: &MysqlServer) {
    let (database, store) = partitioned(server, 5);
    let (_elsewhere, source) = partitioned(server, 5);
    append(&source, 30);
    let shared = append(&store, 1);
    let is_over = AtomicBool::new(false);
    let import = || {
        for mut event in all_events(&source) {
            let end: Option<i64> = client(&database)
                .query_first("SELECT MAX(global_sequence) FROM firefly_event_keys")
                .unwrap();
            // Beyond what the others append meanwhile.
            event.global_sequence = GlobalSequence::try_from(end.unwrap() + 1_000).unwrap();
            store.import_events(&[event]).unwrap();
        }
    };
    let write = || {
        for amount in 0..40 {
            let own = account();
            let appended = store.transaction(|transaction| -> Result<(), Error> {
                transaction.load(&own)?;
                transaction.append(&own, ExpectedVersion::Any, &[deposited(amount)])?;
                transaction.load(&own)?;
                transaction.append(&own, ExpectedVersion::Exists, &[deposited(amount)])?;
                transaction.append(&shared, ExpectedVersion::Any, &[deposited(amount)])?;
                Ok(())
            });
            appended.unwrap();
        }
    };
    let write_within = || {
        let mut caller = client(&database);
        let mut appended = 0;
        while appended < 40 {
            let mut transaction = caller.start_transaction(TxOpts::default()).unwrap();
            let (own, events) = (account(), [deposited(appended)]);
            let append = [Append::new(&own, ExpectedVersion::Any, &events)];
            match store.append_within(&mut transaction, &append) {
                Ok(_) => {
                    transaction.commit().unwrap();
                    appended += 1;
                }
                // A deadlock has rolled back the caller's transaction, which only the caller can repeat.
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                match store.add_partitions() {
                    Err(error) if !error.is_retryable() => panic!("{error:?}"),
                    _ => thread::yield_now(),
                }
            }
        });
        let work: [&(dyn Fn() + Sync); 4] = [&import, &write, &write, &write_within];
        let workers = work.map(|work| scope.spawn(work));
        let worked = workers.map(thread::ScopedJoinHandle::join);
        is_over.store(true, Ordering::Release);
        worked.into_iter().for_each(Result::unwrap);
    });
    let ranges = ranges(&database);
    assert!(ranges.len() > 3, "{ranges:?}");
    assert_keys(&store);
}

fn a_large_last_partition_is_not_copied_while_others_append(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    append(&store, 1);
    let far = "INSERT INTO events (global_sequence, event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
               VALUES (20000, REPEAT('a', 16), REPEAT('a', 16), 'Account', 1, 'money.deposited', '{}')";
    run(&mut client(&database), far);
    let error = store.add_partitions().unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    let text = format!("{error:#}");
    let by_hand = &text[text.find("ALTER TABLE").unwrap()..text.find("; UNLOCK").unwrap()];
    run(&mut client(&database), by_hand);
    append(&store, 1);
    store.add_partitions().unwrap();
    let split = [(Some(11), 1), (Some(20_011), 2), (Some(20_021), 0), (None, 0)];
    assert_eq!(ranges(&database), split);
}

fn an_append_that_expects_what_is_not_there_is_refused_by_the_trigger_and_the_check(server: &MysqlServer) {
    let (database, store) = partitioned(server, 2);
    let key = append(&store, 3);
    for wrong in [1, 2, 4, 9] {
        let error = store.append(&key, Version::from(wrong), &[deposited(1)]).unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
    }
    let other = AggregateKey::new("Wallet", key.id()).unwrap();
    store.append(&other, Version::from(3), &[deposited(1)]).unwrap_err();
    store
        .append(&key, Version::from(3), &[deposited(1), deposited(2)])
        .unwrap();
    assert_eq!(store.load(&key).unwrap().version(), 5);
    // Without the trigger, nothing is looked up, and nothing is stored.
    run(&mut client(&database), "DROP TRIGGER trigger_events_guard");
    store.append(&key, Version::from(5), &[deposited(1)]).unwrap_err();
    assert_eq!(store.load(&key).unwrap().version(), 5);
    let told = told(&store, "keys of events");
    assert_eq!(told.severity, Severity::Danger, "{told:?}");
}

fn a_log_without_its_triggers_refuses_every_append(server: &MysqlServer) {
    let (database, store) = partitioned(server, 2);
    let key = append(&store, 3);
    let mut other = client(&database);
    // So is a log that was restored from a dump without triggers.
    for trigger in ["guard", "keys", "keys_deleted", "keys_updated"] {
        run(&mut other, &format!("DROP TRIGGER trigger_events_{trigger}"));
    }
    let fresh = account();
    let two = [deposited(1), deposited(2)];
    for (key, expected) in [
        (&key, ExpectedVersion::Any),
        (&key, ExpectedVersion::Exact(3.into())),
        (&key, ExpectedVersion::Exists),
        (&fresh, ExpectedVersion::Any),
        (&fresh, ExpectedVersion::NoStream),
    ] {
        store.append(key, expected, &two).unwrap_err();
        store.transaction(|tx| tx.append(key, expected, &two)).unwrap_err();
    }
    assert_eq!(store.load(&key).unwrap().version(), 3);
    assert_eq!(all_events(&store).len(), 3);
    let told = told(&store, "keys of events");
    assert_eq!(told.severity, Severity::Danger, "{told:?}");
}

/// A statement that inserts so many events, in aggregates of their own.
fn insert(how: &str, ids: &[&str]) -> String {
    let rows: Vec<String> = ids
        .iter()
        .map(|id| {
            format!("(REPEAT('{id}', 16), REPEAT('{id}', 16), 'Account', 1, 'money.deposited', '{{\"amount\": 1}}')")
        })
        .collect();
    format!(
        "{how} INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data) VALUES {}",
        rows.join(", ")
    )
}

fn what_other_programs_write_has_its_keys(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    let mut other = client(&database);
    run(&mut other, &insert("INSERT", &["a", "b", "c", "d", "e", "f"]));
    run(&mut other, &insert("REPLACE", &["g", "h"]));
    run(&mut other, &insert("INSERT IGNORE", &["i", "j", "k", "l"]));
    for statement in [
        "UPDATE events SET aggregate_type = 'Wallet', tenant_id = 'acme' WHERE global_sequence = 2",
        "UPDATE events SET event_type = 'other' WHERE global_sequence = 5",
        "DELETE FROM events WHERE global_sequence IN (6, 11)",
        "UPDATE events SET global_sequence = 20 WHERE global_sequence = 3",
        "REPLACE INTO events (global_sequence, event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
             VALUES (20, REPEAT('m', 16), REPEAT('m', 16), 'Account', 1, 'money.deposited', '{}')",
        "INSERT INTO events PARTITION (events_from_11)
                 (global_sequence, event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
             VALUES (20, REPEAT('m', 16), REPEAT('n', 16), 'Account', 1, 'money.deposited', '{}')
             ON DUPLICATE KEY UPDATE aggregate_version = 7",
    ] {
        run(&mut other, statement);
    }
    assert_keys(&store);
    assert_eq!(all_events(&store).len(), 10);
    let moved = Uuid::from_bytes([b'm'; 16]);
    let last = all_events(&store).pop().unwrap();
    assert_eq!((last.event_id, last.version.as_i64()), (moved, 7));
    run(&mut other, "DELETE FROM events");
    assert_keys(&store);
}

fn another_program_cannot_store_an_id_or_a_version_twice(server: &MysqlServer) {
    let (database, store) = partitioned(server, 2);
    let mut other = client(&database);
    run(&mut other, &insert("INSERT", &["a", "b", "c"]));
    let refused = |other: &mut Conn, statement: &str| {
        other.query_drop(statement).expect_err(statement);
    };
    for how in ["INSERT", "INSERT IGNORE", "REPLACE"] {
        refused(&mut other, &insert(how, &["x", "a"]));
    }
    refused(
        &mut other,
        &(insert("INSERT", &["a"]) + " ON DUPLICATE KEY UPDATE event_type = 'other'"),
    );
    for set in ["event_id = REPEAT('a', 16)", "aggregate_id = REPEAT('a', 16)"] {
        for how in ["UPDATE", "UPDATE IGNORE"] {
            refused(&mut other, &format!("{how} events SET {set} WHERE global_sequence = 3"));
        }
    }
    assert_eq!(all_events(&store).len(), 3);
    assert_keys(&store);
}

fn emptied_partitions_are_joined_and_their_events_come_back(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    for _ in 0..9 {
        append(&store, 5);
        store.add_partitions().unwrap();
    }
    let before = all_events(&store);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive.jsonl");
    Archiving::until(35).into_file(&store, &path, |_| {}).unwrap();
    assert!(ranges(&database).len() >= 5);
    store.add_partitions().unwrap();
    let left = [(Some(31), 0), (Some(41), 5), (Some(51), 5), (Some(61), 0), (None, 0)];
    assert_eq!(ranges(&database), left);
    // A name that a replaced partition had could be left in the way by a server that dies.
    let first = "SELECT partition_name FROM information_schema.partitions
                 WHERE table_schema = DATABASE() AND table_name = 'events' AND partition_ordinal_position = 1";
    let first: Option<String> = client(&database).query_first(first).unwrap();
    assert_eq!(first.as_deref(), Some("events_from_1_to_30"));
    assert_keys(&store);
    let key = append(&store, 5);
    store.append(&key, Version::from(5), &[deposited(1)]).unwrap();
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    attach(&store, file, |_| {}).unwrap();
    assert_eq!(all_events(&store)[..before.len()], before);
    assert_keys(&store);
}

/// Two triggers look at a version before it is stored.
fn a_log_whose_other_writers_are_covered_is_archived_and_goes_on(server: &MysqlServer) {
    for covered_first in [true, false] {
        let database = server.new_database();
        if covered_first {
            builder(&database).cover_other_writers(true).migrate().unwrap();
        }
        builder(&database)
            .partitions(Partitions::by_events(10))
            .migrate()
            .unwrap();
        let store = builder(&database)
            .cover_other_writers(true)
            .migrate_on_open(true)
            .open()
            .unwrap();
        let key = append(&store, 8);
        append(&store, 1);
        let directory = tempfile::tempdir().unwrap();
        Archiving::until(5)
            .into_file(&store, directory.path().join("archive.jsonl"), |_| {})
            .unwrap();
        for version in [8, 9] {
            store.append(&key, Version::from(version), &[deposited(1)]).unwrap();
        }
        let error = store.append(&key, Version::from(3), &[deposited(1)]).unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
        assert_keys(&store);
    }
}

fn an_optional_index_that_is_made_later_is_in_the_order_of_the_log(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    drop(store);
    builder(&database).indexes(Indexes::Lean).migrate().unwrap();
    builder(&database).indexes(Indexes::Full).migrate().unwrap();
    let last: Vec<(String, String)> = client(&database)
        .query(
            "SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index) FROM information_schema.statistics
             WHERE table_schema = DATABASE() AND table_name = 'events' GROUP BY index_name",
        )
        .unwrap();
    assert_eq!(last.len(), 12, "{last:?}");
    assert!(
        last.iter().all(|(_, columns)| columns.ends_with("global_sequence")),
        "{last:?}"
    );
}

fn the_store_is_sound_and_says_so(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    append(&store, 25);
    assert_keys(&store);
    let usage = store.index_usage().unwrap();
    let is_strange = |state: &IndexState| *state != IndexState::Present;
    let strange: Vec<_> = usage.iter().filter(|index| is_strange(&index.state)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    for done in [store.update_statistics().unwrap(), store.vacuum().unwrap()] {
        assert!(done.contains("firefly_event_keys"), "{done}");
    }
    assert_eq!(told(&store, "keys of events").severity, Severity::Good);
    run(
        &mut client(&database),
        "ALTER TABLE firefly_event_keys DROP INDEX idx_events_aggregate_version",
    );
    let error = builder(&database).open().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Schema(_)), "{error:?}");
}

fn what_is_lost_or_without_keys_is_found(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    append(&store, 25);
    run(
        &mut client(&database),
        "ALTER TABLE events TRUNCATE PARTITION events_from_1_to_10",
    );
    let found = store.check_storage().unwrap();
    let [lost] = &found[..] else { panic!("{found:?}") };
    assert_eq!(lost.kind, FindingKind::Storage);
    run(
        &mut client(&database),
        "DELETE FROM firefly_event_keys WHERE global_sequence = 17 OR global_sequence < 11",
    );
    let found = store.check_storage().unwrap();
    let [without] = &found[..] else { panic!("{found:?}") };
    assert!(without.to_string().contains("17"), "{without}");
}

/// Events of some types in time order, and so many partitions as a log should have.
fn filled(server: &MysqlServer) -> (Database, MysqlEventStore) {
    let (database, store) = partitioned(server, 250);
    for number in 0..300_u64 {
        let kind = |event: u64| format!("event.{}", (number + event) % 20);
        let events: Vec<NewEvent> = (0..10)
            .map(|event| {
                NewEvent::from_json(kind(event), r#"{"amount":1}"#)
                    .unwrap()
                    .created_by("clerk")
                    .unwrap()
                    .correlation_id("sale")
                    .unwrap()
                    .metadata_json(r#"{"correlationId":"sale"}"#)
                    .unwrap()
            })
            .collect();
        let key = AggregateKey::new(format!("Type{}", number % 5), Uuid::now_v7()).unwrap();
        store.append(&key, ExpectedVersion::NoStream, &events).unwrap();
        if number % 20 == 0 {
            store.add_partitions().unwrap();
        }
    }
    store.update_statistics().unwrap();
    (database, store)
}

fn a_page_is_found_in_its_order_without_a_sort(server: &MysqlServer) {
    let (_database, store) = filled(server);
    let key = store.read(EventQuery::new()).next().unwrap().unwrap().aggregate;
    let query = || EventQuery::new().limit(100);
    for (query, index) in [
        (query(), "PRIMARY"),
        (query().after(700), "PRIMARY"),
        (query().event_types(["event.1"]).unwrap(), "idx_events_type"),
        (query().aggregate_types(["Type1"]).unwrap(), "idx_events_aggregate_type"),
        (query().aggregate_id(key.id()), "idx_events_aggregate_version"),
        (query().created_by("clerk").unwrap(), "idx_events_created_by"),
        (query().correlation_id("sale").unwrap(), "idx_events_correlation_id"),
        (query().ordered_by(Order::Time), "idx_events_created_at"),
        (
            query().event_types(["event.1"]).unwrap().ordered_by(Order::Time),
            "idx_events_type_created",
        ),
    ] {
        for query in [query.clone(), query.backwards()] {
            let plan = store.explain(&query, None).unwrap();
            assert!(plan.iter().any(|line| line.contains(index)), "{query:?}: {plan:#?}");
            assert!(
                !plan.iter().any(|line| line.contains("filesort")),
                "{query:?}: {plan:#?}"
            );
            let page: Vec<EventEnvelope> = store.read(query.clone()).collect::<Result<_, Error>>().unwrap();
            assert!(!page.is_empty());
        }
    }
}

/// How many rows the server read for the only connection of a store while `work` was done.
fn rows_read(store: &MysqlEventStore, work: impl FnOnce()) -> u64 {
    let read = || {
        let counted = store.transaction(|transaction| -> Result<u64, Error> {
            let status = "SHOW SESSION STATUS LIKE 'Handler_read%'";
            let rows: Vec<(String, u64)> = transaction.connection().query(status).unwrap();
            let is_of_tables = |name: &str| !name.contains("rnd");
            Ok(rows
                .iter()
                .filter(|(name, _)| is_of_tables(name))
                .map(|(_, count)| count)
                .sum())
        });
        counted.unwrap()
    };
    let before = read();
    work();
    read() - before
}

fn a_stream_is_looked_up_in_one_partition_for_each_event(server: &MysqlServer) {
    let (database, store) = filled(server);
    let key = store.read(EventQuery::new()).next().unwrap().unwrap().aggregate;
    drop(store);
    let store = builder(&database).max_connections(1).open().unwrap();
    let (many, events) = (account(), (0..1_000).map(deposited).collect::<Vec<_>>());
    store.append(&many, ExpectedVersion::NoStream, &events).unwrap();
    let beside = rows_read(&store, || ());
    for (what, most, work) in [
        ("load", 30, (&|| drop(store.load(&key).unwrap())) as &dyn Fn()),
        ("from a snapshot", 60, &|| {
            drop(store.load_from_snapshot(None, &key, SnapshotAt::Latest).unwrap());
        }),
        ("version", 5, &|| assert_eq!(store.version(&key).unwrap(), 10)),
        ("a repeated append", 4_500, &|| {
            let repeated = store.append(&many, ExpectedVersion::NoStream, &events).unwrap();
            assert!(repeated.is_already_stored());
        }),
        ("summaries", 100, &|| {
            assert_eq!(
                store.aggregate_summaries(&SummaryQuery::new().limit(2)).unwrap().len(),
                2
            );
        }),
    ] {
        let read = rows_read(&store, work) - beside;

        assert!(read <= most, "{what}: {read}");
    }
}

fn a_log_in_partitions_is_restored_into_one_table(server: &MysqlServer) {
    let (database, store) = partitioned(server, 10);
    append(&store, 25);
    assert_eq!(store.restore_table(RestorePoint::Sequence(17.into())).unwrap(), 17);
    let made: Option<Row> = client(&database)
        .query_first("SHOW CREATE TABLE events_restored")
        .unwrap();
    let made: String = made.unwrap().get(1).unwrap();
    assert!(!made.contains("PARTITION"), "{made}");
    store.refresh_aggregate_summaries().unwrap();
    assert_eq!(store.statistics(None).unwrap().total_events, 25);
}
