//! The order of the log while writers overlap: a reader misses no event, gets none twice, and never waits.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, IsolationLevel, Opts, OptsBuilder, Transaction, TxOpts};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer, Proxy};

use crate::support::{
    account, all_events, append_one, builder, client, deposited, fresh, mark, on_both, run, until_a_statement_waits,
    until_an_append_waits, until_somebody_waits_for_a_table, write_with_delays_and_rollbacks,
};

on_both!(
    a_reader_that_follows_the_mark_misses_nothing_and_repeats_nothing,
    a_reader_that_does_not_follow_the_mark_misses_events,
    readers_miss_nothing_where_commits_are_logged,
    the_first_event_of_a_database_is_waited_for,
    a_transaction_that_allocated_before_and_after_another_does_not_hide_it,
    a_writer_with_an_old_snapshot_is_waited_for,
    a_writer_whose_sequences_go_in_other_steps_is_waited_for,
    a_writer_that_holds_many_gates_is_waited_for,
    an_append_holds_the_gate_of_its_moment_until_it_commits,
    an_append_takes_its_gate_before_its_sequence,
    a_group_takes_its_gate_before_its_sequences,
    rolled_back_holes_are_crossed,
    a_hole_is_crossed_although_some_gate_is_always_held,
    old_holes_are_crossed_by_a_store_that_is_opened_later,
    old_holes_are_crossed_beside_busy_writers_by_who_has_not_looked_for_long,
    a_gate_that_stays_held_is_waited_for_by_who_has_not_looked_for_long,
    a_mark_waits_for_no_other_where_nothing_is_missing,
    an_open_transaction_delays_only_what_comes_after_it,
    an_open_transaction_of_another_application_holds_nothing_back,
    nobody_waits_for_an_open_transaction,
    other_writers_are_covered_by_a_trigger,
    a_log_of_many_thousand_events_is_walked_to_its_end,
    transactions_on_one_new_aggregate_follow_each_other,
    an_append_in_a_transaction_with_an_old_snapshot_sees_what_was_committed_since,
    an_append_in_a_transaction_whose_snapshot_is_isolated_may_have_to_be_repeated,
);

const WRITERS: usize = 8;

/// What readers saw during the test, each in order.
struct Seen {
    sequences: Vec<Vec<i64>>,
    stored: HashSet<i64>,
}

