//! Times, to the microsecond, in their order.

use std::num::NonZeroU32;
use std::ops::Bound;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Order, time};
use time::macros::{datetime, offset};
use time::{Duration, PrimitiveDateTime, UtcOffset};

use crate::environment::Environment;
use crate::support::*;

const NOTHING: [u64; 0] = [];

pub(crate) fn a_time_survives_to_the_microsecond(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let times = [
        datetime!(2025-01-15 10:30:00.000_001 UTC),
        datetime!(2025-01-15 10:30:00.999_999 UTC),
        datetime!(2025-01-15 10:30:00.100_000 UTC),
        datetime!(2025-01-15 10:30:00.123_456 UTC),
        datetime!(1000-01-01 0:00 UTC),
        datetime!(1969-12-31 23:59:59.999_999 UTC),
        datetime!(1970-01-01 0:00 UTC),
        datetime!(2038-01-19 03:14:08 UTC),
        datetime!(9999-12-31 23:59:59.999_999 UTC),
    ];
    let new: Vec<_> = times
        .iter()
        .map(|time| event("a.b").created_at(*time).unwrap())
        .collect();
    store.append(&account, ExpectedVersion::NoStream, &new).unwrap();
    let stream = store.load(&account).unwrap();
    let stored: Vec<_> = stream.into_iter().map(|event| event.created_at).collect();
    assert_eq!(stored, times);
}

pub(crate) fn a_time_is_kept_as_an_instant_in_utc(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let tokyo = datetime!(2025-01-15 19:30:00.5 UTC).to_offset(offset!(+9));
    store
        .append(
            &account,
            ExpectedVersion::Any,
            &[event("a.b").created_at(tokyo).unwrap()],
        )
        .unwrap();
    let stored = store.load(&account).unwrap().into_events().remove(0).created_at;
    assert_eq!(stored, tokyo);
    assert_eq!(stored.offset(), UtcOffset::UTC);
}

pub(crate) fn the_store_sets_a_time_of_microseconds_in_utc(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 3);
    let stream = store.load(&account).unwrap();
    assert_eq!(stream.len(), 3);
    for event in &stream {
        assert_eq!(event.created_at, event.created_at.truncate_to_microsecond());
        assert_eq!(event.created_at.offset(), UtcOffset::UTC);
        assert!(event.created_at > datetime!(2025-01-01 0:00 UTC));
    }
}

/// One event for each, in this order; their versions are 1, 2, 3, …
fn given_times(env: &dyn Environment, seconds: &[i64]) -> Handle {
    let (store, account) = (env.store(), account());
    for &second in seconds {
        given_at(&*store, &account, second);
    }
    store
}

fn pages_of(query: EventQuery, events: u32) -> EventQuery {
    query.page_size(NonZeroU32::new(events).unwrap())
}

pub(crate) fn a_time_query_answers_in_time_order_ties_by_sequence(env: &dyn Environment) {
    let store = given_times(env, &[3, 1, 2, 1, 3, 1]);
    let found = read(&*store, EventQuery::new().created_at(at(0)..));
    assert_eq!(versions(&found), [2, 4, 6, 3, 1, 5]);
}

pub(crate) fn a_time_query_answers_backwards(env: &dyn Environment) {
    let store = given_times(env, &[3, 1, 2, 1, 3, 1]);
    let found = read(&*store, EventQuery::new().created_at(at(0)..).backwards());
    assert_eq!(versions(&found), [5, 1, 3, 6, 4, 2]);
    let two = read(&*store, EventQuery::new().created_at(..at(3)).backwards().limit(2));
    assert_eq!(versions(&two), [3, 6]);
}

pub(crate) fn pages_in_time_order_split_ties_without_loss(env: &dyn Environment) {
    let store = given_times(env, &[2, 1, 1, 1, 2, 1, 1, 3]);
    for page in 1..=9 {
        let query = pages_of(EventQuery::new().created_at(at(1)..), page);
        assert_eq!(versions(&read(&*store, query.clone())), [2, 3, 4, 6, 7, 1, 5, 8]);
        let backwards = versions(&read(&*store, query.backwards()));
        assert_eq!(backwards, [8, 5, 1, 7, 6, 4, 3, 2]);
    }
}

