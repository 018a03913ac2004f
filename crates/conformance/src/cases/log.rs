//! The log of all events, page by page, up to the mark.

use std::num::{NonZeroU32, NonZeroU64};

use firefly_eventstore_core::Order;
use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

fn pages_of(query: EventQuery, events: u32) -> EventQuery {
    query.page_size(NonZeroU32::new(events).unwrap())
}

/// Ten events of five aggregates, two each, in the order of the log.
fn given_ten(store: &Handle) -> Vec<EventEnvelope> {
    for _ in 0..5 {
        given(&**store, &account(), 2);
    }
    let all = log(&**store);
    assert_eq!(all.len(), 10);
    all
}

pub(crate) fn reads_the_log_in_the_order_of_appending(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), aggregate("Order"));
    let mut expected = Vec::new();
    for _ in 0..6 {
        expected.extend(ids(&given(&*store, &ada, 2)));
        expected.extend(ids(&given(&*store, &bob, 1)));
    }
    let all = log(&*store);
    assert_eq!(stored_ids(&all), expected);
    assert_ascending(&sequences(&all));
}

pub(crate) fn reads_after_a_sequence_exclusive_and_until_one_inclusive(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    let sequence = |index: usize| all[index].global_sequence;
    let query = EventQuery::new;
    assert_eq!(read(&*store, query().after(sequence(3))), all[4..]);
    assert_eq!(read(&*store, query().until(sequence(3))), all[..=3]);
    assert_eq!(read(&*store, query().after(sequence(2)).until(sequence(7))), all[3..=7]);
    assert_eq!(read(&*store, query().after(sequence(9))), []);
    assert_eq!(read(&*store, query().after(sequence(7)).until(sequence(2))), []);
    assert_eq!(read(&*store, query().until(GlobalSequence::ZERO)), []);
}

pub(crate) fn reads_at_most_the_limit(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    for limit in [0, 1, 3, 9, 10, 11, u64::MAX] {
        let expected = &all[..all.len().min(usize::try_from(limit).unwrap())];
        for page in [1, 3, 500] {
            let query = pages_of(EventQuery::new().limit(limit), page);
            assert_eq!(read(&*store, query), expected, "limit {limit}, pages of {page}");
        }
    }
}

pub(crate) fn reads_backwards(env: &dyn Environment) {
    let store = env.store();
    let mut all = given_ten(&store);
    all.reverse();
    let query = || EventQuery::new().backwards();
    assert_eq!(read(&*store, query()), all);
    assert_eq!(read(&*store, query().limit(4)), all[..4]);
    assert_eq!(read(&*store, query().until(all[3].global_sequence)), all[3..]);
    assert_eq!(read(&*store, query().after(all[6].global_sequence)), all[..6]);
}

pub(crate) fn reads_backwards_from_beyond_the_end(env: &dyn Environment) {
    let store = env.store();
    let mut all = given_ten(&store);
    all.reverse();
    let beyond = all[0].global_sequence.checked_add(1_000).unwrap();
    for end in [beyond, GlobalSequence::MAX] {
        let query = EventQuery::new().backwards().until(end);
        assert_eq!(read(&*store, query.clone()), all);
        assert_eq!(read(&*store, pages_of(query.limit(3), 2)), all[..3]);
    }
}

pub(crate) fn pages_of_any_size_show_the_same_events(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    let backwards: Vec<_> = all.iter().rev().cloned().collect();
    for page in [1, 2, 3, 5, 9, 10, 11] {
        assert_eq!(read(&*store, pages_of(EventQuery::new(), page)), all, "pages of {page}");
        let query = pages_of(EventQuery::new().backwards(), page);
        assert_eq!(read(&*store, query), backwards, "pages of {page}");
        let query = pages_of(EventQuery::new().after(all[1].global_sequence), page);
        assert_eq!(read(&*store, query), all[2..], "pages of {page}");
        let query = pages_of(EventQuery::new().after(all[1].global_sequence).backwards(), page);
        assert_eq!(read(&*store, query), backwards[..8], "pages of {page}");
    }
}

pub(crate) fn a_page_has_no_more_events_than_its_size(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    let query = pages_of(EventQuery::new(), 4);
    let first = store.read_page(&query, None).unwrap();
    assert_eq!(first.events, all[..4]);
    let second = store.read_page(&query, first.next.as_ref()).unwrap();
    assert_eq!(second.events, all[4..8]);
    let third = store.read_page(&query, second.next.as_ref()).unwrap();
    assert_eq!(third.events, all[8..]);
    assert_eq!(third.next, None);
}

pub(crate) fn reads_a_log_of_many_pages(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 1_203);
    assert_eq!(stored_ids(&log(&*store)), ids(&events));
    assert_eq!(read(&*store, EventQuery::new().backwards()).len(), 1_203);
}

