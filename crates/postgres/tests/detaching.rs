//! Archived partitions that leave the log at once: nothing is missing, and nothing is there twice, at any step.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::operate::{
    self, Archive, Archiving, Detachment, Operations, Progress, Remembered, Severity,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{AsOf, ErrorKind, SnapshotAt};
use firefly_eventstore_postgres::driver::{Client, Config, GenericClient, NoTls};
use firefly_eventstore_postgres::{Partitions, PostgresEventStore};
use firefly_eventstore_test_servers::{Database, PostgresServer, postgres_unless_missing};

use crate::support::{
    IS_WAITING_FOR_LOCK, KILLING, NO_MORE_KILLING, account, all_events, client, database, deposited, killed_at,
    looking_back, until,
};

/// A store in partitions of ten sequences, with 45 events of three accounts, in turn.
struct Ledger {
    database: Database,
    store: PostgresEventStore,
    accounts: [AggregateKey; 3],
    events: Vec<EventEnvelope>,
}

impl Ledger {
    fn fresh() -> Option<Self> {
        Some(Self::of(database()?))
    }

    fn of(database: Database) -> Self {
        let store = PostgresEventStore::builder(database.url())
            .max_connections(16)
            .migrate_on_open(true)
            .partitions(Partitions::by_events(10))
            .open()
            .unwrap();
        let accounts = [account(), account(), account()];
        for amount in 0..45 {
            let account = &accounts[amount as usize % 3];
            store
                .append(account, ExpectedVersion::Any, &[deposited(amount)])
                .unwrap();
            store.add_partitions().unwrap();
        }
        let events = all_events(&store);
        Self {
            database,
            store,
            accounts,
            events,
        }
    }

    /// A file with the events up to a sequence.
    fn file(&self, until: u32) -> Vec<u8> {
        let mut file = Vec::new();
        Archiving::until(until)
            .json_lines(&self.store, &mut file, |_| ())
            .unwrap();
        file
    }

    fn retire(&self, file: &[u8]) -> Result<Archive, Error> {
        operate::retire(&self.store, Cursor::new(file), "elsewhere", |_| ())
    }

    /// Retires, and returns how many events it counted.
    fn count_retired(&self, file: &[u8]) -> u64 {
        let mut counted = 0;
        let counting = |progress: Progress| counted = progress.done;
        operate::retire(&self.store, Cursor::new(file), "elsewhere", counting).unwrap();
        counted
    }

    fn attach(&self, file: &[u8]) {
        operate::attach(&self.store, Cursor::new(file), |_| ()).unwrap();
        assert_eq!(all_events(&self.store), self.events);
        assert_sound(self);
    }

    /// The oids of the tables that are partitions, and how many events each has.
    fn partitions(&self) -> Vec<(u32, i64)> {
        partitions(&self.database)
    }
}

fn partitions(database: &Database) -> Vec<(u32, i64)> {
    let mut client = client(database);
    let ranges = client
        .query("SELECT partition::oid, partition::text FROM firefly_ranges()", &[])
        .unwrap();
    let mut found = Vec::new();
    for range in &ranges {
        let count = format!("SELECT COUNT(*) FROM {}", range.get::<_, String>(1));
        found.push((range.get(0), client.query_one(&count, &[]).unwrap().get(0)));
    }
    found
}

/// Each event is in the log or archived, with its key in one of the two places, and nothing of the work is left.
fn assert_sound(ledger: &Ledger) {
    let mut client = client(&ledger.database);
    let wrong = "SELECT
        (SELECT COUNT(*) FROM events FULL JOIN firefly_event_keys USING (event_id, global_sequence, aggregate_id, aggregate_version)
         WHERE events.event_type IS NULL OR firefly_event_keys.aggregate_type IS NULL),
        (SELECT COUNT(*) FROM firefly_archived_events JOIN firefly_event_keys USING (global_sequence)),
        (SELECT COUNT(*) FROM firefly_leaving),
        (SELECT COUNT(*) FROM pg_class WHERE relname ~ '^firefly_(left|emptied)' AND relkind = 'r'),
        (SELECT COUNT(*) FROM firefly_archived_streams AS stream WHERE version <>
            (SELECT MAX(aggregate_version) FROM firefly_archived_events AS event WHERE event.aggregate_id = stream.aggregate_id))";
    let row = client.query_one(wrong, &[]).unwrap();
    let wrong: Vec<i64> = (0..5).map(|column| row.get(column)).collect();
    assert_eq!(wrong, [0; 5]);
    assert_eq!(ledger.store.check_storage().unwrap(), []);
}

