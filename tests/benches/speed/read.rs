//! Reading: streams of 10 and of 100 events, a page of the log with a filter, the whole log.

use std::hint::black_box;
use std::time::Instant;

use firefly_eventstore_core::LOG_PAGE_SIZE;
use firefly_eventstore_core::prelude::*;

use crate::append::fill;
use crate::backend::{self, Backend, Database, Schema};
use crate::events::Dice;
use crate::harness::{Bench, Comparison, Contender, Ratio, compete, per_second, rate, report};
use crate::machine;

pub(crate) fn run(bench: &Bench, backend: &dyn Backend) {
    for events in [10, 100] {
        load(bench, backend, events);
    }
    let scan_case = format!("{}: scan {} events", backend.name(), bench.scaled(1_000_000, 100_000));
    let page_case = format!("{}: page of 100 of one event type", backend.name());
    if bench.wants(&scan_case) || bench.wants(&page_case) {
        let database = backend.database(Schema::Ours);
        fill(&*database.store(), bench.scaled(50_000, 5_000), 20);
        if bench.wants(&page_case) {
            page(bench, &*database, &page_case);
        }
        if bench.wants(&scan_case) {
            scan(bench, &*database, &scan_case, bench.scaled(1_000_000, 100_000));
        }
    }
}

fn load(bench: &Bench, backend: &dyn Backend, events: usize) {
    let name = format!("{}: load a stream of {events}", backend.name());
    if !bench.wants(&name) {
        return;
    }
    let database = backend.database(Schema::Ours);
    let store = database.store();
    let keys = fill(&*store, 1_000, events);
    let mut connection = database.raw();
    let times = bench.scaled(100_000, 20_000) / events;

    let (mut raw_dice, mut store_dice) = (Dice::new(1), Dice::new(1));
    let mut contenders = [
        Contender::new(|| {
            rate(times, || {
                let stream = connection.load(keys[raw_dice.roll(keys.len())].id());
                assert_eq!(black_box(stream), events);
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
    report_reading(&name, &contenders);
}

fn page(bench: &Bench, database: &dyn Database, name: &str) {
    const EVENT_TYPE: &str = "transfer.requested";
    const ROWS: i64 = 100;
    let store = database.store();
    let mut connection = database.raw();
    let most = connection.last_sequence() as usize * 9 / 10;
    let times = bench.scaled(1_000, 200);

    let (mut raw_dice, mut store_dice) = (Dice::new(1), Dice::new(1));
    let mut contenders = [
        Contender::new(|| {
            rate(times, || {
                let after = raw_dice.roll(most) as i64;
                let page = connection.page_of_type(EVENT_TYPE, after, ROWS);
                assert_eq!(black_box(page) as i64, ROWS);
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
    report_reading(name, &contenders);
}

fn scan(bench: &Bench, database: &dyn Database, name: &str, events: usize) {
    let store = database.store();
    let (mut whole, mut in_pages) = (database.raw(), database.raw());

    // A tenth of the log and the whole log must take the same memory. The first run would show a difference.
    scan_store(&store, events / 100);
    let peaks = [events / 10, events].map(|events| {
        machine::forget_peak();
        let before = machine::memory_kib();
        scan_store(&store, events);
        (events, machine::peak_memory_kib().saturating_sub(before))
    });

    let mut contenders = [
        Contender::new(|| scanned(|| whole.scan(events as i64))),
        Contender::new(|| scanned(|| scan_store(&store, events))),
        Contender::new(|| {
            scanned(|| backend::scan_in_pages(&mut *in_pages, events as i64, LOG_PAGE_SIZE.get().into()))
        }),
    ];
    compete(bench.scaled(5, 3), &mut contenders);
    let [raw, store, raw_in_pages] = &contenders;
    let in_pages = Comparison {
        name: "store/raw in pages",
        ratio: store.ratio_to(raw_in_pages),
        target: None,
    };
    report(name, raw.rate(), &[of_library(store.ratio_to(raw)), in_pages]);
    let [tenth, whole] = peaks.map(|(events, kib)| format!("{kib} KiB for {events} events"));
    let resident = machine::memory_kib() / 1024;
    println!("  memory the scan takes at its peak: {tenth}, {whole}; the process has {resident} MiB");
}

fn report_reading(name: &str, contenders: &[Contender<'_>; 2]) {
    let [raw, store] = contenders;
    report(name, raw.rate(), &[of_library(store.ratio_to(raw))]);
}

fn of_library(ratio: Ratio) -> Comparison {
    Comparison {
        name: "store/raw",
        ratio,
        target: Some(0.9),
    }
}

fn scanned(scan: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    per_second(scan(), start.elapsed())
}

fn scan_store(store: &dyn EventStore, events: usize) -> usize {
    let until = GlobalSequence::new(events as u64).unwrap();
    let events = store.read(EventQuery::new().until(until));
    events.inspect(|event| assert!(event.is_ok())).count()
}
