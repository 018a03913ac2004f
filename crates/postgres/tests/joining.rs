//! Old partitions that become one: nothing is missing, and nothing is there twice, at any step.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::ErrorKind;
use firefly_eventstore_core::operate::{self, Archive, Archiving, Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::{Client, GenericClient, NoTls};
use firefly_eventstore_postgres::{Partitions, PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::{Database, PostgresServer, postgres_unless_missing};

use crate::support::{
    IS_WAITING_FOR_LOCK, KILLING, NO_MORE_KILLING, account, all_events, client, database, deposited, killed_at,
    looking_back, until,
};

/// A store in partitions of ten sequences, all of which have events, but the last two.
struct Ledger {
    database: Database,
    store: PostgresEventStore,
    accounts: Vec<AggregateKey>,
    events: Vec<EventEnvelope>,
}

impl Ledger {
    /// With so many partitions.
    fn fresh(partitions: i64) -> Option<Self> {
        Some(Self::of(database()?, partitions))
    }

    fn of(database: Database, partitions: i64) -> Self {
        let store = builder(&database)
            .migrate_on_open(true)
            .partitions(Partitions::by_events(10))
            .open()
            .unwrap();
        let accounts: Vec<AggregateKey> = (0..5).map(|_| account()).collect();
        for amount in 0..partitions as u64 - 2 {
            for account in &accounts {
                let two = [deposited(amount), deposited(amount + 1)];
                store.append(account, ExpectedVersion::Any, &two).unwrap();
            }
            store.add_partitions().unwrap();
        }
        let events = all_events(&store);
        let ledger = Self {
            database,
            store,
            accounts,
            events,
        };
        assert_eq!(ledger.partitions().len() as i64, partitions);
        ledger
    }

    /// The number of events in each partition.
    fn partitions(&self) -> Vec<i64> {
        let mut client = client(&self.database);
        let ranges = client.query(
            "SELECT partition::text, first_sequence, end_sequence FROM firefly_ranges()",
            &[],
        );
        let mut end = None;
        let mut partitions = Vec::new();
        for range in &ranges.unwrap() {
            assert_eq!(
                range.get::<_, Option<i64>>(1),
                end,
                "a range begins where the one before it ends"
            );
            end = range.get(2);
            let count = format!("SELECT COUNT(*) FROM {}", range.get::<_, String>(0));
            partitions.push(client.query_one(&count, &[]).unwrap().get(0));
        }
        assert_eq!(end, None, "the last range has no end");
        partitions
    }

    fn join(&self) -> Option<String> {
        self.store.join_partitions().unwrap()
    }

    /// Whether the store has the events, and others after them, in every way to read them.
    fn assert_whole(&self) {
        let events = all_events(&self.store);
        assert_eq!(events[..self.events.len()], self.events);
        for account in &self.accounts {
            let of_account = || self.events.iter().filter(|event| event.aggregate == *account);
            let stream = self.store.load(account).unwrap();
            assert!(stream.events().iter().eq(of_account()));
            let middle = stream.version().get() / 2;
            let range = StreamRange::all().from_version(middle as u32).backwards();
            let half = self.store.load_range(account, &range).unwrap();
            assert!(
                half.events().iter().eq(of_account()
                    .skip(middle as usize - 1)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev())
            );
            let of_account = self
                .store
                .read_page(&EventQuery::new().aggregate_id(account.id()).limit(7), None);
            assert_eq!(of_account.unwrap().events, stream.events()[..7]);
            let stale = self.store.append(account, ExpectedVersion::NoStream, &[deposited(1)]);
            assert!(stale.unwrap_err().is_conflict());
        }
        let wrong = "SELECT COUNT(*) FROM events FULL JOIN firefly_event_keys
            USING (event_id, global_sequence, aggregate_id, aggregate_version)
            WHERE events.event_type IS NULL OR firefly_event_keys.aggregate_type IS NULL";
        let wrong = client(&self.database).query_one(wrong, &[]).unwrap();
        assert_eq!(wrong.get::<_, i64>(0), 0);
    }

    /// The same, and nothing of the work is left.
    fn assert_sound(&self) {
        self.assert_whole();
        let left = "SELECT
            (SELECT COUNT(*) FROM firefly_partitions WHERE join_until IS NOT NULL),
            (SELECT COUNT(*) FROM pg_class WHERE relname ~ '^firefly_(left|joined)' AND relkind = 'r'),
            (SELECT COUNT(*) FROM pg_constraint WHERE conname = 'firefly_bound'),
            (SELECT COUNT(*) FROM pg_trigger WHERE tgname ~ '^trigger_events_leaving' AND tgenabled <> 'D'),
            (SELECT COUNT(*) FROM pg_index JOIN pg_inherits ON inhparent = indexrelid
                WHERE indrelid = 'events'::regclass AND NOT EXISTS (SELECT FROM pg_index AS of_part WHERE of_part.indexrelid = inhrelid))";
        let row = client(&self.database).query_one(left, &[]).unwrap();
        assert_eq!((0..5).map(|column| row.get(column)).collect::<Vec<i64>>(), [0; 5]);
        assert_eq!(self.store.check_storage().unwrap(), []);
        assert!(self.told().is_none());
    }

    /// The finding of `doctor`.
    fn told(&self) -> Option<String> {
        let told = self.store.diagnose().unwrap();
        let told = told.into_iter().find(|told| told.subject == "joining")?;
        assert_eq!(told.severity, Severity::Warning);
        Some(told.found)
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

    fn attach(&self, file: &[u8]) {
        operate::attach(&self.store, Cursor::new(file), |_| ()).unwrap();
    }
}

fn builder(database: &Database) -> PostgresBuilder {
    PostgresEventStore::builder(database.url()).max_connections(16)
}

/// Keeps partitions from being frozen: after they were chosen, and before their events are copied.
fn hold(client: &mut Client) {
    client
        .batch_execute("BEGIN; LOCK TABLE ONLY events_from_1 IN ROW EXCLUSIVE MODE")
        .unwrap();
}

const IS_CHOSEN: &str = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'firefly_joined_events')";
const IS_COPIED: &str = "(SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass('firefly_joined_events')))";
const IS_JOINED: &str = "(SELECT COUNT(*) < 25 FROM pg_inherits WHERE inhparent = 'events'::regclass)";

fn holds(client: &mut Client, condition: &str) -> bool {
    client.query_one(&format!("SELECT ({condition})"), &[]).unwrap().get(0)
}

/// Asserts that a session finds each of so many events once.
fn assert_finds_each_once(session: &mut impl GenericClient, events: usize) {
    let found = session
        .query("SELECT global_sequence FROM events ORDER BY 1", &[])
        .unwrap();
    let found: Vec<i64> = found.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, (1..=events as i64).collect::<Vec<_>>());
}

#[test]
fn old_partitions_are_joined_if_there_are_many() {
    let Some(ledger) = Ledger::fresh(24) else { return };
    assert_eq!(ledger.join(), None);
    assert_eq!(ledger.partitions().len(), 24);
    let Some(ledger) = Ledger::fresh(40) else { return };
    let (file, before) = (ledger.file(120), ledger.store.statistics(None).unwrap());
    assert_eq!(ledger.join().unwrap(), "40 partitions were joined into 26");
    ledger.assert_sound();
    assert_eq!(ledger.partitions()[..4], [80, 80, 10, 10]);
    assert_eq!(ledger.join().unwrap(), "26 partitions were joined into 12");
    ledger.assert_sound();
    assert_eq!(ledger.partitions()[..6], [80, 80, 80, 80, 10, 10]);
    assert_eq!(ledger.join(), None);
    assert_eq!(ledger.store.statistics(None).unwrap().total_events, before.total_events);

    // The archive ends in the middle of a partition. What is before leaves at once.
    ledger.retire(&file).unwrap();
    assert_eq!(ledger.partitions()[..3], [0, 40, 80]);
    ledger.attach(&file);
    ledger.assert_sound();
    for partition in ["events_from_1", "events_from_81"] {
        let refused = client(&ledger.database).batch_execute(&format!("DELETE FROM {partition}"));
        refused.unwrap_err();
    }
    assert!(builder(&ledger.database).convert_to_one_table(|_| ()).unwrap());
    assert_eq!(all_events(&ledger.store), ledger.events);
    assert_eq!(ledger.join(), None);
}

#[test]
fn who_looked_before_the_events_were_copied_is_waited_for() {
    let Some(ledger) = Ledger::fresh(25) else { return };
    let [mut holder, mut old, mut older, mut other] = [(); 4].map(|()| client(&ledger.database));
    let older = looking_back(&mut older);
    thread::scope(|scope| {
        hold(&mut holder);
        let joined = scope.spawn(|| ledger.join());
        // Longer than it would take.
        thread::sleep(Duration::from_millis(300));
        assert!(!holds(&mut other, IS_CHOSEN));
        older.commit().unwrap();
        until(&mut other, IS_CHOSEN);
        let mut old = looking_back(&mut old);
        holder.batch_execute("COMMIT").unwrap();
        until(&mut other, &format!("{IS_COPIED} OR {IS_JOINED}"));
        thread::sleep(Duration::from_millis(300));
        assert!(holds(&mut other, IS_COPIED));
        assert_finds_each_once(&mut other, 230);
        assert_finds_each_once(&mut old, 230);
        assert!(ledger.told().unwrap().contains("0 to 80"));
        old.commit().unwrap();
        assert_eq!(joined.join().unwrap().unwrap(), "25 partitions were joined into 12");
    });
    ledger.assert_sound();
}

#[test]
fn who_looked_between_the_copying_and_the_replacing_finds_each_event_once() {
    let Some(ledger) = Ledger::fresh(25) else { return };
    let [mut old, mut reader, mut holder, mut other] = [(); 4].map(|()| client(&ledger.database));
    holder
        .batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
        .unwrap();
    thread::scope(|scope| {
        let joined = scope.spawn(|| ledger.join());
        until(&mut other, IS_WAITING_FOR_LOCK);
        let [mut old, mut reader] = [looking_back(&mut old), looking_back(&mut reader)];
        assert_finds_each_once(&mut reader, 230);
        reader.commit().unwrap();
        holder.batch_execute("COMMIT").unwrap();
        until(&mut other, IS_JOINED);
        assert_finds_each_once(&mut old, 230);
        assert_finds_each_once(&mut other, 230);
        old.commit().unwrap();
        joined.join().unwrap().unwrap();
    });
    ledger.assert_sound();
}

#[test]
fn events_that_are_joined_are_not_changed_meanwhile() {
    let Some(ledger) = Ledger::fresh(25) else { return };
    let mut holder = client(&ledger.database);
    holder
        .batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
        .unwrap();
    thread::scope(|scope| {
        let joined = scope.spawn(|| ledger.join());
        let mut other = client(&ledger.database);
        until(&mut other, IS_WAITING_FOR_LOCK);
        for change in [
            "DELETE FROM events WHERE global_sequence = 3",
            "UPDATE events SET event_type = 'other' WHERE global_sequence = 3",
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, global_sequence)
             SELECT gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{}', 0",
        ] {
            let error = client(&ledger.database)
                .batch_execute(&format!("SET session_replication_role = replica; SET lock_timeout = '5s'; {change}"))
                .unwrap_err();
            assert_eq!(error.code().unwrap().code(), "55006", "{change}: {error:?}");
        }
        // Those who move events, join or convert wait for it.
        let busy = ledger.join().unwrap();
        assert!(busy.contains("another process"), "{busy}");
        let converted = builder(&ledger.database).convert_to_one_table(|_| ());
        assert!(converted.unwrap_err().is_retryable());
        assert!(
            ledger
                .store
                .attach_events(&ledger.events[..5])
                .unwrap_err()
                .is_retryable()
        );
        assert!(
            ledger
                .store
                .retire_events(&ledger.events[..5])
                .unwrap_err()
                .is_retryable()
        );
        holder.batch_execute("COMMIT").unwrap();
        joined.join().unwrap().unwrap();
    });
    ledger.assert_sound();
}