pub(crate) fn bounds_of_time_are_inclusive_or_exclusive_as_given(env: &dyn Environment) {
    let store = given_times(env, &[1, 2, 3, 4]);
    let found = |bounds: (Bound<OffsetDateTime>, Bound<OffsetDateTime>)| {
        versions(&read(&*store, EventQuery::new().created_at(bounds)))
    };
    use Bound::{Excluded, Included, Unbounded};
    assert_eq!(found((Included(at(2)), Included(at(3)))), [2, 3]);
    assert_eq!(found((Included(at(2)), Excluded(at(3)))), [2]);
    assert_eq!(found((Excluded(at(2)), Included(at(3)))), [3]);
    assert_eq!(found((Excluded(at(2)), Excluded(at(3)))), NOTHING);
    assert_eq!(found((Excluded(at(2)), Unbounded)), [3, 4]);
    assert_eq!(found((Unbounded, Excluded(at(2)))), [1]);
    assert_eq!(found((Unbounded, Unbounded)), [1, 2, 3, 4]);
    assert_eq!(found((Included(at(3)), Included(at(2)))), NOTHING);
    let tick = Duration::MICROSECOND;
    assert_eq!(found((Included(at(2) - tick), Included(at(3) - tick))), [2]);
    assert_eq!(found((Included(at(2) + tick), Included(at(3) + tick))), [3]);
    let tokyo = |seconds| at(seconds).to_offset(offset!(+9));
    assert_eq!(found((Included(tokyo(2)), Included(tokyo(3)))), [2, 3]);
}

pub(crate) fn bounds_of_time_may_be_as_far_as_time_goes(env: &dyn Environment) {
    let store = given_times(env, &[2, 1]);
    let account = log(&*store)[0].aggregate.clone();
    let (first, last) = (PrimitiveDateTime::MIN, PrimitiveDateTime::MAX);
    // In UTC, these are outside of the years that can be written.
    let (before, beyond) = (first.assume_offset(offset!(+9)), last.assume_offset(offset!(-9)));
    for (first, last) in [(first.assume_utc(), last.assume_utc()), (before, beyond)] {
        assert_eq!(
            versions(&read(&*store, EventQuery::new().created_at(first..=last))),
            [2, 1]
        );
        assert_eq!(
            versions(&read(&*store, EventQuery::new().created_at(..last).backwards())),
            [1, 2]
        );
        assert_eq!(read(&*store, EventQuery::new().created_at(last..)), []);
        assert_eq!(read(&*store, EventQuery::new().created_at(..first)), []);
        assert_eq!(store.load_as_of(&account, last).unwrap().version(), 2);
        assert_eq!(store.load_as_of(&account, first).unwrap().version(), 0);
    }
}

pub(crate) fn either_order_can_be_asked_for(env: &dyn Environment) {
    let store = given_times(env, &[3, 1, 2]);
    let by_time = EventQuery::new().ordered_by(Order::Time);
    assert_eq!(versions(&read(&*store, by_time.clone())), [2, 3, 1]);
    assert_eq!(versions(&read(&*store, pages_of(by_time.backwards(), 1))), [1, 3, 2]);
    let by_sequence = EventQuery::new().created_at(at(2)..).ordered_by(Order::Sequence);
    assert_eq!(versions(&read(&*store, by_sequence)), [1, 3]);
}

pub(crate) fn a_time_query_stays_within_its_sequences_and_the_mark(env: &dyn Environment) {
    let store = given_times(env, &[5, 4, 3, 2, 1]);
    let all = log(&*store);
    assert_eq!(all.len(), 5);
    let query = EventQuery::new().created_at(at(0)..);
    let (after, until) = (all[0].global_sequence, all[3].global_sequence);
    let middle = pages_of(query.clone().after(after).until(until), 2);
    assert_eq!(versions(&read(&*store, middle)), [4, 3, 2]);

    let mut events = store.read(pages_of(query, 2));
    let first = events.next().unwrap().unwrap();
    given_at(&*store, &account(), 9);
    let rest: Vec<_> = events.take(50).map(Result::unwrap).collect();
    assert_eq!(versions([&first].into_iter().chain(&rest)), [5, 4, 3, 2, 1]);
}

pub(crate) fn recent_events_are_the_newest_first(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let now = OffsetDateTime::now_utc().truncate_to_microsecond();
    let ages = [
        Duration::hours(30),
        Duration::hours(2),
        Duration::hours(23),
        Duration::hours(1),
    ];
    for age in ages {
        let event = event("a.b").created_at(now - age).unwrap();
        store.append(&account, ExpectedVersion::Any, &[event]).unwrap();
    }
    let recent: Vec<_> = store
        .recent_events(std::time::Duration::from_secs(24 * 60 * 60))
        .map(Result::unwrap)
        .collect();
    assert_eq!(versions(&recent), [4, 2, 3]);
}
