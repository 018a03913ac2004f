//! Operations: imported events equal the exported ones, no reader skips them, and errors name what is wrong.

use std::collections::{BTreeSet, HashSet};
use std::env;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::operate::{
    Audit, Diagnosis, Export, Finding, FindingKind, Import, IndexState, IndexUsage, LogDigest, Operations,
    RestorePoint, Severity, restore,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{MemoryEventStore, SnapshotAt};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Opts, OptsBuilder, Row};
use firefly_eventstore_mysql::{Indexes, MysqlEventStore};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer};
use time::macros::datetime;

use crate::support::{
    account, all_events, append_one, builder, client, connections, deposited, fresh, mark, on_both, run,
    until_a_statement_waits, until_an_append_waits, until_somebody_waits_for_a_table,
};

on_both!(
    an_import_keeps_every_column_and_is_repeated_without_effect,
    an_import_of_more_than_a_packet_and_a_statement_take_is_whole,
    an_import_that_was_killed_is_resumed,
    what_contradicts_the_log_is_refused_and_leaves_nothing,
    what_is_appended_after_an_import_gets_later_sequences_also_after_a_restart,
    an_import_fills_what_was_rolled_back,
    a_mark_that_was_given_out_is_never_imported_below,
    an_import_waits_for_an_append_that_has_its_sequence,
    an_import_at_work_holds_the_mark_back,
    the_end_of_the_log_is_looked_up_after_the_gate_was_taken,
    an_import_that_waits_for_too_long_may_be_repeated,
    an_import_waits_for_a_transaction_on_the_same_aggregate,
    appends_beside_an_import_lose_nothing_and_a_follower_sees_everything_once,
    a_log_is_restored_into_another_store,
    a_log_is_restored_into_a_table,
    a_table_is_restored_whole_or_not_at_all,
    a_restored_table_leaves_out_what_the_mark_does_not_cover,
    snapshots_are_listed_across_aggregates_and_tenants,
    maintenance_says_what_it_did,
    a_vacuum_that_meets_repeated_appends_can_be_repeated,
    maintenance_that_fails_is_an_error,
    maintenance_and_migrations_give_way_to_appends,
    indexes_are_told_apart,
    reads_of_indexes_are_counted_where_the_server_counts,
    intact_storage_has_no_findings,
    gates_turns_and_tables_that_are_missing_are_found,
    sequences_that_would_come_twice_are_found,
    a_careful_server_is_healthy,
    careless_settings_are_named,
    a_log_of_statements_and_a_read_only_server_are_named,
    clocks_and_open_transactions_are_compared,
    an_append_that_waits_is_no_error,
    what_is_missing_in_the_schema_is_named,
    a_user_without_rights_learns_what_it_may_not_know,
    a_replica_is_named,
    an_audit_names_everything_that_is_wrong,
);