/// Reads everything in every way. The first `archived` events are archived, the others are in the log.
fn assert_reads(store: &PostgresEventStore, ledger: &Ledger, archived: usize) {
    let events = &ledger.events;
    let sequences = |query: EventQuery| -> Vec<u64> {
        let read = store.read(query.skip_archived());
        read.map(|event| event.unwrap().global_sequence.get()).collect()
    };
    let left: Vec<u64> = events[archived..]
        .iter()
        .map(|event| event.global_sequence.get())
        .collect();
    assert_eq!(sequences(EventQuery::new()), left);
    for until in [5_u32, 10, 15, 20, 22, 30, 45] {
        let whole = store.read_page(&EventQuery::new().until(until), None);
        match archived {
            0 => assert_eq!(whole.unwrap().events, events[..until as usize]),
            _ => assert!(whole.unwrap_err().is_archived()),
        }
        let after = store.read_page(&EventQuery::new().after(until), None);
        match archived > until as usize {
            false => assert_eq!(after.unwrap().events, events[until as usize..]),
            true => assert!(after.unwrap_err().is_archived()),
        }
    }
    for account in &ledger.accounts {
        let stream: Vec<_> = events.iter().filter(|event| event.aggregate == *account).collect();
        let gone = events[..archived]
            .iter()
            .filter(|event| event.aggregate == *account)
            .count();
        assert_eq!(store.version(account).unwrap(), 15);
        for from in 1..=15_u32 {
            let there = &stream[from as usize - 1..];
            for range in [StreamRange::all(), StreamRange::all().backwards()] {
                let loaded = store.load_range(account, &range.from_version(from));
                if from as usize <= gone {
                    assert!(loaded.unwrap_err().is_archived());
                    continue;
                }
                assert_eq!(loaded.unwrap().len(), there.len());
            }
        }
        for event in &stream {
            let past = StreamRange::all().as_of(AsOf::Sequence(event.global_sequence));
            let is_known = gone == 0 || event.version.get() >= gone as u64;
            for (range, is_there) in [(past.clone(), gone == 0), (past.from_version(16), is_known)] {
                let loaded = store.load_range(account, &range);
                match is_there {
                    true => assert_eq!(loaded.unwrap().version(), event.version),
                    false => assert!(loaded.unwrap_err().is_archived()),
                }
            }
            let found = store.read_page(&EventQuery::new().event_ids([event.event_id]), None);
            match event.version.get() > gone as u64 {
                true => assert_eq!(found.unwrap().events.len(), 1),
                false => assert!(found.unwrap_err().is_archived()),
            }
            let repeated = deposited(event.global_sequence.get() - 1).with_id(event.event_id);
            assert!(
                store
                    .append(&crate::support::account(), ExpectedVersion::NoStream, &[repeated])
                    .is_err()
            );
        }
        let of_account = store.read_page(&EventQuery::new().aggregate_id(account.id()), None);
        assert_eq!(of_account.is_err_and(|error| error.is_archived()), gone > 0);
        let (_, snapshot_stream) = match store.load_from_snapshot(None, account, SnapshotAt::Latest) {
            Ok(found) => found,
            Err(error) => {
                assert!(error.is_archived() && gone > 0);
                continue;
            }
        };
        assert_eq!((snapshot_stream.len(), gone), (15, 0));
    }
    let statistics = store.statistics(None).unwrap();
    assert_eq!(
        (statistics.total_events, statistics.archived_events),
        (45 - archived as u64, archived as u64)
    );
}

#[test]
fn archived_partitions_leave_at_once_and_the_rest_one_by_one() {
    let Some(ledger) = Ledger::fresh() else { return };
    let before = ledger.partitions();
    let file = ledger.file(25);
    let archive = ledger.retire(&file).unwrap();
    assert!(archive.is_retired);
    assert_reads(&ledger.store, &ledger, 25);
    assert_sound(&ledger);
    let after = ledger.partitions();
    // One empty table instead of two partitions; the third one is the same, without the events that left one by one.
    assert_eq!(after.len(), before.len() - 1);
    assert!(!before.contains(&(after[0].0, 10)) && after[0].1 == 0);
    assert_eq!((after[1], before[2]), ((before[2].0, 5), (before[2].0, 10)));
    // The next archive continues in the middle of a partition, which then leaves at once.
    let next = ledger.file(40);
    ledger.retire(&next).unwrap();
    assert_reads(&ledger.store, &ledger, 40);
    assert_sound(&ledger);
    assert!(!ledger.partitions().contains(&(before[2].0, 0)));
    for account in &ledger.accounts {
        let appended = ledger
            .store
            .append(account, ExpectedVersion::Exact(15.into()), &[deposited(1)]);
        assert_eq!(appended.unwrap().version(), 16);
    }
    ledger.store.add_partitions().unwrap();
    operate::attach(&ledger.store, Cursor::new(&next), |_| ()).unwrap();
    operate::attach(&ledger.store, Cursor::new(&file), |_| ()).unwrap();
    assert_eq!(all_events(&ledger.store)[..45], ledger.events);
    assert_sound(&ledger);
    // And again.
    ledger.retire(&file).unwrap();
    assert_sound(&ledger);
}

