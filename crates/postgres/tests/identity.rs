//! A store stays the one that was opened, whatever happens to schema names, search paths and connections.

use std::time::{Duration, Instant};

use firefly_eventstore_core::SummaryQuery;
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_test_servers::Database;

use crate::support::{account, all_events, client, database, deposited, fresh};

fn in_schema(database: &Database, schema: &str) -> PostgresEventStore {
    PostgresEventStore::builder(database.url())
        .schema(schema)
        .max_connections(2)
        .migrate_on_open(true)
        .open()
        .unwrap()
}

fn append(store: &PostgresEventStore) -> GlobalSequence {
    let appended = store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    appended.unwrap().last_sequence().unwrap()
}

fn run(database: &Database, statements: &str) {
    client(database).batch_execute(statements).unwrap();
}

/// How many events a table has.
fn count(database: &Database, schema: &str) -> i64 {
    let count = format!("SELECT COUNT(*) FROM {schema}.events");
    client(database).query_one(&count, &[]).unwrap().get(0)
}

const SWAP: &str =
    "ALTER SCHEMA one RENAME TO third; ALTER SCHEMA other RENAME TO one; ALTER SCHEMA third RENAME TO other";

#[test]
fn schemas_that_swap_their_names_stay_the_stores_that_were_opened() {
    let Some(database) = database() else { return };
    let (one, other) = (in_schema(&database, "one"), in_schema(&database, "other"));
    let known = account();
    one.append(
        &known,
        ExpectedVersion::NoStream,
        &[deposited(1), deposited(2), deposited(3)],
    )
    .unwrap();
    let snapshot = NewSnapshot::from_json(&known, Version::from(3), "Account", "{}").unwrap();
    one.save_snapshot(None, &snapshot).unwrap();
    for _ in 0..40 {
        append(&other);
    }
    // Connections with prepared statements, and later ones.
    assert_eq!(one.high_water_mark().unwrap(), 3);
    assert_eq!(one.load(&known).unwrap().version(), 3);
    let ids =
        |store: &PostgresEventStore| -> Vec<Uuid> { all_events(store).iter().map(|event| event.event_id).collect() };
    let before = ids(&one);
    let last = |store: &PostgresEventStore| store.load_range(&known, &StreamRange::all().last(1)).unwrap().version();
    let is_refused = |store: &PostgresEventStore| {
        let result = store.append(&known, ExpectedVersion::NoStream, &[deposited(1)]);
        result.unwrap_err().is_conflict()
    };
    type Check<'a> = &'a dyn Fn(&PostgresEventStore);
    let kept = |store: &PostgresEventStore| {
        store.refresh_aggregate_summaries().unwrap();
        let query = SummaryQuery::new().as_of_last_refresh();
        store.aggregate_summaries(&query).unwrap().len()
    };
    let first: [Check<'_>; 10] = [
        &|store| assert_eq!(store.high_water_mark().unwrap(), 3),
        &|store| assert_eq!(store.load(&known).unwrap().version(), 3),
        &|store| assert_eq!(last(store), 3),
        &|store| assert_eq!(store.statistics(None).unwrap().total_events, 3),
        &|store| assert_eq!(ids(store), before),
        &|store| assert!(store.latest_snapshot(&known).unwrap().is_some()),
        &|store| assert!(is_refused(store)),
        &|store| assert_eq!(store.load(&account()).unwrap().version(), 0),
        &|store| assert_eq!(kept(store), 1),
        &|store| assert!(store.update_statistics().unwrap().contains("events (about 3 rows)")),
    ];
    for check in first {
        run(&database, SWAP);
        check(&one);
        assert_eq!(other.high_water_mark().unwrap(), 40);
    }
    // On a page of a read that began earlier.
    let page = one
        .read_page(&EventQuery::new().page_size(1.try_into().unwrap()), None)
        .unwrap();
    run(&database, SWAP);
    let query = EventQuery::new().page_size(1.try_into().unwrap());
    let following = one.read_page(&query, page.next.as_ref()).unwrap();
    assert_eq!(following.events[0].event_id, before[1]);
    // The names are still swapped: events must be appended to the right store.
    let names = if count(&database, "one") == 3 {
        ["one", "other"]
    } else {
        ["other", "one"]
    };
    append(&one);
    let refused = one.transaction(|tx| {
        run(&database, SWAP);
        tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
    });
    assert!(refused.unwrap_err().is_moved());
    let appended = one.transaction(|tx| tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]));
    assert!(appended.is_ok(), "{appended:?}");
    assert_eq!(names.map(|name| count(&database, name)), [40, 5]);
}

