//! A log in some twelve partitions, or with a table for each aggregate type, compared with one in a single table; and one whose partitions
//! were joined with one whose were not.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use firefly_eventstore_core::Partitions;
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;

use crate::append;
use crate::backend::Database;
use crate::events::Dice;
use crate::harness::{Bench, Comparison, Contender, compete, per_second, rate, report};

/// Compares them on databases of a server that is started if any case is wanted.
pub(crate) fn run<New: Fn(Option<Partitions>) -> Box<dyn Database>>(
    bench: &Bench,
    backend: &str,
    start: impl FnOnce() -> New,
) {
    let events = events(bench);
    let fill = |new: &New| {
        let partitions = Partitions::by_events(events as u64 / 10);
        [Some(partitions), None].map(|partitions| Filled::of(new(partitions), events, 10))
    };
    let compared = Compared {
        group: format!("{backend}, partitioned"),
        ratio: "partitioned/one table",
        target: Some(0.9),
    };
    compare(bench, &compared, start, fill);
}

/// Compares a log with a table for each of nine aggregate types, and one for the tenth, with one in a single table.
pub(crate) fn run_by_type<New: Fn(Option<Partitions>) -> Box<dyn Database>>(
    bench: &Bench,
    backend: &str,
    start: impl FnOnce() -> New,
) {
    let events = events(bench);
    let fill = |new: &New| {
        let partitions = Partitions::by_aggregate_type(TYPES.into_iter().take(9));
        [Some(partitions), None].map(|partitions| Filled::of(new(partitions), events, 10))
    };
    let compared = Compared {
        group: format!("{backend}, by type"),
        ratio: "by type/one table",
        target: None,
    };
    compare(bench, &compared, start, fill);
}

/// The types of the aggregates. Those that grow later have the first two.
const TYPES: [&str; 10] = [
    "Account",
    "Transfer",
    "Branch",
    "Card",
    "Customer",
    "Deposit",
    "Fee",
    "Loan",
    "Mandate",
    "Statement",
];

/// Compares a log in some 40 partitions, of which old ones were joined until 12 were left, with one whose partitions were not joined.
pub(crate) fn run_joined<New: Fn(Option<Partitions>) -> Box<dyn Database>>(
    bench: &Bench,
    backend: &str,
    start: impl FnOnce() -> New,
) {
    let events = events(bench);
    let fill = |new: &New| {
        let partitions = Partitions::by_events(events as u64 / 38);
        let filled = [(); 2].map(|()| Filled::of(new(Some(partitions.clone())), events, 38));
        let started = Instant::now();
        while let Some(told) = filled[0].store.join_partitions().unwrap() {
            println!("{told} after {:.1} s", started.elapsed().as_secs_f64());
        }
        filled
    };
    let compared = Compared {
        group: format!("{backend}, joined"),
        ratio: "joined/not joined",
        target: None,
    };
    compare(bench, &compared, start, fill);
}

/// How many events a log has.
pub(crate) fn events(bench: &Bench) -> usize {
    match bench.large {
        true => 5_000_000,
        false => bench.scaled(1_000_000, 120_000),
    }
}

/// What two logs are compared for.
struct Compared {
    /// What the names of the cases begin with.
    group: String,
    /// The name of the ratio.
    ratio: &'static str,
    target: Option<f64>,
}

