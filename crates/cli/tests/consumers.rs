//! Commands for consumers and their parked events, on SQLite files.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use firefly_eventstore::consumer::ConsumerState;
use firefly_eventstore::prelude::*;
use serde_json::{Value, json};

use support::{MAILS, Store, account, begin, id, within};

/// The accounts, with three consumers: one that has failed, one that has handled everything, and one within appends.
fn store_with_consumers() -> Store {
    let store = Store::of_accounts();
    store.fail_mails();
    begin(&*store.open(), "balances.v1", 1, 6, ConsumerState::Running);
    begin(&*store.open(), "inline.v1", 1, 0, ConsumerState::Inline);
    store
}

fn shown(store: &Store, name: &str) -> Value {
    store.succeeds(&["consumers", "show", name, "--json"]).json()
}

/// The position, the token and the state of each slot.
fn slots(store: &Store, name: &str) -> Vec<(u64, u64, String)> {
    let consumer = shown(store, name);
    let slots = consumer["slots"].as_array().unwrap().iter();
    slots
        .map(|slot| {
            (
                slot["position"].as_u64().unwrap(),
                slot["token"].as_u64().unwrap(),
                slot["state"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

#[test]
fn consumers_lists_how_each_fares() {
    let store = store_with_consumers();
    let listed = store.succeeds(&["consumers"]);
    assert_eq!(store.succeeds(&["consumers", "list"]).out, listed.out);
    let columns = |name: &str| -> Vec<String> {
        let line = listed.line(name).split_whitespace().map(str::to_owned);
        line.collect()
    };
    assert_eq!(
        columns("balances.v1"),
        ["balances.v1", "running", "1", "0", "6", "0", "0"]
    );
    assert_eq!(columns("inline.v1"), ["inline.v1", "inline", "1", "0", "6", "0", "0"]);
    let mails = columns("mails.v1");
    assert_eq!(mails[..6], ["mails.v1", "failed", "2", "1", "2", "4"]);
    assert!(listed.line("mails.v1").contains(r"no such address\nxxx"), "{listed:?}");
    assert!(listed.line("mails.v1").ends_with("x..."), "{listed:?}");

    let mut lines = store.succeeds(&["consumers", "--json"]).json_lines();
    let names: Vec<_> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["balances.v1", "inline.v1", MAILS]);
    assert_eq!(lines[0]["behind_seconds"], Value::Null);
    assert!(lines[2]["behind_seconds"].as_f64().unwrap() > 1e6, "{lines:?}");
    let mut one = shown(&store, MAILS);
    for consumer in [&mut lines[2], &mut one] {
        consumer["behind_seconds"].take();
        for slot in consumer["slots"].as_array_mut().unwrap() {
            slot["lease_left_seconds"].take();
        }
    }
    assert_eq!(lines[2], one, "a list and one consumer have the same fields");
}

#[test]
fn consumers_shows_each_slot_and_the_whole_error() {
    let store = store_with_consumers();
    let mut consumer = shown(&store, MAILS);
    for slot in consumer["slots"].as_array_mut().unwrap() {
        let left = slot["lease_left_seconds"].take();
        assert!((3_000.0..=3_600.0).contains(&left.as_f64().unwrap()), "{left}");
        assert!(slot["updated_at"].take().as_str().unwrap().ends_with('Z'));
        assert_eq!(slot["definition"].take().as_str().unwrap().len(), 64);
    }
    consumer["behind_seconds"].take();
    let error = format!("no such address\n{}", "x".repeat(200));
    let nobody = Uuid::nil().to_string();
    assert_eq!(
        consumer,
        json!({
            "name": MAILS, "state": "failed", "position": 2, "behind": 4, "behind_seconds": null, "parked": 2,
            "holders": [nobody], "failing_sequence": 3, "attempts": 1, "last_error": error,
            "slots": [
                { "slot": 0, "state": "running", "position": 2, "token": 1, "holder": nobody, "lease_left_seconds": null,
                  "failing_sequence": null, "attempts": 0, "last_error": null, "definition": null, "updated_at": null },
                { "slot": 1, "state": "failed", "position": 2, "token": 1, "holder": nobody, "lease_left_seconds": null,
                  "failing_sequence": 3, "attempts": 1, "last_error": error, "definition": null, "updated_at": null },
            ],
        })
    );
    let told = store.succeeds(&["consumers", "show", MAILS]);
    assert!(
        told.out
            .starts_with("mails.v1: failed, position 2, 4 behind, the oldest event not handled was created "),
        "{told:?}"
    );
    assert_eq!(
        told.line("slot 1, "),
        format!(r"slot 1, global sequence 3: no such address\n{}", "x".repeat(200))
    );
    within(&*store.open(), |tx| {
        let slot = tx.lock_slot(MAILS, 0)?;
        tx.release(MAILS, slot.slot, Uuid::nil())?;
        tx.claim(MAILS, Uuid::max(), std::time::Duration::ZERO).map(drop)
    });
    let told = store.succeeds(&["consumers", "show", MAILS]);
    assert!(told.out.contains("  ran out  "), "{told:?}");
}

#[test]
fn a_consumer_that_has_not_begun_is_not_caught_up() {
    let store = Store::of_accounts();
    assert_eq!(store.succeeds(&["consumers", "--json"]).out, "");
    assert_eq!(store.succeeds(&["parked", "--json"]).out, "");
    assert_eq!(store.succeeds(&["consumers", "--quiet"]).out.lines().count(), 1);
    assert_eq!(store.succeeds(&["parked", "--quiet"]).out.lines().count(), 1);
    let one = id(1);
    let commands: &[&[&str]] = &[
        &["consumers", "show", "nobody.v1"],
        &["consumers", "pause", "nobody.v1"],
        &["consumers", "resume", "nobody.v1"],
        &["consumers", "reposition", "nobody.v1", "--to", "1", "--yes"],
        &["consumers", "reset", "nobody.v1", "--yes"],
        &["parked", "list", "nobody.v1"],
        &["parked", "show", "nobody.v1", "1"],
        &["parked", "replay", "nobody.v1", "--all"],
        &["parked", "replay", "nobody.v1", &one],
        &["parked", "discard", "nobody.v1", "1", "--yes"],
        &["parked", "discard", "nobody.v1", "--aggregate", &one, "--yes"],
    ];
    for command in commands {
        let error = store.fails(2, command);
        assert!(error.contains("the consumer nobody.v1 has not begun"), "{error}");
        assert!(
            error.ends_with(&format!("--store {} consumers\n", store.url)),
            "{error}"
        );
    }
}

#[test]
fn a_consumer_is_paused_resumed_and_moved() {
    let store = store_with_consumers();
    assert_eq!(
        store.succeeds(&["consumers", "pause", MAILS]).out,
        "paused mails.v1, with 2 slots, at global sequence 2; it is paused\n"
    );
    assert_eq!(slots(&store, MAILS)[0].2, "paused");
    let resumed = store.succeeds(&["consumers", "resume", MAILS, "--json"]).json();
    assert_eq!(
        (&resumed["state"], &resumed["last_error"]),
        (&json!("running"), &Value::Null)
    );

    let running = |position, token| vec![(position, token, "running".to_owned()); 2];
    for (arguments, says) in [
        (
            &["reposition", MAILS, "--to", "5"][..],
            "would skip the events after global sequence 2 up to 5 that it has not handled; write --yes",
        ),
        (
            &["reposition", MAILS, "--to", "1"],
            "would handle the log after global sequence 1 up to 2 again: a subscription repeats its effects, and a projection",
        ),
        (&["reposition", MAILS, "--to", "2"], "would stay at global sequence 2"),
        (&["reposition", MAILS, "--to-end"], "after global sequence 2 up to 6"),
        (
            &["reset", MAILS],
            "that the tool cannot empty (the library's consumer::reset does)",
        ),
    ] {
        let mut command = vec!["consumers"];
        command.extend(arguments);
        let error = store.fails(2, &command);
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(slots(&store, MAILS), running(2, 1), "what was not confirmed was done");

    store.succeeds(&["consumers", "reposition", MAILS, "--to", "5", "--yes"]);
    assert_eq!(slots(&store, MAILS), running(5, 2));
    store.succeeds(&["consumers", "reposition", MAILS, "--to-end", "--yes"]);
    assert_eq!(slots(&store, MAILS), running(6, 3));
    assert_eq!(
        store.succeeds(&["consumers", "reset", MAILS, "--yes"]).out,
        "moved mails.v1, with 2 slots, at global sequence 0; it is running\n"
    );
    assert_eq!(slots(&store, MAILS), running(0, 4));

    let error = store.fails(2, &["consumers", "reposition", MAILS, "--to", "7", "--yes"]);
    assert!(error.contains("the log goes to 6"), "{error}");
    for command in ["pause", "resume"] {
        let error = store.fails(2, &["consumers", command, "inline.v1"]);
        assert!(error.contains("applied within appends"), "{error}");
    }
    store.fails(2, &["consumers", "reset", "inline.v1", "--yes"]);
    assert_eq!(store.run(&["consumers", "reposition", MAILS, "--yes"]).code, 2);
    assert_eq!(
        store
            .run(&["consumers", "reposition", MAILS, "--to", "1", "--to-end"])
            .code,
        2
    );
    assert_eq!(store.run(&["consumers", "stop", MAILS]).code, 2);
}

#[test]
fn parked_events_are_listed_shown_replayed_and_discarded() {
    let store = store_with_consumers();
    let one = id(1);
    let listed = store.succeeds(&["parked"]);
    assert_eq!(store.succeeds(&["parked", "list", MAILS]).out, listed.out);
    assert!(
        listed.out.contains("the mail server refused") && listed.out.contains(&one),
        "{listed:?}"
    );
    assert_eq!(
        store
            .succeeds(&["parked", "list", "balances.v1", "--quiet"])
            .out
            .lines()
            .count(),
        1
    );
    let row = |replay: bool| {
        let mut rows = store.succeeds(&["parked", "list", "--json"]).json_lines();
        assert_eq!(rows.len(), 2);
        assert!(rows[0]["parked_at"].take().is_string());
        assert_eq!(
            rows[0],
            json!({ "name": MAILS, "global_sequence": 1, "aggregate_id": one, "attempts": 5,
                    "reason": "the mail server refused", "parked_at": null, "replay": replay })
        );
    };
    row(false);
    let first = store.run(&["parked", "list", "--limit", "1"]);
    assert_eq!(
        (first.out.lines().count(), &*first.err),
        (2, "there are more than 1: --limit N\n")
    );
    assert_eq!(store.succeeds(&["parked", "list", "--limit", "2"]).out, listed.out);

    let told = store.succeeds(&["parked", "show", MAILS, "1"]);
    told.line(&format!("mails.v1 parked this event of aggregate {one} on "));
    assert!(
        told.out
            .contains(", after 5 attempts\nreason: the mail server refused\n1 2025-01-01"),
        "{told:?}"
    );
    assert!(
        told.out
            .contains(r#"account.opened {"owner":"Ada"} created_by=clerk-7"#),
        "{told:?}"
    );
    let second = store.succeeds(&["parked", "show", MAILS, "2", "--json"]).json();
    assert_eq!(
        (&second["attempts"], &second["event"]["event_type"]),
        (&json!(0), &json!("money.deposited"))
    );
    let error = store.fails(2, &["parked", "show", MAILS, "3"]);
    assert!(
        error.contains("has not parked the event with global sequence 3; run: "),
        "{error}"
    );

    let replayed = store.succeeds(&["parked", "replay", MAILS, &one]);
    assert_eq!(
        replayed.out,
        "asked mails.v1 to handle 2 parked events again, which it does as soon as it runs\n"
    );
    row(true);
    assert!(
        store
            .succeeds(&["parked", "show", MAILS, "1"])
            .out
            .contains("; it is to be replayed")
    );
    assert_eq!(
        store.succeeds(&["parked", "replay", MAILS, "--all", "--json"]).json(),
        json!({ "name": MAILS, "replayed": 2 })
    );
    assert_eq!(
        store.succeeds(&["parked", "replay", "balances.v1", "--all"]).out,
        "balances.v1 has parked nothing\n"
    );
    store.fails(2, &["parked", "replay", MAILS, &id(2)]);
    assert_eq!(store.run(&["parked", "replay", MAILS]).code, 2);

    for command in [
        &["parked", "discard", MAILS, "1"][..],
        &["parked", "discard", MAILS, "--aggregate", &one],
    ] {
        let error = store.fails(2, command);
        assert!(
            error.contains("would never handle") && error.ends_with("write --yes to do it\n"),
            "{error}"
        );
    }
    row(true);
    assert_eq!(
        store.succeeds(&["parked", "discard", MAILS, "1", "--yes"]).out,
        "discarded 1 parked event\n"
    );
    store.fails(2, &["parked", "discard", MAILS, "1", "--yes"]);
    assert_eq!(
        store
            .succeeds(&["parked", "discard", MAILS, "--aggregate", &one, "--yes", "--json"])
            .json(),
        json!({ "name": MAILS, "discarded": 1 })
    );
    store.fails(2, &["parked", "discard", MAILS, "--aggregate", &one, "--yes"]);
    assert_eq!(store.open().high_water_mark().unwrap(), 6, "the log has what it had");
}

#[test]
fn more_than_a_page_is_parked() {
    let store = store_with_consumers();
    within(&*store.open(), |tx| {
        (10..1_510)
            .try_for_each(|sequence| tx.park("balances.v1", GlobalSequence::from(sequence), account(9).id(), 1, "no"))
    });
    for (arguments, count) in [
        (&["parked", "list"][..], 1_502),
        (&["parked", "list", "balances.v1"], 1_500),
    ] {
        let mut command = arguments.to_vec();
        command.extend(["--json", "--limit", "5000"]);
        assert_eq!(store.succeeds(&command).json_lines().len(), count, "{arguments:?}");
    }
    // Its events are not in the log.
    let told = store.succeeds(&["parked", "show", "balances.v1", "10"]);
    told.line("the event is not in the log any more");
    assert_eq!(
        store
            .succeeds(&["parked", "show", "balances.v1", "10", "--json"])
            .json()["event"],
        Value::Null
    );
}

#[test]
fn names_and_errors_are_shown_and_not_obeyed() {
    let store = Store::of_accounts();
    let names = ["it's; rm -rf /\n\u{1b}[2J\u{202e}", "--all", "list", &"漢".repeat(255)];
    let error = "\u{1b}]0;owned\u{7}\r\nsecond line ".repeat(300);
    for name in names {
        begin(&*store.open(), name, 1, 0, ConsumerState::Running);
        within(&*store.open(), |tx| {
            tx.park(name, GlobalSequence::from(1), account(1).id(), 1, &error)?;
            let mut slot = tx.lock_slot(name, 0)?;
            tx.fail(&mut slot, GlobalSequence::from(1), &error).map(drop)
        });
    }
    let harmless = |text: &str| {
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(obeyed), "{text:?}");
    };
    let doctor = store.run(&["doctor"]);
    assert!(
        doctor.out.contains(r"it's; rm -rf /\n\u{1b}[2J\u{202e} cannot go on"),
        "{doctor:?}"
    );
    for answer in [store.run(&["consumers"]), store.run(&["parked"]), doctor] {
        harmless(&answer.out);
        harmless(&answer.err);
    }
    for name in names {
        for command in [
            &["consumers", "show", "--", name][..],
            &["consumers", "show", "--json", "--", name],
            &["consumers", "resume", "--", name],
            &["parked", "list", "--", name],
            &["parked", "show", "--", name, "1"],
            &["parked", "show", "--json", "--", name, "1"],
        ] {
            harmless(&store.succeeds(command).out);
        }
        harmless(&store.fails(2, &["consumers", "reset", "--", name]));
        // The hint is a command for a shell.
        harmless(&store.fails(2, &["parked", "show", "--", name, "2"]));
    }
    let rows = store.succeeds(&["parked", "--json"]).json_lines();
    assert_eq!(rows.len(), names.len());
    assert!(
        rows.iter()
            .all(|row| row["reason"].as_str().unwrap().chars().count() == 4_000),
        "the whole that is kept"
    );
}

#[test]
fn doctor_says_which_consumers_need_help_and_where_to_look() {
    let store = Store::of_accounts();
    let good = store.succeeds(&["doctor"]);
    assert_eq!(good.line("good    consumers: "), "good    consumers: none has begun");
    store.fail_mails();
    let answer = store.run(&["doctor"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    answer.line("warning consumers: slot 1 of mails.v1 failed at global sequence 3, tried once: no such address");
    answer.line("warning consumers: mails.v1 has parked 2 events");
    let look = format!(". Look: firefly-eventstore --store {} consumers", store.url);
    assert_eq!(answer.out.matches(&look).count(), 2, "{answer:?}");
    let json = store.run(&["doctor", "--json"]).json();
    assert_eq!(json["worst"], "warning");
}
