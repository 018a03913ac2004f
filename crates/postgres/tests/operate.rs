//! Export, import, restore and audit on a real server: no event is lost or repeated, and errors name what does not fit.

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::SummaryQuery;
use firefly_eventstore_core::operate::{
    Audit, Export, Finding, FindingKind, Import, LogDigest, Operations, RestorePoint, restore,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::time::macros::datetime;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::{Client, Config};
use firefly_eventstore_test_servers::Database;

use crate::support::{account, all_events, client, deposited, fresh};

/// An event with a value in every column that a client can write.
fn with_everything(number: u64) -> NewEvent {
    let data = serde_json::json!({ "number": number, "big": u64::MAX, "text": "Ångström \u{1F600}\n", "z": [1.5, null], "a": {} });
    NewEvent::new("everything.happened", &data)
        .unwrap()
        .metadata(&serde_json::json!({ "correlationId": "m-1", "empty": [] }))
        .unwrap()
        .created_at(datetime!(2024-02-29 23:59:59.999_999 UTC) + Duration::from_micros(number))
        .unwrap()
        .created_by("clerk-7")
        .unwrap()
        .correlation_id("trace ")
        .unwrap()
        .causation_id("Ursache")
        .unwrap()
}

/// A log with values and NULLs in every column that allows both. It has holes, tenants, a row that another program wrote, and a corrected
/// one.
fn history(database: &Database, store: &PostgresEventStore) {
    let (acme, rolled_back) = (TenantId::new("ACME").unwrap(), [deposited(0), deposited(0)]);
    for number in 0..10 {
        let (one, other) = (account(), account());
        let full: Vec<NewEvent> = (0..5).map(|step| with_everything(number * 10 + step)).collect();
        let plain = [deposited(number), deposited(number)];
        let appends = [
            Append::new(&one, ExpectedVersion::NoStream, &full).tenant(&acme),
            Append::new(&other, ExpectedVersion::NoStream, &plain),
        ];
        store.append_all(&appends).unwrap();
        let refused = store.transaction(|tx| {
            tx.append(&other, ExpectedVersion::Any, &rolled_back)?;
            Err::<(), _>(Error::invalid("changed my mind"))
        });
        assert!(refused.is_err());
    }
    let by_others = "UPDATE events SET checksum = NULL WHERE global_sequence = 1;
        UPDATE events SET created_by = 'corrected' WHERE global_sequence = 2";
    client(database).batch_execute(by_others).unwrap();
}

fn exported(store: &dyn EventStore, export: &Export) -> (Vec<u8>, firefly_eventstore_core::operate::Exported) {
    let mut file = Vec::new();
    let exported = export.json_lines(store, &mut file, |_| {}).unwrap();
    (file, exported)
}

fn import(store: &dyn Operations, file: &[u8]) -> Result<firefly_eventstore_core::operate::Imported, Error> {
    Import::new().batch_size(7).json_lines(store, Cursor::new(file), |_| {})
}

/// All rows, without the time of the import.
fn rows(client: &mut Client, table: &str) -> Vec<String> {
    let select = format!("SELECT row_to_json({table})::text FROM {table} ORDER BY global_sequence");
    let rows = client.query(&select, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until the query returns true.
fn eventually(client: &mut Client, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !client.query_one(what, &[]).unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}

const AN_IMPORT_WAITS: &str = "SELECT EXISTS (SELECT FROM pg_locks
    WHERE relation = 'events'::regclass AND mode = 'ShareRowExclusiveLock' AND NOT granted)";

const AN_APPEND_WAITS: &str = "SELECT EXISTS (SELECT FROM pg_locks
    WHERE relation = 'events'::regclass AND mode = 'RowExclusiveLock' AND NOT granted)";

/// Makes any session that stores the event with this sequence wait in the middle of the statement, until the returned connection releases
/// its lock.
fn hold_at(database: &Database, sequence: u64) -> Client {
    let mut holder = client(database);
    let script = format!(
        "SELECT pg_advisory_lock(42);
         CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NEW; END';
         CREATE TRIGGER hold BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.global_sequence = {sequence})
             EXECUTE FUNCTION hold()"
    );
    holder.batch_execute(&script).unwrap();
    holder
}

const SOMEBODY_IS_HELD: &str = "SELECT EXISTS (SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND objid = 42 AND NOT granted)";

const LET_GO: &str = "SELECT pg_advisory_unlock(42)";

