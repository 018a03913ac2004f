//! Conversions: the log of a store in use becomes partitioned, and one table again.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::operate::{Audit, Diagnosis, Operations, Progress};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, IsolationLevel, Opts, OptsBuilder, Row, Transaction, TxOpts};
use firefly_eventstore_mysql::{Indexes, MysqlBuilder, MysqlEventStore, Partitions};
use firefly_eventstore_test_servers::{Database, MysqlServer, Proxy, mariadb_unless_missing, operated_while};

use crate::support::{
    account, all_events, append_one, builder, client, connections, deposited, eventually, fresh, on_both, run,
};

on_both!(
    programs_go_on_while_a_log_is_converted_there_and_back,
    a_converter_that_is_killed_at_any_step_leaves_a_store_that_works_and_the_next_one_goes_on,
    a_server_that_dies_during_a_conversion_loses_nothing,
    an_operator_goes_on_while_a_log_is_converted,
    who_was_idle_while_a_log_was_one_table_never_reads_keys_that_are_being_copied,
    a_log_that_was_partitioned_is_one_table_as_it_was,
    the_latest_events_are_in_partitions_of_the_chosen_size,
    what_is_changed_during_a_conversion_is_changed_in_the_copy,
    an_empty_log_is_converted_and_takes_an_import,
    a_log_that_grows_during_its_conversion_gets_partitions_ahead,
    a_conversion_that_is_not_wanted_any_more_is_undone,
    of_two_that_convert_at_once_one_does,
    a_transaction_that_began_before_fails_once_and_is_repeated,
    an_old_snapshot_sees_all_events_because_the_conversion_waits_for_it,
    a_sequence_is_not_used_again_after_a_conversion,
    other_writers_stay_covered,
    indexes_that_are_chosen_during_a_conversion_are_made,
    copies_that_lack_an_event_are_dropped,
    a_log_that_is_partitioned_before_the_conversion_begins_keeps_its_keys,
    a_conversion_that_has_only_made_its_table_is_undone,
    a_database_without_tables_has_no_pending_conversion,
    what_another_table_cannot_take_over_is_refused_before_anything_is_done,
);

const LOCK_MIGRATIONS: &str = include_str!("../sql/queries/lock_migrations.sql");

const SMALL: Partitions = Partitions::by_events(50);

type Conversion = fn(&Database) -> Result<bool, Error>;

fn into_partitions(database: &Database) -> Result<bool, Error> {
    builder(database).convert_to_partitions(SMALL, |_| ())
}

fn into_one_table(database: &Database) -> Result<bool, Error> {
    builder(database).convert_to_one_table(|_| ())
}

fn is_partitioned(database: &Database) -> bool {
    !ends(database).is_empty()
}

/// What each partition ends before.
fn ends(database: &Database) -> Vec<String> {
    let ends = "SELECT partition_description FROM information_schema.partitions
                WHERE table_schema = DATABASE() AND table_name = 'events' AND partition_name IS NOT NULL
                ORDER BY partition_ordinal_position";
    client(database).query(ends).unwrap()
}

/// Appends this many events to each of ten accounts.
fn fill(store: &MysqlEventStore, events: u64) -> Vec<AggregateKey> {
    let accounts: Vec<AggregateKey> = (0..10).map(|_| account()).collect();
    for account in &accounts {
        let events: Vec<NewEvent> = (0..events).map(deposited).collect();
        store.append(account, ExpectedVersion::NoStream, &events).unwrap();
    }
    accounts
}

