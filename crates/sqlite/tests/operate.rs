//! Operations on a store: export, import, restore to a point, maintenance of the file, and finding damage.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration as Wait;

use firefly_eventstore_core::operate::{
    Archiving, Audit, Diagnosis, Export, Finding, FindingKind, Import, IndexState, IndexUsage, Operations,
    RestorePoint, Severity, attach, prune_snapshots, restore,
};
use firefly_eventstore_core::{Checksum, EventData, GlobalSequence, Limits, MemoryEventStore, time};
use firefly_eventstore_sqlite::driver::{Connection, types::Value};
use firefly_eventstore_sqlite::{Indexes, JournalMode, SqliteEventStore, Synchronous};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use firefly_eventstore_core::prelude::*;
use support::{
    Peer, account, all_events, another, assert_intact, column, deposited, large, role, rows, tell, while_protected,
    with_writer,
};

const NOON: OffsetDateTime = datetime!(2025-01-15 12:00:00 UTC);

/// The programs of the other processes of these tests.
#[test]
fn child_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "import until killed" => import_until_killed(Path::new(&argument)),
        "diagnose a protected file" => diagnose_a_protected_file(Path::new(&argument)),
        other => panic!("{other}"),
    }
}

// Archives.

/// An append that passes the limit of the write-ahead log copies all of it. Moved events have changed pages in all of the file.
#[test]
fn what_a_move_changed_is_in_the_file_before_the_next_append() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let account = account();
    for amount in 1..=4 {
        store
            .append(&account, ExpectedVersion::Any, &[deposited(amount)])
            .unwrap();
    }
    let archived_in_file = || {
        let copy = directory.path().join("copy.db");
        fs::copy(&path, &copy).unwrap(); // without the write-ahead log
        let copy = Connection::open(copy).unwrap();
        rows(
            &copy,
            "SELECT global_sequence FROM firefly_archived_events ORDER BY 1",
            [],
        )
    };
    let events = all_events(&store);
    store.retire_events(&events[..3]).unwrap();
    assert_eq!(
        archived_in_file(),
        [1, 2, 3].map(|sequence| vec![Value::Integer(sequence)])
    );
    store.attach_events(&events[2..3]).unwrap();
    assert_eq!(
        archived_in_file(),
        [1, 2].map(|sequence| vec![Value::Integer(sequence)])
    );
}

// Export and import.

#[test]
fn an_export_comes_back_with_every_column_and_the_log_goes_on_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let source = SqliteEventStore::open(directory.path().join("source.db")).unwrap();
    write_history(&source);
    let mut file = Vec::new();
    let exported = Export::new().json_lines(&source, &mut file, |_| {}).unwrap();

    let target = SqliteEventStore::open(directory.path().join("target.db")).unwrap();
    let imported = Import::new()
        .batch_size(7)
        .json_lines(&target, Cursor::new(&file), |_| {})
        .unwrap();
    assert_eq!((imported.events, imported.already_stored), (exported.events, 0));
    assert_eq!(imported.digest, exported.digest);
    assert_eq!(everything(&target), everything(&source));
    assert_eq!(all_events(&target), all_events(&source));

    let again = Import::new().json_lines(&target, Cursor::new(&file), |_| {}).unwrap();
    assert_eq!((again.events, again.already_stored), (0, exported.events));
    assert_eq!(again.digest, exported.digest);
    assert_eq!(everything(&target), everything(&source));

    let next = exported.checkpoint.get() + 1;
    for store in [&source, &target] {
        let appended = store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        assert_eq!(appended.global_sequences(), [next]);
    }
    let mut first = all_events(&source).remove(0);
    first.aggregate = account();
    first.version = Version::from(1);
    first.global_sequence = GlobalSequence::new(next + 1).unwrap();
    let error = target.import_events(&[first.clone()]).unwrap_err();
    assert_contradiction(&error, &first);
    assert_intact(&directory.path().join("target.db"));
}

#[test]
fn an_import_keeps_the_holes_of_a_log_and_gives_no_sequence_of_a_deleted_event_again() {
    let store = SqliteEventStore::in_memory().unwrap();
    let (one, other) = (account(), account());
    let events = [event(&one, 1, 5), event(&other, 1, 1_000)];
    store.import_events(&events).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1_000);
    let appended = store.append(&one, Version::from(1), &[deposited(2)]).unwrap();
    assert_eq!(appended.global_sequences(), [1_001]);

    with_writer(&store, |connection| {
        connection
            .execute("DELETE FROM events WHERE global_sequence > 1000", [])
            .unwrap()
    });
    for sequence in [7, 1_000, 1_001] {
        let refused = event(&one, 2, sequence);
        assert_contradiction(
            &store.import_events(std::slice::from_ref(&refused)).unwrap_err(),
            &refused,
        );
    }
    store.import_events(&[event(&one, 2, 1_002)]).unwrap();
    let appended = store.append(&other, Version::from(1), &[deposited(3)]).unwrap();
    assert_eq!(appended.global_sequences(), [1_003]);
    store.import_events(&[]).unwrap();
}

#[test]
fn a_mark_that_was_given_out_is_never_imported_below() {
    let store = SqliteEventStore::in_memory().unwrap();
    let one = account();
    let events: Vec<_> = (1..=3).map(deposited).collect();
    store.append(&one, ExpectedVersion::NoStream, &events).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 3);
    // Another program deletes the end of the log, and what SQLite remembers of it. A reader of this store has already read up to 3.
    with_writer(&store, |connection| {
        connection
            .execute_batch("DELETE FROM events WHERE global_sequence > 1; DELETE FROM sqlite_sequence")
            .unwrap();
    });
    let refused = event(&one, 2, 3);
    assert_contradiction(
        &store.import_events(std::slice::from_ref(&refused)).unwrap_err(),
        &refused,
    );
    store.import_events(&[event(&one, 2, 4)]).unwrap();
}

/// Each wrong event is the last of its batch, so that earlier ones would be stored if anything was.
#[test]
fn what_contradicts_the_store_is_refused_by_its_name_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let (known, elsewhere) = (account(), account());
    let tenant = TenantId::new("north").unwrap();
    let stored = store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
        .unwrap();
    assert_eq!(stored.global_sequences(), [1, 2]);
    let stored_id = all_events(&store)[1].event_id;
    let before = everything(&store);

    let other_sequence = event(&known, 3, 2);
    let too_high = event(&known, 4, 11);
    let too_low = event(&known, 2, 11);
    let other_type = event(&AggregateKey::new("Customer", known.id()).unwrap(), 3, 11);
    let mut other_tenant = event(&known, 3, 11);
    other_tenant.tenant = Some(tenant);
    let mut same_id = event(&elsewhere, 1, 11);
    same_id.event_id = stored_id;
    for refused in [other_sequence, too_high, too_low, other_type, other_tenant, same_id] {
        let fitting = event(&account(), 1, 10);
        let batch = match refused.global_sequence.get() {
            2 => vec![refused.clone()],
            _ => vec![fitting, refused.clone()],
        };
        let error = store.import_events(&batch).unwrap_err();
        assert_contradiction(&error, &refused);
        assert!(error.to_string().starts_with("import the events with"), "{error}");
        assert_eq!(everything(&store), before, "{error}");
        assert_eq!(sequence_given(&store), 2, "{error}");
    }

    let other = MemoryEventStore::new();
    other
        .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let mut file = Vec::new();
    Export::new().json_lines(&other, &mut file, |_| {}).unwrap();
    let error = Import::new().json_lines(&store, Cursor::new(file), |_| {}).unwrap_err();
    assert_contradiction(&error, &all_events(&other)[0]);
    assert_eq!(everything(&store), before);
    let appended = store.append(&known, Version::from(2), &[deposited(3)]).unwrap();
    assert_eq!(appended.global_sequences(), [3]);
}

