//! Writers that continue through disturbances, and writers that start at the same time.

#![expect(clippy::unwrap_used, reason = "a test is to fail")]

use std::iter;
use std::sync::{Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::operate::{IndexState, IndexUsage, Operations};
use firefly_eventstore_core::prelude::*;

use crate::Proxy;

/// How many threads append.
pub const WRITERS: usize = 8;

/// Records the end of the disturbance when it is dropped.
struct Ends<'a>(&'a OnceLock<Instant>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.get_or_init(Instant::now);
    }
}

/// Appends from several threads while `disturb` runs, and repeats each append until it is acknowledged. Each thread appends once more
/// afterwards. `disturb` gets a function that waits until one more append is acknowledged. Checks that each event is stored exactly once,
/// and that a follower of the log gets each event exactly once.
///
/// # Panics
///
/// If an event is missing, or is stored twice, or the store does not recover.
pub fn appended_once_each_while(store: &dyn Store, disturb: impl FnOnce(&dyn Fn())) {
    let left_alone = OnceLock::new();
    let acknowledged = Mutex::new(Vec::new());
    let followed = thread::scope(|scope| {
        let following = scope.spawn(|| {
            let is_over = |seen: usize| left_alone.get().is_some() && seen >= acknowledged.lock().unwrap().len();
            followed_until(store, is_over, &left_alone)
        });
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
                let mut expected = Version::ZERO;
                let mut is_last = false;
                while !is_last {
                    is_last = left_alone.get().is_some();
                    let event =
                        [NewEvent::from_json("money.deposited", format!(r#"{{"amount":{expected}}}"#)).unwrap()];
                    let appended = until_acknowledged(store, &account, expected, &event, &left_alone);
                    expected = appended.version();
                    acknowledged
                        .lock()
                        .unwrap()
                        .push((event[0].event_id(), appended.last_sequence()));
                }
            });
        }
        // Also after a panic, because the writers would never end.
        let ends = Ends(&left_alone);
        disturb(&|| until_another_of(&acknowledged));
        drop(ends);
        following.join().unwrap()
    });
    let log = store.read(EventQuery::new()).map(Result::unwrap);
    let mut stored: Vec<_> = log.map(|event| (event.event_id, Some(event.global_sequence))).collect();
    assert!(stored.starts_with(&followed), "who followed the log saw another one");
    let mut acknowledged = acknowledged.into_inner().unwrap();
    stored.sort_unstable();
    acknowledged.sort_unstable();
    assert_eq!(stored, acknowledged);
}

/// Waits until one more append is acknowledged.
fn until_another_of<T>(acknowledged: &Mutex<Vec<T>>) {
    let count = || acknowledged.lock().unwrap().len();
    let (before, began) = (count(), Instant::now());
    while count() == before {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing more is appended");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The events that a follower of the log gets, through outages, until `enough` says that there are enough.
fn followed_until(
    store: &dyn Store,
    is_enough: impl Fn(usize) -> bool,
    left_alone: &OnceLock<Instant>,
) -> Vec<(Uuid, Option<GlobalSequence>)> {
    let mut events = store.follow(EventQuery::new()).timeout(Duration::from_millis(100));
    let mut seen = Vec::new();
    while !is_enough(seen.len()) {
        match events.next() {
            Some(Ok(event)) => seen.push((event.event_id, Some(event.global_sequence))),
            Some(Err(error)) => assert!(error.is_retryable(), "{error:?}"),
            None => {}
        }
        let alone = left_alone.get().map(Instant::elapsed).unwrap_or_default();
        assert!(alone < Duration::from_secs(60), "the follower does not recover");
    }
    seen
}

/// Repeats an append until it is acknowledged. This must happen soon after the end of the disturbance.
fn until_acknowledged(
    store: &dyn EventStore,
    account: &AggregateKey,
    expected: Version,
    events: &[NewEvent],
    left_alone: &OnceLock<Instant>,
) -> Appended {
    loop {
        match store.append(account, expected, events) {
            Ok(appended) => return appended,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                let alone = left_alone.get().map(Instant::elapsed).unwrap_or_default();
                assert!(alone < Duration::from_secs(60), "the store does not recover: {error:?}");
                // Does not keep a starting server busy with refusing connections.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Makes an operator's calls for maintenance, one after the other, again and again while `disturb` runs, and once more afterwards.
///
/// # Panics
///
/// If one fails with an error that is not retryable, or finds damage.
pub fn operated_while(store: &dyn Operations, disturb: impl FnOnce()) {
    let left_alone = OnceLock::new();
    let is_sound = || store.check_storage().map(|findings| assert_eq!(findings, []));
    let has_indexes = || {
        let is_missing = |index: &IndexUsage| index.state == IndexState::Missing;
        store
            .index_usage()
            .map(|usage| assert!(!usage.iter().any(is_missing), "{usage:?}"))
    };
    let calls: [&(dyn Fn() -> Result<()> + Sync); 6] = [
        &|| store.add_partitions().map(drop),
        &|| store.join_partitions().map(drop),
        &|| store.update_statistics().map(drop),
        &|| store.vacuum().map(drop),
        &has_indexes,
        &is_sound,
    ];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut is_last = false;
            while !is_last {
                is_last = left_alone.get().is_some();
                for error in calls.iter().filter_map(|call| call().err()) {
                    assert!(error.is_retryable(), "{error:?}");
                }
            }
        });
        let ends = Ends(&left_alone);
        disturb();
        drop(ends);
    });
}

/// How many threads [`at_once`] starts: more than append without sharing statements.
pub const CROWD: usize = 16;

/// Runs the same work in many threads, which start at the same moment.
pub fn at_once(work: impl Fn() + Sync) {
    let start = Barrier::new(CROWD);
    thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                start.wait();
                work();
            });
        }
    });
}

/// Appends this many events to a new aggregate, each at the version before it.
///
/// # Panics
///
/// If an append fails with an error that is not retryable, or its result is wrong.
pub fn append_in_turn(store: &dyn EventStore, appends: u64) {
    let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
    for version in 0..appends {
        let expected = Version::new(version).unwrap();
        let event = [NewEvent::from_json("money.deposited", "{}").unwrap()];
        // The store itself recovers from one lost answer. After two in a row, the caller has to repeat the append.
        let appended = iter::repeat_with(|| store.append(&account, expected, &event))
            .find(|appended| appended.as_ref().err().is_none_or(|error| !error.is_retryable()))
            .unwrap()
            .unwrap();
        assert_eq!(appended.version().get(), version + 1);
    }
}

/// Appends from many threads while answers are cut off, and checks that each event is stored once.
///
/// # Panics
///
/// If an event is missing, or is stored twice.
pub fn appended_once_each_although_answers_are_cut_off(store: &dyn Store, proxy: &Proxy) {
    const EACH: usize = 50;
    let stored = || store.read(EventQuery::new()).map(Result::unwrap).count();
    thread::scope(|scope| {
        scope.spawn(|| at_once(|| append_in_turn(store, EACH as u64)));
        for tenth in 1..10 {
            while stored() < CROWD * EACH * tenth / 10 {
                thread::yield_now();
            }
            proxy.cut_next_answer();
        }
    });
    assert_eq!(stored(), CROWD * EACH);
}
