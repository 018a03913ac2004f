//! Errors say what happened, to which aggregate, and what to do.

use std::error::Error as _;

use firefly_eventstore_core::prelude::*;

use crate::environment::{Environment, FAULTY};
use crate::support::*;

pub(crate) fn a_conflict_names_the_operation_the_aggregate_and_both_versions(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 6);
    let error = store.append(&account, exact(4), &events(1)).unwrap_err();
    assert!(error.is_conflict());
    assert!(!error.is_retryable() && !error.is_duplicate() && !error.is_invalid_input());
    let expected = format!("append to {account}: expected version 4, is 6");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

pub(crate) fn a_conflict_of_several_names_the_one(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    given(&*store, &bob, 2);
    let (first, second) = (events(1), events(1));
    let appends = [
        Append::new(&ada, ExpectedVersion::NoStream, &first),
        Append::new(&bob, ExpectedVersion::NoStream, &second),
    ];
    let error = store.append_all(&appends).unwrap_err();
    assert_conflict(&error, &bob, ExpectedVersion::NoStream, 2);
    assert!(error.to_string().starts_with("append to "), "{error}");
}

pub(crate) fn a_duplicate_lists_the_ids(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let known = given(&*store, &account, 2);
    let mixed = [&known[..], &events(1)].concat();
    let error = store.append(&account, ExpectedVersion::Any, &mixed).unwrap_err();
    assert!(error.is_duplicate());
    assert!(!error.is_conflict() && !error.is_retryable());
    for id in ids(&known) {
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
    assert!(
        error.to_string().starts_with(&format!("append to {account}: ")),
        "{error}"
    );
}

pub(crate) fn a_type_mismatch_names_both_types(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    let order = AggregateKey::new("Order", account.id()).unwrap();
    let errors = [
        (store.append(&order, exact(1), &events(1)).unwrap_err(), "append to"),
        (store.load(&order).unwrap_err(), "load"),
    ];
    for (error, operation) in errors {
        assert!(!error.is_conflict() && !error.is_retryable());
        let expected = format!("{operation} {order}: ");
        assert!(
            error.to_string().starts_with(&expected),
            "the error begins with {expected:?}: {error}"
        );
        assert!(error.to_string().contains("of type Account, not Order"), "{error}");
    }
}

pub(crate) fn a_refused_snapshot_names_the_aggregate_and_the_version(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let error = store.save(&snapshot(&account, 3)).unwrap_err();
    assert!(error.is_invalid_input());
    assert!(
        error.to_string().contains(&format!("{account} at version 3")),
        "{error}"
    );
}

pub(crate) fn a_failure_of_the_database_names_the_operation_and_keeps_its_source(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    env.break_at(1);
    let error = store
        .append(&account, ExpectedVersion::Any, &[event(FAULTY)])
        .unwrap_err();
    env.repair();
    assert!(
        error.to_string().starts_with(&format!("append to {account}: ")),
        "{error}"
    );
    let Some(source) = error.source() else {
        assert!(!env.has_driver(), "the driver's error is not the source of {error:?}");
        return;
    };
    assert!(
        !error.to_string().contains(&source.to_string()),
        "{error} repeats its source"
    );
}

pub(crate) fn input_that_is_refused_is_not_retryable(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let error = store
        .append(&account, ExpectedVersion::Any, &[event_with(r#""\u0000""#)])
        .unwrap_err();
    assert!(error.is_invalid_input());
    assert!(!error.is_retryable() && !error.is_conflict());
    assert!(
        error.to_string().starts_with(&format!("append to {account}: ")),
        "{error}"
    );
}