#[test]
fn what_no_store_takes_is_refused_before_anything_is_written() {
    let store = SqliteEventStore::in_memory().unwrap();
    let aggregate = account();
    let mut unlike = event(&aggregate, 1, 1);
    unlike.checksum = Some(Checksum::from_bytes([7; 32]));
    let error = store.import_events(&[unlike]).unwrap_err();
    assert!(error.is_integrity(), "{error:?}");

    let in_another_order = [event(&aggregate, 1, 2), event(&aggregate, 2, 1)];
    let a_gap = [event(&aggregate, 1, 1), event(&aggregate, 3, 2)];
    let mut deep = event(&aggregate, 1, 1);
    deep.data = EventData::from_stored(format!("{}1{}", "[".repeat(40), "]".repeat(40)).as_str());
    deep.checksum = None;
    for events in [&in_another_order[..], &a_gap, &[deep.clone()]] {
        let error = store.import_events(events).unwrap_err();
        assert!(error.is_invalid_input(), "{error:?}");
    }
    assert_eq!(store.high_water_mark().unwrap(), 0);

    let lifted = SqliteEventStore::in_memory_builder()
        .limits(Limits::TEXT)
        .open()
        .unwrap();
    lifted.import_events(&[deep]).unwrap();
    assert_eq!(all_events(&lifted)[0].checksum, None);
}

#[test]
fn an_import_into_a_store_that_cannot_be_written_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let aggregate = account();
    let batch = [event(&aggregate, 1, 1), large_event(&aggregate, 2, 2)];

    let reading = SqliteEventStore::builder(&path).read_only(true).open().unwrap();
    assert_eq!(*reading.import_events(&batch).unwrap_err().kind(), ErrorKind::ReadOnly);

    let impatient = SqliteEventStore::builder(&path).busy_timeout(Wait::from_millis(20));
    let impatient = impatient.open().unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(impatient.import_events(&batch).unwrap_err().is_retryable());
    other.execute_batch("ROLLBACK").unwrap();

    store.import_events(&batch).unwrap();
    assert_eq!(store.version(&aggregate).unwrap(), 2);

    let within = store.transaction(|_| store.import_events(&batch)).unwrap_err();
    assert!(within.is_invalid_input(), "{within:?}");
}

/// A kill in the middle of a batch: earlier batches are stored, nothing of this batch is, and repeating the import stores the rest.
#[test]
fn an_import_that_is_killed_in_the_middle_of_a_batch_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let source = MemoryEventStore::new();
    let accounts: Vec<_> = (0..10).map(|_| account()).collect();
    for number in 0..600 {
        source
            .append(
                &accounts[number % 10],
                ExpectedVersion::Any,
                &[deposited(number as u64)],
            )
            .unwrap();
    }
    let mut file = Vec::new();
    let exported = Export::new().json_lines(&source, &mut file, |_| {}).unwrap();
    fs::write(directory.path().join("export.jsonl"), &file).unwrap();

    let path = directory.path().join("target.db");
    for killed_at in [1, 130, 199, 430] {
        let argument = format!("{}|{killed_at}", directory.path().display());
        let mut importing = Peer::start(another("import until killed", &argument));
        importing.expect("importing");
        let whole_batches = (killed_at - 1) / BATCH * BATCH;
        let beside = Connection::open(&path).unwrap();
        while rows(&beside, "SELECT COUNT(*) FROM events", [])[0] != [Value::from(whole_batches as i64)] {}
        importing.kill();
        assert!(!importing.wait().success());
        beside.execute_batch("DROP TRIGGER held_up").unwrap();
        drop(beside);
        assert_intact(&path);
        let there = all_events(&SqliteEventStore::open(&path).unwrap());
        assert_eq!(there.len(), whole_batches, "killed at {killed_at}");
        assert_eq!(there, all_events(&source)[..whole_batches]);
    }

    let store = SqliteEventStore::open(&path).unwrap();
    let resumed = Import::new()
        .batch_size(BATCH)
        .json_lines(&store, Cursor::new(&file), |_| {})
        .unwrap();
    assert_eq!((resumed.events, resumed.already_stored), (200, 400));
    assert_eq!(resumed.digest, exported.digest);
    assert_eq!(all_events(&store), all_events(&source));
    assert!(audit(&store).is_empty());
}

const BATCH: usize = 50;

fn import_until_killed(argument: &Path) {
    let (directory, killed_at) = argument.to_str().unwrap().split_once('|').unwrap();
    let directory = Path::new(directory);
    let store = SqliteEventStore::open(directory.join("target.db")).unwrap();
    // It counts to a quadrillion, which takes for ever.
    let digits = ["json_each('[0,1,2,3,4,5,6,7,8,9]')"; 15].join(", ");
    let trigger = format!(
        "CREATE TRIGGER held_up AFTER INSERT ON events WHEN NEW.global_sequence = {killed_at}
         BEGIN SELECT COUNT(*) FROM {digits}; END"
    );
    with_writer(&store, |connection| connection.execute_batch(&trigger).unwrap());
    tell("importing");
    let file = fs::read(directory.join("export.jsonl")).unwrap();
    Import::new()
        .batch_size(BATCH)
        .json_lines(&store, Cursor::new(file), |_| {})
        .unwrap();
    tell("imported everything");
}

/// The first writer gets the next sequence. The import that comes second no longer fits, and says so.
#[test]
fn an_import_beside_a_thread_that_appends_loses_nothing_and_skips_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let imported = account();
    let (appending, reading) = (AtomicBool::new(true), AtomicBool::new(true));
    let (stored, refused, acknowledged, seen) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut checkpoint) = (Vec::new(), 0.into());
            loop {
                let last_round = !reading.load(Ordering::Acquire);
                for event in store.read(EventQuery::new().after(checkpoint)) {
                    let event = event.unwrap();
                    checkpoint = event.global_sequence;
                    seen.push(event.event_id);
                }
                if last_round {
                    return seen;
                }
            }
        });
        let appender = scope.spawn(|| {
            let (own, mut acknowledged) = (account(), Vec::new());
            while appending.load(Ordering::Acquire) {
                let event = deposited(1);
                store
                    .append(&own, ExpectedVersion::Any, std::slice::from_ref(&event))
                    .unwrap();
                acknowledged.push(event.event_id());
            }
            acknowledged
        });
        let (mut stored, mut refused, mut version) = (Vec::new(), 0, 0);
        while (version < 300 || refused < 20) && refused < 3_000 {
            let mark = store.high_water_mark().unwrap().get();
            let batch: Vec<_> = (1..=3).map(|n| event(&imported, version + n, mark + 2 * n)).collect();
            match store.import_events(&batch) {
                Ok(()) => {
                    version += 3;
                    stored.extend(batch.iter().map(|event| event.event_id));
                }
                Err(error) => {
                    let expected = matches!(error.kind(), ErrorKind::Contradiction { .. }) || error.is_retryable();
                    assert!(expected, "{error:?}");
                    refused += 1;
                }
            }
        }
        appending.store(false, Ordering::Release);
        let acknowledged = appender.join().unwrap();
        reading.store(false, Ordering::Release);
        (stored, refused, acknowledged, reader.join().unwrap())
    });
    let log = all_events(&store);
    let ids: Vec<_> = log.iter().map(|event| event.event_id).collect();
    assert_eq!(seen, ids, "the reader saw each once, in the order of the log");
    let expected: BTreeSet<_> = stored.iter().chain(&acknowledged).copied().collect();
    assert_eq!(ids.len(), expected.len());
    assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), expected);
    assert!(!stored.is_empty() && refused > 0 && !acknowledged.is_empty());
    assert!(audit(&store).is_empty());
}