/// Events of several aggregates, types and tenants, with and without the optional values.
fn history(events: usize) -> MemoryEventStore {
    let store = MemoryEventStore::new();
    let accounts: Vec<AggregateKey> = (0..7).map(|_| account()).collect();
    let orders: Vec<AggregateKey> = (0..3)
        .map(|_| AggregateKey::new("Order", Uuid::now_v7()).unwrap())
        .collect();
    let start = datetime!(2024-02-29 23:59:59.999_999 UTC);
    for number in 0..events {
        let seconds = i64::try_from(number).unwrap();
        let event = deposited(number as u64)
            .created_at(start + Duration::from_secs(60 * number as u64))
            .unwrap();
        if number % 3 == 0 {
            let tenant = TenantId::new("ACME ").unwrap();
            let event = NewEvent::from_json(
                "order.placed",
                format!(r#"{{"z":[1.5e3,{seconds}],"a":"ß 🦋","é":null}}"#),
            )
            .unwrap()
            .created_by("Ada Łukasz")
            .unwrap()
            .correlation_id("trace")
            .unwrap()
            .causation_id(format!("cause-{number}").as_str())
            .unwrap()
            .metadata(&serde_json::json!({ "correlationId": "trace", "branch": "Tromsø" }))
            .unwrap();
            let order = &orders[number % orders.len()];
            let appended = [event];
            let append = Append::new(order, ExpectedVersion::Any, &appended).tenant(&tenant);
            store.append_all(&[append]).unwrap();
        } else {
            store
                .append(&accounts[number % accounts.len()], ExpectedVersion::Any, &[event])
                .unwrap();
        }
    }
    store
}

fn exported(store: &dyn EventStore) -> Vec<u8> {
    let mut file = Vec::new();
    Export::new().json_lines(store, &mut file, |_| {}).unwrap();
    file
}

fn digest(events: &[EventEnvelope]) -> LogDigest {
    events
        .iter()
        .fold(LogDigest::OF_NOTHING, |digest, event| digest.with(event).unwrap().0)
}

fn count(database: &Database, table: &str) -> u64 {
    let count = client(database).query_first(format!("SELECT COUNT(*) FROM {table}"));
    count.unwrap().unwrap()
}

fn an_import_keeps_every_column_and_is_repeated_without_effect(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let source = history(200);
    let file = exported(&source);
    let imported = Import::new()
        .batch_size(64)
        .json_lines(&store, Cursor::new(&file), |_| {})
        .unwrap();
    assert_eq!((imported.events, imported.already_stored), (200, 0));
    let (there, here) = (all_events(&source), all_events(&store));
    assert_eq!(digest(&here), digest(&there));
    assert_eq!(imported.digest, digest(&there));
    for (here, there) in here.iter().zip(&there) {
        // The size is not in the digest, because each database has its own spelling.
        assert_eq!(here.size_bytes, Some(u32::try_from(here.data.as_str().len()).unwrap()));
        assert_eq!(here.metadata.is_some(), there.metadata.is_some());
    }
    let round = MemoryEventStore::new();
    let back = Import::new()
        .json_lines(&round, Cursor::new(exported(&store)), |_| {})
        .unwrap();
    assert_eq!(back.digest, imported.digest);
    assert_eq!(mark(&store), 200);
    let again = Import::new().json_lines(&store, Cursor::new(&file), |_| {}).unwrap();
    assert_eq!((again.events, again.already_stored), (0, 200));
    assert_eq!(again.digest, imported.digest);

    // Rows that no append writes: corrected ones, and those of other programs.
    let mut later = all_events(&source)[199].clone();
    later.event_id = Uuid::now_v7();
    later.global_sequence = 1_000.into();
    later.version = later.version.checked_add(1).unwrap();
    later.updated_at = Some(datetime!(2025-01-01 0:00:00.000_001 UTC));
    later.checksum = None;
    store.import_events(std::slice::from_ref(&later)).unwrap();
    let stored = all_events(&store).pop().unwrap();
    assert_eq!(digest(std::slice::from_ref(&stored)), digest(&[later]));
    let nulls = "SELECT COUNT(*) FROM events WHERE created_by IS NULL AND tenant_id IS NULL AND correlation_id IS NULL
                 AND causation_id IS NULL AND metadata IS NULL AND updated_at IS NULL";
    assert_eq!(client(&database).query_first(nulls).unwrap(), Some(133));
    store.import_events(&[]).unwrap();
}

fn an_import_of_more_than_a_packet_and_a_statement_take_is_whole(server: &MysqlServer) {
    let source = MemoryEventStore::new();
    let many: Vec<NewEvent> = (0..5_000).map(deposited).collect();
    source.append(&account(), ExpectedVersion::NoStream, &many).unwrap();
    let (_database, store) = fresh(server);
    store.import_events(&all_events(&source)).unwrap();
    assert_eq!(digest(&all_events(&store)), digest(&all_events(&source)));

    // The last event is already stored. So the statements before it are rolled back.
    let (_database, store) = fresh(server);
    let known = account();
    store.append(&known, ExpectedVersion::NoStream, &many[4_999..]).unwrap();
    let mut events = all_events(&source);
    for event in &mut events {
        event.global_sequence = event.global_sequence.checked_add(1).unwrap();
    }
    assert_contradiction(&store, &events, &events[4_999], "stored already");

    let server = MysqlServer::start_forgetful(server.flavour(), &[("max_allowed_packet", "1M")]).unwrap();
    let (_database, store) = fresh(&server);
    let text = |bytes: usize| NewEvent::from_json("note", format!(r#"{{"note":"{}"}}"#, "x".repeat(bytes))).unwrap();
    let large: Vec<NewEvent> = (0..8).map(|_| text(300_000)).collect();
    source.append(&account(), ExpectedVersion::NoStream, &large).unwrap();
    let events = all_events(&source);
    store.import_events(&events).unwrap();
    assert_eq!(digest(&all_events(&store)), digest(&events));

    source
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    source
        .append(&account(), ExpectedVersion::NoStream, &[text(1_200_000)])
        .unwrap();
    let more = all_events(&source).split_off(5_008);
    let error = store.import_events(&more).unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    assert!(error.to_string().contains("max_allowed_packet"), "{error}");
    assert!(error.to_string().contains(&more[1].event_id.to_string()), "{error}");
    assert_eq!(mark(&store), 5_008);
}

const IMPORTS: &str = "FIREFLY_TEST_IMPORTS";

/// The next case runs this in a process of its own, and kills the process.
#[test]
fn imports_until_it_is_killed() {
    let Ok(work) = env::var(IMPORTS) else { return };
    let (url, file) = work.split_once(' ').unwrap();
    let store = MysqlEventStore::open(url).unwrap();
    let file = std::io::BufReader::new(fs::File::open(file).unwrap());
    Import::new().batch_size(20).json_lines(&store, file, |_| {}).unwrap();
}

fn importing(url: &str, file: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "operate::imports_until_it_is_killed"])
        .env(IMPORTS, format!("{url} {}", file.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn an_import_that_was_killed_is_resumed(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    let source = history(10_000);
    let file = exported(&source);
    fs::write(&path, &file).unwrap();
    let mut child = importing(database.url(), &path);
    let began = Instant::now();
    while count(&database, "events") < 300 {
        assert!(began.elapsed() < Duration::from_secs(120), "nothing is imported");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap(); // SIGKILL, to this process only
    child.wait().unwrap();

    let imported = Import::new()
        .batch_size(64)
        .json_lines(&store, Cursor::new(&file), |_| {})
        .unwrap();
    assert!(imported.already_stored >= 300, "{imported:?}");
    assert_eq!(imported.already_stored % 20, 0, "a batch was stored in part");
    assert!(imported.events > 0, "it was over before it was killed");
    assert_eq!(imported.events + imported.already_stored, 10_000);
    assert_eq!(digest(&all_events(&store)), digest(&all_events(&source)));
}

/// Asserts that the import fails with this event's name, and stores nothing.
fn assert_contradiction(store: &MysqlEventStore, events: &[EventEnvelope], culprit: &EventEnvelope, reason: &str) {
    let before = all_events(store);
    let error = store.import_events(events).unwrap_err();
    let ErrorKind::Contradiction {
        event_id,
        global_sequence,
        ..
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (*event_id, *global_sequence),
        (culprit.event_id, culprit.global_sequence)
    );
    assert!(error.to_string().contains(reason), "{error}");
    assert_eq!(all_events(store), before);
}

fn what_contradicts_the_log_is_refused_and_leaves_nothing(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    let log = all_events(&history(30));
    store.import_events(&log[..20]).unwrap();
    let next = &log[20..];

    assert_contradiction(&store, &log[19..], &log[19], "sequences up to 20");
    let gone_on = next.iter().find(|event| event.version.get() > 1).unwrap();
    let change = |change: &dyn Fn(&mut EventEnvelope)| {
        let mut changed = gone_on.clone();
        change(&mut changed);
        [changed]
    };
    let later = change(&|event| event.version = event.version.checked_add(1).unwrap());
    assert_contradiction(&store, &later, &later[0], "version");
    let earlier = change(&|event| event.version = 1.into());
    assert_contradiction(&store, &earlier, &earlier[0], "version");
    let other_tenant = change(&|event| event.tenant = Some(TenantId::new("ACME").unwrap()));
    assert_contradiction(&store, &other_tenant, &other_tenant[0], "tenant");
    let other_type = change(&|event| event.aggregate = AggregateKey::new("Other", event.aggregate.id()).unwrap());
    assert_contradiction(&store, &other_type, &other_type[0], "belongs to");

    // The last of several events has the id of an event that is stored in another place.
    let mut known = next.to_vec();
    let last = known.last_mut().unwrap();
    last.event_id = log[3].event_id;
    let last = last.clone();
    assert_contradiction(&store, &known, &last, "stored already");

    // A file with another event at the same sequence.
    let other = exported(&history(30));
    let error = Import::new()
        .json_lines(&store, Cursor::new(other), |_| {})
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
    assert!(error.to_string().contains(&log[0].event_id.to_string()), "{error}");

    let mut damaged = next.to_vec();
    damaged[2].data = firefly_eventstore_core::EventData::from_json("{}").unwrap();
    let error = store.import_events(&damaged).unwrap_err();
    assert!(error.is_integrity(), "{error:?}");
    assert_eq!(digest(&all_events(&store)), digest(&log[..20]));

    store.import_events(next).unwrap();
    assert_eq!(digest(&all_events(&store)), digest(&log));
}

fn at_sequences(sequences: &[u32]) -> Vec<EventEnvelope> {
    let source = MemoryEventStore::new();
    for _ in sequences {
        source
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    let mut events = all_events(&source);
    for (event, sequence) in events.iter_mut().zip(sequences) {
        event.global_sequence = (*sequence).into();
    }
    events
}

fn what_is_appended_after_an_import_gets_later_sequences_also_after_a_restart(server: &MysqlServer) {
    let server = MysqlServer::start(server.flavour(), &[]).unwrap();
    let (_database, store) = fresh(&server);
    store.import_events(&at_sequences(&[5, 7, 1_000])).unwrap();
    assert_eq!(append_one(&store), 1_001);
    for (sequence, signal) in [(2_000_u32, "TERM"), (3_000, "KILL")] {
        store.import_events(&at_sequences(&[sequence - 1, sequence])).unwrap();
        server.kill(signal);
        server.restart();
        assert_eq!(append_one(&store), i64::from(sequence) + 1, "after {signal}");
        assert_eq!(mark(&store), i64::from(sequence) + 1);
        assert_eq!(store.check_storage().unwrap(), []);
    }
}

fn roll_back(store: &MysqlEventStore, events: u64) {
    let result = store.transaction(|tx| {
        let events: Vec<NewEvent> = (0..events).map(deposited).collect();
        tx.append(&account(), ExpectedVersion::NoStream, &events)?;
        Err::<(), _>(Error::invalid("changed my mind"))
    });
    result.unwrap_err();
}

fn an_import_fills_what_was_rolled_back(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let follower = builder(&database).open().unwrap();
    roll_back(&store, 50);
    assert_eq!(mark(&follower), 0);
    store.import_events(&at_sequences(&[1, 2, 40])).unwrap();
    assert_eq!(mark(&follower), 40);
    assert_eq!(all_events(&follower).len(), 3);
    // Beyond the allocated sequences, as when a rolled-back batch is repeated.
    store.import_events(&at_sequences(&[41, 60])).unwrap();
    assert_eq!(append_one(&store), 61);
    roll_back(&store, 5);
    let last = append_one(&store);
    assert_eq!(mark(&follower), last);
    assert_eq!(all_events(&follower).len(), 7);
    // An import never fills a hole before later events.
    let error = store.import_events(&at_sequences(&[50])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
}

fn a_mark_that_was_given_out_is_never_imported_below(server: &MysqlServer) {
    let (database, store) = fresh(server);
    for _ in 0..3 {
        append_one(&store);
    }
    assert_eq!(mark(&store), 3);
    // Another session deletes the end of the log. A reader of this store has already read up to 3.
    run(&mut client(&database), "DELETE FROM events WHERE global_sequence > 1");
    let error = store.import_events(&at_sequences(&[2, 3])).unwrap_err();
    assert!(error.to_string().contains("sequences up to 3"), "{error}");
    store.import_events(&at_sequences(&[4])).unwrap();
    assert_eq!(all_events(&store).len(), 2);
}

/// Waits until a session waits for a lock in this database.
fn until_waiting(database: &Database) {
    let mut other = client(database);
    let began = Instant::now();
    loop {
        // MySQL's tables of transactions cannot be read while a statement waits that begins with a binary value; this can.
        let ours = connections(&mut other, database);
        let ours: Vec<u64> = ours.iter().map(|row| row.get("Id").unwrap()).collect();
        let status: Vec<Row> = other.query("SHOW ENGINE INNODB STATUS").unwrap();
        let status: Vec<u8> = status[0].get("Status").unwrap();
        let status = String::from_utf8_lossy(&status);
        let id_of = |transaction: &str| {
            let (_, rest) = transaction.split_once("thread id ")?;
            rest.split(',').next()?.parse::<u64>().ok()
        };
        let mut waiting = status.split("---TRANSACTION").filter(|one| one.contains("LOCK WAIT"));
        if waiting.any(|one| id_of(one).is_some_and(|id| ours.contains(&id))) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "nobody waits");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The server refreshes its list of transactions when nobody has asked for a tenth of a second.
const A_LOOK: Duration = Duration::from_millis(150);

fn an_import_waits_for_an_append_that_has_its_sequence(server: &MysqlServer) {
    for commits in [false, true] {
        let (database, store) = fresh(server);
        let events = at_sequences(&[1, 2, 3]);
        let imported = thread::scope(|scope| {
            let mut importing = None;
            let appended = store.transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1), deposited(2)])?;
                importing = Some(scope.spawn(|| store.import_events(&events)));
                until_waiting(&database);
                match commits {
                    true => Ok(()),
                    false => Err(Error::invalid("changed my mind")),
                }
            });
            assert_eq!(appended.is_ok(), commits);
            importing.unwrap().join().unwrap()
        });
        match commits {
            false => {
                imported.unwrap();
                assert_eq!(digest(&all_events(&store)), digest(&events));
            }
            true => {
                let error = imported.unwrap_err();
                assert!(error.is_retryable(), "{error:?}");
                assert_eq!(all_events(&store).len(), 2);
                assert!(append_one(&store) > 2);
            }
        }
        assert_eq!(
            mark(&store),
            all_events(&store).last().unwrap().global_sequence.as_i64()
        );
    }
}

const RAW: &str = "INSERT INTO events
    (global_sequence, event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
    VALUES (?, ?, RANDOM_BYTES(16), 'Other', 1, 'other.thing', '{}')";

fn an_import_at_work_holds_the_mark_back(server: &MysqlServer) {
    let (database, store) = fresh(server);
    append_one(&store);
    assert_eq!(mark(&store), 1);
    let events = at_sequences(&[2, 3, 4]);
    // Another session, without a gate, inserts the id of the last event, and rolls back.
    let mut other = client(&database);
    run(&mut other, "START TRANSACTION");
    other.exec_drop(RAW, (1_000, events[2].event_id)).unwrap();
    thread::scope(|scope| {
        let importing = scope.spawn(|| store.import_events(&events));
        until_waiting(&database);
        assert_eq!(append_one(&store), 1_001);
        for _ in 0..20 {
            assert_eq!(mark(&store), 1);
            assert_eq!(mark(&builder(&database).open().unwrap()), 1);
            thread::sleep(Duration::from_millis(5));
        }
        run(&mut other, "ROLLBACK");
        importing.join().unwrap().unwrap();
    });
    assert_eq!(mark(&store), 1_001);
    assert_eq!(all_events(&store).len(), 5);
}

fn the_end_of_the_log_is_looked_up_after_the_gate_was_taken(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let events = at_sequences(&[1, 2, 4]);
    let mut other = client(&database);
    run(&mut other, "START TRANSACTION");
    run(&mut other, "SELECT id FROM firefly_gate FOR UPDATE");
    thread::scope(|scope| {
        let importing = scope.spawn(|| store.import_events(&events));
        until_waiting(&database);
        // Between two of them, so that no key conflicts.
        client(&database).exec_drop(RAW, (3, Uuid::now_v7())).unwrap();
        run(&mut other, "COMMIT");
        let error = importing.join().unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
    });
    assert_eq!(all_events(&store).len(), 1);
}

fn an_import_that_waits_for_too_long_may_be_repeated(server: &MysqlServer) {
    let (database, _store) = fresh(server);
    let opts = OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap());
    let impatient = opts.init(vec!["SET innodb_lock_wait_timeout = 1"]);
    let store = MysqlEventStore::configure(impatient).open().unwrap();
    let events = at_sequences(&[1, 2, 3]);
    let mut other = client(&database);
    run(&mut other, "START TRANSACTION");
    other.exec_drop(RAW, (1_000, events[2].event_id)).unwrap();
    let error = store.import_events(&events).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    run(&mut other, "ROLLBACK");
    assert_eq!(all_events(&store), []);
    store.import_events(&events).unwrap();
    assert_eq!(digest(&all_events(&store)), digest(&events));
}

fn an_import_waits_for_a_transaction_on_the_same_aggregate(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut events = at_sequences(&[10, 11]);
    let aggregate = events[0].aggregate.clone();
    events[0].version = 2.into();
    thread::scope(|scope| {
        let mut importing = None;
        store
            .transaction(|tx| {
                tx.append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])?;
                importing = Some(scope.spawn(|| store.import_events(&events)));
                until_waiting(&database);
                // Other sessions do not wait for it meanwhile.
                let free = "SELECT COUNT(*) FROM (SELECT id FROM firefly_gate LOCK IN SHARE MODE) AS gates";
                assert_eq!(tx.connection().query_first(free).unwrap(), Some(100));
                Ok::<_, Error>(())
            })
            .unwrap();
        importing.unwrap().join().unwrap().unwrap();
    });
    assert_eq!(store.load(&aggregate).unwrap().version(), 2);
}

fn appends_beside_an_import_lose_nothing_and_a_follower_sees_everything_once(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let follower = builder(&database).open().unwrap();
    let (importing, working) = (AtomicBool::new(true), AtomicBool::new(true));
    let (seen, appended, imported) = thread::scope(|scope| {
        let following = scope.spawn(|| {
            let (mut seen, mut position) = (Vec::new(), GlobalSequence::ZERO);
            loop {
                let last = !working.load(Ordering::SeqCst);
                let mut events = follower.read(EventQuery::new().after(position));
                for event in &mut events {
                    seen.push(event.unwrap().event_id);
                }
                position = position.max(events.high_water_mark().unwrap());
                if last {
                    return seen;
                }
            }
        });
        let mut appending = Vec::new();
        for thread in 0..4 {
            let (store, importing) = (&store, &importing);
            appending.push(scope.spawn(move || append_in_pieces(store, thread, importing)));
        }
        let imported = scope.spawn(|| import_in_pieces(&store)).join();
        importing.store(false, Ordering::SeqCst); // also where it failed
        let appended: Vec<_> = appending.into_iter().map(|thread| thread.join()).collect();
        working.store(false, Ordering::SeqCst);
        let appended: Vec<Uuid> = appended.into_iter().flat_map(Result::unwrap).collect();
        (following.join().unwrap(), appended, imported.unwrap())
    });
    assert!(
        imported.len() >= 3_000,
        "only {} events were imported beside the appends",
        imported.len()
    );
    let all: HashSet<Uuid> = seen.iter().copied().collect();
    assert_eq!(all.len(), seen.len(), "something was seen twice");
    let stored: HashSet<Uuid> = all_events(&store).iter().map(|event| event.event_id).collect();
    assert_eq!(all, stored, "something was skipped");
    for id in appended.iter().chain(&imported) {
        assert!(stored.contains(id), "{id} was lost");
    }
    assert_eq!(
        stored.len(),
        appended.len() + imported.len(),
        "something was stored that was refused"
    );
    let last = all_events(&store).last().unwrap().global_sequence.as_i64();
    assert!(append_one(&store) > last);
}

/// Imports in parts, right after the end of the log, where appends go, too, and beyond it, with holes into which appends go. Returns the
/// stored ids.
fn import_in_pieces(store: &MysqlEventStore) -> Vec<Uuid> {
    let random = &mut fastrand::Rng::with_seed(7);
    let mut stored = Vec::new();
    for round in 0..60 {
        let (events, ahead, hole) = if round % 2 == 0 { (300, 2_000, 300) } else { (10, 10, 4) };
        let mut sequence = u32::try_from(mark(store)).unwrap() + ahead;
        let sequences: Vec<u32> = (0..events)
            .map(|_| {
                sequence += random.u32(1..hole);
                sequence
            })
            .collect();
        let events = at_sequences(&sequences);
        match store.import_events(&events) {
            Ok(()) => stored.extend(events.iter().map(|event| event.event_id)),
            Err(error) if error.is_retryable() || matches!(error.kind(), ErrorKind::Contradiction { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    stored
}

/// Appends in autocommit and in transactions, some of which roll back, while others import. Returns the stored ids.
fn append_in_pieces(store: &MysqlEventStore, seed: u64, importing: &AtomicBool) -> Vec<Uuid> {
    let random = &mut fastrand::Rng::with_seed(seed);
    let mut stored = Vec::new();
    while importing.load(Ordering::SeqCst) {
        let events: Vec<NewEvent> = (0..random.u64(1..5)).map(deposited).collect();
        let result = match random.u8(0..4) {
            0 => store.transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &events)?;
                thread::sleep(Duration::from_micros(random.u64(0..3_000)));
                Err(Error::invalid("changed my mind"))
            }),
            1 => store.transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &events)?;
                thread::sleep(Duration::from_micros(random.u64(0..3_000)));
                Ok(())
            }),
            _ => store.append(&account(), ExpectedVersion::Any, &events).map(drop),
        };
        match result {
            Ok(()) => stored.extend(events.iter().map(NewEvent::event_id)),
            Err(error) => assert!(error.is_invalid_input() || error.is_retryable(), "{error:?}"),
        }
    }
    stored
}