/// Asserts that the store finds every event in each way, and appends.
fn assert_works(store: &MysqlEventStore, accounts: &[AggregateKey]) {
    let log = all_events(store);
    for account in accounts {
        let stream = store.load(account).unwrap();
        let in_log = log.iter().filter(|event| event.aggregate == *account);
        assert_eq!(stream.events().iter().collect::<Vec<_>>(), in_log.collect::<Vec<_>>());
        let version = stream.version();
        assert_eq!(stream.events().len() as i64, version.as_i64());
        let stale = store
            .append(account, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap_err();
        assert!(stale.is_conflict(), "{stale:?}");
        let event = deposited(7);
        let append = || store.append(account, ExpectedVersion::Exact(version), std::slice::from_ref(&event));
        let appended = append().unwrap();
        let again = append().unwrap();
        assert_eq!(again.version(), appended.version());
        assert!(again.is_already_stored());
    }
}

/// Asserts that each event has its keys, if the log is partitioned, and that the log is intact.
fn assert_sound(store: &MysqlEventStore) {
    assert_eq!(store.check_storage().unwrap(), []);
    let audited = Audit::new().run(store, |_| {}, |finding| panic!("{finding}")).unwrap();
    assert!(audited.is_intact());
}

fn told(database: &Database, store: &MysqlEventStore) -> Option<Diagnosis> {
    let told = store.diagnose().unwrap();
    let told = told.into_iter().find(|told| told.subject == "conversion");
    assert_eq!(builder(database).pending_conversion().unwrap(), told);
    told
}

/// Repeats a call while its error is retryable.
fn until_done<R>(mut call: impl FnMut() -> Result<R, Error>) -> R {
    loop {
        match call() {
            Ok(done) => return done,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
}

/// Stops the other threads, also if the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Stops followers if the test fails.
struct Failing<'a>(&'a AtomicU64);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

/// Appends in every way until it is stopped. Returns the number of events.
fn append_until(store: &MysqlEventStore, stop: &AtomicBool, seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut account, mut version, mut appended) = (account(), 0, 0);
    while !stop.load(Ordering::SeqCst) {
        let count = random.u64(1..=3);
        let events: Vec<NewEvent> = (0..count).map(deposited).collect();
        let expected = match version {
            0 => ExpectedVersion::NoStream,
            version => ExpectedVersion::Exact(Version::try_from(version).unwrap()),
        };
        let kind = random.u8(..3);
        let result = until_done(|| match kind {
            0 => store.append(&account, expected, &events),
            1 => store.append(&account, ExpectedVersion::Any, &events),
            _ => store.transaction(|tx| {
                thread::sleep(Duration::from_micros(random.u64(..3_000)));
                assert_eq!(tx.load(&account)?.version().as_i64(), version);
                let appended = tx.append(&account, expected, &events);
                thread::sleep(Duration::from_micros(random.u64(..3_000)));
                appended
            }),
        });
        version += count as i64;
        appended += count;
        assert_eq!(result.version().as_i64(), version);
        assert_eq!(store.load(&account).unwrap().version().as_i64(), version);
        if version > 20 {
            (account, version) = (crate::support::account(), 0);
        }
        thread::sleep(Duration::from_millis(2));
    }
    appended
}

/// Follows the log until it has read this many events. Returns their sequences.
fn follow_until(store: &MysqlEventStore, events: &AtomicU64) -> Vec<i64> {
    let (mut checkpoint, mut read) = (GlobalSequence::ZERO, Vec::new());
    while (read.len() as u64) < events.load(Ordering::SeqCst) {
        let mut log = store.read(EventQuery::new().after(checkpoint));
        for event in &mut log {
            read.push(event.unwrap().global_sequence.as_i64());
        }
        checkpoint = log.checkpoint();
        thread::sleep(Duration::from_millis(3));
    }
    read
}

fn programs_go_on_while_a_log_is_converted_there_and_back(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 300);
    let stored = all_events(&store).len() as u64;
    let stop = AtomicBool::new(false);
    let expected = AtomicU64::new(u64::MAX);
    // Stores of other processes.
    let others = [0, 1, 2, 3].map(|_| builder(&database).open().unwrap());
    let (appended, followed) = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let failing = Failing(&expected);
        let writers: Vec<_> = (0..4)
            .zip(&others)
            .map(|(seed, other)| {
                let stop = &stop;
                scope.spawn(move || append_until(other, stop, seed))
            })
            .collect();
        let follower = scope.spawn(|| follow_until(&store, &expected));
        let convert = |convert: Conversion, into: bool| {
            assert!(until_done(|| convert(&database)));
            assert_eq!(is_partitioned(&database), into);
            thread::sleep(Duration::from_millis(50));
        };
        convert(into_partitions, true);
        until_done(|| store.add_partitions());
        convert(into_one_table, false);
        convert(into_partitions, true);
        drop(stopping);
        let appended: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        std::mem::forget(failing);
        expected.store(stored + appended, Ordering::SeqCst);
        (appended, follower.join().unwrap())
    });
    let log: Vec<i64> = client(&database)
        .query("SELECT global_sequence FROM events ORDER BY 1")
        .unwrap();
    assert_eq!(log.len() as u64, stored + appended);
    assert_eq!(followed, log);
    assert_works(&store, &accounts);
    assert_works(&others[0], &accounts);
    assert_sound(&store);
    assert_eq!(told(&database, &store), None);
}

fn an_operator_goes_on_while_a_log_is_converted(server: &MysqlServer) {
    let (database, store) = fresh(server);
    fill(&store, 200);
    operated_while(&store, || {
        for _ in 0..2 {
            until_done(|| into_partitions(&database));
            until_done(|| into_one_table(&database));
        }
    });
}

/// A proxy that cuts off each connection that sends such a statement, after it was run, and the options to connect to it.
fn cutting_off(database: &Database, is_last: impl Fn(&[u8]) -> bool + Send + 'static) -> (Arc<OnceLock<Proxy>>, Opts) {
    let opts = Opts::from_url(database.url()).unwrap();
    let proxy: Arc<OnceLock<Proxy>> = Arc::default();
    let cutting = Arc::clone(&proxy);
    let made = Proxy::with(Path::new(opts.get_socket().unwrap()), move |said| {
        if said.get(4).is_some_and(|command| COMMANDS.contains(command)) && is_last(said) {
            cutting.get().unwrap().cut_next_answer();
        }
    });
    let opts = OptsBuilder::from_opts(opts).socket(made.socket().to_str());
    proxy.set(made).unwrap();
    (proxy, opts.into())
}

