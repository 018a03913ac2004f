//! The high-water mark, up to which a consumer reads.

use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

pub(crate) fn is_zero_at_first_and_then_the_last_committed_sequence(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    assert_eq!(store.high_water_mark().unwrap(), GlobalSequence::ZERO);
    for count in [1, 3, 2] {
        let appended = store.append(&account, ExpectedVersion::Any, &events(count)).unwrap();
        assert_eq!(Some(store.high_water_mark().unwrap()), appended.last_sequence());
    }
}

pub(crate) fn comes_with_every_page(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 5);
    let mark = store.high_water_mark().unwrap();
    assert!(mark > GlobalSequence::ZERO);
    for query in [
        EventQuery::new(),
        EventQuery::new().limit(1),
        EventQuery::new().backwards(),
        EventQuery::new().after(mark),
        EventQuery::new().until(GlobalSequence::from(1)),
    ] {
        assert_eq!(store.read_page(&query, None).unwrap().high_water_mark, mark);
    }
}

pub(crate) fn lets_a_filtered_consumer_advance(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    store
        .append(&account, ExpectedVersion::Any, &[event("account.opened")])
        .unwrap();
    given(&*store, &account, 4);
    let query = EventQuery::new().event_types(["account.opened"]).unwrap();
    let mut consumed = store.read(query.clone());
    assert_eq!(consumed.by_ref().count(), 1);
    let checkpoint = consumed.checkpoint();
    assert_eq!(Some(checkpoint), sequences(&log(&*store)).last().copied());
    store
        .append(&account, ExpectedVersion::Any, &[event("account.opened")])
        .unwrap();
    assert_eq!(versions(&read(&*store, query.after(checkpoint))), [6]);
}

pub(crate) fn never_goes_back(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let other = env.reopen();
    let mut last = GlobalSequence::ZERO;
    for _ in 0..6 {
        given(&*store, &account, 2);
        for mark in [
            store.high_water_mark().unwrap(),
            other.high_water_mark().unwrap(),
            store
                .read_page(&EventQuery::new().limit(1), None)
                .unwrap()
                .high_water_mark,
            store.high_water_mark().unwrap(),
        ] {
            assert!(mark >= last, "from {last} to {mark}");
            last = mark;
        }
    }
    assert_eq!(Some(last), sequences(&log(&*store)).last().copied());
}

pub(crate) fn is_not_held_up_by_a_rolled_back_transaction(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let before = store.high_water_mark().unwrap();
    let rolled_back = store.in_transaction(|tx| -> Result<_, Error> {
        tx.append(&account, exact(2), &events(3))?;
        Err::<(), _>(Error::invalid("changed my mind"))
    });
    assert!(rolled_back.unwrap_err().is_invalid_input());
    assert_eq!(store.high_water_mark().unwrap(), before);
    let appended = store.append(&account, exact(2), &events(1)).unwrap();
    assert!(appended.last_sequence() > Some(before));
    assert_eq!(Some(store.high_water_mark().unwrap()), appended.last_sequence());
    assert_eq!(versions(&read(&*store, EventQuery::new().after(before))), [3]);
}

pub(crate) fn is_the_same_for_every_store_on_the_database(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 3);
    let mark = store.high_water_mark().unwrap();
    assert_eq!(Some(mark), sequences(&log(&*store)).last().copied());
    let other = env.reopen();
    assert_eq!(other.high_water_mark().unwrap(), mark);
    given(&*other, &account, 1);
    assert!(store.high_water_mark().unwrap() > mark);
}
