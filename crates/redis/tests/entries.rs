//! The entries of a stream, and refused batches.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use firefly_eventstore_core::consumer::{Batch, Publish};
use firefly_eventstore_core::{MemoryEventStore, prelude::*};
use firefly_eventstore_redis::RedisStreams;
use firefly_eventstore_test_servers::RedisServer;

use support::*;

#[test]
fn an_entry_has_the_columns_of_its_event() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let store = MemoryEventStore::new();
    let account = account();
    let data = r#"{"owner": "Ada", "cents": 9007199254740993}"#;
    let opened = NewEvent::from_json("account.opened", data)
        .and_then(|event| event.metadata_json(r#"{"branch": "Oslo"}"#))
        .and_then(|event| event.created_by("clerk-7"))
        .and_then(|event| event.correlation_id("transfer-19"))
        .and_then(|event| event.causation_id("order-3"))
        .unwrap()
        .created_at(OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap())
        .unwrap();
    let ids = [opened.event_id()];
    let for_tenant = store.for_tenant(TenantId::new("north").unwrap());
    for_tenant
        .append(&account, ExpectedVersion::NoStream, &[opened])
        .unwrap();
    append(&store, &support::account(), 1);
    let events = events(&store);
    publish(&streams(&server), &events).unwrap();

    let [(first, fields), (second, fewer)] = entries(&server, 0).try_into().unwrap();
    let owner = first.strip_prefix("1-").unwrap();
    assert_ne!(owner, "0");
    assert_eq!(second, format!("2-{owner}"));
    let expected = [
        ("event_id", ids[0].to_string()),
        ("aggregate_id", account.id().to_string()),
        ("aggregate_type", "Account".to_owned()),
        ("aggregate_version", "1".to_owned()),
        ("global_sequence", "1".to_owned()),
        ("event_type", "account.opened".to_owned()),
        ("event_data", data.to_owned()),
        ("metadata", r#"{"branch": "Oslo"}"#.to_owned()),
        ("created_at", "2023-11-14T22:13:20.000000Z".to_owned()),
        ("created_by", "clerk-7".to_owned()),
        ("tenant_id", "north".to_owned()),
        ("correlation_id", "transfer-19".to_owned()),
        ("causation_id", "order-3".to_owned()),
        ("checksum", events[0].checksum.unwrap().to_string()),
    ];
    let expected: HashMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value)).into();
    assert_eq!(fields, expected);
    let mut names: Vec<_> = fewer.into_keys().collect();
    names.sort_unstable();
    let always = "aggregate_id aggregate_type aggregate_version checksum created_at event_data event_id event_type global_sequence";
    assert_eq!(names.join(" "), always);
}

#[test]
fn what_is_published_again_is_there_once() {
    let Some(server) = RedisServer::start_unless_missing(&[("appendfsync", "always")]) else {
        return;
    };
    let events = some_events(9);
    let (one, other) = (streams(&server), streams(&server));
    publish(&one, &events[..5]).unwrap();
    let written = || -> String {
        let info: String = run(&server, "INFO persistence");
        let size = info.lines().find(|line| line.starts_with("aof_current_size:"));
        size.unwrap().to_owned()
    };
    let before = written();
    publish(&one, &events[..5]).unwrap(); // its confirmation was lost
    assert_ne!(written(), before, "nothing makes sure that it is on the disk");
    publish(&other, &events[3..8]).unwrap(); // from an older checkpoint
    publish(&one, &events[5..6]).unwrap(); // by one that was suspended
    publish(&one, &[]).unwrap();
    assert_eq!(sequences(&server, 0), [1, 2, 3, 4, 5, 6, 7, 8]);
    // Also if it was read and deleted, or trimmed.
    let _: u64 = run(&server, "XTRIM accounts:0 MAXLEN 0");
    publish(&other, &events).unwrap();
    assert_eq!(sequences(&server, 0), [9]);
}

#[test]
fn sequences_of_any_size_are_in_order() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let mut events = some_events(4);
    // Doubles cannot represent the last two.
    let sequences_of = [9, 10, 9_007_199_254_740_992, 9_007_199_254_740_993];
    for (event, sequence) in events.iter_mut().zip(sequences_of) {
        event.global_sequence = GlobalSequence::new(sequence).unwrap();
    }
    let streams = streams(&server);
    for end in 1..=4 {
        publish(&streams, &events[..end]).unwrap();
    }
    assert_eq!(sequences(&server, 0), sequences_of);
}

#[test]
fn a_stream_can_be_kept_short() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let events = some_events(1_000);
    let streams = streams(&server).max_len(10);
    publish(&streams, &events).unwrap();
    let kept = sequences(&server, 0);
    assert!((10..500).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last(), Some(&1_000));
    publish(&streams, &events).unwrap();
    assert_eq!(sequences(&server, 0), kept);
}