/// A log whose times are not in order: the second event of the first account is late.
fn out_of_order() -> MemoryEventStore {
    let store = MemoryEventStore::new();
    let (one, other) = (account(), account());
    for (account, minute) in [(&one, 1), (&other, 2), (&one, 9), (&one, 3), (&other, 4), (&other, 5)] {
        let time = datetime!(2025-01-01 0:00 UTC) + Duration::from_secs(60 * minute);
        let event = deposited(minute).created_at(time).unwrap();
        store.append(account, ExpectedVersion::Any, &[event]).unwrap();
    }
    store
}

const POINTS: [RestorePoint; 5] = [
    RestorePoint::Time(datetime!(2025-01-01 0:04 UTC)),
    RestorePoint::Time(datetime!(2025-01-01 0:03:59.999_999_999 UTC)),
    RestorePoint::Time(datetime!(2024-01-01 0:00 UTC)),
    RestorePoint::Time(datetime!(2026-01-01 0:00 UTC)),
    RestorePoint::Time(datetime!(2025-01-01 0:01 UTC)),
];

fn points() -> impl Iterator<Item = RestorePoint> {
    let sequences = [0_u32, 1, 4, 6, 100].map(|sequence| RestorePoint::Sequence(sequence.into()));
    POINTS.into_iter().chain(sequences)
}

