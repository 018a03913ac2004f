//! Following the log: stored events, then new ones, each once.

use std::num::NonZeroU32;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Follow, Order};

use crate::environment::Environment;
use crate::support::*;

/// Reads the log once, and does not wait.
fn followed(store: &Handle, query: EventQuery) -> Follow<'_, Handle> {
    store.follow(query).timeout(Duration::ZERO)
}

fn rest(events: impl Iterator<Item = Result<EventEnvelope>>) -> Vec<EventEnvelope> {
    // More than any case appends.
    const ENDLESS: usize = 1_000;
    let found: Vec<_> = events.take(ENDLESS).collect::<Result<_>>().unwrap();
    assert!(found.len() < ENDLESS, "it hands out events without an end");
    found
}

pub(crate) fn hands_out_what_is_there_and_then_what_came(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let pages = EventQuery::new().page_size(NonZeroU32::new(3).unwrap());
    let mut events = followed(&store, pages);
    assert!(events.next().is_none());
    let mut appended = Vec::new();
    for count in [7, 1, 3] {
        appended.extend(ids(&given(&*store, &account, count)));
        assert_eq!(stored_ids(&rest(&mut events)), appended[appended.len() - count..]);
        assert_eq!(events.checkpoint(), store.high_water_mark().unwrap());
    }
    assert_eq!(stored_ids(&rest(followed(&store, EventQuery::new()))), appended);
}

pub(crate) fn follows_on_from_its_checkpoint_wherever_it_ended(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 9);
    let all = log(&*store);
    assert_eq!(all.len(), 9);
    for taken in 0..=all.len() {
        let mut events = followed(&store, EventQuery::new().page_size(NonZeroU32::new(4).unwrap()));
        let mut seen = rest(events.by_ref().take(taken));
        seen.extend(rest(followed(&store, EventQuery::new().after(events.checkpoint()))));
        assert_eq!(seen, all, "{taken} taken");
    }
}

pub(crate) fn its_checkpoint_passes_what_was_not_asked_for(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let withdrawals = || EventQuery::new().event_types(["money.withdrawn"]).unwrap();
    let mut events = followed(&store, withdrawals());
    given(&*store, &account, 3);
    assert!(events.next().is_none());
    assert_eq!(events.checkpoint(), store.high_water_mark().unwrap());
    store
        .append(&account, 3, &[event("money.withdrawn"), event("money.deposited")])
        .unwrap();
    let withdrawn = events.next().unwrap().unwrap();
    assert_eq!(events.checkpoint(), withdrawn.global_sequence);
    assert!(events.next().is_none());
    assert_eq!(events.checkpoint(), store.high_water_mark().unwrap());
}

pub(crate) fn its_limit_counts_what_is_handed_out(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 4);
    let mut limited = followed(&store, EventQuery::new().limit(6));
    assert_eq!(rest(&mut limited).len(), 4);
    given(&*store, &account, 4);
    let all = log(&*store);
    assert_eq!(rest(&mut limited), all[4..6]);
    assert_eq!(limited.checkpoint(), all[5].global_sequence);
    assert!(limited.next().is_none());
}

pub(crate) fn a_tenant_follows_its_own_events(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    let mut events = acme.follow(EventQuery::new()).timeout(Duration::ZERO);
    given(&globex, &account(), 2);
    let own = given(&acme, &account(), 2);
    given(&*store, &account(), 1);
    assert_eq!(stored_ids(&rest(&mut events)), ids(&own));
    assert_eq!(events.checkpoint(), store.high_water_mark().unwrap());
}

pub(crate) fn a_query_in_another_order_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given_at(&*store, &account, 60);
    given_at(&*store, &account, 0);
    for query in [EventQuery::new().backwards(), EventQuery::new().ordered_by(Order::Time)] {
        let mut events = followed(&store, query);
        assert_invalid(&events.next().unwrap().unwrap_err(), "oldest first");
        assert!(events.next().is_none());
    }
    let timed = followed(&store, EventQuery::new().created_at(at(0)..));
    assert_eq!(versions(&rest(timed)), [1, 2]);
}

