//! The batches that a publisher gets.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use firefly_eventstore_core::consumer::{
    Batch, Failure, OnFailure, Publish, Runner, Running, Subscription, replay, slot_of,
};
use firefly_eventstore_core::{MemoryEventStore, prelude::*};
use serde_json::json;

const NAME: &str = "broker.v1";
const SLOTS: u16 = 5;
const LONG: Duration = Duration::from_secs(60);

/// The batches that a publisher got, and its answers.
#[derive(Debug, PartialEq)]
struct Given {
    consumer: String,
    slot: u16,
    slots: u16,
    sequences: Vec<GlobalSequence>,
    is_replay: bool,
}

fn given(batch: &Batch<'_>) -> Given {
    Given {
        consumer: batch.consumer.to_owned(),
        slot: batch.slot,
        slots: batch.slots,
        sequences: batch.events.iter().map(|event| event.global_sequence).collect(),
        is_replay: batch.is_replay,
    }
}

struct Broker<F>(F);

impl<F: Fn(&Batch<'_>) -> Result<(), Failure> + Send + Sync + 'static> Publish for Broker<F> {
    fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure> {
        (self.0)(batch)
    }
}

fn run(
    store: &MemoryEventStore,
    answer: impl Fn(&Batch<'_>) -> Result<(), Failure> + Send + Sync + 'static,
) -> (Running, Receiver<Given>) {
    let (sender, receiver) = mpsc::channel();
    let broker = Broker(move |batch: &Batch<'_>| {
        sender.send(given(batch)).unwrap();
        answer(batch)
    });
    let subscription = Subscription::publishing(NAME, EventQuery::new(), broker)
        .group(SLOTS)
        .on_failure(OnFailure::retry(1).then_park());
    let running = Runner::new(store.clone()).subscribe(subscription).start();
    (running.unwrap(), receiver)
}

fn append(store: &MemoryEventStore, account: &AggregateKey, count: usize) -> GlobalSequence {
    let events: Vec<_> = (0..count)
        .map(|amount| NewEvent::new("money.deposited", &json!({ "amount": amount })).unwrap())
        .collect();
    let version = store.load(account).unwrap().version();
    store
        .append(account, version, &events)
        .unwrap()
        .last_sequence()
        .unwrap()
}

fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

#[test]
fn a_batch_is_of_one_slot_and_leaves_nothing_of_it_out() {
    let store = MemoryEventStore::new();
    let accounts: Vec<_> = (0..20).map(|_| account()).collect();
    let mut last = GlobalSequence::ZERO;
    for account in accounts.iter().chain(&accounts[..7]) {
        last = append(&store, account, 3);
    }
    let (running, batches) = run(&store, |_| Ok(()));
    running.wait_for(NAME, last, LONG).unwrap();
    assert!(running.stop().is_empty());
    let batches: Vec<_> = batches.into_iter().collect();
    for slot in 0..SLOTS {
        let of_slot = |batch: &&Given| batch.slot == slot;
        let published = batches.iter().filter(of_slot).flat_map(|batch| batch.sequences.clone());
        let stored = store.read(EventQuery::new()).map(Result::unwrap);
        let stored = stored.filter(|event| slot_of(event.aggregate.id(), SLOTS) == slot);
        let stored = stored.map(|event| event.global_sequence);
        assert_eq!(published.collect::<Vec<_>>(), stored.collect::<Vec<_>>());
    }
    for batch in &batches {
        assert_eq!((&*batch.consumer, batch.slots, batch.is_replay), (NAME, SLOTS, false));
    }
}

#[test]
fn a_publisher_is_told_what_was_parked_before() {
    let store = MemoryEventStore::new();
    let account = account();
    let last = append(&store, &account, 2);
    let (running, batches) = run(&store, |batch| match batch.is_replay {
        true => Ok(()),
        false => Err(Failure::Park("refused".into())),
    });
    running.wait_for(NAME, last, LONG).unwrap();
    replay(&store, NAME, account.id()).unwrap();
    let batches = std::iter::from_fn(|| batches.recv_timeout(LONG).ok());
    let batches: Vec<_> = batches
        .take(4)
        .map(|batch| (batch.is_replay, batch.sequences))
        .collect();
    // The batch, the failing event in it, and the two parked ones.
    let sequences = |sequences: &[u32]| sequences.iter().map(|&sequence| sequence.into()).collect();
    assert_eq!(
        batches,
        [
            (false, sequences(&[1, 2])),
            (false, sequences(&[1])),
            (true, sequences(&[1])),
            (true, sequences(&[2]))
        ]
    );
    drop(running);
    assert!(
        replay(&store, NAME, account.id()).is_err(),
        "nothing is parked any more"
    );
}
