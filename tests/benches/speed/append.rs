//! Appending: one event by 1, 4 and 16 threads, and a batch of a hundred.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous};
use rusqlite::Connection;

use crate::events::{self, Dice, Sample};
use crate::harness::{Bench, Contender, compete, per_second, report_with_schema};
use crate::raw;

/// A case, and what the store is to reach of what the raw driver does.
struct Case {
    threads: usize,
    batch: usize,
    synchronous: Synchronous,
    target: f64,
}

pub(crate) fn run(bench: &Bench, scratch: &Path) {
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        for (threads, batch) in [(1, 1), (4, 1), (16, 1), (1, 100)] {
            let shared_commits = threads == 16 && synchronous == Synchronous::Full;
            let case = Case {
                threads,
                batch,
                synchronous,
                target: if shared_commits { 4.0 } else { 0.9 },
            };
            case.run(bench, scratch);
        }
    }
}

impl Case {
    fn run(&self, bench: &Bench, scratch: &Path) {
        let name = self.name();
        if !bench.wants(&name) {
            return;
        }
        let directory = tempfile::tempdir_in(scratch).unwrap();
        let events = bench.scaled(4_000, 2_000) * if self.batch > 1 { 3 } else { 1 };

        let lean = directory.path().join("lean.db");
        raw::create_lean(&lean);
        let ours = directory.path().join("ours.db");
        raw::create_ours(&ours);
        let store = SqliteEventStore::builder(directory.path().join("store.db"))
            .synchronous(self.synchronous)
            .open()
            .unwrap();

        let mut on_lean = self.workers(|| Writer::Raw(raw::open(&lean, self.synchronous)));
        let mut on_ours = self.workers(|| Writer::Raw(raw::open(&ours, self.synchronous)));
        let mut with_store = self.workers(|| Writer::Store(store.clone()));
        let mut contenders = [
            Contender::new(|| append(&mut on_lean, events, self.batch)),
            Contender::new(|| append(&mut on_ours, events, self.batch)),
            Contender::new(|| append(&mut with_store, events, self.batch)),
        ];
        compete(bench.rounds(), &mut contenders);
        report_with_schema(&name, &contenders, self.target);
    }

    fn name(&self) -> String {
        let Self { threads, batch, .. } = self;
        let level = match self.synchronous {
            Synchronous::Normal => "NORMAL",
            _ => "FULL",
        };
        match (threads, batch) {
            (1, 1) => format!("append 1 event, 1 thread, {level}"),
            (_, 1) => format!("append 1 event, {threads} threads, {level}"),
            _ => format!("append {batch} in a batch, {level}"),
        }
    }

    fn workers(&self, writer: impl Fn() -> Writer) -> Vec<Worker> {
        (0..self.threads)
            .map(|thread| Worker::new(writer(), Dice::new(thread as u64)))
            .collect()
    }
}

/// Who writes: a connection of the thread's own, or the store that all threads share.
enum Writer {
    Raw(Connection),
    Store(SqliteEventStore),
}

/// A thread that appends to aggregates of its own, in turn.
struct Worker {
    writer: Writer,
    pool: Vec<Sample>,
    aggregates: Vec<Aggregate>,
    turn: usize,
    dice: Dice,
}

struct Aggregate {
    key: AggregateKey,
    id: String,
    version: i64,
}

const AGGREGATES: usize = 100;

impl Worker {
    fn new(writer: Writer, mut dice: Dice) -> Self {
        let aggregate = |key: AggregateKey| Aggregate {
            id: key.id().to_string(),
            key,
            version: 0,
        };
        Self {
            writer,
            pool: events::pool(&mut dice),
            aggregates: (0..AGGREGATES)
                .map(|_| aggregate(events::aggregate(&mut dice)))
                .collect(),
            turn: 0,
            dice,
        }
    }

    fn append(&mut self, batch: usize, now: &str) {
        let turn = self.turn;
        let aggregate = &mut self.aggregates[turn % AGGREGATES];
        let correlation_id = events::correlation_id(&mut self.dice);
        let samples = (0..batch).map(|index| &self.pool[(turn * batch + index) % self.pool.len()]);
        match &self.writer {
            Writer::Store(store) => {
                let events: Vec<NewEvent> = samples.map(|sample| sample.fresh(&correlation_id)).collect();
                let expected = ExpectedVersion::Exact(Version::try_from(aggregate.version).unwrap());
                store.append(&aggregate.key, expected, &events).unwrap();
            }
            Writer::Raw(connection) => {
                let events: Vec<&Sample> = samples.collect();
                let common = raw::Common {
                    aggregate_id: &aggregate.id,
                    aggregate_type: aggregate.key.aggregate_type().as_str(),
                    correlation_id: correlation_id.as_str(),
                    now,
                };
                raw::append(connection, &common, aggregate.version, &events);
            }
        }
        aggregate.version += batch as i64;
        self.turn += 1;
    }
}

/// Appends until so many events are stored, whoever stored them, and returns how many that were a second.
///
/// A thread that sleeps until a lock is free must not be waited for at the end: with the raw driver that takes up to a
/// tenth of a second, in which nobody works.
fn append(workers: &mut [Worker], events: usize, batch: usize) -> f64 {
    let now = raw::now();
    let stored = AtomicUsize::new(0);
    let finished = Mutex::new(None);
    let start = Barrier::new(workers.len());
    let work = |worker: &mut Worker| {
        start.wait();
        let started = Instant::now();
        while stored.load(Ordering::Relaxed) < events {
            worker.append(batch, &now);
            let before = stored.fetch_add(batch, Ordering::Relaxed);
            if (before..before + batch).contains(&(events - 1)) {
                *finished.lock().unwrap() = Some(Instant::now());
            }
        }
        started
    };
    let started = thread::scope(|scope| {
        let threads: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(|| work(worker))).collect();
        let started = threads.into_iter().map(|thread| thread.join().unwrap());
        started.min().unwrap()
    });
    let finished = finished.into_inner().unwrap().unwrap();
    per_second(events, finished - started)
}