/// A proxy that cuts off the connection that sends this many statements, after the last one was run.
struct Killing {
    proxy: Arc<OnceLock<Proxy>>,
    left: Arc<AtomicUsize>,
    opts: Opts,
}

/// The bytes of a client's message that say what it is: a statement as text, or a prepared one that is run.
const COMMANDS: [u8; 2] = [0x03, 0x17];

/// The statements before a conversion does anything.
const CONNECTED: usize = 10;

impl Killing {
    fn of(database: &Database) -> Self {
        let left = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&left);
        let (proxy, opts) = cutting_off(database, move |_| count.fetch_sub(1, Ordering::SeqCst) == 1);
        Self { proxy, left, opts }
    }

    /// Interrupts conversions at each of their statements, until `is_enough`, or until one is done. Returns whether one is, and how many were
    /// interrupted. Later steps are reached by calls that find the earlier ones done.
    fn until(
        &self,
        database: &Database,
        into: Option<&Partitions>,
        mut is_enough: impl FnMut() -> bool,
    ) -> (bool, u32) {
        let (mut kills, mut step) = (0, step(database));
        let mut statement = CONNECTED;
        loop {
            let converter = self.at(statement);
            let converted = match into {
                Some(partitions) => converter.convert_to_partitions(partitions.clone(), |_| ()),
                None => converter.convert_to_one_table(|_| ()),
            };
            match converted {
                Ok(converted) => return (converted, kills),
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
            kills += 1;
            if is_enough() {
                return (false, kills);
            }
            let reached = self::step(database);
            statement = if reached == step { statement + 1 } else { CONNECTED };
            step = reached;
        }
    }

    /// A converter that is killed at this statement.
    fn at(&self, statement: usize) -> MysqlBuilder {
        assert!(self.proxy.get().is_some());
        self.left.store(statement, Ordering::SeqCst);
        MysqlEventStore::configure(self.opts.clone())
    }
}

/// Interrupts a conversion when it tells of such progress: its next statement is run and gets no answer.
fn interrupted_at(database: &Database, into: Option<&Partitions>, is_reached: fn(&Progress) -> bool) {
    let (proxy, opts) = cutting_off(database, |_| false);
    let tell = |told: Progress| {
        if is_reached(&told) {
            proxy.get().unwrap().cut_next_answer();
        }
    };
    let converter = MysqlEventStore::configure(opts);
    let converted = match into {
        Some(partitions) => converter.convert_to_partitions(partitions.clone(), tell),
        None => converter.convert_to_one_table(tell),
    };
    let error = converted.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

fn who_was_idle_while_a_log_was_one_table_never_reads_keys_that_are_being_copied(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 150);
    assert!(into_partitions(&database).unwrap());
    let idle = [(); 3].map(|()| builder(&database).open().unwrap());
    let mark = store.high_water_mark().unwrap();
    for store in &idle {
        assert_eq!(store.high_water_mark().unwrap(), mark);
    }
    assert!(into_one_table(&database).unwrap());
    interrupted_at(&database, Some(&SMALL), |told| told.done > 0);
    assert_eq!(idle[0].high_water_mark().unwrap(), mark);
    assert_eq!(idle[1].version(&accounts[9]).unwrap(), 150);
    assert_works(&idle[2], &accounts);
    assert!(until_done(|| into_partitions(&database)));
    assert_works(&store, &accounts);
    assert_sound(&store);
}

fn nothing_is_copied(told: &Progress) -> bool {
    told.done == 0
}

fn a_part_is_copied(told: &Progress) -> bool {
    told.done > 0 && !all_is_copied(told)
}

fn all_is_copied(told: &Progress) -> bool {
    told.total == Some(told.done)
}

/// The step that a conversion has reached.
fn step(database: &Database) -> Vec<String> {
    let mut client = client(database);
    let mut found: Vec<String> = client
        .query(
            "SELECT table_name FROM information_schema.tables
             WHERE table_schema = DATABASE() AND table_name = 'firefly_earlier_events'
             UNION ALL
             SELECT CONCAT(trigger_name, event_object_table) FROM information_schema.triggers
             WHERE event_object_schema = DATABASE() AND trigger_name LIKE '%gate'",
        )
        .unwrap();
    found.extend(has_row(&mut client, PREPARED).then(String::new));
    found
}

/// A conversion that has made its table; that has copied nothing yet; and that has copied everything.
const PREPARED: &str = "SELECT 1 FROM firefly_conversion WHERE copy_until IS NOT NULL";
const TO_COPY: &str = "SELECT 1 FROM firefly_conversion WHERE copy_until IS NOT NULL AND copied = 0";
const COPYING: &str = "SELECT 1 FROM firefly_conversion WHERE copied > 0 AND copied < copy_until";
const COPIED: &str = "SELECT 1 FROM firefly_conversion WHERE copied = copy_until";

fn has_row(client: &mut Conn, query: &str) -> bool {
    client.query_first::<u8, _>(query).is_ok_and(|found| found.is_some())
}

