//! The tool on real servers: PostgreSQL, MySQL and MariaDB.

#![cfg(all(feature = "sqlite", feature = "postgres", feature = "mysql"))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore::ErrorKind;
use firefly_eventstore::prelude::*;
use firefly_eventstore_test_servers::{
    Database, Flavour, MysqlServer, PostgresServer, mariadb_unless_missing, mysql_unless_missing,
    postgres_unless_missing,
};
use serde_json::json;

use support::{Running, Store, account, append_many, id};

/// A database of each server that is there, with its name and its URL, in which there is a password.
fn databases() -> Vec<(&'static str, Database, String)> {
    let mut databases = Vec::new();
    if let Some(server) = postgres_unless_missing() {
        let database = server.new_database();
        // The tests' own server asks for none, and takes any.
        let url = database
            .url()
            .replace("postgres@", &format!("postgres:{POSTGRES_PASSWORD}@"));
        databases.push(("postgres", database, url));
    }
    for (name, server) in [("mysql", mysql_unless_missing()), ("mariadb", mariadb_unless_missing())] {
        if let Some(server) = server {
            let database = server.new_database();
            let url = database.url().to_owned();
            databases.push((name, database, url));
        }
    }
    databases
}

const POSTGRES_PASSWORD: &str = "tiger%2D9";

fn password(url: &str) -> &str {
    let user_info = url.split_once("://").unwrap().1.split_once('@').unwrap().0;
    user_info.split_once(':').unwrap().1
}

#[test]
fn a_log_moves_through_every_database_and_comes_back_the_same() {
    let first = Store::of_accounts();
    append_many(&*first.open(), 1_500);
    let odd = r#"[{"event_type":"odd \u0001 \ud83d\ude00 '\"\\","data":{"b":1.50,"a":[1e2,-0.0,18446744073709551615,"\u009b"]},
        "metadata":{"z":{},"a":null},"created_by":"O'Hara; --","created_at":"1000-01-01T00:00:00.000001Z"}]"#;
    first.append(&account(4), "any", &["--tenant", "a % b_c"], odd);
    let exported = first.succeeds(&["export", "--output", "log.jsonl"]);
    let digest = exported.line("digest ").to_owned();

    let databases = databases();
    let mut stores: Vec<_> = databases.iter().map(|(_, _, url)| Store::at(url)).collect();
    stores.push(Store::new());
    let mut file = first.file("log.jsonl");
    for store in &stores {
        let imported = store.succeeds(&["import", file.to_str().unwrap()]);
        assert_eq!(
            imported.out,
            format!("imported 1507 events\n{digest}\n"),
            "{}",
            store.url
        );
        let exported = store.succeeds(&["export", "--output", "log.jsonl"]);
        assert_eq!(
            exported.line("exported"),
            "exported 1507 events up to global sequence 1507"
        );
        assert_eq!(exported.line("digest "), digest, "{}", store.url);
        file = store.file("log.jsonl");
    }
    let again = first.succeeds(&["import", file.to_str().unwrap()]);
    assert_eq!(again.out, format!("all already stored: 1507 events\n{digest}\n"));

    // And what comes later.
    first.append(
        &account(1),
        "exists",
        &[],
        r#"{"event_type":"account.reopened","data":{}}"#,
    );
    first.succeeds(&["export", "--after", "1507", "--output", "more.jsonl"]);
    let point = first.succeeds(&["verify"]).line("the log up to").to_owned();
    for store in &stores {
        let imported = store.succeeds(&["import", first.file("more.jsonl").to_str().unwrap()]);
        assert_eq!(imported.line("imported"), "imported 1 event");
        assert_eq!(
            store.succeeds(&["verify"]).line("the log up to"),
            point,
            "{}",
            store.url
        );
    }
}

