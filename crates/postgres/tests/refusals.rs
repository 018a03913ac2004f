//! Appends that cannot succeed fail at once, without retries.

use std::time::Duration;
use std::{slice, thread};

use firefly_eventstore_core::SchemaProblem;
use firefly_eventstore_core::operate::{FindingKind, Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::{Client, Config, IsolationLevel, NoTls};
use firefly_eventstore_postgres::{PostgresBuilder, PostgresEventStore, PostgresTransaction};
use firefly_eventstore_test_servers::{Database, postgres_unless_missing};

use crate::support::{account, all_events, client, database, deposited, fresh};

/// The last sequence that was allocated.
fn allocated(client: &mut Client) -> i64 {
    let row = client.query_one(
        "SELECT pg_sequence_last_value('public.events_global_sequence_seq')",
        &[],
    );
    row.unwrap().get::<_, Option<i64>>(0).unwrap_or(0)
}

#[test]
fn an_append_within_a_transaction_elsewhere_is_refused_before_anything_is_written() {
    let Some((database, store)) = fresh() else { return };
    let known = account();
    let events = [deposited(1)];
    let append = [Append::new(&known, ExpectedVersion::NoStream, &events)];
    // Targets: another schema, a schema without a store, and another database whose store has tables of the same names.
    let twin = postgres_unless_missing().unwrap().new_database();
    for schema in ["public", "elsewhere"] {
        let migrated = |url: &str| PostgresEventStore::builder(url).schema(schema).migrate().unwrap();
        migrated(twin.url());
        migrated(database.url());
    }
    let elsewhere = PostgresEventStore::builder(database.url())
        .schema("elsewhere")
        .open()
        .unwrap();
    let search_paths = [
        (&database, "elsewhere"),
        (&database, "elsewhere, public"),
        (&database, "pg_catalog"),
        (&twin, "public"),
    ];
    for (database, search_path) in search_paths {
        let mut other = client(database);
        other
            .batch_execute("CREATE TABLE IF NOT EXISTS public.notes (note TEXT)")
            .unwrap();
        let mut transaction = other.transaction().unwrap();
        transaction
            .batch_execute(&format!(
                "SET LOCAL search_path = {search_path}; INSERT INTO public.notes VALUES ('kept')"
            ))
            .unwrap();
        let error = store.append_within(&mut transaction, &append).unwrap_err();
        assert!(error.is_invalid_input(), "{search_path}: {error:?}");
        assert!(
            error.to_string().contains("another server, database or schema"),
            "{error}"
        );
        // The transaction goes on, and the connection is unchanged.
        transaction.commit().unwrap();
        let kept = other.query_one("SELECT COUNT(*) FROM public.notes", &[]).unwrap();
        assert!(kept.get::<_, i64>(0) > 0);
        for database in [database, &twin] {
            let mut look = client(database);
            assert_eq!(allocated(&mut look), 0, "{search_path}");
        }
    }
    // On a connection to the right store. What the transaction does afterwards is not checked.
    let mut other = client(&database);
    let mut transaction = other.transaction().unwrap();
    store.append_within(&mut transaction, &append).unwrap();
    transaction.batch_execute("SET LOCAL search_path = elsewhere").unwrap();
    elsewhere.append_within(&mut transaction, &append).unwrap();
    transaction.commit().unwrap();
    for store in [&store, &elsewhere] {
        assert_eq!(store.load(&known).unwrap().version(), 1);
    }
    // As on another server that was set up in the same way, so that the oids are the same.
    let elsewhen = "UPDATE firefly_schema_history SET installed_at = installed_at + interval '1 minute'";
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute(elsewhen).unwrap();
    let events = [deposited(2)];
    let append = [Append::new(&known, ExpectedVersion::Any, &events)];
    let error = store.append_within(&mut transaction, &append).unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    transaction.rollback().unwrap();
    // By a role without the right to check. The transaction goes on.
    let role = format!("nobody_{}", database.name());
    other.batch_execute(&format!("CREATE ROLE {role}")).unwrap();
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute(&format!("SET LOCAL ROLE {role}")).unwrap();
    let error = store.append_within(&mut transaction, &append).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PermissionDenied);
    transaction.batch_execute("SELECT 1").unwrap();
    transaction.rollback().unwrap();
    other.batch_execute(&format!("DROP ROLE {role}")).unwrap();
    // Within the store's own transaction, after the caller's work has set the search path.
    let after = |set: &str, work: &dyn Fn(&mut PostgresTransaction<'_>) -> Result<(), Error>| {
        let set_and_work = |tx: &mut PostgresTransaction<'_>| {
            tx.connection().batch_execute(set).unwrap();
            work(tx)
        };
        store.transaction(set_and_work).unwrap_err()
    };
    let append =
        |tx: &mut PostgresTransaction<'_>| tx.append(&account(), ExpectedVersion::Any, &[deposited(2)]).map(drop);
    let error = after("SET search_path = elsewhere", &append);
    assert!(
        error.is_invalid_input() && error.to_string().contains("schema"),
        "{error:?}"
    );
    let error = after("SET client_encoding = 'LATIN1'", &append);
    assert!(
        error.is_invalid_input() && error.to_string().contains("client_encoding"),
        "{error:?}"
    );
    let error = after("SET search_path = elsewhere", &|tx| tx.load(&account()).map(drop));
    assert!(error.is_moved(), "{error:?}");
    assert_eq!(elsewhere.high_water_mark().unwrap(), 1);
}

