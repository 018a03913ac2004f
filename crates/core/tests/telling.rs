//! The lines that consumers without an observer write to the `log` crate.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use firefly_eventstore_core::consumer::{
    BoxError, Failure, OnFailure, Projection, Runner, Subscription, Transactional,
};
use firefly_eventstore_core::{MemoryEventStore, prelude::*};
use log::{Level, Log, Metadata as About, Record};

const LONG: Duration = Duration::from_secs(60);

/// Keeps what is written.
struct Lines(Mutex<Vec<(Level, String)>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &About<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Fails this many times with an outage, then stops at an event that it cannot apply.
struct Sums(AtomicU32);

impl<S: Transactional> Projection<S> for Sums {
    fn name(&self) -> &str {
        "sums.v1"
    }

    fn query(&self) -> Result<EventQuery, Error> {
        Ok(EventQuery::new())
    }

    fn apply(&self, _: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
        let down = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match (down, event.event_type.as_str()) {
            (Ok(_), _) => Err(Box::new(Error::new(ErrorKind::PoolTimeout))),
            (Err(_), "poison") => Err("it is poison".into()),
            (Err(_), _) => Ok(()),
        }
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::retry(1)
    }
}

#[test]
fn a_consumer_writes_a_line_when_it_begins_to_wait_when_it_goes_on_and_when_it_stops() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let store = MemoryEventStore::new();
    let append = |event_type: &str| {
        let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
        let event = NewEvent::new(event_type, &serde_json::json!({})).unwrap();
        let appended = store.append(&account, ExpectedVersion::NoStream, &[event]).unwrap();
        appended.last_sequence().unwrap()
    };
    let first = append("account.opened");
    let down = AtomicU32::new(5);
    let mails = Subscription::of("mails.v1", EventQuery::new(), move |_| {
        match down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(Failure::Later("the mail server is down".into())),
            Err(_) => Ok(()),
        }
    })
    .on_failure(OnFailure::retry(1).pauses(Duration::from_millis(1), Duration::from_millis(1)));
    let running = Runner::new(store.clone())
        .project(Sums(AtomicU32::new(5)))
        .subscribe(mails)
        .start()
        .unwrap();
    for name in ["sums.v1", "mails.v1"] {
        running.wait_for(name, first, LONG).unwrap();
    }
    let poison = append("poison");
    running.wait_for("mails.v1", poison, LONG).unwrap();
    while store.consumers(Some("sums.v1")).unwrap()[0].failing.is_none() {
        std::thread::yield_now();
    }
    assert_eq!(running.stop().len(), 1);
    let lines = LINES.0.lock().unwrap();
    let of = |name: &str| -> Vec<(Level, &str)> {
        let lines = lines.iter().filter(|(_, line)| line.contains(name));
        lines.map(|(level, line)| (*level, line.as_str())).collect()
    };
    let waits = "waits, and tries again";
    let sums = of("sums.v1");
    assert_eq!(sums.len(), 3, "{sums:?}");
    assert!(sums[0].0 == Level::Warn && sums[0].1.contains(waits), "{sums:?}");
    assert_eq!(sums[1], (Level::Warn, "consumer sums.v1 goes on"));
    assert!(
        sums[2].0 == Level::Error && sums[2].1.contains("it is poison"),
        "{sums:?}"
    );
    assert_eq!(
        of("mails.v1"),
        [
            (
                Level::Warn,
                "consumer mails.v1 waits, and tries again: the mail server is down"
            ),
            (Level::Warn, "consumer mails.v1 goes on"),
        ]
    );
}
