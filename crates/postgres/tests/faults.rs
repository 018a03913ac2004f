//! Servers that die, backends that are terminated, missing rights: no acknowledged event is lost, none is stored twice, and every error has
//! the right kind.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{fs, thread};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{ErrorKind, SchemaProblem};
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::Client;
use firefly_eventstore_test_servers::{
    Database, PostgresServer, WRITERS, appended_once_each_while, on_a_small_file_system,
};

use crate::support::{account, all_events, client, database, deposited, fresh};

#[test]
fn a_server_that_is_stopped_under_load_loses_nothing_that_was_acknowledged() {
    if database().is_none() {
        return;
    }
    let server = PostgresServer::start(&[]).unwrap();
    let database = server.new_database();
    let store = PostgresEventStore::builder(database.url())
        .max_connections(2 * WRITERS as u32)
        .migrate_on_open(true)
        .open()
        .unwrap();
    appended_once_each_while(&store, |until_one_more_is_acknowledged| {
        for round in 0..20 {
            until_one_more_is_acknowledged();
            thread::sleep(Duration::from_millis(fastrand::u64(20..150)));
            server.kill(if round % 2 == 0 { "QUIT" } else { "KILL" });
            server.restart();
        }
    });
}

#[test]
fn backends_that_are_terminated_at_random_lose_nothing() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    appended_once_each_while(&store, |until_one_more_is_acknowledged| {
        for _ in 0..100 {
            until_one_more_is_acknowledged();
            thread::sleep(Duration::from_millis(fastrand::u64(1..10)));
            let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
            other.query(terminate, &[]).unwrap();
        }
    });
}

/// A store whose pool has this many idle connections, whose server processes were all terminated.
fn with_dead_connections(connections: usize) -> Option<(Database, PostgresEventStore)> {
    let (database, store) = fresh()?;
    let all_in_use = Barrier::new(connections);
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let in_use = store.transaction(|_| {
                    all_in_use.wait();
                    Ok::<_, Error>(())
                });
                in_use.unwrap();
            });
        }
    });
    // Waits until they have ended.
    let terminate = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let ended = client(&database).query(terminate, &[]).unwrap();
    // The connection that migrated may still be ending.
    assert!(ended.len() >= connections);
    Some((database, store))
}

/// A call of a store.
type Call<'a> = &'a dyn Fn(&PostgresEventStore) -> Result<(), Error>;

#[test]
fn the_first_call_that_finds_its_connection_dead_does_not_try_those_that_died_with_it() {
    let event = [deposited(1)];
    let calls: [Call<'_>; 3] = [
        &|store| store.append(&account(), ExpectedVersion::NoStream, &event).map(drop),
        &|store| store.high_water_mark().map(drop),
        &|store| store.transaction(|tx| tx.append(&account(), ExpectedVersion::NoStream, &event).map(drop)),
    ];
    for call in calls {
        let Some((_database, store)) = with_dead_connections(8) else {
            return;
        };
        call(&store).unwrap();
    }
}

#[test]
fn the_work_of_a_transaction_is_not_begun_on_a_dead_connection() {
    let Some((_database, store)) = with_dead_connections(1) else {
        return;
    };
    let mut runs = 0;
    let work = |tx: &mut firefly_eventstore_postgres::PostgresTransaction<'_>| {
        runs += 1;
        tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
    };
    store.transaction(work).unwrap();
    assert_eq!(runs, 1);
    assert_eq!(all_events(&store).len(), 1);
}

/// Runs a statement before each append, which counts calls whatever happens to the append.
fn before_each_append(database: &Database, statement: &str) {
    let script = format!(
        "CREATE SEQUENCE attempts MINVALUE 0;
         SELECT nextval('attempts');
         CREATE FUNCTION attempt() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM nextval('attempts'); {statement}; RETURN NULL; END $$;
         CREATE TRIGGER attempt BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION attempt();"
    );
    client(database).batch_execute(&script).unwrap();
}

fn attempts(database: &Database) -> i64 {
    let attempts = client(database).query_one("SELECT last_value FROM attempts", &[]);
    attempts.unwrap().get(0)
}

