//! Maintenance and its diagnoses on a real server.

use std::fs::File;

use firefly_eventstore_core::ErrorKind;
use firefly_eventstore_core::operate::{Diagnosis, Finding, FindingKind, IndexState, IndexUsage, Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::Config;
use firefly_eventstore_postgres::{Indexes, PostgresEventStore};
use firefly_eventstore_test_servers::{Database, PostgresServer};

use crate::support::{account, client, database, deposited, fresh};

fn run(database: &Database, script: &str) {
    client(database).batch_execute(script).unwrap();
}

fn append(store: &PostgresEventStore, events: u64) {
    let events: Vec<NewEvent> = (0..events).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
}

#[test]
fn statistics_are_brought_up_to_date_and_the_room_of_dead_rows_is_given_back() {
    let Some((database, store)) = fresh() else { return };
    run(&database, "ALTER TABLE events SET (autovacuum_enabled = off)");
    append(&store, 2_000);
    let said = store.update_statistics().unwrap();
    assert_eq!(
        said,
        "ANALYZE of events (about 2000 rows), firefly_archived_events (about 0 rows), firefly_archived_streams (about 0 rows), \
         mv_aggregate_summary (about 0 rows), snapshots (about 0 rows)"
    );

    let size = || -> i64 {
        let size = "SELECT pg_relation_size('events')";
        client(&database).query_one(size, &[]).unwrap().get(0)
    };
    run(&database, "DELETE FROM events WHERE global_sequence > 10");
    let before = size();
    let said = store.vacuum().unwrap();
    assert!(size() < before / 10, "{} of {before} bytes", size());
    assert!(
        said.starts_with("VACUUM (ANALYZE) of events (") && said.contains(" kB, was "),
        "{said}"
    );
    let known = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'events'::regclass";
    let known: i64 = client(&database).query_one(known, &[]).unwrap().get(0);
    assert_eq!(known, 10);
}

#[test]
fn maintenance_that_the_server_would_skip_is_refused() {
    let Some((database, _store)) = fresh() else { return };
    let guest = format!("guest_{}", database.name());
    run(
        &database,
        &format!("CREATE ROLE {guest} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {guest}"),
    );
    let config: Config = database.url().parse().unwrap();
    let store = PostgresEventStore::configure(config.clone().user(&guest).clone())
        .open()
        .unwrap();
    for result in [store.update_statistics(), store.vacuum()] {
        let error = result.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().starts_with("maintain events"), "{error}");
    }
    // Reading the usage changes nothing.
    store.index_usage().unwrap();
    store.diagnose().unwrap();
    store.check_storage().unwrap_err();
    run(
        &database,
        &format!("GRANT SELECT ON SEQUENCE events_global_sequence_seq TO {guest}"),
    );
    assert_eq!(store.check_storage().unwrap(), []);
    drop(store);
    run(&database, &format!("DROP OWNED BY {guest}; DROP ROLE {guest}"));
}

/// The state of an index, or `None` if the usage does not list it.
fn state(usage: &[IndexUsage], name: &str) -> Option<IndexState> {
    usage.iter().find(|index| index.name == name).map(|index| index.state)
}