/// Begins, and prepares everything.
fn prepared<'l>(ledger: &'l Ledger, archive: &Archive) -> Result<Box<dyn Detachment + 'l>, Error> {
    let mut detachment = ledger.store.detachment(archive)?.unwrap();
    let sequences = detachment.sequences();
    let leaving: Vec<EventEnvelope> = ledger
        .events
        .iter()
        .filter(|event| sequences.contains(&event.global_sequence))
        .cloned()
        .collect();
    for batch in leaving.chunks(7) {
        detachment.prepare(batch)?;
    }
    Ok(detachment)
}

/// Begins, prepares everything, and dies.
fn interrupted(ledger: &Ledger, archive: &Archive) {
    let detachment = prepared(ledger, archive).unwrap();
    let sessions = "FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let mut other = client(&ledger.database);
    other
        .batch_execute(&format!("SELECT pg_terminate_backend(pid) {sessions}"))
        .unwrap();
    until(&mut other, &format!("SELECT NOT EXISTS (SELECT {sessions})"));
    drop(detachment);
}

/// A file with the events up to a sequence, and its archive, which is recorded. The events are still in the log.
fn recorded(ledger: &Ledger, until: u32) -> (Vec<u8>, Archive) {
    let mut file = Vec::new();
    let exported = Archiving::until(until)
        .json_lines(&ledger.store, &mut file, |_| ())
        .unwrap();
    let events: Vec<EventEnvelope> = ledger
        .store
        .read(EventQuery::new().until(until).skip_archived())
        .map(Result::unwrap)
        .collect();
    let mut archive = crate::support::archive_of(&events);
    archive.digest = exported.digest;
    archive.log = Some(Remembered::new(until.into(), until.into(), exported.digest));
    archive.is_retired = false;
    ledger.store.record_archive(&archive).unwrap();
    (file, archive)
}

#[test]
fn what_is_prepared_is_in_the_log_until_its_partitions_are_detached() {
    let Some(ledger) = Ledger::fresh() else { return };
    ledger.retire(&ledger.file(5)).unwrap();
    let (file, archive) = recorded(&ledger, 20);
    assert_eq!(archive.first.get(), 6);
    let detachment = prepared(&ledger, &archive).unwrap();
    assert_reads(&ledger.store, &ledger, 5);
    let told = ledger.store.diagnose().unwrap();
    let told = told.iter().find(|told| told.subject == "archiving").unwrap();
    assert_eq!(told.severity, Severity::Warning, "{told:?}");
    assert!(told.found.contains("6 to 20"), "{told:?}");
    assert!(detachment.detach().unwrap());
    assert_reads(&ledger.store, &ledger, 20);
    ledger.retire(&file).unwrap();
    assert_sound(&ledger);
}

/// The events that a session finds in the log, and those that count as archived for it, in its transaction.
fn found(session: &mut impl GenericClient) -> (Vec<i64>, Vec<i64>) {
    let mut sequences = |query: &str| -> Vec<i64> {
        let rows = session.query(query, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let live = sequences("SELECT global_sequence FROM events ORDER BY 1");
    let archived = sequences(
        "SELECT global_sequence FROM firefly_archived_events WHERE NOT firefly_stays(global_sequence) ORDER BY 1",
    );
    (live, archived)
}

/// Asserts that a session finds each event once, and returns how many of them are archived for it.
fn assert_finds_each_once(session: &mut impl GenericClient) -> usize {
    let (live, archived) = found(session);
    let mut all = [&archived[..], &live[..]].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=45).collect::<Vec<i64>>());
    archived.len()
}

const IS_PREPARED: &str = "SELECT COUNT(*) = 20 FROM firefly_archived_events WHERE global_sequence <= 20";
#[test]
fn who_looked_before_the_events_were_prepared_is_waited_for() {
    let Some(ledger) = Ledger::fresh() else { return };
    let before = ledger.partitions();
    let file = ledger.file(20);
    let [mut old, mut other] = [client(&ledger.database), client(&ledger.database)];
    let mut old = looking_back(&mut old);
    thread::scope(|scope| {
        let retired = scope.spawn(|| ledger.retire(&file));
        until(&mut other, IS_PREPARED);
        until(&mut other, "SELECT to_regclass('firefly_emptied_events') IS NOT NULL");
        // Longer than it would take.
        thread::sleep(Duration::from_millis(500));
        assert_eq!(assert_finds_each_once(&mut other), 0);
        assert_eq!(assert_finds_each_once(&mut old), 0);
        old.commit().unwrap();
        retired.join().unwrap().unwrap();
    });
    assert_eq!(assert_finds_each_once(&mut other), 20);
    assert!(!ledger.partitions().contains(&before[0]));
    assert_sound(&ledger);
}