#[test]
fn an_append_that_loses_each_connection_is_tried_twice_and_says_retry() {
    let Some((database, store)) = fresh() else { return };
    before_each_append(&database, "PERFORM pg_terminate_backend(pg_backend_pid())");
    let error = store
        .append(&account(), ExpectedVersion::Any, &[deposited(1)])
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(attempts(&database), 2);
    client(&database)
        .batch_execute("DROP TRIGGER attempt ON events")
        .unwrap();
    store.append(&account(), ExpectedVersion::Any, &[deposited(1)]).unwrap();
}

#[test]
fn what_the_server_does_not_support_is_not_tried_again() {
    let Some((database, store)) = fresh() else { return };
    before_each_append(&database, "PERFORM count(*) FROM events FOR UPDATE");
    let error = store
        .append(&account(), ExpectedVersion::Any, &[deposited(1)])
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    let source = source.downcast_ref::<firefly_eventstore_postgres::driver::Error>();
    let code = source.and_then(firefly_eventstore_postgres::driver::Error::code);
    assert_eq!(code.unwrap().code(), "0A000", "the code that a stale plan has too");
    assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error:?}");
    assert_eq!(attempts(&database), 1);
}

#[test]
fn a_unique_key_of_somebody_elses_is_not_taken_for_an_append_that_was_faster() {
    let Some((database, store)) = fresh() else { return };
    store.append(&account(), ExpectedVersion::Any, &[deposited(1)]).unwrap();
    let mut other = client(&database);
    other
        .batch_execute("CREATE UNIQUE INDEX one_of_each ON events (event_type)")
        .unwrap();
    let error = store
        .append(&account(), ExpectedVersion::Any, &[deposited(1)])
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error:?}");
    assert!(!error.is_retryable());
    other.batch_execute("DROP INDEX one_of_each").unwrap();
    let appended = store.append(&account(), ExpectedVersion::Any, &[deposited(1)]).unwrap();
    assert_eq!(
        appended.last_sequence(),
        Some(GlobalSequence::from(3)),
        "each attempt takes one"
    );
}

#[test]
fn a_pool_that_is_used_up_is_a_pool_timeout() {
    let Some((database, _)) = fresh() else { return };
    let store = PostgresEventStore::builder(database.url())
        .max_connections(1)
        .pool_timeout(Duration::from_secs(2)) // in which the first connection is to be made, too
        .open()
        .unwrap();
    let asked = Instant::now();
    let error = store
        .transaction(|_| {
            let append = || store.append(&account(), ExpectedVersion::Any, &[deposited(1)]);
            thread::scope(|scope| scope.spawn(append).join().unwrap())
        })
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PoolTimeout);
    assert!(error.is_retryable());
    let waited = asked.elapsed();
    assert!(waited < Duration::from_secs(60), "{waited:?}");
    store.append(&account(), ExpectedVersion::Any, &[deposited(1)]).unwrap();
}

/// A store for a user that `prepare` sets up.
fn as_clerk(database: &Database, prepare: &str) -> PostgresEventStore {
    let name = database.name();
    let mut admin: Client = client(database);
    let clerk = format!("clerk_{name}");
    let script = format!(
        "CREATE ROLE {clerk} LOGIN;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {clerk};
         GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {clerk};
         {prepare}"
    );
    admin.batch_execute(&script.replace("CLERK", &clerk)).unwrap();
    let mut config: firefly_eventstore_postgres::driver::Config = database.url().parse().unwrap();
    PostgresEventStore::configure(config.user(&clerk).clone())
        .open()
        .unwrap()
}

fn drop_clerk(database: &Database) {
    let clerk = format!("clerk_{}", database.name());
    let script = format!("DROP OWNED BY {clerk}; DROP ROLE {clerk}");
    client(database).batch_execute(&script).unwrap();
}

