//! Reading: streams of 10 and of 100 events, a page of the log with a filter, the whole log.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use firefly_eventstore_core::DEFAULT_PAGE_SIZE;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous};

use crate::events::{self, Dice};
use crate::harness::{Bench, Contender, compete, per_second, rate, report};
use crate::machine;
use crate::raw;

pub(crate) fn run(bench: &Bench, scratch: &Path) {
    for events in [10, 100] {
        load(bench, scratch, events);
    }
    let scan_case = format!("scan {} events", bench.scaled(1_000_000, 100_000));
    let page_case = "page of 100 of one event type";
    if bench.wants(&scan_case) || bench.wants(page_case) {
        let directory = tempfile::tempdir_in(scratch).unwrap();
        let path = directory.path().join("log.db");
        fill(&path, bench.scaled(50_000, 5_000), 20);
        if bench.wants(page_case) {
            page(bench, &path, page_case);
        }
        if bench.wants(&scan_case) {
            scan(bench, &path, &scan_case, bench.scaled(1_000_000, 100_000));
        }
    }
}

/// Makes a file in which the events of many aggregates lie mixed, as they do when many are in use at once.
fn fill(path: &Path, aggregates: usize, versions: usize) -> Vec<AggregateKey> {
    const MIXED: usize = 1_000;
    let store = SqliteEventStore::builder(path)
        .synchronous(Synchronous::Normal)
        .open()
        .unwrap();
    let mut dice = Dice::new(7);
    let pool = events::pool(&mut dice);
    let keys: Vec<AggregateKey> = (0..aggregates).map(|_| events::aggregate(&mut dice)).collect();
    for group in keys.chunks(MIXED) {
        for _ in 0..versions {
            store
                .transaction(|tx| -> Result<(), Error> {
                    for key in group {
                        let correlation_id = events::correlation_id(&mut dice);
                        let event = pool[dice.roll(pool.len())].fresh(&correlation_id);
                        tx.append(key, ExpectedVersion::Any, &[event])?;
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
    keys
}

fn load(bench: &Bench, scratch: &Path, events: usize) {
    let name = format!("load a stream of {events}");
    if !bench.wants(&name) {
        return;
    }
    let directory = tempfile::tempdir_in(scratch).unwrap();
    let path = directory.path().join("streams.db");
    let keys = fill(&path, 1_000, events);
    let store = SqliteEventStore::open(&path).unwrap();
    let connection = raw::open(&path, Synchronous::Full);
    let times = bench.scaled(100_000, 20_000) / events;

    let (mut raw_dice, mut store_dice) = (Dice::new(1), Dice::new(1));
    let mut contenders = [
        Contender::new(|| {
            rate(times, || {
                let stream = raw::load(&connection, keys[raw_dice.roll(keys.len())].id());
                assert_eq!(black_box(stream).len(), events);
            })
        }),
        Contender::new(|| {
            rate(times, || {
                let stream = store.load(&keys[store_dice.roll(keys.len())]).unwrap();
                assert_eq!(black_box(stream).events().len(), events);
            })
        }),
    ];
    compete(bench.rounds(), &mut contenders);
    report(&name, &contenders, Some(0.9));
}

fn page(bench: &Bench, path: &Path, name: &str) {
    const EVENT_TYPE: &str = "transfer.requested";
    const ROWS: i64 = 100;
    let store = SqliteEventStore::open(path).unwrap();
    let connection = raw::open(path, Synchronous::Full);
    let most = raw::last_sequence(&connection).unwrap() as usize * 9 / 10;
    let times = bench.scaled(1_000, 200);

    let (mut raw_dice, mut store_dice) = (Dice::new(1), Dice::new(1));
    let mut contenders = [
        Contender::new(|| {
            rate(times, || {
                let after = raw_dice.roll(most) as i64;
                let page = raw::page_of_type(&connection, EVENT_TYPE, after, ROWS);
                assert_eq!(black_box(page).len() as i64, ROWS);
            })
        }),
        Contender::new(|| {
            rate(times, || {
                let after = GlobalSequence::new(store_dice.roll(most) as u64).unwrap();
                let query = EventQuery::new()
                    .event_types([EVENT_TYPE])
                    .unwrap()
                    .after(after)
                    .limit(ROWS as u64);
                let page = store.read_page(&query, None).unwrap();
                assert_eq!(black_box(page).events.len() as i64, ROWS);
            })
        }),
    ];
    compete(bench.rounds(), &mut contenders);
    report(name, &contenders, Some(0.9));
}

fn scan(bench: &Bench, path: &Path, name: &str, events: usize) {
    let store = SqliteEventStore::open(path).unwrap();
    let connection = raw::open(path, Synchronous::Full);

    // A tenth and the whole must take the same memory, and the first time is the one that would show.
    scan_store(&store, events / 100);
    let peaks = [events / 10, events].map(|events| {
        machine::forget_peak();
        let before = machine::memory_kib();
        scan_store(&store, events);
        (events, machine::peak_memory_kib().saturating_sub(before))
    });

    let mut contenders = [
        Contender::new(|| scanned(|| raw::scan(&connection, events as i64))),
        Contender::new(|| scanned(|| scan_store(&store, events))),
        Contender::new(|| scanned(|| raw::scan_in_pages(&connection, events as i64, DEFAULT_PAGE_SIZE.get().into()))),
    ];
    compete(bench.scaled(5, 3), &mut contenders);
    let [raw, store, raw_in_pages] = contenders;
    let mut contenders = [raw, store];
    report(name, &contenders, Some(0.9));
    contenders[0] = raw_in_pages;
    report("  against the raw driver in pages", &contenders, None);
    let [tenth, whole] = peaks.map(|(events, kib)| format!("{kib} KiB for {events} events"));
    let resident = machine::memory_kib() / 1024;
    println!("  memory the scan takes at its peak: {tenth}, {whole}; the process has {resident} MiB");
}

fn scanned(scan: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    per_second(scan(), start.elapsed())
}

fn scan_store(store: &SqliteEventStore, events: usize) -> usize {
    let until = GlobalSequence::new(events as u64).unwrap();
    let events = store.read(EventQuery::new().until(until));
    events.inspect(|event| assert!(event.is_ok())).count()
}
