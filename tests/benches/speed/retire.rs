//! Archived events leave a log while two threads append: with their partition at once, and one by one from one table. The figures that
//! count are the waits of the appends, beside those of the same threads as long before and afterwards.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::Partitions;
use firefly_eventstore_core::operate::{Archiving, Operations, retire};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::driver::Conn;
use firefly_eventstore_mysql::driver::prelude::Queryable as _;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::{Client, NoTls};
use firefly_eventstore_sqlite::SqliteEventStore;
use firefly_eventstore_test_servers::{Flavour, MysqlServer, PostgresServer};
use rusqlite::Connection;

use crate::harness::Bench;

const WRITERS: usize = 2;

/// How many events an aggregate has.
const VERSIONS: u64 = 20;

/// How long the threads append alone before.
const BEFORE: Duration = Duration::from_secs(5);

/// An append is not to wait longer for an archiving.
const ALLOWED: Duration = Duration::from_millis(50);

const IN_PARTITION: &str = "a partition, at once";
const IN_TABLE: &str = "one table, one by one";
/// SQLite lets the connections of other stores try again after pauses, and does not let them queue.
const BY_ANOTHER: &str = "one table, one by one, by another process";

/// A database, with the store that appends, and the one that archives.
struct Logged<Database> {
    store: Arc<dyn Operations>,
    archiving: Arc<dyn Operations>,
    _database: Database,
}

impl<Database> Logged<Database> {
    fn by_one(store: impl Operations + 'static, database: Database) -> Self {
        let store = Arc::new(store);
        Self {
            store: Arc::clone(&store) as Arc<dyn Operations>,
            archiving: store,
            _database: database,
        }
    }
}

fn partitions(layout: &str, events: u64) -> Option<Partitions> {
    (layout == IN_PARTITION).then(|| Partitions::by_events(events))
}

pub(crate) fn sqlite(bench: &Bench, scratch: &Path) {
    run(bench, "sqlite", &[IN_TABLE, BY_ANOTHER], || {
        move |layout, events| {
            let directory = tempfile::tempdir_in(scratch).unwrap();
            let path = directory.path().join("events.db");
            let store = Arc::new(SqliteEventStore::open(&path).unwrap());
            let client = Connection::open(&path).unwrap();
            fill(events, |first, last| {
                let insert = format!(
                    "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                     WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})
                     SELECT printf('00000000-0000-4000-9000-%012d', n), printf('00000000-0000-4000-8000-%012d', n / {VERSIONS}), 'Account',
                         n % {VERSIONS} + 1, 'money.deposited', json_object('amount', n, 'text', printf('%.150c', 'x'))
                     FROM numbers"
                );
                client.execute_batch(&insert).unwrap();
            });
            store.update_statistics().unwrap();
            let archiving = match layout {
                BY_ANOTHER => Arc::new(SqliteEventStore::open(&path).unwrap()),
                _ => Arc::clone(&store),
            };
            Logged {
                store,
                archiving,
                _database: directory,
            }
        }
    });
}

pub(crate) fn postgres(bench: &Bench) {
    run(bench, "postgres", &[IN_PARTITION, IN_TABLE], || {
        let server = PostgresServer::start(&[]).unwrap();
        move |layout, events| {
            let database = server.new_database();
            let builder = PostgresEventStore::builder(database.url()).migrate_on_open(true);
            let store = match partitions(layout, events) {
                Some(partitions) => builder.partitions(partitions).open().unwrap(),
                None => builder.open().unwrap(),
            };
            let mut client = Client::connect(database.url(), NoTls).unwrap();
            fill(events, |first, last| {
                let insert = format!(
                    "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                     SELECT gen_random_uuid(), ('00000000-0000-4000-8000-' || lpad((n / {VERSIONS})::text, 12, '0'))::uuid, 'Account',
                         n % {VERSIONS} + 1, 'money.deposited', jsonb_build_object('amount', n, 'text', repeat('x', 150))
                     FROM generate_series({first}, {last}) AS n"
                );
                client.batch_execute(&insert).unwrap();
            });
            store.vacuum().unwrap();
            client.batch_execute("CHECKPOINT").unwrap();
            Logged::by_one(store, database)
        }
    });
}

