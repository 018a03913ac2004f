//! Appending is safe to retry.

use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

pub(crate) fn repeating_an_append_returns_the_original_result(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let events = events(3);
    let original = store.append(&account, exact(2), &events).unwrap();
    let before = log(&*store);
    let repeated = store.append(&account, exact(2), &events).unwrap();
    assert!(!original.is_already_stored());
    assert!(repeated.is_already_stored());
    assert_eq!(repeated, original.already_stored());
    assert_eq!(repeated.version(), 5);
    assert_eq!(repeated.first_version(), Some(version(3)));
    assert_eq!(log(&*store), before);
}

pub(crate) fn repeating_succeeds_when_the_expected_version_is_stale(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = events(2);
    let original = store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    given(&*store, &account, 4);
    let original = original.already_stored();
    for expected in [
        ExpectedVersion::NoStream,
        ExpectedVersion::Any,
        ExpectedVersion::Exists,
        exact(0),
        exact(2),
        exact(6),
    ] {
        let repeated = store.append(&account, expected, &events).unwrap();
        assert!(repeated.is_already_stored());
        assert_eq!(repeated, original);
    }
    assert_eq!(store.version(&account).unwrap(), 6);
}

pub(crate) fn repeating_returns_the_original_result_after_reopening(env: &dyn Environment) {
    let account = account();
    let events = events(3);
    let original = env
        .store()
        .append(&account, ExpectedVersion::NoStream, &events)
        .unwrap();
    let reopened = env.reopen();
    let repeated = reopened.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    assert!(repeated.is_already_stored());
    assert_eq!(repeated, original.already_stored());
    assert_stream(&reopened.load(&account).unwrap(), &events);
}

pub(crate) fn repeating_more_than_a_thousand_events_returns_them_all(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = events(1_234);
    let original = store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    let repeated = store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    assert_eq!(repeated.global_sequences().len(), 1_234);
    assert_eq!(repeated, original.already_stored());
}

pub(crate) fn repeating_finds_events_that_others_were_stored_between(env: &dyn Environment) {
    let (store, ada) = (env.store(), account());
    let events = events(2);
    let first = store.append(&ada, ExpectedVersion::Any, &events[..1]).unwrap();
    given(&*store, &account(), 3);
    let second = store.append(&ada, ExpectedVersion::Any, &events[1..]).unwrap();
    let repeated = store.append(&ada, ExpectedVersion::NoStream, &events).unwrap();
    assert!(repeated.is_already_stored());
    assert_eq!(
        repeated.global_sequences(),
        [first.global_sequences(), second.global_sequences()].concat()
    );
    assert_eq!(repeated.version(), 2);
}

pub(crate) fn the_same_ids_in_another_order_are_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let mut events = given(&*store, &account, 3);
    events.swap(1, 2);
    for expected in [ExpectedVersion::Any, exact(3), exact(0)] {
        let error = refused(&*store, || store.append(&account, expected, &events));
        assert_duplicate(&error, &account, &ids(&events));
    }
    events.reverse();
    let error = refused(&*store, || store.append(&account, ExpectedVersion::Any, &events));
    assert_duplicate(&error, &account, &ids(&events));
}

pub(crate) fn a_gap_in_the_repeated_ids_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let mut events = given(&*store, &account, 3);
    events.remove(1);
    let error = refused(&*store, || store.append(&account, exact(3), &events));
    assert_duplicate(&error, &account, &ids(&events));
}

pub(crate) fn partly_known_ids_are_refused_with_the_list(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let known = given(&*store, &account, 2);
    let new = events(2);
    let mixtures = [
        [known.clone(), new.clone()].concat(),
        [new.clone(), known.clone()].concat(),
        vec![known[0].clone(), new[0].clone(), known[1].clone()],
    ];
    for mixture in mixtures {
        for expected in [ExpectedVersion::Any, ExpectedVersion::NoStream, exact(2)] {
            let error = refused(&*store, || store.append(&account, expected, &mixture));
            assert_duplicate(&error, &account, &ids(&known));
        }
    }
    let one = [new[1].clone(), known[1].clone()];
    let error = refused(&*store, || store.append(&account, exact(2), &one));
    assert_duplicate(&error, &account, &[known[1].event_id()]);
}

pub(crate) fn the_same_id_in_another_aggregate_is_refused(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let events = given(&*store, &ada, 2);
    for expected in [ExpectedVersion::Any, ExpectedVersion::NoStream] {
        let error = refused(&*store, || store.append(&bob, expected, &events));
        assert_duplicate(&error, &bob, &ids(&events));
    }
    assert!(!store.load(&bob).unwrap().exists());
}

