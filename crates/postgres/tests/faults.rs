//! Servers that die, backends that are ended, rights that are missing: nothing acknowledged is lost, nothing stored twice, and
//! every error is typed.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{ErrorKind, SchemaProblem};
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::postgres::Client;
use firefly_eventstore_test_servers::{Database, PostgresServer};

use support::{account, all_events, client, database, deposited, fresh};

const WRITERS: usize = 8;

/// Appends from several threads while `disturb` does harm, each append repeated until it is acknowledged, and checks that
/// each event is there exactly once.
fn appended_once_each_while(store: &PostgresEventStore, disturb: impl FnOnce()) {
    let working = AtomicBool::new(true);
    let acknowledged = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let account = account();
                let mut expected = Version::ZERO;
                while working.load(Ordering::SeqCst) {
                    let event = [deposited(expected.get())];
                    let appended = until_acknowledged(store, &account, expected, &event);
                    expected = appended.version();
                    acknowledged
                        .lock()
                        .unwrap()
                        .push((event[0].event_id(), appended.last_sequence()));
                }
            });
        }
        disturb();
        working.store(false, Ordering::SeqCst);
    });
    let log = all_events(store);
    let mut stored: Vec<_> = log
        .iter()
        .map(|event| (event.event_id, Some(event.global_sequence)))
        .collect();
    let mut acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > WRITERS, "hardly anything was appended");
    stored.sort_unstable();
    acknowledged.sort_unstable();
    assert_eq!(stored, acknowledged);
}

fn until_acknowledged(
    store: &PostgresEventStore,
    account: &AggregateKey,
    expected: Version,
    events: &[NewEvent],
) -> Appended {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match store.append(account, expected, events) {
            Ok(appended) => return appended,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                assert!(Instant::now() < until, "the store does not recover: {error:?}");
            }
        }
    }
}

#[test]
fn a_server_that_is_stopped_under_load_loses_nothing_that_was_acknowledged() {
    if database().is_none() {
        return;
    }
    let server = PostgresServer::start(&[]).unwrap();
    let database = server.new_database();
    let store = PostgresEventStore::builder(database.url())
        .max_connections(WRITERS as u32)
        .migrate_on_open(true)
        .open()
        .unwrap();
    appended_once_each_while(&store, || {
        for round in 0..20 {
            thread::sleep(Duration::from_millis(fastrand::u64(20..150)));
            server.kill(if round % 2 == 0 { "QUIT" } else { "KILL" });
            server.restart();
        }
        // Time for each thread to be acknowledged once more.
        thread::sleep(Duration::from_millis(200));
    });
}

#[test]
fn backends_that_are_terminated_at_random_lose_nothing() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    appended_once_each_while(&store, || {
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(fastrand::u64(1..10)));
            let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
            other.query(terminate, &[]).unwrap();
        }
    });
}

#[test]
fn a_pool_that_is_used_up_is_a_pool_timeout() {
    let Some((database, _)) = fresh() else { return };
    let store = PostgresEventStore::builder(database.url())
        .max_connections(1)
        .pool_timeout(Duration::from_millis(50))
        .open()
        .unwrap();
    let error = store
        .transaction(|_| store.append(&account(), ExpectedVersion::Any, &[deposited(1)]))
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PoolTimeout);
    assert!(error.is_retryable());
    store.append(&account(), ExpectedVersion::Any, &[deposited(1)]).unwrap();
}

/// A store for a user of whom `prepare` makes what it likes.
fn as_clerk(database: &Database, prepare: &str) -> PostgresEventStore {
    let name = database.name();
    let mut admin: Client = client(database);
    let clerk = format!("clerk_{name}");
    let script = format!(
        "CREATE ROLE {clerk} LOGIN;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {clerk};
         GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {clerk};
         {prepare}"
    );
    admin.batch_execute(&script.replace("CLERK", &clerk)).unwrap();
    let mut config: firefly_eventstore_postgres::postgres::Config = database.url().parse().unwrap();
    PostgresEventStore::configure(config.user(&clerk).clone())
        .open()
        .unwrap()
}

fn drop_clerk(database: &Database) {
    let clerk = format!("clerk_{}", database.name());
    let script = format!("DROP OWNED BY {clerk}; DROP ROLE {clerk}");
    client(database).batch_execute(&script).unwrap();
}