/// Writers with transactions of one to three appends, random delays and rollbacks. Readers, each with its own store, follow the log up to
/// the end that `end_of_log` returns.
fn hammer(
    database: &Database,
    readers: usize,
    transactions: usize,
    end_of_log: impl Fn(&MysqlEventStore) -> i64 + Sync,
) -> Seen {
    let store = builder(database).open().unwrap();
    let working = AtomicBool::new(true);
    let follow = || {
        let store = builder(database).open().unwrap();
        let mut client = client(database);
        let (mut position, mut seen) = (0_i64, Vec::new());
        loop {
            let last = !working.load(Ordering::SeqCst);
            let end = end_of_log(&store);
            let select =
                "SELECT global_sequence FROM events WHERE global_sequence > ? AND global_sequence <= ? ORDER BY 1";
            seen.extend(client.exec::<i64, _, _>(select, (position, end)).unwrap());
            position = position.max(end);
            if last {
                return seen;
            }
        }
    };
    let sequences = thread::scope(|scope| {
        let mut following = Vec::new();
        for _ in 0..readers {
            following.push(scope.spawn(follow));
        }
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let store = &store;
            writers.push(scope.spawn(move || {
                let random = &mut fastrand::Rng::with_seed(writer as u64);
                for _ in 0..transactions {
                    write_with_delays_and_rollbacks(store, database.url(), random);
                }
            }));
        }
        for writer in writers {
            writer.join().unwrap();
        }
        working.store(false, Ordering::SeqCst);
        following.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let stored = client(database).query("SELECT global_sequence FROM events").unwrap();
    Seen {
        sequences,
        stored: stored.into_iter().collect(),
    }
}

fn assert_nothing_missed(seen: Seen) {
    for sequences in seen.sequences {
        assert!(sequences.is_sorted_by(|a, b| a < b), "out of order, or twice");
        assert_eq!(sequences.len(), seen.stored.len());
        assert_eq!(sequences.into_iter().collect::<HashSet<_>>(), seen.stored);
    }
}

fn a_reader_that_follows_the_mark_misses_nothing_and_repeats_nothing(server: &MysqlServer) {
    let (database, _) = fresh(server);
    assert_nothing_missed(hammer(&database, 2, 100, mark));
}

fn a_reader_that_does_not_follow_the_mark_misses_events(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let reader = std::sync::Mutex::new(client(&database));
    let seen = hammer(&database, 1, 50, |_| {
        let greatest = "SELECT COALESCE(MAX(global_sequence), 0) FROM events";
        reader.lock().unwrap().query_first(greatest).unwrap().unwrap()
    });
    assert!(
        seen.sequences[0].len() < seen.stored.len(),
        "the hammer finds nothing: all {} events were seen",
        seen.stored.len()
    );
}

/// With a binary log, a commit has two phases. Locks must be held until the second one.
fn readers_miss_nothing_where_commits_are_logged(server: &MysqlServer) {
    let options = [("log_bin", "binlog"), ("server_id", "1")];
    let server = MysqlServer::start_forgetful(server.flavour(), &options).unwrap();
    let (database, _) = fresh(&server);
    assert_nothing_missed(hammer(&database, 1, 60, mark));
}

fn the_first_event_of_a_database_is_waited_for(server: &MysqlServer) {
    let (database, store) = fresh(server);
    builder(&database)
        .open()
        .unwrap()
        .transaction(|tx| {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            append_one(&store);
            assert_eq!(mark(&store), 0);
            assert!(all_events(&store).is_empty());
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(mark(&store), 2);
    assert_eq!(all_events(&store).len(), 2);
}

fn a_transaction_that_allocated_before_and_after_another_does_not_hide_it(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let one = || [deposited(1)];
    builder(&database)
        .open()
        .unwrap()
        .transaction(|b| {
            store.transaction(|a| {
                a.append(&account(), ExpectedVersion::NoStream, &one())?;
                b.append(&account(), ExpectedVersion::NoStream, &one())?;
                a.append(&account(), ExpectedVersion::NoStream, &one())?;
                Ok::<_, Error>(())
            })?;
            assert_eq!(mark(&store), 1, "2 is not committed yet");
            thread::sleep(Duration::from_millis(100));
            assert_eq!(mark(&store), 1, "2 is not committed yet");
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(mark(&store), 3);
}

fn a_writer_with_an_old_snapshot_is_waited_for(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    let isolation = TxOpts::default()
        .set_isolation_level(Some(IsolationLevel::RepeatableRead))
        .set_with_consistent_snapshot(true);
    let mut old = other.start_transaction(isolation).unwrap();
    for _ in 0..3 {
        append_one(&store);
    }
    assert_eq!(mark(&store), 3);
    let account = account();
    let events = [deposited(1)];
    let append = [Append::new(&account, ExpectedVersion::NoStream, &events)];
    store.append_within(&mut old, &append).unwrap();
    append_one(&store);
    for _ in 0..20 {
        assert_eq!(mark(&store), 3);
        thread::sleep(Duration::from_millis(5));
    }
    old.commit().unwrap();
    assert_eq!(mark(&store), 5);
}

fn a_writer_whose_sequences_go_in_other_steps_is_waited_for(server: &MysqlServer) {
    let steps = [("auto_increment_increment", "5"), ("auto_increment_offset", "3")];
    let server = MysqlServer::start_forgetful(server.flavour(), &steps).unwrap();
    let (database, store) = fresh(&server);
    let mut other = client(&database);
    run(
        &mut other,
        "SET SESSION auto_increment_increment = 1, SESSION auto_increment_offset = 1",
    );
    assert_eq!(append_one(&store), 3);
    let (known, events) = (account(), [deposited(1)]);
    let append = [Append::new(&known, ExpectedVersion::NoStream, &events)];
    let mut first = other.start_transaction(TxOpts::default()).unwrap();
    let appended = store.append_within(&mut first, &append).unwrap();
    assert_eq!(appended[0].last_sequence().unwrap().as_i64(), 8);
    first.commit().unwrap();
    assert_eq!(mark(&store), 8);

    let events = [deposited(2)];
    let append = [Append::new(&known, Version::from(1), &events)];
    let mut between = other.start_transaction(TxOpts::default()).unwrap();
    let appended = store.append_within(&mut between, &append).unwrap();
    assert_eq!(appended[0].last_sequence().unwrap().as_i64(), 9);
    assert_eq!(append_one(&store), 13);
    for _ in 0..20 {
        assert_eq!(mark(&store), 8);
        thread::sleep(Duration::from_millis(5));
    }
    between.commit().unwrap();
    assert_eq!(mark(&store), 13);
}

fn a_writer_that_holds_many_gates_is_waited_for(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let result = builder(&database).open().unwrap().transaction(|tx| {
        for _ in 0..20 {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            append_one(&store);
            assert_eq!(mark(&store), 0);
            thread::sleep(Duration::from_millis(10));
        }
        Err::<(), _>(Error::invalid("changed my mind"))
    });
    result.unwrap_err();
    assert_eq!(mark(&store), 40);
    assert_eq!(all_events(&store).len(), 20);
}

fn an_append_holds_the_gate_of_its_moment_until_it_commits(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    let mut gate_of_now = || -> i64 {
        other
            .query_first("SELECT 3 + MICROSECOND(NOW(6)) DIV 10000")
            .unwrap()
            .unwrap()
    };
    let free = || -> HashSet<i64> {
        let free = client(&database).query("SELECT id FROM firefly_gate FOR UPDATE SKIP LOCKED");
        free.unwrap().into_iter().collect()
    };
    for _ in 0..5 {
        let (began, before) = (Instant::now(), gate_of_now());
        let transaction = store.transaction(|tx| {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            let after = gate_of_now();
            // Within a second, appends use each gate once.
            let moments: HashSet<i64> = match began.elapsed() < Duration::from_millis(900) {
                true => (0..=(after - before).rem_euclid(100))
                    .map(|passed| 3 + (before - 3 + passed) % 100)
                    .collect(),
                false => (3..103).collect(),
            };
            let free = free();
            let held: Vec<i64> = (3..103).filter(|gate| !free.contains(gate)).collect();
            assert!(held.len() == 1 && moments.contains(&held[0]), "{held:?} of {moments:?}");
            Ok::<_, Error>(())
        });
        transaction.unwrap();
        assert_eq!(free().len(), 100);
        thread::sleep(Duration::from_millis(15));
    }
}

fn an_append_takes_its_gate_before_its_sequence(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let analyze = || run(&mut client(&database), "ANALYZE TABLE events, firefly_gate");
    // Servers plan by how large they take the tables to be: unknown, one row, and many.
    takes_its_gate_before_its_sequence(&database, &store);
    analyze();
    takes_its_gate_before_its_sequence(&database, &store);
    for _ in 0..20 {
        let events: Vec<NewEvent> = (0..100).map(deposited).collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
    analyze();
    takes_its_gate_before_its_sequence(&database, &store);
}

/// Holds all gates, and allocates a sequence while an append waits: the append must get a later one.
fn takes_its_gate_before_its_sequence(database: &Database, store: &MysqlEventStore) {
    let tenant = TenantId::new("acme").unwrap();
    let [none, any, first] = [ExpectedVersion::NoStream, ExpectedVersion::Any, Version::from(1).into()];
    for (expected, tenant, is_in_transaction) in [
        (none, None, false),
        (any, None, false),
        (first, None, false),
        (first, Some(&tenant), false),
        (none, None, true),
        (first, None, true),
    ] {
        let account = account();
        let append = |expected, events: &[NewEvent]| {
            let append = Append::new(&account, expected, events);
            let appends = [tenant.map_or(append, |tenant| append.tenant(tenant))];
            let appended = match is_in_transaction {
                true => store.transaction(|tx| tx.append_all(&appends)),
                false => store.append_all(&appends),
            };
            appended.unwrap()[0].global_sequences()[0].as_i64()
        };
        if expected != ExpectedVersion::NoStream {
            append(ExpectedVersion::NoStream, &[deposited(1)]);
        }
        let mut holder = client(database);
        run(&mut holder, "START TRANSACTION");
        run(&mut holder, "SELECT * FROM firefly_gate FOR UPDATE");
        let (first, second) = thread::scope(|scope| {
            let appending = scope.spawn(|| append(expected, &[deposited(2), deposited(3)]));
            until_an_append_waits(database);
            let first = insert_by_statement(&mut holder);
            run(&mut holder, "COMMIT");
            (first, appending.join().unwrap())
        });
        assert_eq!(second, first + 1, "{expected:?}");
    }
}

/// Inserts an event without the library, and returns its sequence.
fn insert_by_statement(client: &mut Conn) -> i64 {
    let [event, aggregate] = [(); 2].map(|()| Uuid::now_v7().simple().to_string());
    let insert = format!(
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data) \
         VALUES (UNHEX('{event}'), UNHEX('{aggregate}'), 'Account', 1, 'money.deposited', '{{}}')"
    );
    run(client, &insert);
    i64::try_from(client.last_insert_id()).unwrap()
}

fn a_group_takes_its_gate_before_its_sequences(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts: Vec<AggregateKey> = (0..12).map(|_| account()).collect();
    for account in &accounts {
        store
            .append(account, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    let mut holder = client(&database);
    run(&mut holder, "START TRANSACTION");
    run(&mut holder, "SELECT * FROM firefly_gate FOR UPDATE");
    let append = |account| store.append(account, Version::from(1), &[deposited(2)]).unwrap();
    let append = &append;
    thread::scope(|scope| {
        let appending: Vec<_> = accounts
            .iter()
            .map(|account| scope.spawn(move || append(account)))
            .collect();
        // MariaDB does not wait with such a statement, and makes one without it.
        until_a_statement_waits(
            &database,
            match server.flavour() {
                Flavour::Mysql => "are_as_expected",
                Flavour::Mariadb => "INSERT INTO events",
            },
        );
        let first = insert_by_statement(&mut holder);
        run(&mut holder, "COMMIT");
        for thread in appending {
            let last = thread.join().unwrap().last_sequence().unwrap().as_i64();
            assert!(last > first, "{last} was allocated before {first}");
        }
    });
}

fn roll_back(store: &MysqlEventStore, events: u64) {
    let result = store.transaction(|tx| {
        let events: Vec<NewEvent> = (0..events).map(deposited).collect();
        tx.append(&account(), ExpectedVersion::NoStream, &events)?;
        Err::<(), _>(Error::invalid("changed my mind"))
    });
    result.unwrap_err();
}

fn rolled_back_holes_are_crossed(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    for holes in [1, 2, 1_000, 3] {
        roll_back(&store, holes);
        let last = append_one(&store);
        assert_eq!(mark(&store), last);
    }
    assert_eq!(all_events(&store).len(), 4);
}

fn a_hole_is_crossed_although_some_gate_is_always_held(server: &MysqlServer) {
    let (database, store) = fresh(server);
    assert_eq!(mark(&store), 0);
    roll_back(&store, 1);
    let last = append_one(&store);
    let mut other = client(&database);
    for (gate, expected) in [(3, 0), (3, 0), (4, last)] {
        run(&mut other, "START TRANSACTION");
        let hold = format!("SELECT id FROM firefly_gate WHERE id = {gate} LOCK IN SHARE MODE");
        assert_eq!(other.query_first(hold).unwrap(), Some(gate));
        assert_eq!(mark(&store), expected);
        run(&mut other, "COMMIT");
    }
}

fn old_holes_are_crossed_by_a_store_that_is_opened_later(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut last = 0;
    for _ in 0..5 {
        roll_back(&store, 2);
        last = append_one(&store);
    }
    assert_eq!(mark(&builder(&database).open().unwrap()), last);
}

/// A proxy through which each look at the gates finds another gate held, as with many short appends. A look also takes longer than a reader
/// waits, as on a busy machine.
fn where_each_look_finds_another_gate_held(database: &Database) -> (Proxy, OptsBuilder) {
    let opts = Opts::from_url(database.url()).unwrap();
    let mut holders = [client(database), client(database)];
    let mut gates = [3, 4, 5].into_iter().cycle();
    let proxy = Proxy::with(Path::new(opts.get_socket().unwrap()), move |said| {
        if !String::from_utf8_lossy(said).contains("FOR UPDATE SKIP LOCKED") {
            return;
        }
        let gate = gates.next().unwrap();
        run(&mut holders[0], "START TRANSACTION");
        run(
            &mut holders[0],
            &format!("SELECT id FROM firefly_gate WHERE id = {gate} LOCK IN SHARE MODE"),
        );
        run(&mut holders[1], "COMMIT");
        holders.swap(0, 1);
        thread::sleep(Duration::from_millis(150));
    });
    // The proxy recognizes the statement by its text, which a prepared statement does not send.
    let opts = OptsBuilder::from_opts(opts).stmt_cache_size(0);
    let opts = opts.socket(proxy.socket().to_str());
    (proxy, opts)
}

fn old_holes_are_crossed_beside_busy_writers_by_who_has_not_looked_for_long(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let (_proxy, opts) = where_each_look_finds_another_gate_held(&database);
    let open = || MysqlEventStore::configure(opts.clone()).open().unwrap();
    let seldom = open();
    assert_eq!(mark(&seldom), 0);
    append_one(&store);
    roll_back(&store, 1);
    let events: Vec<NewEvent> = (0..12_000).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    thread::sleep(Duration::from_millis(1_100));
    for _ in 0..3 {
        assert_eq!(mark(&open()), 12_002);
    }
    assert_eq!(mark(&seldom), 12_002);
}

fn a_gate_that_stays_held_is_waited_for_by_who_has_not_looked_for_long(server: &MysqlServer) {
    let (database, seldom) = fresh(server);
    assert_eq!(mark(&seldom), 0);
    roll_back(&seldom, 1);
    append_one(&seldom);
    thread::sleep(Duration::from_millis(1_100));
    let mut other = client(&database);
    run(&mut other, "START TRANSACTION");
    run(
        &mut other,
        "SELECT id FROM firefly_gate WHERE id = 3 LOCK IN SHARE MODE",
    );
    let waited = |store: &MysqlEventStore| {
        let began = Instant::now();
        assert_eq!(mark(store), 0);
        began.elapsed()
    };
    let waits = [waited(&seldom), waited(&builder(&database).open().unwrap())];
    assert!(
        waits.iter().all(|waited| *waited >= Duration::from_millis(100)),
        "{waits:?}"
    );
}

fn a_mark_waits_for_no_other_where_nothing_is_missing(server: &MysqlServer) {
    let (database, store) = fresh(server);
    append_one(&store);
    assert_eq!(mark(&store), 1);
    let mut writer = client(&database);
    run(&mut writer, "START TRANSACTION");
    run(&mut writer, INSERT);
    append_one(&store);
    thread::scope(|scope| {
        let mut other = client(&database);
        run(&mut other, "LOCK TABLES firefly_gate WRITE");
        let held_up = scope.spawn(|| mark(&store));
        until_somebody_waits_for_a_table(&database);
        run(&mut writer, "COMMIT");
        let (tell, told) = mpsc::channel();
        let reader = store.clone();
        thread::spawn(move || tell.send(mark(&reader)));
        let marked = told.recv_timeout(Duration::from_secs(20));
        run(&mut other, "UNLOCK TABLES");
        assert_eq!(marked, Ok(3));
        assert_eq!(held_up.join().unwrap(), 3);
    });
}

fn an_open_transaction_delays_only_what_comes_after_it(server: &MysqlServer) {
    let (database, store) = fresh(server);
    for _ in 0..3 {
        append_one(&store);
    }
    builder(&database)
        .open()
        .unwrap()
        .transaction(|tx| {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            append_one(&store);
            assert_eq!(mark(&store), 3);
            // The same for a store that has not proved a mark yet.
            let later = builder(&database).open()?;
            assert_eq!(mark(&later), 3);
            assert_eq!(all_events(&later).len(), 3);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(mark(&store), 5);
}

fn an_open_transaction_of_another_application_holds_nothing_back(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    run(&mut other, "CREATE TABLE notes (note TEXT)");
    run(&mut other, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
    run(&mut other, "INSERT INTO notes VALUES ('open')");
    other.query::<i64, _>("SELECT global_sequence FROM events").unwrap();
    roll_back(&store, 1);
    let last = append_one(&store);
    assert_eq!(mark(&store), last);
    run(&mut other, "ROLLBACK");
}

fn nobody_waits_for_an_open_transaction(server: &MysqlServer) {
    let (database, store) = fresh(server);
    builder(&database)
        .open()
        .unwrap()
        .transaction(|tx| {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            let began = Instant::now();
            for _ in 0..50 {
                append_one(&store);
                mark(&store);
                thread::sleep(Duration::from_millis(1));
            }
            // A wait for a lock would take much longer.
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(mark(&store), 51);
}

const INSERT: &str =
    "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
     VALUES (RANDOM_BYTES(16), RANDOM_BYTES(16), 'Account', 1, 'account.opened', '{}')";

fn other_writers_are_covered_by_a_trigger(server: &MysqlServer) {
    let database = server.new_database();
    let builder = builder(&database).migrate_on_open(true);
    for covered in [true, false, true] {
        let store = builder.clone().cover_other_writers(covered).open().unwrap();
        let before = append_one(&store);
        assert_eq!(mark(&store), before);
        let mut other = client(&database);
        run(&mut other, "START TRANSACTION");
        run(&mut other, INSERT);
        // A reader waits for a writer's gate from before it allocates a sequence. It could wait for its row only once that exists.
        let free: Vec<i64> = client(&database)
            .query("SELECT id FROM firefly_gate FOR UPDATE SKIP LOCKED")
            .unwrap();
        assert_eq!(free.len(), if covered { 99 } else { 100 }, "covered: {covered}");
        let last = append_one(&store);
        assert_eq!(mark(&store), before, "covered: {covered}");
        run(&mut other, "COMMIT");
        assert_eq!(mark(&store), last);
    }
}

fn a_log_of_many_thousand_events_is_walked_to_its_end(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let events: Vec<NewEvent> = (0..1_000).map(deposited).collect();
    for _ in 0..25 {
        let events: Vec<NewEvent> = events
            .iter()
            .map(|event| event.clone().with_id(Uuid::now_v7()))
            .collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
    builder(&database)
        .open()
        .unwrap()
        .transaction(|tx| {
            // A store that is opened now must walk the log, because a gate is held.
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            append_one(&store);
            assert_eq!(mark(&builder(&database).open()?), 25_000);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(mark(&builder(&database).open().unwrap()), 25_002);
    assert_eq!(mark(&store), 25_002);
}

fn transactions_on_one_new_aggregate_follow_each_other(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    for round in 0..10 {
        let account = account();
        thread::scope(|scope| {
            for thread in 0..8 {
                let (store, account) = (&store, &account);
                scope.spawn(move || {
                    let gives_up = (round + thread) % 2 == 0;
                    let result = store.transaction(|tx| {
                        for _ in 0..3 {
                            tx.append(account, ExpectedVersion::Any, &[deposited(1)])?;
                        }
                        if gives_up {
                            Err(Error::invalid("changed my mind"))
                        } else {
                            Ok(())
                        }
                    });
                    assert_eq!(
                        result.as_ref().is_err_and(Error::is_invalid_input),
                        gives_up,
                        "{result:?}"
                    );
                });
            }
        });
        assert_eq!(store.load(&account).unwrap().version(), 12);
    }
}

/// A store with an aggregate at version 2, and a transaction whose snapshot shows version 1. Also whether the server isolates snapshots, as
/// MariaDB can.
fn with_an_old_snapshot(
    server: &MysqlServer,
    isolated: bool,
    test: impl FnOnce(&MysqlEventStore, &AggregateKey, Transaction<'_>),
) {
    let (database, store) = fresh(server);
    let account = account();
    store
        .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let mut other = client(&database);
    if server.flavour() == Flavour::Mariadb {
        run(
            &mut other,
            &format!("SET SESSION innodb_snapshot_isolation = {isolated}"),
        );
    }
    let isolation = TxOpts::default()
        .set_isolation_level(Some(IsolationLevel::RepeatableRead))
        .set_with_consistent_snapshot(true);
    let mut old = other.start_transaction(isolation).unwrap();
    old.query::<i64, _>("SELECT global_sequence FROM events").unwrap();
    store
        .append(&account, ExpectedVersion::Exact(1.into()), &[deposited(2)])
        .unwrap();
    test(&store, &account, old);
}

fn an_append_in_a_transaction_with_an_old_snapshot_sees_what_was_committed_since(server: &MysqlServer) {
    with_an_old_snapshot(server, false, |store, account, mut old| {
        let one = [deposited(3)];
        let stale = [Append::new(account, ExpectedVersion::Exact(1.into()), &one)];
        let error = store.append_within(&mut old, &stale).unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
        for expected in [ExpectedVersion::Any, ExpectedVersion::Exact(3.into())] {
            let one = [deposited(4)];
            let append = [Append::new(account, expected, &one)];
            store.append_within(&mut old, &append).unwrap();
        }
        old.commit().unwrap();
        assert_eq!(store.load(account).unwrap().version(), 4);
    });
}

/// The documentation of `append_within` says so.
fn an_append_in_a_transaction_whose_snapshot_is_isolated_may_have_to_be_repeated(server: &MysqlServer) {
    if server.flavour() == Flavour::Mysql {
        return; // which isolates none
    }
    let stale = ExpectedVersion::Exact(1.into());
    for expected in [ExpectedVersion::Any, ExpectedVersion::Exact(2.into()), stale] {
        with_an_old_snapshot(server, true, |store, account, mut old| {
            let (elsewhere, one) = (crate::support::account(), [deposited(3)]);
            let unseen = [Append::new(&elsewhere, ExpectedVersion::NoStream, &one)];
            store.append_within(&mut old, &unseen).unwrap();
            let one = [deposited(4)];
            let append = [Append::new(account, expected, &one)];
            let error = store.append_within(&mut old, &append).unwrap_err();
            assert!(error.is_retryable(), "{expected:?}: {error:?}");
            old.commit().unwrap();
            assert_eq!(store.load(&elsewhere).unwrap().version(), 0);
            assert_eq!(store.load(account).unwrap().version(), 2);
        });
    }
}
