//! One aggregate: all of it, or a part.

use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

fn load(env: &dyn Environment, count: usize, range: &StreamRange) -> (EventStream, Vec<NewEvent>) {
    let (store, account) = (env.store(), account());
    given(&*store, &aggregate("Account"), 3);
    let events = given(&*store, &account, count);
    given(&*store, &aggregate("Account"), 3);
    (store.load_range(&account, range).unwrap(), events)
}

pub(crate) fn loads_the_whole_stream_in_order(env: &dyn Environment) {
    let (stream, events) = load(env, 25, &StreamRange::all());
    assert_stream(&stream, &events);
    assert!(stream.exists());
}

pub(crate) fn a_missing_aggregate_has_an_empty_stream_at_version_0(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 1);
    let missing = account();
    let stream = store.load(&missing).unwrap();
    assert_eq!(*stream.aggregate(), missing);
    assert_eq!(stream.version(), 0);
    assert!(stream.is_empty() && !stream.exists());
    assert_eq!(store.version(&missing).unwrap(), 0);
    store.append(&missing, stream.version(), &events(1)).unwrap();
    assert_eq!(store.version(&missing).unwrap(), 1);
}

pub(crate) fn loads_from_a_version_inclusive(env: &dyn Environment) {
    let (stream, events) = load(env, 12, &StreamRange::all().from_version(version(9)));
    assert_eq!(versions(&stream), [9, 10, 11, 12]);
    assert_eq!(stored_ids(&stream), ids(&events[8..]));
    assert_eq!(stream.version(), 12);
}

pub(crate) fn versions_0_and_1_both_mean_from_the_start(env: &dyn Environment) {
    for start in [0, 1] {
        let (stream, events) = load(env, 3, &StreamRange::all().from_version(version(start)));
        assert_stream(&stream, &events);
    }
}

pub(crate) fn loads_a_range_of_versions_inclusive(env: &dyn Environment) {
    let range = StreamRange::all().from_version(version(3)).to_version(version(10));
    let (stream, _) = load(env, 12, &range);
    assert_eq!(versions(&stream), (3..=10).collect::<Vec<_>>());
    assert_eq!(stream.version(), 12);
}

pub(crate) fn a_part_beyond_the_end_is_empty_but_knows_the_version(env: &dyn Environment) {
    for range in [
        StreamRange::all().from_version(version(6)),
        StreamRange::all().from_version(Version::MAX),
        StreamRange::all().from_version(version(4)).to_version(version(3)),
        StreamRange::all().to_version(version(0)),
        StreamRange::all().limit(0),
        StreamRange::all().last(0),
    ] {
        let (stream, _) = load(env, 5, &range);
        assert!(stream.is_empty(), "{range:?}: {stream:?}");
        assert_eq!(stream.version(), 5, "{range:?}");
    }
}

pub(crate) fn loads_backwards(env: &dyn Environment) {
    let (stream, events) = load(env, 11, &StreamRange::all().backwards());
    assert_eq!(versions(&stream), (1..=11).rev().collect::<Vec<_>>());
    let mut expected = ids(&events);
    expected.reverse();
    assert_eq!(stored_ids(&stream), expected);
    assert_eq!(stream.version(), 11);
}

pub(crate) fn loads_the_last_n_newest_first(env: &dyn Environment) {
    let (stream, _) = load(env, 11, &StreamRange::all().last(3));
    assert_eq!(versions(&stream), [11, 10, 9]);
    assert_eq!(stream.version(), 11);
    let (stream, _) = load(env, 2, &StreamRange::all().last(5));
    assert_eq!(versions(&stream), [2, 1]);
}

pub(crate) fn a_limit_counts_from_the_start_of_the_range(env: &dyn Environment) {
    let (stream, _) = load(env, 12, &StreamRange::all().from_version(version(8)).limit(3));
    assert_eq!(versions(&stream), [8, 9, 10]);
    let backwards = StreamRange::all().to_version(version(10)).last(2);
    let (stream, _) = load(env, 12, &backwards);
    assert_eq!(versions(&stream), [10, 9]);
    assert_eq!(stream.version(), 12);
    let (stream, _) = load(env, 3, &StreamRange::all().limit(u64::MAX));
    assert_eq!(versions(&stream), [1, 2, 3]);
}

pub(crate) fn loads_a_stream_longer_than_a_page(env: &dyn Environment) {
    let (stream, events) = load(env, 1_111, &StreamRange::all());
    assert_stream(&stream, &events);
    let (stream, _) = load(env, 1_111, &StreamRange::all().from_version(version(990)).backwards());
    assert_eq!(versions(&stream), (990..=1_111).rev().collect::<Vec<_>>());
}

pub(crate) fn the_version_is_known_without_loading(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    for expected in 1..=11 {
        given(&*store, &account, 1);
        assert_eq!(store.version(&account).unwrap(), expected);
    }
}

pub(crate) fn a_loaded_version_is_what_the_next_append_expects(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 12);
    let part = store.load_range(&account, &StreamRange::all().limit(2)).unwrap();
    assert_eq!(
        store.append(&account, part.version(), &events(1)).unwrap().version(),
        13
    );
}

pub(crate) fn a_stream_and_the_log_show_the_same_events(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given_at(&*store, &account, 5);
    given(&*store, &aggregate("Order"), 2);
    given_at(&*store, &account, 3);
    let stream = store.load(&account).unwrap();
    assert_eq!(stream.len(), 2);
    assert_eq!(
        read(&*store, EventQuery::new().aggregate_id(account.id())),
        stream.events()
    );
}
