//! Commands that compare two stores, filter by event data, and report to a monitoring system.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use firefly_eventstore::operate::{Export, Import};
use firefly_eventstore::prelude::*;
use firefly_eventstore::sqlite::driver::Connection;
use serde_json::json;

use support::{Store, account, run_with, tool};

/// A copy of a store, in a folder of its own.
fn copy_of(store: &Store) -> Store {
    let copy = Store::new();
    let mut lines = Vec::new();
    Export::new().json_lines(&*store.open(), &mut lines, |_| {}).unwrap();
    Import::new()
        .json_lines(&*copy.open(), std::io::Cursor::new(lines), |_| {})
        .unwrap();
    copy
}

fn change(store: &Store, statement: &str) {
    let database = Connection::open(store.url.strip_prefix("sqlite:").unwrap()).unwrap();
    database.execute_batch(statement).unwrap();
}

fn with_three_events() -> Store {
    let store = Store::new();
    let event = |cents: u32, branch: &str| {
        let data = json!({ "cents": cents, "at": { "branch": branch } });
        NewEvent::new("money.deposited", &data).unwrap()
    };
    let events = [event(100, "Oslo"), event(250, "Rome"), event(250, "Oslo")];
    store.open().append(&account(1), 0, &events).unwrap();
    store
}

#[test]
fn stores_with_the_same_log_do_not_differ() {
    let store = with_three_events();
    let copy = copy_of(&store);
    let answer = store.succeeds(&["diff", &copy.url]);
    assert!(
        answer
            .out
            .starts_with("the same: 3 events compared, up to global sequence 3\ndigest ")
    );
    let json = store.succeeds(&["--json", "diff", &copy.url]).json();
    let export = store.succeeds(&["--json", "export", "--output", "ledger.jsonl"]).json();
    let whole = json!({
        "after": 0, "compared": 3, "differences": 0, "last_sequence": 3, "digest": export["digest"],
    });
    assert_eq!(json, whole);
    let rest = store.succeeds(&["--json", "diff", "--after", "2", &copy.url]).json();
    assert_eq!((&rest["compared"], &rest["digest"]), (&json!(1), &json!(null)));
}

#[test]
fn each_event_that_differs_is_shown_as_it_is_in_either_store() {
    let store = with_three_events();
    let copy = copy_of(&store);
    copy.open()
        .append(&account(2), 0, &[NewEvent::from_json("account.opened", "{}").unwrap()])
        .unwrap();
    change(
        &copy,
        "UPDATE events SET created_by = 'mallory' WHERE global_sequence = 2",
    );

    let answer = store.run(&["diff", &copy.url]);
    assert_eq!((answer.code, &*answer.err), (1, ""), "{answer:?}");
    let lines: Vec<_> = answer.out.lines().collect();
    let begins: Vec<_> = lines.iter().map(|line| &line[..3]).collect();
    assert_eq!(begins, ["< 2", "> 2", "> 4", "dif"], "{answer:?}");
    assert!(!lines[0].contains("mallory") && lines[1].ends_with("created_by=mallory"));
    assert_eq!(lines[3], "different: 2 events");

    let rows = store.run(&["--json", "diff", &copy.url]);
    let rows: Vec<serde_json::Value> = rows
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown: Vec<_> = rows[..3]
        .iter()
        .map(|row| (row["store"].as_str().unwrap(), row["global_sequence"].as_u64().unwrap()))
        .collect();
    assert_eq!(shown, [("first", 2), ("second", 2), ("second", 4)]);
    assert_eq!((&rows[3]["differences"], &rows[3]["digest"]), (&json!(2), &json!(null)));

    let brief = store.run(&["diff", "--brief", &copy.url]);
    assert_eq!((brief.code, &*brief.out), (1, "different at global sequence 2\n"));
    assert_eq!(
        store.run(&["diff", "--after", "4", &copy.url]).code,
        3,
        "beyond the end of the first"
    );
}