pub(crate) fn the_same_id_with_other_data_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let stored = given(&*store, &account, 1).remove(0);
    let other_data = event_with(r#"{"number":2}"#).with_id(stored.event_id());
    let other_type = NewEvent::from_json("money.withdrawn", stored.data().as_str())
        .unwrap()
        .with_id(stored.event_id());
    for changed in [other_data, other_type] {
        let error = refused(&*store, || store.append(&account, ExpectedVersion::Any, &[changed]));
        assert_duplicate(&error, &account, &[stored.event_id()]);
    }
    let respelled = event_with(r#" { "number" : 1.0 } "#).with_id(stored.event_id());
    assert!(
        store
            .append(&account, ExpectedVersion::Any, &[respelled])
            .unwrap()
            .is_already_stored()
    );
}

pub(crate) fn the_same_id_with_other_context_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let bare = event_with(r#"{"number":1}"#);
    let full = event_with(r#"{"number":2}"#)
        .metadata_json(r#"{"b": [1, {"y": 1.50, "x": "\u00e9"}], "a": null}"#)
        .and_then(|event| event.created_at(at(1)))
        .and_then(|event| event.created_by("clerk-7"))
        .and_then(|event| event.correlation_id("transfer-19"))
        .and_then(|event| event.causation_id("order-3"))
        .unwrap();
    for event in [&bare, &full] {
        store
            .append(&account, ExpectedVersion::Any, std::slice::from_ref(event))
            .unwrap();
    }
    let stored = store.load(&account).unwrap();
    let set_by_the_store = stored.events()[0].created_at;

    let changed = |event: &NewEvent| {
        [
            (
                "metadata",
                event
                    .clone()
                    .metadata_json(r#"{"b": [1, {"y": 1.51, "x": "é"}], "a": null}"#),
            ),
            ("metadata", event.clone().metadata_json("{}")),
            ("time", event.clone().created_at(at(1) + time::Duration::MICROSECOND)),
            ("creator", event.clone().created_by("Clerk-7")),
            ("correlation id", event.clone().correlation_id("transfer-19 ")),
            ("causation id", event.clone().causation_id("order-4")),
        ]
    };
    let without = event_with(full.data().as_str()).with_id(full.event_id());
    let other = changed(&bare)
        .into_iter()
        .chain(changed(&full))
        .map(|(what, event)| (what, event.unwrap()));
    for (what, event) in other.chain([("metadata", without)]) {
        let error = refused(&*store, || {
            store.append(&account, ExpectedVersion::Any, std::slice::from_ref(&event))
        });
        assert_duplicate(&error, &account, &[event.event_id()]);
        assert!(error.to_string().contains(what), "{error}");
    }

    // Respelled JSON counts as equal, and a time that the caller did not set is not compared.
    let respelled = full
        .clone()
        .metadata_json(r#"{"a":null,"b":[1.0,{"x":"é","y":15e-1}]}"#)
        .and_then(|event| event.created_at(at(1).to_offset(time::macros::offset!(+5:30))))
        .unwrap();
    let as_stored = bare.clone().created_at(set_by_the_store).unwrap();
    for events in [
        [bare.clone(), full.clone()],
        [bare, respelled.clone()],
        [as_stored, respelled],
    ] {
        let repeated = store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
        assert!(repeated.is_already_stored());
        assert_eq!(repeated.version(), 2);
    }
}

pub(crate) fn repeating_an_append_to_several_aggregates_returns_all_results(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let (first, second) = (events(2), events(3));
    let both = [
        Append::new(&ada, ExpectedVersion::NoStream, &first),
        Append::new(&bob, ExpectedVersion::NoStream, &second),
    ];
    let original = store.append_all(&both).unwrap();
    given(&*store, &ada, 1);
    let repeated = store.append_all(&both).unwrap();
    let marked: Vec<_> = original.into_iter().map(Appended::already_stored).collect();
    assert_eq!(repeated, marked);
    assert_eq!(log(&*store).len(), 6);
}

pub(crate) fn one_known_and_one_new_member_are_refused(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let known = given(&*store, &ada, 2);
    let new = events(1);
    let error = refused(&*store, || {
        store.append_all(&[
            Append::new(&ada, ExpectedVersion::Any, &known),
            Append::new(&bob, ExpectedVersion::Any, &new),
        ])
    });
    assert_duplicate(&error, &bob, &ids(&known));
    assert!(!store.load(&bob).unwrap().exists());
}

pub(crate) fn a_refused_append_does_not_use_up_its_ids(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let events = events(2);
    store.append(&account, exact(1), &events).unwrap_err();
    let appended = store.append(&account, exact(2), &events).unwrap();
    assert!(!appended.is_already_stored());
    assert_eq!(appended.version(), 4);
}

pub(crate) fn threads_that_repeat_one_append_store_it_once(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    for round in 0..5 {
        let events = events(3);
        let results = in_parallel(8, |_| store.append(&account, exact(round * 3), &events).unwrap());
        let firsts = results.iter().filter(|appended| !appended.is_already_stored()).count();
        assert_eq!(firsts, 1);
        let one = results[0].clone().already_stored();
        assert!(results.iter().all(|appended| appended.clone().already_stored() == one));
        assert_eq!(one.version(), u64::from(round * 3 + 3));
    }
    assert_eq!(log(&*store).len(), 15);
}
