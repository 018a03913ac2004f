//! Functions that the cases share.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::consumer::{ParkedEvent, ParkedQuery, Runner};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{EventData, Limits, TenantStore};
use serde_json::json;
use time::macros::datetime;

use crate::ability::{Ability, missing};
use crate::environment::Environment;
pub(crate) use crate::environment::Handle;
use crate::quiet;

/// Names that a careless text comparison confuses: letter case, spaces, wildcards, quotes, composed and decomposed accents.
pub(crate) const LOOK_ALIKES: [&str; 17] = [
    "Account",
    "account",
    "ACCOUNT",
    "Account ",
    "Account  ",
    " Account",
    "Acc%",
    "Acc_unt",
    "Account'",
    "Account\"",
    "Account\\",
    "Account\t",
    "Accoun\u{74}\u{301}",
    "Acc\u{f3}unt",
    "Acco\u{301}unt",
    "Account😀",
    "Account😁",
];

/// Ends the case as not applicable if the environment lacks an ability. For abilities without a method, and for those that threads of the
/// case need, because a thread cannot end the case.
pub(crate) fn needs(env: &dyn Environment, ability: Ability) {
    if env.lacks().contains(&ability) {
        missing(ability);
    }
}

pub(crate) fn account() -> AggregateKey {
    aggregate("Account")
}

pub(crate) fn aggregate(aggregate_type: &str) -> AggregateKey {
    AggregateKey::new(aggregate_type, Uuid::now_v7()).unwrap()
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn scoped(store: &Handle, name: &str) -> TenantStore<Handle> {
    store.for_tenant(tenant(name))
}

pub(crate) fn event(event_type: &str) -> NewEvent {
    NewEvent::new(event_type, &json!({})).unwrap()
}

pub(crate) fn event_with(json: &str) -> NewEvent {
    NewEvent::from_json("money.deposited", json).unwrap()
}

pub(crate) fn events(count: usize) -> Vec<NewEvent> {
    (1..=count)
        .map(|number| NewEvent::new("money.deposited", &json!({ "number": number })).unwrap())
        .collect()
}

/// Appends this many events, and returns them.
pub(crate) fn given(store: &(impl EventStore + ?Sized), aggregate: &AggregateKey, count: usize) -> Vec<NewEvent> {
    let events = events(count);
    store.append(aggregate, ExpectedVersion::Any, &events).unwrap();
    events
}

/// Appends one event with a time this many seconds after a fixed time.
pub(crate) fn given_at(store: &(impl EventStore + ?Sized), aggregate: &AggregateKey, seconds: i64) -> NewEvent {
    let event = event("money.deposited").created_at(at(seconds)).unwrap();
    store
        .append(aggregate, ExpectedVersion::Any, std::slice::from_ref(&event))
        .unwrap();
    event
}

pub(crate) fn at(seconds: i64) -> OffsetDateTime {
    datetime!(2025-01-15 10:30:00 UTC) + time::Duration::seconds(seconds)
}

pub(crate) fn version(number: u32) -> Version {
    Version::from(number)
}

pub(crate) fn exact(number: u32) -> ExpectedVersion {
    ExpectedVersion::Exact(version(number))
}

pub(crate) fn snapshot(aggregate: &AggregateKey, at: u32) -> NewSnapshot {
    NewSnapshot::new(aggregate, version(at), "AccountState.v1", &json!({ "balance": at })).unwrap()
}

/// The events that a query finds, page by page.
pub(crate) fn read(store: &(impl EventStore + ?Sized), query: EventQuery) -> Vec<EventEnvelope> {
    // More than any case appends: a store that returns pages without end is found.
    const ENDLESS: usize = 50_000;
    let found: Vec<_> = store.read(query).take(ENDLESS).collect::<Result<_, _>>().unwrap();
    assert!(found.len() < ENDLESS, "the read does not end");
    found
}

pub(crate) fn log(store: &(impl EventStore + ?Sized)) -> Vec<EventEnvelope> {
    read(store, EventQuery::new())
}

pub(crate) fn ids(events: &[NewEvent]) -> Vec<Uuid> {
    events.iter().map(NewEvent::event_id).collect()
}

pub(crate) fn stored_ids<'a>(events: impl IntoIterator<Item = &'a EventEnvelope>) -> Vec<Uuid> {
    events.into_iter().map(|event| event.event_id).collect()
}

pub(crate) fn versions<'a>(events: impl IntoIterator<Item = &'a EventEnvelope>) -> Vec<u64> {
    events.into_iter().map(|event| event.version.get()).collect()
}

pub(crate) fn sequences<'a>(events: impl IntoIterator<Item = &'a EventEnvelope>) -> Vec<GlobalSequence> {
    events.into_iter().map(|event| event.global_sequence).collect()
}

pub(crate) fn assert_ascending(sequences: &[GlobalSequence]) {
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
}

