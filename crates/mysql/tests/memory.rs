//! How much memory a read of large events takes, and how much the server sends. A test binary of its own, because the memory is measured
//! for the whole process.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::num::NonZeroU64;

use firefly_eventstore_core::Order;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::Conn;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_test_servers::{MysqlServer, mariadb_unless_missing, mysql_unless_missing};

use support::{account, builder, client, fresh};

#[test]
fn a_scan_of_large_events_takes_the_memory_of_a_page_and_sends_each_about_once() {
    for server in [mysql_unless_missing(), mariadb_unless_missing()].into_iter().flatten() {
        scan(server);
    }
}

const MIB: u64 = 1 << 20;
const EVENTS: u64 = 40;
const PAGE: u64 = MIB;

fn scan(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let account = account();
    // The sizes change on the way, so that the size that was learned from the first events is wrong for the others.
    let text = "x".repeat(MIB as usize - 100);
    for (count, text) in [(1_000, ""), (EVENTS, &text), (1_000, "")] {
        let event = |number| NewEvent::new("note.taken", &(number, text)).unwrap();
        let at_once = if text.is_empty() { count } else { 5 };
        for _ in 0..count / at_once {
            let events: Vec<NewEvent> = (0..at_once).map(event).collect();
            store.append(&account, ExpectedVersion::Any, &events).unwrap();
        }
    }
    drop(store);
    let page = NonZeroU64::new(PAGE).unwrap();
    let queries = [
        (EventQuery::new(), 2_000 + EVENTS),
        (EventQuery::new().event_types(["note.taken"]).unwrap(), 2_000 + EVENTS),
        (EventQuery::new().aggregate_id(account.id()).backwards(), 2_000 + EVENTS),
        (EventQuery::new().ordered_by(Order::Time), 2_000 + EVENTS),
    ];
    let mut other = client(&database);
    for (query, expected) in queries {
        let store = builder(&database).open().unwrap();
        let sent_before = sent(&mut other);
        fs::write("/proc/self/clear_refs", "5").unwrap(); // the most memory is counted from here
        let before = status("VmRSS:");
        let events = store.read(query.clone().page_bytes(page));
        assert_eq!(events.map(Result::unwrap).count() as u64, expected, "{query:?}");
        let grown = status("VmHWM:").saturating_sub(before);
        assert!(
            grown < 10 * PAGE,
            "{grown} bytes of memory for pages of {PAGE}: {query:?}"
        );
        let sent = sent(&mut other) - sent_before;
        // Where the large events begin, the server once sends as many events as if they were small.
        assert!(sent < 3 * EVENTS * MIB, "{sent} bytes sent: {query:?}");
    }
}

/// The number of bytes that the server has sent.
fn sent(client: &mut Conn) -> u64 {
    let row: (String, u64) = client
        .query_first("SHOW GLOBAL STATUS LIKE 'Bytes_sent'")
        .unwrap()
        .unwrap();
    row.1
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}
