//! All or nothing, at the version that was expected.

use firefly_eventstore_core::prelude::*;
use serde_json::json;

use crate::environment::{Damage, Environment, FAULTY};
use crate::support::*;

pub(crate) fn assigns_contiguous_versions_from_one(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = events(5);
    let first = store.append(&account, ExpectedVersion::NoStream, &events[..3]).unwrap();
    assert_eq!(first.version(), 3);
    assert_eq!(first.first_version(), Some(version(1)));
    let second = store.append(&account, exact(3), &events[3..]).unwrap();
    assert_eq!(second.version(), 5);
    assert_eq!(second.first_version(), Some(version(4)));
    assert_eq!(*second.aggregate(), account);
    assert!(!second.is_already_stored());
    assert_stream(&store.load(&account).unwrap(), &events);
}

pub(crate) fn returns_the_sequence_of_each_event(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &aggregate("Order"), 2);
    let appended = store.append(&account, ExpectedVersion::NoStream, &events(3)).unwrap();
    assert_eq!(appended.global_sequences().len(), 3);
    assert_ascending(appended.global_sequences());
    assert_eq!(appended.last_sequence(), appended.global_sequences().last().copied());
    let stream = store.load(&account).unwrap();
    assert_eq!(sequences(&stream), appended.global_sequences());
}

pub(crate) fn keeps_every_field_of_an_event(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let event = NewEvent::from_json("money.deposited", r#"{"amount":250,"currency":"EUR"}"#)
        .unwrap()
        .metadata_json(r#"{"branch":"Oslo"}"#)
        .unwrap()
        .created_by("clerk-7")
        .unwrap()
        .correlation_id("transfer-19")
        .unwrap()
        .causation_id("command-3")
        .unwrap()
        .created_at(at(7))
        .unwrap();
    let appended = store
        .append(&account, ExpectedVersion::NoStream, std::slice::from_ref(&event))
        .unwrap();

    let stream = store.load(&account).unwrap();
    let [stored] = stream.events() else {
        panic!("{stream:?}");
    };
    assert_eq!(stored.event_id, event.event_id());
    assert_eq!(stored.aggregate, account);
    assert_eq!(stored.version, version(1));
    assert_eq!(Some(stored.global_sequence), appended.last_sequence());
    assert_eq!(stored.event_type, "money.deposited");
    assert_same_json(&stored.data, event.data());
    let metadata = stored.metadata.as_ref().unwrap();
    assert_eq!(metadata.canonical().unwrap(), r#"{"branch":"Oslo"}"#);
    assert_eq!(stored.created_at, at(7));
    assert_eq!(stored.updated_at, None);
    assert_eq!(stored.created_by.as_ref().unwrap(), &"clerk-7");
    assert_eq!(stored.tenant, None);
    assert_eq!(stored.correlation_id.as_ref().unwrap(), &"transfer-19");
    assert_eq!(stored.causation_id.as_ref().unwrap(), &"command-3");
    assert_eq!(stored.size_bytes, u32::try_from(stored.data.as_str().len()).ok());
    assert_eq!(stored.checksum, Some(event.checksum()));
    assert_eq!(log(&*store), stream.events());
}

pub(crate) fn keeps_absent_fields_absent(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    let stored = store.load(&account).unwrap().into_events().remove(0);
    assert_eq!(stored.metadata, None);
    assert_eq!(stored.created_by, None);
    assert_eq!(stored.correlation_id, None);
    assert_eq!(stored.causation_id, None);
    assert_eq!(stored.tenant, None);
}

pub(crate) fn counts_versions_per_aggregate(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    for _ in 0..3 {
        given(&*store, &ada, 1);
        given(&*store, &bob, 2);
    }
    assert_eq!(versions(&store.load(&ada).unwrap()), [1, 2, 3]);
    assert_eq!(versions(&store.load(&bob).unwrap()), [1, 2, 3, 4, 5, 6]);
}

pub(crate) fn rejects_a_stale_expected_version(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 3);
    for stale in [1, 2] {
        let error = refused(&*store, || store.append(&account, exact(stale), &events(1)));
        assert_conflict(&error, &account, exact(stale), 3);
    }
}

pub(crate) fn rejects_a_higher_expected_version(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 3);
    for higher in [4, 5, 30, 1_000_000] {
        let error = refused(&*store, || store.append(&account, exact(higher), &events(1)));
        assert_conflict(&error, &account, exact(higher), 3);
    }
    let greatest = ExpectedVersion::Exact(Version::MAX);
    let error = refused(&*store, || store.append(&account, greatest, &events(1)));
    assert_conflict(&error, &account, greatest, 3);
}

pub(crate) fn rejects_an_exact_version_of_a_missing_aggregate(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &aggregate("Account"), 2);
    for higher in [1, 2] {
        let error = refused(&*store, || store.append(&account, exact(higher), &events(1)));
        assert_conflict(&error, &account, exact(higher), 0);
    }
}

pub(crate) fn no_stream_rejects_an_existing_aggregate(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let error = refused(&*store, || {
        store.append(&account, ExpectedVersion::NoStream, &events(1))
    });
    assert_conflict(&error, &account, ExpectedVersion::NoStream, 2);
}