fn a_log_is_restored_into_another_store(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    store.import_events(&all_events(&out_of_order())).unwrap();
    for point in points() {
        let (_other, target) = fresh(server);
        let expected = MemoryEventStore::new();
        let restored = restore(&store, &target, point, |_| {}).unwrap();
        restore(&store, &expected, point, |_| {}).unwrap();
        assert_eq!(restored.events, all_events(&expected).len() as u64, "{point:?}");
        assert_eq!(
            digest(&all_events(&target)),
            digest(&all_events(&expected)),
            "{point:?}"
        );
    }
    let (_other, target) = fresh(server);
    restore(&store, &target, POINTS[0], |_| {}).unwrap();
    let sequences: Vec<i64> = all_events(&target)
        .iter()
        .map(|event| event.global_sequence.as_i64())
        .collect();
    assert_eq!(sequences, [1, 2, 5]);
}

/// The sequences, ids and all other columns of rows, as the server spells them.
fn rows(client: &mut Conn, table: &str, condition: &str) -> Vec<String> {
    let columns: Vec<String> = client.query(columns_of(table, "column_name")).unwrap();
    let values: Vec<String> = columns
        .iter()
        .map(|column| format!("COALESCE(HEX({column}), 'NULL')"))
        .collect();
    let select = format!(
        "SELECT CONCAT_WS(' ', {}) FROM {table} WHERE {condition} ORDER BY global_sequence",
        values.join(", ")
    );
    client.query(select).unwrap()
}

fn columns_of(table: &str, what: &str) -> String {
    format!(
        "SELECT {what} FROM information_schema.columns
         WHERE table_schema = DATABASE() AND table_name = '{table}' ORDER BY ordinal_position"
    )
}

fn a_log_is_restored_into_a_table(server: &MysqlServer) {
    let database = server.new_database();
    let builder = builder(&database)
        .migrate_on_open(true)
        .indexes(Indexes::Full)
        .cover_other_writers(true);
    let store = builder.clone().open().unwrap();
    store.import_events(&all_events(&out_of_order())).unwrap();
    let mut client = client(&database);
    for point in points() {
        let expected = MemoryEventStore::new();
        restore(&store, &expected, point, |_| {}).unwrap();
        let sequences: Vec<i64> = all_events(&expected)
            .iter()
            .map(|event| event.global_sequence.as_i64())
            .collect();
        let restored = store.restore_table(point).unwrap();
        assert_eq!(restored, sequences.len() as u64, "{point:?}");
        let restored: Vec<i64> = client
            .query("SELECT global_sequence FROM events_restored ORDER BY global_sequence")
            .unwrap();
        assert_eq!(restored, sequences, "{point:?}");

        let error = store.restore_table(point).unwrap_err();
        assert!(error.is_invalid_input(), "{error:?}");
        assert!(error.to_string().contains("events_restored"), "{error}");
        run(&mut client, "RENAME TABLE events_restored TO mine");
        run(&mut client, "CREATE VIEW events_restored AS SELECT * FROM mine");
        assert!(store.restore_table(point).unwrap_err().is_invalid_input());
        run(&mut client, "DROP VIEW events_restored");
        run(&mut client, "DROP TABLE mine");
    }

    let mut events = all_events(&history(40));
    for event in &mut events {
        event.global_sequence = event.global_sequence.checked_add(10).unwrap();
    }
    store.import_events(&events).unwrap();
    assert_eq!(store.restore_table(GlobalSequence::from(30).into()).unwrap(), 26);
    assert_eq!(
        rows(&mut client, "events_restored", "TRUE"),
        rows(&mut client, "events", "global_sequence <= 30")
    );
    for what in ["column_name", "column_type", "COALESCE(collation_name, '')"] {
        let of = |client: &mut Conn, table: &str| client.query::<String, _>(columns_of(table, what)).unwrap();
        assert_eq!(of(&mut client, "events_restored"), of(&mut client, "events"), "{what}");
    }
    let indexes = "SELECT DISTINCT index_name FROM information_schema.statistics
                   WHERE table_schema = DATABASE() AND table_name = 'events_restored'";
    assert_eq!(client.query::<String, _>(indexes).unwrap(), ["PRIMARY"]);

    // The restored table is not a part of the store.
    assert_eq!(builder.migrate().unwrap(), []);
    assert_eq!(builder.pending().unwrap(), []);
    let last = append_one(&builder.clone().open().unwrap());
    assert_eq!(mark(&store), last);
    assert_eq!(count(&database, "events_restored"), 26);
    builder
        .clone()
        .indexes(Indexes::Lean)
        .cover_other_writers(false)
        .migrate()
        .unwrap();
    builder.migrate().unwrap();
    assert_eq!(store.check_storage().unwrap(), []);
}

fn tables(database: &Database) -> BTreeSet<String> {
    let tables: Vec<String> = client(database).query("SHOW TABLES LIKE 'events%'").unwrap();
    tables.into_iter().collect()
}