#[test]
fn a_snapshot_that_is_too_old_is_told_at_once() {
    let Some((database, store)) = fresh() else { return };
    for isolation in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        for expected in [
            ExpectedVersion::Any,
            ExpectedVersion::Exact(1.into()),
            ExpectedVersion::Exists,
        ] {
            let known = account();
            store
                .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap();
            let mut other = client(&database);
            let mut transaction = other.build_transaction().isolation_level(isolation).start().unwrap();
            transaction.query("SELECT COUNT(*) FROM events", &[]).unwrap();
            store
                .append(&known, ExpectedVersion::Exact(1.into()), &[deposited(2)])
                .unwrap();
            let before = allocated(&mut client(&database));
            let events = [deposited(3)];
            let append = [Append::new(&known, expected, &events)];
            let error = store.append_within(&mut transaction, &append).unwrap_err();
            // The error says that the whole transaction may be repeated.
            assert!(error.is_retryable(), "{error:?}");
            assert!(error.to_string().contains("begin it anew"), "{error}");
            transaction.rollback().unwrap();
            assert!(
                allocated(&mut client(&database)) <= before + 2,
                "{isolation:?}, {expected}"
            );
            assert_eq!(store.load(&known).unwrap().version(), 2);
        }
    }
}

#[test]
fn rows_that_row_level_security_hides_are_told_at_once() {
    let Some((database, store)) = fresh() else { return };
    let known = account();
    let stored = deposited(1);
    store
        .append(&known, ExpectedVersion::NoStream, slice::from_ref(&stored))
        .unwrap();
    let clerk = format!("clerk_{}", database.name());
    client(&database)
        .batch_execute(&format!(
            "CREATE ROLE {clerk} LOGIN;
             GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {clerk};
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {clerk};
             ALTER TABLE events ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON events USING (created_by = current_user) WITH CHECK (true)"
        ))
        .unwrap();
    let mut config: Config = database.url().parse().unwrap();
    let hidden = PostgresEventStore::configure(config.user(&clerk).clone())
        .open()
        .unwrap();
    let before = allocated(&mut client(&database));
    let own = |event: NewEvent| event.created_by(clerk.as_str()).unwrap();
    for events in [[own(deposited(2))], [own(stored)]] {
        let error = hidden.append(&known, ExpectedVersion::NoStream, &events).unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("row level security"), "{error}");
    }
    assert!(allocated(&mut client(&database)) <= before + 2);
    drop(hidden);
    let drop_role = format!("DROP OWNED BY {clerk}; DROP ROLE {clerk}");
    client(&database).batch_execute(&drop_role).unwrap();
}

/// Opens the database with these settings of the session.
fn with(database: &Database, options: &str) -> PostgresBuilder {
    let mut config: Config = database.url().parse().unwrap();
    PostgresEventStore::configure(config.options(options).clone())
}

