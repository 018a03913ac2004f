//! An aggregate id belongs to one type and one tenant.

use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

const ANY_EXPECTATION: [ExpectedVersion; 3] =
    [ExpectedVersion::Any, ExpectedVersion::NoStream, ExpectedVersion::Exists];

fn as_order(account: &AggregateKey) -> AggregateKey {
    AggregateKey::new("Order", account.id()).unwrap()
}

pub(crate) fn an_id_of_another_type_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let order = as_order(&account);
    for expected in ANY_EXPECTATION
        .into_iter()
        .chain([exact(0), exact(1), exact(2), exact(3)])
    {
        let error = refused(&*store, || store.append(&order, expected, &events(1)));
        assert_type_mismatch(&error, &order, &account);
    }
}

pub(crate) fn types_that_look_alike_are_different_types(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    for name in LOOK_ALIKES.into_iter().filter(|name| account.aggregate_type() != name) {
        let other = AggregateKey::new(name, account.id()).unwrap();
        let error = refused(&*store, || store.append(&other, exact(1), &events(1)));
        assert_type_mismatch(&error, &other, &account);
        assert_type_mismatch(&store.load(&other).unwrap_err(), &other, &account);
    }
}

pub(crate) fn loading_with_another_type_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let order = as_order(&account);
    assert_type_mismatch(&store.load(&order).unwrap_err(), &order, &account);
    assert_type_mismatch(&store.version(&order).unwrap_err(), &order, &account);
    let past = store.load_as_of(&order, version(1));
    assert_type_mismatch(&past.unwrap_err(), &order, &account);
    let part = store.load_range(&order, &StreamRange::all().from_version(version(9)));
    assert_type_mismatch(&part.unwrap_err(), &order, &account);
}

pub(crate) fn an_id_of_another_tenant_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    given(&acme, &account, 2);
    for expected in ANY_EXPECTATION.into_iter().chain([exact(0), exact(2)]) {
        let error = refused(&*store, || globex.append(&account, expected, &events(1)));
        assert_tenant_mismatch(&error, &account);
        let error = refused(&*store, || store.append(&account, expected, &events(1)));
        assert_tenant_mismatch(&error, &account);
    }
}

pub(crate) fn an_id_of_no_tenant_is_refused_to_every_tenant(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    for expected in ANY_EXPECTATION.into_iter().chain([exact(1)]) {
        let error = refused(&*store, || {
            scoped(&store, "acme").append(&account, expected, &events(1))
        });
        assert_tenant_mismatch(&error, &account);
    }
}

pub(crate) fn a_tenant_learns_nothing_of_the_type_of_anothers_aggregate(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&scoped(&store, "acme"), &account, 1);
    let globex = scoped(&store, "globex");
    let order = as_order(&account);
    let error = refused(&*store, || globex.append(&order, ExpectedVersion::Any, &events(1)));
    assert_tenant_mismatch(&error, &order);
    assert!(!error.to_string().contains("acme"), "{error}");
    assert_eq!(globex.load(&order).unwrap().version(), 0);
}

pub(crate) fn an_id_stays_owned_when_threads_race_for_it(env: &dyn Environment) {
    let store = env.store();
    let account = account();
    let keys = [account.clone(), as_order(&account)];
    let results = in_parallel(6, |thread| {
        store.append(&keys[thread % 2], ExpectedVersion::Any, &events(1))
    });
    let stored = log(&*store);
    let owner = stored[0].aggregate.clone();
    assert!(stored.iter().all(|event| event.aggregate == owner));
    assert_eq!(stored.len(), 3);
    assert_eq!(results.iter().flatten().count(), 3);
    for (thread, result) in results.iter().enumerate() {
        if let Err(error) = result {
            assert_type_mismatch(error, &keys[thread % 2], &owner);
        }
    }
}

pub(crate) fn snapshots_of_another_type_or_tenant_are_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let acme = scoped(&store, "acme");
    given(&acme, &account, 2);
    let order = as_order(&account);
    assert_type_mismatch(&acme.save(&snapshot(&order, 1)).unwrap_err(), &order, &account);
    for stranger in [None, Some(&tenant("globex"))] {
        let error = store.save_snapshot(stranger, &snapshot(&account, 1)).unwrap_err();
        assert_tenant_mismatch(&error, &account);
    }
    assert_eq!(acme.count_snapshots(None, &account).unwrap(), 0);
}
