//! Appending: one event by 1 to 64 threads, or by 100 to one aggregate, and batches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::prelude::*;

use crate::backend::{Aggregate, Backend, Common, Database, Now, Raw, Schema};
use crate::events::{self, Dice, Sample};
use crate::harness::{Bench, Comparison, Contender, compete, per_second, report};

pub(crate) fn run(bench: &Bench, backend: &dyn Backend) {
    for threads in [1, 4, 16] {
        append_one(bench, backend, threads);
    }
    if backend.has_many_writers() {
        append_one(bench, backend, 64);
    }
    slowest(bench, backend);
    append_to_one_aggregate(bench, backend);
    for batch in backend.batches() {
        append_batch(bench, backend, *batch);
    }
    profiles(bench, backend);
}

/// On a slow disk, where a server's own group commit gains most.
pub(crate) fn run_on_slow_disk(bench: &Bench, backend: &dyn Backend) {
    for threads in SLOW_DISK_THREADS {
        append_one(bench, backend, threads);
    }
}

/// Whether [`run_on_slow_disk`] has cases for a backend of this name.
pub(crate) fn wants_slow_disk(bench: &Bench, backend: &str) -> bool {
    SLOW_DISK_THREADS
        .iter()
        .any(|threads| bench.wants(&name_of_one(backend, *threads)))
}

const SLOW_DISK_THREADS: [usize; 3] = [4, 16, 64];

fn name_of_one(backend: &str, threads: usize) -> String {
    match threads {
        1 => format!("{backend}: append 1 event, 1 thread"),
        _ => format!("{backend}: append 1 event, {threads} threads"),
    }
}

/// How long the slowest of a hundred appends takes.
fn slowest(bench: &Bench, backend: &dyn Backend) {
    const THREADS: usize = 16;
    let name = format!("{}: slowest of 100 appends, {THREADS} threads", backend.name());
    if !bench.wants(&name) {
        return;
    }
    let [raw, mine] = [(); 2].map(|()| backend.database(Schema::Ours));
    let mut raw = raw_workers(&*raw, THREADS);
    let mut with_store = store_workers(&*mine, THREADS);
    let events = bench.scaled(8_000, 4_000);
    let in_a_second = |workers: &mut [Worker]| {
        append(workers, events, 1);
        let mut times: Vec<Duration> = workers.iter_mut().flat_map(|worker| worker.times.drain(..)).collect();
        times.sort_unstable();
        1.0 / times[times.len() * 99 / 100].as_secs_f64()
    };
    let mut contenders = [
        Contender::new(|| in_a_second(&mut raw)),
        Contender::new(|| in_a_second(&mut with_store)),
    ];
    compete(bench.rounds(), &mut contenders);
    let [raw, store] = &contenders;
    let comparison = Comparison {
        name: "store/raw",
        ratio: store.ratio_to(raw),
        target: Some(1.0),
    };
    report(&name, raw.rate(), &[comparison]);
}

fn append_one(bench: &Bench, backend: &dyn Backend, threads: usize) {
    let name = name_of_one(backend.name(), threads);
    if !bench.wants(&name) {
        return;
    }
    let [lean, ours, mine] = [Schema::Lean, Schema::Ours, Schema::Ours].map(|schema| backend.database(schema));
    let mut on_lean = raw_workers(&*lean, threads);
    let mut on_ours = raw_workers(&*ours, threads);
    let mut with_store = store_workers(&*mine, threads);
    let events = bench.scaled(4_000, 2_000);
    let mut contenders = [
        Contender::new(|| append(&mut on_lean, events, 1)),
        Contender::new(|| append(&mut on_ours, events, 1)),
        Contender::new(|| append(&mut with_store, events, 1)),
    ];
    compete(bench.rounds(), &mut contenders);
    let [lean, raw, store] = &contenders;
    let library = Comparison {
        name: "store/raw",
        ratio: store.ratio_to(raw),
        target: Some(backend.append_target(threads)),
    };
    let beside_lean = Comparison {
        name: "store/lean",
        ratio: store.ratio_to(lean),
        target: backend.lean_target(threads),
    };
    report(&name, raw.rate(), &[library, of_schema(raw, lean), beside_lean]);
}

