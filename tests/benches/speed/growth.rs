//! How the length of a log changes everyday operations: append, load, look up the mark, read a page of one type.
//!
//! The raw driver does the same on logs of the same lengths. If its times grow too, the database causes it: every look-up walks a tree,
//! which has one level more for some hundred times as many rows, and a random aggregate or page is less likely to be in the server's cache.
//! The mark reads only the end of the log.

use std::hint::black_box;

use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;
use time::OffsetDateTime;

use crate::append::{self, raw_workers, store_workers};
use crate::backend::{Backend, Database, Raw, Schema};
use crate::events::{self, Dice, Sample};
use crate::harness::{Bench, Comparison, Contender, compete, rate, report};

const EVENT_TYPE: &str = "transfer.requested";
const ROWS: u64 = 100;

/// How many events an aggregate has.
const VERSIONS: usize = 20;

pub(crate) fn run(bench: &Bench, backend: &dyn Backend) {
    let cases = ["append", "load", "mark", "page"].map(|work| format!("{}: growth, {work}", backend.name()));
    if !cases.iter().any(|case| bench.wants(case)) {
        return;
    }
    let mut lengths = vec![10_000, bench.scaled(1_000_000, 100_000)];
    lengths.extend(bench.large.then_some(10_000_000));
    let logs: Vec<Log> = lengths.iter().map(|events| Log::new(backend, *events)).collect();
    let [append, load, mark, page] = &cases;

    if bench.wants(append) {
        let events = bench.scaled(4_000, 1_000);
        measure(
            bench,
            append,
            &logs,
            |log| {
                let mut workers = raw_workers(&*log.database, 1);
                Box::new(move || append::append(&mut workers, events, 1))
            },
            |log| {
                let mut workers = store_workers(&*log.database, 1);
                Box::new(move || append::append(&mut workers, events, 1))
            },
        );
    }
    if bench.wants(load) {
        let times = bench.scaled(10_000, 1_000);
        measure(
            bench,
            load,
            &logs,
            |log| {
                let (mut raw, mut dice) = (log.database.raw(), Dice::new(1));
                Box::new(move || {
                    rate(times, || {
                        let key = &log.keys[dice.roll(log.keys.len())];
                        assert_eq!(black_box(raw.load(key.id())), VERSIONS);
                    })
                })
            },
            |log| {
                let (store, mut dice) = (log.database.store(), Dice::new(1));
                Box::new(move || {
                    rate(times, || {
                        let stream = store.load(&log.keys[dice.roll(log.keys.len())]).unwrap();
                        assert_eq!(black_box(stream).events().len(), VERSIONS);
                    })
                })
            },
        );
    }
    if bench.wants(mark) {
        let times = bench.scaled(10_000, 1_000);
        measure(
            bench,
            mark,
            &logs,
            |log| {
                let mut raw = log.database.raw();
                Box::new(move || rate(times, || assert!(black_box(raw.last_sequence()) > 0)))
            },
            |log| {
                let store = log.database.store();
                Box::new(move || {
                    rate(times, || {
                        assert!(black_box(store.high_water_mark().unwrap()) > GlobalSequence::ZERO);
                    })
                })
            },
        );
    }
    if bench.wants(page) {
        let times = bench.scaled(1_000, 200);
        measure(
            bench,
            page,
            &logs,
            |log| {
                let (mut raw, mut dice) = (log.database.raw(), Dice::new(1));
                Box::new(move || rate(times, || read_raw_page(&mut *raw, dice.roll(log.most_after()) as i64)))
            },
            |log| {
                let (store, mut dice) = (log.database.store(), Dice::new(1));
                Box::new(move || rate(times, || read_page(&*store, dice.roll(log.most_after()) as u64)))
            },
        );
    }
}

/// A database with a log of some length.
struct Log {
    database: Box<dyn Database>,
    events: usize,
    keys: Vec<AggregateKey>,
}