/// Events of an aggregate of another store, with these sequences.
fn from_elsewhere(sequences: impl IntoIterator<Item = u64>) -> Vec<EventEnvelope> {
    let memory = firefly_eventstore_core::MemoryEventStore::new();
    let account = account();
    let sequences: Vec<u64> = sequences.into_iter().collect();
    let events: Vec<NewEvent> = sequences.iter().map(|number| deposited(*number)).collect();
    memory.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    let mut events = all_events(&memory);
    for (event, sequence) in events.iter_mut().zip(sequences) {
        event.global_sequence = at(sequence);
    }
    events
}

fn at(sequence: u64) -> GlobalSequence {
    GlobalSequence::new(sequence).unwrap()
}

trait Numbers {
    fn numbers(&self) -> Vec<u64>;
}

impl Numbers for [EventEnvelope] {
    fn numbers(&self) -> Vec<u64> {
        self.iter().map(|event| event.global_sequence.get()).collect()
    }
}

#[test]
fn an_imported_log_is_the_exported_one_column_by_column() {
    let Some((there, source)) = fresh() else { return };
    let Some((here, target)) = fresh() else { return };
    PostgresEventStore::builder(here.url()).notify(true).migrate().unwrap();
    history(&there, &source);
    let mut appends = target.listen().unwrap();

    let (file, exported) = exported(&source, &Export::new());
    let imported = import(&target, &file).unwrap();
    assert_eq!((imported.events, imported.already_stored), (70, 0));
    assert_eq!(imported.digest, exported.digest);
    let log = all_events(&target);
    assert_eq!(log, all_events(&source));
    assert!(log[0].checksum.is_none() && log[1].updated_at.is_some());
    assert_eq!(rows(&mut client(&here), "events"), rows(&mut client(&there), "events"));
    assert!(appends.wait(Duration::from_secs(60)).unwrap(), "an import notifies");

    let again = import(&target, &file).unwrap();
    assert_eq!((again.events, again.already_stored), (0, 70));
    assert_eq!(again.digest, exported.digest);
    assert_eq!(all_events(&target), log);

    let known = &log.last().unwrap().aggregate;
    let appended = target.append(known, Version::from(2), &[deposited(9)]).unwrap();
    assert_eq!(appended.last_sequence().unwrap().get(), exported.checkpoint.get() + 1);
    assert_eq!(target.high_water_mark().unwrap(), appended.last_sequence().unwrap());
}

/// The variable by which the child process, which is to be killed, gets the file and the database.
const TO_BE_KILLED: &str = "FIREFLY_TEST_IMPORT";