// Restore.

/// The reference is the in-memory store, which restores event by event.
#[test]
fn a_log_is_restored_to_a_sequence_or_a_time_in_another_file_and_in_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let source = SqliteEventStore::open(directory.path().join("source.db")).unwrap();
    write_history(&source);
    let last = source.high_water_mark().unwrap().get();
    let times = [0, 1, 90, 150, 10_000].map(|minutes| NOON + Duration::minutes(minutes) + Duration::NANOSECOND);
    let sequences = [0, 1, last / 2, last, last + 10];
    let points = sequences
        .into_iter()
        .map(|sequence| RestorePoint::Sequence(sequence.try_into().unwrap()))
        .chain(times.into_iter().map(RestorePoint::Time));
    let mut lengths = BTreeSet::new();
    for (number, point) in points.enumerate() {
        let reference = MemoryEventStore::new();
        restore(&source, &reference, point, |_| {}).unwrap();
        let expected = all_events(&reference);
        lengths.insert(expected.len());

        let path = directory.path().join(format!("{number}.db"));
        let target = SqliteEventStore::open(&path).unwrap();
        let restored = restore(&source, &target, point, |_| {}).unwrap();
        assert_eq!(restored.events, expected.len() as u64, "{point:?}");
        let theirs = without_size(all_events(&target));
        assert_eq!(theirs, without_size(expected.clone()), "{point:?}");

        let copied = source.restore_table(point).unwrap();
        assert_eq!(copied, expected.len() as u64, "{point:?}");
        with_writer(&source, |connection| {
            let read = |table: &str| {
                let select = format!("SELECT {EVENT_COLUMNS} FROM {table} ORDER BY global_sequence");
                rows(connection, &select, [])
            };
            let in_table = read("events_restored");
            let in_file = with_writer(&target, |target| {
                rows(
                    target,
                    &format!("SELECT {EVENT_COLUMNS} FROM events ORDER BY global_sequence"),
                    [],
                )
            });
            assert_eq!(in_table, in_file, "{point:?}");
            assert!(in_table.iter().all(|row| read("events").contains(row)), "{point:?}");
            connection.execute_batch("DROP TABLE events_restored").unwrap();
        });
        if let RestorePoint::Time(time) = point {
            for event in all_events(&source) {
                let stream = source
                    .load_range(&event.aggregate, &StreamRange::all().as_of(time))
                    .unwrap();
                assert_eq!(target.version(&event.aggregate).unwrap(), stream.version(), "{time}");
            }
        }
    }
    assert!(lengths.len() >= 6, "the points differ: {lengths:?}");
}

#[test]
fn the_table_events_restored_has_the_columns_of_events_and_no_part_in_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    write_history(&store);
    let before = all_events(&store);
    let half = before[before.len() / 2].global_sequence;
    let copied = store.restore_table(half.into()).unwrap();
    assert_eq!(copied as usize, before.len() / 2 + 1);
    with_writer(&store, |connection| {
        let columns = |table: &str| {
            let sql = "SELECT cid, name, type, hidden FROM pragma_table_xinfo(?1)";
            rows(connection, sql, [table])
        };
        assert_eq!(columns("events_restored"), columns("events"));
        assert_eq!(columns("events").len(), 16);
    });

    for (name, make) in [
        ("events_restored", "SELECT 1"),
        (
            "Events_Restored",
            "ALTER TABLE events_restored RENAME TO kept; ALTER TABLE kept RENAME TO Events_Restored",
        ),
        (
            "a view",
            "ALTER TABLE events_restored RENAME TO kept; CREATE VIEW events_restored AS SELECT 1 AS one",
        ),
    ] {
        with_writer(&store, |connection| connection.execute_batch(make).unwrap());
        let error = store.restore_table(half.into()).unwrap_err();
        assert!(error.is_invalid_input(), "{name}: {error:?}");
        assert!(error.to_string().contains("events_restored"), "{error}");
    }
    with_writer(&store, |connection| {
        connection
            .execute_batch("DROP VIEW events_restored; ALTER TABLE kept RENAME TO events_restored")
            .unwrap();
    });
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(all_events(&store)[..before.len()], before);
    assert_eq!(count(&store, "events_restored"), copied.cast_signed());
    assert_eq!(store.check_storage().unwrap(), []);
    assert!(store.diagnose().unwrap().iter().all(is_good));
    drop(store);

    let store = SqliteEventStore::open(&path).unwrap();
    assert_eq!(all_events(&store).len(), before.len() + 1);
    drop(store);
    for indexes in [Indexes::Full, Indexes::Lean] {
        let builder = SqliteEventStore::builder(&path).indexes(indexes).migrate_on_open(true);
        assert!(builder.migrate().unwrap().is_empty());
        let store = builder.open().unwrap();
        assert_eq!(all_events(&store).len(), before.len() + 1);
        assert_eq!(count(&store, "events_restored"), copied.cast_signed());
        assert_eq!(store.check_storage().unwrap(), []);
    }
    with_writer(&SqliteEventStore::open(&path).unwrap(), |connection| {
        let made = column(
            connection,
            "SELECT name FROM sqlite_schema WHERE tbl_name = 'events_restored'",
        );
        assert_eq!(made, ["events_restored"]);
    });
}

#[test]
fn adopting_tables_made_by_hand_leaves_a_table_events_restored_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let connection = Connection::open(&path).unwrap();
    let columns = "event_id TEXT PRIMARY KEY, aggregate_id TEXT, aggregate_type TEXT, aggregate_version INTEGER,
        global_sequence INTEGER, event_type TEXT, event_data TEXT, metadata TEXT, created_at TEXT";
    connection
        .execute_batch(&format!("CREATE TABLE events ({columns})"))
        .unwrap();
    for number in 1..=3 {
        connection
            .execute(
                "INSERT INTO events VALUES (?1, ?2, 'Account', ?3, ?3, 'money.deposited', '{}', NULL, '2025-01-15 12:00:00')",
                (Uuid::now_v7().to_string(), Uuid::from_u128(7).to_string(), number),
            )
            .unwrap();
    }
    connection
        .execute_batch(
            "CREATE TABLE events_restored AS SELECT * FROM events WHERE global_sequence <= 2;
             CREATE INDEX idx_events_restored ON events_restored (aggregate_id);",
        )
        .unwrap();
    let before = rows(&connection, "SELECT * FROM events_restored", []);
    drop(connection);

    let builder = SqliteEventStore::builder(&path);
    assert_eq!(builder.migrate().unwrap()[0].version, "1.0.0");
    let store = builder.open().unwrap();
    assert_eq!(all_events(&store).len(), 3);
    with_writer(&store, |connection| {
        assert_eq!(rows(connection, "SELECT * FROM events_restored", []), before);
        let index = "SELECT name FROM sqlite_schema WHERE tbl_name = 'events_restored' AND type = 'index'";
        assert_eq!(column(connection, index), ["idx_events_restored"]);
    });
    assert_eq!(store.check_storage().unwrap(), []);
}

