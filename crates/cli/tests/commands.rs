//! Every command, with output for people and for scripts, on SQLite files.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::process::Command;

use firefly_eventstore::prelude::*;
use firefly_eventstore::sqlite::driver::Connection;
use serde_json::{Value, json};

use support::{Running, Store, account, flip_a_byte, id, run_with, tool};

fn sequences(rows: &[Value]) -> Vec<u64> {
    rows.iter()
        .map(|row| row["global_sequence"].as_u64().unwrap())
        .collect()
}

/// A connection to the database of a store, for changes that the library never makes.
fn database(store: &Store) -> Connection {
    Connection::open(store.url.strip_prefix("sqlite:").unwrap()).unwrap()
}

#[test]
fn migrate_makes_a_store_and_says_what_it_did() {
    let store = Store::missing();
    let planned = store.succeeds(&["migrate", "--dry-run"]);
    assert_eq!(planned.line("would apply 1.0.0"), "would apply 1.0.0 events");
    assert!(!store.file("ledger.db").exists(), "a dry run made the file");
    let json = store.succeeds(&["--json", "migrate", "--dry-run"]).json();
    assert_eq!(json["dry_run"], true);
    assert_eq!(
        json["migrations"].as_array().unwrap().len(),
        planned.out.lines().count()
    );

    let applied = store.succeeds(&["migrate"]);
    assert_eq!(applied.out, planned.out.replace("would apply", "applied"));
    assert_eq!(store.succeeds(&["migrate"]).out, "the schema is up to date\n");
    assert_eq!(
        store.succeeds(&["migrate", "--dry-run"]).out,
        "the schema is up to date\n"
    );
    assert_eq!(
        store.succeeds(&["migrate", "--json"]).json(),
        json!({ "dry_run": false, "migrations": [] })
    );
}

#[test]
fn no_other_command_makes_a_file() {
    let store = Store::missing();
    let other = Store::new();
    let export = other.file("x.jsonl");
    other.succeeds(&["export", "--output", "x.jsonl"]);
    let one = id(1);
    let commands: &[&[&str]] = &[
        &["stats"],
        &["types"],
        &["aggregates"],
        &["show", "Account", &one],
        &["tail"],
        &["append", "--type", "Account", "--id", &one],
        &["export"],
        &["import", export.to_str().unwrap()],
        &["restore", "--table", "--until-sequence", "1"],
        &["verify"],
        &["archive", "2024.jsonl", "--until-sequence", "1"],
        &["archives"],
        &["attach", export.to_str().unwrap()],
        &["seal"],
        &["maintain"],
        &["snapshots"],
        &["consumers"],
        &["parked"],
        &["report"],
    ];
    for command in commands {
        let error = store.fails(5, command);
        let hint = format!("run: firefly-eventstore --store {} migrate\n", store.url);
        assert!(error.ends_with(&hint), "{error}");
    }
    // A read-only URL cannot be used for a migration.
    let url = format!("{}?read_only=true", store.url);
    let answer = run_with(tool().args(["--store", &url, "stats"]), b"");
    assert!(
        answer.err.contains("migrate it with a URL that may write"),
        "{answer:?}"
    );
    let restored = format!("sqlite:{}", store.file("ledger.db").display());
    let error = other.fails(5, &["restore", "--to", &restored, "--until-sequence", "1"]);
    assert!(error.contains(&format!("the target {restored}: ")), "{error}");
    assert!(error.ends_with(&format!("--store {restored} migrate\n")), "{error}");
    assert_eq!(store.run(&["doctor"]).code, 5);
    assert!(!store.file("ledger.db").exists());
}

/// Runs the command at the end of a line in a shell that finds the tool, and returns its output.
fn run_hint(line: &str, more: &str) -> String {
    let at = line
        .find("firefly-eventstore ")
        .unwrap_or_else(|| panic!("no command: {line}"));
    let tool = std::path::Path::new(env!("CARGO_BIN_EXE_firefly-eventstore"));
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("{}{more}", line[at..].trim_end())])
        .env("PATH", format!("{}:{path}", tool.parent().unwrap().display()))
        .env_remove("FIREFLY_EVENTSTORE_URL")
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_hint_is_a_command_that_works_with_the_same_store() {
    // A name with characters that are special to a shell.
    let mut store = Store::missing();
    store.url = format!("sqlite:{}", store.file("it's a ledger.db").display());
    let migrated = run_hint(&store.fails(5, &["stats"]), "");
    assert!(migrated.starts_with("applied 1.0.0"), "{migrated}");
    store.fill();

    let exported = store.succeeds(&["export", "--output", store.file("a.jsonl").to_str().unwrap()]);
    store.append(&account(9), "any", &[], r#"{"event_type":"account.opened","data":{}}"#);
    let next = run_hint(exported.line("what comes next: "), "");
    assert!(next.starts_with("exported 1 event up to global sequence 7\n"), "{next}");

    let point = store.file("a point").display().to_string();
    let remembered = run_hint(&store.fails(8, &["verify", "--since", &point]), "");
    assert!(remembered.starts_with("intact"), "{remembered}");
    store.succeeds(&["verify", "--since", &point]);

    database(&store)
        .execute_batch(
            "PRAGMA ignore_check_constraints = ON; UPDATE events SET event_data = '[' WHERE global_sequence = 3",
        )
        .unwrap();
    let verified = run_hint(&store.fails(6, &["export"]), " || true");
    assert!(verified.contains("damaged: 7 events"), "{verified}");

    // No command could create these stores.
    for (url, code, says) in [
        (
            "sqlite:no/such/directory/ledger.db",
            8,
            "there is no directory no/such/directory",
        ),
        ("sqlite:ledger.db?mode=ro", 2, "the option mode"),
    ] {
        store.url = url.to_owned();
        let error = store.fails(code, &["stats"]);
        assert!(error.contains(says) && !error.contains("run:"), "{error}");
    }
    assert_eq!(store.run(&["migrate"]).code, 2);
}

#[test]
fn a_hint_has_no_password() {
    let url = "postgres://clerk:tiger@127.0.0.1:1/ledger";
    let export = |command: &mut Command| run_with(command.args(["verify", "--since", "nowhere"]), b"").err;
    let hint = |err: &str| err[err.find("run: ").unwrap()..].trim_end().to_owned();
    assert_eq!(
        hint(&export(tool().args(["--store", url]))),
        "run: firefly-eventstore --store 'postgres://clerk:***@127.0.0.1:1/ledger' verify --remember nowhere"
    );
    assert_eq!(
        hint(&export(tool().env("FIREFLY_EVENTSTORE_URL", url))),
        "run: firefly-eventstore verify --remember nowhere"
    );
}

#[test]
fn a_file_is_opened_to_read_it() {
    let mut store = Store::of_accounts();
    store.url += "?read_only=true";
    assert_eq!(store.succeeds(&["tail", "--json"]).json_lines().len(), 6);
    let append = ["append", "--type", "Account", "--id", &id(1)];
    let refused = run_with(
        &mut store.command(&append),
        br#"{"event_type":"account.opened","data":{}}"#,
    );
    assert_eq!(refused.code, 7, "{refused:?}");
}

#[test]
fn tail_tells_that_the_log_was_cut() {
    let store = Store::of_accounts();
    let error = store.fails(3, &["tail", "--after", "7"]);
    assert!(error.contains("the log ends at global sequence 6"), "{error}");
    let mut running = Running::start(&mut store.command(&["tail", "-n", "1", "--follow", "--interval", "10ms"]));
    assert!(running.line().unwrap().starts_with("6 "));
    database(&store)
        .execute_batch(
            "DELETE FROM events WHERE global_sequence > 4; UPDATE sqlite_sequence SET seq = 4 WHERE name = 'events'",
        )
        .unwrap();
    let (code, err) = running.wait();
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("events were lost"), "{err}");
}

