//! Following a log that cannot be read for a while.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use firefly_eventstore_core::FaultPoint;
use firefly_eventstore_core::prelude::*;

fn with_two_events() -> MemoryEventStore {
    let store = MemoryEventStore::new();
    let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
    let deposited = [1, 2].map(|amount| NewEvent::new("money.deposited", &amount).unwrap());
    store.append(&account, 0, &deposited).unwrap();
    store
}

#[test]
fn a_read_that_fails_is_repeated() {
    let store = with_two_events();
    let mut events = store.follow(EventQuery::new());
    store.fail_at(FaultPoint::Read);
    assert_eq!(events.next().unwrap().unwrap().global_sequence, 1);
    assert_eq!(events.next().unwrap().unwrap().global_sequence, 2);
}

#[test]
fn an_outage_beyond_the_timeout_is_told_and_the_next_call_goes_on() {
    let store = with_two_events();
    let mut events = store.follow(EventQuery::new()).timeout(Duration::ZERO);
    store.fail_at(FaultPoint::Read);
    assert!(events.next().unwrap().unwrap_err().is_retryable());
    assert_eq!(events.checkpoint(), 0);
    assert_eq!(
        events
            .by_ref()
            .map(|event| event.unwrap().global_sequence.get())
            .sum::<u64>(),
        3
    );
    store.fail_at(FaultPoint::Read);
    assert!(events.next().unwrap().unwrap_err().is_retryable());
    assert!(events.next().is_none());
    assert_eq!(events.checkpoint(), 2);
}