pub(crate) fn exact_zero_means_no_stream(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    assert_eq!(store.append(&account, exact(0), &events(2)).unwrap().version(), 2);
    let error = refused(&*store, || store.append(&account, exact(0), &events(1)));
    assert_conflict(&error, &account, exact(0), 2);
}

pub(crate) fn exists_rejects_a_missing_aggregate(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let error = refused(&*store, || store.append(&account, ExpectedVersion::Exists, &events(1)));
    assert_conflict(&error, &account, ExpectedVersion::Exists, 0);
    assert!(!store.load(&account).unwrap().exists());
}

pub(crate) fn exists_accepts_an_existing_aggregate_at_any_version(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    for expected in 2..=4 {
        let appended = store.append(&account, ExpectedVersion::Exists, &events(1)).unwrap();
        assert_eq!(appended.version(), expected);
    }
}

pub(crate) fn any_is_never_a_conflict(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    for expected in [2, 4, 6] {
        let appended = store.append(&account, ExpectedVersion::Any, &events(2)).unwrap();
        assert_eq!(appended.version(), expected);
    }
}

pub(crate) fn a_refused_append_uses_up_no_version(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    store.append(&account, exact(1), &events(1)).unwrap_err();
    store.append(&account, exact(3), &events(1)).unwrap_err();
    assert_eq!(store.append(&account, exact(2), &events(1)).unwrap().version(), 3);
    assert_eq!(versions(&store.load(&account).unwrap()), [1, 2, 3]);
}

pub(crate) fn reports_conflicts_beyond_version_10(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 12);
    for wrong in [1, 2, 9, 10, 11, 13, 20, 100] {
        let error = refused(&*store, || store.append(&account, exact(wrong), &events(1)));
        assert_conflict(&error, &account, exact(wrong), 12);
    }
    assert_eq!(store.append(&account, exact(12), &events(1)).unwrap().version(), 13);
}

pub(crate) fn reports_conflicts_beyond_version_1000(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1_002);
    for wrong in [9, 99, 999, 1_000, 1_001, 1_003, 9_999] {
        let error = store.append(&account, exact(wrong), &events(1)).unwrap_err();
        assert_conflict(&error, &account, exact(wrong), 1_002);
    }
    assert_eq!(
        store.append(&account, exact(1_002), &events(1)).unwrap().version(),
        1_003
    );
}

pub(crate) fn stores_a_batch_of_more_than_a_thousand_events(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = events(2_345);
    let appended = store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    assert_eq!(appended.version(), 2_345);
    assert_eq!(appended.first_version(), Some(version(1)));
    let stream = store.load(&account).unwrap();
    assert_stream(&stream, &events);
    assert_eq!(sequences(&stream), appended.global_sequences());
    assert_eq!(stored_ids(&log(&*store)), ids(&events));
}

pub(crate) fn an_empty_append_is_a_no_op_that_succeeds(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let missing = aggregate("Account");
    for expected in [
        ExpectedVersion::Any,
        ExpectedVersion::NoStream,
        ExpectedVersion::Exists,
        exact(1),
        exact(9),
    ] {
        let appended = store.append(&account, expected, &[]).unwrap();
        assert_eq!(appended.version(), 2);
        assert_eq!(appended.first_version(), None);
        assert_eq!(appended.last_sequence(), None);
        assert!(appended.global_sequences().is_empty());
        assert_eq!(store.append(&missing, expected, &[]).unwrap().version(), 0);
    }
    assert_eq!(store.append_all(&[]).unwrap(), []);
    assert_eq!(log(&*store).len(), 2);
}

pub(crate) fn spans_several_aggregates(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob, order) = (account(), account(), aggregate("Order"));
    given(&*store, &bob, 4);
    let (first, second, third) = (events(2), events(1), events(3));
    let appended = store
        .append_all(&[
            Append::new(&ada, ExpectedVersion::NoStream, &first),
            Append::new(&bob, exact(4), &second),
            Append::new(&order, ExpectedVersion::Any, &third),
        ])
        .unwrap();

    let aggregates: Vec<_> = appended.iter().map(|appended| appended.aggregate()).collect();
    assert_eq!(aggregates, [&ada, &bob, &order]);
    let versions: Vec<_> = appended.iter().map(|appended| appended.version().get()).collect();
    assert_eq!(versions, [2, 5, 3]);
    let sequences: Vec<_> = appended.iter().flat_map(Appended::global_sequences).copied().collect();
    assert_eq!(sequences.len(), 6);
    assert_ascending(&sequences);
    assert_stream(&store.load(&ada).unwrap(), &first);
    assert_stream(&store.load(&order).unwrap(), &third);
    assert_eq!(store.version(&bob).unwrap(), 5);
}