#[test]
fn an_import_that_was_killed_in_the_midst_of_a_transaction_goes_on() {
    if let Ok(job) = env::var(TO_BE_KILLED) {
        let (url, path) = job.split_once('\n').unwrap();
        let store = PostgresEventStore::open(url).unwrap();
        let file = BufReader::new(File::open(path).unwrap());
        Import::new().batch_size(20).json_lines(&store, file, |_| {}).unwrap();
        return;
    }
    let Some((_there, source)) = fresh() else { return };
    let Some((here, target)) = fresh() else { return };
    for _ in 0..100 {
        let events: Vec<NewEvent> = (0..10).map(with_everything).collect();
        source.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
    let path = tempfile::NamedTempFile::new().unwrap();
    let exported = Export::new()
        .json_lines(&source, BufWriter::new(path.as_file()), |_| {})
        .unwrap();

    let mut holder = hold_at(&here, 511);
    let this = "operate::an_import_that_was_killed_in_the_midst_of_a_transaction_goes_on";
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", this])
        .env(TO_BE_KILLED, format!("{}\n{}", here.url(), path.path().display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually(&mut holder, SOMEBODY_IS_HELD);
    process.kill().unwrap();
    process.wait().unwrap();
    holder.batch_execute(LET_GO).unwrap();
    let ended = "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'events'::regclass)";
    eventually(&mut holder, ended);
    assert_eq!(all_events(&target).len(), 500, "whole transactions, and all before");

    let file = || BufReader::new(File::open(path.path()).unwrap());
    let imported = Import::new().json_lines(&target, file(), |_| {}).unwrap();
    assert_eq!((imported.events, imported.already_stored), (500, 500));
    assert_eq!(imported.digest, exported.digest);
    assert_eq!(all_events(&target), all_events(&source));
}

#[test]
fn what_contradicts_the_store_is_refused_named_and_leaves_nothing() {
    let Some((database, store)) = fresh() else { return };
    history(&database, &store);
    let log = all_events(&store);
    let end = log.last().unwrap();
    let next = end.global_sequence.get() + 1;
    let on_top = |change: &dyn Fn(&mut EventEnvelope)| {
        let mut event = end.clone();
        event.event_id = Uuid::now_v7();
        event.global_sequence = at(next);
        event.version = event.version.checked_add(1).unwrap();
        change(&mut event);
        vec![event]
    };
    let account = account();
    let mut late_repetition = from_elsewhere(next..next + 3_000);
    late_repetition[10].event_id = end.event_id;
    let cases: [(&str, Vec<EventEnvelope>, &str); 8] = [
        (
            "a sequence that is taken",
            on_top(&|event| event.global_sequence = end.global_sequence),
            "has already assigned sequences up to",
        ),
        (
            "a hole before the end",
            on_top(&|event| event.global_sequence = at(8)),
            "has already assigned sequences up to",
        ),
        (
            "a version that is taken",
            on_top(&|event| event.version = end.version),
            "has at 2",
        ),
        (
            "a version too far",
            on_top(&|event| event.version = Version::from(4)),
            "has at 2",
        ),
        (
            "no beginning",
            on_top(&|event| event.aggregate = account.clone()),
            "has at 0",
        ),
        (
            "another type",
            on_top(&|event| event.aggregate = AggregateKey::new("Other", end.aggregate.id()).unwrap()),
            "belongs to",
        ),
        (
            "another tenant",
            on_top(&|event| event.tenant = Some(TenantId::new("ACME").unwrap())),
            "tenant",
        ),
        (
            "an id that is stored, and much after it",
            late_repetition,
            "its id is stored already",
        ),
    ];
    for (what, events, reason) in cases {
        let error = store.import_events(&events).unwrap_err();
        let ErrorKind::Contradiction { event_id, .. } = error.kind() else {
            panic!("{what}: {error:?}");
        };
        let named = if what.starts_with("an id") {
            &events[10]
        } else {
            &events[0]
        };
        assert_eq!(*event_id, named.event_id, "{what}");
        assert!(
            error.to_string().starts_with("import ") && error.to_string().contains(reason),
            "{what}: {error}"
        );
        assert_eq!(all_events(&store), log, "{what}");
    }
    store.import_events(&on_top(&|_| {})).unwrap();
    assert_eq!(all_events(&store).len(), log.len() + 1);
    store.import_events(&[]).unwrap();
}

#[test]
fn a_unique_key_of_somebody_elses_is_no_contradiction() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    other
        .batch_execute("CREATE UNIQUE INDEX one_of_each ON events (event_type)")
        .unwrap();
    let error = store.import_events(&from_elsewhere(1..=2)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error:?}");
    assert!(!error.is_retryable());
    assert!(all_events(&store).is_empty());
}

/// Follows the log to its end, as a consumer does.
fn follow(store: &PostgresEventStore, working: &AtomicBool) -> Vec<u64> {
    let (mut checkpoint, mut seen) = (GlobalSequence::ZERO, Vec::new());
    loop {
        let last = !working.load(Ordering::SeqCst);
        for event in store.read(EventQuery::new().after(checkpoint)) {
            checkpoint = event.unwrap().global_sequence;
            seen.push(checkpoint.get());
        }
        if last {
            return seen;
        }
    }
}

#[test]
fn appends_beside_imports_lose_nothing_and_a_follower_sees_each_event_once() {
    const WRITERS: usize = 4;
    let Some((_database, store)) = fresh() else { return };
    let (importing, working) = (AtomicBool::new(true), AtomicBool::new(true));
    let (stored, refused, seen) = thread::scope(|scope| {
        let follower = scope.spawn(|| follow(&store, &working));
        let writers: Vec<_> = (0..WRITERS)
            .map(|seed| {
                let (store, importing) = (&store, &importing);
                scope.spawn(move || append_until(store, importing, fastrand::Rng::with_seed(seed as u64)))
            })
            .collect();
        let (mut stored, mut refused) = (Vec::new(), Vec::new());
        for round in 0..60 {
            // The import is far ahead of the other appends, or in the middle of them.
            let ahead = if round % 2 == 0 { 1 } else { 1_000 };
            let first = store.high_water_mark().unwrap().get() + ahead;
            let events = from_elsewhere((first..first + 20).step_by(2));
            match store.import_events(&events) {
                Ok(()) => stored.extend(events.numbers()),
                Err(error) => refused.push((ahead, error)),
            }
        }
        importing.store(false, Ordering::SeqCst);
        let appended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        working.store(false, Ordering::SeqCst);
        stored.extend(appended.into_iter().flat_map(Result::unwrap));
        (stored, refused, follower.join().unwrap())
    });
    for (ahead, error) in refused {
        let is_overtaken = ahead == 1 && matches!(error.kind(), ErrorKind::Contradiction { .. });
        assert!(is_overtaken, "{error:?}");
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "out of order, or twice");
    assert_eq!(seen, all_events(&store).numbers());
    assert_eq!(seen.len(), stored.len(), "a sequence was given twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), stored.into_iter().collect());
}

/// Appends, rolls some appends back, and returns the sequences that it got.
fn append_until(store: &PostgresEventStore, importing: &AtomicBool, mut random: fastrand::Rng) -> Vec<u64> {
    let mut stored = Vec::new();
    while importing.load(Ordering::SeqCst) {
        let gives_up = random.u8(..100) < 20;
        let result = store.transaction(|tx| {
            let appended = tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1), deposited(2)])?;
            thread::sleep(Duration::from_micros(random.u64(..2_000)));
            match gives_up {
                true => Err(Error::invalid("changed my mind")),
                false => Ok(appended),
            }
        });
        match result {
            Ok(appended) => stored.extend(appended.global_sequences().iter().map(|sequence| sequence.get())),
            Err(error) => assert!(gives_up && error.is_invalid_input(), "{error:?}"),
        }
    }
    stored
}