/// Neither may scan the log once for each of its events.
#[test]
fn a_restore_to_a_time_looks_aggregates_up_and_snapshots_are_found_by_their_index() {
    let store = SqliteEventStore::in_memory().unwrap();
    write_history(&store);
    store.restore_table(NOON.into()).unwrap();
    for analyzed in [false, true] {
        if analyzed {
            store.update_statistics().unwrap();
        }
        let until_time = plan_of(&store, include_str!("../sql/queries/restore_until_time.sql"), 1);
        let lookup = |step: &String| step.starts_with("SEARCH later USING AUTOMATIC");
        assert!(until_time.iter().any(lookup), "{until_time:?}");
        let until_sequence = plan_of(&store, include_str!("../sql/queries/restore_until_sequence.sql"), 1);
        assert_eq!(until_sequence, ["SEARCH events USING INTEGER PRIMARY KEY (rowid<?)"]);
        let snapshots = plan_of(&store, include_str!("../sql/queries/snapshots_after.sql"), 4);
        assert_eq!(
            snapshots[0], "SEARCH snapshots USING INDEX idx_snapshots_version (aggregate_id>?)",
            "{snapshots:?}"
        );
        assert!(
            !snapshots.iter().any(|step| step == "USE TEMP B-TREE FOR ORDER BY"),
            "{snapshots:?}"
        );
    }
}

// Snapshots.

#[test]
fn snapshots_come_by_aggregate_and_version_page_by_page_whoever_owns_them() {
    let store = SqliteEventStore::in_memory().unwrap();
    let tenant = TenantId::new("north").unwrap();
    let mut expected = Vec::new();
    for number in 0..7_u64 {
        let aggregate = AggregateKey::new(
            "Account",
            Uuid::from_u64_pair(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number),
        )
        .unwrap();
        let tenant = (number % 2 == 0).then_some(&tenant);
        let events: Vec<_> = (0..12).map(deposited).collect();
        let append = Append::new(&aggregate, ExpectedVersion::NoStream, &events);
        let append = tenant.map_or(append, |tenant| append.tenant(tenant));
        store.append_all(&[append]).unwrap();
        for version in [11, 2, 9] {
            let snapshot = NewSnapshot::new(&aggregate, Version::from(version), "balance", &version).unwrap();
            store.save_snapshot(tenant, &snapshot).unwrap();
            expected.push((aggregate.id(), Version::from(version)));
        }
    }
    expected.sort_unstable();
    for limit in [1, 2, 4, 100] {
        let (mut found, mut place) = (Vec::new(), None);
        loop {
            let page = store.snapshots_after(place.as_ref(), limit).unwrap();
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            place = Some(last.clone());
            found.extend(page.iter().map(|snapshot| (snapshot.aggregate.id(), snapshot.version)));
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
    assert_eq!(store.snapshots_after(None, 0).unwrap(), []);
    assert_eq!(prune_snapshots(&store, Some(1), None, |_| {}).unwrap(), 14);
    let left: Vec<_> = store.snapshots_after(None, 100).unwrap();
    assert!(left.len() == 7 && left.iter().all(|snapshot| snapshot.version == 11));
}

// Maintenance.

#[test]
fn statistics_are_counted_again() {
    let directory = tempfile::tempdir().unwrap();
    for store in [
        SqliteEventStore::open(directory.path().join("ledger.db")).unwrap(),
        SqliteEventStore::in_memory().unwrap(),
    ] {
        write_history(&store);
        assert!(store.update_statistics().unwrap().contains("ANALYZE"));
        let counted = "SELECT DISTINCT tbl || ' ' || idx FROM sqlite_stat1";
        let counted = with_writer(&store, |connection| column(connection, counted));
        assert!(
            counted.contains(&"events idx_events_aggregate_version".to_owned()),
            "{counted:?}"
        );
        let limit = with_writer(&store, |connection| rows(connection, "PRAGMA analysis_limit", []));
        assert_eq!(
            limit,
            [[Value::Integer(0)]],
            "the program's own ANALYZE is left as it is"
        );
    }
}

/// SQLite's VACUUM changes row ids, unless they are a key of the table.
#[test]
fn vacuum_gives_room_back_and_keeps_every_sequence_and_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    for store in [
        SqliteEventStore::open(&path).unwrap(),
        SqliteEventStore::builder(directory.path().join("delete.db"))
            .journal_mode(JournalMode::Delete)
            .open()
            .unwrap(),
        SqliteEventStore::in_memory().unwrap(),
    ] {
        write_history(&store);
        let aggregate = account();
        for number in 0..20 {
            store
                .append(&aggregate, ExpectedVersion::Any, &[deposited(number), large(20_000)])
                .unwrap();
            let snapshot =
                NewSnapshot::new(&aggregate, Version::new(2 * number + 2).unwrap(), "balance", &number).unwrap();
            store.save(&snapshot).unwrap();
        }
        with_writer(&store, |connection| {
            connection
                .execute_batch(
                    "DELETE FROM events WHERE event_type = 'file.attached';
                     DELETE FROM snapshots WHERE version % 3 = 0;",
                )
                .unwrap();
        });
        let (before, events) = (everything(&store), all_events(&store));
        let snapshots = store.snapshots_after(None, 100).unwrap();
        let given = sequence_given(&store);

        let said = store.vacuum().unwrap();
        let [had, has] = numbers(&said)[..] else {
            panic!("{said}")
        };
        assert!(had > has + 20 * 20_000, "{said}");
        assert!(!said.contains("another connection reads"), "{said}");
        assert_eq!(everything(&store), before);
        assert_eq!(all_events(&store), events);
        assert_eq!(store.snapshots_after(None, 100).unwrap(), snapshots);
        assert_eq!(sequence_given(&store), given);
        let appended = store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        assert_eq!(appended.global_sequences(), [given.cast_unsigned() + 1]);
        assert_eq!(numbers(&store.vacuum().unwrap()).len(), 2);
    }
    let store = SqliteEventStore::open(&path).unwrap();
    let said = store.vacuum().unwrap();
    assert_eq!(numbers(&said)[1], fs::metadata(&path).unwrap().len());
    assert_eq!(fs::metadata(path.with_extension("db-wal")).unwrap().len(), 0);
    assert_intact(&path);
}

#[test]
fn vacuum_beside_somebody_who_reads_says_when_the_file_will_be_smaller() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::builder(&path)
        .busy_timeout(Wait::from_millis(20))
        .open()
        .unwrap();
    write_history(&store);
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let events = count_in(&reader, "events");
    let said = store.vacuum().unwrap();
    assert!(said.contains("another connection reads"), "{said}");
    assert_eq!(count_in(&reader, "events"), events, "the reader is not disturbed");
    reader.execute_batch("COMMIT").unwrap();
    let said = store.vacuum().unwrap();
    assert!(!said.contains("another connection reads"), "{said}");
    let reading = SqliteEventStore::builder(&path).read_only(true).open().unwrap();
    assert_eq!(*reading.vacuum().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(*reading.update_statistics().unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[test]
fn indexes_are_there_missing_or_somebody_elses_by_the_choice_that_was_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    write_history(&store);
    let events: Vec<_> = (0..200).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    let usage = store.index_usage().unwrap();
    assert_eq!(usage.len(), 14, "{usage:#?}");
    for index in &usage {
        assert_eq!(index.state, IndexState::Present, "{index:?}");
        assert!(index.bytes.is_some_and(|bytes| bytes >= 4096), "{index:?}");
        assert_eq!(index.scans, None);
    }
    let bytes = |name: &str| usage.iter().find(|index| index.name == name).unwrap().bytes;
    assert!(bytes("idx_events_event_id") > bytes("idx_events_tenant_id"));

    with_writer(&store, |connection| {
        connection
            .execute_batch(
                "DROP INDEX idx_events_type;
                 DROP INDEX idx_snapshots_created_at;
                 CREATE INDEX of_mine ON events (length(event_data));
                 CREATE TABLE other (name TEXT);
                 CREATE INDEX of_another_table ON other (name);",
            )
            .unwrap();
    });
    let changed = states(&store.index_usage().unwrap());
    assert_eq!(
        changed,
        [
            ("events of_mine".to_owned(), IndexState::Foreign),
            ("events idx_events_type".to_owned(), IndexState::Missing),
            ("snapshots idx_snapshots_created_at".to_owned(), IndexState::Missing),
        ]
        .into()
    );

    with_writer(&store, |connection| {
        connection
            .execute_batch(
                "DROP INDEX of_mine;
                 CREATE INDEX idx_snapshots_created_at ON snapshots (created_at);
                 CREATE INDEX idx_events_created_by ON events (created_by);",
            )
            .unwrap();
    });
    let standard = [("events idx_events_type".to_owned(), IndexState::Missing)].into();
    assert_eq!(
        states(&store.index_usage().unwrap()),
        standard,
        "an index of the full set is the store's own"
    );
    drop(store);
    for (chosen, missing) in [(Indexes::Full, 5), (Indexes::Standard, 1), (Indexes::Lean, 0)] {
        let builder = SqliteEventStore::builder(&path).indexes(chosen);
        let found = states(&builder.open().unwrap().index_usage().unwrap());
        assert_eq!(found.len(), missing, "{chosen:?}: {found:?}");
    }
    for chosen in [Indexes::Full, Indexes::Standard, Indexes::Lean] {
        SqliteEventStore::builder(&path).indexes(chosen).migrate().unwrap();
        let found = states(&SqliteEventStore::open(&path).unwrap().index_usage().unwrap());
        assert_eq!(
            found,
            BTreeMap::new(),
            "{chosen:?}, and nothing says so but the indexes"
        );
    }
}

// Damage to the file.

#[test]
fn storage_that_is_as_it_should_be_has_no_findings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    assert_eq!(store.check_storage().unwrap(), []);
    write_history(&store);
    assert_eq!(store.check_storage().unwrap(), []);
    let reading = SqliteEventStore::builder(&path).read_only(true).open().unwrap();
    assert_eq!(reading.check_storage().unwrap(), []);
    let store = SqliteEventStore::in_memory().unwrap();
    write_history(&store);
    assert_eq!(store.check_storage().unwrap(), []);
}

#[test]
fn a_sequence_that_is_out_of_step_with_the_log_is_found() {
    let store = SqliteEventStore::in_memory().unwrap();
    write_history(&store);
    let last = store.high_water_mark().unwrap();
    for (damage, what) in [
        (
            "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'events'",
            "the last sequence is 3",
        ),
        ("DELETE FROM sqlite_sequence", "no row"),
        ("INSERT INTO sqlite_sequence VALUES ('events', 'three')", "no number"),
        (
            "UPDATE sqlite_sequence SET seq = 4000 WHERE name = 'events'",
            "sequences up to 4000 were allocated",
        ),
    ] {
        with_writer(&store, |connection| connection.execute_batch(damage).unwrap());
        let found = store.check_storage().unwrap();
        assert_eq!(kinds(&found), [FindingKind::Sequence], "{damage}: {found:?}");
        assert!(found[0].reason.contains(what), "{found:?}");
        assert!(found[0].reason.contains(&last.to_string()), "{found:?}");
    }
    let appended = store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(appended.global_sequences(), [4_001]);
    assert_eq!(store.check_storage().unwrap(), []);
}

#[test]
fn a_row_of_the_programs_own_that_refers_to_nothing_is_found() {
    let store = SqliteEventStore::in_memory().unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    with_writer(&store, |connection| {
        connection
            .execute_batch(
                "CREATE TABLE seen (global_sequence INTEGER REFERENCES events (global_sequence));
                 INSERT INTO seen VALUES (1);",
            )
            .unwrap();
    });
    assert_eq!(store.check_storage().unwrap(), []);
    let unguarded = |sql: &str| {
        // The setting cannot be changed within a transaction.
        with_writer(&store, |connection| {
            connection
                .execute_batch(&format!(
                    "COMMIT; PRAGMA foreign_keys = OFF; {sql}; PRAGMA foreign_keys = ON; BEGIN IMMEDIATE"
                ))
                .unwrap();
        });
    };
    unguarded("INSERT INTO seen VALUES (9)");
    let found = store.check_storage().unwrap();
    assert_eq!(kinds(&found), [FindingKind::Storage], "{found:?}");
    assert!(found[0].reason.contains("row 2 of the table seen"), "{found:?}");

    unguarded("CREATE TABLE odd (one INTEGER REFERENCES seen (global_sequence)); INSERT INTO odd VALUES (1)");
    let found = store.check_storage().unwrap();
    assert!(
        !found.is_empty(),
        "keys that cannot be checked are no reason to check nothing"
    );
}

/// Bytes on a page of the table of events are changed. The findings name the index that does not match, or the damage of the page.
#[test]
fn bytes_that_flip_in_the_middle_of_a_page_of_events_are_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let events = closed_store(&path);
    let whole = fs::read(&path).unwrap();
    let event = &events[events.len() / 2];

    // In the row, the id is between the header and the data; in the index, only the sequence follows it.
    let id = event.event_id.to_string();
    let places = find(&whole, id.as_bytes());
    assert_eq!(places.len(), 2, "in the table and in the index");
    for place in places {
        let found = after_damage(&path, &whole, |bytes| bytes[place + 20] ^= 1);
        assert!(
            found.iter().any(|finding| finding.kind == FindingKind::Storage),
            "{found:#?}"
        );
        let named = |finding: &Finding| finding.reason.contains("idx_events_event_id");
        assert!(found.iter().any(named), "{found:#?}");
    }

    let page = page_of_events(&whole, &id);
    for (what, start, bytes) in [
        ("the kind of the page", 0, &[0xee_u8][..]),
        ("how many rows there are", 3, &[0x0f, 0xff]),
        ("where the rows are", 8, &[0xff; 16]),
        ("the whole middle", 1_000, &[0xff; 2_000]),
        ("a row of zeros", 1_500, &[0; 1_000]),
    ] {
        let found = after_damage(&path, &whole, |whole| {
            whole[page + start..page + start + bytes.len()].copy_from_slice(bytes);
        });
        assert!(kinds(&found).contains(&FindingKind::Storage), "{what}: {found:#?}");
        assert!(found.iter().all(|finding| !finding.reason.is_empty()));
    }

    let found = after_damage(&path, &whole, |whole| whole[..16].fill(b'x'));
    assert_eq!(
        kinds(&found).first(),
        Some(&FindingKind::Storage),
        "no database any more: {found:?}"
    );
    assert_eq!(after_damage(&path, &whole, |_| {}), []);
}