#[test]
fn the_store_is_named_by_an_option_or_a_variable() {
    let store = Store::new();
    let after = run_with(tool().args(["stats", "--store", &store.url]), b"");
    assert_eq!(after.code, 0, "{after:?}");
    let by_variable = run_with(tool().arg("stats").env("FIREFLY_EVENTSTORE_URL", &store.url), b"");
    assert_eq!(by_variable.out, after.out);
    for command in [
        tool().arg("stats"),
        tool().arg("stats").env("FIREFLY_EVENTSTORE_URL", ""),
    ] {
        let answer = run_with(command, b"");
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(
            answer.err.contains("--store") && answer.err.contains("FIREFLY_EVENTSTORE_URL"),
            "{answer:?}"
        );
    }
    for url in ["ledger.db", "oracle://db", "sqlite:"] {
        assert_eq!(run_with(tool().args(["stats", "--store", url]), b"").code, 2, "{url}");
    }
}

#[test]
fn append_tells_versions_and_sequences_and_may_be_repeated() {
    let store = Store::new();
    let (account, one) = (account(1), id(1));
    let events = r#"{"event_type":"account.opened","data":{"owner":"Ada"},"event_id":"00000000-0000-7000-8000-000000000001"}
        {"event_type":"money.deposited","event_data":{"cents": 250},"event_id":"00000000-0000-7000-8000-000000000002","metadata":null}"#;
    assert_eq!(
        store.append(&account, "no-stream", &[], events).out,
        format!("appended: 2 events of Account {one}, versions 1 to 2, global sequences 1 to 2\n")
    );
    // The expected version is outdated now, and the answer is the first one.
    let again = store.append(&account, "no-stream", &["--json"], events).json();
    assert_eq!(
        again,
        json!({
            "aggregate_type": "Account", "aggregate_id": one, "aggregate_version": 2, "already_stored": true,
            "events": [
                { "event_id": "00000000-0000-7000-8000-000000000001", "aggregate_version": 1, "global_sequence": 1 },
                { "event_id": "00000000-0000-7000-8000-000000000002", "aggregate_version": 2, "global_sequence": 2 },
            ],
        })
    );
    let one_more = store.append(
        &account,
        "exists",
        &[],
        r#"[{"event_type":"money.deposited","data":[1.50]}]"#,
    );
    assert!(one_more.out.ends_with("version 3, global sequence 3\n"), "{one_more:?}");
    let none = store.append(&account, "any", &[], " [] ");
    assert!(none.out.contains("no event was given"), "{none:?}");
    let stream = store.open().load(&account).unwrap();
    assert_eq!(
        stream.events()[2].data.as_str(),
        "[1.50]",
        "the text is kept as it was written"
    );
    assert_eq!(stream.events()[1].metadata, None);
}