/// A user with these rights, and a store in the database as that user.
fn as_a_user_with(server: &MysqlServer, database: &Database, rights: &[&str]) -> MysqlEventStore {
    let mut admin = client(database);
    let user = format!("clerk_{}", &Uuid::now_v7().simple().to_string()[16..]);
    run(&mut admin, &format!("CREATE USER {user}@'%' IDENTIFIED BY 'secret'"));
    for right in rights {
        let right = right.replace("DB", database.name());
        run(&mut admin, &format!("GRANT {right} TO {user}@'%'"));
    }
    let opts = OptsBuilder::from_opts(Opts::from_url(&server.url(database.name())).unwrap());
    let opts = opts.user(Some(user)).pass(Some("secret"));
    MysqlEventStore::configure(opts).open().unwrap()
}

const DAILY: &str = "SELECT, INSERT, UPDATE, DELETE ON DB.*";

fn a_table_is_restored_whole_or_not_at_all(server: &MysqlServer) {
    let (database, store) = fresh(server);
    store.import_events(&all_events(&history(20))).unwrap();
    let point = RestorePoint::Sequence(15.into());

    // The user may do everything except rename the table.
    let clerk = as_a_user_with(server, &database, &[DAILY, "CREATE, DROP ON DB.*"]);
    let error = clerk.restore_table(point).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::PermissionDenied, "{error:?}");
    assert_eq!(tables(&database), ["events".to_owned()].into());

    // The rest that a killed process has left.
    let mut other = client(&database);
    run(
        &mut other,
        "CREATE TABLE events_restored_unfinished (global_sequence BIGINT)",
    );
    run(&mut other, "INSERT INTO events_restored_unfinished VALUES (99)");
    drop(builder(&database).migrate_on_open(true).open().unwrap());
    let lock = "SELECT GET_LOCK(CONCAT('restore_', SHA2(DATABASE(), 224)), 0)";
    assert_eq!(other.query_first(lock).unwrap(), Some(1));
    let error = store.restore_table(point).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert_eq!(
        count(&database, "events_restored_unfinished"),
        1,
        "somebody else fills it"
    );
    run(&mut other, "SELECT RELEASE_ALL_LOCKS()");
    assert_eq!(store.restore_table(point).unwrap(), 15);
    assert_eq!(count(&database, "events_restored"), 15);

    // If the name is taken, nothing is begun.
    run(
        &mut other,
        "CREATE TABLE events_restored_unfinished (global_sequence BIGINT)",
    );
    assert!(store.restore_table(point).unwrap_err().is_invalid_input());
    run(&mut other, "DROP TABLE events_restored_unfinished");
    assert_eq!(
        tables(&database),
        ["events".to_owned(), "events_restored".to_owned()].into()
    );
}

fn a_restored_table_leaves_out_what_the_mark_does_not_cover(server: &MysqlServer) {
    for point in [
        RestorePoint::Sequence(100.into()),
        RestorePoint::Time(datetime!(9000-01-01 0:00 UTC)),
    ] {
        let (database, store) = fresh(server);
        append_one(&store);
        builder(&database)
            .open()
            .unwrap()
            .transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
                append_one(&store);
                assert_eq!(store.restore_table(point)?, 1);
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(count(&database, "events_restored"), 1);
    }
}

fn snapshots_are_listed_across_aggregates_and_tenants(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    assert_eq!(store.snapshots_after(None, 10).unwrap(), []);
    let mut expected = Vec::new();
    for (number, id) in [Uuid::nil(), Uuid::now_v7(), Uuid::max()].into_iter().enumerate() {
        let aggregate = AggregateKey::new("Account", id).unwrap();
        let tenant = (number == 1).then(|| TenantId::new("acme").unwrap());
        let events = [deposited(1), deposited(2), deposited(3)];
        let mut append = Append::new(&aggregate, ExpectedVersion::NoStream, &events);
        if let Some(tenant) = &tenant {
            append = append.tenant(tenant);
        }
        store.append_all(&[append]).unwrap();
        for version in [2_u32, 1, 3] {
            let snapshot = NewSnapshot::from_json(&aggregate, version, "State", "{}").unwrap();
            store.save_snapshot(tenant.as_ref(), &snapshot).unwrap();
        }
        for version in [1_u32, 2, 3] {
            let snapshot = store
                .find_snapshot(tenant.as_ref(), &aggregate, SnapshotAt::Exactly(version.into()))
                .unwrap();
            expected.push(snapshot.unwrap());
        }
    }
    assert_eq!(store.snapshots_after(None, u32::MAX).unwrap(), expected);
    let (mut paged, mut place) = (Vec::new(), None);
    loop {
        let page = store.snapshots_after(place.as_ref(), 2).unwrap();
        let Some(last) = page.last() else { break };
        place = Some(last.clone());
        paged.extend(page);
        assert!(paged.len() <= expected.len(), "one comes twice");
    }
    assert_eq!(paged, expected);
}

fn maintenance_says_what_it_did(server: &MysqlServer) {
    let (database, store) = fresh(server);
    store.import_events(&all_events(&history(5_000))).unwrap();
    let analyzed = store.update_statistics().unwrap();
    for table in ["events", "snapshots", "mv_aggregate_summary", "firefly_gate"] {
        assert!(analyzed.contains(table), "{analyzed}");
    }
    let estimate = "SELECT CAST(n_rows AS SIGNED) FROM mysql.innodb_table_stats
                    WHERE database_name = DATABASE() AND table_name = 'events'";
    let estimated: i64 = client(&database).query_first(estimate).unwrap().unwrap();
    assert!((4_000..6_000).contains(&estimated), "{estimated}");

    let indexes = store.index_usage().unwrap();
    run(&mut client(&database), "DELETE FROM events WHERE global_sequence > 100");
    let did = store.vacuum().unwrap();
    let numbers: Vec<u64> = did.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [before, after] = numbers[..] else { panic!("{did}") };
    assert!(after < before / 2, "{did}");
    assert_eq!(store.check_storage().unwrap(), []);
    // No event is lost or repeated.
    assert_eq!(all_events(&store).len(), 100);
    assert_eq!(append_one(&store), 5_001);
    let of = |usage: &[IndexUsage]| {
        usage
            .iter()
            .map(|index| (index.name.clone(), index.state))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&store.index_usage().unwrap()), of(&indexes));
}

fn maintenance_and_migrations_give_way_to_appends(server: &MysqlServer) {
    let (database, store) = fresh(server);
    append_one(&store);
    let drop_indexes = builder(&database).indexes(Indexes::Lean);
    let changes: [&(dyn Fn() -> Error + Sync); 2] =
        [&|| store.vacuum().unwrap_err(), &|| drop_indexes.migrate().unwrap_err()];
    for change in changes {
        thread::scope(|scope| {
            // A session that has read the table holds it until its transaction ends.
            let mut reader = client(&database);
            run(&mut reader, "START TRANSACTION");
            assert_eq!(
                reader
                    .query::<i64, _>("SELECT global_sequence FROM events LIMIT 1")
                    .unwrap()
                    .len(),
                1
            );
            let changing = scope.spawn(change);
            until_somebody_waits_for_a_table(&database);
            let (tell, told) = mpsc::channel();
            let writer = store.clone();
            thread::spawn(move || tell.send(append_one(&writer)));
            told.recv_timeout(Duration::from_secs(60)).unwrap();
            drop(reader);
            let error = changing.join().unwrap();
            assert!(error.is_retryable(), "{error}");
        });
    }
    store.vacuum().unwrap();
    drop_indexes.migrate().unwrap();
}

fn a_vacuum_that_meets_repeated_appends_can_be_repeated(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    for _ in 0..5 {
        let many: Vec<NewEvent> = (0..1_000).map(deposited).collect();
        store.append(&account(), ExpectedVersion::NoStream, &many).unwrap();
    }
    let (account, event) = (account(), [deposited(1)]);
    let append = || store.append(&account, ExpectedVersion::NoStream, &event).unwrap();
    append();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert!(append().is_already_stored());
            }
        });
        let vacuumed: Vec<_> = (0..5).map(|_| store.vacuum()).collect();
        is_over.store(true, Ordering::Relaxed);
        for error in vacuumed.iter().filter_map(|vacuumed| vacuumed.as_ref().err()) {
            assert!(error.is_retryable(), "{error:?}");
        }
    });
    store.vacuum().unwrap();
    assert_eq!(all_events(&store).len(), 5_001);
}