pub(crate) fn events_that_are_gone_end_it(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 3);
    let mut events = followed(&store, EventQuery::new().after(1_000));
    assert!(events.next().unwrap().unwrap_err().is_beyond_end());
    assert!(events.next().is_none());
}

/// How many events each appending thread of the cases below appends.
const EACH: usize = 20;

pub(crate) fn waits_for_what_others_append(env: &dyn Environment) {
    /// Longer than anything takes here.
    const PATIENCE: Duration = Duration::from_secs(60);
    fn tell(store: &(impl ConsumerStore + ?Sized), told: &mpsc::Sender<Uuid>) {
        for event in store.follow(EventQuery::new()).timeout(PATIENCE).take(EACH) {
            told.send(event.unwrap().event_id).unwrap();
        }
    }

    let (store, other) = (env.store(), env.store());
    let boxed: Box<dyn Store> = Box::new(Arc::clone(&store));
    let (told, heard) = mpsc::channel();
    thread::scope(|scope| {
        let (follower, of_follower) = (Arc::clone(&store), told.clone());
        scope.spawn(move || tell(&*follower, &of_follower));
        scope.spawn(move || tell(&boxed, &told));
        for number in 0..EACH {
            let (account, event) = (account(), [event("money.deposited")]);
            // Every third event is awaited: then all earlier ones have been returned.
            match number % 3 {
                0 => store.append(&account, 0, &event).map(drop),
                1 => store.in_transaction(|tx| tx.append(&account, 0, &event).map(drop)),
                _ => other.append(&account, 0, &event).map(drop),
            }
            .unwrap();
            for _ in 0..2 {
                assert_eq!(heard.recv().unwrap(), event[0].event_id());
            }
        }
    });
}

pub(crate) fn ends_by_itself_at_its_limit_or_its_end(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 8);
    let all = log(&*store);
    let bounded = store.follow(EventQuery::new().until(all[6].global_sequence));
    assert_eq!(rest(bounded), all[..7]);
    assert_eq!(rest(store.follow(EventQuery::new().limit(8))), all);
    assert!(store.follow(EventQuery::new().limit(0)).next().is_none());
    let end = all[7].global_sequence;
    assert!(store.follow(EventQuery::new().after(end).until(end)).next().is_none());
}

pub(crate) fn a_stop_ends_the_wait(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 2);
    let mut ends = vec![GlobalSequence::ZERO];
    ends.extend(sequences(&log(&*store)));
    for (taken, end) in ends.into_iter().enumerate() {
        let mut events = store.follow(EventQuery::new());
        assert_eq!(rest(events.by_ref().take(taken)).len(), taken);
        let stopper = events.stopper();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| match taken {
                // It waits, or is about to wait.
                2 => (events.next().is_none(), events.checkpoint(), events.is_stopped()),
                _ => {
                    while !events.is_stopped() {
                        thread::yield_now();
                    }
                    (events.next().is_none(), events.checkpoint(), true)
                }
            });
            stopper.stop();
            assert_eq!(waiting.join().unwrap(), (true, end, true), "{taken} taken");
        });
    }
}

pub(crate) fn a_wait_ends_after_its_timeout_and_can_be_repeated(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let mut events = store.follow(EventQuery::new()).timeout(Duration::from_millis(60));
    assert!(events.next().is_none());
    assert!(events.next().is_none());
    let appended = given(&*store, &account, 2);
    assert_eq!(stored_ids(&rest(&mut events)), ids(&appended));
    assert!(!events.is_stopped());
}

pub(crate) fn followers_beside_busy_writers_miss_nothing(env: &dyn Environment) {
    const WRITERS: usize = 4;
    let (store, other) = (env.store(), env.store());
    let seen = in_parallel(2 + WRITERS, |number| match number {
        0 => rest(store.follow(EventQuery::new()).take(WRITERS * EACH)),
        1 => rest(other.follow(EventQuery::new()).take(WRITERS * EACH)),
        _ => {
            for _ in 0..EACH {
                given(&*store, &account(), 1);
            }
            Vec::new()
        }
    });
    let all = log(&*store);
    assert_eq!(all.len(), WRITERS * EACH);
    assert!(seen[0] == all && seen[1] == all, "followers saw another log");
}
