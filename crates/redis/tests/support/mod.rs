//! Stores with events, and the entries of streams on the server.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashMap;

use firefly_eventstore_core::consumer::{Batch, Failure, Publish, slot_of};
use firefly_eventstore_core::{MemoryEventStore, prelude::*};
use firefly_eventstore_redis::RedisStreams;
use firefly_eventstore_test_servers::RedisServer;
use redis::{Client, Connection, FromRedisValue};

pub(crate) const NAME: &str = "accounts-to-redis.v1";
pub(crate) const STREAM: &str = "accounts";

/// An entry: its id, its fields.
pub(crate) type Entry = (String, HashMap<String, String>);

pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// Appends so many events to an aggregate.
pub(crate) fn append(store: &dyn EventStore, account: &AggregateKey, count: usize) -> GlobalSequence {
    let events: Vec<_> = (0..count)
        .map(|amount| NewEvent::new("money.deposited", &serde_json::json!({ "amount": amount })).unwrap())
        .collect();
    let version = store.load(account).unwrap().version();
    store
        .append(account, version, &events)
        .unwrap()
        .last_sequence()
        .unwrap()
}

pub(crate) fn events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).map(Result::unwrap).collect()
}

/// So many events, with sequences from 1.
pub(crate) fn some_events(count: usize) -> Vec<EventEnvelope> {
    let store = MemoryEventStore::new();
    append(&store, &account(), count);
    events(&store)
}

pub(crate) fn streams(server: &RedisServer) -> RedisStreams {
    RedisStreams::new(&server.url(), STREAM).unwrap()
}

/// Publishes as the only slot of a subscription.
pub(crate) fn publish(streams: &RedisStreams, events: &[EventEnvelope]) -> Result<(), Failure> {
    streams.publish(&Batch::new(NAME, 0, 1, events))
}

pub(crate) fn connect(server: &RedisServer) -> Connection {
    Client::open(server.url()).unwrap().get_connection().unwrap()
}

/// Runs a command that is written as one line.
pub(crate) fn run<T: FromRedisValue>(server: &RedisServer, command: &str) -> T {
    let mut words = command.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    command.query(&mut connect(server)).unwrap()
}

pub(crate) fn entries(server: &RedisServer, slot: u16) -> Vec<Entry> {
    run(server, &format!("XRANGE {STREAM}:{slot} - +"))
}

/// The sequences of a stream's entries. Each entry's id begins with its sequence.
pub(crate) fn sequences(server: &RedisServer, slot: u16) -> Vec<u64> {
    let sequence = |(id, fields): &Entry| {
        let sequence = id.split_once('-').unwrap().0;
        assert_eq!(sequence, fields["global_sequence"]);
        sequence.parse().unwrap()
    };
    entries(server, slot).iter().map(sequence).collect()
}

/// Checks that each slot's stream has all events of the slot, in their order, once.
pub(crate) fn assert_published(server: &RedisServer, store: &dyn EventStore, slots: u16) {
    let events = events(store);
    for slot in 0..slots {
        let of_slot = events
            .iter()
            .filter(|event| slot_of(event.aggregate.id(), slots) == slot);
        let stored: Vec<_> = of_slot.map(|event| event.event_id.to_string()).collect();
        let published: Vec<_> = entries(server, slot)
            .into_iter()
            .map(|(_, mut fields)| fields.remove("event_id").unwrap())
            .collect();
        assert!(published == stored, "slot {slot}: {published:?}, not {stored:?}");
    }
}

pub(crate) fn assert_later(published: Result<(), Failure>, part: &str) {
    match published {
        Err(Failure::Later(error)) if error.to_string().contains(part) => {}
        other => panic!("{other:?}, not Later with {part:?}"),
    }
}

pub(crate) fn assert_stops(published: Result<(), Failure>, part: &str) {
    match published {
        Err(Failure::Stop(error)) if error.to_string().contains(part) => {}
        other => panic!("{other:?}, not Stop with {part:?}"),
    }
}
