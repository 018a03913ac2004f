//! Operating consumers, on the in-memory store. Its tables of consumers are those of every backend.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use firefly_eventstore_core::MemoryEventStore;
use firefly_eventstore_core::consumer::{
    ConsumerState, ParkedQuery, Registration, discard, discard_aggregate, find_parked, pause, replay, replay_all,
    reposition, resume, status,
};
use firefly_eventstore_core::prelude::*;
use time::Duration;

const NAME: &str = "mails.v1";

/// A store with this many events, and a consumer that has handled none.
fn store_with(events: usize) -> MemoryEventStore {
    let store = MemoryEventStore::new();
    for _ in 0..events {
        let event = NewEvent::new("account.opened", &serde_json::json!({})).unwrap();
        let hour_ago = OffsetDateTime::now_utc().truncate_to_microsecond() - Duration::HOUR;
        let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
        let event = event.created_at(hour_ago).unwrap();
        store.append(&account, ExpectedVersion::NoStream, &[event]).unwrap();
    }
    begin(&store, NAME, ConsumerState::Running);
    store
}

fn begin(store: &MemoryEventStore, name: &str, state: ConsumerState) {
    let query = EventQuery::new();
    let registration = Registration::new(name, &query).slots(2).state(state);
    store.consume(&mut |tx| tx.register(&registration).map(drop)).unwrap();
}

fn park(store: &MemoryEventStore, sequence: u32, aggregate: u128) {
    store
        .consume(&mut |tx| {
            tx.park(
                NAME,
                GlobalSequence::from(sequence),
                Uuid::from_u128(aggregate),
                5,
                "no",
            )
        })
        .unwrap();
}

/// The sequences of the parked events, and whether each has a replay request.
fn parked(store: &MemoryEventStore) -> Vec<(u64, bool)> {
    let query = ParkedQuery::Of {
        consumer: NAME,
        after: GlobalSequence::ZERO,
        limit: 10_000,
    };
    let parked = store.parked_events(query).unwrap();
    parked
        .iter()
        .map(|event| (event.global_sequence.get(), event.replay))
        .collect()
}

#[test]
fn a_status_tells_how_far_a_consumer_is_and_what_keeps_it() {
    let store = store_with(3);
    begin(&store, "other.v1", ConsumerState::Inline);
    store
        .consume(&mut |tx| {
            let mut first = tx.lock_slot(NAME, 0)?;
            tx.advance(&mut first, GlobalSequence::from(2))?;
            let mut second = tx.lock_slot(NAME, 1)?;
            tx.advance(&mut second, GlobalSequence::from(1))?;
            second.state = ConsumerState::Failed;
            tx.fail(&mut second, GlobalSequence::from(2), "no such account")
                .map(drop)
        })
        .unwrap();
    park(&store, 1, 1);
    let all = status(&store, None).unwrap();
    assert_eq!(all.iter().map(|one| &*one.name).collect::<Vec<_>>(), [NAME, "other.v1"]);
    let mails = &all[0];
    assert_eq!((mails.position.get(), mails.behind, mails.parked), (1, 2, 1));
    assert!(mails.age.unwrap() >= Duration::HOUR.unsigned_abs());
    assert_eq!(mails.state(), ConsumerState::Failed);
    assert_eq!(mails.failing().unwrap().error, "no such account");
    let inline = &all[1];
    assert_eq!((inline.position.get(), inline.behind, inline.age), (3, 0, None));
    assert_eq!(status(&store, Some(NAME)).unwrap()[0].name, NAME);
    // A consumer that was never started has no known position.
    assert_eq!(status(&store, Some("nobody.v1")).unwrap(), []);
}

#[test]
fn pausing_and_resuming_concern_every_slot() {
    let store = store_with(1);
    let states = || -> Vec<_> {
        store
            .consumers(Some(NAME))
            .unwrap()
            .iter()
            .map(|slot| slot.state)
            .collect()
    };
    pause(&store, NAME).unwrap();
    assert_eq!(states(), [ConsumerState::Paused; 2]);
    resume(&store, NAME).unwrap();
    assert_eq!(states(), [ConsumerState::Running; 2]);
}

#[test]
fn moving_raises_the_tokens_and_goes_nowhere_beyond_the_log() {
    let store = store_with(3);
    reposition(&store, NAME, GlobalSequence::from(3)).unwrap();
    reposition(&store, NAME, GlobalSequence::from(1)).unwrap();
    for slot in store.consumers(Some(NAME)).unwrap() {
        assert_eq!((slot.position.get(), slot.token), (1, 2));
    }
    assert!(
        reposition(&store, NAME, GlobalSequence::from(4))
            .unwrap_err()
            .is_invalid_input()
    );
}

#[test]
fn what_has_not_begun_or_follows_no_log_is_refused() {
    let store = store_with(1);
    begin(&store, "inline.v1", ConsumerState::Inline);
    for name in ["nobody.v1", "inline.v1"] {
        let refused = [
            pause(&store, name),
            resume(&store, name),
            reposition(&store, name, GlobalSequence::ZERO),
            replay(&store, name, Uuid::nil()).map(drop),
            discard(&store, name, GlobalSequence::from(1)),
            discard_aggregate(&store, name, Uuid::nil()).map(drop),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert!(error.is_invalid_input() && error.to_string().contains(name), "{error}");
        }
    }
}

#[test]
fn one_aggregate_or_all_are_replayed() {
    let store = store_with(0);
    assert_eq!(replay_all(&store, NAME).unwrap(), 0);
    for (sequence, aggregate) in [(1, 7), (2, 8), (5, 7)] {
        park(&store, sequence, aggregate);
    }
    assert_eq!(replay(&store, NAME, Uuid::from_u128(7)).unwrap(), 2);
    assert_eq!(parked(&store), [(1, true), (2, false), (5, true)]);
    assert_eq!(replay_all(&store, NAME).unwrap(), 3);
    assert_eq!(parked(&store), [(1, true), (2, true), (5, true)]);
}

#[test]
fn all_is_more_than_a_page() {
    let store = store_with(0);
    for sequence in 1..=2_500 {
        park(&store, sequence, u128::from(sequence % 1_500));
    }
    assert_eq!(replay_all(&store, NAME).unwrap(), 2_500);
    assert!(parked(&store).iter().all(|(_, replay)| *replay));
    for sequence in 3_000..=4_500 {
        park(&store, sequence, 1 << 64);
    }
    assert_eq!(
        discard_aggregate(&store, NAME, Uuid::from_u128(1 << 64)).unwrap(),
        1_501
    );
    assert_eq!(parked(&store).len(), 2_500);
}

#[test]
fn one_event_or_those_of_an_aggregate_are_discarded() {
    let store = store_with(0);
    for (sequence, aggregate) in [(1, 7), (2, 8), (5, 7), (6, 8)] {
        park(&store, sequence, aggregate);
    }
    let find = |sequence: u32| find_parked(&store, NAME, GlobalSequence::from(sequence)).unwrap();
    assert_eq!(find(2).unwrap().aggregate_id, Uuid::from_u128(8));
    assert_eq!((find(0), find(3)), (None, None));
    discard(&store, NAME, GlobalSequence::from(2)).unwrap();
    assert_eq!(find(2), None);
    assert!(
        discard(&store, NAME, GlobalSequence::from(2))
            .unwrap_err()
            .is_invalid_input()
    );
    assert_eq!(discard_aggregate(&store, NAME, Uuid::from_u128(7)).unwrap(), 2);
    assert_eq!(parked(&store), [(6, false)]);
}