#[test]
fn an_audit_says_what_it_could_not_look_at_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let events = closed_store(&path);
    let mut whole = fs::read(&path).unwrap();
    let page = page_of_events(&whole, &events[events.len() / 2].event_id.to_string());
    whole[page] = 0xee;
    fs::write(&path, &whole).unwrap();

    let found = audit(&delete_mode(&path).unwrap());
    let is_left_out = |finding: &Finding| finding.reason.contains("cannot be read, and were not checked");
    assert!(is_left_out(&found[0]), "{found:#?}");
    let goes_on = found.iter().any(|finding| !is_left_out(finding));
    assert!(goes_on, "what SQLite says of its file follows: {found:#?}");
}

#[test]
fn no_damage_makes_a_check_an_audit_or_a_diagnosis_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    closed_store(&path);
    let whole = fs::read(&path).unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut found = 0;
    for _ in 0..60 {
        let mut damaged = whole.clone();
        let start = random.usize(100..damaged.len());
        let end = (start + random.usize(1..400)).min(damaged.len());
        damaged[start..end].fill_with(|| random.u8(..));
        fs::write(&path, &damaged).unwrap();
        let Ok(store) = delete_mode(&path) else {
            found += 1;
            continue;
        };
        let place = format!("seed {seed}, bytes {start} to {end}");
        let storage = store
            .check_storage()
            .unwrap_or_else(|error| panic!("{place}: {error:?}"));
        let audited = Audit::new().run(&store, |_| {}, |_| {});
        if let Err(error) = &audited {
            assert!(
                error.is_integrity() || matches!(error.kind(), ErrorKind::Schema(_)),
                "{place}: {error:?}"
            );
        }
        for error in [store.diagnose().err(), store.index_usage().err()]
            .into_iter()
            .flatten()
        {
            assert!(
                error.is_integrity() || matches!(error.kind(), ErrorKind::Schema(_)),
                "{place}: {error:?}"
            );
        }
        found += i32::from(!storage.is_empty() || !audited.is_ok_and(|audited| audited.is_intact()));
    }
    assert!(found > 15, "{found} of 60 were found");
}