const INSERT: &str =
    "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
    VALUES (gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'account.opened', '{}')";

#[test]
fn an_import_waits_for_who_may_still_commit_before_it_looks_where_the_log_ends() {
    for commits in [true, false] {
        let Some((database, store)) = fresh() else { return };
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        let result = thread::scope(|scope| {
            let mut other = client(&database);
            other.batch_execute(&format!("BEGIN; {INSERT}")).unwrap();
            assert_eq!(store.high_water_mark().unwrap(), 1);
            let importing = scope.spawn(|| store.import_events(&from_elsewhere([2, 3])));
            eventually(&mut client(&database), AN_IMPORT_WAITS);
            other
                .batch_execute(if commits { "COMMIT" } else { "ROLLBACK" })
                .unwrap();
            importing.join().unwrap()
        });
        if commits {
            let error = result.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
            assert_eq!(all_events(&store).numbers(), [1, 2]);
        } else {
            // Sequences that were rolled back can be imported.
            result.unwrap();
            assert_eq!(all_events(&store).numbers(), [1, 2, 3]);
        }
    }
}

#[test]
fn readers_see_an_import_whole_and_appends_come_after_it() {
    let Some((database, store)) = fresh() else { return };
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    thread::scope(|scope| {
        let mut holder = hold_at(&database, 20);
        let importing = scope.spawn(|| store.import_events(&from_elsewhere((10..=20).step_by(2))));
        eventually(&mut holder, SOMEBODY_IS_HELD);
        let appending = scope.spawn(|| store.append(&account(), ExpectedVersion::NoStream, &[deposited(2)]));
        eventually(&mut holder, AN_APPEND_WAITS);
        assert_eq!(store.high_water_mark().unwrap(), 1);
        assert_eq!(all_events(&store).numbers(), [1]);
        holder.batch_execute(LET_GO).unwrap();
        importing.join().unwrap().unwrap();
        let appended = appending.join().unwrap().unwrap();
        assert_eq!(appended.last_sequence().unwrap(), 21);
    });
    assert_eq!(store.high_water_mark().unwrap(), 21);
    assert_eq!(all_events(&store).numbers(), [1, 10, 12, 14, 16, 18, 20, 21]);
}

#[test]
fn sequences_that_crashes_and_rollbacks_burnt_can_be_imported_and_no_reader_passed_them() {
    let Some((database, store)) = fresh() else { return };
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let mut other = client(&database);
    let mut open = other.transaction().unwrap();
    for _ in 0..100 {
        open.batch_execute(INSERT).unwrap();
    }
    open.rollback().unwrap();
    // A reader that looks now gets committed events only.
    let checkpoint = store.high_water_mark().unwrap();
    assert_eq!(checkpoint, 1);
    // First within the hole, then across its end. The imported events leave holes, too.
    store.import_events(&from_elsewhere([3, 40, 77])).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 77);
    store.import_events(&from_elsewhere([99, 150])).unwrap();
    let read: Vec<EventEnvelope> = store
        .read(EventQuery::new().after(checkpoint))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(read.numbers(), [3, 40, 77, 99, 150]);
    let appended = store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(2)])
        .unwrap();
    assert_eq!(appended.last_sequence().unwrap(), 151);
    // An import never sets the sequence back.
    other
        .batch_execute("SELECT setval('events_global_sequence_seq', 500)")
        .unwrap();
    store.import_events(&from_elsewhere([160])).unwrap();
    let appended = store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(3)])
        .unwrap();
    assert_eq!(appended.last_sequence().unwrap(), 501);
}

