//! Checks that a power cut takes back nothing that was acknowledged.

#![expect(clippy::unwrap_used, reason = "a test is to fail")]

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::prelude::*;

use crate::Disk;

/// A server on a [`Disk`] whose power can be cut. The stores on it must have short timeouts.
pub struct Power<'a> {
    /// The disk of the server.
    pub disk: &'a Disk,
    /// Cuts the power of the server and of its disk.
    pub cut: &'a dyn Fn(),
    /// Starts the server again.
    pub restart: &'a dyn Fn(),
    /// Whether the mark is returned at once while the disk does not answer. Otherwise it may wait for the disk.
    pub marks_at_once: bool,
}

impl fmt::Debug for Power<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Power")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

/// Long enough for a wrong answer.
const A_MOMENT: Duration = Duration::from_millis(500);

impl Power<'_> {
    /// Checks that a power cut takes back nothing that two stores on one empty log have returned.
    ///
    /// # Panics
    ///
    /// If an event is lost that was acknowledged, reported as already stored, or read by the follower.
    pub fn takes_nothing_back(&self, writer: &dyn EventStore, follower: &dyn EventStore) {
        self.answers_no_append_by_what_is_not_on_the_disk(writer);
        self.shows_no_follower_what_is_not_on_the_disk(writer, follower);
        self.loses_and_replaces_nothing_that_was_told(writer, follower);
    }

    fn answers_no_append_by_what_is_not_on_the_disk(&self, store: &dyn EventStore) {
        let (account, event) = (account(), [deposited()]);
        self.disk.hold();
        let (repeated, late) = thread::scope(|scope| {
            let first = scope.spawn(|| store.append(&account, ExpectedVersion::NoStream, &event));
            self.disk.until_held();
            let [repeated, late] = [event.clone(), [deposited()]].map(|events| {
                let (told, answers) = mpsc::channel();
                let account = &account;
                scope.spawn(move || {
                    let _ = told.send(store.append(account, ExpectedVersion::NoStream, &events));
                });
                answers
            });
            let early = repeated.recv_timeout(A_MOMENT);
            let early = [early, late.recv_timeout(Duration::from_millis(1))];
            (self.cut)();
            assert!(first.join().unwrap().is_err(), "the first was not held up");
            let [repeated, late] = [repeated, late].map(|answers| move || answers.recv().unwrap());
            let [first, second] = early;
            (first.unwrap_or_else(|_| repeated()), second.unwrap_or_else(|_| late()))
        });
        (self.restart)();
        let stored = store.version(&account).unwrap();
        match repeated {
            Ok(appended) => assert_eq!(stored, appended.version(), "acknowledged, and lost"),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        match late.unwrap_err().kind() {
            ErrorKind::Conflict { actual, .. } => assert_eq!(stored, *actual, "a conflict with what is lost"),
            kind => assert!(matches!(kind, ErrorKind::Unavailable { .. }), "{kind:?}"),
        }
        store.append(&account, ExpectedVersion::NoStream, &event).unwrap();
    }

    fn shows_no_follower_what_is_not_on_the_disk(&self, writer: &dyn EventStore, follower: &dyn EventStore) {
        let before = append_one(writer);
        assert_eq!(follower.high_water_mark().unwrap(), before);
        self.disk.hold();
        let seen = thread::scope(|scope| {
            let first = scope.spawn(|| writer.append(&account(), ExpectedVersion::NoStream, &[deposited()]));
            self.disk.until_held();
            let (told, answers) = mpsc::channel();
            scope.spawn(|| {
                let told = told;
                let _ = told.send(follower.high_water_mark());
            });
            let seen = match self.marks_at_once {
                true => Some(answers.recv().unwrap().unwrap()),
                false => answers.recv_timeout(A_MOMENT).ok().map(Result::unwrap),
            };
            (self.cut)();
            first.join().unwrap().unwrap_err();
            seen
        });
        (self.restart)();
        let next = append_one(writer);
        if let Some(seen) = seen {
            assert_eq!(seen, before, "{next} was seen before it was stored");
        }
        assert_eq!(follower.high_water_mark().unwrap(), next);
    }

    fn loses_and_replaces_nothing_that_was_told(&self, writer: &dyn EventStore, follower: &dyn EventStore) {
        self.disk.slow(Duration::from_millis(4));
        let ends = AtomicBool::new(false);
        let acknowledged = Mutex::new(Vec::new());
        let (told, enough) = mpsc::channel();
        let (checkpoint, seen) = thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !ends.load(Ordering::Acquire) {
                        let events = [deposited(), deposited()];
                        if writer.append(&account(), ExpectedVersion::NoStream, &events).is_ok() {
                            let ids = events.map(|event| event.event_id());
                            acknowledged.lock().unwrap().extend(ids);
                        }
                    }
                });
            }
            let (acknowledged, ends) = (&acknowledged, &ends);
            let follows = scope.spawn(move || {
                let (mut checkpoint, mut seen) = (GlobalSequence::ZERO, HashMap::new());
                while !ends.load(Ordering::Acquire) {
                    let mut events = follower.read(EventQuery::new().after(checkpoint));
                    for event in events.by_ref() {
                        let Ok(event) = event else { break };
                        assert!(event.global_sequence > checkpoint);
                        seen.insert(event.global_sequence, event.event_id);
                    }
                    checkpoint = checkpoint.max(events.checkpoint());
                    if seen.len() > 50 && acknowledged.lock().unwrap().len() > 50 {
                        let _ = told.send(()); // the test may have stopped listening
                    }
                }
                (checkpoint, seen)
            });
            enough.recv().unwrap();
            (self.cut)();
            ends.store(true, Ordering::Release);
            follows.join().unwrap()
        });
        (self.restart)();
        let stored: HashMap<_, _> = writer
            .read(EventQuery::new())
            .map(Result::unwrap)
            .map(|event| (event.global_sequence, event.event_id))
            .collect();
        let acknowledged = acknowledged.into_inner().unwrap();
        for id in acknowledged {
            assert!(stored.values().any(|stored| *stored == id), "acknowledged, and lost");
        }
        for (sequence, id) in &seen {
            assert_eq!(stored.get(sequence), Some(id), "{sequence} was followed, and is lost");
        }
        // The follower has not seen the events beyond the checkpoint.
        let passed = stored.keys().filter(|sequence| **sequence <= checkpoint);
        assert_eq!(passed.count(), seen.len());
        let next = append_one(writer);
        assert_eq!(follower.high_water_mark().unwrap(), next);
    }
}

fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

fn deposited() -> NewEvent {
    NewEvent::from_json("money.deposited", r#"{"amount":1}"#).unwrap()
}

/// Appends an event and returns its sequence.
fn append_one(store: &dyn EventStore) -> GlobalSequence {
    let appended = store.append(&account(), ExpectedVersion::NoStream, &[deposited()]);
    appended.unwrap().last_sequence().unwrap()
}