// Damage that an audit finds.

/// A byte is flipped: the stored event does not match its checksum.
#[test]
fn an_audit_names_the_event_whose_data_or_checksum_has_a_flipped_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let events = closed_store(&path);
    let whole = fs::read(&path).unwrap();
    let event = &events[33];
    let data = find(&whole, event.data.as_str().as_bytes());
    let checksum = find(&whole, event.checksum.unwrap().to_string().as_bytes());
    let flips = [
        (data[0] + event.data.as_str().len() / 2, b'Z'),
        (checksum[0] + 10, b'g'),
        (checksum[0], 0),
    ];
    for (place, byte) in flips {
        let mut damaged = whole.clone();
        damaged[place] = match byte {
            0 if damaged[place] == b'1' => b'2',
            0 => b'1',
            byte => byte,
        };
        fs::write(&path, damaged).unwrap();
        let found = audit(&delete_mode(&path).unwrap());
        let expected = if byte == b'g' {
            FindingKind::Unreadable
        } else {
            FindingKind::Checksum
        };
        assert_eq!(found[0].kind, expected, "{found:#?}");
        // An unreadable event leaves a gap before the next one of its aggregate.
        let gaps = usize::from(expected == FindingKind::Unreadable);
        assert_eq!(kinds(&found)[1..], [FindingKind::Versions].repeat(gaps), "{found:#?}");
        assert_eq!(found[0].global_sequence, Some(event.global_sequence));
        if expected == FindingKind::Checksum {
            assert_eq!(found[0].event_id, Some(event.event_id));
        }
    }
}

#[test]
fn an_audit_names_what_somebody_changed_behind_the_stores_back() {
    let cases: [(&str, FindingKind, u64); 4] = [
        (
            "DELETE FROM events WHERE global_sequence = 40",
            FindingKind::Versions,
            44,
        ),
        (
            "UPDATE events SET aggregate_version = 1000 WHERE global_sequence = 40;
             UPDATE events SET aggregate_version = aggregate_version - 1 WHERE global_sequence = 44;
             UPDATE events SET aggregate_version = (SELECT aggregate_version + 1 FROM events WHERE global_sequence = 44)
             WHERE global_sequence = 40",
            FindingKind::Versions,
            40,
        ),
        (
            "UPDATE events SET tenant_id = 'south' WHERE global_sequence = 40",
            FindingKind::Owner,
            40,
        ),
        (
            "UPDATE events SET aggregate_type = 'Customer' WHERE global_sequence = 40",
            FindingKind::Owner,
            40,
        ),
    ];
    for (damage, kind, sequence) in cases {
        let store = SqliteEventStore::in_memory().unwrap();
        write_history(&store);
        assert_eq!(audit(&store), []);
        with_writer(&store, |connection| connection.execute_batch(damage).unwrap());
        let found = audit(&store);
        let first = found.first().unwrap_or_else(|| panic!("{damage}: nothing was found"));
        assert_eq!(
            (first.kind, first.global_sequence),
            (kind, Some(GlobalSequence::new(sequence).unwrap())),
            "{damage}: {found:#?}"
        );
        assert!(first.aggregate.is_some() && first.event_id.is_some());
        assert!(found.iter().all(|finding| finding.kind == kind), "{damage}: {found:#?}");
    }
}

#[test]
fn an_audit_goes_on_after_a_row_that_cannot_be_read() {
    let store = SqliteEventStore::in_memory().unwrap();
    write_history(&store);
    let events = all_events(&store);
    let damage = "PRAGMA ignore_check_constraints = ON;
        UPDATE events SET event_type = CAST(x'41ff42' AS TEXT) WHERE global_sequence = 20;
        UPDATE events SET created_at = '2025-13-15T12:00:00.000000Z' WHERE global_sequence IN (30, 31);
        UPDATE events SET event_data = '{' WHERE global_sequence = 50;
        PRAGMA ignore_check_constraints = OFF;";
    with_writer(&store, |connection| connection.execute_batch(damage).unwrap());
    let found = audit(&store);
    let of_events: Vec<_> = found
        .iter()
        .filter_map(|finding| Some((finding.kind, finding.global_sequence?.get())))
        .collect();
    for sequence in [20, 30, 31] {
        assert!(of_events.contains(&(FindingKind::Unreadable, sequence)), "{found:#?}");
    }
    let damaged = found
        .iter()
        .find(|finding| finding.event_id == Some(events[49].event_id));
    assert!(damaged.is_some_and(|finding| finding.aggregate.is_some()), "{found:#?}");
    let last = events.last().unwrap();
    with_writer(&store, |connection| {
        let damage = "UPDATE events SET event_data = '{\"amount\":999999}' WHERE global_sequence = ?1";
        connection.execute(damage, [last.global_sequence.as_i64()]).unwrap()
    });
    let found = audit(&store);
    let at_the_end = found.iter().find(|finding| finding.event_id == Some(last.event_id));
    assert_eq!(at_the_end.unwrap().kind, FindingKind::Checksum);
}

#[test]
fn an_audit_names_snapshots_that_are_damaged_or_belong_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    closed_store(&path);
    let store = delete_mode(&path).unwrap();
    let (whole, gone) = (account(), account());
    for aggregate in [&whole, &gone] {
        store
            .append(aggregate, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
            .unwrap();
        for version in [1, 2] {
            let state = format!("the state of {} at {version}", aggregate.id());
            let snapshot = NewSnapshot::new(aggregate, Version::from(version), "balance", &state).unwrap();
            store.save(&snapshot).unwrap();
        }
    }
    assert_eq!(audit(&store), []);
    with_writer(&store, |connection| {
        let delete = "DELETE FROM events WHERE aggregate_id = ?1 AND aggregate_version >= ?2";
        connection.execute(delete, (gone.id().to_string(), 1)).unwrap();
        connection.execute(delete, (whole.id().to_string(), 2)).unwrap();
    });
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let state = format!("the state of {} at 1", whole.id());
    let place = find(&bytes, state.as_bytes())[0];
    bytes[place] = b'T';
    fs::write(&path, bytes).unwrap();

    let found = audit(&delete_mode(&path).unwrap());
    let of = |aggregate: &AggregateKey| -> Vec<_> {
        let found = found
            .iter()
            .filter(|finding| finding.aggregate.as_ref() == Some(aggregate));
        found
            .map(|finding| (finding.kind, finding.version.unwrap().get()))
            .collect()
    };
    let orphan = FindingKind::OrphanedSnapshot;
    assert_eq!(of(&gone), [(orphan, 1), (orphan, 2)], "{found:#?}");
    assert_eq!(
        of(&whole),
        [(FindingKind::Snapshot, 1), (FindingKind::Snapshot, 2)],
        "{found:#?}"
    );
    // The last events of the log were deleted, and SQLite still has their last sequence.
    assert_eq!(found.len(), 5, "{found:#?}");
    assert_eq!(found[4].kind, FindingKind::Sequence);
}