#[test]
fn the_use_of_indexes_is_told_and_which_are_missing_or_foreign() {
    let Some((database, store)) = fresh() else { return };
    append(&store, 10);
    let usage = store.index_usage().unwrap();
    assert_eq!(usage.len(), 28, "{usage:?}");
    assert!(
        usage
            .iter()
            .all(|index| index.state == IndexState::Present && index.bytes > Some(0))
    );
    assert!(usage.iter().all(|index| index.scans.is_some()));

    run(
        &database,
        "DROP INDEX idx_events_type;
         CREATE INDEX somebody_elses ON events (created_by);
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_events_tenant_id'::regclass",
    );
    let usage = store.index_usage().unwrap();
    for (name, expected) in [
        ("idx_events_type", Some(IndexState::Missing)),
        ("idx_events_tenant_id", Some(IndexState::Missing)),
        ("idx_events_correlation_id", Some(IndexState::Present)),
        ("snapshots_pkey", Some(IndexState::Present)),
        ("somebody_elses", Some(IndexState::Foreign)),
        ("idx_events_metadata_gin", None),
    ] {
        assert_eq!(state(&usage, name), expected, "{name}");
    }
    // The diagnosis expects the indexes that were chosen, and no others.
    let full = PostgresEventStore::builder(database.url())
        .indexes(Indexes::Full)
        .open()
        .unwrap();
    assert_eq!(
        state(&full.index_usage().unwrap(), "idx_events_metadata_gin"),
        Some(IndexState::Missing)
    );
    let lean = PostgresEventStore::builder(database.url())
        .indexes(Indexes::Lean)
        .open()
        .unwrap();
    let usage = lean.index_usage().unwrap();
    assert_eq!(state(&usage, "idx_events_type"), None);
    assert_eq!(state(&usage, "idx_events_correlation_id"), Some(IndexState::Present));

    let diagnoses = store.diagnose().unwrap();
    for (subject, found, advice) in [
        (
            "missing indexes",
            "events.idx_events_type",
            "let a program migrate with the indexes",
        ),
        (
            "index idx_events_tenant_id",
            "on events, invalid",
            "REINDEX INDEX CONCURRENTLY idx_events_tenant_id",
        ),
        ("foreign indexes", "events.somebody_elses", "drop those"),
    ] {
        let told = diagnosis(&diagnoses, subject);
        assert_eq!(told.severity, Severity::Notice);
        assert!(told.found.contains(found), "{told:?}");
        assert!(told.advice.as_ref().unwrap().contains(advice), "{told:?}");
    }
    // What the diagnosis advises repairs the index.
    run(&database, "REINDEX INDEX CONCURRENTLY idx_events_tenant_id");
    PostgresEventStore::builder(database.url())
        .indexes(Indexes::Standard)
        .migrate()
        .unwrap();
    let usage = store.index_usage().unwrap();
    assert_eq!(state(&usage, "idx_events_type"), Some(IndexState::Present));
    assert_eq!(state(&usage, "idx_events_tenant_id"), Some(IndexState::Present));
}

#[test]
fn an_index_that_is_read_is_counted() {
    let Some((_database, store)) = fresh() else { return };
    append(&store, 10);
    let scans = || {
        let usage = store.index_usage().unwrap();
        let index = usage.iter().find(|index| index.name == "events_pkey").unwrap();
        index.scans.unwrap()
    };
    let before = scans();
    let event = [deposited(1)];
    store.append(&account(), ExpectedVersion::Any, &event).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // The server's processes publish their statistics with a delay.
    while scans() == before {
        assert!(std::time::Instant::now() < deadline, "never counted");
        store.append(&account(), ExpectedVersion::Any, &event).unwrap_err();
    }
}