impl Log {
    fn new(backend: &dyn Backend, events: usize) -> Self {
        let database = backend.database(Schema::Ours);
        let keys = fill(&*database.store(), events / VERSIONS, VERSIONS);
        Self { database, events, keys }
    }

    /// Pages begin at or before this sequence, so that each is full.
    fn most_after(&self) -> usize {
        self.events * 8 / 10
    }
}

type Sampler<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Runs the raw driver and the store on every log, and compares each with itself on the smallest log.
fn measure<'a>(
    bench: &Bench,
    case: &str,
    logs: &'a [Log],
    raw: impl Fn(&'a Log) -> Sampler<'a>,
    store: impl Fn(&'a Log) -> Sampler<'a>,
) {
    let raw = logs.iter().map(raw);
    let store = logs.iter().map(store);
    let mut contenders: Vec<_> = raw.chain(store).map(Contender::new).collect();
    compete(bench.rounds(), &mut contenders);
    let (raw, store) = contenders.split_at(logs.len());
    println!(
        "{case}: the store appends, loads, looks up or reads {:.0}/s of {} events",
        store[0].rate(),
        logs[0].events
    );
    for place in 1..logs.len() {
        let comparisons = [
            ("store, this/smallest", store[place].ratio_to(&store[0])),
            ("raw, this/smallest", raw[place].ratio_to(&raw[0])),
            ("store/raw", store[place].ratio_to(&raw[place])),
        ];
        let comparisons = comparisons.map(|(name, ratio)| Comparison {
            name,
            ratio,
            target: None,
        });
        report(
            &format!("{case}, {} events", logs[place].events),
            raw[place].rate(),
            &comparisons,
        );
    }
}

fn read_raw_page(raw: &mut dyn Raw, after: i64) {
    let page = raw.page_of_type(EVENT_TYPE, after, ROWS as i64);
    assert_eq!(black_box(page) as u64, ROWS);
}

fn read_page(store: &dyn EventStore, after: u64) {
    let query = EventQuery::new().event_types([EVENT_TYPE]).unwrap();
    let query = query.after(GlobalSequence::new(after).unwrap()).limit(ROWS);
    let page = store.read_page(&query, None).unwrap();
    assert_eq!(black_box(page).events.len() as u64, ROWS);
}

/// Stores events as [`append::fill`] does, but with an import, which is fastest.
fn fill(store: &dyn Operations, aggregates: usize, versions: usize) -> Vec<AggregateKey> {
    const MIXED: usize = 1_000;
    let mut dice = Dice::new(7);
    let pool = events::pool(&mut dice);
    let keys: Vec<AggregateKey> = (0..aggregates).map(|_| events::aggregate(&mut dice)).collect();
    let mut sequence = GlobalSequence::ZERO;
    for group in keys.chunks(MIXED) {
        let mut events = Vec::with_capacity(group.len() * versions);
        for version in 1..=versions {
            let now = OffsetDateTime::now_utc().truncate_to_microsecond();
            for key in group {
                sequence = sequence.checked_add(1).unwrap();
                let sample = &pool[dice.roll(pool.len())];
                events.push(envelope(sample, key, version, sequence, now, &mut dice));
            }
        }
        store.import_events(&events).unwrap();
    }
    store.update_statistics().unwrap();
    keys
}

fn envelope(
    sample: &Sample,
    key: &AggregateKey,
    version: usize,
    global_sequence: GlobalSequence,
    created_at: OffsetDateTime,
    dice: &mut Dice,
) -> EventEnvelope {
    let event = &sample.event;
    let version = Version::new(version as u64).unwrap();
    let mut stored = event.stored(key, None, version, global_sequence, created_at);
    stored.event_id = Uuid::now_v7();
    stored.created_at = created_at;
    stored.correlation_id = Some(events::correlation_id(dice));
    stored.causation_id = None;
    stored.size_bytes = None;
    stored
}