fn a_converter_that_is_killed_at_any_step_leaves_a_store_that_works_and_the_next_one_goes_on(server: &MysqlServer) {
    let database = server.new_database();
    let store = builder(&database)
        .cover_other_writers(true)
        .migrate_on_open(true)
        .open()
        .unwrap();
    let accounts = fill(&store, 3);
    let before = catalog(&database);
    let killing = Killing::of(&database);
    for into in [Some(SMALL), None] {
        let mut times = 0_usize;
        let (_, kills) = killing.until(&database, into.as_ref(), || {
            times += 1;
            store
                .append(&accounts[times % 10], ExpectedVersion::Any, &[deposited(1)])
                .unwrap();
            if times.is_multiple_of(16) {
                assert_works(&store, &accounts);
                let _ = told(&database, &store);
            }
            false
        });
        assert!(kills > 40, "{kills}");
        assert_eq!(told(&database, &store), None);
        assert_eq!(is_partitioned(&database), into.is_some());
        assert_works(&store, &accounts);
        assert_sound(&store);
    }
    assert_eq!(without_checks(catalog(&database)), without_checks(before));
}

fn a_server_that_dies_during_a_conversion_loses_nothing(server: &MysqlServer) {
    let server = MysqlServer::start(server.flavour(), &[]).unwrap();
    let (database, store) = fresh(&server);
    let accounts = fill(&store, 50);
    // It does not wait for the server to come back.
    let dying = builder(&database).pool_timeout(Duration::from_secs(1)).open().unwrap();
    for round in 0..2 {
        let is_dead = AtomicBool::new(false);
        let convert = || match round % 2 {
            0 => into_partitions(&database),
            _ => into_one_table(&database),
        };
        let appended = thread::scope(|scope| {
            scope.spawn(convert);
            let appending = scope.spawn(|| {
                let mut appended = Vec::new();
                while !is_dead.load(Ordering::Acquire)
                    && let Ok(one) = dying.append(&account(), ExpectedVersion::NoStream, &[deposited(round)])
                {
                    appended.push(one.last_sequence().unwrap());
                }
                appended
            });
            thread::sleep(Duration::from_millis(50 + fastrand::u64(..300)));
            server.kill("KILL");
            is_dead.store(true, Ordering::Release);
            let appended = appending.join().unwrap();
            server.restart();
            appended
        });
        assert_works(&store, &accounts);
        until_done(convert);
        let stored = all_events(&store);
        let is_stored = |sequence| stored.iter().any(|event| event.global_sequence == sequence);
        assert!(appended.into_iter().all(is_stored));
        assert_sound(&store);
        assert_works(&store, &accounts);
    }
}

/// A MariaDB server that dies while it drops a partitioned table has removed what it knows the table by, but not all of its partitions.
#[test]
fn partitions_that_remain_of_a_table_that_a_server_was_dropping_are_dropped() {
    let Some(server) = mariadb_unless_missing() else { return };
    let server = MysqlServer::start(server.flavour(), &[]).unwrap();
    let (database, store) = fresh(&server);
    let accounts = fill(&store, 20);
    let killing = Killing::of(&database);
    for (into, table) in [(Some(SMALL), "firefly_next_events"), (None, "firefly_earlier_events")] {
        let files = ["frm", "par"].map(|kind| {
            let directory = server.directory().join("data").join(database.name());
            directory.join(format!("{table}.{kind}"))
        });
        let (is_done, _) = killing.until(&database, into.as_ref(), || files.iter().all(|file| file.exists()));
        assert!(!is_done);
        server.kill("KILL");
        for file in files {
            fs::remove_file(file).unwrap();
        }
        server.restart();
        let convert = match into {
            Some(_) => into_partitions,
            None => into_one_table,
        };
        assert!(convert(&database).unwrap());
        assert_works(&store, &accounts);
    }
    // They would be in the way of partitions of the same names.
    assert!(into_partitions(&database).unwrap());
    assert!(into_one_table(&database).unwrap());
    assert_works(&store, &accounts);
    assert_sound(&store);
}

/// The objects of a store.
fn catalog(database: &Database) -> Vec<String> {
    let mut client = client(database);
    let tables: Vec<String> = client.query("SHOW TABLES").unwrap();
    let mut definitions: Vec<String> = Vec::new();
    for table in tables {
        let row: Vec<Vec<u8>> = client
            .query_first::<firefly_eventstore_mysql::driver::Row, _>(format!("SHOW CREATE TABLE {table}"))
            .unwrap()
            .unwrap()
            .unwrap()
            .into_iter()
            .map(firefly_eventstore_mysql::driver::from_value)
            .collect();
        let text = String::from_utf8_lossy(&row[1]).into_owned();
        definitions.extend(text.lines().map(|line| format!("{table}: {line}")));
    }
    definitions.extend(
        client
            .query::<String, _>(
                "SELECT CONCAT(trigger_name, event_object_table, action_timing, event_manipulation, action_statement)
                 FROM information_schema.triggers WHERE event_object_schema = DATABASE()",
            )
            .unwrap(),
    );
    // The columns of archived streams for events that leave with their partition stay.
    definitions.retain(|line| !line.contains("AUTO_INCREMENT=") && !line.contains("`former_"));
    definitions.sort_unstable();
    definitions
}