fn maintenance_that_fails_is_an_error(server: &MysqlServer) {
    let (database, store) = fresh(server);
    run(&mut client(&database), "DROP TABLE mv_aggregate_summary");
    for error in [store.update_statistics().unwrap_err(), store.vacuum().unwrap_err()] {
        assert!(error.to_string().contains("mv_aggregate_summary"), "{error}");
    }
    let (database, _store) = fresh(server);
    let clerk = as_a_user_with(server, &database, &["SELECT, UPDATE ON DB.*"]);
    for error in [clerk.update_statistics().unwrap_err(), clerk.vacuum().unwrap_err()] {
        assert_eq!(error.kind(), &ErrorKind::PermissionDenied, "{error:?}");
    }
}

fn state_of(usage: &[IndexUsage], name: &str) -> Vec<IndexState> {
    let of = usage.iter().filter(|index| index.name == name);
    of.map(|index| index.state).collect()
}

fn indexes_are_told_apart(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let present = |usage: &[IndexUsage]| usage.iter().all(|index| index.state == IndexState::Present);
    let standard = store.index_usage().unwrap();
    assert!(present(&standard), "{standard:?}");
    assert_eq!(standard.iter().filter(|index| index.table == "events").count(), 9);
    for (table, name) in [
        ("events", "PRIMARY"),
        ("snapshots", "idx_snapshots_version"),
        ("firefly_turn", "PRIMARY"),
    ] {
        assert!(
            standard.iter().any(|index| index.table == table && index.name == name),
            "{table}.{name}"
        );
    }
    let events = standard.iter().filter(|index| index.table == "events");
    for index in events {
        assert!(index.bytes.is_some_and(|bytes| bytes >= 16_384), "{index:?}");
    }

    let mut other = client(&database);
    run(&mut other, "DROP INDEX idx_events_type ON events");
    run(&mut other, "CREATE INDEX mine ON events (aggregate_version)");
    run(&mut other, "DROP INDEX idx_snapshots_created_at ON snapshots");
    let usage = store.index_usage().unwrap();
    assert_eq!(state_of(&usage, "idx_events_type"), [IndexState::Missing]);
    assert_eq!(state_of(&usage, "idx_snapshots_created_at"), [IndexState::Missing]);
    assert_eq!(state_of(&usage, "mine"), [IndexState::Foreign]);
    assert_eq!(state_of(&usage, "idx_events_tenant_id"), [IndexState::Present]);
    assert_eq!(state_of(&usage, "idx_events_created_by"), []);

    // By the choice: a lean store need not have the standard indexes, and a full store must have all indexes of the full set.
    let usage = |indexes| {
        builder(&database)
            .indexes(indexes)
            .open()
            .unwrap()
            .index_usage()
            .unwrap()
    };
    assert_eq!(state_of(&usage(Indexes::Lean), "idx_events_type"), []);
    assert_eq!(
        state_of(&usage(Indexes::Lean), "idx_events_tenant_id"),
        [IndexState::Present]
    );
    assert_eq!(
        state_of(&usage(Indexes::Full), "idx_events_created_by"),
        [IndexState::Missing]
    );
    builder(&database).indexes(Indexes::Full).migrate().unwrap();
    assert_eq!(
        state_of(&usage(Indexes::Full), "idx_events_created_by"),
        [IndexState::Present]
    );
    assert_eq!(
        state_of(&store.index_usage().unwrap(), "idx_events_type"),
        [IndexState::Present]
    );
    builder(&database).indexes(Indexes::Lean).migrate().unwrap();
    let lean = store.index_usage().unwrap();
    assert_eq!(
        lean.iter().filter(|index| index.table == "events").count(),
        4,
        "{lean:?}"
    );
}

fn reads_of_indexes_are_counted_where_the_server_counts(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    for index in store.index_usage().unwrap() {
        assert_eq!(index.scans, None, "this server does not count: {index:?}");
    }
    let server = MysqlServer::start_forgetful(server.flavour(), &[("performance_schema", "ON")]).unwrap();
    let (database, store) = fresh(&server);
    for _ in 0..10 {
        append_one(&store);
    }
    let scans = |name: &str| {
        let usage = store.index_usage().unwrap();
        usage
            .iter()
            .find(|index| index.table == "events" && index.name == name)
            .unwrap()
            .scans
    };
    let (by_type, by_cause) = (scans("idx_events_type"), scans("idx_events_causation_id"));
    assert_eq!((by_type, by_cause), (Some(0), Some(0)));
    let deposits = store.read(EventQuery::new().event_types(["money.deposited"]).unwrap());
    assert_eq!(deposits.count(), 10);
    assert!(scans("idx_events_type") >= Some(10), "{:?}", scans("idx_events_type"));
    assert_eq!(scans("idx_events_causation_id"), Some(0));
    let unused = found(&store.diagnose().unwrap(), "unused indexes", Severity::Notice);
    assert!(unused.contains("idx_events_causation_id"), "{unused}");
    assert!(!unused.contains("idx_events_type"), "{unused}");

    let clerk = as_a_user_with(&server, &database, &[DAILY]);
    for index in clerk.index_usage().unwrap() {
        assert_eq!(
            (index.bytes, index.scans, index.state),
            (None, None, IndexState::Present),
            "{index:?}"
        );
    }
    run(
        &mut client(&database),
        "UPDATE performance_schema.setup_instruments SET enabled = 'NO' WHERE name = 'wait/io/table/sql/handler'",
    );
    assert_eq!(scans("idx_events_type"), None);
}

fn intact_storage_has_no_findings(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    assert_eq!(store.check_storage().unwrap(), []);
    store.import_events(&all_events(&history(300))).unwrap();
    roll_back(&store, 10);
    assert_eq!(store.check_storage().unwrap(), []);
    // By default, MySQL would return its cached answer for a day.
    for _ in 0..3 {
        append_one(&store);
        assert_eq!(store.check_storage().unwrap(), []);
    }
}

fn only(findings: &[Finding], kind: FindingKind, words: &[&str]) {
    let [finding] = findings else { panic!("{findings:?}") };
    assert_eq!(finding.kind, kind, "{finding}");
    for word in words {
        assert!(finding.reason.contains(word), "{finding}");
    }
}

fn gates_turns_and_tables_that_are_missing_are_found(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    run(&mut other, "DELETE FROM firefly_gate WHERE id = 5");
    only(
        &store.check_storage().unwrap(),
        FindingKind::Storage,
        &["firefly_gate", "99 of its 100"],
    );
    run(&mut other, "INSERT INTO firefly_gate (id) VALUES (5)");
    run(&mut other, "DELETE FROM firefly_turn WHERE id IN (7, 8)");
    only(
        &store.check_storage().unwrap(),
        FindingKind::Storage,
        &["firefly_turn", "998 of its 1000"],
    );
    run(&mut other, "INSERT INTO firefly_turn VALUES (7), (8)");
    run(&mut other, "DROP TABLE mv_aggregate_summary");
    only(
        &store.check_storage().unwrap(),
        FindingKind::Storage,
        &["mv_aggregate_summary"],
    );

    // Readers would skip an import without a gate, so it is refused.
    run(&mut other, "DELETE FROM firefly_gate");
    let error = store.import_events(&at_sequences(&[1])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Schema(_)), "{error:?}");
    assert_eq!(count(&database, "events"), 0);
}

fn sequences_that_would_come_twice_are_found(server: &MysqlServer) {
    let (database, store) = fresh(server);
    for _ in 0..3 {
        append_one(&store);
    }
    let mut other = client(&database);
    // The greatest possible sequence: the server would allocate it again.
    other.exec_drop(RAW, (i64::MAX, Uuid::now_v7())).unwrap();
    only(
        &store.check_storage().unwrap(),
        FindingKind::Sequence,
        &["the log ends at 9223372036854775807"],
    );
    run(&mut other, "DELETE FROM events WHERE global_sequence > 3");
    run(&mut other, "ALTER TABLE events AUTO_INCREMENT = 4");
    assert_eq!(store.check_storage().unwrap(), []);
    run(&mut other, "ALTER TABLE events MODIFY global_sequence BIGINT NOT NULL");
    only(
        &store.check_storage().unwrap(),
        FindingKind::Sequence,
        &["AUTO_INCREMENT"],
    );
}

