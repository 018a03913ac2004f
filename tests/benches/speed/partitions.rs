//! A log in some twelve partitions compared with one in a single table.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use firefly_eventstore_core::Partitions;
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;

use crate::append;
use crate::backend::Database;
use crate::events::{self, Dice};
use crate::harness::{Bench, Comparison, Contender, compete, per_second, rate, report};

/// Compares them on databases of a server that is started if any case is wanted.
pub(crate) fn run<New: Fn(Option<Partitions>) -> Box<dyn Database>>(
    bench: &Bench,
    backend: &str,
    start: impl FnOnce() -> New,
) {
    let events = match bench.large {
        true => 5_000_000,
        false => bench.scaled(1_000_000, 120_000),
    };
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
    let pages = |filled: &Filled| {
        let mut dice = Dice::new(1);
        rate(bench.scaled(500, 100), || {
            let after = GlobalSequence::new(dice.roll(events / 2) as u64).unwrap();
            let query = EventQuery::new().event_types(["transfer.requested"]).unwrap();
            let page = filled.store.read_page(&query.after(after).limit(100), None).unwrap();
            assert_eq!(page.events.len(), 100);
        })
    };
    let marks = |filled: &Filled| {
        rate(bench.scaled(5_000, 1_000), || {
            assert!(filled.store.high_water_mark().unwrap().get() > 0);
        })
    };
    let cases: [Case<'_>; 9] = [
        ("append 1 event, 1 thread", &appends(1, 1)),
        ("append 1 event, 16 threads", &appends(16, 1)),
        ("append 100 events", &appends(1, 100)),
        ("load a stream of 20", &loads(0)),
        ("load a stream of 100", &loads(1)),
        ("load a stream of 100 from all partitions", &loads(2)),
        ("scan the log", &scan),
        ("page of 100 of one event type", &pages),
        ("high-water mark", &marks),
    ];
    let name_of = |case: &str| format!("{backend}, partitioned: {case}");
    let mut wanted = cases.iter().filter(|(case, _)| bench.wants(&name_of(case))).peekable();
    if wanted.peek().is_none() {
        return;
    }
    let partitions = Partitions::by_events(events as u64 / 10);
    let new = start();
    let [partitioned, whole] = [Some(partitions), None].map(|partitions| Filled::of(new(partitions), events));
    for (case, sample) in wanted {
        let mut contenders = [
            Contender::new(|| sample(&partitioned)),
            Contender::new(|| sample(&whole)),
        ];
        compete(bench.rounds(), &mut contenders);
        let [partitioned, whole] = &contenders;
        let comparison = Comparison {
            name: "partitioned/one table",
            ratio: partitioned.ratio_to(whole),
            target: Some(0.9),
        };
        report(&name_of(case), whole.rate(), &[comparison]);
    }
}

/// The name of a case, and a sample of it: the number of operations per second.
type Case<'a> = (&'static str, &'a dyn Fn(&Filled) -> f64);

/// A log with events.
struct Filled {
    workers: RefCell<Vec<append::Worker>>,
    store: Arc<dyn Operations>,
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
    /// long as the log does, so that each partition has a tenth of them.
    fn of(database: Box<dyn Database>, events: usize) -> Self {
        let store = database.store();
        // Other aggregates than the workers'.
        let mut dice = Dice::new(1_000);
        let mut keys = |events: usize, length: usize| -> Vec<AggregateKey> {
            (0..events / length).map(|_| events::aggregate(&mut dice)).collect()
        };
        let streams = [
            (20, keys(events * 2 / 5, 20)),
            (100, keys(events * 2 / 5, 100)),
            (100, keys(events / 5, 100)),
        ];
        let streams = streams.map(|(length, keys)| Streams { length, keys });
        for tenth in 0..10 {
            let [short, long, spread] = &streams;
            for Streams { length, keys } in [short, long] {
                let each = keys.len() / 10;
                append::fill_aggregates(&mut dice, &*store, &keys[tenth * each..][..each], *length);
            }
            append::fill_aggregates(&mut dice, &*store, &spread.keys, spread.length / 10);
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