// Diagnosis.

#[test]
fn a_store_as_it_is_opened_by_default_is_as_it_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    write_history(&store);
    let diagnoses = store.diagnose().unwrap();
    assert!(diagnoses.iter().all(is_good), "{diagnoses:#?}");
    let found = |subject: &str| one(&diagnoses, subject).found.clone();
    assert!(found("sqlite").starts_with("3."), "{diagnoses:#?}");
    assert!(found("file").contains(path.to_str().unwrap()));
    assert_eq!(found("journal_mode"), "wal");
    assert_eq!(found("synchronous"), "FULL");
    assert_eq!(found("busy_timeout"), "5000 ms");
    assert!(found("schema").contains("7.0.0"));

    let memory = SqliteEventStore::in_memory().unwrap().diagnose().unwrap();
    let bad: Vec<_> = memory.iter().filter(|diagnosis| !is_good(diagnosis)).collect();
    assert_eq!(bad.len(), 1, "{memory:#?}");
    assert_eq!(
        (bad[0].severity, bad[0].subject.as_str()),
        (Severity::Notice, "durability")
    );
}

#[test]
fn what_is_not_as_it_should_be_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let open = |name: &str| SqliteEventStore::open(path(name)).unwrap();

    let store = SqliteEventStore::builder(path("loose.db"))
        .journal_mode(JournalMode::Truncate)
        .synchronous(Synchronous::Normal)
        .busy_timeout(Wait::ZERO)
        .limits(Limits::TEXT)
        .open()
        .unwrap();
    assert_bad(&store, "journal_mode", Severity::Notice);
    assert_bad(&store, "synchronous", Severity::Notice);
    assert_bad(&store, "busy_timeout", Severity::Notice);
    assert_bad(&store, "limits", Severity::Notice);

    let store = open("indexes.db");
    with_writer(&store, |connection| {
        connection
            .execute_batch(
                "DROP INDEX idx_events_type; DROP INDEX idx_snapshots_version; CREATE INDEX of_mine ON events (metadata)",
            )
            .unwrap();
    });
    for (subject, severity, name) in [
        ("missing indexes", Severity::Notice, "events.idx_events_type"),
        (
            "missing required indexes",
            Severity::Warning,
            "snapshots.idx_snapshots_version",
        ),
        ("foreign indexes", Severity::Notice, "events.of_mine"),
    ] {
        assert_eq!(assert_bad(&store, subject, severity).found, name);
    }

    let store = open("schema.db");
    with_writer(&store, |connection| {
        connection
            .execute_batch("DELETE FROM firefly_schema_history WHERE version = '7.0.0'")
            .unwrap();
    });
    let advice = assert_bad(&store, "schema", Severity::Warning).advice;
    assert_eq!(advice.as_deref(), Some("run migrate"));
    with_writer(&store, |connection| {
        connection
            .execute_batch(
                "INSERT INTO firefly_schema_history (version, description, checksum)
                 VALUES ('7.0.0', 'archives', 'other'), ('9.0.0', 'newer', '')",
            )
            .unwrap();
    });
    assert_bad(&store, "schema", Severity::Danger);
    drop(store);

    let store = open("newer.db");
    with_writer(&store, |connection| {
        let newer = "INSERT INTO firefly_schema_history (version, description, checksum) VALUES ('9.0.0', 'newer', '')";
        connection.execute_batch(newer).unwrap();
    });
    let advice = assert_bad(&store, "schema", Severity::Warning).advice;
    assert_eq!(advice.as_deref(), Some("update this program"));

    let store = open("read.db");
    let reading = SqliteEventStore::builder(path("read.db"))
        .read_only(true)
        .open()
        .unwrap();
    assert_bad(&reading, "writing", Severity::Notice);
    assert!(
        reading
            .diagnose()
            .unwrap()
            .iter()
            .all(|diagnosis| diagnosis.subject != "synchronous")
    );
    fs::rename(path("read.db"), path("moved.db")).unwrap();
    assert_bad(&store, "file", Severity::Danger);
}

/// With such settings a power failure, or a crash in the middle of a commit, may damage the file. A diagnosis does not find them, because
/// no connection of the store still has them then.
#[test]
fn settings_that_would_damage_the_file_do_not_outlive_the_work_that_makes_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::builder(directory.path().join("ledger.db"))
        .journal_mode(JournalMode::Delete)
        .open()
        .unwrap();
    write_history(&store);
    let settings = "SELECT * FROM pragma_journal_mode, pragma_synchronous, pragma_foreign_keys";
    let found = store.transaction(|tx| {
        let connection = tx.connection();
        let before = rows(connection, settings, []);
        let loosen =
            "COMMIT; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE";
        connection.execute_batch(loosen).unwrap();
        Ok::<_, Error>((before, rows(connection, settings, [])))
    });
    let (before, loosened) = found.unwrap();
    assert_eq!(loosened, [[Value::from("off".to_owned()), 0.into(), 0.into()]]);

    let diagnoses = store.diagnose().unwrap();
    assert_eq!(
        one(&diagnoses, "journal_mode").found,
        "delete: readers and the writer wait for one another"
    );
    assert_eq!(one(&diagnoses, "synchronous").found, "EXTRA");
    let after = store.transaction(|tx| Ok::<_, Error>(rows(tx.connection(), settings, [])));
    assert_eq!(after.unwrap(), before);
}

#[test]
fn a_write_ahead_log_that_has_grown_large_is_noticed_until_vacuum_empties_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    with_writer(&store, |connection| {
        connection
            .execute_batch("CREATE TABLE filler AS SELECT zeroblob(65 << 20) AS zeros")
            .unwrap();
    });
    assert_bad(&store, "write-ahead log", Severity::Notice);
    store.vacuum().unwrap();
    assert!(store.diagnose().unwrap().iter().all(is_good));
}

#[test]
fn a_file_that_the_system_protects_is_a_danger() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    drop(delete_mode(&path).unwrap());
    while_protected(&path, "diagnose a protected file");
}

fn diagnose_a_protected_file(path: &Path) {
    assert_bad(&delete_mode(path).unwrap(), "writing", Severity::Danger);
}

// What the tests share.

const EVENT_COLUMNS: &str = "global_sequence, event_id, aggregate_id, aggregate_type, aggregate_version, event_type, \
    event_data, metadata, created_at, updated_at, created_by, tenant_id, correlation_id, causation_id, checksum, \
    event_size_bytes";