/// On MySQL, the checks of the new table have other names.
fn without_checks(mut definitions: Vec<String>) -> Vec<String> {
    for definition in &mut definitions {
        if let Some((before, after)) = definition.split_once("CONSTRAINT `")
            && let Some((_, check)) = after.split_once("` CHECK")
        {
            *definition = format!("{before}CHECK{}", check.trim_end_matches(','));
        }
    }
    definitions.sort_unstable();
    definitions
}

fn a_log_that_was_partitioned_is_one_table_as_it_was(server: &MysqlServer) {
    let database = server.new_database();
    let full = builder(&database).indexes(Indexes::Full).migrate_on_open(true);
    let store = full.open().unwrap();
    let accounts = fill(&store, 30);
    let before = catalog(&database);
    let events = all_events(&store);
    assert!(into_partitions(&database).unwrap());
    let once = catalog(&database);
    assert!(!into_partitions(&database).unwrap());
    assert!(is_partitioned(&database));
    assert_eq!(all_events(&store), events);
    assert_sound(&store);
    assert!(
        builder(&database)
            .convert_to_partitions(Partitions::by_events(70), |_| ())
            .unwrap()
    );
    assert!(into_partitions(&database).unwrap());
    let by_month = builder(&database).convert_to_partitions(Partitions::by_month(), |_| ());
    assert!(by_month.unwrap_err().is_invalid_input());
    let read_only = builder(&database).read_replica(true).convert_to_one_table(|_| ());
    assert_eq!(*read_only.unwrap_err().kind(), ErrorKind::ReadOnly);

    // Not while events are leaving with their partition.
    let mut other = client(&database);
    run(
        &mut other,
        "INSERT INTO firefly_leaving (id, digest, first_sequence, last_sequence, end_sequence) VALUES (1, '', 1, 50, 51)",
    );
    let error = into_one_table(&database).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("leaving"), "{error}");
    run(&mut other, "DELETE FROM firefly_leaving");

    assert!(into_one_table(&database).unwrap());
    assert!(!into_one_table(&database).unwrap());
    assert!(!is_partitioned(&database));
    assert_eq!(all_events(&store), events);
    assert_eq!(without_checks(catalog(&database)), without_checks(before));
    assert!(into_partitions(&database).unwrap());
    assert_eq!(without_checks(catalog(&database)), without_checks(once));
    assert_eq!(
        store.add_partitions().unwrap().unwrap(),
        "the log has 7, and needs no more"
    );
    assert_works(&store, &accounts);
}

fn the_latest_events_are_in_partitions_of_the_chosen_size(server: &MysqlServer) {
    let (database, store) = fresh(server);
    for _ in 0..120 {
        append_one(&store);
    }
    let first: Vec<EventEnvelope> = all_events(&store).into_iter().take(60).collect();
    store.retire_events(&first).unwrap();
    assert!(into_partitions(&database).unwrap());
    assert_eq!(ends(&database), ["101", "201", "MAXVALUE"]);
    assert_sound(&store);
    // What was archived before comes back.
    assert_eq!(store.attach_events(&first).unwrap(), 60);
    assert_eq!(all_events(&store).len(), 120);
    assert_sound(&store);
}

/// Changes the log as other programs and operators do.
fn change(database: &Database, store: &MysqlEventStore, [updated, archived, other]: [&AggregateKey; 3]) {
    let mut client = client(database);
    let updated = format!("aggregate_id = UNHEX('{}')", updated.id().simple());
    run(
        &mut client,
        &format!("UPDATE events SET created_by = 'me' WHERE {updated}"),
    );
    let last = format!("DELETE FROM events WHERE {updated} ORDER BY aggregate_version DESC LIMIT 1");
    run(&mut client, &last);
    let stream = store.load(archived).unwrap();
    assert_eq!(store.retire_events(&stream.events()[..4]).unwrap(), 4);
    assert_eq!(store.attach_events(&stream.events()[2..4]).unwrap(), 2);
    store.append(other, ExpectedVersion::Any, &[deposited(9)]).unwrap();
    append_one(store);
    let mut imported = all_events(store).pop().unwrap();
    imported.event_id = Uuid::now_v7();
    imported.aggregate = account();
    imported.global_sequence = GlobalSequence::try_from(imported.global_sequence.as_i64() + 10).unwrap();
    store.import_events(&[imported]).unwrap();
}

