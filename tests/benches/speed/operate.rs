//! Export, import and audit compared with the database's own dump, restore and check. Verification compared with its two parts: reading
//! alone, and hashing alone in one thread.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::time::Instant;

use firefly_eventstore_core::operate::{Audit, Export, Import, Operations};
use firefly_eventstore_core::{EventEnvelope, EventQuery, EventStoreExt, GlobalSequence};

use crate::append::fill;
use crate::backend::{Backend, Schema};
use crate::harness::{Bench, Comparison, Contender, Ratio, compete, per_second, report};
use crate::machine;

pub(crate) fn run(bench: &Bench, backend: &dyn Backend) {
    let cases = ["export", "import", "audit", "verify"].map(|work| format!("{}: {work}", backend.name()));
    if !cases.iter().any(|case| bench.wants(case)) {
        return;
    }
    let events = bench.scaled(200_000, 20_000);
    let database = backend.database(Schema::Ours);
    let store = database.store();
    fill(&*store, events / 20, 20);
    let name = database.name();
    let scratch = tempfile::tempdir().unwrap();
    let [lines, dump] = ["log.jsonl", "dump"].map(|file| scratch.path().join(file));
    let rounds = bench.scaled(5, 3);
    let [export, import, audit, verify] = &cases;

    let make_anew = |file: &Path, export: &dyn Fn()| {
        let _ = std::fs::remove_file(file);
        timed(events, export)
    };
    let mut contenders = [
        Contender::new(|| make_anew(&dump, &|| backend.own_dump(&name, &dump))),
        Contender::new(|| make_anew(&lines, &|| export_lines(&*store, &lines))),
    ];
    compete(rounds, &mut contenders);
    told(export, "export/own dump", &contenders);
    // A tenth of the log and the whole log must take the same memory.
    let peaks = [events / 10, events].map(|events| {
        let until = GlobalSequence::new(events as u64).unwrap();
        machine::forget_peak();
        let before = machine::memory_kib();
        let part = Export::of(EventQuery::new().until(until));
        part.json_lines(&*store, std::io::sink(), |_| {}).unwrap();
        format!(
            "{} KiB for {events} events",
            machine::peak_memory_kib().saturating_sub(before)
        )
    });
    println!("  memory an export takes at its peak: {}", peaks.join(", "));

    if bench.wants(import) {
        let mut contenders = [
            Contender::new(|| {
                let target = backend.database(Schema::Ours);
                timed(events, || backend.own_restore(&dump, &target.name()))
            }),
            Contender::new(|| {
                let database = backend.database(Schema::Ours);
                let target = database.store();
                timed(events, || {
                    let input = BufReader::new(File::open(&lines).unwrap());
                    let imported = Import::new().json_lines(&*target, input, |_| {}).unwrap();
                    assert_eq!(imported.events, events as u64);
                })
            }),
        ];
        compete(rounds, &mut contenders);
        told(import, "import/own restore", &contenders);
    }

    if bench.wants(audit) {
        let mut contenders = [
            Contender::new(|| timed(events, || backend.own_check(&name))),
            Contender::new(|| {
                timed(events, || {
                    let audited = Audit::new().run(&*store, |_| {}, |finding| panic!("{finding}"));
                    assert_eq!(audited.unwrap().events, events as u64);
                })
            }),
        ];
        compete(rounds, &mut contenders);
        told(audit, "audit/own check", &contenders);
    }

    if bench.wants(verify) {
        verification(verify, rounds, events, &*store);
    }
}

/// With two cores or more, verification should take as long as the slower of its parts.
fn verification(case: &str, rounds: usize, events: usize, store: &dyn Operations) {
    let until = GlobalSequence::new(events.min(50_000) as u64).unwrap();
    let some = EventQuery::new().until(until);
    let in_memory: Vec<EventEnvelope> = store.read(some.clone()).map(Result::unwrap).collect();
    let mut contenders = [
        Contender::new(|| {
            timed(in_memory.len(), || {
                assert_eq!(store.read(some.clone()).count(), in_memory.len());
            })
        }),
        Contender::new(|| {
            timed(in_memory.len(), || {
                in_memory.iter().for_each(|event| event.verify().unwrap());
            })
        }),
        Contender::new(|| {
            timed(in_memory.len(), || {
                let found = firefly_eventstore_core::verify(store, some.clone(), |_| {}).unwrap();
                assert_eq!(found.checked, in_memory.len() as u64);
            })
        }),
    ];
    compete(rounds, &mut contenders);
    let [read, hash, verified] = &contenders;
    let comparisons = [("verify/read", read), ("verify/hash", hash)].map(|(name, part)| Comparison {
        name,
        ratio: verified.ratio_to(part),
        target: None,
    });
    report(case, read.rate(), &comparisons);
}

fn export_lines(store: &dyn Operations, file: &Path) {
    let out = BufWriter::new(File::create(file).unwrap());
    Export::new().json_lines(store, out, |_| {}).unwrap();
}

fn timed(events: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    per_second(events, start.elapsed())
}

fn told(case: &str, name: &'static str, contenders: &[Contender<'_>; 2]) {
    let [own, store] = contenders;
    let ratio: Ratio = store.ratio_to(own);
    let comparison = Comparison {
        name,
        ratio,
        target: None,
    };
    report(case, own.rate(), &[comparison]);
}
