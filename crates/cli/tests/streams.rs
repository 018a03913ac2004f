//! Closed pipes, signals, and killed processes.

#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use firefly_eventstore::prelude::*;
use firefly_eventstore::sqlite::driver::Connection;
use serde_json::{Value, json};

use support::{Running, Store, account, append_many, id, run_with, tool};

/// Runs a command with a closed output pipe, and returns its exit code and its error output.
fn with_closed_output(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_closed_pipe_is_no_error_of_any_command() {
    let store = Store::of_accounts();
    let one = id(1);
    store.succeeds(&["export", "--output", "a.jsonl"]);
    let commands: &[&[&str]] = &[
        &["migrate"],
        &["doctor"],
        &["stats"],
        &["types"],
        &["aggregates"],
        &["show", "Account", &one],
        &["tail"],
        &["tail", "--follow"],
        &["append", "--type", "Account", "--id", &one],
        &["export"],
        &["export", "--format", "csv"],
        &["import", "a.jsonl"],
        &["import", "--check", "a.jsonl"],
        &["restore", "--table", "--until-sequence", "1"],
        &["verify"],
        &["maintain"],
        &["snapshots"],
        &["report", "--output", "-"],
        &["report", "--force"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["help", "export"],
        &["--version"],
    ];
    for command in commands {
        assert_eq!(
            with_closed_output(&mut store.command(command)),
            (Some(0), String::new()),
            "{command:?}"
        );
        if *command != ["restore", "--table", "--until-sequence", "1"] {
            let in_json: Vec<_> = ["--json"].iter().chain(*command).copied().collect();
            let closed = with_closed_output(&mut store.command(&in_json));
            assert_eq!(closed, (Some(0), String::new()), "{in_json:?}");
        }
    }
}

#[test]
fn a_pipe_may_be_closed_in_the_middle_of_a_stream() {
    let store = Store::new();
    append_many(&*store.open(), 2_000);
    let one = id(1);
    for command in [
        &["tail", "-n", "2000"][..],
        &["tail", "--after", "0", "--json"],
        &["tail", "--after", "0", "--follow"],
        &["show", "Account", &one],
        &["export"],
        &["export", "--format", "csv"],
    ] {
        let mut running = Running::start(&mut store.command(command));
        assert!(running.line().is_some(), "{command:?}");
        // The rest of the output is much larger than a pipe holds.
        running.close();
        assert_eq!(running.wait(), (Some(0), String::new()), "{command:?}");
    }
}

#[test]
fn following_a_quiet_log_ends_when_nobody_reads() {
    let store = Store::of_accounts();
    let mut running = Running::start(&mut store.command(&["tail", "-n", "1", "--follow", "--interval", "10ms"]));
    assert!(running.line().unwrap().starts_with("6 "));
    running.close();
    assert_eq!(running.wait(), (Some(0), String::new()));
}

#[test]
fn following_shows_everything_once_and_ends_cleanly_when_it_is_asked_to() {
    for signal in ["INT", "TERM"] {
        let store = Store::of_accounts();
        let arguments = [
            "tail",
            "--json",
            "-n",
            "1",
            "--follow",
            "--interval",
            "1ms",
            "--event-type",
            "money.deposited",
        ];
        let mut running = Running::start(&mut store.command(&arguments));
        let mut sequence_of_next_line = || {
            let line: Value = serde_json::from_str(&running.line().unwrap()).unwrap();
            line["global_sequence"].as_u64().unwrap()
        };
        assert_eq!(sequence_of_next_line(), 2);
        let library = store.open();
        let seen: Vec<_> = thread::scope(|scope| {
            for number in 1..=4 {
                let library = &library;
                scope.spawn(move || {
                    for count in 0..25 {
                        let names = [
                            &["money.deposited"][..],
                            &["noise", "money.deposited"],
                            &["money.deposited", "noise"],
                        ];
                        let new = |name: &&str| NewEvent::new(*name, &json!({})).unwrap();
                        let events: Vec<_> = names[count % 3].iter().map(new).collect();
                        library
                            .append(&account(100 + number), ExpectedVersion::Any, &events)
                            .unwrap();
                    }
                });
            }
            (0..100).map(|_| sequence_of_next_line()).collect()
        });
        let query = EventQuery::new().event_types(["money.deposited"]).unwrap().after(2);
        let stored: Vec<_> = library
            .read(query)
            .map(|event| event.unwrap().global_sequence.get())
            .collect();
        assert_eq!(seen, stored);
        running.signal(signal);
        assert_eq!(running.line(), None);
        assert_eq!(running.wait(), (Some(0), String::new()), "{signal}");
    }
}

#[test]
fn an_export_that_is_stopped_says_so() {
    let store = Store::new();
    append_many(&*store.open(), 20_000);
    let pipe = store.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let running = Running::start(&mut store.command(&["export", "--output", "pipe"]));
    let mut lines = BufReader::new(std::fs::File::open(&pipe).unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("{\"format\""));
    // It waits until the pipe is read, and notices the signal when it writes again.
    running.signal("INT");
    let last = lines.map(Result::unwrap).last().unwrap();
    assert!(!last.starts_with("{\"events\""), "it was complete: {last}");
    let (code, err) = running.wait();
    assert_eq!(
        (code, &*err),
        (Some(130), "error: the export was stopped before it was complete\n")
    );
}

#[test]
fn an_import_that_was_killed_is_repeated() {
    let source = Store::new();
    append_many(&*source.open(), 20_000);
    source.succeeds(&["export", "--output", "a.jsonl"]);
    let target = Store::new();
    let file = source.file("a.jsonl").display().to_string();

    let running = Running::start(&mut target.command(&["import", &file, "--batch-size", "100"]));
    let database = Connection::open(target.url.strip_prefix("sqlite:").unwrap()).unwrap();
    let stored = || {
        database
            .query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    while stored() == 0 {
        thread::yield_now();
    }
    running.signal("KILL");
    assert_eq!(running.wait().0, None, "it was done before it was killed");
    let before = stored();
    assert!((100..20_000).contains(&before) && before % 100 == 0, "{before}");

    let again = target.succeeds(&["import", &file, "--json"]).json();
    assert_eq!(
        (&again["already_stored"], &again["events"]),
        (&json!(before), &json!(20_000 - before))
    );
    let digest = |store: &Store| store.succeeds(&["verify", "--json"]).json()["remembered"].clone();
    assert_eq!(digest(&target), digest(&source));
}

#[test]
fn an_import_whose_input_ends_too_soon_stores_nothing() {
    let source = Store::of_accounts();
    let export = source.succeeds(&["export", "--quiet"]).out;
    let target = Store::new();
    let half = &export.as_bytes()[..export.len() / 2];
    let answer = run_with(&mut target.command(&["import", "-"]), half);
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.err.contains("line "), "{answer:?}");
    assert_eq!(target.open().high_water_mark().unwrap(), 0);
}

#[test]
fn errors_are_for_nobody_if_the_error_output_is_closed() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    for arguments in [&["stats"][..], &["--no-such-option"], &["--store", "sqlite:", "stats"]] {
        let status = tool()
            .args(arguments)
            .stderr(writer.try_clone().unwrap())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let store = Store::of_accounts();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = store
        .command(&["tail"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("the output cannot be written")
    );
}