#[test]
fn every_command_works_and_shows_no_password() {
    for (name, database, url) in databases() {
        let store = Store {
            url: url.clone(),
            directory: tempfile::tempdir().unwrap(),
        };
        let one = id(1);
        let mut shown = String::new();
        let mut run = |code: i32, arguments: &[&str]| {
            let answer = store.run(arguments);
            assert_eq!(answer.code, code, "{name} {arguments:?}: {answer:?}");
            shown.push_str(&answer.out);
            shown.push_str(&answer.err);
            answer
        };
        run(5, &["stats"]);
        run(5, &["doctor"]).line("danger  schema: ");
        run(0, &["migrate", "--dry-run"]);
        assert!(
            !run(0, &["migrate", "--json"]).json()["migrations"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        assert_eq!(run(0, &["migrate"]).out, "the schema is up to date\n");
        store.fill();
        let snapshot = NewSnapshot::new(&account(1), Version::from(2), "AccountState.v1", &json!({ "cents": 1 }));
        store.open().save(&snapshot.unwrap()).unwrap();

        let stats = run(0, &["stats", "--json"]).json();
        assert_eq!((&stats["backend"], &stats["total_events"]), (&json!(name), &json!(6)));
        run(0, &["stats"]).line("6 events of 3 aggregates");
        assert_eq!(run(0, &["types", "--json"]).json_lines().len(), 4);
        assert_eq!(run(0, &["aggregates", "--json"]).json_lines().len(), 3);
        let state = run(0, &["show", "Account", &one, "--state", "--json"]).json();
        assert_eq!(
            (&state["snapshot"]["version"], &state["events"][0]["aggregate_version"]),
            (&json!(2), &json!(3))
        );
        run(0, &["show", "Account", &one]).line("Account");
        let filtered = run(
            0,
            &[
                "tail",
                "--json",
                "--metadata",
                r#"{"branch":"Lima"}"#,
                "--tenant",
                "acme",
            ],
        );
        assert_eq!(filtered.json()["event_data"], json!({ "owner": "Grace" }));
        assert_eq!(run(0, &["tail", "-n", "2"]).out.lines().count(), 2);
        run(0, &["export", "--output", "a.jsonl"]);
        assert_eq!(run(0, &["import", "a.jsonl", "--json"]).json()["already_stored"], 6);
        assert_eq!(
            run(0, &["restore", "--table", "--until-sequence", "3", "--json"]).json()["events"],
            3
        );
        run(2, &["restore", "--table", "--until-sequence", "3"]);
        run(0, &["verify", "--remember", "point"]).line("intact");
        run(0, &["verify", "--since", "point", "--json"]).json();
        let steps = run(
            0,
            &[
                "maintain",
                "--json",
                "--analyze",
                "--vacuum",
                "--refresh",
                "--indexes",
                "--check",
            ],
        );
        assert_eq!(steps.json_lines().len(), 5);
        run(0, &["maintain"]).line("analyze: ");
        assert_eq!(run(0, &["snapshots", "--json"]).json_lines().len(), 1);
        assert_eq!(
            run(0, &["snapshots", "--delete", "--keep", "0", "--json"]).json()["deleted"],
            1
        );
        assert!(
            run(0, &["report", "--verify", "--output", "-"])
                .out
                .contains("money.<wbr>deposited")
        );
        run(3, &["show", "Order", &one]);

        store.fail_mails();
        run(0, &["consumers"]).line("mails.v1  failed ");
        let mails = run(0, &["consumers", "show", "mails.v1", "--json"]).json();
        assert_eq!(
            (&mails["position"], &mails["parked"], &mails["failing_sequence"]),
            (&json!(2), &json!(2), &json!(3))
        );
        assert!(
            mails["slots"][0]["lease_left_seconds"].as_f64().unwrap() > 3_000.0,
            "{mails}"
        );
        run(0, &["consumers", "pause", "mails.v1"]);
        run(0, &["consumers", "resume", "mails.v1"]);
        run(0, &["consumers", "reposition", "mails.v1", "--to", "1", "--yes"]);
        assert_eq!(run(0, &["parked", "--json"]).json_lines().len(), 2);
        run(0, &["parked", "replay", "mails.v1", "--all"]);
        assert_eq!(
            run(0, &["parked", "show", "mails.v1", "1", "--json"]).json()["replay"],
            true
        );
        run(0, &["parked", "discard", "mails.v1", "1", "--yes"]);
        run(0, &["parked", "discard", "mails.v1", "--aggregate", &one, "--yes"]);
        assert_eq!(
            run(0, &["consumers", "reset", "mails.v1", "--yes", "--json"]).json()["position"],
            0
        );

        let found = store.run(&["doctor", "--json"]);
        let worst = found.json()["worst"].as_str().unwrap().to_owned();
        // A server of the tests may well be one that does not wait for its disk.
        let code = match &*worst {
            "good" | "notice" => 0,
            "warning" => 1,
            _ => 10,
        };
        assert_eq!(found.code, code, "{found:?}");
        let same = run(code, &["doctor"]);
        assert!(same.out.contains(":***@"), "{same:?}");
        shown.push_str(&found.out);

        let wrong = Store {
            url: url.replace(database.name(), "no_such_database"),
            directory: tempfile::tempdir().unwrap(),
        };
        for command in ["stats", "migrate"] {
            let error = wrong.fails(9, &[command]);
            shown.push_str(&error);
        }
        let decoded = password(&url).replace("%2D", "-");
        for secret in [password(&url), &decoded] {
            assert!(!shown.contains(secret), "{name}: {shown}");
        }
    }
}

#[test]
fn following_goes_on_after_the_server_was_restarted() {
    if postgres_unless_missing().is_none() {
        return;
    }
    let Ok(server) = PostgresServer::start(&[]) else { return };
    let database = server.new_database();
    let store = Store::at(database.url());
    store.fill();
    let mut running = Running::start(&mut store.command(&["tail", "-n", "1", "--follow", "--interval", "10ms"]));
    assert!(running.line().unwrap().starts_with("6 "));
    server.kill("QUIT");
    assert!(running.remark().starts_with("trying again until it succeeds: "));
    server.restart();
    store.append(
        &account(2),
        "1",
        &["--tenant", "acme"],
        r#"{"event_type":"account.closed","data":{}}"#,
    );
    let sequence = store.open().high_water_mark().unwrap();
    assert!(running.line().unwrap().starts_with(&format!("{sequence} ")));
    running.signal("INT");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn a_mark_is_published_once_or_until_ctrl_c_and_read_up_to() {
    let Some(server) = postgres_unless_missing() else {
        return;
    };
    let database = server.new_database();
    let store = Store::at(database.url());
    append_many(&*store.open(), 3);
    let replica = format!("{}?read_replica=true", database.url());
    assert!(store.run(&["tail", "--store", &replica]).err.contains("publish-mark"));
    assert_eq!(store.succeeds(&["publish-mark"]).out, "published global sequence 3\n");
    append_many(&*store.open(), 1);
    let read = || store.succeeds(&["tail", "--store", &replica]).out.lines().count();
    assert_eq!(read(), 3);
    assert_eq!(
        store.run(&["publish-mark", "--store", &replica]).code,
        7,
        "a replica publishes nothing"
    );
    assert_eq!(store.run(&["publish-mark", "--every", "0s"]).code, 2);

    let mut publishing = Running::start(&mut store.command(&["publish-mark", "--every", "1ms", "--json"]));
    assert_eq!(publishing.line().as_deref(), Some(r#"{"high_water_mark":4}"#));
    append_many(&*store.open(), 1);
    assert_eq!(publishing.line().as_deref(), Some(r#"{"high_water_mark":5}"#));
    assert_eq!(read(), 5);
    publishing.signal("INT");
    assert_eq!(publishing.wait(), (Some(0), String::new()));
}

/// Divides the log, and again, which changes nothing.
#[track_caller]
fn assert_divides(store: &Store, command: &[&str], into: &str) {
    for already in ["", " already"] {
        let answer = format!("the log is divided into partitions {into}{already}\n");
        assert_eq!(store.succeeds(command).out, answer);
    }
}

#[track_caller]
fn assert_is_made_one_table(store: &Store) {
    let undone = store.succeeds(&["partition", "--undo", "--json"]);
    assert_eq!(undone.json(), serde_json::json!({ "converted": true }));
}

const DIVIDE: [&str; 3] = ["partition", "--events", "50"];

/// A store with 120 events that is divided.
fn divided(database: &Database) -> Store {
    let store = Store::at(database.url());
    append_many(&*store.open(), 120);
    assert_divides(&store, &DIVIDE, "of 50 events each");
    store
}

#[test]
fn a_log_is_divided_into_partitions_and_made_one_table_again() {
    let Some(server) = postgres_unless_missing() else {
        return;
    };
    let database = server.new_database();
    let store = divided(&database);
    assert_divides(&store, &["partition", "--by-month"], "by month");
    let doctor = store.run(&["doctor"]).out;
    assert!(doctor.contains("partitions: 2 by month"), "{doctor}");
    assert_divides(&store, &DIVIDE, "of 50 events each");
    let maintained = store.succeeds(&["maintain", "--partitions"]).out;
    assert!(maintained.starts_with("partitions: the log has "), "{maintained}");
    append_many(&*store.open(), 1);
    // A log that is divided by its sequence must become one table before it is divided by type.
    let by_type = ["partition", "--by-type", "order,customer"];
    let refused = store.run(&by_type);
    assert!(
        refused.code != 0 && refused.err.contains("partition --undo"),
        "{refused:?}"
    );
    assert_is_made_one_table(&store);
    assert_divides(&store, &by_type, "by aggregate type (customer, order)");
    let doctor = store.run(&["doctor"]).out;
    assert!(
        doctor.contains("partitions: 4 by aggregate type (customer, order)"),
        "{doctor}"
    );
    let twice = store.run(&["partition", "--by-type", "order,order"]);
    assert!(twice.code != 0 && twice.err.contains("named twice"), "{twice:?}");
    store.succeeds(&["partition", "--undo"]);
    assert_eq!(store.open().high_water_mark().unwrap(), 121);
    assert_eq!(store.run(&["partition"]).code, 2);
    assert_eq!(store.run(&["partition", "--by-month", "--events", "50"]).code, 2);
    let refused = Store::new().run(&DIVIDE);
    assert!(refused.code != 0 && refused.err.contains("SQLite"), "{refused:?}");
}

#[test]
fn a_log_in_mysql_is_divided_into_partitions_and_made_one_table_again() {
    let Some(server) = mysql_unless_missing() else {
        return;
    };
    let database = server.new_database();
    let store = divided(&database);
    let by_month = store.run(&["partition", "--by-month"]);
    assert!(by_month.code != 0 && by_month.err.contains("by month"), "{by_month:?}");
    let maintained = store.succeeds(&["maintain", "--partitions"]).out;
    assert!(
        maintained.starts_with("partitions: the log has 4, and needs no more"),
        "{maintained}"
    );
    append_many(&*store.open(), 1);
    assert_is_made_one_table(&store);
    assert_eq!(store.open().high_water_mark().unwrap(), 121);
}

/// On servers that replicate, what a URL says is the same to the library and to the tool.
#[test]
fn a_replica_is_read_up_to_the_published_mark_and_refuses_what_writes() {
    let there = [mysql_unless_missing(), mariadb_unless_missing()];
    thread::scope(|scope| {
        for server in there.into_iter().flatten() {
            scope.spawn(|| read_a_replica(server.flavour()));
        }
    });
}

fn read_a_replica(flavour: Flavour) {
    let logged = [("log_bin", "binlog"), ("server_id", "1")];
    let primary = MysqlServer::start_forgetful(flavour, &logged).unwrap();
    let replica = primary
        .replica(&[flavour.forgetful(), &[("read_only", "ON")]].concat())
        .unwrap();
    let database = primary.new_database();
    let writes = Store::at(database.url());
    let at = |url: String| Store {
        url,
        directory: tempfile::tempdir().unwrap(),
    };
    let plain = at(replica.url(database.name()));
    let reads = at(format!("{}&read_replica=true", plain.url));
    let lines = || reads.succeeds(&["tail"]).out.lines().count();

    append_many(&*writes.open(), 3);
    let version = || firefly_eventstore::connect(&reads.url).and_then(|reader| Ok(reader.version(&account(1))?.get()));
    eventually("the events are there", || version().is_ok_and(|version| version == 3));
    let reader = firefly_eventstore::connect(&reads.url).unwrap();

    // What exists need not be final: earlier events may still be committed.
    for (store, what_to_do) in [(&plain, "read_replica"), (&reads, "publish-mark")] {
        let opened = firefly_eventstore::connect(&store.url).unwrap();
        let error = opened.high_water_mark().unwrap_err();
        assert!(error.is_unprovable(), "{error:?}");
        let told = store.fails(7, &["tail"]);
        for message in [error.to_string(), told] {
            assert!(message.contains(what_to_do), "{message}");
        }
    }
    assert_eq!(writes.succeeds(&["publish-mark"]).out, "published global sequence 3\n");
    eventually("the mark is there", || {
        reader.high_water_mark().is_ok_and(|mark| mark == 3)
    });
    append_many(&*writes.open(), 2);
    eventually("more events are there", || version().is_ok_and(|version| version == 5));
    assert_eq!(reader.high_water_mark().unwrap(), 3);
    assert_eq!((reader.read(EventQuery::new()).count(), lines()), (3, 3));
    writes.succeeds(&["publish-mark"]);
    eventually("the next mark is there", || {
        reader.high_water_mark().is_ok_and(|mark| mark == 5)
    });
    assert_eq!((reader.read(EventQuery::new()).count(), lines()), (5, 5));

    // The server's own read_only does not apply to this user.
    let event = NewEvent::new("money.deposited", &json!({})).unwrap();
    let appended = reader.append(&account(1), ExpectedVersion::Any, &[event]);
    let migrated = firefly_eventstore::migrate(&reads.url).map(drop);
    let by_library = [appended.map(drop), migrated].map(Result::unwrap_err);
    let append = ["append", "--type", "Account", "--id", &id(1), "--expected", "any"];
    let input = br#"{"event_type":"money.deposited","data":{}}"#;
    let by_tool = [
        support::run_with(&mut reads.command(&append), input),
        reads.run(&["migrate"]),
    ];
    for (error, answer) in by_library.into_iter().zip(by_tool) {
        assert_eq!(*error.kind(), ErrorKind::ReadOnly);
        assert_eq!(answer.code, 7, "{answer:?}");
        assert!(answer.err.contains(&error.kind().to_string()), "{answer:?}");
    }
    assert_eq!(version().unwrap(), 5);
    let diagnosed = reads.run(&["doctor"]);
    for subject in ["topology", "published mark", "replica", "read_only"] {
        diagnosed.line(&format!("good    {subject}: "));
    }
    assert!(
        plain.run(&["doctor"]).out.contains("danger  topology: "),
        "a plain store is not told of"
    );
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