pub(crate) fn every_page_stops_at_the_mark_of_the_first(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    let mark = store.high_water_mark().unwrap();
    let mut events = store.read(pages_of(EventQuery::new(), 3));
    assert_eq!(events.next().unwrap().unwrap(), all[0]);
    given(&*store, &account(), 7);
    let rest: Vec<_> = events.by_ref().take(100).map(Result::unwrap).collect();
    assert_eq!(rest, all[1..]);
    assert_eq!(events.high_water_mark(), Some(mark));
    assert_eq!(read(&*store, EventQuery::new().after(mark)).len(), 7);
}

pub(crate) fn appending_while_iterating_is_safe(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let all = given_ten(&store);
    let mut seen = Vec::new();
    for event in store.read(pages_of(EventQuery::new(), 2)).take(100) {
        seen.push(event.unwrap());
        given(&*store, &account, 2);
    }
    assert_eq!(seen, all);
    assert_eq!(log(&*store).len(), 30);
}

pub(crate) fn appending_while_iterating_backwards_is_safe(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let mut all = given_ten(&store);
    all.reverse();
    let mut seen = Vec::new();
    for event in store.read(pages_of(EventQuery::new().backwards(), 2)).take(100) {
        seen.push(event.unwrap());
        given(&*store, &account, 1);
    }
    assert_eq!(seen, all);
}

pub(crate) fn many_reads_can_be_open_at_once(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    let mut reads: Vec<_> = (0..40).map(|_| store.read(pages_of(EventQuery::new(), 1))).collect();
    for expected in &all {
        for read in &mut reads {
            assert_eq!(read.next().unwrap().unwrap(), *expected);
        }
    }
}

pub(crate) fn resumes_at_every_checkpoint(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    for (index, event) in all.iter().enumerate() {
        let rest = read(&*store, EventQuery::new().after(event.global_sequence));
        assert_eq!(rest, all[index + 1..]);
    }
}

pub(crate) fn resumes_at_a_hole(env: &dyn Environment) {
    let store = env.store();
    for _ in 0..5 {
        given(&*store, &account(), 1);
    }
    let hole = env.make_hole();
    let all = log(&*store);
    let last = all.last().expect("a hole is before the last event").clone();
    assert!(sequences(&all[..all.len() - 1]).iter().all(|sequence| *sequence < hole));
    assert!(last.global_sequence > hole);
    assert_eq!(
        read(&*store, EventQuery::new().after(hole)),
        std::slice::from_ref(&last)
    );
    let before = GlobalSequence::new(hole.get() - 1).unwrap();
    assert_eq!(
        read(&*store, EventQuery::new().after(before)),
        std::slice::from_ref(&last)
    );
    assert_eq!(read(&*store, EventQuery::new().until(hole)), all[..all.len() - 1]);
    assert_eq!(
        read(&*store, EventQuery::new().until(hole).backwards()).len(),
        all.len() - 1
    );
    assert_eq!(read(&*store, pages_of(EventQuery::new(), 1)), all);
    assert_eq!(store.high_water_mark().unwrap(), last.global_sequence);
}

pub(crate) fn finds_an_event_by_its_id(env: &dyn Environment) {
    let store = env.store();
    let all = given_ten(&store);
    assert_eq!(store.find_event(all[7].event_id).unwrap().as_ref(), Some(&all[7]));
    assert_eq!(store.find_event(Uuid::now_v7()).unwrap(), None);
}

pub(crate) fn pages_are_bounded_by_bytes(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let text = "x".repeat(1_000);
    let events: Vec<_> = (0..10)
        .map(|number| NewEvent::new("note.taken", &(number, &text)).unwrap())
        .collect();
    store.append(&account, ExpectedVersion::Any, &events).unwrap();
    let all = log(&*store);
    let bytes = |bytes| NonZeroU64::new(bytes).unwrap();
    let queries = [
        EventQuery::new(),
        EventQuery::new().backwards(),
        EventQuery::new().ordered_by(Order::Time),
        EventQuery::new().event_types(["note.taken"]).unwrap(),
        EventQuery::new().aggregate_id(account.id()),
        EventQuery::new().limit(9),
    ];
    for query in queries {
        let whole = read(&*store, query.clone());
        for (most, expected) in [(1, 1), (1_500, 2), (2_500, 3), (5_500, 6), (1 << 20, whole.len())] {
            let query = query.clone().page_bytes(bytes(most));
            let page = store.read_page(&query, None).unwrap();
            assert_eq!(page.events, whole[..expected], "{most} bytes");
            assert_eq!(read(&*store, query), whole, "{most} bytes");
        }
    }
    let few = EventQuery::new()
        .page_bytes(bytes(5_500))
        .page_size(NonZeroU32::new(2).unwrap());
    assert_eq!(store.read_page(&few, None).unwrap().events, all[..2]);
}