#[test]
fn of_two_that_join_at_once_one_does() {
    let Some(ledger) = Ledger::fresh(26) else { return };
    thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| ledger.join()));
        let both = both.map(|one| one.join().unwrap());
        assert!(
            both.iter().flatten().any(|told| told.ends_with("joined into 12")),
            "{both:?}"
        );
    });
    ledger.assert_sound();
}

/// Each kill is at a later statement. After it everything is read; then the work goes on.
#[test]
fn who_is_killed_at_any_step_leaves_a_log_that_works_and_the_next_call_goes_on() {
    let Some(ledger) = Ledger::fresh(25) else { return };
    client(&ledger.database)
        .batch_execute(&format!(
            "{KILLING}
             CREATE TRIGGER kill AFTER UPDATE ON firefly_partitions FOR EACH STATEMENT EXECUTE FUNCTION killing.at_note();
             CREATE TRIGGER kill AFTER INSERT OR DELETE ON firefly_horizon FOR EACH STATEMENT EXECUTE FUNCTION killing.at_note()"
        ))
        .unwrap();
    let (mut kills, mut are_told, mut were) = (0, 0, HashSet::new());
    let mut other = client(&ledger.database);
    for statement in 1.. {
        let joined = killed_at(&ledger.database, statement).join_partitions();
        ledger.assert_whole();
        were.insert(ledger.partitions().len());
        are_told += usize::from(ledger.told().is_some());
        if joined
            .inspect_err(|error| assert!(error.is_retryable(), "{error:?}"))
            .is_ok()
        {
            break;
        }
        kills += 1;
        // It ended in the middle of the copying.
        if kills % 4 == 0 && holds(&mut other, IS_COPIED) {
            let indexes = "SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index WHERE indrelid = 'firefly_joined_events'::regclass";
            for index in other.query(indexes, &[]).unwrap() {
                other.batch_execute(index.get(0)).unwrap();
            }
            other
                .batch_execute("DELETE FROM firefly_joined_events WHERE global_sequence > 33")
                .unwrap();
        }
    }
    assert!(were.is_superset(&HashSet::from([25, 18])), "{were:?}");
    assert!(kills > 30 && are_told > 20, "{kills} {are_told}");
    client(&ledger.database).batch_execute(NO_MORE_KILLING).unwrap();
    ledger.assert_sound();
}