/// Compares the values: the database may spell the JSON differently.
pub(crate) fn assert_same_json(stored: &EventData, appended: &EventData) {
    assert_eq!(stored.canonical().unwrap(), appended.canonical().unwrap());
}

/// Checks that the stream consists of these events, with versions from 1.
#[track_caller]
pub(crate) fn assert_stream(stream: &EventStream, appended: &[NewEvent]) {
    assert_eq!(stored_ids(stream), ids(appended));
    assert_eq!(versions(stream), (1..=appended.len() as u64).collect::<Vec<_>>());
    assert_eq!(stream.version(), appended.len() as u64);
    for (stored, appended) in stream.into_iter().zip(appended) {
        assert_eq!(stored.event_type, *appended.event_type());
        assert_eq!(stored.checksum, Some(appended.checksum()));
        assert_same_json(&stored.data, appended.data());
    }
}

#[track_caller]
pub(crate) fn assert_conflict(error: &Error, aggregate: &AggregateKey, expected: ExpectedVersion, actual: u32) {
    let conflict = ErrorKind::Conflict {
        aggregate: aggregate.clone(),
        expected,
        actual: version(actual),
    };
    assert_eq!(*error.kind(), conflict);
}

#[track_caller]
pub(crate) fn assert_duplicate(error: &Error, refused: &AggregateKey, known: &[Uuid]) {
    let ErrorKind::Duplicate {
        aggregate, event_ids, ..
    } = error.kind()
    else {
        panic!("not a duplicate: {error:?}");
    };
    assert_eq!(aggregate, refused);
    assert_eq!(event_ids, known);
}

#[track_caller]
pub(crate) fn assert_type_mismatch(error: &Error, aggregate: &AggregateKey, actual: &AggregateKey) {
    let mismatch = ErrorKind::TypeMismatch {
        aggregate: aggregate.clone(),
        actual: actual.aggregate_type().clone(),
    };
    assert_eq!(*error.kind(), mismatch);
}

#[track_caller]
pub(crate) fn assert_tenant_mismatch(error: &Error, aggregate: &AggregateKey) {
    let mismatch = ErrorKind::TenantMismatch {
        aggregate: aggregate.clone(),
    };
    assert_eq!(*error.kind(), mismatch);
}

/// Checks that the input was refused, with a message that says why.
#[track_caller]
pub(crate) fn assert_invalid(error: &Error, says: &str) {
    assert!(error.is_invalid_input(), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

#[track_caller]
pub(crate) fn assert_damaged(error: &Error, event: Uuid) {
    let ErrorKind::Integrity { event_id, .. } = error.kind() else {
        panic!("not an integrity error: {error:?}");
    };
    assert_eq!(*event_id, Some(event));
    assert!(error.to_string().contains(&event.to_string()), "{error}");
}

/// Runs `attempt` on the store, which must fail, and asserts that nothing was written anywhere.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    store: &(impl EventStore + ?Sized),
    attempt: impl FnOnce() -> Result<T, Error>,
) -> Error {
    let before = log(store);
    let error = attempt().unwrap_err();
    assert_eq!(log(store), before, "a refused append wrote something");
    error
}

/// Runs `work` in this many threads, which all start at the same time, and returns their results.
pub(crate) fn in_parallel<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let (barrier, work, quiet) = (&Barrier::new(threads), &work, quiet::is_quiet());
    thread::scope(|scope| {
        let mut started = Vec::with_capacity(threads);
        for number in 0..threads {
            started.push(scope.spawn(move || {
                quiet::inherit(quiet);
                barrier.wait();
                work(number)
            }));
        }
        let results = started.into_iter().map(thread::ScopedJoinHandle::join);
        results
            .map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// Runs `work` in another thread and waits for it.
pub(crate) fn in_another_thread<R: Send>(work: impl Fn() -> R + Sync) -> R {
    in_parallel(1, |_| work()).remove(0)
}

/// A runner of consumers of a store.
pub(crate) fn runner(store: &Handle) -> Runner<Handle> {
    Runner::new(Arc::clone(store))
}

/// The first hundred events that a consumer has parked.
pub(crate) fn parked_of(store: &Handle, consumer: &str) -> Vec<ParkedEvent> {
    let first = ParkedQuery::Of {
        consumer,
        after: GlobalSequence::ZERO,
        limit: 100,
    };
    store.parked_events(first).unwrap()
}

/// Waits until a condition is true. Fails if it never is.
#[track_caller]
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never was so");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Signals the end of some work when it is dropped, also after a panic, so that no thread waits for ever.
#[derive(Debug)]
pub(crate) struct Done<'a>(pub(crate) &'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn small_limits() -> Limits {
    let mut limits = Limits::PORTABLE;
    limits.max_data_bytes = 100;
    limits.max_metadata_bytes = 50;
    limits.max_key_bytes = 30;
    limits
}