#[test]
fn a_mark_that_was_given_out_is_never_imported_below() {
    let Some((database, store)) = fresh() else { return };
    for number in 0..3 {
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(number)])
            .unwrap();
    }
    assert_eq!(store.high_water_mark().unwrap(), 3);
    // Another session deletes the end of the log. A reader of this store has already read up to 3.
    client(&database)
        .batch_execute("DELETE FROM events WHERE global_sequence > 1")
        .unwrap();
    let error = store.import_events(&from_elsewhere([2, 3])).unwrap_err();
    assert!(error.to_string().contains("sequences up to 3"), "{error}");
    store.import_events(&from_elsewhere([4])).unwrap();
    assert_eq!(all_events(&store).numbers(), [1, 4]);
}

#[test]
fn an_import_needs_no_more_rights_than_it_says() {
    let Some((database, _store)) = fresh() else { return };
    let importer = format!("importer_{}", database.name());
    let mut admin = client(&database);
    let mut sql = |script: &str| admin.batch_execute(&script.replace("IMPORTER", &importer)).unwrap();
    sql("CREATE ROLE IMPORTER LOGIN;
         GRANT SELECT ON firefly_schema_history, firefly_archives, firefly_archived_streams TO IMPORTER;
         GRANT SELECT, INSERT ON events TO IMPORTER;
         GRANT USAGE, UPDATE ON SEQUENCE events_global_sequence_seq TO IMPORTER");
    let config: Config = database.url().parse().unwrap();
    let store = PostgresEventStore::configure(config.clone().user(&importer).clone())
        .open()
        .unwrap();
    let error = store.import_events(&from_elsewhere([1])).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let mut rights = vec!["UPDATE", "DELETE", "TRUNCATE"];
    if database_version(&database) >= 170_000 {
        rights.push("MAINTAIN");
    }
    for (right, first) in rights.iter().zip(1_u64..) {
        sql(&format!("GRANT {right} ON events TO IMPORTER"));
        store.import_events(&from_elsewhere([first])).unwrap();
        sql(&format!("REVOKE {right} ON events FROM IMPORTER"));
    }
    assert_eq!(all_events(&store).len(), rights.len());
    sql("GRANT UPDATE ON events TO IMPORTER; REVOKE UPDATE ON SEQUENCE events_global_sequence_seq FROM IMPORTER");
    let error = store.import_events(&from_elsewhere([9])).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert_eq!(all_events(&store).len(), rights.len());
    drop(store);
    sql("DROP OWNED BY IMPORTER; DROP ROLE IMPORTER");
}

fn database_version(database: &Database) -> i32 {
    let version = "SELECT current_setting('server_version_num')::integer";
    client(database).query_one(version, &[]).unwrap().get(0)
}

#[test]
fn an_export_beside_writers_that_was_completed_later_is_the_full_export() {
    const WRITERS: u64 = 8;
    let Some((_database, store)) = fresh() else { return };
    let working = AtomicBool::new(true);
    let mut files = thread::scope(|scope| {
        let exporter = scope.spawn(|| {
            let (mut files, mut export) = (Vec::new(), Export::new());
            while working.load(Ordering::SeqCst) {
                let (file, exported) = exported(&store, &export);
                export = Export::new().after(exported.checkpoint);
                files.push((file, exported));
            }
            files
        });
        let mut writers = Vec::new();
        for seed in 0..WRITERS {
            let store = &store;
            writers.push(scope.spawn(move || commit_out_of_order(store, &mut fastrand::Rng::with_seed(seed))));
        }
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        working.store(false, Ordering::SeqCst);
        ended.into_iter().for_each(Result::unwrap);
        exporter.join().unwrap()
    });
    let (_, last) = files.last().unwrap();
    files.push(exported(&store, &Export::new().after(last.checkpoint)));
    let (_, full) = exported(&store, &Export::new());

    let Some((_there, target)) = fresh() else { return };
    for (file, _) in &files {
        import(&target, file).unwrap();
    }
    let parts: u64 = files.iter().map(|(_, exported)| exported.events).sum();
    let log = all_events(&target);
    assert!(
        files.iter().filter(|(_, exported)| exported.events > 0).count() > 2,
        "it was one export"
    );
    assert_eq!(parts, full.events, "an event is in two parts, or in none");
    assert_eq!(log, all_events(&store));
    let digest = log
        .iter()
        .fold(LogDigest::OF_NOTHING, |digest, event| digest.with(event).unwrap().0);
    assert_eq!(digest, full.digest);
}

/// Transactions that take some time after they allocated their sequences. Some roll back.
fn commit_out_of_order(store: &PostgresEventStore, random: &mut fastrand::Rng) {
    for _ in 0..60 {
        let gives_up = random.u8(..100) < 15;
        let result = store.transaction(|tx| {
            for _ in 0..random.u8(1..=3) {
                tx.append(
                    &account(),
                    ExpectedVersion::NoStream,
                    &[deposited(1), with_everything(2)],
                )?;
                thread::sleep(Duration::from_micros(random.u64(..3_000)));
            }
            match gives_up {
                true => Err(Error::invalid("changed my mind")),
                false => Ok(()),
            }
        });
        assert_eq!(result.is_err(), gives_up, "{result:?}");
    }
}

/// Two aggregates whose times do not follow the order of the log.
fn with_times(store: &PostgresEventStore) -> (AggregateKey, AggregateKey) {
    let (one, other) = (account(), account());
    let start = datetime!(2025-01-15 10:30 UTC);
    for (account, minute) in [(&one, 1), (&other, 2), (&one, 5), (&other, 4), (&one, 3), (&other, 6)] {
        let event = deposited(minute)
            .created_at(start + Duration::from_secs(60 * minute))
            .unwrap();
        store.append(account, ExpectedVersion::Any, &[event]).unwrap();
    }
    (one, other)
}

#[test]
fn a_point_is_restored_into_another_store_and_into_a_table_alike() {
    let points: [(RestorePoint, &[u64]); 6] = [
        (GlobalSequence::from(4).into(), &[1, 2, 3, 4]),
        (GlobalSequence::from(400).into(), &[1, 2, 3, 4, 5, 6]),
        (GlobalSequence::ZERO.into(), &[]),
        // The fifth event is earlier than the limit, but an earlier event of its aggregate is not.
        (datetime!(2025-01-15 10:34 UTC).into(), &[1, 2, 4]),
        (datetime!(2025-01-15 10:33:59.999_999_999 UTC).into(), &[1, 2]),
        (datetime!(2025-01-15 10:40 UTC).into(), &[1, 2, 3, 4, 5, 6]),
    ];
    let Some((there, source)) = fresh() else { return };
    let (one, _) = with_times(&source);
    let mut other = client(&there);
    let events = rows(&mut other, "events");
    for (point, expected) in points {
        let Some((_here, target)) = fresh() else { return };
        let restored = restore(&source, &target, point, |_| {}).unwrap();
        assert_eq!(restored.events, expected.len() as u64, "{point:?}");
        assert_eq!(all_events(&target).numbers(), expected, "{point:?}");
        let again = restore(&source, &target, point, |_| {}).unwrap();
        assert_eq!((again.events, again.already_stored), (0, restored.events));
        // The restored store works on its own.
        target.append(&one, ExpectedVersion::Any, &[deposited(9)]).unwrap();

        assert_eq!(source.restore_table(point).unwrap(), restored.events);
        let in_table: Vec<&String> = expected.iter().map(|number| &events[*number as usize - 1]).collect();
        assert_eq!(
            rows(&mut other, "events_restored").iter().collect::<Vec<_>>(),
            in_table,
            "{point:?}"
        );
        other.batch_execute("DROP TABLE events_restored").unwrap();
    }
    assert_eq!(rows(&mut other, "events"), events);
}

#[test]
fn a_restored_table_ends_at_the_mark_and_has_no_part_in_the_store() {
    let Some((database, store)) = fresh() else { return };
    history(&database, &store);
    let end = store.high_water_mark().unwrap();
    let (mut other, mut admin) = (client(&database), client(&database));
    let mut open = other.transaction().unwrap();
    open.batch_execute(INSERT).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let restored = store.restore_table(GlobalSequence::MAX.into()).unwrap();
    open.commit().unwrap();
    assert_eq!(restored, 70, "one that is not committed comes before the last");
    let last = "SELECT MAX(global_sequence) FROM events_restored";
    assert_eq!(admin.query_one(last, &[]).unwrap().get::<_, i64>(0), end.as_i64());

    let error = store.restore_table(end.into()).unwrap_err();
    assert!(
        error.is_invalid_input() && error.to_string().contains("drop or rename"),
        "{error}"
    );
    let columns =
        "SELECT COALESCE(string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum), '')
        FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";
    let columns = |client: &mut Client, table: &str| -> String { client.query_one(columns, &[&table]).unwrap().get(0) };
    assert_eq!(columns(&mut admin, "events_restored"), columns(&mut admin, "events"));
    let depends = "SELECT COUNT(*) FROM pg_attrdef WHERE adrelid = 'events_restored'::regclass";
    assert_eq!(
        admin.query_one(depends, &[]).unwrap().get::<_, i64>(0),
        0,
        "a default, or a sequence"
    );

    // A store with such a table opens, migrates and audits like any other.
    let builder = PostgresEventStore::builder(database.url());
    assert!(builder.migrate().unwrap().is_empty());
    let reopened = builder.open().unwrap();
    assert_eq!(all_events(&reopened).len(), 72);
    reopened
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert!(reopened.check_storage().unwrap().is_empty());
}

/// The kind and the sequence of every finding of an audit.
fn audit(store: &PostgresEventStore) -> Vec<Finding> {
    let mut findings = Vec::new();
    let audited = Audit::new()
        .run(store, |_| {}, |finding| findings.push(finding))
        .unwrap();
    assert_eq!(audited.findings, findings.len() as u64);
    findings
}

#[test]
fn an_audit_finds_and_names_each_kind_of_damage() {
    let Some((database, store)) = fresh() else { return };
    let accounts = [account(), account(), account()];
    for _ in 0..3 {
        for account in &accounts {
            store.append(account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
        }
    }
    for account in &accounts {
        let snapshot = NewSnapshot::new(
            account,
            Version::from(2),
            "Balance",
            &serde_json::json!({ "balance": 2 }),
        )
        .unwrap();
        store.save_snapshot(None, &snapshot).unwrap();
    }
    assert_eq!(audit(&store), [], "an intact store");
    let mut other = client(&database);
    let [_, second, third] = &accounts;
    // The first account has the events 1, 4 and 7, the second 2, 5 and 8.
    let cases: [(&str, FindingKind, Option<u64>); 9] = [
        (
            "UPDATE events SET event_data = '{\"amount\": 2}' WHERE global_sequence = 4",
            FindingKind::Checksum,
            Some(4),
        ),
        (
            "UPDATE events SET checksum = reverse(checksum) WHERE global_sequence = 5",
            FindingKind::Checksum,
            Some(5),
        ),
        (
            "UPDATE events SET checksum = 'x' WHERE global_sequence = 5",
            FindingKind::Unreadable,
            Some(5),
        ),
        // The next event of the aggregate shows that one is missing.
        ("DELETE FROM events WHERE global_sequence = 5", FindingKind::Versions, Some(8)),
        (
            "UPDATE events SET aggregate_version = 99 WHERE global_sequence = 6;
             UPDATE events SET aggregate_version = 2 WHERE global_sequence = 9;
             UPDATE events SET aggregate_version = 3 WHERE global_sequence = 6",
            FindingKind::Versions,
            Some(6),
        ),
        (
            "UPDATE events SET tenant_id = 'ACME' WHERE global_sequence = 4",
            FindingKind::Owner,
            Some(4),
        ),
        (
            "INSERT INTO snapshots (snapshot_id, aggregate_id, aggregate_type, version, snapshot_type, snapshot_data, checksum)
             SELECT gen_random_uuid(), gen_random_uuid(), aggregate_type, 1, snapshot_type, snapshot_data, checksum
             FROM snapshots LIMIT 1",
            FindingKind::OrphanedSnapshot,
            None,
        ),
        (
            "UPDATE snapshots SET snapshot_data = '{\"balance\": 3}' WHERE aggregate_id = 'SECOND'",
            FindingKind::Snapshot,
            None,
        ),
        ("UPDATE snapshots SET version = 9 WHERE aggregate_id = 'THIRD'", FindingKind::Snapshot, None),
    ];
    for (damage, kind, sequence) in cases {
        let damage = damage
            .replace("SECOND", &second.id().to_string())
            .replace("THIRD", &third.id().to_string());
        other
            .batch_execute(&format!(
                "CREATE TABLE kept AS SELECT * FROM events; CREATE TABLE kept_snapshots AS SELECT * FROM snapshots; {damage}"
            ))
            .unwrap();
        let findings = audit(&store);
        let named = findings
            .iter()
            .any(|finding| finding.kind == kind && finding.global_sequence.map(GlobalSequence::get) == sequence);
        assert!(named, "{damage}: {findings:?}");
        for finding in &findings {
            let is_named =
                finding.event_id.is_some() || finding.aggregate.is_some() || finding.global_sequence.is_some();
            assert!(is_named, "{finding}");
        }
        other.batch_execute(RESTORE_KEPT).unwrap();
        assert_eq!(audit(&store), [], "after {damage}");
    }
}

const RESTORE_KEPT: &str = "
    ALTER TABLE kept DROP COLUMN event_size_bytes;
    TRUNCATE events, snapshots;
    INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data, metadata,
        created_at, updated_at, created_by, tenant_id, correlation_id, causation_id, checksum)
    SELECT event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data, metadata,
        created_at, updated_at, created_by, tenant_id, correlation_id, causation_id, checksum
    FROM kept;
    INSERT INTO snapshots SELECT * FROM kept_snapshots;
    DROP TABLE kept, kept_snapshots";

#[test]
fn snapshots_are_listed_page_by_page_whatever_their_tenant() {
    let Some((_database, store)) = fresh() else { return };
    let acme = TenantId::new("ACME").unwrap();
    let mut places = Vec::new();
    for number in 0..5 {
        let (account, tenant) = (account(), Some(&acme).filter(|_| number % 2 == 0));
        let events = [deposited(1), deposited(2), deposited(3)];
        let mut append = Append::new(&account, ExpectedVersion::NoStream, &events);
        if let Some(tenant) = tenant {
            append = append.tenant(tenant);
        }
        store.append_all(&[append]).unwrap();
        for version in 1..=3 {
            let snapshot = NewSnapshot::new(&account, Version::from(version), "Balance", &1).unwrap();
            store.save_snapshot(tenant, &snapshot).unwrap();
            places.push((account.id(), Version::from(version)));
        }
    }
    places.sort_unstable();
    let (mut listed, mut place) = (Vec::new(), None);
    loop {
        let page = store.snapshots_after(place.as_ref(), 4).unwrap();
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        place = Some(last.clone());
        listed.extend(page.iter().map(|snapshot| (snapshot.aggregate.id(), snapshot.version)));
    }
    assert_eq!(listed, places);
}

#[test]
fn summaries_are_of_now_unless_those_of_the_last_refresh_are_asked_for() {
    let Some((_database, store)) = fresh() else { return };
    let (known, other) = (account(), AggregateKey::new("Other", Uuid::now_v7()).unwrap());
    let acme = TenantId::new("acme").unwrap();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let owned = [deposited(1)];
    store
        .append_all(&[Append::new(&other, ExpectedVersion::NoStream, &owned).tenant(&acme)])
        .unwrap();
    let events = |query: SummaryQuery| -> Vec<(Uuid, u64)> {
        let summaries = store.aggregate_summaries(&query).unwrap();
        summaries
            .iter()
            .map(|summary| (summary.aggregate_id, summary.total_events))
            .collect()
    };
    let refreshed = || SummaryQuery::new().as_of_last_refresh();
    assert_eq!(events(SummaryQuery::new()), [(known.id(), 1), (other.id(), 1)]);
    assert_eq!(events(refreshed()), []);
    store.refresh_aggregate_summaries().unwrap();
    store.append(&known, ExpectedVersion::Any, &[deposited(2)]).unwrap();
    assert_eq!(events(SummaryQuery::new()), [(known.id(), 2), (other.id(), 1)]);
    assert_eq!(events(refreshed()), [(known.id(), 1), (other.id(), 1)]);
    // Every combination of filters.
    for filters in 0..16 {
        let mut query = SummaryQuery::new();
        let mut expected = vec![(known.id(), 2), (other.id(), 1)];
        if filters & 1 != 0 {
            query = query.after(known.id());
            expected.retain(|(id, _)| *id > known.id());
        }
        if filters & 2 != 0 {
            query = query.aggregate_type(other.aggregate_type().clone());
            expected.retain(|(id, _)| *id == other.id());
        }
        if filters & 4 != 0 {
            query = query.tenant(acme.clone());
            expected.retain(|(id, _)| *id == other.id());
        }
        if filters & 8 != 0 {
            query = query.limit(1);
            expected.truncate(1);
        }
        assert_eq!(events(query), expected, "{filters}");
    }
}