#[test]
fn a_schema_that_is_renamed_stays_the_store_that_was_opened() {
    let Some(database) = database() else { return };
    let store = in_schema(&database, "one");
    append(&store);
    assert_eq!(store.high_water_mark().unwrap(), 1);
    run(&database, "ALTER SCHEMA one RENAME TO \"Another 'name'\"");
    assert_eq!(store.high_water_mark().unwrap(), 1);
    assert_eq!(append(&store), 2);
    assert_eq!(store.health().unwrap().high_water_mark, 2);
    assert_eq!(all_events(&store).len(), 2);
}

#[test]
fn a_schema_that_is_gone_or_replaced_is_told_at_once() {
    let Some(database) = database() else { return };
    for replace in [false, true] {
        run(&database, "DROP SCHEMA IF EXISTS one CASCADE");
        let store = in_schema(&database, "one");
        append(&store);
        assert_eq!(store.high_water_mark().unwrap(), 1);
        run(&database, "DROP SCHEMA one CASCADE");
        let new = replace.then(|| in_schema(&database, "one"));
        let asked = Instant::now();
        let known = account();
        let errors = [
            store
                .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap_err(),
            store.load(&known).unwrap_err(),
            store.high_water_mark().unwrap_err(),
            store.statistics(None).unwrap_err(),
            store
                .transaction(|tx| tx.append(&known, ExpectedVersion::Any, &[deposited(1)]))
                .unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_moved() && !error.is_retryable(), "{error:?}");
            assert!(!error.to_string().contains("migrate"), "{error}");
        }
        // Without waiting for a connection.
        assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
        if let Some(new) = new {
            assert_eq!(new.high_water_mark().unwrap(), 0);
            assert!(all_events(&new).is_empty());
        }
    }
}