#[test]
fn who_looked_between_the_preparation_and_the_detaching_finds_each_event_once() {
    let Some(ledger) = Ledger::fresh() else { return };
    let file = ledger.file(20);
    let [mut old, mut other, mut reader] = [(); 3].map(|()| client(&ledger.database));
    let mut holder = client(&ledger.database);
    holder
        .batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
        .unwrap();
    thread::scope(|scope| {
        let retired = scope.spawn(|| ledger.retire(&file));
        until(&mut other, IS_WAITING_FOR_LOCK);
        let [mut old, mut reader] = [looking_back(&mut old), looking_back(&mut reader)];
        assert_eq!(assert_finds_each_once(&mut reader), 0);
        reader.commit().unwrap();
        holder.batch_execute("COMMIT").unwrap();
        retired.join().unwrap().unwrap();
        // This one sees a row that says that the events are leaving, and does not see them any more.
        let is_leaving = "SELECT COUNT(*) FROM firefly_leaving WHERE NOT detached";
        assert_eq!(old.query_one(is_leaving, &[]).unwrap().get::<_, i64>(0), 1);
        assert_eq!(assert_finds_each_once(&mut old), 20);
    });
    assert_sound(&ledger);
}

#[test]
fn events_leave_one_by_one_if_somebody_looks_back_or_locks_for_long() {
    let Some(ledger) = Ledger::fresh() else { return };
    let before = ledger.partitions();
    let file = ledger.file(20);
    let mut old = client(&ledger.database);
    let mut old = looking_back(&mut old);
    // The file is read twice.
    assert_eq!(ledger.count_retired(&file), 2 * 20);
    assert_eq!(assert_finds_each_once(&mut old), 0);
    old.commit().unwrap();
    assert_reads(&ledger.store, &ledger, 20);
    assert_sound(&ledger);
    assert_eq!(ledger.partitions()[0], (before[0].0, 0));
    ledger.attach(&file);

    let mut holder = client(&ledger.database);
    holder
        .batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
        .unwrap();
    ledger.retire(&file).unwrap();
    assert_reads(&ledger.store, &ledger, 20);
    holder.batch_execute("COMMIT").unwrap();
    assert_sound(&ledger);
    assert_eq!(ledger.partitions()[0], (before[0].0, 0));
    ledger.attach(&file);
    // What is left of the attempts does not matter.
    client(&ledger.database)
        .batch_execute("UPDATE events SET event_type = event_type")
        .unwrap();
    ledger.retire(&file).unwrap();
    assert_ne!(ledger.partitions()[0].0, before[0].0);
    assert_sound(&ledger);
}