/// Lets a process die after it copied the events.
fn interrupt(ledger: &Ledger) {
    let mut holder = client(&ledger.database);
    holder
        .batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
        .unwrap();
    thread::scope(|scope| {
        let joined = scope.spawn(|| ledger.store.join_partitions());
        let mut other = client(&ledger.database);
        until(&mut other, IS_WAITING_FOR_LOCK);
        let dying = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        other.batch_execute(dying).unwrap();
        assert!(joined.join().unwrap().unwrap_err().is_retryable());
    });
    assert!(ledger.told().is_some());
}

#[test]
fn what_was_interrupted_is_undone_by_those_who_move_events_or_convert() {
    let Some(ledger) = Ledger::fresh(25) else { return };
    interrupt(&ledger);
    let file = ledger.file(30);
    ledger.retire(&file).unwrap();
    assert_eq!(ledger.partitions()[..3], [0, 10, 10]);
    assert!(ledger.told().is_none());
    // An empty partition is joined with others.
    let mut other = client(&ledger.database);
    for cut in [251, 261] {
        other
            .query("SELECT firefly_split_last_partition($1)", &[&(cut as i64)])
            .unwrap();
    }
    interrupt(&ledger);
    ledger.attach(&file);
    ledger.assert_sound();
    interrupt(&ledger);
    assert!(builder(&ledger.database).convert_to_one_table(|_| ()).unwrap());
    assert_eq!(all_events(&ledger.store), ledger.events);
    let left = "SELECT COUNT(*) FROM pg_class WHERE relname ~ '^firefly_(left|joined)'";
    assert_eq!(other.query_one(left, &[]).unwrap().get::<_, i64>(0), 0);
}