/// The gain of a shared statement if all threads append to the same aggregate.
fn append_to_one_aggregate(bench: &Bench, backend: &dyn Backend) {
    const THREADS: usize = 100;
    let name = format!("{}: append to one aggregate, {THREADS} threads", backend.name());
    let database = match bench.wants(&name) {
        true => backend.database(Schema::Ours),
        false => return,
    };
    let Some(ungrouped) = database.ungrouped_store() else {
        return;
    };
    let events = bench.scaled(4_000, 1_000);
    let append_all = |store: &dyn EventStore| {
        let mut dice = Dice::new(7);
        let (pool, key) = (events::pool(&mut dice), events::aggregate(&mut dice));
        let correlation_id = events::correlation_id(&mut dice);
        let left = AtomicUsize::new(events);
        let take = |left: usize| left.checked_sub(1);
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                        let event = [pool[0].fresh(&correlation_id)];
                        while let Err(error) = store.append(&key, ExpectedVersion::Any, &event) {
                            assert!(error.is_retryable(), "{error}");
                        }
                    }
                });
            }
        });
        per_second(events, start.elapsed())
    };
    let grouped = database.store();
    let mut contenders = [
        Contender::new(|| append_all(&*ungrouped)),
        Contender::new(|| append_all(&*grouped)),
    ];
    compete(bench.rounds(), &mut contenders);
    let [ungrouped, grouped] = &contenders;
    let comparison = Comparison {
        name: "grouped/ungrouped",
        ratio: grouped.ratio_to(ungrouped),
        target: None,
    };
    report(&name, ungrouped.rate(), &[comparison]);
}

fn append_batch(bench: &Bench, backend: &dyn Backend, batch: usize) {
    let name = format!("{}: append {batch} in a batch", backend.name());
    if !bench.wants(&name) {
        return;
    }
    let databases = [Schema::Lean, Schema::Ours, Schema::Ours, Schema::Ours].map(|schema| backend.database(schema));
    let [lean, ours, mine, bulk] = &databases;
    let mut on_lean = raw_workers(&**lean, 1);
    let mut on_ours = raw_workers(&**ours, 1);
    let mut with_store = store_workers(&**mine, 1);
    let mut in_bulk = bulk.bulk().map(|raw| vec![Worker::new(Writer::Raw(raw), Dice::new(0))]);
    let events = bench.scaled(24_000, 8_000);
    let mut contenders = vec![
        Contender::new(|| append(&mut on_lean, events, batch)),
        Contender::new(|| append(&mut on_ours, events, batch)),
        Contender::new(|| append(&mut with_store, events, batch)),
    ];
    if let Some(in_bulk) = &mut in_bulk {
        contenders.push(Contender::new(|| append(in_bulk, events, batch)));
    }
    compete(bench.rounds(), &mut contenders);
    let [lean, raw, store, bulk @ ..] = &contenders[..] else {
        unreachable!("three and perhaps a fourth were made")
    };
    let library = Comparison {
        name: "store/raw",
        ratio: store.ratio_to(raw),
        target: Some(0.9),
    };
    let mut comparisons = vec![library, of_schema(raw, lean)];
    comparisons.extend(bulk.iter().map(|bulk| Comparison {
        name: "store/bulk",
        ratio: store.ratio_to(bulk),
        target: None,
    }));
    report(&name, raw.rate(), &comparisons);
}

fn of_schema(ours: &Contender<'_>, lean: &Contender<'_>) -> Comparison {
    Comparison {
        name: "ours/lean schema",
        ratio: ours.ratio_to(lean),
        target: Some(0.8),
    }
}

/// The cost of each choice of indexes, with the raw driver.
fn profiles(bench: &Bench, backend: &dyn Backend) {
    for (threads, batch) in [(1, 1), (16, 1), (1, 100)] {
        let name = match batch {
            1 => format!("{}: indexes, 1 event, threads: {threads}", backend.name()),
            _ => format!("{}: indexes, batch of {batch}", backend.name()),
        };
        if !bench.wants(&name) {
            continue;
        }
        let schemas = [
            Schema::Lean,
            Schema::OursWithoutIndexes,
            Schema::Ours,
            Schema::OursWithAllIndexes,
        ];
        let databases = schemas.map(|schema| backend.database(schema));
        let mut workers = databases.each_ref().map(|database| raw_workers(&**database, threads));
        let events = bench.scaled(4_000, 2_000) * if batch > 1 { 3 } else { 1 };
        let mut contenders: Vec<_> = workers
            .iter_mut()
            .map(|workers| Contender::new(|| append(workers, events, batch)))
            .collect();
        compete(bench.rounds(), &mut contenders);
        let lean = &contenders[0];
        let comparisons: Vec<_> = ["none/lean", "standard/lean", "full/lean"]
            .into_iter()
            .zip(&contenders[1..])
            .map(|(name, contender)| Comparison {
                name,
                ratio: contender.ratio_to(lean),
                target: None,
            })
            .collect();
        report(&name, lean.rate(), &comparisons);
    }
}