/// A log with all kinds of events, of four aggregates with alternating events, at times that are not always ascending. One row was
/// corrected, one has no checksum.
fn write_history(store: &SqliteEventStore) {
    let tenant = TenantId::new("north").unwrap();
    let aggregates: Vec<_> = (0..4).map(|_| account()).collect();
    for number in 0..80_u64 {
        let minutes = number as i64 * 2 - if number % 9 == 4 { 60 } else { 0 };
        let mut event = NewEvent::new(
            ["money.deposited", "money.withdrawn"][number as usize % 2],
            &serde_json::json!({ "amount": number, "to": "Łukasz 🦋", "note": "n".repeat(number as usize * 3) }),
        )
        .unwrap()
        .created_at(NOON + Duration::minutes(minutes) + Duration::microseconds(number as i64))
        .unwrap();
        if number % 3 == 0 {
            event = event.created_by("clerk-7").unwrap().correlation_id("trace 1").unwrap();
        }
        if number % 5 == 0 {
            event = event
                .causation_id("because")
                .unwrap()
                .metadata(&serde_json::json!({}))
                .unwrap();
        }
        if number % 7 == 0 {
            event = event.metadata_json("{ \"branch\" : \"Oslo\",\n \"n\": 1.50 }").unwrap();
        }
        let index = number as usize % 4;
        let events = [event];
        let append = Append::new(&aggregates[index], ExpectedVersion::Any, &events);
        let append = if index == 1 { append.tenant(&tenant) } else { append };
        store.append_all(&[append]).unwrap();
    }
    with_writer(store, |connection| {
        connection
            .execute_batch("UPDATE events SET created_by = 'auditor' WHERE global_sequence = 11")
            .unwrap();
    });
}

/// Every row of the log, and the next sequence.
fn everything(store: &SqliteEventStore) -> Vec<Vec<Value>> {
    with_writer(store, |connection| {
        let select = format!("SELECT {EVENT_COLUMNS} FROM events ORDER BY global_sequence");
        let mut rows_of = rows(connection, &select, []);
        rows_of.extend(rows(connection, "SELECT name, seq FROM sqlite_sequence", []));
        rows_of
    })
}

fn sequence_given(store: &SqliteEventStore) -> i64 {
    with_writer(store, |connection| {
        connection
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'events'", [], |row| {
                row.get(0)
            })
            .unwrap()
    })
}

fn count(store: &SqliteEventStore, table: &str) -> i64 {
    with_writer(store, |connection| count_in(connection, table))
}

fn count_in(connection: &Connection, table: &str) -> i64 {
    connection
        .query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0))
        .unwrap()
}

/// An event of another store.
fn event(aggregate: &AggregateKey, version: u64, sequence: u64) -> EventEnvelope {
    envelope(aggregate, version, sequence, &deposited(sequence))
}

fn large_event(aggregate: &AggregateKey, version: u64, sequence: u64) -> EventEnvelope {
    envelope(aggregate, version, sequence, &large(100_000))
}

fn envelope(aggregate: &AggregateKey, version: u64, sequence: u64, event: &NewEvent) -> EventEnvelope {
    let mut stored = event.stored(
        aggregate,
        None,
        Version::new(version).unwrap(),
        sequence.try_into().unwrap(),
        NOON,
    );
    stored.size_bytes = None;
    stored
}

fn without_size(events: Vec<EventEnvelope>) -> Vec<EventEnvelope> {
    let strip = |mut event: EventEnvelope| {
        event.size_bytes = None;
        event
    };
    events.into_iter().map(strip).collect()
}

#[track_caller]
fn assert_contradiction(error: &Error, event: &EventEnvelope) {
    let ErrorKind::Contradiction {
        event_id,
        global_sequence,
        ..
    } = error.kind()
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (*event_id, *global_sequence),
        (event.event_id, event.global_sequence),
        "{error}"
    );
}

/// SQLite's plan of a statement.
fn plan_of(store: &SqliteEventStore, sql: &str, parameters: usize) -> Vec<String> {
    with_writer(store, |connection| {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = vec![Value::Null; parameters];
        let steps = statement.query_map(firefly_eventstore_sqlite::driver::params_from_iter(parameters), |row| {
            row.get(3)
        });
        steps.unwrap().collect::<Result<_, _>>().unwrap()
    })
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|character: char| !character.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap())
        .collect()
}

/// The indexes that are not simply present.
fn states(usage: &[IndexUsage]) -> BTreeMap<String, IndexState> {
    let other = usage.iter().filter(|index| index.state != IndexState::Present);
    other
        .map(|index| (format!("{} {}", index.table, index.name), index.state))
        .collect()
}

fn audit(store: &SqliteEventStore) -> Vec<Finding> {
    let mut found = Vec::new();
    let audited = Audit::new().run(store, |_| {}, |finding| found.push(finding)).unwrap();
    assert_eq!(audited.findings, found.len() as u64);
    found
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|finding| finding.kind).collect()
}

fn delete_mode(path: &Path) -> Result<SqliteEventStore, Error> {
    SqliteEventStore::builder(path).journal_mode(JournalMode::Delete).open()
}

/// A closed store with all events in its one file.
fn closed_store(path: &Path) -> Vec<EventEnvelope> {
    let store = delete_mode(path).unwrap();
    write_history(&store);
    all_events(&store)
}

/// The findings of a store that was opened before its file was damaged.
fn after_damage(path: &Path, whole: &[u8], damage: impl FnOnce(&mut [u8])) -> Vec<Finding> {
    fs::write(path, whole).unwrap();
    let store = delete_mode(path).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 80);
    let mut damaged = whole.to_vec();
    damage(&mut damaged);
    fs::write(path, damaged).unwrap();
    store.check_storage().unwrap()
}

fn find(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let places = bytes.windows(text.len()).enumerate();
    places
        .filter(|(_, window)| *window == text)
        .map(|(place, _)| place)
        .collect()
}

/// The position of the page of the table that contains an event: a leaf page, which begins with 13.
fn page_of_events(bytes: &[u8], id: &str) -> usize {
    let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let pages = find(bytes, id.as_bytes()).into_iter().map(|place| place / size * size);
    pages.into_iter().find(|page| bytes[*page] == 13).unwrap()
}

fn is_good(diagnosis: &Diagnosis) -> bool {
    diagnosis.severity == Severity::Good && diagnosis.advice.is_none()
}

fn one<'a>(diagnoses: &'a [Diagnosis], subject: &str) -> &'a Diagnosis {
    let mut found = diagnoses.iter().filter(|diagnosis| diagnosis.subject == subject);
    let (Some(diagnosis), None) = (found.next(), found.next()) else {
        panic!("{subject}: {diagnoses:#?}")
    };
    diagnosis
}

#[track_caller]
fn assert_bad(store: &SqliteEventStore, subject: &str, severity: Severity) -> Diagnosis {
    let diagnosis = one(&store.diagnose().unwrap(), subject).clone();
    assert_eq!(diagnosis.severity, severity, "{diagnosis:?}");
    assert!(
        diagnosis.advice.as_ref().is_some_and(|advice| !advice.is_empty()),
        "{diagnosis:?}"
    );
    diagnosis
}

#[test]
fn an_archive_is_a_file_that_is_there_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let events: Vec<_> = (0..5).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    let path = directory.path().join("past.jsonl");
    let archiving = Archiving::until(3);

    let nowhere = archiving.into_file(&store, directory.path().join("none/past.jsonl"), |_| {});
    assert!(matches!(nowhere.unwrap_err().kind(), ErrorKind::Io { .. }));
    let nothing = Archiving::until(0).into_file(&store, &path, |_| {}).unwrap_err();
    assert!(nothing.is_invalid_input(), "{nothing}");
    let archive = archiving.into_file(&store, &path, |_| {}).unwrap();
    assert_eq!((archive.events, archive.is_retired), (3, true));
    assert_eq!(archive.location, path.canonicalize().unwrap().display().to_string());
    let again = Archiving::until(4).into_file(&store, &path, |_| {}).unwrap_err();
    assert!(
        again.is_invalid_input() && again.to_string().contains("exists already"),
        "{again}"
    );

    let names = std::fs::read_dir(directory.path()).unwrap();
    let names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.ends_with(".part")), "{names:?}");
    let file = std::fs::File::open(&path).unwrap();
    attach(&store, std::io::BufReader::new(file), |_| {}).unwrap();
    assert_eq!(store.read(EventQuery::new()).count(), 5);
}