#[test]
fn after_an_error_nothing_is_changed() {
    let Some(ledger) = Ledger::fresh(25) else { return };
    let mut other = client(&ledger.database);
    other
        .batch_execute(
            "CREATE FUNCTION fail() RETURNS event_trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'it fails' USING ERRCODE = 'disk_full'; END $$;
             CREATE EVENT TRIGGER fail ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION fail()",
        )
        .unwrap();
    let error = ledger.store.join_partitions().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert_eq!(ledger.partitions().len(), 25);
    ledger.assert_sound();
    other
        .batch_execute("BEGIN; UPDATE events SET event_type = event_type; ROLLBACK; DROP EVENT TRIGGER fail")
        .unwrap();
    ledger.join().unwrap();
    ledger.assert_sound();
}

#[test]
fn partitions_are_not_joined_whose_copies_would_be_sent_to_subscribers_or_whose_events_leave() {
    let Some(ledger) = Ledger::fresh(25) else { return };
    let mut other = client(&ledger.database);
    for publication in ["FOR ALL TABLES", "FOR TABLE events", "FOR TABLE events_from_11"] {
        other
            .batch_execute(&format!("CREATE PUBLICATION mine {publication}"))
            .unwrap();
        let told = ledger.join().unwrap();
        assert!(
            told.starts_with("no partitions were joined, because they are published"),
            "{told}"
        );
        other.batch_execute("DROP PUBLICATION mine").unwrap();
    }
    other
        .batch_execute("INSERT INTO firefly_leaving VALUES (1, '', 1, 10, 11, false)")
        .unwrap();
    assert!(ledger.join().unwrap().starts_with("no partitions were joined"));
    other.batch_execute("DELETE FROM firefly_leaving").unwrap();
    assert_eq!(ledger.partitions().len(), 25);
    ledger.assert_sound();
}

