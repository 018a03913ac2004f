//! Consumers in processes that are really killed, with servers that are really restarted.
//!
//! The test binary starts itself again as a member of a group, or as the runner of a projection, and kills it.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore::consumer::{
    BoxError, ConsumerEvent, ConsumerState, Projection, Runner, Running, Subscription, Transactional, resume,
};
use firefly_eventstore::mysql::{MysqlEventStore, MysqlTransaction};
use firefly_eventstore::postgres::{PostgresEventStore, PostgresTransaction};
use firefly_eventstore::prelude::*;
use firefly_eventstore::sqlite::SqliteTransaction;
use firefly_eventstore::{Backoff, Result};
use firefly_eventstore_test_servers::{Flavour, MysqlServer, PostgresServer};
use serde_json::json;

const ROLE: &str = "FIREFLY_TEST_ROLE";
const URL: &str = "FIREFLY_TEST_URL";
const NOTES: &str = "FIREFLY_TEST_NOTES";

const MAILS: &str = "mails.v1";
const BALANCES: &str = "balances.v1";
/// Longer than anything here waits, unless it is broken.
const LONG: Duration = Duration::from_secs(120);

/// The program of this binary when a test starts it again: it runs a consumer until it is killed, or its standard input is closed.
#[test]
fn worker() {
    let Ok(role) = env::var(ROLE) else {
        return;
    };
    let (url, notes) = (env::var(URL).unwrap(), PathBuf::from(env::var(NOTES).unwrap()));
    let _running = match role.as_str() {
        "member" => run_member(&url, notes),
        "projection" => run_projection(&url, Balances::default()),
        "mortal projection" => run_projection(&url, Balances { is_mortal: true }),
        role => panic!("there is no role {role}"),
    };
    let _ = std::io::stdin().read(&mut [0]);
}

/// Writes each event into a file: an effect that no database rolls back.
fn mails(notes: PathBuf) -> Subscription {
    Subscription::of(MAILS, deposits(), move |delivery| {
        let event = delivery.event;
        let mut file = OpenOptions::new().create(true).append(true).open(&notes)?;
        file.write_all(format!("{} {}\n", event.aggregate.id(), event.version).as_bytes())?;
        Ok(())
    })
    .group(6)
    .lease(Duration::from_secs(1))
}

fn run_member(url: &str, notes: PathBuf) -> Running {
    let store: Arc<dyn Store> = connect(url).unwrap();
    Runner::new(store)
        .observer(|_: &ConsumerEvent<'_>| {})
        .subscribe(mails(notes))
        .start()
        .unwrap()
}

fn run_projection(url: &str, balances: Balances) -> Running {
    fn run<S: Transactional>(store: S, balances: Balances) -> Running
    where
        Balances: Projection<S>,
    {
        let runner = Runner::new(store)
            .observer(|_: &ConsumerEvent<'_>| {})
            .project(balances);
        runner.start().unwrap()
    }
    match url.split_once(':').unwrap().0 {
        "sqlite" => run(
            SqliteEventStore::open(url.strip_prefix("sqlite:").unwrap()).unwrap(),
            balances,
        ),
        "mysql" => run(MysqlEventStore::open(url).unwrap(), balances),
        _ => run(PostgresEventStore::open(url).unwrap(), balances),
    }
}

fn deposits() -> EventQuery {
    EventQuery::new().event_types(["money.deposited"]).unwrap()
}

/// The sum and the number of each account's deposits, in a table of its own.
#[derive(Default)]
struct Balances {
    /// Whether the process ends over a deposit of [`DEADLY`] cents.
    is_mortal: bool,
}

/// No other deposit has this amount.
const DEADLY: i64 = 1_000_000_000;

impl Balances {
    /// If the event is the deadly one, ends this process as the operating system ends one that takes all memory.
    fn die_of(&self, event: &EventEnvelope) -> Result<(), BoxError> {
        if self.is_mortal && cents(event)? == DEADLY {
            Command::new("kill")
                .args(["-KILL", &std::process::id().to_string()])
                .status()?;
            thread::sleep(LONG);
        }
        Ok(())
    }
}

fn cents(event: &EventEnvelope) -> Result<i64, BoxError> {
    let data: serde_json::Value = event.data()?;
    Ok(data["cents"].as_i64().ok_or("no cents")?)
}

/// The projection of a driver. Only the statement and the way to pass values differ.
macro_rules! balances {
    ($Store:ty, $Transaction:ty, |$tx:ident, $account:ident, $cents:ident| $write:expr) => {
        impl Projection<$Store> for Balances {
            fn name(&self) -> &str {
                BALANCES
            }

            fn query(&self) -> Result<EventQuery> {
                Ok(deposits())
            }

            fn apply(&self, $tx: &mut $Transaction, event: &EventEnvelope) -> Result<(), BoxError> {
                let ($account, $cents) = (event.aggregate.id().to_string(), cents(event)?);
                $write?;
                self.die_of(event)
            }
        }
    };
}

balances!(SqliteEventStore, SqliteTransaction<'_>, |tx, account, cents| {
    tx.connection().execute(
    "INSERT INTO balances VALUES (?1, ?2, 1) ON CONFLICT (account) DO UPDATE SET cents = cents + ?2, events = events + 1",
    (&account, cents),
)
});
balances!(PostgresEventStore, PostgresTransaction<'_>, |tx, account, cents| tx
    .connection()
    .execute(
        "INSERT INTO balances VALUES ($1, $2, 1)
     ON CONFLICT (account) DO UPDATE SET cents = balances.cents + $2, events = balances.events + 1",
        &[&account, &cents],
    ));
balances!(MysqlEventStore, MysqlTransaction<'_>, |tx, account, cents| {
    use firefly_eventstore::mysql::driver::prelude::Queryable as _;
    tx.connection().exec_drop(
        "INSERT INTO balances VALUES (?, ?, 1) ON DUPLICATE KEY UPDATE cents = cents + VALUES(cents), events = events + 1",
        (&account, cents),
    )
});