/// A statement that makes the server refuse, and the expected kind of error.
type Refusal = (&'static str, fn(&ErrorKind) -> bool);

#[test]
fn each_refusal_of_the_server_is_a_typed_error() {
    let refusals: [Refusal; 5] = [
        ("ALTER ROLE CLERK SET default_transaction_read_only = on;", |kind| {
            *kind == ErrorKind::ReadOnly
        }),
        ("REVOKE INSERT ON events FROM CLERK;", |kind| {
            *kind == ErrorKind::PermissionDenied
        }),
        (
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
             CREATE TRIGGER slow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION slow();
             ALTER ROLE CLERK SET statement_timeout = 100;",
            |kind| matches!(kind, ErrorKind::Unavailable { .. }),
        ),
        (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''internal_error''; END';
             CREATE TRIGGER fail BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail();",
            |kind| matches!(kind, ErrorKind::Backend { .. }),
        ),
        (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''data_corrupted''; END';
             CREATE TRIGGER fail BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail();",
            |kind| matches!(kind, ErrorKind::Integrity { .. }),
        ),
    ];
    for (prepare, is_right) in refusals {
        let Some((database, store)) = fresh() else { return };
        let clerk = as_clerk(&database, prepare);
        let error = clerk
            .append(&account(), ExpectedVersion::Any, &[deposited(1)])
            .unwrap_err();
        assert!(is_right(error.kind()), "{prepare}: {error:?}");
        assert!(error.to_string().starts_with("append to Account "), "{error}");
        assert!(std::error::Error::source(&error).is_some());
        assert!(all_events(&store).is_empty());
        drop((clerk, store));
        drop_clerk(&database);
    }
}

/// As the README says. Without a right on the sequence, the log must not look empty.
#[test]
fn each_right_is_enough_for_what_it_is_for() {
    let Some((database, store)) = fresh() else { return };
    let known = account();
    let stored = store.append(&known, ExpectedVersion::NoStream, &[deposited(1)]);
    let stored = stored.unwrap().last_sequence().unwrap();
    let clerk = as_clerk(
        &database,
        "REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public FROM CLERK;
         REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM CLERK;",
    );
    let grant = |right: &str| {
        let grant = format!("GRANT {right} TO clerk_{}", database.name());
        client(&database).batch_execute(&grant).unwrap();
    };
    let append = || clerk.append(&account(), ExpectedVersion::Any, &[deposited(2)]);
    let snapshot = NewSnapshot::new(&known, Version::from(1), "balance", &1).unwrap();
    let save = || clerk.save(&snapshot);
    let refused = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    };

    refused(clerk.high_water_mark().map(drop));
    refused(clerk.read(EventQuery::new()).next().unwrap().map(drop));
    refused(append().map(drop));
    grant("SELECT ON SEQUENCE events_global_sequence_seq");
    assert_eq!(clerk.high_water_mark().unwrap(), stored);
    assert_eq!(all_events(&clerk).len(), 1);

    refused(append().map(drop));
    grant("INSERT ON events");
    refused(append().map(drop));
    grant("USAGE ON SEQUENCE events_global_sequence_seq");
    append().unwrap();

    refused(save().map(drop));
    grant("INSERT, UPDATE, DELETE ON snapshots");
    save().unwrap();
    assert_eq!(clerk.delete_snapshots_older_than(OffsetDateTime::now_utc()).unwrap(), 1);
    refused(clerk.refresh_aggregate_summaries().map(drop));
    drop((clerk, store));
    drop_clerk(&database);
}

#[test]
fn a_full_disk_refuses_an_append_whole_and_takes_it_when_there_is_room() {
    if database().is_some() {
        let this = "faults::a_full_disk_refuses_an_append_whole_and_takes_it_when_there_is_room";
        on_a_small_file_system(this, 12, append_on_a_small_file_system);
    }
}