/// Compares two logs on a server, which is started if any case is wanted.
fn compare<New>(
    bench: &Bench,
    compared: &Compared,
    start: impl FnOnce() -> New,
    fill: impl FnOnce(&New) -> [Filled; 2],
) {
    let events = events(bench);
    let appends = |threads: usize, batch: usize| {
        move |filled: &Filled| {
            let mut workers = filled.workers.borrow_mut();
            append::append(
                &mut workers[..threads],
                bench.scaled(4_000, 2_000) * batch.min(10),
                batch,
            )
        }
    };
    let loads = |kind: usize| {
        move |filled: &Filled| {
            let mut dice = Dice::new(1);
            let Streams { length, keys: streams } = &filled.streams[kind];
            rate(bench.scaled(2_000, 500), || {
                let stream = filled.store.load(&streams[dice.roll(streams.len())]).unwrap();
                assert_eq!(stream.events().len(), *length);
            })
        }
    };
    let scan = |filled: &Filled| {
        let start = Instant::now();
        let until = GlobalSequence::new(events.min(1_000_000) as u64 / 2).unwrap();
        let read = filled.store.read(EventQuery::new().until(until)).count();
        per_second(read, start.elapsed())
    };
    let pages = |of_type: fn(EventQuery) -> EventQuery| {
        move |filled: &Filled| {
            let mut dice = Dice::new(1);
            rate(bench.scaled(500, 100), || {
                let after = GlobalSequence::new(dice.roll(events / 2) as u64).unwrap();
                let query = of_type(EventQuery::new()).after(after).limit(100);
                let page = filled.store.read_page(&query, None).unwrap();
                assert_eq!(page.events.len(), 100);
            })
        }
    };
    let marks = |filled: &Filled| {
        rate(bench.scaled(5_000, 1_000), || {
            assert!(filled.store.high_water_mark().unwrap().get() > 0);
        })
    };
    let cases: [Case<'_>; 10] = [
        ("append 1 event, 1 thread", &appends(1, 1)),
        ("append 1 event, 16 threads", &appends(16, 1)),
        ("append 100 events", &appends(1, 100)),
        ("load a stream of 20", &loads(0)),
        ("load a stream of 100", &loads(1)),
        ("load a stream of 100 from all partitions", &loads(2)),
        ("scan the log", &scan),
        (
            "page of 100 of one event type",
            &pages(|query| query.event_types(["transfer.requested"]).unwrap()),
        ),
        (
            "page of 100 of one aggregate type",
            &pages(|query| query.aggregate_types(["Loan"]).unwrap()),
        ),
        ("high-water mark", &marks),
    ];
    let name_of = |case: &str| format!("{}: {case}", compared.group);
    let mut wanted = cases.iter().filter(|(case, _)| bench.wants(&name_of(case))).peekable();
    if wanted.peek().is_none() {
        return;
    }
    let new = start();
    let [first, second] = fill(&new);
    for (case, sample) in wanted {
        let mut contenders = [Contender::new(|| sample(&first)), Contender::new(|| sample(&second))];
        compete(bench.rounds(), &mut contenders);
        let [first, second] = &contenders;
        let comparison = Comparison {
            name: compared.ratio,
            ratio: first.ratio_to(second),
            target: compared.target,
        };
        report(&name_of(case), second.rate(), &[comparison]);
    }
}

/// The name of a case, and a sample of it: the number of operations per second.
type Case<'a> = (&'static str, &'a dyn Fn(&Filled) -> f64);

/// A log with events.
pub(crate) struct Filled {
    workers: RefCell<Vec<append::Worker>>,
    pub(crate) store: Arc<dyn Operations>,
    streams: [Streams; 3],
    _database: Box<dyn Database>,
}

/// Streams of the same length.
struct Streams {
    length: usize,
    keys: Vec<AggregateKey>,
}

impl Filled {
    /// A log with so many events: two fifths in streams of 20, two fifths in streams of 100, and the others in streams of 100 that grow as
    /// long as the log does. It grows in so many parts, after each of which partitions are added.
    pub(crate) fn of(database: Box<dyn Database>, events: usize, parts: usize) -> Self {
        let store = database.store();
        // Other aggregates than the workers'.
        let mut dice = Dice::new(1_000);
        let mut keys = |events: usize, length: usize| -> Vec<AggregateKey> {
            let aggregate = |_| AggregateKey::new(TYPES[dice.roll(TYPES.len())], dice.id()).unwrap();
            (0..events / length).map(aggregate).collect()
        };
        let streams = [
            (20, keys(events * 2 / 5, 20)),
            (100, keys(events * 2 / 5, 100)),
            (100, keys(events / 5, 100)),
        ];
        let streams = streams.map(|(length, keys)| Streams { length, keys });
        for part in 0..parts {
            let [short, long, spread] = &streams;
            for Streams { length, keys } in [short, long] {
                let those = keys.len() * part / parts..keys.len() * (part + 1) / parts;
                append::fill_aggregates(&mut dice, &*store, &keys[those], *length);
            }
            let length = spread.length * (part + 1) / parts - spread.length * part / parts;
            append::fill_aggregates(&mut dice, &*store, &spread.keys, length);
            store.add_partitions().unwrap();
        }
        store.vacuum().unwrap();
        Self {
            workers: RefCell::new(append::store_workers(&*database, 16)),
            store,
            streams,
            _database: database,
        }
    }
}