#[test]
fn months_are_joined_with_their_neighbours() {
    let Some(database) = database() else { return };
    let store = builder(&database)
        .migrate_on_open(true)
        .partitions(Partitions::by_month())
        .open()
        .unwrap();
    let accounts = vec![account()];
    for amount in 0..25 {
        let ten = [amount; 10].map(deposited);
        store.append(&accounts[0], ExpectedVersion::Any, &ten).unwrap();
        client(&database)
            .batch_execute(
                "UPDATE events SET created_at = created_at - INTERVAL '1 month';
                 UPDATE firefly_partitions SET begun_at = begun_at - INTERVAL '1 month'",
            )
            .unwrap();
        store.add_partitions().unwrap();
    }
    let events = all_events(&store);
    let ledger = Ledger {
        database,
        store,
        accounts,
        events,
    };
    assert_eq!(ledger.partitions().len(), 26);
    ledger.join().unwrap();
    ledger.assert_sound();
    assert_eq!(ledger.partitions().len(), 12);
}

#[test]
fn nobody_misses_an_event_or_gets_a_version_twice_while_partitions_are_joined() {
    let Some(ledger) = Ledger::fresh(40) else { return };
    let is_over = AtomicBool::new(false);
    let (store, accounts, events) = (&ledger.store, &ledger.accounts, ledger.events.len());
    let read = |query: EventQuery, expected: usize| {
        while !is_over.load(Ordering::Acquire) {
            assert_eq!(store.read_page(&query, None).unwrap().events.len(), expected);
        }
    };
    let look_back = || {
        let mut client = client(&ledger.database);
        while !is_over.load(Ordering::Acquire) {
            let mut old = looking_back(&mut client);
            thread::sleep(Duration::from_millis(fastrand::u64(..30)));
            let count = format!(
                "SELECT COUNT(*), COUNT(DISTINCT global_sequence) FROM events WHERE global_sequence <= {events}"
            );
            let found = old.query_one(&count, &[]).unwrap();
            assert_eq!((found.get(0), found.get(1)), (events as i64, events as i64));
            old.commit().unwrap();
        }
    };
    let append = |account: &AggregateKey| {
        let mut version = (events / accounts.len()) as u64;
        while !is_over.load(Ordering::Acquire) {
            let expected = ExpectedVersion::Exact(version.try_into().unwrap());
            version += 1;
            assert_eq!(
                store.append(account, expected, &[deposited(1)]).unwrap().version(),
                version
            );
            assert_eq!(store.load(account).unwrap().version(), version);
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::scope(|scope| {
        let ends = Ends(&is_over);
        scope.spawn(|| read(EventQuery::new().until(100_u32), 100));
        scope.spawn(|| read(EventQuery::new().after(50_u32).until(200_u32).backwards(), 150));
        scope.spawn(|| read(EventQuery::new().aggregate_id(accounts[4].id()).until(100_u32), 20));
        scope.spawn(look_back);
        for account in &accounts[..2] {
            scope.spawn(|| append(account));
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                store.add_partitions().unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        while ledger.partitions().len() > 24 {
            ledger.join();
        }
        drop(ends);
    });
    let mut ledger = ledger;
    ledger.events = all_events(&ledger.store);
    assert_eq!(ledger.partitions().iter().sum::<i64>(), ledger.events.len() as i64);
    ledger.assert_sound();
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
    let ledger = Ledger::of(primary.new_database(), 25);
    ledger.store.publish_mark().unwrap();
    standby.has_caught_up(&primary);
    Some((primary, standby, ledger))
}

#[test]
fn who_reads_on_a_standby_finds_each_event_once_or_is_cancelled() {
    for (delay, is_cancelled) in [("-1", false), ("0", true)] {
        let settings = [("max_standby_streaming_delay", delay), ("hot_standby_feedback", "off")];
        let Some((primary, standby, ledger)) = replicated(&settings) else {
            return;
        };
        let url = standby.url(ledger.database.name());
        let mut old = Client::connect(&url, NoTls).unwrap();
        let mut old = looking_back(&mut old);
        ledger.join().unwrap();
        assert_eq!(ledger.partitions().len(), 12);
        if is_cancelled {
            standby.has_caught_up(&primary);
            old.query("SELECT global_sequence FROM events", &[]).unwrap_err();
            drop(old);
        } else {
            // It has replayed as much as it can.
            thread::sleep(Duration::from_millis(300));
            assert_finds_each_once(&mut old, 230);
            old.commit().unwrap();
            standby.has_caught_up(&primary);
        }
        let replica = PostgresEventStore::builder(&url).read_replica(true).open().unwrap();
        assert_eq!(all_events(&replica), ledger.events);
        for account in &ledger.accounts {
            assert_eq!(replica.load(account).unwrap().version(), 46);
        }
        let mut new = Client::connect(&url, NoTls).unwrap();
        assert_finds_each_once(&mut looking_back(&mut new), 230);
    }
}

#[test]
fn who_reads_on_a_standby_with_feedback_is_waited_for() {
    let settings = [("hot_standby_feedback", "on"), ("wal_receiver_status_interval", "1s")];
    let Some((_primary, standby, ledger)) = replicated(&settings) else {
        return;
    };
    let mut holder = client(&ledger.database);
    let mut other = client(&ledger.database);
    let mut old = Client::connect(&standby.url(ledger.database.name()), NoTls).unwrap();
    thread::scope(|scope| {
        hold(&mut holder);
        let joined = scope.spawn(|| ledger.join());
        until(&mut other, IS_CHOSEN);
        let mut old = looking_back(&mut old);
        until(&mut other, "SELECT backend_xmin IS NOT NULL FROM pg_stat_replication");
        holder.batch_execute("COMMIT").unwrap();
        until(&mut other, &format!("{IS_COPIED} OR {IS_JOINED}"));
        thread::sleep(Duration::from_millis(500));
        assert!(holds(&mut other, IS_COPIED));
        assert_finds_each_once(&mut old, 230);
        old.commit().unwrap();
        assert_eq!(joined.join().unwrap().unwrap(), "25 partitions were joined into 12");
    });
    ledger.assert_sound();
}