fn append_on_a_small_file_system(directory: &Path) {
    let server = PostgresServer::start(&[("fsync", "off")]).unwrap();
    let tablespace = directory.join("tablespace");
    fs::create_dir(&tablespace).unwrap();
    let owner = fs::metadata(server.directory()).unwrap();
    chown(&tablespace, Some(owner.uid()), Some(owner.gid())).unwrap();
    let database = server.new_database();
    let store = PostgresEventStore::builder(database.url())
        .migrate_on_open(true)
        .open()
        .unwrap();
    let mut other = client(&database);
    for statement in [
        &format!("CREATE TABLESPACE small LOCATION '{}'", tablespace.display()),
        "ALTER TABLE events SET TABLESPACE small",
        "CREATE TABLE filler TABLESPACE small AS SELECT repeat('x', 1500) FROM generate_series(1, 4000)",
    ] {
        other.batch_execute(statement).unwrap();
    }

    let account = account();
    let large = |_| NewEvent::new("file.attached", &serde_json::json!({ "content": "x".repeat(1_500) })).unwrap();
    let mut stored = Version::ZERO;
    let (refused, error) = loop {
        let events: Vec<NewEvent> = (0..100).map(large).collect();
        match store.append(&account, stored, &events) {
            Ok(appended) => stored = appended.version(),
            Err(error) => break (events, error),
        }
    };
    assert_eq!(*error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert!(
        error.to_string().starts_with(&format!("append to {account}: ")),
        "{error}"
    );
    assert!(stored > Version::ZERO, "there was room for some");
    assert_eq!(store.version(&account).unwrap(), stored);
    assert_eq!(all_events(&store).len() as u64, stored.get());

    other.batch_execute("DROP TABLE filler").unwrap();
    let appended = store.append(&account, stored, &refused).unwrap();
    assert!(!appended.is_already_stored());
    assert_eq!(appended.version(), stored.get() + 100);
    assert_eq!(store.high_water_mark().unwrap(), appended.last_sequence().unwrap());
    assert_eq!(all_events(&store).len() as u64, stored.get() + 100);
}

#[test]
fn a_table_that_was_dropped_is_an_altered_schema_or_a_store_that_is_gone() {
    let Some((database, store)) = fresh() else { return };
    let known = account();
    store.append(&known, ExpectedVersion::Any, &[deposited(1)]).unwrap();
    client(&database)
        .batch_execute("DROP TABLE snapshots; DROP FUNCTION firefly_high_water_mark")
        .unwrap();
    for error in [
        store.latest_snapshot(&known).unwrap_err(),
        store.high_water_mark().unwrap_err(),
    ] {
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error:?}"
        );
        assert!(!error.to_string().contains("migrate()"), "{error}");
    }
    client(&database).batch_execute("DROP TABLE events CASCADE").unwrap();
    let error = store
        .append(&account(), ExpectedVersion::Any, &[deposited(1)])
        .unwrap_err();
    assert!(error.is_moved(), "{error:?}");
    let error = PostgresEventStore::open(database.url()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
        "{error:?}"
    );
}

#[test]
fn a_trigger_that_was_disabled_is_found_when_opening() {
    let Some((database, _store)) = fresh() else { return };
    client(&database)
        .batch_execute("ALTER TABLE events DISABLE TRIGGER trigger_events_announce")
        .unwrap();
    let error = PostgresEventStore::open(database.url()).unwrap_err();
    assert!(error.to_string().contains("trigger_events_announce"), "{error}");
}

