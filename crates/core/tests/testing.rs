//! The parts of a test harness: the scenario, and a store that fails on request.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::testing::Scenario;
use firefly_eventstore_core::{FaultPoint, MemoryEventStore, Result};
use serde_json::json;

fn event(event_type: &str, amount: i64) -> NewEvent {
    NewEvent::new(event_type, &json!({ "amount": amount })).unwrap()
}

fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

fn deposit(store: &dyn EventStore, account: &AggregateKey, amount: i64) -> Result<Version> {
    let stream = store.load(account)?;
    Ok(store
        .append(account, stream.version(), &[event("money.deposited", amount)])?
        .version())
}

fn scenario() -> Scenario {
    Scenario::of("Account")
        .unwrap()
        .given([event("account.opened", 0)])
        .unwrap()
}

#[test]
fn a_scenario_returns_what_the_command_returned() {
    let version = scenario()
        .when(|store, account| deposit(store, account, 5))
        .then_events([("money.deposited", json!({ "amount": 5.0 }))]);
    assert_eq!(version, 2);
    let nothing = scenario().when(|_, _| Ok::<_, Error>("nothing to do")).then_nothing();
    assert_eq!(nothing, "nothing to do");
}

#[test]
fn a_scenario_fails_when_something_else_followed() {
    let fails = |check: &dyn Fn()| catch_unwind(AssertUnwindSafe(check)).is_err();
    let deposited = || scenario().when(|store, account| deposit(store, account, 5));
    let refused = || scenario().when(|_, _| Err::<(), _>("refused"));

    assert!(fails(&|| _ = deposited().then_nothing()));
    assert!(fails(
        &|| _ = deposited().then_events([("money.deposited", json!({ "amount": 6 }))])
    ));
    assert!(fails(
        &|| _ = deposited().then_events([("money.withdrawn", json!({ "amount": 5 }))])
    ));
    assert!(fails(&|| _ = deposited().then_fails(|_| true)));
    assert!(fails(&|| refused().then_nothing()));
    assert!(fails(&|| _ = refused().then_fails(|error| *error == "locked")));
    assert!(fails(&|| {
        let half_done = scenario().when(|store, account| {
            deposit(store, account, 5).unwrap();
            Err::<(), _>("too late")
        });
        half_done.then_fails(|_| true);
    }));
}

#[test]
fn a_command_meets_the_fault_that_was_ordered() {
    let scenario = scenario();
    scenario.store().fail_at(FaultPoint::BeforeAppend);
    let error = scenario
        .when(|store, account| deposit(store, account, 5))
        .then_fails(Error::is_retryable);
    assert!(error.to_string().contains("BeforeAppend"), "{error}");
}

#[test]
fn each_fault_happens_once_where_it_was_ordered() {
    let store = MemoryEventStore::new();
    let account = account();
    let events = [event("a", 1), event("b", 2), event("c", 3)];
    for (point, stored) in [
        (FaultPoint::BeforeAppend, 0),
        (FaultPoint::AtEvent(1), 0),
        (FaultPoint::AtEvent(3), 0),
        (FaultPoint::AfterCommit, 3),
    ] {
        store.fail_at(point);
        let error = store.append(&account, ExpectedVersion::NoStream, &events).unwrap_err();
        assert!(error.is_retryable(), "{point:?}: {error}");
        assert_eq!(store.version(&account).unwrap(), stored, "{point:?}");
    }
    let again = store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    assert!(again.is_already_stored());

    store.fail_at(FaultPoint::Read);
    assert!(store.load(&account).unwrap_err().is_retryable());
    assert_eq!(store.load(&account).unwrap().len(), 3);
    store.fail_at(FaultPoint::Read);
    let results: Vec<_> = store.read(EventQuery::new()).collect();
    assert!(
        matches!(&results[..], [Err(error)] if error.is_retryable()),
        "{results:?}"
    );

    let snapshot = NewSnapshot::new(&account, Version::from(3), "State", &json!({})).unwrap();
    store.fail_at(FaultPoint::SaveSnapshot);
    assert!(store.save(&snapshot).unwrap_err().is_retryable());
    store.save(&snapshot).unwrap();
}
