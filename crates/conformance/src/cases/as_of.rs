//! An aggregate as it was: at a version, at a time, at a global sequence.

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::time::Duration;

use crate::environment::Environment;
use crate::support::*;

pub(crate) fn at_a_version(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 12);
    for point in 1..=12 {
        let past = store.load_as_of(&account, version(point)).unwrap();
        assert_stream(&past, &events[..point as usize]);
    }
    let nothing = store.load_as_of(&account, Version::ZERO).unwrap();
    assert!(nothing.is_empty() && !nothing.exists());
    for beyond in [version(13), Version::MAX] {
        assert_stream(&store.load_as_of(&account, beyond).unwrap(), &events);
    }
}

pub(crate) fn at_a_time_inclusive(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events: Vec<_> = [10, 20, 20, 30]
        .map(|second| given_at(&*store, &account, second))
        .into();
    let tick = Duration::MICROSECOND;
    for (time, count) in [
        (at(10) - tick, 0),
        (at(10), 1),
        (at(10) + tick, 1),
        (at(20) - tick, 1),
        (at(20), 3),
        (at(30) - tick, 3),
        (at(30), 4),
        (at(99), 4),
    ] {
        assert_stream(&store.load_as_of(&account, time).unwrap(), &events[..count]);
    }
}

pub(crate) fn at_a_time_with_another_offset(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events: Vec<_> = [10, 20].map(|second| given_at(&*store, &account, second)).into();
    let new_york = at(10).to_offset(firefly_eventstore_core::time::macros::offset!(-5));
    assert_stream(&store.load_as_of(&account, new_york).unwrap(), &events[..1]);
}

pub(crate) fn a_time_ends_before_the_first_event_that_came_later(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events: Vec<_> = [10, 30, 20, 40]
        .map(|second| given_at(&*store, &account, second))
        .into();
    assert_stream(&store.load_as_of(&account, at(20)).unwrap(), &events[..1]);
    assert_stream(&store.load_as_of(&account, at(30)).unwrap(), &events[..3]);
}

pub(crate) fn at_a_global_sequence_inclusive(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let mut events = Vec::new();
    for _ in 0..4 {
        given(&*store, &bob, 1);
        events.extend(given(&*store, &ada, 1));
    }
    let own = sequences(&store.load(&ada).unwrap());
    for (index, event) in log(&*store).iter().enumerate() {
        let past = store.load_as_of(&ada, event.global_sequence).unwrap();
        assert_stream(&past, &events[..index.div_ceil(2)]);
    }
    assert_eq!(own.len(), 4);
    assert!(store.load_as_of(&ada, GlobalSequence::ZERO).unwrap().is_empty());
    assert_stream(&store.load_as_of(&ada, GlobalSequence::MAX).unwrap(), &events);
}

pub(crate) fn combines_with_a_part_of_the_stream(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    for second in 1..=12 {
        given_at(&*store, &account, second);
    }
    let last = store
        .load_range(&account, &StreamRange::all().as_of(version(10)).last(2))
        .unwrap();
    assert_eq!(versions(&last), [10, 9]);
    assert_eq!(last.version(), 10);
    let middle = StreamRange::all().from_version(version(4)).to_version(version(11));
    let by_time = store.load_range(&account, &middle.clone().as_of(at(6))).unwrap();
    assert_eq!(versions(&by_time), [4, 5, 6]);
    assert_eq!(by_time.version(), 6);
    let sequence = log(&*store)[6].global_sequence;
    let by_sequence = store
        .load_range(&account, &middle.as_of(sequence).backwards().limit(2))
        .unwrap();
    assert_eq!(versions(&by_sequence), [7, 6]);
    assert_eq!(by_sequence.version(), 7);
}

pub(crate) fn a_missing_aggregate_was_never_there(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given_at(&*store, &account, 1);
    assert_eq!(store.load_as_of(&account, at(1)).unwrap().version(), 1);
    let missing = aggregate("Account");
    assert!(!store.load_as_of(&missing, at(1)).unwrap().exists());
    assert!(!store.load_as_of(&missing, version(1)).unwrap().exists());
    assert!(!store.load_as_of(&missing, GlobalSequence::from(1)).unwrap().exists());
}