#[test]
fn storage_that_is_not_as_it_should_be_is_found_and_what_to_do_is_said() {
    let Some((database, store)) = fresh() else { return };
    append(&store, 10);
    assert_eq!(store.check_storage().unwrap(), []);
    let cases = [
        (
            "SELECT setval('events_global_sequence_seq', 7)",
            FindingKind::Sequence,
            "is at 7, and the log goes on to 10",
            "SELECT setval('events_global_sequence_seq', 10)",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_events_type'::regclass",
            FindingKind::Storage,
            "idx_events_type on events is invalid",
            "REINDEX INDEX CONCURRENTLY idx_events_type",
        ),
        (
            "ALTER TABLE events ADD CONSTRAINT short CHECK (aggregate_version < 5) NOT VALID",
            FindingKind::Storage,
            "the constraint short on events was never validated",
            "ALTER TABLE events DROP CONSTRAINT short",
        ),
        (
            "DROP INDEX idx_events_aggregate_version; CREATE INDEX idx_events_aggregate_version ON events (aggregate_id)",
            FindingKind::Storage,
            "events has no unique index idx_events_aggregate_version",
            "DROP INDEX idx_events_aggregate_version;
             CREATE UNIQUE INDEX idx_events_aggregate_version ON events (aggregate_id, aggregate_version)",
        ),
    ];
    for (damage, kind, reason, repair) in cases {
        run(&database, damage);
        let findings = store.check_storage().unwrap();
        let [finding] = &findings[..] else {
            panic!("{damage}: {findings:?}");
        };
        assert_eq!(finding.kind, kind);
        assert!(finding.reason.contains(reason), "{finding}");
        run(&database, repair);
        assert_eq!(store.check_storage().unwrap(), [], "after {repair}");
    }
    append(&store, 1);
    assert_eq!(store.high_water_mark().unwrap(), 11);
}

#[test]
fn an_index_that_lacks_a_row_is_found_where_the_server_can_check() {
    let Some((database, store)) = fresh() else { return };
    append(&store, 10);
    // An event that is missing in the index, as after a crash without fsync.
    let ready = |is_ready: bool| {
        let index = "indexrelid = 'idx_events_global_sequence'::regclass";
        format!("UPDATE pg_index SET indisready = {is_ready}, indisvalid = {is_ready} WHERE {index}")
    };
    run(&database, &ready(false));
    append(&store, 1);
    run(&database, &ready(true));
    assert_eq!(store.check_storage().unwrap(), [], "without the extension nobody looks");
    run(
        &database,
        "CREATE SCHEMA \"The tools\"; CREATE EXTENSION amcheck SCHEMA \"The tools\"",
    );
    let findings = store.check_storage().unwrap();
    let [Finding { kind, reason, .. }] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(*kind, FindingKind::Storage);
    assert!(
        reason.starts_with("the index idx_events_global_sequence on events is damaged: "),
        "{reason}"
    );
    run(&database, "REINDEX INDEX CONCURRENTLY idx_events_global_sequence");
    assert_eq!(store.check_storage().unwrap(), []);
}

/// The diagnosis of a subject.
#[track_caller]
fn diagnosis<'a>(diagnoses: &'a [Diagnosis], subject: &str) -> &'a Diagnosis {
    let found = diagnoses.iter().find(|diagnosis| diagnosis.subject == subject);
    found.unwrap_or_else(|| panic!("nothing about {subject}: {diagnoses:?}"))
}

fn diagnose(database: &Database) -> Vec<Diagnosis> {
    PostgresEventStore::open(database.url()).unwrap().diagnose().unwrap()
}

#[test]
fn settings_of_the_database_and_the_role_are_diagnosed() {
    let Some((database, store)) = fresh() else { return };
    append(&store, 10);
    let good = diagnose(&database);
    for subject in [
        "server",
        "schema",
        "full_page_writes",
        "synchronous_commit",
        "clock",
        "replication",
        "published mark",
        "default_transaction_read_only",
        "connections",
        "TLS",
        "events_global_sequence_seq",
        "open transactions",
        "transaction ids",
        "autovacuum",
        "indexes",
        "limits",
    ] {
        let diagnosis = diagnosis(&good, subject);
        assert_eq!(diagnosis.severity, Severity::Good, "{diagnosis:?}");
        assert!(diagnosis.advice.is_none());
    }
    // A store reads these settings when it connects.
    let (name, mut other) = (database.name(), client(&database));
    for (change, subject, severity, advice) in [
        (
            "SET synchronous_commit = off",
            "synchronous_commit",
            Severity::Warning,
            "come again with another event",
        ),
        (
            "SET default_transaction_read_only = on",
            "default_transaction_read_only",
            Severity::Danger,
            "nothing can be appended",
        ),
        (
            "CONNECTION LIMIT 9",
            "connections",
            Severity::Warning,
            "raise the server's",
        ),
    ] {
        other.batch_execute(&format!("ALTER DATABASE {name} {change}")).unwrap();
        let diagnoses = diagnose(&database);
        let told = diagnosis(&diagnoses, subject);
        assert_eq!(told.severity, severity, "{told:?}");
        assert!(told.advice.as_ref().unwrap().contains(advice), "{told:?}");
    }
}