const TABLE: &str =
    "CREATE TABLE balances (account VARCHAR(36) PRIMARY KEY, cents BIGINT NOT NULL, events BIGINT NOT NULL)";

/// Creates the table, or reads its rows, with the driver.
fn make_table(url: &str) {
    match url.split_once(':').unwrap().0 {
        "sqlite" => sqlite(url).transaction(|tx| -> Result<(), BoxError> { Ok(tx.connection().execute_batch(TABLE)?) }),
        "mysql" => MysqlEventStore::open(url)
            .unwrap()
            .transaction(|tx| -> Result<(), BoxError> {
                use firefly_eventstore::mysql::driver::prelude::Queryable as _;
                Ok(tx.connection().query_drop(TABLE)?)
            }),
        _ => PostgresEventStore::open(url)
            .unwrap()
            .transaction(|tx| -> Result<(), BoxError> { Ok(tx.connection().batch_execute(TABLE)?) }),
    }
    .or_else(|error| match error.to_string().contains("commit") {
        // MySQL commits a `CREATE TABLE` at once, and the store reports that as an error.
        true => Ok(()),
        false => Err(error),
    })
    .unwrap();
}

fn balances(url: &str) -> BTreeMap<String, (i64, i64)> {
    const ROWS: &str = "SELECT account, cents, events FROM balances";
    let rows: Vec<(String, i64, i64)> = match url.split_once(':').unwrap().0 {
        "sqlite" => sqlite(url).transaction(|tx| -> Result<_, BoxError> {
            let mut statement = tx.connection().prepare(ROWS)?;
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        }),
        "mysql" => MysqlEventStore::open(url)
            .unwrap()
            .transaction(|tx| -> Result<_, BoxError> {
                use firefly_eventstore::mysql::driver::prelude::Queryable as _;
                Ok(tx.connection().query(ROWS)?)
            }),
        _ => PostgresEventStore::open(url)
            .unwrap()
            .transaction(|tx| -> Result<_, BoxError> {
                let rows = tx.connection().query(ROWS, &[])?;
                Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
            }),
    }
    .unwrap();
    rows.into_iter()
        .map(|(account, cents, events)| (account, (cents, events)))
        .collect()
}