pub(crate) fn one_stale_member_writes_nothing_anywhere(env: &dyn Environment) {
    let store = env.store();
    let aggregates = [account(), account(), account()];
    for aggregate in &aggregates {
        given(&*store, aggregate, 2);
    }
    let new = [events(1), events(2), events(3)];
    for stale in 0..3 {
        let append = |index: usize| {
            let expected = if index == stale { exact(1) } else { exact(2) };
            Append::new(&aggregates[index], expected, &new[index])
        };
        let error = refused(&*store, || store.append_all(&[append(0), append(1), append(2)]));
        assert_conflict(&error, &aggregates[stale], exact(1), 2);
    }
}

pub(crate) fn one_member_of_another_type_writes_nothing_anywhere(env: &dyn Environment) {
    let store = env.store();
    let (ada, order) = (account(), aggregate("Order"));
    given(&*store, &order, 1);
    let misnamed = AggregateKey::new("Account", order.id()).unwrap();
    let (first, second) = (events(1), events(1));
    let error = refused(&*store, || {
        store.append_all(&[
            Append::new(&ada, ExpectedVersion::NoStream, &first),
            Append::new(&misnamed, ExpectedVersion::Any, &second),
        ])
    });
    assert_type_mismatch(&error, &misnamed, &order);
}

pub(crate) fn an_empty_member_changes_nothing_for_the_others(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    given(&*store, &bob, 3);
    let new = events(1);
    let appended = store
        .append_all(&[
            Append::new(&bob, exact(1), &[]),
            Append::new(&ada, ExpectedVersion::NoStream, &new),
        ])
        .unwrap();
    assert_eq!(appended.len(), 2);
    assert_eq!(appended[0].version(), 3);
    assert_eq!(appended[1].version(), 1);
    assert_eq!(store.version(&bob).unwrap(), 3);
}

pub(crate) fn refuses_the_same_aggregate_twice_in_one_append(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let (first, second) = (events(1), events(1));
    let error = refused(&*store, || {
        store.append_all(&[
            Append::new(&account, ExpectedVersion::NoStream, &first),
            Append::new(&account, exact(1), &second),
        ])
    });
    assert_invalid(&error, &account.id().to_string());
}

pub(crate) fn refuses_the_same_event_id_twice_in_one_append(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let [first, second] = [event("money.deposited"), event("money.withdrawn")];
    let second = second.with_id(first.event_id());
    let id = first.event_id().to_string();
    let both = [first.clone(), second.clone()];
    let error = refused(&*store, || store.append(&ada, ExpectedVersion::Any, &both));
    assert_invalid(&error, &id);
    let (first, second) = ([first], [second]);
    let error = refused(&*store, || {
        store.append_all(&[
            Append::new(&ada, ExpectedVersion::Any, &first),
            Append::new(&bob, ExpectedVersion::Any, &second),
        ])
    });
    assert_invalid(&error, &id);
}

pub(crate) fn a_fault_at_event_k_leaves_nothing(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    for position in [1, 4, 7] {
        let mut batch = events(7);
        batch[position - 1] = event(FAULTY);
        env.break_at(position as u64);
        let error = refused(&*store, || store.append(&account, exact(2), &batch));
        assert_fault(&error);
        env.repair();
    }
    let batch = [event("money.deposited"), event(FAULTY)];
    assert_eq!(store.append(&account, exact(2), &batch).unwrap().version(), 4);
}

pub(crate) fn a_fault_in_the_second_aggregate_leaves_nothing_of_the_first(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let first = events(1);
    let second = [event("money.deposited"), event("money.deposited"), event(FAULTY)];
    let both = [
        Append::new(&ada, ExpectedVersion::NoStream, &first),
        Append::new(&bob, ExpectedVersion::NoStream, &second),
    ];
    env.break_at(3);
    let error = refused(&*store, || store.append_all(&both));
    assert_fault(&error);
    env.repair();
    let appended = store.append_all(&both).unwrap();
    assert!(appended.iter().all(|appended| !appended.is_already_stored()));
    assert_eq!(store.version(&ada).unwrap(), 1);
    assert_eq!(store.version(&bob).unwrap(), 3);
}

#[track_caller]
fn assert_fault(error: &Error) {
    let kind = error.kind();
    let by_the_database = matches!(
        kind,
        ErrorKind::Unavailable { .. } | ErrorKind::Backend { .. } | ErrorKind::Io { .. }
    );
    assert!(by_the_database, "{error:?}");
}

pub(crate) fn refuses_versions_beyond_the_greatest(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let event = given(&*store, &account, 1).remove(0);
    env.damage(event.event_id(), &Damage::Version(Version::MAX.get() - 1));
    assert_eq!(
        store
            .append(&account, ExpectedVersion::Any, &events(1))
            .unwrap()
            .version(),
        Version::MAX.get()
    );
    let error = refused(&*store, || store.append(&account, ExpectedVersion::Any, &events(1)));
    assert_invalid(&error, "i64::MAX");
}

pub(crate) fn what_is_appended_is_read_at_once_through_another_store(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let other = env.reopen();
    let first = given(&*store, &account, 1);
    assert_stream(&other.load(&account).unwrap(), &first);
    let second = [NewEvent::new("money.withdrawn", &json!({ "amount": 5 })).unwrap()];
    other.append(&account, exact(1), &second).unwrap();
    assert_stream(&store.load(&account).unwrap(), &[first, second.to_vec()].concat());
}