/// Stores interleaved events of many aggregates, as they are when many are in use at once.
pub(crate) fn fill(store: &dyn EventStore, aggregates: usize, versions: usize) -> Vec<AggregateKey> {
    let mut dice = Dice::new(7);
    let keys: Vec<AggregateKey> = (0..aggregates).map(|_| events::aggregate(&mut dice)).collect();
    fill_aggregates(&mut dice, store, &keys, versions);
    keys
}

/// As [`fill`], for aggregates that may have events.
pub(crate) fn fill_aggregates(dice: &mut Dice, store: &dyn EventStore, keys: &[AggregateKey], versions: usize) {
    const MIXED: usize = 1_000;
    let pool = events::pool(dice);
    for group in keys.chunks(MIXED) {
        for _ in 0..versions {
            let mut event = || {
                let correlation_id = events::correlation_id(dice);
                [pool[dice.roll(pool.len())].fresh(&correlation_id)]
            };
            let events: Vec<_> = group.iter().map(|_| event()).collect();
            let appends: Vec<_> = group
                .iter()
                .zip(&events)
                .map(|(key, events)| Append::new(key, ExpectedVersion::Any, events))
                .collect();
            store.append_all(&appends).unwrap();
        }
    }
}

/// A connection of the thread's own, or the store that all threads share.
enum Writer {
    Raw(Box<dyn Raw>),
    Store(Arc<dyn EventStore>),
}

/// Threads that write with connections of their own.
pub(crate) fn raw_workers(database: &dyn Database, threads: usize) -> Vec<Worker> {
    (0..threads as u64)
        .map(|thread| Worker::new(Writer::Raw(database.raw()), Dice::new(2 * thread)))
        .collect()
}

/// Threads that write with the store, to other aggregates than those of [`raw_workers`].
pub(crate) fn store_workers(database: &dyn Database, threads: usize) -> Vec<Worker> {
    let store: Arc<dyn EventStore> = database.store();
    (0..threads as u64)
        .map(|thread| Worker::new(Writer::Store(Arc::clone(&store)), Dice::new(2 * thread + 1)))
        .collect()
}

/// A thread that appends to aggregates of its own, in turn.
pub(crate) struct Worker {
    writer: Writer,
    pool: Vec<Sample>,
    aggregates: Vec<Aggregate>,
    turn: usize,
    dice: Dice,
    /// How long each append of the last measurement took.
    times: Vec<Duration>,
}

const AGGREGATES: usize = 100;

impl Worker {
    fn new(writer: Writer, mut dice: Dice) -> Self {
        Self {
            writer,
            pool: events::pool(&mut dice),
            aggregates: (0..AGGREGATES)
                .map(|_| Aggregate::new(events::aggregate(&mut dice)))
                .collect(),
            turn: 0,
            dice,
            times: Vec::new(),
        }
    }

    fn append(&mut self, batch: usize, now: &Now) {
        let turn = self.turn;
        let aggregate = &mut self.aggregates[turn % AGGREGATES];
        let correlation_id = events::correlation_id(&mut self.dice);
        let samples = (0..batch).map(|index| &self.pool[(turn * batch + index) % self.pool.len()]);
        match &mut self.writer {
            Writer::Store(store) => {
                let events: Vec<NewEvent> = samples.map(|sample| sample.fresh(&correlation_id)).collect();
                let expected = ExpectedVersion::Exact(Version::try_from(aggregate.version).unwrap());
                store.append(&aggregate.key, expected, &events).unwrap();
            }
            Writer::Raw(raw) => {
                let events: Vec<&Sample> = samples.collect();
                let common = Common {
                    aggregate,
                    correlation_id: correlation_id.as_str(),
                    now,
                };
                raw.append(&common, &events);
            }
        }
        aggregate.version += batch as i64;
        self.turn += 1;
    }
}

/// Appends until the threads have stored this many events together, and returns the number of events per second.
///
/// The end of the measurement does not wait for a thread that sleeps until a lock is free: with the raw driver that
/// takes up to a tenth of a second, in which no thread works.
pub(crate) fn append(workers: &mut [Worker], events: usize, batch: usize) -> f64 {
    let now = Now::new();
    let stored = AtomicUsize::new(0);
    let finished = Mutex::new(None);
    let start = Barrier::new(workers.len());
    let work = |worker: &mut Worker| {
        worker.times.clear();
        start.wait();
        let started = Instant::now();
        let mut before = started;
        while stored.load(Ordering::Relaxed) < events {
            worker.append(batch, &now);
            let after = Instant::now();
            worker.times.push(after - before);
            before = after;
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
