//! The checkpoint of a read: wherever a read stops, the next one continues with the next event.

use std::num::NonZeroU32;

use firefly_eventstore_core::Order;
use firefly_eventstore_core::prelude::*;

use crate::environment::{Damage, Environment};
use crate::support::*;

/// 25 events, every fifth of which is a withdrawal.
fn given_25(store: &Handle) -> Vec<EventEnvelope> {
    let account = account();
    for number in 1..=25 {
        let event_type = if number % 5 == 0 {
            "money.withdrawn"
        } else {
            "money.deposited"
        };
        store
            .append(&account, ExpectedVersion::Any, &[event(event_type)])
            .unwrap();
    }
    let all = log(&**store);
    assert_eq!(all.len(), 25);
    all
}

/// All events that a consumer sees that repeats `read`, which returns events and a checkpoint.
fn consumed(read: impl Fn(GlobalSequence) -> (Vec<EventEnvelope>, GlobalSequence)) -> Vec<EventEnvelope> {
    let (mut all, mut checkpoint) = (Vec::new(), GlobalSequence::ZERO);
    loop {
        let (events, next) = read(checkpoint);
        assert!(next >= checkpoint, "from {checkpoint} to {next}");
        if events.is_empty() {
            return all;
        }
        assert!(next > checkpoint, "the consumer does not advance");
        all.extend(events);
        checkpoint = next;
    }
}

fn queries() -> [EventQuery; 3] {
    [
        EventQuery::new(),
        EventQuery::new().event_types(["money.withdrawn"]).unwrap(),
        EventQuery::new().page_size(NonZeroU32::new(3).unwrap()),
    ]
}

pub(crate) fn a_limit_skips_nothing(env: &dyn Environment) {
    let store = env.store();
    given_25(&store);
    for query in queries() {
        for limit in [1, 2, 5, 10, 25, 26] {
            let seen = consumed(|checkpoint| {
                let mut events = store.read(query.clone().after(checkpoint).limit(limit));
                let found = events.by_ref().collect::<Result<_, _>>().unwrap();
                (found, events.checkpoint())
            });
            assert_eq!(seen, read(&*store, query.clone()), "limit {limit}");
        }
    }
}

pub(crate) fn an_iterator_left_early_skips_nothing(env: &dyn Environment) {
    let store = env.store();
    given_25(&store);
    for query in queries() {
        for taken in [1, 3, 4, 10] {
            let seen = consumed(|checkpoint| {
                let mut events = store.read(query.clone().after(checkpoint));
                let found = events.by_ref().take(taken).collect::<Result<_, _>>().unwrap();
                (found, events.checkpoint())
            });
            assert_eq!(seen, read(&*store, query.clone()), "{taken} taken");
        }
    }
}

pub(crate) fn an_end_skips_nothing(env: &dyn Environment) {
    let store = env.store();
    let all = given_25(&store);
    for query in queries() {
        for step in [1, 4, 24] {
            let mut checkpoint = GlobalSequence::ZERO;
            let mut seen = Vec::new();
            while checkpoint < all[24].global_sequence {
                let until = checkpoint.checked_add(step).unwrap();
                let mut events = store.read(query.clone().after(checkpoint).until(until));
                seen.extend(events.by_ref().map(Result::unwrap));
                assert_eq!(events.checkpoint(), until.min(all[24].global_sequence));
                checkpoint = events.checkpoint();
            }
            assert_eq!(seen, read(&*store, query.clone()), "steps of {step}");
        }
    }
}

pub(crate) fn pages_skip_nothing(env: &dyn Environment) {
    let store = env.store();
    given_25(&store);
    for query in queries() {
        for limit in [None, Some(1), Some(4), Some(25)] {
            // Each read is left after its first page, as a consumer does that handles a page at a time.
            let seen = consumed(|checkpoint| {
                let mut query = query.clone().after(checkpoint);
                if let Some(limit) = limit {
                    query = query.limit(limit);
                }
                let page = store.read_page(&query, None).unwrap();
                (page.events, page.checkpoint)
            });
            assert_eq!(seen, read(&*store, query.clone()), "limit {limit:?}");
        }
    }
}

pub(crate) fn is_the_mark_once_the_log_is_exhausted(env: &dyn Environment) {
    let store = env.store();
    let all = given_25(&store);
    let mark = store.high_water_mark().unwrap();
    for query in [
        EventQuery::new(),
        EventQuery::new().event_types(["account.closed"]).unwrap(),
        EventQuery::new().after(all[3].global_sequence).tenant("acme").unwrap(),
        EventQuery::new().limit(26),
        EventQuery::new().backwards(),
        EventQuery::new().ordered_by(Order::Time),
        EventQuery::new().after(mark),
    ] {
        let mut events = store.read(query.clone());
        events.by_ref().for_each(|event| drop(event.unwrap()));
        assert_eq!(events.checkpoint(), mark, "{query:?}");
    }
    let mut found = store
        .read_page(&EventQuery::new().page_size(NonZeroU32::new(10).unwrap()), None)
        .unwrap();
    assert_eq!(found.checkpoint, all[9].global_sequence);
    while let Some(next) = found.next {
        found = store
            .read_page(&EventQuery::new().page_size(NonZeroU32::new(10).unwrap()), Some(&next))
            .unwrap();
    }
    assert_eq!(found.checkpoint, mark);
}

pub(crate) fn is_where_the_read_began_until_an_event_is_handed_out(env: &dyn Environment) {
    let store = env.store();
    let all = given_25(&store);
    let begin = all[6].global_sequence;
    let mut events = store.read(EventQuery::new().after(begin));
    assert_eq!(events.checkpoint(), begin);
    assert_eq!(events.next().unwrap().unwrap(), all[7]);
    assert_eq!(events.checkpoint(), all[7].global_sequence);

    let mut none = store.read(EventQuery::new().after(begin).limit(0));
    assert!(none.next().is_none());
    assert_eq!(none.checkpoint(), begin);
    let mut before = store.read(EventQuery::new().after(begin).until(all[2].global_sequence));
    assert!(before.next().is_none());
    assert_eq!(before.checkpoint(), begin, "it never goes back");
}

pub(crate) fn does_not_move_in_another_order_until_the_log_is_exhausted(env: &dyn Environment) {
    let store = env.store();
    let all = given_25(&store);
    let begin = all[4].global_sequence;
    for query in [EventQuery::new().backwards(), EventQuery::new().ordered_by(Order::Time)] {
        for query in [query.clone(), query.page_size(NonZeroU32::new(4).unwrap())] {
            let mut events = store.read(query.clone().after(begin));
            events.by_ref().take(19).for_each(|event| drop(event.unwrap()));
            assert_eq!(events.checkpoint(), begin, "{query:?}");
            let mut limited = store.read(query.clone().after(begin).limit(19));
            limited.by_ref().for_each(|event| drop(event.unwrap()));
            assert_eq!(limited.checkpoint(), begin, "{query:?}");
        }
    }
}

pub(crate) fn is_the_last_event_before_an_error(env: &dyn Environment) {
    let store = env.store();
    let all = given_25(&store);
    env.damage(all[12].event_id, &Damage::Checksum(&"0".repeat(64)));
    let store = env.verifying_store();
    let mut events = store.read(EventQuery::new().page_size(NonZeroU32::new(5).unwrap()));
    let handed_out = events.by_ref().take_while(Result::is_ok).count();
    assert_eq!(handed_out, 10, "the third page has the damage");
    assert!(events.next().is_none());
    assert_eq!(events.checkpoint(), all[9].global_sequence);
}