/// The finding about a subject, which must have this severity.
fn found(diagnoses: &[Diagnosis], subject: &str, severity: Severity) -> String {
    let of: Vec<&Diagnosis> = diagnoses.iter().filter(|found| found.subject == subject).collect();
    let [diagnosis] = of[..] else {
        panic!("{subject}: {of:?}")
    };
    assert_eq!(diagnosis.severity, severity, "{diagnosis:?}");
    assert_eq!(diagnosis.advice.is_some(), severity != Severity::Good, "{diagnosis:?}");
    diagnosis.found.clone()
}

fn a_careful_server_is_healthy(server: &MysqlServer) {
    let options = [("performance_schema", "ON"), ("max_allowed_packet", "32M")];
    let server = MysqlServer::start(server.flavour(), &options).unwrap();
    let database = server.new_database();
    run(
        &mut client(&database),
        &format!("ALTER DATABASE {} CHARACTER SET utf8mb4", database.name()),
    );
    let store = builder(&database)
        .migrate_on_open(true)
        .cover_other_writers(true)
        .open()
        .unwrap();
    let diagnoses = store.diagnose().unwrap();
    for diagnosis in diagnoses
        .iter()
        .filter(|diagnosis| diagnosis.subject != "unused indexes")
    {
        assert_eq!(
            (diagnosis.severity, &diagnosis.advice),
            (Severity::Good, &None),
            "{diagnosis:?}"
        );
    }
    assert!(found(&diagnoses, "server", Severity::Good).contains(server.flavour().name()));
    assert!(found(&diagnoses, "schema", Severity::Good).contains("7.0.0"));
    found(&diagnoses, "time_zone", Severity::Good);
}

fn careless_settings_are_named(server: &MysqlServer) {
    let options = [
        ("innodb_flush_log_at_trx_commit", "0"),
        ("innodb_doublewrite", "OFF"),
        ("innodb_flush_method", "nosync"),
        ("log_bin", "binlog"),
        ("server_id", "1"),
        ("sync_binlog", "100"),
        ("sql_mode", "NO_ENGINE_SUBSTITUTION"),
        ("max_allowed_packet", "2M"),
        ("innodb_autoinc_lock_mode", "0"),
        ("max_connections", "20"),
        ("character_set_server", "latin1"),
    ];
    let server = MysqlServer::start(server.flavour(), &options).unwrap();
    let (database, store) = fresh(&server);
    let mut other = client(&database);
    run(&mut other, "DROP INDEX idx_events_type ON events");
    run(&mut other, "CREATE INDEX mine ON events (aggregate_version)");
    let diagnoses = store.diagnose().unwrap();
    for (subject, severity, word) in [
        ("innodb_flush_log_at_trx_commit", Severity::Danger, "0"),
        ("innodb_doublewrite", Severity::Danger, "OFF"),
        ("innodb_flush_method", Severity::Danger, "nosync"),
        ("sync_binlog", Severity::Warning, "100"),
        ("sql_mode", Severity::Notice, "NO_ENGINE_SUBSTITUTION"),
        ("max_allowed_packet", Severity::Notice, "2097152"),
        ("innodb_autoinc_lock_mode", Severity::Notice, "0"),
        ("max_connections", Severity::Warning, "20"),
        ("character set", Severity::Notice, "latin1"),
        ("missing indexes", Severity::Notice, "events.idx_events_type"),
        ("foreign indexes", Severity::Notice, "events.mine"),
        ("other writers", Severity::Notice, ""),
        ("TLS", Severity::Good, ""),
    ] {
        let found = found(&diagnoses, subject, severity);
        assert!(found.contains(word), "{subject}: {found}");
    }
    run(&mut other, "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    found(
        &store.diagnose().unwrap(),
        "innodb_flush_log_at_trx_commit",
        Severity::Warning,
    );
    run(&mut other, "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    run(&mut other, "SET GLOBAL sync_binlog = 1");
    run(&mut other, "SET GLOBAL max_connections = 21");
    let diagnoses = store.diagnose().unwrap();
    for subject in [
        "innodb_flush_log_at_trx_commit",
        "sync_binlog",
        "max_connections",
        "binlog_format",
    ] {
        found(&diagnoses, subject, Severity::Good);
    }
}

fn a_log_of_statements_and_a_read_only_server_are_named(server: &MysqlServer) {
    let options = [("log_bin", "binlog"), ("server_id", "1")];
    let server = MysqlServer::start_forgetful(server.flavour(), &options).unwrap();
    let (database, store) = fresh(&server);
    let diagnoses = store.diagnose().unwrap();
    for subject in ["read_only", "binlog_format"] {
        found(&diagnoses, subject, Severity::Good);
    }
    run(&mut client(&database), "SET GLOBAL binlog_format = 'STATEMENT'");
    let store = builder(&database).open().unwrap();
    let refused = store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    refused.unwrap_err();
    found(&store.diagnose().unwrap(), "binlog_format", Severity::Danger);
    run(&mut client(&database), "SET GLOBAL read_only = ON");
    found(&store.diagnose().unwrap(), "read_only", Severity::Warning);
    if server.flavour() == Flavour::Mysql {
        run(&mut client(&database), "SET GLOBAL super_read_only = ON");
        let on = found(&store.diagnose().unwrap(), "read_only", Severity::Warning);
        assert!(on.contains("super_read_only"), "{on}");
        run(&mut client(&database), "SET GLOBAL super_read_only = OFF"); // or its database would stay
    }
}

fn clocks_and_open_transactions_are_compared(server: &MysqlServer) {
    let server = MysqlServer::start_forgetful(server.flavour(), &[("default_time_zone", "+05:00")]).unwrap();
    let (database, store) = fresh(&server);
    let diagnoses = store.diagnose().unwrap();
    found(&diagnoses, "clock", Severity::Good);
    found(&diagnoses, "open transactions", Severity::Good);
    assert!(found(&diagnoses, "time_zone", Severity::Good).contains("+05:00"));

    // A connection whose clock is an hour ahead of the server's.
    let opts = OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap());
    let ahead = opts.init(vec!["SET timestamp = UNIX_TIMESTAMP(SYSDATE(6)) + 3650"]);
    let ahead = MysqlEventStore::configure(ahead).open().unwrap();
    let clock = found(&ahead.diagnose().unwrap(), "clock", Severity::Warning);
    assert!(clock.contains("ahead"), "{clock}");
    let apart = clock.split(' ').find_map(|word| word.parse::<f64>().ok()).unwrap();
    assert!((3_640.0..3_651.0).contains(&apart), "{clock}");
    found(&ahead.diagnose().unwrap(), "open transactions", Severity::Good);

    let mut other = client(&database);
    let connection: u64 = other.query_first("SELECT CONNECTION_ID()").unwrap().unwrap();
    let named = format!("connection {connection} for 36");
    run(&mut other, "START TRANSACTION");
    run(&mut other, "SELECT id FROM firefly_turn WHERE id = 1 FOR UPDATE");
    thread::sleep(A_LOOK);
    let open = found(&ahead.diagnose().unwrap(), "open transactions", Severity::Notice);
    assert!(open.contains(&named), "{open}, and not {named}");
    run(
        &mut other,
        "SELECT id FROM firefly_gate WHERE id = 5 LOCK IN SHARE MODE",
    );
    let open = found(&ahead.diagnose().unwrap(), "open transactions", Severity::Warning);
    assert!(open.contains(&named), "{open}");
    found(&store.diagnose().unwrap(), "open transactions", Severity::Good);
    run(&mut other, "COMMIT");
    thread::sleep(A_LOOK);
    found(&ahead.diagnose().unwrap(), "open transactions", Severity::Good);
}