#[test]
fn events_that_are_leaving_are_not_changed_by_others() {
    let Some(ledger) = Ledger::fresh() else { return };
    let (file, archive) = recorded(&ledger, 20);
    let detachment = prepared(&ledger, &archive).unwrap();
    for role in ["origin", "replica"] {
        for change in [
            "DELETE FROM events WHERE global_sequence = 3",
            "UPDATE events SET event_type = 'other' WHERE global_sequence = 3",
            "UPDATE events SET global_sequence = 1000 WHERE global_sequence = 3",
            "TRUNCATE events",
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, global_sequence)
             SELECT gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{}', 0",
        ] {
            let error = client(&ledger.database)
                .batch_execute(&format!("SET session_replication_role = {role}; {change}"))
                .unwrap_err();
            assert_eq!(error.code().unwrap().code(), "55006", "{change}: {error:?}");
        }
    }
    // Other events may be changed, other partitions added.
    client(&ledger.database)
        .batch_execute("UPDATE events SET event_type = 'other' WHERE global_sequence = 33; UPDATE events SET event_type = 'money.deposited'
            WHERE global_sequence = 33")
        .unwrap();
    for account in &ledger.accounts {
        ledger
            .store
            .append(account, ExpectedVersion::Exact(15.into()), &[deposited(1)])
            .unwrap();
    }
    client(&ledger.database)
        .query("SELECT firefly_split_last_partition(1000)", &[])
        .unwrap();
    assert!(detachment.detach().unwrap());
    ledger.retire(&file).unwrap();
    assert_sound(&ledger);
    operate::attach(&ledger.store, Cursor::new(&file), |_| ()).unwrap();
    assert_eq!(all_events(&ledger.store).len(), 48);

    // An event that was deleted before is noticed, and nothing is left behind.
    client(&ledger.database)
        .batch_execute("DELETE FROM events WHERE global_sequence = 15")
        .unwrap();
    let error = ledger.retire(&file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
    client(&ledger.database)
        .batch_execute("UPDATE events SET event_type = event_type")
        .unwrap();
    assert_sound(&ledger);
    assert_eq!(all_events(&ledger.store).len(), 47);
}

/// Every event of the log may be changed, and nothing of the work is left.
fn assert_is_not_leaving(ledger: &Ledger) {
    client(&ledger.database)
        .batch_execute("BEGIN; UPDATE events SET event_type = event_type; ROLLBACK")
        .unwrap();
    assert_sound(ledger);
}

#[test]
fn after_an_error_nothing_is_leaving() {
    let Some(ledger) = Ledger::fresh() else { return };
    let mut other = client(&ledger.database);
    let file = ledger.file(30);
    for (code, kind) in [
        ("insufficient_privilege", ErrorKind::PermissionDenied),
        ("disk_full", ErrorKind::StorageFull),
    ] {
        // At the statement that makes the empty table, after everything was prepared.
        other
            .batch_execute(&format!(
                "CREATE FUNCTION fail() RETURNS event_trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE 'it fails' USING ERRCODE = '{code}'; END $$;
                 CREATE EVENT TRIGGER fail ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION fail()"
            ))
            .unwrap();
        let error = ledger.retire(&file).unwrap_err();
        assert_eq!(*error.kind(), kind, "{error:?}");
        assert_is_not_leaving(&ledger);
        assert_reads(&ledger.store, &ledger, 0);
        other
            .batch_execute("DROP EVENT TRIGGER fail; DROP FUNCTION fail()")
            .unwrap();
    }
    let before = ledger.partitions();
    ledger.retire(&file).unwrap();
    assert!(!ledger.partitions().contains(&before[0]));
    ledger.attach(&file);

    // An event before those that leave at once is not there any more.
    ledger.retire(&ledger.file(5)).unwrap();
    let file = ledger.file(30);
    other
        .batch_execute(
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, global_sequence)
             SELECT gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{}', 0;
             DELETE FROM events WHERE global_sequence = 8",
        )
        .unwrap();
    let error = ledger.retire(&file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
    assert_is_not_leaving(&ledger);
}

#[test]
fn events_leave_one_by_one_on_a_server_that_may_forget_what_old_snapshots_see() {
    let setting = "SELECT current_setting('old_snapshot_threshold', true)";
    let Some(database) = database() else { return };
    // PostgreSQL 17 has no such setting.
    let setting: Option<String> = client(&database).query_one(setting, &[]).unwrap().get(0);
    if setting.is_none() {
        return;
    }
    let settings = [("fsync", "off"), ("old_snapshot_threshold", "1h")];
    let server = PostgresServer::start(&settings).unwrap();
    let ledger = Ledger::of(server.new_database());
    let before = ledger.partitions();
    let (file, archive) = recorded(&ledger, 20);
    assert!(ledger.store.detachment(&archive).unwrap().is_none());
    ledger.retire(&file).unwrap();
    assert_reads(&ledger.store, &ledger, 20);
    assert_sound(&ledger);
    assert_eq!(ledger.partitions()[0], (before[0].0, 0));
    let told = |store: &PostgresEventStore| {
        let told = store.diagnose().unwrap();
        told.into_iter().find(|told| told.subject == "old_snapshot_threshold")
    };
    let found = told(&ledger.store).unwrap();
    assert!(
        found.severity == Severity::Notice && found.found.starts_with("1h: "),
        "{found:?}"
    );
    assert!(told(&Ledger::of(database).store).is_none());
}

#[test]
fn an_event_that_the_file_lacks_stays() {
    let Some(ledger) = Ledger::fresh() else { return };
    let mut other = client(&ledger.database);
    other
        .query("SELECT nextval('events_global_sequence_seq')", &[])
        .unwrap();
    for amount in 0..14 {
        ledger
            .store
            .append(&ledger.accounts[0], ExpectedVersion::Any, &[deposited(amount)])
            .unwrap();
        ledger.store.add_partitions().unwrap();
    }
    let before = ledger.partitions();
    let file = ledger.file(55);
    other
        .batch_execute(
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, global_sequence)
             SELECT gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{}', 46",
        )
        .unwrap();
    ledger.retire(&file).unwrap();
    let left = live(&ledger.store);
    assert_eq!(left, [46, 56, 57, 58, 59, 60]);
    assert_eq!(ledger.partitions()[4], (before[4].0, 1));
    assert_sound(&ledger);
}

#[test]
fn a_publication_of_all_tables_lets_partitions_leave() {
    let Some(ledger) = Ledger::fresh() else { return };
    client(&ledger.database)
        .batch_execute("CREATE PUBLICATION everything FOR ALL TABLES")
        .unwrap();
    let file = ledger.file(30);
    ledger.retire(&file).unwrap();
    assert_eq!(live(&ledger.store).first(), Some(&31));
    assert_sound(&ledger);
    ledger.attach(&file);
}

