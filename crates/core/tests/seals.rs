//! The columns that a digest and a checksum cover.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::HashSet;

use firefly_eventstore_core::operate::{LogDigest, Operations, Seal, seal};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{EventData, MemoryEventStore};
use serde_json::json;
use time::Duration;
use time::macros::datetime;

fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// An event with all optional fields.
fn event() -> EventEnvelope {
    let store = MemoryEventStore::new().for_tenant(TenantId::new("acme").unwrap());
    let event = NewEvent::new("money.deposited", &json!({ "cents": 1 }))
        .unwrap()
        .metadata(&json!({ "branch": "Oslo" }))
        .unwrap()
        .created_by("clerk")
        .unwrap()
        .correlation_id("corr")
        .unwrap()
        .causation_id("cause")
        .unwrap();
    store.append(&account(), ExpectedVersion::NoStream, &[event]).unwrap();
    let mut event = store.read(EventQuery::new()).next().unwrap().unwrap();
    event.updated_at = Some(event.created_at);
    event
}

fn digest(before: LogDigest, event: &EventEnvelope) -> LogDigest {
    before.with(event).unwrap().0
}

#[test]
fn a_digest_covers_every_column_and_all_that_was_before() {
    let original = event();
    type Change = fn(&mut EventEnvelope);
    let changes: &[Change] = &[
        |event| event.event_id = Uuid::nil(),
        |event| event.aggregate = AggregateKey::new("Account", Uuid::nil()).unwrap(),
        |event| event.aggregate = AggregateKey::new("Wallet", event.aggregate.id()).unwrap(),
        |event| event.version = Version::from(2),
        |event| event.global_sequence = GlobalSequence::from(2),
        |event| event.event_type = EventType::new("money.withdrawn").unwrap(),
        |event| event.data = EventData::from_stored(r#"{"cents":2}"#),
        |event| event.metadata = None,
        |event| event.metadata = Some(Metadata::from_stored("{}")),
        |event| event.created_at += Duration::MICROSECOND,
        |event| event.updated_at = None,
        |event| event.updated_at = Some(event.created_at + Duration::MICROSECOND),
        |event| event.created_by = None,
        |event| event.tenant = None,
        |event| event.correlation_id = None,
        |event| event.causation_id = None,
        |event| event.causation_id = Some("cause ".try_into().unwrap()),
        // The same texts in other columns.
        |event| {
            event.correlation_id = Some("cause".try_into().unwrap());
            event.causation_id = Some("corr".try_into().unwrap());
        },
        |event| event.checksum = None,
        |event| event.checksum = EventData::from_stored("{}").checksum().ok(),
    ];
    let mut digests = HashSet::from([digest(LogDigest::OF_NOTHING, &original)]);
    for change in changes {
        let mut changed = original.clone();
        change(&mut changed);
        digests.insert(digest(LogDigest::OF_NOTHING, &changed));
    }
    digests.insert(digest(digest(LogDigest::OF_NOTHING, &original), &original));
    assert_eq!(digests.len(), changes.len() + 2);

    let mut respelled = original.clone();
    respelled.data = EventData::from_stored(r#"{ "cents": 1.0 }"#);
    respelled.size_bytes = Some(99);
    assert_eq!(
        digest(LogDigest::OF_NOTHING, &respelled),
        digest(LogDigest::OF_NOTHING, &original)
    );
}

#[test]
fn a_snapshots_checksum_covers_every_column() {
    let new = NewSnapshot::new(&account(), Version::from(3), "AccountState.v1", &json!({ "cents": 1 })).unwrap();
    let original = new.stored(Some(&TenantId::new("acme").unwrap()));
    type Change = fn(&mut Snapshot);
    let changes: &[Change] = &[
        |snapshot| snapshot.snapshot_id = Uuid::nil(),
        |snapshot| snapshot.aggregate = AggregateKey::new("Account", Uuid::nil()).unwrap(),
        |snapshot| snapshot.aggregate = AggregateKey::new("Wallet", snapshot.aggregate.id()).unwrap(),
        |snapshot| snapshot.version = Version::from(4),
        |snapshot| snapshot.snapshot_type = "AccountState.v2".try_into().unwrap(),
        |snapshot| snapshot.state = EventData::from_stored(r#"{"cents":2}"#),
        |snapshot| snapshot.created_at += Duration::MICROSECOND,
        |snapshot| snapshot.tenant = None,
        |snapshot| snapshot.checksum = None,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = original.clone();
        change(&mut changed);
        assert_eq!(changed.cover(), None, "{number}");
        assert!(changed.verify().unwrap_err().is_integrity(), "{number}");
    }
    let mut respelled = original.clone();
    respelled.state = EventData::from_stored(r#"{ "cents": 1.0 }"#);
    respelled.verify().unwrap();
}

#[test]
fn a_seal_is_a_line_and_the_line_a_seal() {
    let line = format!("firefly-seal/713/700/2026-11-29T10:30:00.000001Z/{}", "ab".repeat(32));
    let seal: Seal = format!(" {line}\n").parse().unwrap();
    assert_eq!((seal.global_sequence.get(), seal.events), (713, 700));
    assert_eq!(seal.sealed_at, datetime!(2026-11-29 10:30:00.000_001 UTC));
    assert_eq!(seal.to_string(), line);
    for wrong in [
        "",
        "firefly-seal",
        &line[1..],
        &line[..line.len() - 1],
        &line.replace("/713/", "/-1/"),
        &line.replace("/700/", "/x/"),
        &line.replace(".000001Z", "Z"),
        &format!("{line}/"),
    ] {
        assert!(wrong.parse::<Seal>().unwrap_err().is_invalid_input(), "{wrong}");
    }
}

#[test]
fn an_event_without_a_checksum_is_not_sealed() {
    let store = MemoryEventStore::new();
    let deposited = NewEvent::new("money.deposited", &json!({})).unwrap();
    let id = deposited.event_id();
    store.append(&account(), ExpectedVersion::Any, &[deposited]).unwrap();
    store.tamper(id, |event| event.checksum = None);
    let error = seal(&store, |_| {}).unwrap_err();
    assert!(error.to_string().contains("it has no checksum"), "{error}");
    assert_eq!(store.newest_seals(1).unwrap(), []);
}