fn an_append_that_waits_is_no_error(server: &MysqlServer) {
    // A server of its own, because another test's statement may keep a server from listing transactions.
    let server = &MysqlServer::start_forgetful(server.flavour(), &[]).unwrap();
    let (database, store) = fresh(server);
    let open_transactions = |severity| {
        thread::sleep(A_LOOK);
        let diagnoses = builder(&database).open().unwrap().diagnose().unwrap();
        found(&diagnoses, "open transactions", severity);
    };
    let mut other = client(&database);
    run(&mut other, "START TRANSACTION");
    run(&mut other, "SELECT id FROM firefly_gate FOR UPDATE");
    thread::scope(|scope| {
        scope.spawn(|| append_one(&store));
        until_an_append_waits(&database);
        open_transactions(Severity::Good);
        run(&mut other, "COMMIT");
    });

    run(&mut other, "START TRANSACTION");
    run(&mut other, "SELECT id FROM firefly_gate FOR UPDATE");
    thread::scope(|scope| {
        scope.spawn(|| {
            let statement = "SELECT id FROM firefly_gate WHERE id = 5 AND 'text' <> ? LOCK IN SHARE MODE";
            client(&database).exec_drop(statement, (vec![0xFF_u8],)).unwrap();
        });
        until_a_statement_waits(&database, "LOCK IN SHARE MODE");
        open_transactions(match server.flavour() {
            Flavour::Mysql => Severity::Notice, // it does not tell
            Flavour::Mariadb => Severity::Good,
        });
        run(&mut other, "COMMIT");
    });
}

fn what_is_missing_in_the_schema_is_named(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    run(&mut other, "DELETE FROM firefly_schema_history WHERE version = '7.0.0'");
    let schema = found(&store.diagnose().unwrap(), "schema", Severity::Warning);
    assert!(schema.contains("needs 7.0.0"), "{schema}");
    run(
        &mut other,
        "INSERT INTO firefly_schema_history (version, description, checksum) VALUES ('9.0.0', '', '')",
    );
    found(&store.diagnose().unwrap(), "schema", Severity::Danger);

    let (database, store) = fresh(server);
    run(&mut client(&database), "DELETE FROM firefly_gate WHERE id = 7");
    let schema = found(&store.diagnose().unwrap(), "schema", Severity::Danger);
    assert!(schema.contains("firefly_gate"), "{schema}");
}

fn a_user_without_rights_learns_what_it_may_not_know(server: &MysqlServer) {
    // A server of its own, because another test's statement may keep a server from listing transactions.
    let server = &MysqlServer::start_forgetful(server.flavour(), &[]).unwrap();
    let (database, _store) = fresh(server);
    let clerk = as_a_user_with(server, &database, &[DAILY]);
    let diagnoses = clerk.diagnose().unwrap();
    for subject in ["replica", "open transactions", "unused indexes"] {
        found(&diagnoses, subject, Severity::Notice);
    }
    found(&diagnoses, "schema", Severity::Good);
    // Without the right TRIGGER, the server shows no triggers, whether there are any or not.
    let other_writers = |store: &MysqlEventStore| found(&store.diagnose().unwrap(), "other writers", Severity::Notice);
    assert!(other_writers(&clerk).contains("does not show"));
    for right in ["TRIGGER ON DB.*", "TRIGGER ON DB.events"] {
        let clerk = as_a_user_with(server, &database, &[DAILY, right]);
        assert!(other_writers(&clerk).contains("may skip"), "{right}");
    }
    assert_eq!(clerk.check_storage().unwrap(), []);
    let admin = as_a_user_with(
        server,
        &database,
        &[DAILY, "PROCESS, REPLICATION CLIENT ON *.*", replica_right(server)],
    );
    let diagnoses = admin.diagnose().unwrap();
    for subject in ["replica", "open transactions"] {
        found(&diagnoses, subject, Severity::Good);
    }
}

fn replica_right(server: &MysqlServer) -> &'static str {
    match server.flavour() {
        Flavour::Mysql => "REPLICATION CLIENT ON *.*",
        Flavour::Mariadb => "REPLICA MONITOR ON *.*",
    }
}

fn a_replica_is_named(server: &MysqlServer) {
    let options = [("log_bin", "binlog"), ("server_id", "2"), ("relay_log", "relay")];
    let server = MysqlServer::start_forgetful(server.flavour(), &options).unwrap();
    let (database, store) = fresh(&server);
    found(&store.diagnose().unwrap(), "replica", Severity::Good);
    let follow = match server.flavour() {
        Flavour::Mysql => "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'primary.example'",
        Flavour::Mariadb => "CHANGE MASTER TO MASTER_HOST = 'primary.example'",
    };
    run(&mut client(&database), follow);
    let replica = found(&store.diagnose().unwrap(), "replica", Severity::Warning);
    assert!(replica.contains("primary.example"), "{replica}");
}

/// The findings of an audit.
fn audit(store: &MysqlEventStore) -> Vec<Finding> {
    let mut findings = Vec::new();
    let audited = Audit::new()
        .run(store, |_| {}, |finding| findings.push(finding))
        .unwrap();
    assert_eq!(audited.findings, findings.len() as u64);
    findings
}

fn an_audit_names_everything_that_is_wrong(server: &MysqlServer) {
    for (damage, kind, sequence) in [
        (
            "UPDATE events SET event_data = '{\"amount\":7}' WHERE global_sequence = 3",
            FindingKind::Checksum,
            3,
        ),
        (
            "UPDATE events SET checksum = REPLACE(checksum, LEFT(checksum, 1), IF(LEFT(checksum, 1) = '0', '1', '0'))
             WHERE global_sequence = 4",
            FindingKind::Checksum,
            4,
        ),
        (
            "UPDATE events SET checksum = 'none' WHERE global_sequence = 4",
            FindingKind::Unreadable,
            4,
        ),
        ("DELETE FROM events WHERE global_sequence = 5", FindingKind::Versions, 6),
        (
            "UPDATE events SET aggregate_version = CASE aggregate_version WHEN 3 THEN 90 ELSE 3 END
             WHERE global_sequence IN (3, 4) ORDER BY global_sequence",
            FindingKind::Versions,
            3,
        ),
        (
            "UPDATE events SET tenant_id = 'evil' WHERE global_sequence = 8",
            FindingKind::Owner,
            8,
        ),
    ] {
        let (database, store) = fresh(server);
        let events: Vec<NewEvent> = (0..8).map(deposited).collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
        append_one(&store);
        assert_eq!(audit(&store), []);
        let mut other = client(&database);
        run(&mut other, damage);
        if damage.contains("THEN 90") {
            run(
                &mut other,
                "UPDATE events SET aggregate_version = 4 WHERE aggregate_version = 90",
            );
        }
        let findings = audit(&store);
        let first = findings.first().unwrap_or_else(|| panic!("{damage}: nothing is found"));
        assert_eq!(
            (first.kind, first.global_sequence),
            (kind, Some(sequence.into())),
            "{damage}: {findings:?}"
        );
        let id: Option<Uuid> = other
            .exec_first("SELECT event_id FROM events WHERE global_sequence = ?", (sequence,))
            .unwrap();
        match kind {
            FindingKind::Unreadable => {}
            _ => assert_eq!(first.event_id, id, "{damage}"),
        }
    }

    let (database, store) = fresh(server);
    let (kept, damaged, orphan) = (account(), account(), account());
    // The last event stays: a reader does not go on in a log that ends earlier than before.
    for aggregate in [&orphan, &kept, &damaged] {
        store
            .append(aggregate, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        let snapshot = NewSnapshot::from_json(aggregate, 1, "State", r#"{"amount":1}"#).unwrap();
        store.save_snapshot(None, &snapshot).unwrap();
    }
    assert_eq!(audit(&store), []);
    let mut other = client(&database);
    let change = "UPDATE snapshots SET snapshot_data = '{\"amount\":2}' WHERE aggregate_id = ?";
    other.exec_drop(change, (damaged.id(),)).unwrap();
    other
        .exec_drop("DELETE FROM events WHERE aggregate_id = ?", (orphan.id(),))
        .unwrap();
    let findings = audit(&store);
    let named: Vec<_> = findings
        .iter()
        .map(|finding| (finding.kind, finding.aggregate.clone().unwrap()))
        .collect();
    assert_eq!(
        named,
        [
            (FindingKind::Snapshot, damaged),
            (FindingKind::OrphanedSnapshot, orphan)
        ]
    );
}
