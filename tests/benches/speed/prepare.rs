//! The work before an append: writing the JSON, checking it, hashing it.

use std::hint::black_box;
use std::path::Path;

use firefly_eventstore_core::canonical;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous};

use crate::events::{self, Dice};
use crate::harness::{Bench, Contender, compete, rate};

const CASE: &str = "prepare an event";

pub(crate) fn run(bench: &Bench, scratch: &Path) {
    if !bench.wants(CASE) {
        return;
    }
    let times = bench.scaled(40_000, 8_000);
    let payment = events::payment(&mut Dice::new(1));
    let text: String = serde_json::to_string(&payment).unwrap();

    let directory = tempfile::tempdir_in(scratch).unwrap();
    let store = SqliteEventStore::builder(directory.path().join("store.db"))
        .synchronous(Synchronous::Normal)
        .open()
        .unwrap();
    let aggregate = events::aggregate(&mut Dice::new(2));
    let pool = events::pool(&mut Dice::new(3));
    let correlation_id = events::correlation_id(&mut Dice::new(4));
    let append_batch = || {
        let batch: Vec<NewEvent> = pool.iter().map(|sample| sample.fresh(&correlation_id)).collect();
        store.append(&aggregate, ExpectedVersion::Any, &batch).unwrap();
    };

    let mut contenders = [
        Contender::new(|| {
            rate(times, || {
                black_box(serde_json::to_string(black_box(&payment)).unwrap());
            })
        }),
        Contender::new(|| {
            rate(times, || {
                black_box(canonical::checksum(black_box(&text)).unwrap());
            })
        }),
        Contender::new(|| {
            rate(times, || {
                black_box(NewEvent::new("money.deposited", black_box(&payment)).unwrap());
            })
        }),
        Contender::new(|| rate(times / events::POOL, append_batch) * events::POOL as f64),
    ];
    compete(bench.rounds(), &mut contenders);
    let [write, check, new, append] = contenders.map(|contender| 1e6 / contender.rate());
    println!("{CASE} of {} bytes, in µs:", text.len());
    println!(
        "  serde_json writes it {write:.2}; canonical form and SHA-256 {check:.2}; NewEvent::new, all of it {new:.2}"
    );
    println!(
        "  to append it, in batches of {}, NORMAL, one thread {append:.2}: NewEvent::new is {:.0} % of both",
        events::POOL,
        100.0 * new / (new + append)
    );
}