#[test]
fn a_sequence_behind_the_log_fills_no_hole_behind_readers() {
    let Some((database, store)) = fresh() else { return };
    let mut admin = client(&database);
    for _ in 0..3 {
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    admin
        .batch_execute("DELETE FROM events WHERE global_sequence = 2")
        .unwrap();
    let read = all_events(&store).len();
    assert_eq!(store.high_water_mark().unwrap(), 3);
    for set in [
        "SELECT setval('events_global_sequence_seq', 1)",
        "SELECT setval('events_global_sequence_seq', 2, false)",
    ] {
        admin.batch_execute(set).unwrap();
        let known = account();
        let events = [deposited(1)];
        let append = [Append::new(&known, ExpectedVersion::NoStream, &events)];
        let mut other = client(&database);
        let mut transaction = other.transaction().unwrap();
        let refused = [
            store.append(&known, ExpectedVersion::NoStream, &events).unwrap_err(),
            store
                .append(&known, ExpectedVersion::Any, &[deposited(1), deposited(2)])
                .unwrap_err(),
            store
                .transaction(|tx| tx.append(&known, ExpectedVersion::Any, &events))
                .unwrap_err(),
            store.append_within(&mut transaction, &append).unwrap_err(),
            PostgresEventStore::open(database.url()).unwrap_err(),
            store.health().unwrap_err(),
        ];
        for error in refused {
            let altered = matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. }));
            assert!(altered && !error.is_retryable(), "{error:?}");
            assert!(
                error.to_string().contains("setval('events_global_sequence_seq'"),
                "{error}"
            );
        }
        transaction.rollback().unwrap();
        assert_eq!(all_events_of(&mut admin), read, "nothing was stored");
        let told = store.diagnose().unwrap();
        assert!(
            told.iter()
                .any(|told| told.severity == Severity::Danger && told.subject == "events_global_sequence_seq")
        );
        let findings = store.check_storage().unwrap();
        assert!(
            findings.iter().any(|finding| finding.kind == FindingKind::Sequence),
            "{findings:?}"
        );
    }
    // By the statement that the advice names, and by the one of a dump.
    for set in [
        "SELECT setval('events_global_sequence_seq', 3)",
        "SELECT setval('events_global_sequence_seq', (SELECT MAX(global_sequence) + 1 FROM events), false)",
    ] {
        admin.batch_execute(set).unwrap();
        let opened = PostgresEventStore::open(database.url()).unwrap();
        let appended = opened
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        let last: i64 = admin
            .query_one("SELECT MAX(global_sequence) FROM events", &[])
            .unwrap()
            .get(0);
        assert_eq!(appended.last_sequence().unwrap().as_i64(), last);
        store.health().unwrap();
    }
}

fn all_events_of(client: &mut Client) -> usize {
    client.query("SELECT event_id FROM events", &[]).unwrap().len()
}

#[test]
fn a_session_that_the_server_ends_is_retryable() {
    let Some(database) = database() else { return };
    PostgresEventStore::builder(database.url()).migrate().unwrap();
    let store = with(&database, "-c idle_in_transaction_session_timeout=50")
        .open()
        .unwrap();
    let error = store
        .transaction(|tx| {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            until_gone(&database);
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        })
        .unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let error = store
        .transaction(|_| {
            until_gone(&database);
            Ok::<_, Error>(())
        })
        .unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    // A connection that the server ended because it was idle is replaced. PostgreSQL 13 has no such limit.
    let limit = "SELECT 1 FROM pg_settings WHERE name = 'idle_session_timeout'";
    if client(&database).query(limit, &[]).unwrap().is_empty() {
        return;
    }
    // Long enough that a busy machine does not reach it within a call, between two statements.
    let store = with(&database, "-c idle_session_timeout=1000").open().unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    until_gone(&database);
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    until_gone(&database);
    assert_eq!(
        store.high_water_mark().unwrap(),
        all_events_of(&mut client(&database)) as u64 + 1
    );
}

/// Waits until the server has ended every other session in the database.
fn until_gone(database: &Database) {
    let mut client = client(database);
    let others = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    while client.query_one(others, &[]).unwrap().get::<_, i64>(0) > 0 {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_database_that_does_not_keep_every_text_is_refused() {
    let Some(server) = postgres_unless_missing() else {
        return;
    };
    let database = server.new_database();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("{}_{}", database.name(), encoding.to_lowercase());
        let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        client(&database).batch_execute(&create).unwrap();
        let url = database.url().replace(database.name(), &name);
        let builder = || PostgresEventStore::builder(&url).migrate_on_open(true);
        let errors = [
            builder().open().unwrap_err(),
            builder().migrate().unwrap_err(),
            builder().pending().unwrap_err(),
        ];
        for error in errors {
            assert!(
                error.is_invalid_input() && error.to_string().contains(encoding),
                "{error:?}"
            );
        }
        let mut other = Client::connect(&url, NoTls).unwrap();
        let tables = other
            .query("SELECT 1 FROM pg_tables WHERE schemaname = 'public'", &[])
            .unwrap();
        assert!(tables.is_empty());
        drop(other);
        client(&database)
            .batch_execute(&format!("DROP DATABASE {name}"))
            .unwrap();
    }
}
