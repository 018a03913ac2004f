//! Opening a file that exists, and the first question to it.

use std::hint::black_box;
use std::path::Path;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous};

use crate::events::{self, Dice};
use crate::harness::{Bench, Contender, compete, rate, report};
use crate::raw;

pub(crate) fn run(bench: &Bench, scratch: &Path) {
    let name = "open a file and ask";
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
                let connection = raw::open(&path, Synchronous::Full);
                black_box(raw::last_sequence(&connection));
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
    report(name, &contenders, None);
    let [_, store] = &contenders;
    println!("  that is {:.2} ms for the store", 1e3 / store.rate());
}