fn what_is_changed_during_a_conversion_is_changed_in_the_copy(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 10);
    let mut unchanged = accounts.chunks(2);
    let mut other = client(&database);
    for into in [Some(SMALL), None] {
        for (is_reached, state) in [
            (nothing_is_copied as fn(&Progress) -> bool, TO_COPY),
            (all_is_copied, COPIED),
        ] {
            interrupted_at(&database, into.as_ref(), is_reached);
            assert!(has_row(&mut other, state));
            let [updated, archived] = unchanged.next().unwrap() else {
                unreachable!("they are pairs")
            };
            change(&database, &store, [updated, archived, &accounts[9]]);
        }
        let before = all_events(&store);
        let convert = match into {
            Some(_) => into_partitions,
            None => into_one_table,
        };
        assert!(convert(&database).unwrap());
        assert_eq!(is_partitioned(&database), into.is_some());
        assert_eq!(all_events(&store), before);
        assert_eq!(store.check_storage().unwrap(), []);
    }
    for account in &accounts {
        store.append(account, ExpectedVersion::Exists, &[deposited(1)]).unwrap();
    }
}

fn an_empty_log_is_converted_and_takes_an_import(server: &MysqlServer) {
    let (_elsewhere, source) = fresh(server);
    fill(&source, 10);
    let (database, store) = fresh(server);
    assert!(into_partitions(&database).unwrap());
    assert_eq!(ends(&database), ["51", "MAXVALUE"]);
    let events = all_events(&source);
    store.import_events(&events).unwrap();
    assert_eq!(all_events(&store), events);
    assert_sound(&store);
    append_one(&store);

    let (database, store) = fresh(server);
    assert!(into_partitions(&database).unwrap());
    assert!(into_one_table(&database).unwrap());
    store.import_events(&events).unwrap();
    assert_eq!(all_events(&store), events);
}

/// What is appended during a conversion does not fill the last partition: that one could not be divided any more.
fn a_log_that_grows_during_its_conversion_gets_partitions_ahead(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 350);
    let into = || builder(&database);
    let is_divided = || {
        store.add_partitions().unwrap();
        let last = ends(&database).iter().filter_map(|end| end.parse::<i64>().ok()).max();
        assert!(last > Some(store.high_water_mark().unwrap().as_i64()), "{last:?}");
        assert_works(&store, &accounts);
        assert_sound(&store);
    };
    let grow = |_| {
        fill(&store, 300);
    };
    assert!(into().convert_to_partitions(SMALL, grow).unwrap());
    assert!(all_events(&store).len() > 14_000);
    is_divided();

    // One that was interrupted, and found again much later.
    assert!(into_one_table(&database).unwrap());
    interrupted_at(&database, Some(&SMALL), a_part_is_copied);
    assert!(has_row(&mut client(&database), COPYING));
    fill(&store, 1_300);
    assert!(into_partitions(&database).unwrap());
    is_divided();
}

fn a_conversion_that_is_not_wanted_any_more_is_undone(server: &MysqlServer) {
    let database = server.new_database();
    let covering = builder(&database).cover_other_writers(true).migrate_on_open(true);
    let store = covering.open().unwrap();
    let accounts = fill(&store, 3);
    let before = catalog(&database);
    let mut other = client(&database);
    let is_gate_moved = "SELECT 1 FROM information_schema.triggers WHERE event_object_schema = DATABASE()
                         AND event_object_table = 'events' AND trigger_name = 'trigger_events_earlier_gate'";
    let moves_gate = b"CREATE TRIGGER trigger_events_earlier_gate";
    let (_proxy, opts) = cutting_off(&database, move |said| {
        said.windows(moves_gate.len()).any(|part| part == moves_gate)
    });
    let converter = MysqlEventStore::configure(opts);
    let error = converter.convert_to_partitions(SMALL, |_| ()).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(has_row(&mut other, is_gate_moved));
    assert!(told(&database, &store).is_some());
    // A migration does not begin another one.
    let error = builder(&database).partitions(SMALL).migrate().unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    assert_eq!(builder(&database).migrate().unwrap(), []);
    assert_ne!(catalog(&database), before);
    assert!(into_one_table(&database).unwrap());
    assert_eq!(catalog(&database), before);
    assert_works(&store, &accounts);
}

fn of_two_that_convert_at_once_one_does(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 100);
    let converted: Vec<Result<bool, Error>> = thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| into_partitions(&database)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let done = converted.iter().filter(|converted| matches!(converted, Ok(true)));
    assert_eq!(done.count(), 1, "{converted:?}");
    for error in converted.into_iter().filter_map(Result::err) {
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains("another process"), "{error}");
    }
    assert_works(&store, &accounts);
}

/// What a store of before does with an account.
type Way = fn(&MysqlEventStore, &AggregateKey) -> Result<(), Error>;