#[test]
fn a_seal_of_both_logs_spares_what_it_covers_unless_all_is_to_be_compared() {
    let store = with_three_events();
    let copy = copy_of(&store);
    for store in [&store, &copy] {
        store.succeeds(&["--quiet", "seal"]);
        let event = NewEvent::from_json("account.opened", "{}")
            .unwrap()
            .with_id(Uuid::from_u128(7));
        let event = event.created_at(time::macros::datetime!(2025-01-15 10:30 UTC)).unwrap();
        store.open().append(&account(2), 0, &[event]).unwrap();
    }
    let json = store.succeeds(&["--json", "diff", &copy.url]).json();
    assert_eq!((&json["after"], &json["compared"]), (&json!(3), &json!(1)));
    let whole = store.succeeds(&["--json", "diff", "--whole", &copy.url]).json();
    assert_eq!((&whole["compared"], &whole["digest"]), (&json!(4), &json["digest"]));
    // A change of the sealed log is found by comparing the whole log, as verify does.
    change(
        &copy,
        "UPDATE events SET created_by = 'mallory' WHERE global_sequence = 2",
    );
    assert_eq!(store.run(&["diff", &copy.url]).code, 0);
    assert_eq!(store.run(&["diff", "--whole", &copy.url]).code, 1);
}

#[test]
fn a_second_store_that_is_not_there_is_named() {
    let (store, missing) = (with_three_events(), Store::missing());
    let error = store.fails(5, &["diff", &missing.url]);
    assert!(error.contains(&missing.url), "{error}");
    store.fails(2, &["diff", "sqlite::memory"]);
    let answer = run_with(tool().args(["--store", &store.url, "diff"]), b"");
    assert_eq!(answer.code, 2);
}

#[test]
fn events_are_found_by_what_their_data_holds() {
    let store = with_three_events();
    let found = |arguments: &[&str]| {
        let rows = store.succeeds(&[&["--json", "tail"], arguments].concat());
        let sequence =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["global_sequence"].as_u64();
        rows.out.lines().map(|line| sequence(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(found(&["--where", "/cents=250"]), [2, 3]);
    assert_eq!(found(&["--where", "/cents=250", "--where", "/at/branch=Oslo"]), [3]);
    assert_eq!(found(&["--where", "/at/branch=Oslo", "-n", "1"]), [3]);
    assert_eq!(found(&["--where", "/at/branch=Oslo", "-n", "2"]), [1, 3]);
    assert_eq!(found(&["--where", "/cents=100", "-n", "1"]), [1]);
    assert_eq!(found(&["--where", "/cents=250.0", "--after", "2"]), [3]);
    assert_eq!(found(&["--where", "/none=1", "--after", "0"]), [0; 0]);
    let refused = store.run(&["tail", "--where", "cents=250"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("write a JSON pointer"), "{refused:?}");
}

#[test]
fn metrics_tell_how_a_store_and_its_consumers_fare() {
    let store = with_three_events();
    store.fail_mails();
    let text = store.succeeds(&["metrics"]).out;
    for line in [
        "# TYPE firefly_eventstore_high_water_mark gauge",
        "firefly_eventstore_high_water_mark 3",
        "firefly_eventstore_writable 1",
        "firefly_eventstore_consumer_position{consumer=\"mails.v1\"} 2",
        "firefly_eventstore_consumer_behind_sequences{consumer=\"mails.v1\"} 1",
        "firefly_eventstore_consumer_parked_events{consumer=\"mails.v1\"} 2",
        "firefly_eventstore_consumer_state{consumer=\"mails.v1\",state=\"failed\"} 1",
        "firefly_eventstore_consumer_state{consumer=\"mails.v1\",state=\"running\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(!text.contains("event_type"), "{text}");
    let text = store.succeeds(&["metrics", "--statistics"]).out;
    let events = "firefly_eventstore_events{aggregate_type=\"Account\",event_type=\"money.deposited\"} 3";
    assert!(text.lines().any(|found| found == events), "{text}");
    // Each metric is announced once, before its values.
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut unique = names.clone();
    unique.dedup();
    assert_eq!(names, unique);
}