#[test]
fn a_statement_outlives_a_change_of_its_table() {
    let Some((database, store)) = fresh() else { return };
    let account = account();
    store.append(&account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
    store.load(&account).unwrap();
    client(&database)
        .batch_execute("ALTER TABLE events ALTER COLUMN causation_id TYPE text")
        .unwrap();
    assert_eq!(store.load(&account).unwrap().version(), 1);
    store.append(&account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
}

#[test]
fn a_transaction_that_meets_a_change_of_its_table_says_retry() {
    let Some((database, _)) = fresh() else { return };
    let store = PostgresEventStore::builder(database.url())
        .max_connections(1)
        .open()
        .unwrap();
    let account = account();
    let append_and_load = || {
        store.transaction(|tx| {
            tx.append(&account, ExpectedVersion::Any, &[deposited(1)])?;
            tx.load(&account)
        })
    };
    append_and_load().unwrap();
    client(&database)
        .batch_execute("ALTER TABLE events ALTER COLUMN causation_id TYPE text")
        .unwrap();
    // The work cannot be repeated here.
    let error = append_and_load().unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert_eq!(append_and_load().unwrap().version(), 2);
}

#[test]
fn a_transaction_of_the_callers_goes_on_after_an_append_that_failed() {
    let Some((database, store)) = fresh() else { return };
    let stored = deposited(1);
    store
        .append(&account(), ExpectedVersion::Any, std::slice::from_ref(&stored))
        .unwrap();
    let mut other = client(&database);
    other.batch_execute("CREATE TABLE notes (note TEXT)").unwrap();
    let mut transaction = other.transaction().unwrap();
    transaction.execute("INSERT INTO notes VALUES ('before')", &[]).unwrap();
    let events = [deposited(2), stored];
    let error = store
        .append_within(
            &mut transaction,
            &[Append::new(&account(), ExpectedVersion::Any, &events)],
        )
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Duplicate { .. }), "{error:?}");
    transaction.execute("INSERT INTO notes VALUES ('after')", &[]).unwrap();
    store
        .append_within(
            &mut transaction,
            &[Append::new(&account(), ExpectedVersion::NoStream, &[deposited(3)])],
        )
        .unwrap();
    transaction.commit().unwrap();
    let notes = other.query("SELECT note FROM notes", &[]).unwrap();
    assert_eq!(notes.len(), 2);
    assert_eq!(all_events(&store).len(), 2);
}

#[test]
fn a_dump_is_restored_and_goes_on() {
    let Some((source, store)) = fresh() else { return };
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
        .unwrap();
    let server = firefly_eventstore_test_servers::postgres().unwrap();
    let dump = server.command("pg_dump").arg(source.url()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let target = server.new_database();
    let mut restore = server
        .command("psql")
        .args([
            "--quiet",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
            target.url(),
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut restore.stdin.take().unwrap(), &dump.stdout).unwrap();
    assert!(restore.wait().unwrap().success());

    let restored = PostgresEventStore::open(target.url()).unwrap();
    assert_eq!(restored.high_water_mark().unwrap(), 2);
    assert_eq!(all_events(&restored), all_events(&store));
    let appended = restored.append(&known, Version::from(2), &[deposited(3)]).unwrap();
    assert_eq!(appended.last_sequence(), Some(GlobalSequence::from(3)));
    assert_eq!(restored.high_water_mark().unwrap(), 3);
}

#[test]
fn a_limit_that_postgresql_cannot_lift_is_refused_when_opening() {
    let Some((database, _store)) = fresh() else { return };
    let builder = PostgresEventStore::builder(database.url());
    let error = builder
        .limits(firefly_eventstore_core::Limits::TEXT)
        .open()
        .unwrap_err();
    assert!(error.is_invalid_input());
    assert!(error.to_string().contains("U+0000"), "{error}");
}

#[test]
fn a_transaction_of_which_a_statement_failed_is_an_error_and_keeps_nothing() {
    let Some((_database, store)) = fresh() else { return };
    for fails in ["SELECT 1 / 0", "SELECT nothing"] {
        let error = store
            .transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
                // The caller ignores the error.
                tx.connection().batch_execute(fails).unwrap_err();
                Ok::<_, Error>(())
            })
            .unwrap_err();
        assert!(error.to_string().contains("failed before"), "{fails}: {error}");
    }
    assert!(all_events(&store).is_empty());
    store
        .transaction(|tx| {
            // After a rollback to a savepoint, the transaction continues.
            let mut savepoint = tx.connection().transaction().unwrap();
            savepoint.batch_execute("SELECT 1 / 0").unwrap_err();
            savepoint.rollback().unwrap();
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        })
        .unwrap();
    assert_eq!(all_events(&store).len(), 1);
}

#[test]
fn a_transaction_that_ended_before_its_work_is_an_error() {
    let Some((_database, store)) = fresh() else { return };
    for ends in ["ROLLBACK", "COMMIT"] {
        let error = store
            .transaction(|tx| {
                tx.connection().batch_execute(ends).unwrap();
                Ok::<_, Error>(())
            })
            .unwrap_err();
        assert!(error.to_string().contains("had ended"), "{ends}: {error}");
    }
}