#[test]
fn a_stream_that_is_not_as_it_was_left_stops_the_slot() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let events = some_events(6);
    let streams = streams(&server);
    let _: () = run(&server, "SET accounts:0 text");
    assert_stops(publish(&streams, &events), "WRONGTYPE");
    let _: u64 = run(&server, "DEL accounts:0");

    // Another program wrote to it, or had written to it before.
    for delete in [false, true] {
        let id: String = run(&server, "XADD accounts:0 * text hello");
        if delete {
            let _: u64 = run(&server, &format!("XDEL accounts:0 {id}"));
        }
        assert_stops(
            publish(&streams, &events),
            &format!("{id}, was written by another program or subscription"),
        );
        let _: u64 = run(&server, "DEL accounts:0");
    }

    // A group of readers may have been created first.
    let _: () = run(&server, "XGROUP CREATE accounts:0 readers 0 MKSTREAM");
    publish(&streams, &events[..4]).unwrap();
    let others = [Batch::new("another.v1", 0, 1, &events), Batch::new(NAME, 0, 2, &events)];
    for other in others {
        assert_stops(
            streams.publish(&other),
            "was written by another program or subscription",
        );
    }
    assert_stops(
        streams.publish(&Batch::new(NAME, 0, 1, &events[5..]).replayed()),
        "was parked",
    );
    assert_eq!(sequences(&server, 0), [1, 2, 3, 4]);
    publish(&streams, &events[4..]).unwrap();
    assert_eq!(sequences(&server, 0), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_the_server_has_lost_is_noticed() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let events = some_events(6);
    let streams = streams(&server);
    publish(&streams, &events[..2]).unwrap();
    let backup: Vec<u8> = run(&server, "DUMP accounts:0");
    publish(&streams, &events[2..4]).unwrap();
    let restore = || {
        let mut command = redis::cmd("RESTORE");
        command.arg("accounts:0").arg(0).arg(&backup).arg("REPLACE");
        command.exec(&mut connect(&server)).unwrap();
    };
    restore();
    assert_stops(publish(&streams, &events[4..]), "reposition the consumer to 2");
    assert_eq!(sequences(&server, 0), [1, 2]);
    publish(&streams, &events[2..]).unwrap();
    assert_eq!(sequences(&server, 0), [1, 2, 3, 4, 5, 6]);

    server.kill("KILL");
    server.lose_data();
    server.restart();
    let more = some_events(7);
    assert_later(publish(&streams, &more[6..]), "publish to Redis stream accounts:0: ");
    assert_stops(publish(&streams, &more[6..]), "reposition the consumer to 0");
    publish(&streams, &more).unwrap();
    assert_eq!(sequences(&server, 0), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_passes_is_waited_for() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let events = some_events(9);
    let streams = streams(&server);
    let mut admin = connect(&server);
    let mut admin = |command: &str| {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).exec(&mut admin).unwrap();
    };
    for (harm, reason, cure) in [
        ("CONFIG SET maxmemory 1", "OOM", "CONFIG SET maxmemory 0"),
        ("REPLICAOF 127.0.0.1 1", "", "REPLICAOF NO ONE"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "NOREPLICAS",
            "CONFIG SET min-replicas-to-write 0",
        ),
        ("CONFIG SET maxclients 1", "", "CONFIG SET maxclients 100"),
        ("ACL SETUSER default -eval", "", "ACL SETUSER default +@all"),
    ] {
        admin(harm);
        let client_is_new = RedisStreams::new(&server.url(), STREAM).unwrap();
        assert_later(publish(&client_is_new, &events[..1]), reason);
        admin(cure);
        publish(&client_is_new, &events[..1]).unwrap();
    }
    let stranger = RedisStreams::new(&server.url_without_password(), STREAM).unwrap();
    assert_later(publish(&stranger, &events), "NOAUTH");
    let wrong = server.url().replace("pass=", "pass=x");
    assert_later(publish(&RedisStreams::new(&wrong, STREAM).unwrap(), &events), "");

    // A server that hangs: it is not known whether it publishes this.
    let streams = streams.timeout(Duration::from_millis(100));
    publish(&streams, &events[..5]).unwrap();
    admin("CLIENT PAUSE 60000 WRITE");
    assert_later(publish(&streams, &events[5..]), "");
    admin("CLIENT UNPAUSE");
    publish(&streams, &events[5..]).unwrap();
    assert_eq!(sequences(&server, 0), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn events_are_published_when_replicas_have_them() {
    let Some(server) = RedisServer::start_unless_missing(&[("repl-diskless-sync-delay", "0")]) else {
        return;
    };
    let events = some_events(3);
    let impatient = streams(&server).replicas(1).timeout(Duration::from_millis(50));
    assert_later(publish(&impatient, &events[..2]), "0 of 1 replicas");
    let replica = server.replica();
    let patient = streams(&server).replicas(1).timeout(Duration::from_secs(60));
    publish(&patient, &events[..2]).unwrap();
    assert_eq!(sequences(&replica, 0), [1, 2]);

    let info: String = run(&replica, "INFO server");
    let id = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
    let signal = |signal| assert!(Command::new("kill").args([signal, id]).status().unwrap().success());
    signal("-STOP");
    let impatient = || streams(&server).replicas(1).timeout(Duration::from_millis(50));
    assert_later(publish(&impatient(), &events), "0 of 1 replicas");
    // Events that are already there are not confirmed by replicas either.
    assert_later(publish(&impatient(), &events), "0 of 1 replicas");
    signal("-CONT");
    publish(&patient, &events).unwrap();
    assert_eq!(sequences(&replica, 0), [1, 2, 3]);
}