fn sqlite(url: &str) -> SqliteEventStore {
    SqliteEventStore::open(url.strip_prefix("sqlite:").unwrap()).unwrap()
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Process {
    fn start(role: &str, url: &str, notes: &Path) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["worker", "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(URL, url)
            .env(NOTES, notes)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // With SIGKILL: it finishes nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Appends with four threads while `work` runs, and returns the sequence of the last event.
fn while_others_append(url: &str, accounts: usize, work: impl FnOnce()) -> GlobalSequence {
    let store = connect(url).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4_u64 {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                let keys: Vec<_> = (0..accounts)
                    .map(|_| AggregateKey::new("Account", Uuid::now_v7()).unwrap())
                    .collect();
                let mut round = 0;
                while !is_over.load(Ordering::SeqCst) {
                    for key in &keys {
                        let cents = json!({ "cents": 7 * round + number + 1 });
                        let events = [NewEvent::new("money.deposited", &cents).unwrap()];
                        Backoff::attempts(100)
                            .repeat(|| store.append(key, ExpectedVersion::Any, &events))
                            .unwrap();
                    }
                    round += 1;
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
        work();
        is_over.store(true, Ordering::SeqCst);
    });
    store.high_water_mark().unwrap()
}

/// Checks that every event was written, in the order of its aggregate, and that at most this many were written twice.
fn assert_noted(url: &str, notes: &Path, most_repeated: usize) {
    let mut noted = BTreeMap::<String, Vec<u64>>::new();
    for line in fs::read_to_string(notes).unwrap().lines() {
        let (aggregate, version) = line.split_once(' ').unwrap();
        noted
            .entry(aggregate.to_owned())
            .or_default()
            .push(version.parse().unwrap());
    }
    let mut appended = BTreeMap::<String, u64>::new();
    let store = connect(url).unwrap();
    for event in store.read(deposits()) {
        *appended.entry(event.unwrap().aggregate.id().to_string()).or_default() += 1;
    }
    assert!(noted.keys().eq(appended.keys()));
    let mut repeated = 0;
    for (aggregate, versions) in &noted {
        let mut next = 1;
        for version in versions {
            assert!(*version <= next, "{aggregate}: {version} before {next} of {versions:?}");
            match *version == next {
                true => next += 1,
                false => repeated += 1,
            }
        }
        assert_eq!(
            next - 1,
            appended[aggregate],
            "{aggregate} was left behind: {versions:?}"
        );
    }
    assert!(
        repeated <= most_repeated,
        "{repeated} events were handled twice, by {most_repeated} kills"
    );
}

/// Checks that the read model matches the log.
fn assert_exact(url: &str) {
    let mut expected = BTreeMap::<String, (i64, i64)>::new();
    let store = connect(url).unwrap();
    for event in store.read(deposits()) {
        let event = event.unwrap();
        let sum = expected.entry(event.aggregate.id().to_string()).or_default();
        sum.0 += cents(&event).unwrap();
        sum.1 += 1;
    }
    assert_eq!(balances(url), expected);
}

fn a_member_killed_under_load_leaves_nothing_out(url: &str) {
    const ROUNDS: usize = 20;
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("notes");
    let last = while_others_append(url, 2, || {
        let mut members: Vec<_> = (0..3).map(|_| Process::start("member", url, &notes)).collect();
        for round in 0..ROUNDS {
            // Each time at another moment of its work.
            thread::sleep(Duration::from_millis(150 + 37 * (round as u64 % 7)));
            members[round % 3] = Process::start("member", url, &notes);
        }
        drop(members);
    });
    let member = run_member(url, notes.clone());
    member.wait_for(MAILS, last, LONG).unwrap();
    member.stop();
    assert_noted(url, &notes, ROUNDS + 3);
}

fn a_projection_killed_at_random_applies_each_event_once(url: &str) {
    make_table(url);
    let nowhere = Path::new("");
    let last = while_others_append(url, 2, || {
        for round in 0..50_u64 {
            let process = Process::start("projection", url, nowhere);
            thread::sleep(Duration::from_millis(40 + 13 * (round % 11)));
            drop(process);
        }
    });
    let running = run_projection(url, Balances::default());
    running.wait_for(BALANCES, last, LONG).unwrap();
    running.stop();
    assert_exact(url);
}

fn a_projection_that_ends_its_process_over_an_event_stops_before_it(url: &str) {
    make_table(url);
    let store: Arc<dyn Store> = connect(url).unwrap();
    let deposit = |cents: i64| {
        let key = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
        let event = NewEvent::new("money.deposited", &json!({ "cents": cents })).unwrap();
        let appended = store.append(&key, ExpectedVersion::NoStream, &[event]).unwrap();
        appended.last_sequence().unwrap()
    };
    for cents in 1..=30 {
        deposit(cents);
    }
    let deadly = deposit(DEADLY);
    for cents in 1..30 {
        deposit(cents);
    }
    let last = deposit(30);
    let slot = || store.consumers(Some(BALANCES)).unwrap().pop();
    let mut ended = 0;
    loop {
        let mut process = Process::start("mortal projection", url, Path::new(""));
        let is_failed = || slot().is_some_and(|slot| slot.state == ConsumerState::Failed);
        let deadline = Instant::now() + LONG;
        let has_ended = loop {
            if process.0.try_wait().unwrap().is_some() {
                break true;
            }
            if is_failed() {
                break false;
            }
            assert!(Instant::now() < deadline, "it neither ends nor stops: {:?}", slot());
            thread::sleep(Duration::from_millis(5));
        };
        match has_ended {
            true => ended += 1,
            false => break,
        }
        assert!(ended < 20, "it tries for ever: {:?}", slot());
    }
    // Once together with other events, then five times alone.
    assert_eq!(ended, 6);
    let failing = slot().unwrap().failing.unwrap();
    assert_eq!((failing.sequence, failing.attempts), (deadly, 5));
    assert!(failing.error.contains("tried 5 times"), "{failing:?}");
    assert_eq!(balances(url).len(), 30, "what is before it is applied");
    resume(&*store, BALANCES).unwrap();
    let mended = run_projection(url, Balances::default());
    mended.wait_for(BALANCES, last, LONG).unwrap();
    assert!(mended.stop().is_empty());
    assert_exact(url);
}

fn a_server_restarted_under_consumers_loses_and_repeats_nothing(url: &str, restart: impl Fn()) {
    make_table(url);
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("notes");
    let (projection, member) = (run_projection(url, Balances::default()), run_member(url, notes.clone()));
    const RESTARTS: usize = 2;
    let last = while_others_append(url, 2, || {
        for _ in 0..RESTARTS {
            thread::sleep(Duration::from_millis(500));
            restart();
        }
        thread::sleep(Duration::from_millis(500));
    });
    projection.wait_for(BALANCES, last, LONG).unwrap();
    member.wait_for(MAILS, last, LONG).unwrap();
    assert!(projection.stop().is_empty());
    assert!(member.stop().is_empty());
    assert_exact(url);
    // The events that it was handling are stored when the server is back. If its lease ended meanwhile, they are handled again.
    assert_noted(url, &notes, RESTARTS);
}

mod sqlite_file {
    use super::*;

    fn with_a_file(test: impl FnOnce(&str)) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("store.db").display());
        connect(&url).unwrap();
        test(&url);
    }

    #[test]
    fn a_member_killed_under_load_leaves_nothing_out() {
        with_a_file(super::a_member_killed_under_load_leaves_nothing_out);
    }

    #[test]
    fn a_projection_killed_at_random_applies_each_event_once() {
        with_a_file(super::a_projection_killed_at_random_applies_each_event_once);
    }

    #[test]
    fn a_projection_that_ends_its_process_over_an_event_stops_before_it() {
        with_a_file(super::a_projection_that_ends_its_process_over_an_event_stops_before_it);
    }
}

/// The cases on a server. Those that kill processes use the server that all tests share; the one that restarts a server has its own.
macro_rules! on_a_server {
    ($family:ident, $shared:ident, $start:expr) => {
        mod $family {
            use super::*;

            fn with_a_database(test: impl FnOnce(&str)) {
                if let Some(server) = firefly_eventstore_test_servers::$shared() {
                    let database = server.new_database();
                    firefly_eventstore::migrate(database.url()).unwrap();
                    test(database.url());
                }
            }

            #[test]
            fn a_member_killed_under_load_leaves_nothing_out() {
                with_a_database(super::a_member_killed_under_load_leaves_nothing_out);
            }

            #[test]
            fn a_projection_killed_at_random_applies_each_event_once() {
                with_a_database(super::a_projection_killed_at_random_applies_each_event_once);
            }

            #[test]
            fn a_projection_that_ends_its_process_over_an_event_stops_before_it() {
                with_a_database(super::a_projection_that_ends_its_process_over_an_event_stops_before_it);
            }

            #[test]
            fn a_server_restarted_under_consumers_loses_and_repeats_nothing() {
                if firefly_eventstore_test_servers::$shared().is_none() {
                    return;
                }
                let server = $start.unwrap();
                let database = server.new_database();
                firefly_eventstore::migrate(database.url()).unwrap();
                super::a_server_restarted_under_consumers_loses_and_repeats_nothing(database.url(), || {
                    server.kill("KILL");
                    server.restart();
                });
            }
        }
    };
}

on_a_server!(postgres, postgres_unless_missing, PostgresServer::start(&[]));
on_a_server!(
    mariadb,
    mariadb_unless_missing,
    MysqlServer::start(Flavour::Mariadb, &[])
);
on_a_server!(mysql, mysql_unless_missing, MysqlServer::start(Flavour::Mysql, &[]));