/// What makes the server refuse, and the kind of error that is to come of it.
type Refusal = (&'static str, fn(&ErrorKind) -> bool);

#[test]
fn each_refusal_of_the_server_is_a_typed_error() {
    let refusals: [Refusal; 4] = [
        ("ALTER ROLE CLERK SET default_transaction_read_only = on;", |kind| {
            *kind == ErrorKind::ReadOnly
        }),
        ("REVOKE INSERT ON events FROM CLERK;", |kind| {
            *kind == ErrorKind::PermissionDenied
        }),
        (
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
             CREATE TRIGGER slow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION slow();
             ALTER ROLE CLERK SET statement_timeout = 100;",
            |kind| matches!(kind, ErrorKind::Unavailable { .. }),
        ),
        (
            "CREATE FUNCTION quota() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''disk_full''; END';
             CREATE TRIGGER quota BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION quota();",
            |kind| *kind == ErrorKind::StorageFull,
        ),
    ];
    for (prepare, is_right) in refusals {
        let Some((database, store)) = fresh() else { return };
        let clerk = as_clerk(&database, prepare);
        let error = clerk
            .append(&account(), ExpectedVersion::Any, &[deposited(1)])
            .unwrap_err();
        assert!(is_right(error.kind()), "{prepare}: {error:?}");
        assert!(error.to_string().starts_with("append to Account "), "{error}");
        assert!(std::error::Error::source(&error).is_some());
        assert!(all_events(&store).is_empty());
        drop((clerk, store));
        drop_clerk(&database);
    }
}

#[test]
fn a_table_that_was_dropped_is_an_altered_schema() {
    let Some((database, store)) = fresh() else { return };
    client(&database).batch_execute("DROP TABLE events CASCADE").unwrap();
    let error = store
        .append(&account(), ExpectedVersion::Any, &[deposited(1)])
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
        "{error:?}"
    );
}

#[test]
fn a_trigger_that_was_disabled_is_found_when_opening() {
    let Some((database, _store)) = fresh() else { return };
    client(&database)
        .batch_execute("ALTER TABLE events DISABLE TRIGGER trigger_events_announce")
        .unwrap();
    let error = PostgresEventStore::open(database.url()).unwrap_err();
    assert!(error.to_string().contains("trigger_events_announce"), "{error}");
}

#[test]
fn a_statement_outlives_a_change_of_its_table() {
    let Some((database, store)) = fresh() else { return };
    let account = account();
    store.append(&account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
    store.load(&account).unwrap();
    client(&database)
        .batch_execute("ALTER TABLE events ALTER COLUMN causation_id TYPE text")
        .unwrap();
    assert_eq!(store.load(&account).unwrap().version(), 1);
    store.append(&account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
}

#[test]
fn a_dump_is_restored_and_goes_on() {
    let Some((source, store)) = fresh() else { return };
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
        .unwrap();
    let server = firefly_eventstore_test_servers::postgres().unwrap();
    let dump = server.command("pg_dump").arg(source.url()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let target = server.new_database();
    let mut restore = server
        .command("psql")
        .args([
            "--quiet",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
            target.url(),
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut restore.stdin.take().unwrap(), &dump.stdout).unwrap();
    assert!(restore.wait().unwrap().success());

    let restored = PostgresEventStore::open(target.url()).unwrap();
    assert_eq!(restored.high_water_mark().unwrap(), 2);
    assert_eq!(all_events(&restored), all_events(&store));
    let appended = restored.append(&known, Version::from(2), &[deposited(3)]).unwrap();
    assert_eq!(appended.last_sequence(), Some(GlobalSequence::from(3)));
    assert_eq!(restored.high_water_mark().unwrap(), 3);
}

#[test]
fn a_limit_that_postgresql_cannot_lift_is_refused_when_opening() {
    let Some((database, _store)) = fresh() else { return };
    let builder = PostgresEventStore::builder(database.url());
    let error = builder
        .limits(firefly_eventstore_core::Limits::TEXT)
        .open()
        .unwrap_err();
    assert!(error.is_invalid_input());
    assert!(error.to_string().contains("U+0000"), "{error}");
}