fn a_transaction_that_began_before_fails_once_and_is_repeated(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let bob = fill(&store, 3).remove(1);
    for (convert, version) in [(into_partitions as Conversion, 3_u32), (into_one_table, 4)] {
        // A store whose connections know the log as it was.
        let stale = builder(&database).open().unwrap();
        assert_eq!(stale.load(&bob).unwrap().version().as_i64(), i64::from(version));
        assert!(convert(&database).unwrap());
        let mut times = 0;
        until_done(|| {
            times += 1;
            stale.transaction(|tx| tx.append(&bob, ExpectedVersion::Exact(version.into()), &[deposited(1)]))
        });
        assert_eq!(times, 2);
    }
    for convert in [into_partitions, into_one_table] {
        let stale = builder(&database).open().unwrap();
        assert!(convert(&database).unwrap());
        let mut caller = client(&database);
        let isolation = TxOpts::default().set_isolation_level(Some(IsolationLevel::RepeatableRead));
        let mut times = 0;
        until_done(|| {
            times += 1;
            let mut transaction: Transaction<'_> = caller.start_transaction(isolation).unwrap();
            let events = [deposited(1)];
            let append = [Append::new(&bob, ExpectedVersion::Any, &events)];
            stale.append_within(&mut transaction, &append)?;
            transaction.commit().unwrap();
            Ok(())
        });
        assert_eq!(times, 2);
    }
    // Each way of a store of before finds the log as it is.
    let ways: [Way; 7] = [
        |store, bob| store.append(bob, ExpectedVersion::Any, &[deposited(1)]).map(drop),
        |store, bob| {
            let error = store.append(bob, ExpectedVersion::Exact(7_u32.into()), &[deposited(1)]);
            assert!(error.as_ref().is_err_and(Error::is_conflict), "{error:?}");
            Ok(())
        },
        |store, _| {
            store
                .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
                .map(drop)
        },
        |store, bob| store.load(bob).map(drop),
        |store, bob| {
            store
                .read(EventQuery::new().aggregate_id(bob.id()))
                .collect::<Result<Vec<_>, _>>()
                .map(drop)
        },
        |store, _| store.add_partitions().map(drop),
        |store, _| {
            let newest = all_events(store);
            store
                .retire_events(&newest[..1])
                .and_then(|_| store.attach_events(&newest[..1]))
                .map(drop)
        },
    ];
    for way in ways {
        for convert in [into_partitions as Conversion, into_one_table] {
            let stale = builder(&database).open().unwrap();
            stale.load(&bob).unwrap();
            assert!(convert(&database).unwrap());
            way(&stale, &bob).unwrap();
            assert_eq!(stale.load(&bob).unwrap().events(), store.load(&bob).unwrap().events());
        }
    }
    assert_sound(&store);
}

/// A dump in one transaction reads the log late, with the snapshot of its beginning.
fn an_old_snapshot_sees_all_events_because_the_conversion_waits_for_it(server: &MysqlServer) {
    let (database, store) = fresh(server);
    fill(&store, 300);
    let mut other = client(&database);
    interrupted_at(&database, Some(&SMALL), a_part_is_copied);
    assert!(has_row(&mut other, COPYING));
    let snapshot = TxOpts::default()
        .set_isolation_level(Some(IsolationLevel::RepeatableRead))
        .set_with_consistent_snapshot(true);
    let mut dump = other.start_transaction(snapshot).unwrap();
    let is_copied = AtomicBool::new(false);
    thread::scope(|scope| {
        let converting = scope.spawn(|| {
            builder(&database).convert_to_partitions(SMALL, |progress| {
                is_copied.store(progress.total == Some(progress.done), Ordering::SeqCst);
            })
        });
        while !is_copied.load(Ordering::SeqCst) && !converting.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        // Time in which it could do the rest.
        thread::sleep(Duration::from_millis(500));
        let seen: Option<u64> = dump.query_first("SELECT COUNT(*) FROM events").unwrap();
        assert_eq!(seen, Some(3_000));
        dump.commit().unwrap();
        assert!(converting.join().unwrap().unwrap());
    });
    assert_sound(&store);
}

fn a_sequence_is_not_used_again_after_a_conversion(server: &MysqlServer) {
    let (database, store) = fresh(server);
    fill(&store, 1);
    let deleted = append_one(&store);
    run(
        &mut client(&database),
        "DELETE FROM events ORDER BY global_sequence DESC LIMIT 1",
    );
    assert!(into_partitions(&database).unwrap());
    let next = append_one(&store);
    assert!(next > deleted, "{next} {deleted}");
    run(
        &mut client(&database),
        "DELETE FROM events ORDER BY global_sequence DESC LIMIT 1",
    );
    assert!(into_one_table(&database).unwrap());
    assert!(append_one(&store) > next);
}

fn other_writers_stay_covered(server: &MysqlServer) {
    let database = server.new_database();
    let covering = builder(&database).cover_other_writers(true).migrate_on_open(true);
    let store = covering.open().unwrap();
    fill(&store, 1);
    let mut other = client(&database);
    for convert in [into_partitions, into_one_table] {
        assert!(convert(&database).unwrap());
        let triggers = "SELECT CONCAT(trigger_name, ' ', event_object_table) FROM information_schema.triggers
                        WHERE event_object_schema = DATABASE() AND trigger_name LIKE '%gate%'";
        let triggers: Vec<String> = other.query(triggers).unwrap();
        assert_eq!(triggers, ["trigger_events_gate events"]);
        // Readers do not pass what another program has not committed yet.
        let mut writing = other.start_transaction(TxOpts::default()).unwrap();
        let insert = |id: Uuid| {
            format!(
                "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                 VALUES (UNHEX('{0}'), UNHEX('{0}'), 'Account', 1, 'money.deposited', '{{}}')",
                id.simple()
            )
        };
        writing.query_drop(insert(Uuid::now_v7())).unwrap();
        let next = append_one(&store);
        assert!(store.high_water_mark().unwrap().as_i64() < next - 1);
        writing.commit().unwrap();
        assert_eq!(store.high_water_mark().unwrap().as_i64(), next);
    }
}

