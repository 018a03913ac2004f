//! Opening an existing file, and the first query.

use std::hint::black_box;
use std::path::Path;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous};

use crate::backend::Raw as _;
use crate::events::{self, Dice};
use crate::harness::{Bench, Comparison, Contender, compete, rate, report};
use crate::sqlite;

pub(crate) fn run(bench: &Bench, scratch: &Path) {
    let name = "sqlite: open a file and ask";
    if !bench.wants(name) {
        return;
    }
    let directory = tempfile::tempdir_in(scratch).unwrap();
    let path = directory.path().join("store.db");
    let mut dice = Dice::new(5);
    let pool = events::pool(&mut dice);
    let correlation_id = events::correlation_id(&mut dice);
    let events: Vec<NewEvent> = pool.iter().map(|sample| sample.fresh(&correlation_id)).collect();
    let store = SqliteEventStore::open(&path).unwrap();
    store
        .append(&events::aggregate(&mut dice), ExpectedVersion::NoStream, &events)
        .unwrap();
    drop(store);

    let times = bench.scaled(300, 60);
    let mut contenders = [
        Contender::new(|| {
            rate(times, || {
                let mut connection = sqlite::open(&path, Synchronous::Full);
                black_box(connection.last_sequence());
            })
        }),
        // The store opens two connections for this, one that writes and one that reads.
        Contender::new(|| {
            rate(times, || {
                let store = SqliteEventStore::open(&path).unwrap();
                black_box(store.high_water_mark().unwrap());
            })
        }),
    ];
    compete(bench.rounds(), &mut contenders);
    let [raw, store] = &contenders;
    let library = Comparison {
        name: "store/raw",
        ratio: store.ratio_to(raw),
        target: None,
    };
    report(name, raw.rate(), &[library]);
    println!("  that is {:.2} ms for the store", 1e3 / store.rate());
}