#[test]
fn a_role_that_does_not_own_the_tables_archives_one_by_one() {
    let Some(ledger) = Ledger::fresh() else { return };
    let clerk = format!("clerk_{}", ledger.database.name());
    client(&ledger.database)
        .batch_execute(&format!(
            "CREATE ROLE {clerk} LOGIN;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {clerk};
             REVOKE INSERT, UPDATE, DELETE ON firefly_leaving FROM {clerk};
             GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {clerk}"
        ))
        .unwrap();
    let mut config: Config = ledger.database.url().parse().unwrap();
    let limited = PostgresEventStore::configure(config.user(&clerk).clone())
        .open()
        .unwrap();
    let partitions = ledger.partitions().len();
    let file = ledger.file(30);
    operate::retire(&limited, Cursor::new(&file), "elsewhere", |_| ()).unwrap();
    assert_eq!(live(&ledger.store).first(), Some(&31));
    assert_eq!(ledger.partitions().len(), partitions);
    assert_sound(&ledger);
    ledger.attach(&file);
}

#[test]
fn events_leave_one_by_one_while_the_log_is_converted() {
    let Some(ledger) = Ledger::fresh() else { return };
    let convert = || PostgresEventStore::builder(ledger.database.url()).convert_to_one_table(|_| ());
    // All events are copied, but the tables cannot be swapped.
    let mut other = client(&ledger.database);
    let mut reading = other.transaction().unwrap();
    reading.batch_execute("SELECT FROM events").unwrap();
    assert!(convert().unwrap_err().is_retryable());
    drop(reading);
    let file = ledger.file(30);
    let partitions = ledger.partitions().len();
    ledger.retire(&file).unwrap();
    assert_eq!(ledger.partitions().len(), partitions);
    convert().unwrap();
    assert_eq!(live(&ledger.store).first(), Some(&31));
    let archived = other
        .query_one(
            "SELECT COUNT(*) FROM events JOIN firefly_archived_events USING (global_sequence)",
            &[],
        )
        .unwrap();
    assert_eq!(archived.get::<_, i64>(0), 0);
}

#[test]
fn an_older_archive_is_not_attached_while_partitions_leave() {
    let Some(ledger) = Ledger::fresh() else { return };
    let older = ledger.file(10);
    ledger.retire(&older).unwrap();
    let (newer, archive) = recorded(&ledger, 30);
    let mut other = client(&ledger.database);
    let mut holding = other.transaction().unwrap();
    holding
        .batch_execute("LOCK TABLE ONLY events IN SHARE UPDATE EXCLUSIVE MODE")
        .unwrap();
    thread::scope(|scope| {
        let attaching = scope.spawn(|| operate::attach(&ledger.store, Cursor::new(&older), |_| ()));
        until(
            &mut client(&ledger.database),
            "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'ShareUpdateExclusiveLock' AND NOT granted)",
        );
        let leaving = prepared(&ledger, &archive).unwrap();
        holding.rollback().unwrap();
        let refused = attaching.join().unwrap().unwrap_err();
        assert!(refused.is_retryable(), "{refused}");
        assert!(leaving.detach().unwrap());
    });
    ledger.retire(&newer).unwrap();
    for account in &ledger.accounts {
        let appended = ledger
            .store
            .append(account, ExpectedVersion::Any, &[deposited(1)])
            .unwrap();
        assert_eq!(appended.version(), 16);
    }
}

fn live(store: &PostgresEventStore) -> Vec<i64> {
    let events = store.read(EventQuery::new().skip_archived());
    events.map(|event| event.unwrap().global_sequence.as_i64()).collect()
}

#[test]
fn of_two_that_retire_at_once_one_does() {
    let Some(ledger) = Ledger::fresh() else { return };
    let file = ledger.file(30);
    thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| ledger.retire(&file)));
        let both = both.map(|one| one.join().unwrap());
        assert!(both.iter().any(Result::is_ok), "{both:?}");
        assert!(
            both.iter()
                .all(|one| one.as_ref().is_ok_and(|_| true) || one.as_ref().is_err_and(Error::is_retryable)),
            "{both:?}"
        );
    });
    assert_reads(&ledger.store, &ledger, 30);
    assert_sound(&ledger);
    ledger.attach(&file);
    let (_, archive) = recorded(&ledger, 30);
    let first = prepared(&ledger, &archive).unwrap();
    let second = ledger.store.detachment(&archive).map(drop).unwrap_err();
    assert!(second.is_retryable(), "{second:?}");
    let converted = PostgresEventStore::builder(ledger.database.url()).convert_to_one_table(|_| ());
    assert!(converted.unwrap_err().is_retryable());
    let attached = ledger.store.attach_events(&ledger.events[..5]).unwrap_err();
    assert!(attached.is_retryable(), "{attached:?}");
    drop(first);
}

/// Ends a session at a statement that changes what is noted about leaving events, in addition.
const KILLING_AT_NOTES: &str = "
    CREATE TRIGGER kill AFTER INSERT OR UPDATE OR DELETE ON firefly_leaving
        FOR EACH STATEMENT EXECUTE FUNCTION killing.at_note();
    CREATE TRIGGER kill AFTER INSERT OR DELETE ON firefly_horizon
        FOR EACH STATEMENT EXECUTE FUNCTION killing.at_note();
    CREATE TRIGGER kill AFTER INSERT ON firefly_archived_events
        FOR EACH STATEMENT EXECUTE FUNCTION killing.at_note();
    CREATE TRIGGER kill AFTER DELETE ON firefly_event_keys
        FOR EACH STATEMENT EXECUTE FUNCTION killing.at_note();";