#[test]
fn a_dump_that_is_restored_beside_its_store_is_another_one() {
    let Some(database) = database() else { return };
    let store = in_schema(&database, "one");
    append(&store);
    append(&store);
    let server = firefly_eventstore_test_servers::postgres().unwrap();
    let dump = server
        .command("pg_dump")
        .args(["--schema=one", "--inserts", database.url()])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    run(&database, "ALTER SCHEMA one RENAME TO kept");
    // With an empty search path, as pg_dump sets it.
    client(&database).batch_execute(&without_psql(&dump.stdout)).unwrap();
    let insert =
        "INSERT INTO one.events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
        VALUES (gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{}')";
    run(&database, &format!("SET search_path = ''; {insert}"));

    let restored = in_schema(&database, "one");
    assert_eq!(restored.high_water_mark().unwrap(), 3);
    assert_eq!(append(&restored), 4);
    assert_eq!(store.high_water_mark().unwrap(), 2);
    assert_eq!(append(&store), 3);
    assert_eq!(["one", "kept"].map(|schema| count(&database, schema)), [4, 3]);
    // Neither schema needs the other.
    run(&database, "DROP SCHEMA kept CASCADE");
    assert_eq!(append(&restored), 5);
    assert_eq!(restored.load(&account()).unwrap().version(), 0);
    assert!(store.high_water_mark().unwrap_err().is_moved());
}

/// A dump without `psql`'s own commands.
fn without_psql(dump: &[u8]) -> String {
    let text = String::from_utf8_lossy(dump);
    let lines = text.lines().filter(|line| !line.starts_with('\\'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_altered_search_path_leads_no_connection_elsewhere() {
    let Some((database, store)) = fresh() else { return };
    let elsewhere = in_schema(&database, "elsewhere");
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    run(
        &database,
        &format!("ALTER DATABASE {} SET search_path = elsewhere", database.name()),
    );
    // Each connection is opened again.
    let end = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    client(&database).query(end, &[]).unwrap();
    for version in 2..5 {
        let appended = store.append(&known, ExpectedVersion::Any, &[deposited(1)]).unwrap();
        assert_eq!(appended.version(), version);
    }
    assert_eq!(store.load(&known).unwrap().version(), 4);
    assert_eq!(store.high_water_mark().unwrap(), 4);
    assert_eq!(elsewhere.high_water_mark().unwrap(), 0);
}

/// Changes that the caller's work may leave on a connection.
const LEFT_BEHIND: &[&str] = &[
    "SET search_path = elsewhere",
    "SET ROLE nobody_knows",
    "SET SESSION AUTHORIZATION nobody_knows",
    "SET default_transaction_isolation = 'serializable'",
    "SET default_transaction_read_only = on",
    "SET timezone = 'Asia/Kathmandu'",
    "SET statement_timeout = 1",
    "SET firefly.store = '1'",
    "CREATE TEMP TABLE events (LIKE public.events INCLUDING ALL); SET search_path = pg_temp, public",
    "LISTEN somebody",
    "SELECT pg_advisory_lock(7)",
    "PREPARE somebody AS SELECT 1",
    "DEALLOCATE ALL",
    "DECLARE somebody CURSOR WITH HOLD FOR SELECT 1",
];

#[test]
fn what_work_leaves_on_a_connection_reaches_no_other_call() {
    let Some(database) = database() else { return };
    let elsewhere = in_schema(&database, "elsewhere");
    let store = PostgresEventStore::builder(database.url())
        .max_connections(1)
        .migrate_on_open(true)
        .open()
        .unwrap();
    let role = format!("nobody_knows_{}", database.name());
    run(&database, &format!("CREATE ROLE {role}"));
    let of_connection = |tx: &mut firefly_eventstore_postgres::PostgresTransaction<'_>, what: &str| {
        let row = tx.connection().query_one(what, &[]).unwrap();
        row.get::<_, String>(0)
    };
    let process = || {
        store
            .transaction(|tx| Ok::<_, Error>(of_connection(tx, "SELECT pg_backend_pid()::text")))
            .unwrap()
    };
    let settings =
        "SELECT concat_ws(' ', current_user, session_user, string_agg(name || '=' || setting, ' ' ORDER BY name),
            (SELECT COUNT(*) FROM pg_listening_channels()), (SELECT COUNT(*) FROM pg_cursors WHERE is_holdable),
            (SELECT COUNT(*) FROM pg_class WHERE relname = 'events' AND relpersistence = 't'),
            (SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()))
        FROM pg_settings WHERE source = 'session'";
    let state = || {
        store
            .transaction(|tx| Ok::<_, Error>(of_connection(tx, settings)))
            .unwrap()
    };
    let (pid, untouched) = (process(), state());
    let known = account();
    let mut expected = 0_u64;
    // Ended by a commit, by an error, and by the work's own commit, after which nothing is rolled back.
    for ends in ["", "ROLLBACK", "COMMIT"] {
        for left in LEFT_BEHIND {
            let left = left.replace("nobody_knows", &role);
            let result = store.transaction(|tx| {
                tx.connection().batch_execute(&left).unwrap();
                match ends {
                    "" => return Ok(()),
                    "ROLLBACK" => {}
                    // A time limit of a millisecond may end this, too.
                    _ => drop(tx.connection().batch_execute(ends)),
                }
                Err(Error::invalid("changed my mind"))
            });
            assert_eq!(result.is_ok(), ends.is_empty(), "{left}: {result:?}");
            expected += 1;
            let appended = store.append(&known, ExpectedVersion::Any, &[deposited(1)]);
            assert_eq!(appended.unwrap().version(), expected, "{left} {ends}");
            assert_eq!(store.load(&known).unwrap().version(), expected, "{left} {ends}");
            assert_eq!(store.high_water_mark().unwrap(), 2 * expected - 1, "{left} {ends}");
            let appended = store.transaction(|tx| tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]));
            assert!(appended.is_ok(), "{left} {ends}: {appended:?}");
            assert_eq!(state(), untouched, "{left} {ends}");
        }
    }
    assert_eq!(elsewhere.high_water_mark().unwrap(), 0);
    assert_eq!(store.high_water_mark().unwrap(), 2 * expected);
    assert_eq!(process(), pid, "no connection was given up");
    run(&database, &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