fn indexes_that_are_chosen_during_a_conversion_are_made(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 3);
    let mut other = client(&database);
    for (convert, into, indexes, count) in [
        (into_partitions as Conversion, Some(SMALL), Indexes::Full, 12),
        (into_one_table, None, Indexes::Lean, 3),
    ] {
        interrupted_at(&database, into.as_ref(), nothing_is_copied);
        builder(&database).indexes(indexes).migrate().unwrap();
        assert!(convert(&database).unwrap());
        let found: Vec<String> = other
            .query(
                "SELECT DISTINCT index_name FROM information_schema.statistics
                 WHERE table_schema = DATABASE() AND table_name = 'events'",
            )
            .unwrap();
        assert_eq!(found.len(), count, "{found:?}");
        assert_works(&store, &accounts);
    }
}

fn copies_that_lack_an_event_are_dropped(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 30);
    let before = catalog(&database);
    let mut other = client(&database);
    interrupted_at(&database, Some(&SMALL), all_is_copied);
    assert!(has_row(&mut other, COPIED));
    run(&mut other, "DELETE FROM firefly_next_events LIMIT 1");
    let error = into_partitions(&database).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("299"), "{error}");
    assert_eq!(catalog(&database), before);
    assert!(into_partitions(&database).unwrap());
    assert_works(&store, &accounts);
}

/// The conversion looks at the log, and then waits for a migration that partitions it.
fn a_log_that_is_partitioned_before_the_conversion_begins_keeps_its_keys(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut holder = client(&database);
    holder.exec_drop(LOCK_MIGRATIONS, (0,)).unwrap();
    let until_waiting = |expected: usize| {
        let is_waiting = |row: &Row| row.get::<Option<String>, _>("State").flatten().as_deref() == Some("User lock");
        let waiting = || {
            connections(&mut client(&database), &database)
                .into_iter()
                .filter(is_waiting)
                .count()
        };
        eventually(|| waiting() == expected);
    };
    let (migrated, converted) = thread::scope(|scope| {
        let migrating = scope.spawn(|| builder(&database).partitions(SMALL).migrate());
        until_waiting(1);
        let converting = scope.spawn(|| into_partitions(&database));
        until_waiting(2);
        drop(holder);
        (migrating.join().unwrap(), converting.join().unwrap())
    });
    migrated.unwrap();
    let error = converted.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let accounts = fill(&store, 5);
    assert!(!into_partitions(&database).unwrap());
    assert_works(&store, &accounts);
    assert_sound(&store);
}

fn a_conversion_that_has_only_made_its_table_is_undone(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let conversions = "SELECT COUNT(*) FROM firefly_conversion";
    let has_no_row = || matches!(client(&database).query_first::<u8, _>(conversions), Ok(Some(0)));
    let (is_done, _) = Killing::of(&database).until(&database, Some(&SMALL), has_no_row);
    assert!(!is_done);
    into_one_table(&database).unwrap();
    client(&database).query_first::<u8, _>(conversions).unwrap_err();
    builder(&database).partitions(SMALL).migrate().unwrap();
    assert_sound(&store);
}

fn what_another_table_cannot_take_over_is_refused_before_anything_is_done(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let accounts = fill(&store, 1);
    let mut other = client(&database);
    for (make, undo, name) in [
        (
            "CREATE TABLE notes (event_id BINARY(16), FOREIGN KEY (event_id) REFERENCES events (event_id)) ENGINE = InnoDB",
            "DROP TABLE notes",
            "notes",
        ),
        (
            "CREATE TRIGGER mine BEFORE DELETE ON events FOR EACH ROW SET @deleted = 1",
            "DROP TRIGGER mine",
            "the trigger mine",
        ),
        (
            "CREATE UNIQUE INDEX mine ON events (event_id, correlation_id)",
            "DROP INDEX mine ON events",
            "the index mine",
        ),
    ] {
        run(&mut other, make);
        let before = catalog(&database);
        let error = into_partitions(&database).unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(name), "{error}");
        assert_eq!(catalog(&database), before);
        run(&mut other, undo);
    }
    // An index of one's own is kept.
    run(&mut other, "CREATE INDEX mine ON events (checksum)");
    assert!(into_partitions(&database).unwrap());
    let is_there = "SELECT 1 FROM information_schema.statistics
                    WHERE table_schema = DATABASE() AND table_name = 'events' AND index_name = 'mine'";
    assert_eq!(other.query_first::<u8, _>(is_there).unwrap(), Some(1));
    assert_works(&store, &accounts);
}

fn a_database_without_tables_has_no_pending_conversion(server: &MysqlServer) {
    let database = server.new_database();
    assert_eq!(builder(&database).pending_conversion().unwrap(), None);
}