/// Moves the events of an archive that is recorded out of the log at once, if that is possible.
fn detached(store: &PostgresEventStore, ledger: &Ledger, archive: &Archive) -> Result<(), Error> {
    let Some(mut detachment) = store.detachment(archive)? else {
        return Ok(());
    };
    let leaving = ledger
        .events
        .iter()
        .filter(|event| detachment.sequences().contains(&event.global_sequence));
    let leaving: Vec<EventEnvelope> = leaving.cloned().collect();
    for batch in leaving.chunks(7) {
        detachment.prepare(batch)?;
    }
    assert!(detachment.detach()?);
    Ok(())
}

/// Each kill is at a later statement. After it everything is read; then the archive is taken back, or the work goes on.
fn goes_on_after_kills(takes_back: bool) {
    let Some(ledger) = Ledger::fresh() else { return };
    let killing = format!("{KILLING}{KILLING_AT_NOTES}");
    client(&ledger.database).batch_execute(&killing).unwrap();
    let (mut kills, mut were_archived, mut are_told) = (0, HashSet::new(), 0);
    let (file, archive) = recorded(&ledger, 20);
    for statement in 1.. {
        let retired = detached(&killed_at(&ledger.database, statement), &ledger, &archive);
        let archived = assert_finds_each_once(&mut client(&ledger.database));
        assert_reads(&ledger.store, &ledger, archived);
        were_archived.insert(archived);
        let told = ledger.store.diagnose().unwrap();
        are_told += usize::from(told.iter().any(|told| told.subject == "archiving"));
        match retired {
            Ok(()) => {
                assert_eq!(archived, 20);
                break;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                kills += 1;
            }
        }
        if takes_back {
            ledger.attach(&file);
            ledger.store.record_archive(&archive).unwrap();
        }
    }
    assert_eq!(were_archived, HashSet::from([0, 20]));
    assert!(kills > 10 && are_told > 10, "{kills} {are_told}");
    assert_sound(&ledger);
    client(&ledger.database).batch_execute(NO_MORE_KILLING).unwrap();
    let store = PostgresEventStore::builder(ledger.database.url());
    ledger.attach(&file);
    // What is left of an attempt does not keep the log from being one table.
    let (file, archive) = recorded(&ledger, 20);
    interrupted(&ledger, &archive);
    assert!(store.convert_to_one_table(|_| ()).unwrap());
    assert_reads(&ledger.store, &ledger, 0);
    ledger.retire(&file).unwrap();
    assert_reads(&ledger.store, &ledger, 20);
}

#[test]
fn who_is_killed_at_any_step_leaves_each_event_in_one_place_and_the_next_call_goes_on() {
    goes_on_after_kills(false);
}

#[test]
fn what_was_interrupted_at_any_step_is_undone_by_attaching_the_archive() {
    goes_on_after_kills(true);
}