pub(crate) fn mysql(bench: &Bench, flavour: Flavour) {
    run(bench, flavour.name(), &[IN_PARTITION, IN_TABLE], || {
        let server = MysqlServer::start(flavour, &[]).unwrap();
        move |layout, events| {
            let database = server.new_database();
            let builder = MysqlEventStore::builder(database.url()).migrate_on_open(true);
            let store = match partitions(layout, events) {
                Some(partitions) => builder.partitions(partitions).open().unwrap(),
                None => builder.open().unwrap(),
            };
            let mut client = Conn::new(database.url()).unwrap();
            fill(events, |first, last| {
                let insert = format!(
                    "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                     WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})
                     SELECT UNHEX(LPAD(HEX(n + 1), 32, '0')), UNHEX(LPAD(HEX(n DIV {VERSIONS} + 1), 32, '0')), 'Account', n % {VERSIONS} + 1,
                         'money.deposited', JSON_OBJECT('amount', n, 'text', REPEAT('x', 150))
                     FROM numbers"
                );
                client.query_drop(insert).unwrap();
            });
            store.update_statistics().unwrap();
            Logged::by_one(store, database)
        }
    });
}

/// Measures on databases of a server, which is started if the case is wanted.
fn run<Database, New: Fn(&str, u64) -> Logged<Database>>(
    bench: &Bench,
    backend: &str,
    layouts: &[&str],
    start: impl FnOnce() -> New,
) {
    let name = format!("{backend}: retire beside two writers");
    if !bench.wants(&name) {
        return;
    }
    let events = bench.scaled(1_000_000, 100_000) as u64;
    let new = start();
    println!("{name}: {events} events");
    for layout in layouts {
        let Logged {
            store,
            archiving,
            _database,
        } = new(layout, events);
        store.add_partitions().unwrap();
        // The newest event stays.
        append(&*store);
        let file = archived(&*store, events);
        let (_, before) = beside_writers(&*store, || thread::sleep(BEFORE));
        let (took, meanwhile) = beside_writers(&*store, || moved(&*archiving, file));
        let (_, afterwards) = beside_writers(&*store, || thread::sleep(took));
        println!("  {layout}: {:.1} s", took.as_secs_f64());
        println!("    appends before:     {before}");
        println!("    appends meanwhile:  {meanwhile}");
        println!("    appends afterwards: {afterwards}");
    }
}

/// Inserts the events between two numbers, again and again, in the order of the log.
fn fill(events: u64, mut insert: impl FnMut(u64, u64)) {
    for first in (0..events).step_by(1_000) {
        insert(first, (first + 1_000).min(events) - 1);
    }
}

/// Archives the events up to a sequence, and lets them leave the log.
pub(crate) fn retire_first(store: &dyn Operations, until: u64) {
    moved(store, archived(store, until));
}

/// An archive of the events up to a sequence.
fn archived(store: &dyn Operations, until: u64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let mut out = BufWriter::new(&mut file);
    let until = GlobalSequence::new(until).unwrap();
    Archiving::until(until).json_lines(store, &mut out, |_| ()).unwrap();
    out.flush().unwrap();
    drop(out);
    file.rewind().unwrap();
    file
}

fn moved(store: &dyn Operations, file: File) {
    retire(store, BufReader::new(file), "elsewhere", |_| ()).unwrap();
}

fn append(store: &dyn Operations) {
    let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
    let event = NewEvent::new("money.deposited", &serde_json::json!({ "amount": 1 })).unwrap();
    store.append(&account, ExpectedVersion::NoStream, &[event]).unwrap();
}

/// Does some work while threads append. Returns the time that it took, and those of the appends.
fn beside_writers(store: &dyn Operations, work: impl FnOnce()) -> (Duration, String) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers = [(); WRITERS].map(|()| {
            scope.spawn(|| {
                let mut times = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    append(store);
                    times.push(start.elapsed());
                }
                times
            })
        });
        let start = Instant::now();
        work();
        let took = start.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let mut times: Vec<Duration> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        times.sort_unstable();
        let milliseconds = |of_thousand: usize| times[(times.len() - 1) * of_thousand / 1_000].as_secs_f64() * 1e3;
        let too_long = times.iter().filter(|time| **time > ALLOWED).count();
        let waits = format!(
            "{}, median {:.2} ms, 99 of 100 within {:.1} ms, 999 of 1,000 within {:.1} ms, longest {:.1} ms, {too_long} above {} ms",
            times.len(),
            milliseconds(500),
            milliseconds(990),
            milliseconds(999),
            milliseconds(1_000),
            ALLOWED.as_millis()
        );
        (took, waits)
    })
}
