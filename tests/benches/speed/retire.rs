//! Archived events leave a log of PostgreSQL while two threads append: with their partition at once, and one by one from one table. The
//! figures that count are the waits of the appends.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::operate::{Archiving, Operations as _, retire};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::{Client, NoTls};
use firefly_eventstore_postgres::{Partitions, PostgresEventStore};
use firefly_eventstore_test_servers::PostgresServer;

use crate::harness::Bench;

const WRITERS: usize = 2;

/// How many events an aggregate has.
const VERSIONS: u64 = 20;

pub(crate) fn run(bench: &Bench) {
    let name = "postgres: retire beside two writers";
    if !bench.wants(name) {
        return;
    }
    let events = bench.scaled(1_000_000, 100_000) as u64;
    let server = PostgresServer::start(&[]).unwrap();
    println!("{name}: {events} events");
    for (layout, partitions) in [
        ("a partition, at once", Some(Partitions::by_events(events))),
        ("one table, one by one", None),
    ] {
        let database = server.new_database();
        let builder = PostgresEventStore::builder(database.url()).migrate_on_open(true);
        let store = match partitions {
            Some(partitions) => builder.partitions(partitions).open().unwrap(),
            None => builder.open().unwrap(),
        };
        fill(database.url(), &store, events);
        let mut file = tempfile::tempfile().unwrap();
        let mut out = BufWriter::new(&mut file);
        let until = GlobalSequence::new(events).unwrap();
        // The newest event stays.
        append(&store);
        Archiving::until(until).json_lines(&store, &mut out, |_| ()).unwrap();
        out.flush().unwrap();
        drop(out);
        file.rewind().unwrap();
        let (_, alone) = beside_writers(&store, || thread::sleep(Duration::from_secs(5)));
        let (total, meanwhile) = beside_writers(&store, || moved(&store, file));
        println!("  {layout}: {:.1} s", total.as_secs_f64());
        println!("    appends meanwhile: {meanwhile}");
        println!("    appends without:   {alone}");
    }
}

/// Events of 20 versions each, in the order of the log.
fn fill(url: &str, store: &PostgresEventStore, events: u64) {
    let mut client = Client::connect(url, NoTls).unwrap();
    let insert = format!(
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
         SELECT
             gen_random_uuid(),
             ('00000000-0000-4000-8000-' || lpad((n / {VERSIONS})::text, 12, '0'))::uuid,
             'Account',
             n % {VERSIONS} + 1,
             'money.deposited',
             jsonb_build_object('amount', n, 'text', repeat('x', 150))
         FROM generate_series($1::bigint, $2::bigint) AS n"
    );
    let insert = client.prepare(&insert).unwrap();
    for first in (0..events).step_by(10_000) {
        let last = (first + 10_000).min(events) - 1;
        let bounds = [first, last].map(|bound| i64::try_from(bound).unwrap());
        client.execute(&insert, &[&bounds[0], &bounds[1]]).unwrap();
    }
    store.add_partitions().unwrap();
    store.vacuum().unwrap();
    client.batch_execute("CHECKPOINT").unwrap();
}

fn moved(store: &PostgresEventStore, file: File) {
    retire(store, BufReader::new(file), "elsewhere", |_| ()).unwrap();
}

fn append(store: &PostgresEventStore) {
    let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
    let event = NewEvent::new("money.deposited", &serde_json::json!({ "amount": 1 })).unwrap();
    store.append(&account, ExpectedVersion::NoStream, &[event]).unwrap();
}

/// Does some work while threads append. Returns the time that it took, and those of the appends.
fn beside_writers(store: &PostgresEventStore, work: impl FnOnce()) -> (Duration, String) {
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
        let waits = format!(
            "{}, median {:.2} ms, 99 of 100 within {:.1} ms, 999 of 1,000 within {:.1} ms, longest {:.1} ms",
            times.len(),
            milliseconds(500),
            milliseconds(990),
            milliseconds(999),
            milliseconds(1_000)
        );
        (took, waits)
    })
}