#[test]
fn nobody_misses_an_event_or_gets_a_version_twice_while_partitions_leave_and_come_back() {
    let Some(ledger) = Ledger::fresh() else { return };
    let file = ledger.file(30);
    let is_over = AtomicBool::new(false);
    let (store, accounts) = (&ledger.store, &ledger.accounts);
    let read = |query: EventQuery| {
        let (mut whole, mut refused) = (0, 0);
        while !is_over.load(Ordering::Acquire) {
            match store.read_page(&query, None) {
                Ok(page) => {
                    assert_eq!(page.events.len(), 10);
                    whole += 1;
                }
                Err(error) => {
                    assert!(error.is_archived(), "{error:?}");
                    refused += 1;
                }
            }
        }
        (whole, refused)
    };
    let load = |account: &AggregateKey| {
        let (mut whole, mut refused) = (0, 0);
        while !is_over.load(Ordering::Acquire) {
            match store.load(account) {
                Ok(stream) => {
                    assert_eq!(stream.len() as u64, stream.version().get());
                    whole += 1;
                }
                Err(error) => {
                    assert!(error.is_archived(), "{error:?}");
                    refused += 1;
                }
            }
            let after = store.load_range(account, &StreamRange::all().from_version(11)).unwrap();
            assert_eq!(after.len() as u64, after.version().get() - 10);
        }
        (whole, refused)
    };
    let append = |account: &AggregateKey| {
        let mut random = fastrand::Rng::with_seed(1);
        let mut version = 15;
        while !is_over.load(Ordering::Acquire) {
            let expected = match random.u8(..3) {
                0 => ExpectedVersion::Any,
                1 => ExpectedVersion::Exists,
                _ => ExpectedVersion::Exact(version.into()),
            };
            let appended = store.append(account, expected, &[deposited(1)]).unwrap();
            version += 1;
            assert_eq!(appended.version(), u64::from(version));
            store
                .append(account, ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap_err();
        }
    };
    thread::scope(|scope| {
        let ends = Ends(&is_over);
        let queries = [
            EventQuery::new().until(10_u32),
            EventQuery::new().after(10_u32).until(20_u32).backwards(),
            EventQuery::new().aggregate_id(accounts[0].id()).until(30_u32),
        ];
        let mut readers: Vec<_> = queries.into_iter().map(|query| scope.spawn(|| read(query))).collect();
        readers.push(scope.spawn(|| load(&accounts[1])));
        for account in accounts {
            scope.spawn(|| append(account));
        }
        for _ in 0..8 {
            ledger.retire(&file).unwrap();
            operate::attach(store, Cursor::new(&file), |_| ()).unwrap();
        }
        drop(ends);
        for reader in readers {
            let (whole, refused) = reader.join().unwrap();
            assert!(whole > 0 && refused > 0, "{whole} and {refused}");
        }
    });
    assert_sound(&ledger);
    assert_eq!(all_events(store)[..45], ledger.events);
}

/// Lets the other threads end, also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A primary, and its standby with these settings, with a ledger.
fn replicated(settings: &[(&str, &str)]) -> Option<(PostgresServer, PostgresServer, Ledger)> {
    postgres_unless_missing()?;
    let primary = PostgresServer::start(&[("fsync", "off")]).unwrap();
    let standby = primary.standby(settings).unwrap();
    let ledger = Ledger::of(primary.new_database());
    ledger.store.publish_mark().unwrap();
    standby.has_caught_up(&primary);
    Some((primary, standby, ledger))
}

#[test]
fn who_reads_on_a_standby_finds_each_event_once_or_is_cancelled() {
    for (settings, is_cancelled) in [
        (
            [("max_standby_streaming_delay", "-1"), ("hot_standby_feedback", "off")],
            false,
        ),
        (
            [("max_standby_streaming_delay", "0"), ("hot_standby_feedback", "off")],
            true,
        ),
    ] {
        let Some((primary, standby, ledger)) = replicated(&settings) else {
            return;
        };
        let mut old = Client::connect(&standby.url(ledger.database.name()), NoTls).unwrap();
        let mut transaction = looking_back(&mut old);
        let before = ledger.partitions();
        ledger.retire(&ledger.file(20)).unwrap();
        assert!(!ledger.partitions().contains(&before[0]));
        if is_cancelled {
            standby.has_caught_up(&primary);
            transaction
                .query("SELECT global_sequence FROM events", &[])
                .unwrap_err();
            drop(transaction);
        } else {
            assert_eq!(assert_finds_each_once(&mut transaction), 0);
            transaction.commit().unwrap();
            standby.has_caught_up(&primary);
        }
        let url = standby.url(ledger.database.name());
        let replica = PostgresEventStore::builder(&url).read_replica(true).open().unwrap();
        assert!(replica.load(&ledger.accounts[0]).unwrap_err().is_archived());
        assert!(replica.read_page(&EventQuery::new(), None).unwrap_err().is_archived());
        assert_eq!(replica.read(EventQuery::new().skip_archived()).count(), 25);
        let mut new = Client::connect(&url, NoTls).unwrap();
        assert_eq!(assert_finds_each_once(&mut looking_back(&mut new)), 20);
    }
}

#[test]
fn who_reads_on_a_standby_with_feedback_is_waited_for() {
    let settings = [("hot_standby_feedback", "on"), ("wal_receiver_status_interval", "1s")];
    let Some((_primary, standby, ledger)) = replicated(&settings) else {
        return;
    };
    let before = ledger.partitions();
    let file = ledger.file(20);
    let mut old = Client::connect(&standby.url(ledger.database.name()), NoTls).unwrap();
    let mut old = looking_back(&mut old);
    let mut other = client(&ledger.database);
    until(
        &mut other,
        "SELECT backend_xmin IS NOT NULL AND NOT pg_is_in_recovery() FROM pg_stat_replication",
    );
    thread::scope(|scope| {
        let retired = scope.spawn(|| ledger.retire(&file));
        until(&mut other, IS_PREPARED);
        until(&mut other, "SELECT to_regclass('firefly_emptied_events') IS NOT NULL");
        thread::sleep(Duration::from_millis(500));
        assert_eq!(assert_finds_each_once(&mut other), 0);
        assert_eq!(assert_finds_each_once(&mut old), 0);
        old.commit().unwrap();
        retired.join().unwrap().unwrap();
    });
    assert_eq!(assert_finds_each_once(&mut other), 20);
    assert!(!ledger.partitions().contains(&before[0]));
}
