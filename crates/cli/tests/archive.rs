//! Moves a part of the log into a file and back, while the tool is killed.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore::sqlite::driver::Connection;

use support::{Store, tool};

/// How many events the store has, and how many of them are archived.
const EVENTS: usize = 6_001;
const ARCHIVED: u64 = 6_000;

/// Three accounts with interleaved events.
fn store() -> Store {
    let store = Store::new();
    for round in 0..=20 {
        for account in 1..=3 {
            let event = format!(r#"{{"event_type":"money.deposited","data":{{"round":{round}}}}}"#);
            let count = if round == 20 { usize::from(account == 1) } else { 100 };
            if count > 0 {
                let events = vec![event; count].join("\n");
                store.append(&support::account(account), "any", &[], &events);
            }
        }
    }
    store
}

fn archived(store: &Store) -> u64 {
    let path = store.url.strip_prefix("sqlite:").unwrap();
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    let count: i64 = connection
        .query_row("SELECT COUNT(*) FROM firefly_archived_events", [], |row| row.get(0))
        .unwrap();
    count.try_into().unwrap()
}

/// Runs the tool, and kills it when `is_time` accepts the number of archived events. Returns whether it was killed before its end.
fn killed(store: &Store, arguments: &[&str], is_time: impl Fn(u64) -> bool) -> bool {
    let mut child = tool()
        .args(["--quiet", "--store", &store.url])
        .args(arguments)
        .current_dir(store.directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        if is_time(archived(store)) {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        assert!(Instant::now() < deadline, "it goes on for too long");
        thread::sleep(Duration::from_micros(200));
    }
}

/// The lines of the events, without the chain that depends on the lines before.
fn events(store: &Store) -> Vec<String> {
    let out = store.succeeds(&["--quiet", "export"]).out;
    let lines: Vec<_> = out.lines().collect();
    let events = &lines[1..lines.len() - 1];
    events
        .iter()
        .map(|line| line.split(r#","chain":"#).next().unwrap().to_owned())
        .collect()
}

#[test]
fn a_tool_that_is_killed_while_it_archives_or_attaches_loses_nothing() {
    let store = store();
    let before = events(&store);
    assert_eq!(before.len(), EVENTS);
    let until = ARCHIVED.to_string();

    let mut kills = 0;
    let write = ["archive", "past.jsonl", "--until-sequence", &until];
    kills += u32::from(killed(&store, &write, |archived| archived > 500));
    for least in [2_000, 3_500, 5_000] {
        let arguments = match store.file("past.jsonl").exists() {
            true => &["archive", "past.jsonl", "--resume"][..],
            false => &write[..],
        };
        kills += u32::from(killed(&store, arguments, |archived| archived > least));
        // After any interruption, no read is silently incomplete, and nothing is damaged.
        store.succeeds(&["verify"]);
        assert!(store.fails(3, &["export"]).contains("past.jsonl"));
    }
    store.succeeds(&["archive", "past.jsonl", "--resume"]);
    assert_eq!(archived(&store), ARCHIVED);
    let found = store.succeeds(&["doctor"]);
    assert!(found.line("good    archives: ").contains("6000 events"), "{found:?}");

    for most in [5_000, 3_000, 1_000] {
        kills += u32::from(killed(&store, &["attach", "past.jsonl"], |archived| archived < most));
        store.succeeds(&["verify"]);
    }
    assert!(kills > 2, "it was killed {kills} times only");
    store.succeeds(&["attach", "past.jsonl"]);
    assert_eq!(events(&store), before);
    assert_eq!(archived(&store), 0);
}