#[test]
fn append_refuses_with_a_code_for_each_reason() {
    let store = Store::of_accounts();
    let one = id(1);
    let append = |more: &[&str], input: &str| {
        let mut arguments = vec!["append", "--type", "Account", "--id", &one];
        arguments.extend(more);
        let answer = run_with(&mut store.command(&arguments), input.as_bytes());
        assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
        (answer.code, answer.err)
    };
    let event = r#"{"event_type":"a.b","data":{}}"#;
    for (code, expected, more, input) in [
        (3, "expected version 3, is 4", &["--expected", "3"][..], event),
        (3, "--tenant", &["--tenant", "acme"], event),
        (2, "missing field `data`", &[], r#"{"event_type":"a.b"}"#),
        (
            2,
            "unknown field `date`",
            &[],
            r#"{"event_type":"a.b","data":{},"date":1}"#,
        ),
        (
            2,
            "line 2 column",
            &[],
            "{\"event_type\":\"a.b\",\"data\":{}}\n{\"event_type\":",
        ),
        (
            2,
            "event 2: ",
            &[],
            r#"[{"event_type":"a.b","data":{}},{"event_type":"","data":{}}]"#,
        ),
        (
            2,
            "is not a time",
            &[],
            r#"{"event_type":"a.b","data":{},"created_at":"yesterday"}"#,
        ),
    ] {
        let (found, error) = append(more, input);
        assert_eq!(found, code, "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let (code, error) = append(
        &[],
        r#"{"event_type":"a.b","data":{},"event_id":"00000000-0000-7000-8000-000000000001"}"#,
    );
    assert_eq!(code, 3, "{error}");
    assert_eq!(store.open().high_water_mark().unwrap(), 6);
}

#[test]
fn stats_types_and_aggregates_count_what_there_is() {
    let store = Store::of_accounts();
    let stats = store.succeeds(&["stats"]);
    assert!(stats.line("sqlite ").contains("schema 7.0.0"), "{stats:?}");
    assert_eq!(
        stats.line("6 events"),
        "6 events of 3 aggregates; the log ends at global sequence 6"
    );
    let row: Vec<_> = stats.line("account.opened").split_whitespace().collect();
    assert_eq!(row, ["account.opened", "3", "50.00"]);
    let json = store.succeeds(&["stats", "--json"]).json();
    assert_eq!(
        (&json["backend"], &json["total_events"], &json["writable"]),
        (&json!("sqlite"), &json!(6), &json!(true))
    );
    assert_eq!(
        json["event_types"][0],
        json!({ "event_type": "account.opened", "event_count": 3, "percentage": 50.0 })
    );
    assert_eq!(json["aggregate_types"][0]["max_version"], 4);
    assert_eq!(json["snapshots"]["snapshots"], 0);
    let of_acme = store.succeeds(&["stats", "--tenant", "acme", "--json"]).json();
    assert_eq!(of_acme["total_events"], 1);

    let types = store.succeeds(&["types"]);
    assert_eq!(types.out.lines().count(), 5, "{types:?}");
    let row: Vec<_> = types.line("Account    account.opened").split_whitespace().collect();
    assert_eq!(row[..4], ["Account", "account.opened", "3", "3"]);
    let rows = store.succeeds(&["types", "--json"]).json_lines();
    assert_eq!(rows.len(), 4);
    assert_eq!(
        (&rows[1]["event_type"], &rows[1]["event_count"]),
        (&json!("account.opened"), &json!(3))
    );
    assert_eq!(rows[1]["first_event_at"], "2025-01-01T12:00:00.000000Z");
    assert_eq!(
        store
            .succeeds(&["types", "--json", "--tenant", "globex"])
            .json_lines()
            .len(),
        1
    );

    let aggregates = store.succeeds(&["aggregates"]);
    let row: Vec<_> = aggregates
        .line(&format!("Account  {}", id(2)))
        .split_whitespace()
        .collect();
    assert_eq!((row[2], row[4], row[6]), ("1", "2025-01-03", "acme"));
    let rows = store
        .succeeds(&["aggregates", "--json", "--type", "Account", "--after", &id(1)])
        .json_lines();
    assert_eq!(
        rows.iter().map(|row| &row["aggregate_id"]).collect::<Vec<_>>(),
        [&json!(id(2)), &json!(id(3))]
    );
    assert_eq!(rows[0]["tenant_id"], "acme");
    assert_eq!(store.succeeds(&["aggregates", "--json", "--type", "Order"]).out, "");
    assert_eq!(
        store
            .succeeds(&["aggregates", "--json", "--tenant", "globex"])
            .json_lines()
            .len(),
        1
    );
    let first = store.run(&["aggregates", "--json", "--limit", "2"]);
    assert_eq!((first.code, first.json_lines().len()), (0, 2));
    assert_eq!(first.err, format!("there may be more: --after {}\n", id(2)));
    assert_eq!(
        store
            .succeeds(&["aggregates", "--quiet", "--limit", "2"])
            .out
            .lines()
            .count(),
        3
    );
}

#[test]
fn show_tells_a_stream_as_of_any_point() {
    let store = Store::of_accounts();
    let one = id(1);
    let show = |more: &[&str]| {
        let mut arguments = vec!["show", "Account", &one, "--json"];
        arguments.extend(more);
        let json = store.succeeds(&arguments).json();
        let versions: Vec<_> = (json["events"].as_array().unwrap().iter())
            .map(|event| event["aggregate_version"].as_u64().unwrap())
            .collect();
        (json["aggregate_version"].as_u64().unwrap(), versions)
    };
    for (arguments, expected) in [
        (&[][..], (4, vec![1, 2, 3, 4])),
        (&["--from", "2", "--to", "3"], (4, vec![2, 3])),
        (&["--last", "2"], (4, vec![3, 4])),
        (&["--as-of-version", "2"], (2, vec![1, 2])),
        (&["--as-of-time", "2025-01-05T12:00:00Z"], (3, vec![1, 2, 3])),
        (&["--as-of-time", "2025-01-05"], (2, vec![1, 2])),
        (&["--as-of-time", "1s"], (4, vec![1, 2, 3, 4])),
        (&["--as-of-sequence", "4"], (2, vec![1, 2])),
        (&["--as-of-version", "3", "--last", "1"], (3, vec![3])),
    ] {
        assert_eq!(show(arguments), expected, "{arguments:?}");
    }
    let shown = store.succeeds(&["show", "Account", &one]);
    assert_eq!(shown.line("Account"), format!("Account {one}, version 4"));
    assert_eq!(
        shown.line("1 "),
        "1 2025-01-01T12:00:00.000000Z 1 account.opened {\"owner\":\"Ada\"} created_by=clerk-7 metadata={\"branch\":\"Oslo\",\"floor\":1}"
    );
    assert_eq!(store.succeeds(&["show", &one]).out, shown.out);
    assert_eq!(
        store
            .succeeds(&["show", "Account", &one, "--as-of-time", "2024-12-31"])
            .out,
        format!("Account {one} has no events\n")
    );
    for arguments in [
        &["show", "Account", &id(9)][..],
        &["show", &id(9)],
        &["show", &one, "--tenant", "nobody"],
        &["show", "Account", &one, "--tenant", "nobody", "--as-of-version", "1"],
    ] {
        let error = store.fails(3, arguments);
        assert!(error.contains("events; run: firefly-eventstore --store"), "{error}");
    }
    store.fails(3, &["show", "Order", &one]);
    assert_eq!(store.run(&["show", "Account", "9"]).code, 2);
    assert_eq!(store.run(&["show", "Account"]).code, 2);
    assert_eq!(store.run(&["show"]).code, 2);
    assert_eq!(
        store
            .run(&["show", "Account", &one, "--as-of-version", "1", "--as-of-sequence", "1"])
            .code,
        2
    );
}

#[test]
fn the_state_is_the_newest_snapshot_and_what_came_after() {
    let store = Store::of_accounts();
    let one = id(1);
    for version in [1, 3] {
        let state = json!({ "version": version });
        let snapshot = NewSnapshot::new(&account(1), Version::from(version), "AccountState.v1", &state).unwrap();
        store.open().save(&snapshot).unwrap();
    }
    let state = |more: &[&str]| {
        let mut arguments = vec!["show", "Account", &one, "--json", "--state"];
        arguments.extend(more);
        let json = store.succeeds(&arguments).json();
        let snapshot = json["snapshot"]["version"].as_u64();
        assert_eq!(snapshot, json["snapshot"]["snapshot_data"]["version"].as_u64());
        (snapshot, sequences(json["events"].as_array().unwrap()))
    };
    assert_eq!(state(&[]), (Some(3), vec![6]));
    assert_eq!(state(&["--as-of-version", "3"]), (Some(3), vec![]));
    assert_eq!(state(&["--as-of-version", "2"]), (Some(1), vec![2]));
    assert_eq!(state(&["--to", "2"]), (Some(1), vec![2]));
    assert_eq!(state(&["--as-of-time", "2024-12-31"]), (None, vec![]));
    let shown = store.succeeds(&["show", "Account", &one, "--state"]);
    assert!(
        shown
            .line("snapshot at version 3, AccountState.v1, ")
            .ends_with(": {\"version\":3}"),
        "{shown:?}"
    );
}

#[test]
fn tail_shows_the_end_of_what_matches() {
    let store = Store::of_accounts();
    let (one, two) = (id(1), id(2));
    let tail = |more: &[&str]| {
        let mut arguments = vec!["tail", "--json"];
        arguments.extend(more);
        sequences(&store.succeeds(&arguments).json_lines())
    };
    for (arguments, expected) in [
        (&[][..], &[1, 2, 3, 4, 5, 6][..]),
        (&["-n", "2"], &[5, 6]),
        (&["-n", "0"], &[]),
        (&["--after", "4"], &[5, 6]),
        (&["--after", "3", "-n", "1"], &[6]),
        (&["--after", "5", "-n", "3"], &[6]),
        (&["--event-type", "account.opened"], &[1, 3, 4]),
        (&["--event-type", "account.opened", "-n", "1"], &[4]),
        (
            &["--event-type", "money.deposited", "--event-type", "money.withdrawn"],
            &[2, 5],
        ),
        (&["--aggregate-type", "Order"], &[]),
        (&["--aggregate-id", &two], &[3]),
        (&["--event-id", "00000000-0000-7000-8000-000000000001"], &[1]),
        (&["--tenant", "globex"], &[4]),
        (&["--correlation-id", "transfer-1"], &[2]),
        (&["--causation-id", "00000000-0000-7000-8000-000000000001"], &[2]),
        (&["--created-by", "clerk-7"], &[1]),
        (
            &["--since", "2025-01-02T12:00:00Z", "--until", "2025-01-04T12:00:00Z"],
            &[2, 3],
        ),
        (&["--since", "1h"], &[]),
        (&["--metadata", r#"{"branch":"Lima"}"#], &[3]),
        (&["--aggregate-id", &one, "--event-type", "account.opened"], &[1]),
    ] {
        assert_eq!(tail(arguments), expected, "{arguments:?}");
    }
    let row = &store
        .succeeds(&["tail", "--json", "-n", "1", "--created-by", "clerk-7"])
        .json();
    for (name, value) in [
        ("aggregate_type", json!("Account")),
        ("aggregate_id", json!(one)),
        ("aggregate_version", json!(1)),
        ("event_data", json!({ "owner": "Ada" })),
        ("metadata", json!({ "branch": "Oslo", "floor": 1 })),
        ("created_at", json!("2025-01-01T12:00:00.000000Z")),
        ("tenant_id", Value::Null),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    let line = store.succeeds(&["tail", "-n", "1", "--tenant", "acme"]).out;
    assert_eq!(
        line,
        format!(
            "3 2025-01-03T12:00:00.000000Z Account {two} 1 account.opened {{\"owner\":\"Grace\"}} tenant_id=acme metadata={{\"branch\":\"Lima\"}}\n"
        )
    );
    assert_eq!(store.run(&["tail", "--metadata", "[1]"]).code, 2);
    assert_eq!(store.run(&["tail", "--since", "yesterday"]).code, 2);
}

#[test]
fn what_finds_nothing_says_so() {
    let store = Store::of_accounts();
    for (arguments, said) in [
        (
            &["tail", "--event-type", "nothing.happened"][..],
            "no event was found so far",
        ),
        (&["tail", "--after", "6"], "no event was found so far"),
        (&["aggregates", "--type", "Nobody"], "nothing was found"),
        (&["types", "--tenant", "nobody"], "nothing was found"),
        (&["snapshots", "--tenant", "nobody"], "nothing was found"),
        (&["parked", "list"], "nothing was found"),
        (&["consumers"], "nothing was found"),
    ] {
        let found = store.run(arguments);
        assert_eq!(
            (found.code, found.err.trim_end()),
            (0, said),
            "{arguments:?}: {found:?}"
        );
        let quiet = store.run(&[arguments, &["--quiet"]].concat());
        assert_eq!((quiet.code, quiet.err.as_str()), (0, ""), "{arguments:?}");
    }
    assert_eq!(store.run(&["tail", "-n", "0"]).err, "");
}

#[test]
fn a_negative_number_is_a_value_that_is_refused() {
    let store = Store::of_accounts();
    for (arguments, option) in [
        (
            &["append", "--type", "Account", "--id", &id(1), "--expected", "-7"][..],
            "--expected",
        ),
        (&["tail", "--after", "-1"], "--after"),
        (&["show", &id(1), "--from", "-2"], "--from"),
        (&["consumers", "reposition", "mails", "--to", "-3"], "--to"),
    ] {
        let refused = store.run(arguments);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains("invalid value '-"), "{refused:?}");
        assert!(refused.err.contains(option), "{refused:?}");
    }
}

#[test]
fn what_is_stored_cannot_command_a_terminal() {
    let store = Store::new();
    let evil = "x\u{1b}[31m\u{9b}2J\u{202e}\n";
    let event = NewEvent::from_json(evil, "{\"a\": \n\"\u{9b}2J\u{7f}\"}").unwrap();
    let event = event.created_by(evil).unwrap().metadata(&json!({ "m": evil })).unwrap();
    let aggregate = AggregateKey::new(evil, account(1).id()).unwrap();
    store.open().append(&aggregate, ExpectedVersion::Any, &[event]).unwrap();
    let state = NewSnapshot::new(&aggregate, Version::from(1), evil, &json!(evil)).unwrap();
    store.open().save(&state).unwrap();
    database(&store)
        .execute_batch("UPDATE events SET checksum = lower(hex(zeroblob(32)))")
        .unwrap();
    let one = id(1);
    for command in [
        &["tail"][..],
        &["stats"],
        &["types"],
        &["aggregates"],
        &["show", evil, &one, "--state"],
        &["snapshots"],
        &["verify"],
    ] {
        let mut in_json = command.to_vec();
        in_json.push("--json");
        for arguments in [command, &in_json] {
            let answer = store.run(arguments);
            let lines = format!("{}{}", answer.out, answer.err);
            assert!(
                lines.contains("\\u{9b}2J") || lines.contains("\\u009b2J"),
                "{arguments:?}: {answer:?}"
            );
            let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!lines.contains(obeyed), "{arguments:?}: {answer:?}");
        }
    }
    assert_eq!(
        store.run(&["tail", "--json"]).json()["event_data"]["a"],
        "\u{9b}2J\u{7f}"
    );
    let error = store.fails(3, &["show", "x\u{1b}[31m", &one]);
    assert!(error.contains("\\u{1b}[31m") && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn an_export_can_be_imported_and_repeated_and_continued() {
    let store = Store::of_accounts();
    let exported = store.succeeds(&["export", "--output", "a.jsonl"]);
    assert_eq!(exported.line("exported"), "exported 6 events up to global sequence 6");
    let digest = exported.line("digest ").to_owned();
    let next = exported
        .line("what comes next: ")
        .strip_prefix("what comes next: ")
        .unwrap()
        .to_owned();
    let expected = "export --after 6 --output a-after-6.jsonl";
    assert_eq!(next, format!("firefly-eventstore --store {} {expected}", store.url));
    assert_eq!(store.files(), ["a.jsonl"]);

    let target = Store::new();
    let file = store.file("a.jsonl").display().to_string();
    assert_eq!(
        target.succeeds(&["import", &file]).out,
        format!("imported 6 events\n{digest}\n")
    );
    assert_eq!(
        target.succeeds(&["import", &file]).out,
        format!("all already stored: 6 events\n{digest}\n")
    );
    assert_eq!(
        target.succeeds(&["import", &file, "--json"]).json(),
        json!({ "events": 0, "already_stored": 6, "filtered": false, "digest": digest.strip_prefix("digest ").unwrap() })
    );

    store.append(&account(1), "4", &[], r#"{"event_type":"account.reopened","data":{}}"#);
    let arguments: Vec<_> = expected.split(' ').collect();
    assert_eq!(
        store.succeeds(&arguments).line("exported"),
        "exported 1 event up to global sequence 7"
    );
    let file = store.file("a-after-6.jsonl");
    let piped = run_with(&mut target.command(&["import", "-"]), &fs::read(file).unwrap());
    assert_eq!(piped.out.lines().next(), Some("imported 1 event"), "{piped:?}");
    let whole = |store: &Store| store.succeeds(&["verify"]).line("the log up to").to_owned();
    assert_eq!(whole(&target), whole(&store));
}

#[test]
fn an_export_goes_to_the_standard_output_and_its_summary_elsewhere() {
    let store = Store::of_accounts();
    let exported = store.run(&["export"]);
    assert_eq!(exported.code, 0);
    assert_eq!(exported.out.lines().count(), 8);
    assert!(exported.err.starts_with("exported 6 events up to"), "{exported:?}");
    assert_eq!(
        store
            .succeeds(&["export", "--quiet", "--output", "-"])
            .out
            .lines()
            .count(),
        8
    );
    let json = store.run(&["export", "--json"]);
    assert_eq!(json.out.lines().count(), 8);
    let summary: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((&summary["events"], &summary["checkpoint"]), (&json!(6), &json!(6)));
    let next = format!("firefly-eventstore --store {} export --after 6", store.url);
    assert_eq!(summary["next"], next);
    let to_file = store.succeeds(&["export", "--json", "--output", "b.jsonl"]).json();
    assert_eq!(
        (&to_file["output"], &to_file["digest"]),
        (&json!("b.jsonl"), &summary["digest"])
    );

    let csv = store
        .succeeds(&["export", "--quiet", "--format", "csv", "--event-type", "account.opened"])
        .out;
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.starts_with("event_id,aggregate_id,aggregate_type,"), "{csv}");
    let filtered = store.succeeds(&[
        "export",
        "--output",
        "c.csv",
        "--format",
        "csv",
        "--created-by",
        "it's me",
    ]);
    assert_eq!(
        filtered.line("what comes next"),
        format!(r"what comes next: {next} --format csv --created-by 'it'\''s me' --output c-after-6.csv")
    );
    let beyond = store.fails(3, &["export", "--after", "7"]);
    assert!(beyond.contains("ends at global sequence 6"), "{beyond}");
}

#[test]
fn an_export_of_what_meets_a_condition_says_so() {
    let store = Store::of_accounts();
    let conditions = ["--where", "/owner=\"Grace\"", "--where", "=\"it's me\""];
    let none = store.succeeds(&[&["export", "--output", "none.jsonl"][..], &conditions].concat());
    assert_eq!(
        none.line("what comes next"),
        format!(
            r#"what comes next: firefly-eventstore --store {} export --after 6 --where '/owner="Grace"' --where '="it'\''s me"' --output none-after-6.jsonl"#,
            store.url
        )
    );
    assert_eq!(none.line("exported"), "exported 0 events up to global sequence 6");

    let grace = ["export", "--where", "/owner=Grace", "--output", "grace.jsonl"];
    assert_eq!(
        store.succeeds(&grace).line("exported"),
        "exported 1 event up to global sequence 6"
    );
    let checked = store.succeeds(&["import", "--check", "grace.jsonl"]);
    assert_eq!(
        checked.line("the file"),
        "the file is complete: 1 event, some of the events after global sequence 0 up to 6"
    );
    let target = Store::new();
    let file = store.file("grace.jsonl").display().to_string();
    let imported = target.run(&["import", &file]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(imported.err.contains("exported with a filter"), "{imported:?}");
    assert_eq!(target.succeeds(&["import", "--json", &file]).json()["filtered"], true);
    let csv = store
        .succeeds(&["export", "--format", "csv", "--where", "/owner=Grace", "--quiet"])
        .out;
    assert_eq!(csv.lines().count(), 2, "{csv}");
    let refused = store.run(&["export", "--where", "owner=Grace"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[test]
fn a_file_is_whole_or_as_it_was_before() {
    let store = Store::of_accounts();
    store.succeeds(&["export", "--output", "a.jsonl"]);
    let before = fs::read(store.file("a.jsonl")).unwrap();
    let harm = "PRAGMA ignore_check_constraints = ON; UPDATE events SET event_data = '{' WHERE global_sequence = 4";
    database(&store).execute_batch(harm).unwrap();
    for arguments in [
        &["export", "--output", "a.jsonl"][..],
        &["report", "--output", "a.jsonl"],
    ] {
        let error = store.fails(8, arguments);
        assert!(
            error.contains("a.jsonl exists already") && error.contains("--force"),
            "{error}"
        );
        assert_eq!(fs::read(store.file("a.jsonl")).unwrap(), before);
    }
    let error = store.fails(6, &["export", "--force", "--output", "a.jsonl"]);
    assert!(error.ends_with(&format!("--store {} verify\n", store.url)), "{error}");
    assert_eq!(fs::read(store.file("a.jsonl")).unwrap(), before);
    assert_eq!(store.files(), ["a.jsonl"], "an unfinished file was left");
    let nowhere = store.fails(8, &["export", "--output", "no/such/folder/a.jsonl"]);
    assert!(
        nowhere.contains("no/such/folder/a.jsonl cannot be written"),
        "{nowhere}"
    );
}

#[cfg(unix)]
#[test]
fn an_export_replaces_what_a_link_leads_to_and_keeps_its_rights() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let store = Store::of_accounts();
    let (link, file) = (store.file("link.jsonl"), store.file("file.jsonl"));
    fs::write(&file, "before").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&file, &link).unwrap();
    store.fails(8, &["export", "--output", "link.jsonl"]);
    store.succeeds(&["export", "--output", "link.jsonl", "--force"]);
    assert!(link.is_symlink());
    assert!(fs::read_to_string(&file).unwrap().starts_with("{\"format\""));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // A device is written to, not replaced.
    assert_eq!(store.run(&["export", "--output", "/dev/null"]).code, 0);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_changed_byte_is_found_and_its_line_named() {
    let store = Store::of_accounts();
    store.succeeds(&["export", "--output", "a.jsonl"]);
    let checked = run_with(tool().args(["import", "--check"]).arg(store.file("a.jsonl")), b"");
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(
        checked.line("the file"),
        "the file is complete: 6 events, all events after global sequence 0 up to 6"
    );
    let json = store.succeeds(&["import", "--check", "--json", "a.jsonl"]).json();
    assert_eq!(
        (&json["events"], &json["filtered"], &json["until"]),
        (&json!(6), &json!(false), &json!(6))
    );

    let line = flip_a_byte(&store.file("a.jsonl"), "Grace");
    assert_eq!(line, 4);
    let target = Store::new();
    let file = store.file("a.jsonl").display().to_string();
    for arguments in [&["import", &file][..], &["import", "--check", &file]] {
        let error = target.fails(6, arguments);
        assert!(error.contains("line 4 of the file"), "{error}");
        assert!(error.contains("export again"), "{error}");
    }
    assert_eq!(
        target.open().high_water_mark().unwrap(),
        0,
        "something of a damaged file was stored"
    );
    assert!(
        target
            .fails(8, &["import", "no-such-file"])
            .contains("no-such-file cannot be read")
    );
}

#[test]
fn a_file_that_contradicts_the_store_is_refused() {
    let (one, other) = (Store::of_accounts(), Store::of_accounts());
    one.succeeds(&["export", "--output", "a.jsonl"]);
    let error = other.fails(3, &["import", one.file("a.jsonl").to_str().unwrap()]);
    assert!(error.contains("global sequence 2"), "{error}");
    one.run(&["export", "--after", "3", "--output", "b.jsonl"]);
    let error = Store::new().fails(2, &["import", one.file("b.jsonl").to_str().unwrap()]);
    assert!(error.contains("import what is between them first"), "{error}");
}

#[test]
fn restore_copies_the_past_into_a_store_or_a_table() {
    let store = Store::of_accounts();
    let target = Store::new();
    let restored = store.succeeds(&["restore", "--to", &target.url, "--until-sequence", "3"]);
    assert_eq!(restored.line("restored"), "restored 3 events");
    let again = store.succeeds(&[
        "restore",
        "--to",
        &target.url,
        "--until-time",
        "2025-01-04T12:00:00Z",
        "--json",
    ]);
    assert_eq!(
        (&again.json()["events"], &again.json()["already_stored"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(target.open().high_water_mark().unwrap(), 4);

    let table = store
        .succeeds(&["restore", "--table", "--until-sequence", "3", "--json"])
        .json();
    assert_eq!(table, json!({ "table": "events_restored", "events": 3 }));
    let count = database(&store).query_row("SELECT count(*) FROM events_restored", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), 3);
    let error = store.fails(2, &["restore", "--table", "--until-sequence", "3"]);
    assert!(error.contains("events_restored"), "{error}");

    let itself = store.fails(2, &["restore", "--to", &store.url, "--until-sequence", "3"]);
    assert!(itself.contains("itself"), "{itself}");
    for arguments in [
        &["restore", "--table"][..],
        &["restore", "--until-sequence", "3"],
        &["restore", "--table", "--to", "sqlite:x", "--until-sequence", "3"],
        &[
            "restore",
            "--table",
            "--until-time",
            "2025-01-01",
            "--until-sequence",
            "3",
        ],
    ] {
        assert_eq!(store.run(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn verify_remembers_what_was_intact_and_finds_what_is_not() {
    let store = Store::of_accounts();
    let first = store.succeeds(&["verify", "--remember", "point"]);
    assert_eq!(first.line("intact"), "intact: 6 events and 0 snapshots verified");
    assert_eq!(first.line("remembered"), "remembered in point");
    let point: Value = serde_json::from_slice(&fs::read(store.file("point")).unwrap()).unwrap();
    assert_eq!((&point["global_sequence"], &point["events"]), (&json!(6), &json!(6)));

    store.append(
        &account(1),
        "any",
        &[],
        r#"{"event_type":"account.reopened","data":{}}"#,
    );
    let since = store
        .succeeds(&["verify", "--since", "point", "--remember", "point", "--json"])
        .json();
    assert_eq!((&since["events"], &since["findings"]), (&json!(1), &json!(0)));
    let whole = store.succeeds(&["verify", "--against", "point", "--json"]).json();
    assert_eq!(
        (&whole["events"], &whole["remembered"]),
        (&json!(7), &since["remembered"])
    );

    database(&store)
        .execute_batch("UPDATE events SET event_data = '{\"owner\":\"Eve\"}' WHERE global_sequence = 3")
        .unwrap();
    let found = store.run(&["verify", "--remember", "never"]);
    assert_eq!((found.code, &*found.err), (1, ""), "{found:?}");
    assert!(
        found.line("checksum ").contains("global sequence 3, event "),
        "{found:?}"
    );
    assert_eq!(
        found.line("damaged"),
        "damaged: 7 events and 0 snapshots verified, 1 finding"
    );
    found.line("nothing was remembered");
    assert!(!store.file("never").exists());
    let found = store.run(&["verify", "--against", "point", "--json"]);
    let rows = found.json_lines();
    assert_eq!((found.code, rows.len()), (1, 3), "{found:?}");
    assert_eq!(
        (&rows[0]["finding"], &rows[0]["global_sequence"]),
        (&json!("checksum"), &json!(3))
    );
    assert_eq!(
        (&rows[0]["aggregate_id"], &rows[0]["version"]),
        (&json!(id(2)), &json!(1))
    );
    assert_eq!(
        (&rows[1]["finding"], &rows[2]["findings"]),
        (&json!("history"), &json!(2))
    );
    assert_eq!(rows[2]["remembered"], Value::Null);

    assert!(
        store
            .fails(8, &["verify", "--since", "no-such-file"])
            .contains("--remember")
    );
    fs::write(store.file("bad"), "{}").unwrap();
    assert!(
        store
            .fails(6, &["verify", "--against", "bad"])
            .contains("bad is not a remembered point")
    );
}

#[test]
fn a_tail_that_was_cut_off_is_found_against_what_was_remembered() {
    let store = Store::of_accounts();
    store.succeeds(&["verify", "--remember", "point"]);
    database(&store)
        .execute_batch("DELETE FROM events WHERE global_sequence = 6")
        .unwrap();
    for option in ["--since", "--against"] {
        let found = store.run(&["verify", option, "point"]);
        assert_eq!(found.code, 1, "{option}: {found:?}");
        found.line("history ");
    }
}

#[test]
fn a_part_of_the_log_moves_into_a_file_and_back() {
    let store = Store::of_accounts();
    let before = store.succeeds(&["--quiet", "export"]).out;
    assert!(store.run(&["archives"]).err.contains("nothing is archived"));

    let file = store.file("past.jsonl");
    let archived = store
        .succeeds(&["archive", "past.jsonl", "--until-sequence", "4", "--json"])
        .json();
    assert_eq!((&archived["events"], &archived["retired"]), (&json!(4), &json!(true)));
    let path = file.canonicalize().unwrap();
    assert_eq!(archived["location"], json!(path));
    assert!(store.succeeds(&["archives"]).line("    1 ").contains("retired"));
    assert_eq!(store.succeeds(&["stats", "--json"]).json()["archived_events"], json!(4));
    store.succeeds(&["verify"]);

    let error = store.fails(3, &["export"]);
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(
        store
            .succeeds(&["--quiet", "export", "--after", "4"])
            .out
            .lines()
            .count(),
        4
    );
    let left = store.succeeds(&["tail", "--skip-archived", "--json"]).out;
    assert_eq!(left.lines().count(), 2);
    // The file is never replaced, and archiving continues where it was interrupted.
    let error = store.fails(8, &["archive", "past.jsonl", "--until-sequence", "5"]);
    assert!(error.contains("exists already"), "{error}");
    let resumed = store
        .succeeds(&["archive", "past.jsonl", "--resume", "--location", "s3://past", "--json"])
        .json();
    assert_eq!(
        (&resumed["location"], &resumed["events"]),
        (&json!("s3://past"), &json!(4))
    );
    let error = store.fails(2, &["archive", "none.jsonl", "--until-sequence", "4"]);
    assert!(error.contains("nothing to archive"), "{error}");
    assert!(!store.file("none.jsonl").exists());

    let attached = store.succeeds(&["attach", "past.jsonl"]);
    assert!(
        attached.line("attached 4 events").ends_with("s3://past"),
        "{attached:?}"
    );
    let events = |export: &str| export.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        events(&store.succeeds(&["--quiet", "export"]).out).len(),
        events(&before).len()
    );
    assert!(store.run(&["archives"]).err.contains("nothing is archived"));
}

#[test]
fn a_sealed_log_tells_who_changes_its_past() {
    let store = Store::of_accounts();
    let found = store.succeeds(&["doctor"]);
    assert_eq!(
        found.line("good    seals: "),
        "good    seals: none; the log is not sealed"
    );

    let sealed = store.run(&["seal"]);
    assert!(
        sealed.err.contains("sealed: 6 events up to global sequence 6"),
        "{sealed:?}"
    );
    let line = sealed.out.trim_end();
    assert!(line.starts_with("firefly-seal/6/6/"), "{line}");
    let again = store.succeeds(&["seal", "--quiet", "--json"]).json();
    assert_eq!((&again["line"], &again["events"]), (&json!(line), &json!(6)));
    let event = r#"{"event_type":"account.reopened","data":{}}"#;
    store.append(&account(1), "any", &[], event);
    let verified = store.succeeds(&["verify", "--seal", line]);
    assert_eq!(
        verified.line("1 seal "),
        "1 seal compared, the newest up to global sequence 6; 1 event after it"
    );
    let found = store.succeeds(&["doctor"]);
    assert!(
        found.line("good    seals: ").ends_with("the log ends 1 after it"),
        "{found:?}"
    );
    let maintained = store.succeeds(&["maintain", "--seal", "--json"]).json();
    assert_eq!(
        (&maintained["step"], &maintained["seal"]["events"]),
        (&json!("seal"), &json!(7))
    );
    assert!(
        store
            .succeeds(&["maintain", "--seal"])
            .line("seal: ")
            .contains("firefly-seal/7/7/")
    );

    database(&store)
        .execute_batch(
            "DROP TRIGGER trigger_events_updated_at; UPDATE events SET created_by = 'eve' WHERE global_sequence = 3",
        )
        .unwrap();
    let found = store.run(&["verify", "--json"]);
    let rows = found.json_lines();
    assert_eq!((found.code, rows.len()), (1, 2), "{found:?}");
    assert_eq!(rows[0]["finding"], "seal");
    assert_eq!(
        (
            &rows[1]["seals"],
            &rows[1]["newest_seal"]["global_sequence"],
            &rows[1]["unsealed"]
        ),
        (&json!(2), &json!(7), &json!(0))
    );
    let found = store.run(&["verify", "--seal", line]);
    assert_eq!(found.code, 1, "{found:?}");
    assert!(
        found.line("seal ").contains("after global sequence 0, up to 6, "),
        "{found:?}"
    );
    assert!(found.line("history ").contains("up to global sequence 6 "), "{found:?}");

    // A further append does not hide this, and a mistyped seal is found, too.
    store.append(&account(1), "any", &[], event);
    database(&store)
        .execute_batch("UPDATE events SET created_by = 'eve' WHERE global_sequence = 7")
        .unwrap();
    assert!(store.fails(6, &["seal"]).contains("the log is not what was sealed"));
    let mistyped = store.run(&["verify", "--seal", "firefly-seal/6/6"]);
    assert_eq!(mistyped.code, 2, "{mistyped:?}");
    assert!(mistyped.err.contains("is not the line of a seal"), "{mistyped:?}");
}

#[test]
fn verify_tells_of_snapshots_whose_checksum_is_of_old() {
    let store = Store::of_accounts();
    let snapshot = NewSnapshot::new(&account(1), Version::from(1), "AccountState.v1", &json!({})).unwrap();
    store.open().save(&snapshot).unwrap();
    assert_eq!(store.succeeds(&["verify", "--json"]).json()["old_snapshots"], 0);
    let old = snapshot.state().checksum().unwrap();
    database(&store)
        .execute("UPDATE snapshots SET checksum = ?1", [old.to_string()])
        .unwrap();
    assert_eq!(store.succeeds(&["verify", "--json"]).json()["old_snapshots"], 1);
    store
        .succeeds(&["verify"])
        .line("1 of them with a checksum of the state only");
}

#[test]
fn maintain_says_what_each_step_did() {
    let store = Store::of_accounts();
    for version in 1..=4 {
        let snapshot = NewSnapshot::new(&account(1), Version::from(version), "AccountState.v1", &json!({})).unwrap();
        store.open().save(&snapshot).unwrap();
    }
    let usual = store.succeeds(&["maintain"]);
    usual.line("analyze: ");
    usual.line("refresh: ");
    assert!(
        usual
            .line("events                   idx_events_event_id")
            .ends_with("present"),
        "{usual:?}"
    );
    assert!(!usual.out.contains("vacuum"), "{usual:?}");
    assert!(!usual.out.contains("partitions"), "{usual:?}");
    assert_eq!(
        store.succeeds(&["maintain", "--partitions"]).out,
        "partitions: the log is one table\n"
    );

    let all = [
        "maintain",
        "--json",
        "--analyze",
        "--vacuum",
        "--refresh",
        "--indexes",
        "--prune-keep",
        "1",
        "--check",
    ];
    let steps = store.succeeds(&all).json_lines();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["analyze", "prune", "vacuum", "refresh", "indexes", "check"]);
    assert_eq!(steps[1]["did"], "deleted 3 snapshots");
    assert_eq!(steps[4]["indexes"][0]["state"], "present");
    assert_eq!(steps[5]["findings"], json!([]));
    assert_eq!(
        store.succeeds(&["maintain", "--prune-older-than", "1h"]).out,
        "prune: deleted 0 snapshots\n"
    );
    assert_eq!(
        store.succeeds(&["maintain", "--prune-older-than", "0s"]).out,
        "prune: deleted 1 snapshot\n"
    );

    database(&store)
        .execute_batch("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'events'")
        .unwrap();
    let found = store.run(&["maintain", "--check"]);
    assert_eq!(found.code, 1, "{found:?}");
    found.line("sequence ");
    assert_eq!(found.line("check: "), "check: 1 finding");
    let found = store.run(&["maintain", "--check", "--json"]);
    assert_eq!(
        (found.code, &found.json()["findings"][0]["finding"]),
        (1, &json!("sequence"))
    );
}

#[test]
fn snapshots_are_listed_counted_and_deleted() {
    let store = Store::of_accounts();
    let acme = TenantId::new("acme").unwrap();
    let save = |number, version: u32, tenant| {
        let state = json!({ "version": version });
        let snapshot = NewSnapshot::new(&account(number), Version::from(version), "AccountState.v1", &state).unwrap();
        store.open().save_snapshot(tenant, &snapshot).unwrap();
    };
    for version in 1..=4 {
        save(1, version, None);
    }
    save(2, 1, Some(&acme));
    let (one, two) = (id(1), id(2));

    assert_eq!(store.succeeds(&["snapshots"]).out.lines().count(), 6);
    let versions = |arguments: &[&str]| {
        let rows = store.succeeds(arguments).json_lines();
        rows.iter()
            .map(|row| row["version"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(versions(&["snapshots", "--json", "Account", &one]), [4, 3, 2, 1]);
    assert_eq!(versions(&["snapshots", "--json", "--tenant", "acme"]), [1]);
    let row = store.succeeds(&["snapshots", "--json", "Account", &two]).json();
    assert_eq!(
        (&row["snapshot_data"], &row["tenant_id"]),
        (&json!({ "version": 1 }), &json!("acme"))
    );
    let some = store.run(&["snapshots", "--limit", "2"]);
    assert_eq!(
        (some.out.lines().count(), &*some.err),
        (3, "there are more than 2: --limit N\n")
    );
    let counted = store.succeeds(&["snapshots", "--statistics"]);
    assert!(counted.out.starts_with("5 snapshots of 2 aggregates, "), "{counted:?}");
    assert_eq!(
        store.succeeds(&["snapshots", "--statistics", "--json"]).json()["aggregates"],
        2
    );

    let deleted = |arguments: &[&str]| {
        let mut all = vec!["snapshots", "--delete", "--json"];
        all.extend(arguments);
        store.succeeds(&all).json()["deleted"].as_u64().unwrap()
    };
    assert_eq!(deleted(&["--older-than", "1h"]), 0);
    assert_eq!(deleted(&["Account", &one, "--at", "3"]), 1);
    assert_eq!(deleted(&["Account", &one, "--before", "2"]), 1);
    assert_eq!(deleted(&["Account", &two, "--all", "--tenant", "globex"]), 0);
    assert_eq!(versions(&["snapshots", "--json", "Account", &one]), [4, 2]);
    assert_eq!(deleted(&["--keep", "1"]), 1);
    assert_eq!(versions(&["snapshots", "--json"]), [4, 1]);
    assert_eq!(deleted(&["--all", "--tenant", "acme"]), 1);
    assert_eq!(
        store.succeeds(&["snapshots", "--delete", "--all"]).out,
        "deleted 1 snapshot\n"
    );

    for arguments in [
        &["snapshots", "--delete"][..],
        &["snapshots", "--all"],
        &["snapshots", "--delete", "--all", "--keep", "1"],
        &["snapshots", "--delete", "--at", "1"],
        &["snapshots", "Account"],
        &["snapshots", "Account", &one, "--delete", "--older-than", "1h"],
    ] {
        assert_eq!(store.run(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn report_writes_a_page() {
    // Ignores where a long name may be broken.
    let whole = |page: String| page.replace("<wbr>", "");
    let store = Store::of_accounts();
    assert_eq!(store.succeeds(&["report"]).out, "the report is in report.html\n");
    let page = whole(fs::read_to_string(store.file("report.html")).unwrap());
    assert!(page.starts_with("<!") && page.trim_end().ends_with("</html>"), "{page}");
    assert!(page.contains("money.deposited") && page.contains("acme"), "{page}");
    assert_eq!(store.files(), ["report.html"]);
    let of_acme = store.succeeds(&[
        "report",
        "--quiet",
        "--output",
        "-",
        "--tenant",
        "acme",
        "--title",
        "Our <page>",
    ]);
    let page = whole(of_acme.out);
    assert!(page.contains("Our &lt;page&gt;"), "{page}");
    assert!(
        page.contains("account.opened") && !page.contains("money.deposited"),
        "{page}"
    );

    let verified = store.succeeds(&["report", "--verify", "--json", "-o", "v.html"]).json();
    assert_eq!(verified, json!({ "output": "v.html", "findings": 0 }));
    database(&store)
        .execute_batch("UPDATE events SET event_data = '{}' WHERE global_sequence = 3")
        .unwrap();
    let verified = store.run(&["report", "--verify", "--force", "-o", "v.html"]);
    assert_eq!(
        (verified.code, &*verified.out),
        (1, "the report is in v.html, 1 finding\n")
    );
    let page = whole(fs::read_to_string(store.file("v.html")).unwrap());
    assert!(page.contains("the checksum of its data is"), "{page}");
}

#[test]
fn doctor_tells_the_worst_by_its_exit_code() {
    let store = Store::of_accounts();
    let healthy = store.succeeds(&["doctor"]);
    assert_eq!(healthy.out.lines().next(), Some(&*store.url));
    assert_eq!(healthy.line("good    synchronous"), "good    synchronous: FULL");
    let json = store.succeeds(&["doctor", "--json"]).json();
    assert_eq!((&json["store"], &json["worst"]), (&json!(store.url), &json!("good")));
    assert_eq!(
        json["diagnoses"].as_array().unwrap().len(),
        healthy.out.lines().count() - 1
    );

    let missing = Store::missing();
    let found = missing.run(&["doctor"]);
    assert_eq!((found.code, &*found.err), (5, ""));
    found.line("danger  schema: ");
    assert_eq!(
        found.line("        ->"),
        format!("        -> run: firefly-eventstore --store {} migrate", missing.url)
    );
    let found = missing.run(&["doctor", "--json"]);
    assert_eq!((found.code, &found.json()["worst"]), (5, &json!("danger")));

    fs::write(
        missing.file("ledger.db"),
        "this is no database, but it is long enough to be looked at",
    )
    .unwrap();
    let found = missing.run(&["doctor"]);
    assert_eq!(found.code, 6, "{found:?}");
    found.line("danger  storage: ");

    database(&store).execute_batch("DROP INDEX idx_events_type").unwrap();
    let found = store.run(&["doctor", "--json"]);
    let worst = found.json()["worst"].as_str().unwrap().to_owned();
    let code = match &*worst {
        "good" | "notice" => 0,
        "warning" => 1,
        _ => 10,
    };
    assert_eq!(found.code, code, "{found:?}");
}
