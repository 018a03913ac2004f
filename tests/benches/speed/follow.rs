//! A follower of the log under load: the time from a commit until the event is delivered. A naive follower for
//! comparison asks the raw driver for events after the last sequence that it saw. The bench counts the events that it
//! misses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::prelude::*;

use crate::backend::{Backend, Raw, Schema};
use crate::events::{self, Dice};
use crate::harness::Bench;

const WRITERS: u64 = 4;

/// How long a follower waits after it found nothing new.
const POLL: Duration = Duration::from_millis(1);

const ROWS: u32 = 1_000;

/// The shortest and the longest time that transactions of slow writers stay open after they appended.
const SLOW: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

const SLOW_WRITERS: u64 = 8;

pub(crate) fn run(bench: &Bench, backend: &dyn Backend) {
    if backend.has_many_writers() {
        let name = format!(
            "{}: follow {SLOW_WRITERS} writers whose transactions take {} to {} ms",
            backend.name(),
            SLOW.0.as_millis(),
            SLOW.1.as_millis()
        );
        if bench.wants(&name) {
            follow(bench, backend, &name, SLOW_WRITERS, write_slowly);
        }
    }
    for pause in [Duration::ZERO, Duration::from_millis(2)] {
        let load = match pause.as_millis() {
            0 => "as fast as they can".to_owned(),
            pause => format!("one event every {pause} ms each"),
        };
        let name = format!("{}: follow {WRITERS} writers, {load}", backend.name());
        if bench.wants(&name) {
            follow(bench, backend, &name, WRITERS, |store, number, running| {
                write(store, number, pause, running)
            });
        }
    }
}

/// When something happened to each event, by its sequence.
type Times = HashMap<i64, Instant>;

fn follow(
    bench: &Bench,
    backend: &dyn Backend,
    name: &str,
    writers: u64,
    write: impl Fn(&dyn EventStore, u64, &AtomicBool) -> Times + Sync,
) {
    let database = backend.database(Schema::Ours);
    let store = database.store();
    let mut raw = database.raw();
    let (running, is_followed) = (AtomicBool::new(true), AtomicBool::new(true));
    let (committed, by_mark, naively) = thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|number| {
                let (store, running, write) = (&store, &running, &write);
                scope.spawn(move || write(&**store, number, running))
            })
            .collect();
        let by_mark = scope.spawn(|| delivered_by_mark(&*store, &is_followed));
        let naively = scope.spawn(|| delivered_naively(&mut *raw, &is_followed));
        thread::sleep(Duration::from_secs(bench.scaled(10, 2) as u64));
        running.store(false, Ordering::Relaxed);
        let committed: Times = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        // Every event is committed now, so the followers can stop at the end.
        is_followed.store(false, Ordering::Relaxed);
        (committed, by_mark.join().unwrap(), naively.join().unwrap())
    });
    println!("{name}, {} events", committed.len());
    tell("the store's mark", &committed, &by_mark);
    tell("naively", &committed, &naively);
}

fn write(store: &dyn EventStore, number: u64, pause: Duration, running: &AtomicBool) -> Times {
    let mut dice = Dice::new(number);
    let pool = events::pool(&mut dice);
    let aggregate = events::aggregate(&mut dice);
    let correlation_id = events::correlation_id(&mut dice);
    let mut committed = Times::new();
    for sample in pool.iter().cycle() {
        if !running.load(Ordering::Relaxed) {
            break;
        }
        let event = [sample.fresh(&correlation_id)];
        let appended = store.append(&aggregate, ExpectedVersion::Any, &event).unwrap();
        let now = Instant::now();
        committed.extend(
            appended
                .global_sequences()
                .iter()
                .map(|sequence| (sequence.as_i64(), now)),
        );
        thread::sleep(pause);
    }
    committed
}

/// Appends in transactions that stay open for a while, some of which are rolled back.
fn write_slowly(store: &dyn EventStore, number: u64, running: &AtomicBool) -> Times {
    let mut dice = Dice::new(number);
    let pool = events::pool(&mut dice);
    let aggregate = events::aggregate(&mut dice);
    let correlation_id = events::correlation_id(&mut dice);
    let mut committed = Times::new();
    while running.load(Ordering::Relaxed) {
        let event = [pool[dice.roll(pool.len())].fresh(&correlation_id)];
        let range = (SLOW.1 - SLOW.0).as_millis() as usize;
        let pause = SLOW.0 + Duration::from_millis(dice.roll(range) as u64);
        let is_rolled_back = dice.roll(10) == 0;
        let mut stored = Vec::new();
        let result = store.transact(&mut |tx| {
            let append = [Append::new(&aggregate, ExpectedVersion::Any, &event)];
            stored = tx.append_all(&append)?;
            thread::sleep(pause);
            match is_rolled_back {
                true => Err(Error::invalid("rolled back on purpose")),
                false => Ok(()),
            }
        });
        assert_eq!(result.is_err(), is_rolled_back, "{result:?}");
        let now = Instant::now();
        let sequences = stored.iter().flat_map(Appended::global_sequences);
        committed.extend(
            sequences
                .filter(|_| !is_rolled_back)
                .map(|sequence| (sequence.as_i64(), now)),
        );
    }
    committed
}

fn delivered_by_mark(store: &dyn EventStore, running: &AtomicBool) -> Times {
    let mut delivered = Times::new();
    let mut checkpoint = GlobalSequence::ZERO;
    loop {
        let was_running = running.load(Ordering::Relaxed);
        let query = EventQuery::new().after(checkpoint).limit(ROWS.into());
        let page = store.read_page(&query, None).unwrap();
        let now = Instant::now();
        delivered.extend(page.events.iter().map(|event| (event.global_sequence.as_i64(), now)));
        match page.events.last() {
            Some(last) => checkpoint = last.global_sequence,
            None if was_running => thread::sleep(POLL),
            None => return delivered,
        }
    }
}

fn delivered_naively(raw: &mut dyn Raw, running: &AtomicBool) -> Times {
    let mut delivered = Times::new();
    let mut checkpoint = 0;
    loop {
        let was_running = running.load(Ordering::Relaxed);
        let page = raw.page(checkpoint, i64::MAX, ROWS.into());
        let now = Instant::now();
        delivered.extend(page.iter().map(|(sequence, _)| (*sequence, now)));
        match page.last() {
            Some((last, _)) => checkpoint = *last,
            None if was_running => thread::sleep(POLL),
            None => return delivered,
        }
    }
}

fn tell(how: &str, committed: &Times, delivered: &Times) {
    let mut delays: Vec<Duration> = delivered
        .iter()
        .map(|(sequence, delivered)| delivered.saturating_duration_since(committed[sequence]))
        .collect();
    delays.sort_unstable();
    let at = |share: f64| {
        let index = ((delays.len() as f64 * share) as usize).min(delays.len() - 1);
        delays[index].as_secs_f64() * 1e3
    };
    println!(
        "  {how}: {:.2} ms in the middle, {:.2} ms at the 99th percentile; {} missed",
        at(0.5),
        at(0.99),
        committed.len() - delivered.len()
    );
}
