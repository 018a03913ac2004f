//! Operating consumers: their status, pausing and moving them, and their parked events.

use std::time::Duration;

use firefly_eventstore_core::consumer::{
    BoxError, ConsumerState, ConsumerStore as _, Projection, Registration, Transactional, discard, pause, project,
    replay, reposition, resume, status,
};
use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

const NAME: &str = "counted.v1";

/// Does nothing, and counts.
struct Counted;

impl<S: Transactional> Projection<S> for Counted {
    fn name(&self) -> &str {
        NAME
    }

    fn query(&self) -> Result<EventQuery, Error> {
        EventQuery::new().event_types(["money.deposited"])
    }

    fn apply(&self, _: &mut S::Transaction<'_>, _: &EventEnvelope) -> Result<(), BoxError> {
        Ok(())
    }
}

fn sequence(number: u32) -> GlobalSequence {
    GlobalSequence::from(number)
}

fn park(store: &Handle, number: u32, aggregate: &AggregateKey) {
    store
        .consume(&mut |tx| tx.park(NAME, sequence(number), aggregate.id(), 1, "poison"))
        .unwrap();
}

pub(crate) fn a_status_tells_how_far_behind_a_consumer_is(env: &dyn Environment) {
    let store = env.store();
    assert!(status(&store, None).unwrap().is_empty());
    assert!(
        status(&store, Some(NAME)).unwrap().is_empty(),
        "one that has not begun is not caught up"
    );
    let key = account();
    given(&*store, &key, 3);
    project(&store, &Counted).unwrap();
    let found = status(&store, Some(NAME)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].name.as_str(), found[0].behind, found[0].age, found[0].parked),
        (NAME, 0, None, 0)
    );
    assert_eq!(
        (found[0].state(), found[0].failing(), found[0].holders().len()),
        (ConsumerState::Running, None, 0)
    );
    let late = event("money.deposited").created_at(at(0)).unwrap();
    store.append(&key, exact(3), &[late, event("other")]).unwrap();
    park(&store, 2, &key);
    let found = status(&store, None).unwrap().remove(0);
    assert_eq!((found.position, found.behind, found.parked), (sequence(3), 2, 1));
    assert!(
        found.age.unwrap() > Duration::from_secs(30 * 24 * 60 * 60),
        "{:?}",
        found.age
    );
}

pub(crate) fn a_status_tells_who_holds_the_slots_of_a_group(env: &dyn Environment) {
    let store = env.store();
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let query = EventQuery::new();
    store
        .consume(&mut |tx| {
            tx.register(&Registration::new(NAME, &query).slots(4))?;
            assert_eq!(tx.claim(NAME, first, Duration::from_secs(60))?.slots.len(), 4);
            tx.release(NAME, 3, first)?;
            assert_eq!(tx.claim(NAME, second, Duration::from_secs(60))?.slots.len(), 1);
            let mut slot = tx.lock_slot(NAME, 1)?;
            tx.fail(&mut slot, sequence(7), "poison").map(drop)
        })
        .unwrap();
    let found = status(&store, Some(NAME)).unwrap().remove(0);
    let mut holders = [first, second];
    holders.sort_unstable();
    assert_eq!(found.holders(), holders);
    assert_eq!(found.failing().unwrap().sequence, sequence(7));
}

pub(crate) fn pausing_and_resuming_change_every_slot(env: &dyn Environment) {
    let store = env.store();
    assert_invalid(&pause(&store, NAME).unwrap_err(), "no program has run it");
    given(&*store, &account(), 1);
    project(&store, &Counted).unwrap();
    pause(&store, NAME).unwrap();
    assert_eq!(status(&store, None).unwrap()[0].state(), ConsumerState::Paused);
    assert!(project(&store, &Counted).is_err() || status(&store, None).unwrap()[0].behind == 0);
    given(&*store, &account(), 1);
    project(&store, &Counted).unwrap_err();
    resume(&store, NAME).unwrap();
    assert_eq!(project(&store, &Counted).unwrap(), 1);
}

pub(crate) fn a_consumer_that_is_moved_handles_again_or_leaves_out(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 5);
    project(&store, &Counted).unwrap();
    let token = store.consumers(Some(NAME)).unwrap()[0].token;
    reposition(&store, NAME, sequence(2)).unwrap();
    assert!(store.consumers(Some(NAME)).unwrap()[0].token > token);
    assert_eq!(project(&store, &Counted).unwrap(), 3);
    assert_invalid(&reposition(&store, NAME, sequence(6)).unwrap_err(), "the log goes to 5");
}

pub(crate) fn parked_events_are_replayed_or_discarded_by_name(env: &dyn Environment) {
    let store = env.store();
    let (key, other) = (account(), account());
    given(&*store, &key, 3);
    project(&store, &Counted).unwrap();
    park(&store, 1, &key);
    park(&store, 3, &key);
    assert_eq!(replay(&store, NAME, key.id()).unwrap(), 2);
    assert_invalid(&replay(&store, NAME, other.id()).unwrap_err(), "has parked no event");
    assert_invalid(&discard(&store, NAME, sequence(2)).unwrap_err(), "has not parked");
    discard(&store, NAME, sequence(3)).unwrap();
    assert_eq!(status(&store, None).unwrap()[0].parked, 1);
    discard(&store, NAME, sequence(1)).unwrap();
    assert_eq!(status(&store, None).unwrap()[0].parked, 0);
}