#[test]
fn a_schema_that_was_changed_behind_an_open_store_is_diagnosed() {
    let changes = [
        (
            "DELETE FROM firefly_schema_history WHERE version = '9.0.0'",
            "schema",
            Severity::Warning,
            "run migrate",
        ),
        (
            "INSERT INTO firefly_schema_history (version, description, checksum) VALUES ('99.0.0', 'newer', '')",
            "schema",
            Severity::Warning,
            "update this program",
        ),
        (
            "ALTER TABLE events DISABLE TRIGGER trigger_events_announce",
            "schema",
            Severity::Danger,
            "make what is missing again",
        ),
        (
            "ALTER SEQUENCE events_global_sequence_seq CACHE 10",
            "events_global_sequence_seq",
            Severity::Danger,
            "CACHE 1",
        ),
    ];
    for (change, subject, severity, advice) in changes {
        let Some((database, store)) = fresh() else { return };
        run(&database, change);
        let diagnoses = store.diagnose().unwrap();
        let told = diagnosis(&diagnoses, subject);
        assert_eq!(told.severity, severity, "{told:?}");
        assert!(told.advice.as_ref().unwrap().contains(advice), "{told:?}");
    }
}

#[test]
fn settings_of_the_server_are_diagnosed() {
    if database().is_none() {
        return;
    }
    let careless = [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("autovacuum", "off"),
        ("max_prepared_transactions", "5"),
    ];
    let server = PostgresServer::start(&careless).unwrap();
    let database = server.new_database();
    let store = PostgresEventStore::builder(database.url())
        .migrate_on_open(true)
        .open()
        .unwrap();
    let diagnoses = store.diagnose().unwrap();
    for (subject, severity) in [
        ("fsync", Severity::Danger),
        ("full_page_writes", Severity::Danger),
        ("autovacuum", Severity::Warning),
    ] {
        assert_eq!(diagnosis(&diagnoses, subject).severity, severity, "{subject}");
    }
    let checksums = "SELECT current_setting('data_checksums') = 'on'";
    let has_checksums: bool = client(&database).query_one(checksums, &[]).unwrap().get(0);
    let expected = if has_checksums {
        Severity::Good
    } else {
        Severity::Notice
    };
    assert_eq!(diagnosis(&diagnoses, "data_checksums").severity, expected);

    // A prepared transaction that nobody ends holds the mark back for ever.
    run(
        &database,
        "BEGIN;
         INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
         VALUES (gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'account.opened', '{}');
         PREPARE TRANSACTION 'forgotten'",
    );
    append(&store, 1);
    assert_eq!(store.high_water_mark().unwrap(), 0);
    let diagnoses = store.diagnose().unwrap();
    let told = diagnosis(&diagnoses, "open transactions");
    assert_eq!(told.severity, Severity::Warning);
    assert!(told.advice.as_ref().unwrap().contains("pg_prepared_xacts"), "{told:?}");
    run(&database, "ROLLBACK PREPARED 'forgotten'");
    assert_eq!(store.high_water_mark().unwrap(), 2);

    // The same server as a replica.
    drop(store);
    server.kill("INT");
    File::create(server.directory().join("data/standby.signal")).unwrap();
    server.restart();
    let diagnoses = diagnose(&database);
    let told = diagnosis(&diagnoses, "replication");
    assert_eq!(told.severity, Severity::Warning);
    assert!(told.advice.as_ref().unwrap().contains("primary"), "{told:?}");
}