/// The store may know an older mark while others append. The events that it returns do not depend on that.
pub(crate) fn a_read_finds_what_was_appended_a_moment_ago(env: &dyn Environment) {
    let (store, other) = (env.store(), env.reopen());
    let account = account();
    let append = |event_type: &str| {
        let appended = other.append(&account, ExpectedVersion::Any, &[event(event_type)]);
        drop(appended.unwrap());
    };
    for number in 0..12 {
        append(if number % 3 == 0 {
            "money.withdrawn"
        } else {
            "money.deposited"
        });
    }
    let [third, ninth] = [2, 8].map(|place: usize| log(&*other)[place].global_sequence);
    let two = NonZeroU32::new(2).unwrap();
    let all = EventQuery::new;
    let queries = [
        all(),
        all().after(third),
        all().page_size(two),
        all().event_types(["money.withdrawn"]).unwrap(),
        all().event_types(["account.closed"]).unwrap(),
        all().aggregate_id(account.id()),
        all().backwards(),
        all().ordered_by(Order::Time),
        all().until(ninth),
        all().after(third).until(ninth),
        all().until(ninth).event_types(["money.withdrawn"]).unwrap(),
        all().until(ninth).event_types(["account.opened"]).unwrap(),
        all().until(ninth).backwards().page_size(two),
        all().until(ninth).ordered_by(Order::Time).page_size(two),
    ];
    for query in queries {
        for limit in [
            None,
            Some(0),
            Some(1),
            Some(2),
            Some(7),
            Some(12),
            Some(13),
            Some(1_000),
        ] {
            let query = limit.map_or(query.clone(), |limit| query.clone().limit(limit));
            let known = store.high_water_mark().unwrap();
            let mut types = query.filter().event_types.iter().flatten();
            append(types.next().map_or("money.withdrawn", |wanted| wanted.as_str()));
            let found = |store: &Handle| {
                let mut events = store.read(query.clone());
                let found: Vec<_> = events.by_ref().map(Result::unwrap).collect();
                (found, events.checkpoint())
            };
            let seen = found(&store);
            assert!(other.high_water_mark().unwrap() > known);
            assert_eq!(seen, found(&other), "{query:?}");
        }
    }
}

pub(crate) fn reading_beyond_the_end_is_told(env: &dyn Environment) {
    let store = env.store();
    let told = |store: &dyn EventStore, end: GlobalSequence| {
        for position in [end.checked_add(1).unwrap(), GlobalSequence::MAX] {
            for query in [
                EventQuery::new(),
                EventQuery::new().limit(1),
                EventQuery::new().backwards(),
                EventQuery::new().ordered_by(Order::Time),
                EventQuery::new().event_types(["money.deposited"]).unwrap(),
                EventQuery::new().event_types([""; 0]).unwrap(),
                EventQuery::new().tenant("acme").unwrap(),
            ] {
                let error = store.read_page(&query.after(position), None).unwrap_err();
                assert_eq!(*error.kind(), ErrorKind::BeyondEnd { position, end });
                assert!(error.is_beyond_end() && !error.is_retryable(), "{error:?}");
            }
        }
    };
    told(&*store, GlobalSequence::ZERO);
    given(&*store, &account(), 3);
    let end = store.high_water_mark().unwrap();
    told(&*store, end);
    told(&scoped(&store, "acme"), end);
    assert_eq!(read(&*store, EventQuery::new().after(end)), []);
    assert!(
        store
            .read(EventQuery::new().after(GlobalSequence::MAX))
            .next()
            .unwrap()
            .unwrap_err()
            .is_beyond_end()
    );
}

pub(crate) fn a_log_that_was_cut_is_told(env: &dyn Environment) {
    let store = env.store();
    let [other, limited, below] = [(); 3].map(|()| env.reopen());
    let all = given_ten(&store);
    let (kept, last) = (all[5].global_sequence, all[9].global_sequence);
    for store in [&store, &other, &limited, &below] {
        assert_eq!(store.high_water_mark().unwrap(), last);
    }
    env.cut_log(kept);
    let gone = ErrorKind::BeyondEnd {
        position: last,
        end: kept,
    };
    assert_eq!(*store.high_water_mark().unwrap_err().kind(), gone);
    assert_eq!(
        store.high_water_mark().unwrap(),
        kept,
        "the earlier proof is not believed any more"
    );
    let error = store.read_page(&EventQuery::new().after(last), None).unwrap_err();
    assert_eq!(*error.kind(), gone);
    assert_eq!(log(&*store), all[..=5]);
    // A read from the beginning also uses the mark that the store proved earlier.
    for (store, query) in [
        (&other, EventQuery::new()),
        (&limited, EventQuery::new().limit(2)),
        (&below, EventQuery::new().until(kept)),
    ] {
        let error = store.read_page(&query, None).unwrap_err();
        assert_eq!(*error.kind(), gone, "{query:?}");
        assert_eq!(log(&**store), all[..=5]);
    }
    for store in [&store, &other] {
        given(&**store, &account(), 1);
    }
    assert_eq!(read(&*store, EventQuery::new().after(kept)).len(), 2);
}
