//! How much memory a read of the log takes, for events of any size.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::process::Command;
use std::{env, fs};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;

use support::{client, fresh};

const LOG: &str = "FIREFLY_TEST_READS_THE_LOG_OF";

/// The most memory, in bytes, that this process has had so far.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes << 10
}

/// The next test runs this one in a process of its own.
#[test]
fn reads_the_log() {
    let Ok(url) = env::var(LOG) else { return };
    let store = PostgresEventStore::open(&url).unwrap();
    let before = most_memory();
    let read = store
        .read(EventQuery::new())
        .map(|event| event.unwrap().data.as_str().len());
    let bytes: usize = read.sum();
    println!("\nread {bytes} bytes, which took {}", most_memory() - before);
}

#[test]
fn pages_of_events_of_every_size_have_all_of_them_in_order() {
    let Some((database, store)) = fresh() else { return };
    // A few large events among small ones, many large events, metadata that is compressed well, and an event larger
    // than a page.
    let insert = "INSERT INTO events
            (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata)
        SELECT gen_random_uuid(), gen_random_uuid(), 'Note', 1, 'note.taken', to_jsonb(repeat('x', CASE
                WHEN number % 200 = 0 THEN 50000
                WHEN number BETWEEN 1500 AND 1600 THEN 90000
                WHEN number = 2500 THEN 300000
                ELSE 5
            END)),
            CASE WHEN number % 300 = 0 THEN to_jsonb(repeat('y', 40000)) WHEN number % 7 = 0 THEN '{}' END
        FROM generate_series(1, 3000) AS number";
    client(&database).batch_execute(insert).unwrap();
    let query = |bytes: u64| EventQuery::new().page_bytes(bytes.try_into().unwrap());
    let all = store.read(query(u64::MAX)).collect::<Result<Vec<_>, Error>>().unwrap();
    assert_eq!(all.len(), 3_000);
    assert!(
        all.iter()
            .enumerate()
            .all(|(at, event)| event.global_sequence == at as u64 + 1)
    );
    for bytes in [1, 10_000, 200_000, 1 << 20] {
        let store = PostgresEventStore::open(database.url()).unwrap();
        let (mut read, mut next) = (Vec::new(), None);
        loop {
            let page = store.read_page(&query(bytes), next.as_ref()).unwrap();
            let size = |event: &EventEnvelope| {
                event.data.as_str().len() + event.metadata.as_ref().map_or(0, |m| m.as_str().len())
            };
            let before_last: usize = page.events.iter().rev().skip(1).map(size).sum();
            assert!((before_last as u64) < bytes, "a page ends with the event that fills it");
            read.extend(page.events);
            next = page.next;
            if next.is_none() || (bytes == 1 && read.len() > 400) {
                break;
            }
        }
        assert_eq!(read, all[..read.len()]);
        assert!(read.len() == 3_000 || bytes == 1);
    }
    let mut backwards = store
        .read(query(200_000).backwards())
        .collect::<Result<Vec<_>, Error>>()
        .unwrap();
    backwards.reverse();
    assert_eq!(backwards, all);
    let by_time = query(200_000).ordered_by(firefly_eventstore_core::Order::Time);
    assert_eq!(store.read(by_time).collect::<Result<Vec<_>, Error>>().unwrap(), all);
}

#[test]
fn a_read_takes_the_memory_of_a_page_however_large_the_events_are() {
    let Some((database, store)) = fresh() else { return };
    let insert = "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
        SELECT gen_random_uuid(), gen_random_uuid(), 'Note', 1, 'note.taken', to_jsonb(repeat('x', 1024 * size))
        FROM (SELECT 1 AS size FROM generate_series(1, 2000) UNION ALL SELECT 1024 FROM generate_series(1, 200)) AS sizes";
    client(&database).batch_execute(insert).unwrap();

    let query = EventQuery::new().after(GlobalSequence::from(2_000));
    let mut page = store.read_page(&query, None).unwrap();
    for _ in 0..3 {
        // Each is more than 1 MiB with its quotation marks.
        assert_eq!(page.events.len(), 16);
        page = store.read_page(&query, page.next.as_ref()).unwrap();
    }
    let small = EventQuery::new().until(GlobalSequence::from(2_000));
    assert_eq!(store.read_page(&small, None).unwrap().events.len(), 2_000);

    let reader = Command::new(env::current_exe().unwrap())
        .args(["--exact", "reads_the_log", "--nocapture"])
        .env(LOG, database.url())
        .output()
        .unwrap();
    let told = String::from_utf8(reader.stdout).unwrap();
    let numbers = told.lines().find_map(|line| line.strip_prefix("read ")).unwrap();
    let (bytes, took) = numbers.split_once(" bytes, which took ").unwrap();
    assert_eq!(bytes, (2_000 * 1_026 + 200 * ((1 << 20) + 2)).to_string());
    assert!(took.parse::<u64>().unwrap() < 64 << 20, "{told}");
}
