//! Conversions: the log of a store in use becomes partitioned, and one table again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::consumer::{ConsumerStore, ConsumerTransaction, Registration, Transactional};
use firefly_eventstore_core::operate::{Audit, Operations, seal};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{ErrorKind, SummaryQuery};
use firefly_eventstore_postgres::driver::{Client, Config, GenericClient};
use firefly_eventstore_postgres::{Indexes, Partitions, PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::{Database, PostgresServer, WRITERS, appended_once_each_while, operated_while};

use crate::support::{
    IS_WAITING_FOR_LOCK, account, all_events, archive, attach, client, deposited, fresh, looking_back, movable, until,
};

const SMALL: Partitions = Partitions::by_events(50);

fn by_type() -> Partitions {
    Partitions::by_aggregate_type(["Account", "Order"])
}

fn into_partitions(database: &Database) -> Result<bool, Error> {
    PostgresEventStore::builder(database.url()).convert_to_partitions(SMALL, |_| ())
}

fn into_one_table(database: &Database) -> Result<bool, Error> {
    PostgresEventStore::builder(database.url()).convert_to_one_table(|_| ())
}

fn is_partitioned(client: &mut Client) -> bool {
    let query = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'events'::regclass";
    client.query_one(query, &[]).unwrap().get(0)
}

/// Appends this many events to each of ten accounts.
fn fill(store: &PostgresEventStore, events: u64) -> Vec<AggregateKey> {
    let accounts: Vec<AggregateKey> = (0..10).map(|_| account()).collect();
    for account in &accounts {
        let events: Vec<NewEvent> = (0..events).map(deposited).collect();
        store.append(account, ExpectedVersion::NoStream, &events).unwrap();
    }
    accounts
}

/// Makes the log so large (12 MB) that it is not read while others wait.
fn fill_much(store: &PostgresEventStore) {
    let remark = "remark ".repeat(200);
    let noted = |number: u64| {
        NewEvent::new(
            "remark.noted",
            &serde_json::json!({ "number": number, "remark": remark }),
        )
        .unwrap()
    };
    for _ in 0..10 {
        let events: Vec<NewEvent> = (0..800).map(noted).collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
}

/// Asserts that the store's connections lead to the current table of events.
fn assert_leads_here(store: &PostgresEventStore) {
    let leads = store.transaction(|tx| {
        let leads = "SELECT current_setting('firefly.store')::oid = 'events'::regclass";
        Ok::<bool, Error>(tx.connection().query_one(leads, &[]).unwrap().get(0))
    });
    assert!(leads.unwrap());
}

/// Asserts that the store finds every event in each way, and appends.
fn assert_works(store: &PostgresEventStore, accounts: &[AggregateKey]) {
    let log = all_events(store);
    for account in accounts {
        let stream = store.load(account).unwrap();
        let in_log = log.iter().filter(|event| event.aggregate == *account);
        assert_eq!(stream.events().iter().collect::<Vec<_>>(), in_log.collect::<Vec<_>>());
        let version = stream.version();
        assert_eq!(stream.events().len() as i64, version.as_i64());
        let stale = store
            .append(account, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap_err();
        assert!(stale.is_conflict(), "{stale:?}");
        let event = deposited(7);
        let appended = store
            .append(account, ExpectedVersion::Exact(version), std::slice::from_ref(&event))
            .unwrap();
        let again = store
            .append(account, ExpectedVersion::Exact(version), &[event])
            .unwrap();
        assert_eq!(again.version(), appended.version());
        assert!(again.is_already_stored());
    }
}

/// Stops the other threads, also if the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Stops followers if the test fails.
struct Failing<'a>(&'a AtomicU64);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

/// Appends in every way until it is stopped. Returns the number of events.
fn append_until(store: &PostgresEventStore, stop: &AtomicBool, seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut account, mut version, mut appended) = (account(), 0, 0);
    while !stop.load(Ordering::SeqCst) {
        let count = random.u64(1..=3);
        let events: Vec<NewEvent> = (0..count).map(deposited).collect();
        let expected = match version {
            0 => ExpectedVersion::NoStream,
            version => ExpectedVersion::Exact(Version::try_from(version).unwrap()),
        };
        let result = match random.u8(..3) {
            0 => store.append(&account, expected, &events),
            1 => store.append(&account, ExpectedVersion::Any, &events),
            _ => store.transaction(|tx| {
                thread::sleep(Duration::from_micros(random.u64(..3_000)));
                assert_eq!(tx.load(&account)?.version().as_i64(), version);
                let appended = tx.append(&account, expected, &events);
                thread::sleep(Duration::from_micros(random.u64(..3_000)));
                appended
            }),
        };
        version += count as i64;
        appended += count;
        assert_eq!(result.unwrap().version().as_i64(), version);
        assert_eq!(store.load(&account).unwrap().version().as_i64(), version);
        if version > 20 {
            (account, version) = (crate::support::account(), 0);
        }
        thread::sleep(Duration::from_millis(2));
    }
    appended
}

/// Follows the log until it has read this many events. Returns their sequences.
fn follow_until(store: &PostgresEventStore, events: &AtomicU64) -> Vec<i64> {
    let (mut checkpoint, mut read) = (GlobalSequence::ZERO, Vec::new());
    while (read.len() as u64) < events.load(Ordering::SeqCst) {
        let mut log = store.read(EventQuery::new().after(checkpoint));
        for event in &mut log {
            read.push(event.unwrap().global_sequence.as_i64());
        }
        checkpoint = log.checkpoint();
        thread::sleep(Duration::from_millis(3));
    }
    read
}

#[test]
fn programs_go_on_while_a_log_is_converted_there_and_back() {
    goes_on_while_converted(|_| (), &SMALL);
}

#[test]
fn programs_go_on_while_a_log_is_converted_by_type_there_and_back() {
    goes_on_while_converted(|_| (), &by_type());
}

#[test]
fn programs_go_on_while_a_large_log_is_converted_there_and_back() {
    goes_on_while_converted(fill_much, &SMALL);
}

fn goes_on_while_converted(fill_more: fn(&PostgresEventStore), partitions: &Partitions) {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 700);
    fill_more(&store);
    let stored = all_events(&store).len() as u64;
    let stop = AtomicBool::new(false);
    let expected = AtomicU64::new(u64::MAX);
    let (appended, followed) = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let failing = Failing(&expected);
        let writers: Vec<_> = (0..6)
            .map(|seed| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || append_until(store, stop, seed))
            })
            .collect();
        let followers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| follow_until(&store, &expected)))
            .collect();
        let mut other = client(&database);
        let builder = PostgresEventStore::builder(database.url());
        let divide = || builder.convert_to_partitions(partitions.clone(), |_| ()).unwrap();
        assert!(divide());
        assert!(is_partitioned(&mut other));
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(100));
            store.add_partitions().unwrap();
        }
        assert!(into_one_table(&database).unwrap());
        assert!(!is_partitioned(&mut other));
        assert!(divide());
        drop(stopping);
        let appended: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        std::mem::forget(failing);
        expected.store(stored + appended, Ordering::SeqCst);
        let followed: Vec<Vec<i64>> = followers.into_iter().map(|follower| follower.join().unwrap()).collect();
        (appended, followed)
    });
    let mut other = client(&database);
    let rows = other
        .query("SELECT global_sequence FROM events ORDER BY 1", &[])
        .unwrap();
    let log: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(log.len() as u64, stored + appended);
    assert!(followed.iter().all(|followed| *followed == log));
    let keys =
        "SELECT COUNT(*) FROM events FULL JOIN firefly_event_keys USING (event_id, aggregate_id, aggregate_version,
        global_sequence, aggregate_type) WHERE event_data IS NULL OR event_id IS NULL";
    assert_eq!(other.query_one(keys, &[]).unwrap().get::<_, i64>(0), 0);
    assert_works(&store, &accounts);
}

/// Ends a converter's session at the given one of its statements that define something or record its progress.
const KILLING: &str = "
    CREATE SCHEMA killing;
    CREATE FUNCTION killing.kill() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        until integer := COALESCE(NULLIF(current_setting('killing.until', true), ''), '0');
    BEGIN
        PERFORM set_config('killing.until', (until - 1)::text, false);
        IF until = 1 THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
    END $$;
    CREATE FUNCTION killing.at_definition() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM killing.kill(); END';
    CREATE FUNCTION killing.at_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM killing.kill(); RETURN NULL; END';
    CREATE EVENT TRIGGER kill ON ddl_command_end EXECUTE FUNCTION killing.at_definition();
    CREATE TRIGGER kill AFTER INSERT OR UPDATE ON firefly_conversions
        FOR EACH STATEMENT EXECUTE FUNCTION killing.at_note();";

/// A converter whose session is ended at this statement.
fn killed_at(database: &Database, statement: u32) -> PostgresBuilder {
    let mut config: Config = database.url().parse().unwrap();
    config.options(&format!("-c killing.until={statement}"));
    PostgresEventStore::configure(config)
}

#[test]
fn a_converter_that_is_killed_at_any_step_leaves_a_store_that_works_and_the_next_one_goes_on() {
    goes_on_after_kills(|_| (), &SMALL);
}

#[test]
fn a_converter_by_month_that_is_killed_at_any_step_leaves_a_store_that_works_and_the_next_one_goes_on() {
    goes_on_after_kills(|_| (), &Partitions::by_month());
}

#[test]
fn a_converter_by_type_that_is_killed_at_any_step_leaves_a_store_that_works_and_the_next_one_goes_on() {
    goes_on_after_kills(|_| (), &by_type());
}

#[test]
fn a_converter_of_a_large_log_that_is_killed_at_any_step_leaves_a_store_that_works_and_the_next_one_goes_on() {
    goes_on_after_kills(fill_much, &SMALL);
}

#[test]
fn a_database_without_tables_has_no_pending_conversion() {
    let Some(database) = crate::support::database() else {
        return;
    };
    let pending = PostgresEventStore::builder(database.url()).pending_conversion();
    assert_eq!(pending.unwrap(), None);
}

fn goes_on_after_kills(fill_more: fn(&PostgresEventStore), partitions: &Partitions) {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 30);
    fill_more(&store);
    let mut other = client(&database);
    other.batch_execute(KILLING).unwrap();
    for into in [Some(partitions), None] {
        let mut kills = 0;
        let converted = (1..).find_map(|statement| {
            let converter = killed_at(&database, statement);
            let converted = match into {
                Some(partitions) => converter.convert_to_partitions(partitions.clone(), |_| ()),
                None => converter.convert_to_one_table(|_| ()),
            };
            if statement % 7 == 0 {
                assert_works(&store, &accounts);
            }
            let diagnoses = store.diagnose().unwrap();
            let told = diagnoses.iter().find(|diagnosis| diagnosis.subject == "conversion");
            let pending = PostgresEventStore::builder(database.url()).pending_conversion();
            assert_eq!(pending.unwrap().as_ref(), told);
            // An interrupted first transaction leaves nothing.
            let is_begun = "SELECT 1 FROM firefly_conversions WHERE finished_at IS NULL";
            let is_begun = !other.query(is_begun, &[]).unwrap().is_empty();
            assert_eq!(told.is_some(), is_begun, "{statement} {converted:?}");
            assert!(converted.is_err() || told.is_none());
            match converted {
                Ok(converted) => Some(converted),
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    kills += 1;
                    None
                }
            }
        });
        assert!(converted.unwrap());
        assert!(kills > 30, "{kills}");
        assert_eq!(is_partitioned(&mut other), into.is_some());
        assert_works(&store, &accounts);
    }
    other
        .batch_execute("DROP EVENT TRIGGER kill; DROP SCHEMA killing CASCADE")
        .unwrap();
    assert_eq!(catalog(&database), catalog_of_one_table());
}

/// The objects of a store that was partitioned once.
fn catalog_of_one_table() -> Vec<String> {
    let (database, _) = fresh().unwrap();
    into_partitions(&database).unwrap();
    into_one_table(&database).unwrap();
    catalog(&database)
}

/// The objects of a store.
fn catalog(database: &Database) -> Vec<String> {
    let definitions = "
        SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT concat(conname, ' ') || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT concat(pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, is_nullable, column_default)
                  FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT concat(viewname, definition) FROM pg_views WHERE schemaname = 'public'
        UNION ALL SELECT concat(matviewname, definition) FROM pg_matviews WHERE schemaname = 'public'
        UNION ALL SELECT concat(relname, ' ', relkind) || COALESCE(relacl::text, '') FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_serial_sequence('events', 'global_sequence')
        UNION ALL SELECT concat(proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    let rows = client(database).query(definitions, &[]).unwrap();
    let mut definitions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    definitions.sort_unstable();
    definitions
}

/// The first conversion makes the view from which summaries are read. It stays.
fn without_summaries(mut definitions: Vec<String>) -> Vec<String> {
    definitions.retain(|definition| !definition.contains("aggregate_summary"));
    definitions
}

#[test]
fn a_log_that_was_partitioned_is_one_table_as_it_was() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 30);
    let before = without_summaries(catalog(&database));
    assert!(into_partitions(&database).unwrap());
    assert!(!into_partitions(&database).unwrap());
    assert_leads_here(&store);
    assert_works(&store, &accounts);
    assert!(into_one_table(&database).unwrap());
    assert!(!into_one_table(&database).unwrap());
    assert_works(&store, &accounts);
    assert_leads_here(&store);
    assert_eq!(without_summaries(catalog(&database)), before);
    store.refresh_aggregate_summaries().unwrap();
    assert_eq!(
        store.aggregate_summaries(&SummaryQuery::new()).unwrap().len(),
        accounts.len()
    );
}

#[test]
fn an_index_on_streams_that_was_not_built_to_its_end_is_built_again() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    let mut other = client(&database);
    for fill_more in [|_: &PostgresEventStore| (), fill_much] {
        fill_more(&store);
        other
            .batch_execute(
                "CREATE INDEX idx_events_stream ON events (aggregate_id, global_sequence);
                 UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_events_stream'::regclass",
            )
            .unwrap();
        assert!(into_partitions(&database).unwrap());
        let valid = "SELECT bool_and(indisvalid), COUNT(*)
                     FROM pg_index
                     WHERE indexrelid = 'idx_events_stream'::regclass
                        OR indexrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'idx_events_stream'::regclass)";
        let found = other.query_one(valid, &[]).unwrap();
        assert_eq!((found.get::<_, bool>(0), found.get::<_, i64>(1)), (true, 3));
        assert!(into_one_table(&database).unwrap());
        assert!(
            other
                .query("SELECT 1 FROM pg_class WHERE relname LIKE '%idx_events_stream'", &[])
                .unwrap()
                .is_empty()
        );
    }
    assert_works(&store, &accounts);
}

#[test]
fn a_conversion_that_is_not_wanted_any_more_is_undone() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 30);
    let mut other = client(&database);
    let before = without_summaries(catalog(&database));
    other.batch_execute(KILLING).unwrap();
    // After the keys were written.
    killed_at(&database, 50)
        .convert_to_partitions(SMALL, |_| ())
        .unwrap_err();
    other
        .batch_execute("DROP EVENT TRIGGER kill; DROP SCHEMA killing CASCADE")
        .unwrap();
    assert_ne!(without_summaries(catalog(&database)), before);
    assert!(into_one_table(&database).unwrap());
    assert_eq!(without_summaries(catalog(&database)), before);
    assert_works(&store, &accounts);
}

#[test]
fn of_two_that_convert_at_once_one_does() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 700);
    let converted: Vec<Result<bool, Error>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..4 {
            threads.push(scope.spawn(|| into_partitions(&database)));
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(
        converted
            .iter()
            .filter(|converted| matches!(converted, Ok(true)))
            .count(),
        1
    );
    for error in converted.into_iter().filter_map(Result::err) {
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains("another process"), "{error}");
    }
    assert_works(&store, &accounts);
}

#[test]
fn a_transaction_that_began_before_goes_on() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    let bob = &accounts[1];
    // Each conversion waits for the end of the transaction before it drops what the transaction needs.
    for (into, version) in [(true, 3), (false, 5)] {
        // A store whose connections lead to the current log.
        let store = PostgresEventStore::open(database.url()).unwrap();
        let converter = thread::scope(|scope| {
            let began = store.transaction(|tx| {
                let converter = scope.spawn(|| match into {
                    true => into_partitions(&database),
                    false => into_one_table(&database),
                });
                let mut other = client(&database);
                while !converter.is_finished() && !is_waiting_for_earlier(&mut other) {
                    thread::sleep(Duration::from_millis(10));
                }
                assert_eq!(is_partitioned(&mut other), into);
                let keys = "SELECT 1 FROM pg_indexes WHERE indexname IN ('idx_events_aggregate_version', 'idx_event_keys_aggregate_version')";
                assert_eq!(other.query(keys, &[]).unwrap().len(), 2, "those of both");
                other.batch_execute(&insert(bob, version + 1)).unwrap();
                assert_eq!(tx.load(bob)?.version().as_i64(), version + 1);
                tx.append(bob, ExpectedVersion::Any, &[deposited(1)])?;
                Ok::<_, Error>(converter)
            });
            began.unwrap().join().unwrap()
        });
        assert!(converter.unwrap());
        assert_eq!(store.load(bob).unwrap().version().as_i64(), version + 2);
    }
    assert_works(&store, &accounts);
}

/// Whether a converter waits for transactions that began earlier.
fn is_waiting_for_earlier(client: &mut Client) -> bool {
    let waiting =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%virtualtransaction = ANY%'
        AND pid <> pg_backend_pid()";
    !client.query(waiting, &[]).unwrap().is_empty()
}

/// Inserts an event as another program does.
fn insert(account: &AggregateKey, version: i64) -> String {
    format!(
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
         VALUES (gen_random_uuid(), '{}', 'Account', {version}, 'money.deposited', '{{}}')",
        account.id()
    )
}

#[test]
fn a_connection_of_before_is_replaced_by_a_call_that_is_no_transaction() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    let id = store.transaction(|tx| {
        let id = tx.connection().query_one("SELECT pg_backend_pid()", &[]).unwrap();
        Ok::<i32, Error>(id.get(0))
    });
    let mut other = client(&database);
    into_partitions(&database).unwrap();
    assert_eq!(store.load(&accounts[0]).unwrap().version(), 3);
    let is_there = "SELECT 1 FROM pg_stat_activity WHERE pid = $1";
    let id = id.unwrap();
    let is_gone = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(50));
        other.query(is_there, &[&id]).unwrap().is_empty()
    });
    assert!(is_gone);
}

#[test]
fn more_than_a_partition_may_be_appended_before_the_table_has_its_name() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    let mut other = client(&database);
    // Adds seventy events each time that the second partition is made.
    other
        .batch_execute(
            "CREATE FUNCTION append_more() RETURNS event_trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE 'public.events_from_%') THEN
                     INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                     SELECT gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{}'
                     FROM generate_series(1, 70);
                 END IF;
             END $$;
             CREATE EVENT TRIGGER append_more ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION append_more()",
        )
        .unwrap();
    assert!(into_partitions(&database).unwrap());
    assert_eq!(all_events(&store).len(), 30 + 2 * 70);
    assert_works(&store, &accounts);
}

#[test]
fn what_another_table_cannot_take_over_is_refused_before_anything_is_done() {
    let Some((database, store)) = fresh() else { return };
    fill(&store, 3);
    let mut other = client(&database);
    for (make, drop, name) in [
        (
            "CREATE TABLE notes (event_id uuid REFERENCES events)",
            "DROP TABLE notes",
            "notes",
        ),
        (
            "ALTER TABLE events ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE events DISABLE ROW LEVEL SECURITY",
            "row level",
        ),
        (
            "CREATE MATERIALIZED VIEW mine AS SELECT COUNT(*) FROM events",
            "DROP MATERIALIZED VIEW mine",
            "mine",
        ),
        (
            "CREATE UNIQUE INDEX mine ON events (correlation_id)",
            "DROP INDEX mine",
            "mine",
        ),
        (
            "CREATE PUBLICATION mine FOR ALL TABLES",
            "DROP PUBLICATION mine",
            "mine",
        ),
        (
            "CREATE ROLE clerk_of_columns; GRANT SELECT (event_id) ON events TO clerk_of_columns",
            "REVOKE SELECT (event_id) ON events FROM clerk_of_columns; DROP ROLE clerk_of_columns",
            "event_id",
        ),
    ] {
        other.batch_execute(make).unwrap();
        let before = catalog(&database);
        let error = into_partitions(&database).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidInput { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(catalog(&database), before);
        other.batch_execute(drop).unwrap();
    }
    assert!(into_partitions(&database).unwrap());
}

#[test]
fn what_another_table_cannot_take_over_is_refused_also_if_it_is_made_meanwhile() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    let mut other = client(&database);
    for into in [Some(SMALL), None] {
        other.batch_execute(KILLING).unwrap();
        let convert = |builder: PostgresBuilder| match &into {
            Some(partitions) => builder.convert_to_partitions(partitions.clone(), |_| ()),
            None => builder.convert_to_one_table(|_| ()),
        };
        // First after the beginning, then after the preparation.
        for prepared in ["prepared >= 0", "prepared = prepare_until"] {
            let begun = format!("SELECT 1 FROM firefly_conversions WHERE finished_at IS NULL AND {prepared}");
            (1..)
                .find(|statement| {
                    convert(killed_at(&database, *statement)).unwrap_err();
                    !other.query(&begun, &[]).unwrap().is_empty()
                })
                .unwrap();
        }
        other
            .batch_execute(
                "DROP EVENT TRIGGER kill; DROP SCHEMA killing CASCADE; CREATE MATERIALIZED VIEW mine AS SELECT COUNT(*) FROM events",
            )
            .unwrap();
        let error = convert(PostgresEventStore::builder(database.url())).unwrap_err();
        assert!(
            error.is_invalid_input() && error.to_string().contains("mine"),
            "{error:?}"
        );
        assert_works(&store, &accounts);
        other.batch_execute("DROP MATERIALIZED VIEW mine").unwrap();
        assert!(convert(PostgresEventStore::builder(database.url())).unwrap());
    }
    assert_works(&store, &accounts);
}

#[test]
fn views_triggers_indexes_and_privileges_of_others_are_taken_over() {
    let Some((database, store)) = fresh() else { return };
    fill(&store, 3);
    let mut other = client(&database);
    other
        .batch_execute(
            "CREATE VIEW mine WITH (security_barrier = true) AS SELECT event_id, global_sequence FROM events WHERE event_size_bytes > 0;
             CREATE INDEX my_index ON events (lower(event_type)) WHERE metadata IS NOT NULL;
             CREATE TABLE told (statements bigint);
             CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO told VALUES (1); RETURN NULL; END';
             CREATE TRIGGER my_trigger AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION tell();
             CREATE ROLE converted_clerk LOGIN;
             GRANT SELECT, INSERT ON events TO converted_clerk;
             GRANT INSERT ON told TO converted_clerk;
             GRANT SELECT ON firefly_archives, firefly_archived_streams, firefly_archived_events, firefly_conversions,
                firefly_schema_history, mv_aggregate_summary TO converted_clerk;
             GRANT USAGE ON SEQUENCE events_global_sequence_seq TO converted_clerk",
        )
        .unwrap();
    let mut config: Config = database.url().parse().unwrap();
    let clerk = PostgresEventStore::configure(config.user("converted_clerk").clone())
        .open()
        .unwrap();
    let append = || {
        clerk
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .map(drop)
    };
    let count = |client: &mut Client, table: &str| -> i64 {
        client
            .query_one(&format!("SELECT COUNT(*) FROM {table}"), &[])
            .unwrap()
            .get(0)
    };
    let mut events = 30;
    for into in [into_partitions, into_one_table, into_partitions] {
        append().unwrap();
        into(&database).unwrap();
        append().unwrap();
        events += 2;
        assert_eq!(count(&mut other, "mine"), events);
        assert_eq!(count(&mut other, "told"), events - 30);
        assert_eq!(count(&mut other, "v_recent_events"), events);
        assert_eq!(all_events(&clerk).len() as i64, events);
        let options = "SELECT reloptions::text FROM pg_class WHERE relname = 'mine'";
        assert_eq!(
            other.query_one(options, &[]).unwrap().get::<_, String>(0),
            "{security_barrier=true}"
        );
        let index = "SELECT pg_get_indexdef('my_index'::regclass)";
        let index: String = other.query_one(index, &[]).unwrap().get(0);
        assert!(index.contains("lower("), "{index}");
    }
    drop(clerk);
    other
        .batch_execute("DROP OWNED BY converted_clerk; DROP ROLE converted_clerk")
        .unwrap();
}

#[test]
fn who_listened_before_goes_on_to_listen() {
    let Some((database, _)) = fresh() else { return };
    PostgresEventStore::builder(database.url())
        .notify(true)
        .migrate()
        .unwrap();
    let store = PostgresEventStore::open(database.url()).unwrap();
    let mut listener = store.listen().unwrap();
    for into in [into_partitions, into_one_table] {
        into(&database).unwrap();
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        assert!(listener.wait(Duration::from_secs(20)).unwrap());
        let mut later = store.listen().unwrap();
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        assert!(later.wait(Duration::from_secs(20)).unwrap());
        assert!(listener.wait(Duration::from_secs(20)).unwrap());
    }
}

#[test]
fn events_that_are_archived_and_attached_meanwhile_keep_one_key() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 300);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let mover = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let events: Vec<EventEnvelope> = movable(&store).into_iter().take(300).collect();
                archive(&store, &events);
                attach(&store, &events);
            }
        });
        for into in [into_partitions, into_one_table, into_partitions] {
            into(&database).unwrap();
        }
        drop(stopping);
        mover.join().unwrap();
    });
    let keys = "SELECT COUNT(*) FROM events FULL JOIN firefly_event_keys USING (event_id, global_sequence)
        WHERE event_data IS NULL OR firefly_event_keys.aggregate_id IS NULL";
    assert_eq!(client(&database).query_one(keys, &[]).unwrap().get::<_, i64>(0), 0);
    assert_works(&store, &accounts);
}

/// Open stores still have the statements for the table of before.
#[test]
fn an_operator_sees_at_once_that_a_log_was_converted() {
    let Some((database, store)) = fresh() else { return };
    fill(&store, 20);
    for _ in 0..2 {
        assert!(into_partitions(&database).unwrap());
        assert!(store.add_partitions().unwrap().is_some());
        assert_eq!(store.check_storage().unwrap(), []);
        assert!(store.update_statistics().unwrap().contains("firefly_event_keys"));
        assert!(into_one_table(&database).unwrap());
        assert_eq!(store.add_partitions().unwrap(), None);
        assert_eq!(store.join_partitions().unwrap(), None);
        assert_eq!(store.check_storage().unwrap(), []);
        assert!(!store.vacuum().unwrap().contains("firefly_event_keys"));
    }
}

#[test]
fn an_operator_goes_on_while_a_log_is_converted() {
    let Some((database, store)) = fresh() else { return };
    fill(&store, 200);
    operated_while(&store, || {
        for _ in 0..3 {
            into_partitions(&database).unwrap();
            into_one_table(&database).unwrap();
        }
    });
}

/// A role with its own store, which may not see other roles' sessions.
fn owner(database: &Database, role: &str) -> PostgresBuilder {
    client(database)
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}"
        ))
        .unwrap();
    let mut config: Config = database.url().parse().unwrap();
    PostgresEventStore::configure(config.user(role).clone())
}

#[test]
fn a_converter_that_may_not_see_what_others_do_waits_for_their_transactions() {
    let Some(database) = crate::support::database() else {
        return;
    };
    let owner = owner(&database, "converting_owner");
    owner.migrate().unwrap();
    // The other sessions are the administrator's, which the owner may not see.
    let accounts = fill(&PostgresEventStore::open(database.url()).unwrap(), 3);
    for into in [Some(SMALL), None] {
        let store = PostgresEventStore::open(database.url()).unwrap();
        let converter = thread::scope(|scope| {
            let began = store.transaction(|tx| {
                let version = tx.load(&accounts[0])?.version();
                // Nothing is locked during the swap of the name.
                tx.connection().batch_execute("ROLLBACK; BEGIN; SELECT 1").unwrap();
                let converter = scope.spawn(|| match into {
                    Some(partitions) => owner.convert_to_partitions(partitions, |_| ()),
                    None => owner.convert_to_one_table(|_| ()),
                });
                let mut other = client(&database);
                let swapped = "SELECT 1 FROM firefly_conversions WHERE swapped_at < now() - INTERVAL '3 seconds' AND finished_at IS NULL";
                while !converter.is_finished() && other.query(swapped, &[]).unwrap().is_empty() {
                    thread::sleep(Duration::from_millis(10));
                }
                assert_eq!(tx.load(&accounts[0])?.version(), version);
                Ok::<_, Error>(converter)
            });
            began.unwrap().join().unwrap()
        });
        assert!(converter.unwrap());
        assert_works(&store, &accounts);
    }
    drop(owner);
    client(&database)
        .batch_execute("REASSIGN OWNED BY converting_owner TO CURRENT_USER; DROP OWNED BY converting_owner; DROP ROLE converting_owner")
        .unwrap();
}

#[test]
fn a_transaction_that_looks_back_is_refused_and_never_shown_a_part_of_the_log() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    for into in [true, false] {
        let store = PostgresEventStore::open(database.url()).unwrap();
        let [mut holder, mut other] = [(); 2].map(|()| client(&database));
        thread::scope(|scope| {
            // Holds the swap back: one that began before the events were copied would be waited for.
            holder
                .batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
                .unwrap();
            scope.spawn(|| match into {
                true => into_partitions(&database).unwrap(),
                false => into_one_table(&database).unwrap(),
            });
            until(&mut other, IS_WAITING_FOR_LOCK);
            let looked_back = store.transaction(|tx| {
                tx.connection()
                    .batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
                    .unwrap();
                holder.batch_execute("COMMIT").unwrap();
                while is_partitioned(&mut other) != into {
                    thread::sleep(Duration::from_millis(10));
                }
                tx.load(&accounts[0])
            });
            let error = looked_back.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Moved { .. }), "{error:?}");
        });
    }
    assert_works(&store, &accounts);
}

fn count(session: &mut impl GenericClient) -> i64 {
    session.query_one("SELECT COUNT(*) FROM events", &[]).unwrap().get(0)
}

#[test]
fn who_looked_before_finds_all_events_by_its_own_statements() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    // The rows stay where they are.
    let [mut old, mut other] = [(); 2].map(|()| client(&database));
    thread::scope(|scope| {
        let mut old = looking_back(&mut old);
        let converted = scope.spawn(|| into_partitions(&database));
        until(
            &mut other,
            "SELECT relkind = 'p' FROM pg_class WHERE oid = 'events'::regclass",
        );
        assert_eq!(count(&mut old), 30);
        old.commit().unwrap();
        assert!(converted.join().unwrap().unwrap());
    });

    // The events are copied. An older snapshot does not contain the copies.
    let mut old = looking_back(&mut old);
    let error = into_one_table(&database).unwrap_err();
    assert_eq!(count(&mut old), 30, "{error}");
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("older snapshot"), "{error}");
    assert!(is_partitioned(&mut other));
    assert_works(&store, &accounts);
    old.commit().unwrap();
    assert!(into_one_table(&database).unwrap());
    assert!(!is_partitioned(&mut other));
    assert_works(&store, &accounts);
}

#[test]
fn a_log_does_not_become_one_table_on_a_server_that_may_forget_what_old_snapshots_see() {
    let Some(database) = crate::support::database() else {
        return;
    };
    let setting = "SELECT current_setting('old_snapshot_threshold', true)";
    // PostgreSQL 17 has no such setting.
    let setting: Option<String> = client(&database).query_one(setting, &[]).unwrap().get(0);
    if setting.is_none() {
        return;
    }
    let server = PostgresServer::start(&[("fsync", "off"), ("old_snapshot_threshold", "1h")]).unwrap();
    let database = server.new_database();
    PostgresEventStore::builder(database.url()).migrate().unwrap();
    let store = PostgresEventStore::open(database.url()).unwrap();
    let accounts = fill(&store, 3);
    assert!(into_partitions(&database).unwrap());
    let error = into_one_table(&database).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidInput { .. }), "{error:?}");
    assert!(error.to_string().contains("old_snapshot_threshold"), "{error}");
    assert_works(&store, &accounts);
}

#[test]
fn who_looked_between_the_copying_and_the_swap_finds_each_event_once() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    into_partitions(&database).unwrap();
    let [mut old, mut holder, mut other] = [(); 3].map(|()| client(&database));
    holder
        .batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
        .unwrap();
    thread::scope(|scope| {
        let converted = scope.spawn(|| into_one_table(&database));
        until(&mut other, IS_WAITING_FOR_LOCK);
        let mut old = looking_back(&mut old);
        other.batch_execute(&insert(&accounts[0], 4)).unwrap();
        holder.batch_execute("COMMIT").unwrap();
        until(
            &mut other,
            "SELECT relkind = 'r' FROM pg_class WHERE oid = 'events'::regclass",
        );
        assert_eq!(count(&mut old), 30);
        assert_eq!(count(&mut other), 31);
        old.commit().unwrap();
        assert!(converted.join().unwrap().unwrap());
    });
    assert_works(&store, &accounts);
}

#[test]
fn an_event_that_is_deleted_while_it_is_prepared_leaves_nothing() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    let mut other = client(&database);
    // The preparation waits after its read.
    other
        .batch_execute(
            "CREATE SCHEMA holding;
             CREATE FUNCTION holding.hold() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 WHILE NOT pg_try_advisory_xact_lock_shared(4711) LOOP
                     PERFORM pg_sleep(0.01);
                 END LOOP;
                 RETURN NULL;
             END $$;
             CREATE FUNCTION holding.hold_prepared() RETURNS event_trigger LANGUAGE plpgsql AS $$
             DECLARE
                 made text := (SELECT object_identity FROM pg_event_trigger_ddl_commands() WHERE object_identity
                    IN ('public.firefly_event_keys', 'public.firefly_whole_events') LIMIT 1);
             BEGIN
                 IF made IS NOT NULL THEN
                     EXECUTE format('CREATE TRIGGER hold BEFORE INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION holding.hold()', made);
                 END IF;
             END $$;
             CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION holding.hold_prepared()",
        )
        .unwrap();
    for (into, deleted) in [(true, &accounts[0]), (false, &accounts[1])] {
        other.batch_execute("SELECT pg_advisory_lock(4711)").unwrap();
        thread::scope(|scope| {
            let converter = scope.spawn(|| match into {
                true => into_partitions(&database),
                false => into_one_table(&database),
            });
            let is_held =
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                AND wait_event = 'PgSleep'";
            while other.query(is_held, &[]).unwrap().is_empty() {
                assert!(!converter.is_finished(), "{:?}", converter.join());
                thread::sleep(Duration::from_millis(10));
            }
            let deleter = scope.spawn(|| {
                let delete = "DELETE FROM events WHERE aggregate_id = $1";
                client(&database).execute(delete, &[&deleted.id()]).unwrap()
            });
            let is_waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            while !deleter.is_finished() && other.query(is_waiting, &[]).unwrap().is_empty() {
                thread::sleep(Duration::from_millis(10));
            }
            other.batch_execute("SELECT pg_advisory_unlock(4711)").unwrap();
            assert_eq!(deleter.join().unwrap(), 3);
            assert!(converter.join().unwrap().unwrap());
        });
        assert_eq!(store.load(deleted).unwrap().version(), 0);
        // No key of it reserves its versions.
        store
            .append(deleted, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    other
        .batch_execute("DROP EVENT TRIGGER hold; DROP SCHEMA holding CASCADE")
        .unwrap();
    assert_works(&store, &accounts);
}

#[test]
fn nobody_has_rights_afterwards_that_he_had_not_before() {
    let Some((database, store)) = fresh() else { return };
    fill(&store, 3);
    let mut other = client(&database);
    let may_read = |client: &mut Client, role: &str| -> Vec<String> {
        let readable = "SELECT relname::text FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND relname <> 'firefly_conversions'
              AND relname NOT IN ('firefly_partitions', 'firefly_leaving') AND has_table_privilege($1, oid, 'SELECT') ORDER BY 1";
        let rows = client.query(readable, &[&role]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    other
        .batch_execute(
            "CREATE ROLE curious_role; CREATE ROLE former_clerk;
             GRANT SELECT, UPDATE ON events TO former_clerk;
             ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO curious_role",
        )
        .unwrap();
    for into in [into_partitions, into_one_table, into_partitions] {
        into(&database).unwrap();
        store.add_partitions().unwrap();
        assert_eq!(may_read(&mut other, "curious_role"), Vec::<String>::new());
        let mut readable = may_read(&mut other, "former_clerk");
        readable.retain(|table| table != "firefly_event_keys");
        assert_eq!(readable, ["events"]);
    }
    other.batch_execute("REVOKE ALL ON events FROM former_clerk").unwrap();
    assert_eq!(may_read(&mut other, "former_clerk"), ["firefly_event_keys"]);
    other
        .batch_execute("DROP OWNED BY curious_role, former_clerk; DROP ROLE curious_role, former_clerk")
        .unwrap();
}

#[test]
fn indexes_that_are_chosen_during_a_conversion_are_made_and_those_that_are_not_are_dropped() {
    let Some((database, store)) = fresh() else { return };
    fill(&store, 3);
    into_partitions(&database).unwrap();
    let builder = PostgresEventStore::builder(database.url());
    let indexes = || -> Vec<String> {
        let names =
            "SELECT indexname::text FROM pg_indexes WHERE tablename = 'events' AND schemaname = 'public' ORDER BY 1";
        let rows = client(&database).query(names, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    for chosen in [Indexes::Full, Indexes::Lean] {
        // It tells its progress when the copy has its indexes.
        let mut is_chosen = false;
        let choose = |_| {
            if !is_chosen {
                builder.clone().indexes(chosen).migrate().unwrap();
                is_chosen = true;
            }
        };
        assert!(builder.convert_to_one_table(choose).unwrap());
        let converted = indexes();
        assert_eq!(
            converted.contains(&"idx_events_created_by".to_owned()),
            chosen == Indexes::Full
        );
        builder.clone().indexes(chosen).migrate().unwrap();
        assert_eq!(indexes(), converted);
        into_partitions(&database).unwrap();
    }
}

#[test]
fn those_who_read_by_a_view_do_not_keep_a_log_from_being_converted() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 300);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let readers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut reader = client(&database);
                    while !stop.load(Ordering::SeqCst) {
                        reader.query("SELECT FROM v_recent_events LIMIT 1", &[]).unwrap();
                    }
                })
            })
            .collect();
        for into in [into_partitions, into_one_table] {
            assert!(into(&database).unwrap());
        }
        drop(stopping);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_works(&store, &accounts);
}

#[test]
fn a_server_that_dies_while_a_log_is_converted_loses_nothing_and_the_next_call_goes_on() {
    if crate::support::database().is_none() {
        return;
    }
    let server = PostgresServer::start(&[]).unwrap();
    let database = server.new_database();
    let store = PostgresEventStore::builder(database.url())
        .max_connections(2 * WRITERS as u32)
        .migrate_on_open(true)
        .open()
        .unwrap();
    appended_once_each_while(&store, |_| {
        thread::sleep(Duration::from_secs(1));
        for into in [into_partitions, into_one_table] {
            let mut deaths = 0;
            while deaths < 4 {
                let converted = thread::scope(|scope| {
                    let converter = scope.spawn(|| into(&database));
                    thread::sleep(Duration::from_millis(fastrand::u64(50..700)));
                    server.kill("KILL");
                    deaths += 1;
                    let converted = converter.join().unwrap();
                    server.restart();
                    converted
                });
                if let Err(error) = converted {
                    assert!(error.is_retryable(), "{error:?}");
                }
            }
            into(&database).unwrap();
        }
    });
    assert!(!is_partitioned(&mut client(&database)));
    assert_works(&store, &fill(&store, 3));
}

#[test]
fn a_store_goes_on_whose_schema_is_renamed_before_it_is_converted() {
    let Some(database) = crate::support::database() else {
        return;
    };
    let of = |schema: &str| PostgresEventStore::builder(database.url()).schema(schema);
    let store = of("ledger").migrate_on_open(true).open().unwrap();
    let accounts = fill(&store, 30);
    client(&database)
        .batch_execute("ALTER SCHEMA ledger RENAME TO books")
        .unwrap();
    assert!(of("books").convert_to_partitions(SMALL, |_| ()).unwrap());
    assert_works(&store, &accounts);
    client(&database)
        .batch_execute("ALTER SCHEMA books RENAME TO ledger")
        .unwrap();
    assert!(of("ledger").convert_to_one_table(|_| ()).unwrap());
    assert_works(&store, &accounts);
}

/// Asserts that an audit has no findings. Returns how many events it read.
fn audited(store: &PostgresEventStore) -> u64 {
    let audited = Audit::new().run(store, |_| {}, |finding| panic!("{finding}")).unwrap();
    audited.events
}

#[test]
fn seals_tenants_snapshots_and_consumers_of_a_converted_store_go_on() {
    let Some((database, store)) = fresh() else { return };
    fill(&store, 30);
    let of_tenant = account();
    let acme = store.for_tenant(TenantId::new("acme").unwrap());
    acme.append(&of_tenant, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
        .unwrap();
    acme.save(&NewSnapshot::new(&of_tenant, 2, "State", &3).unwrap())
        .unwrap();
    seal(&store, |_| ()).unwrap();
    let everything = EventQuery::new();
    let registration = Registration::new("balances", &everything).slots(1);
    store.commit_together(|tx| tx.register(&registration)).unwrap();
    let mut position = GlobalSequence::ZERO;
    for (round, into) in [into_partitions, into_one_table, into_partitions]
        .into_iter()
        .enumerate()
    {
        let mut log = store.read(EventQuery::new().after(position));
        let read = (&mut log).map(Result::unwrap).count();
        assert_eq!(read, if round == 0 { 302 } else { 1 });
        position = log.checkpoint();
        let advanced = store.commit_together(|tx| {
            let mut slot = tx.lock_slot("balances", 0)?;
            tx.advance(&mut slot, position)
        });
        advanced.unwrap();
        into(&database).unwrap();
        assert_eq!(audited(&store), 302 + round as u64);
        assert_eq!(store.consumers(Some("balances")).unwrap()[0].position, position);
        let snapshots = store.snapshots_after(None, 10).unwrap();
        assert_eq!(
            snapshots.iter().map(|snapshot| &snapshot.aggregate).collect::<Vec<_>>(),
            [&of_tenant]
        );
        let foreign = store
            .append(&of_tenant, ExpectedVersion::Any, &[deposited(1)])
            .unwrap_err();
        assert!(
            matches!(foreign.kind(), ErrorKind::TenantMismatch { .. }),
            "{foreign:?}"
        );
        acme.append(&of_tenant, ExpectedVersion::Exists, &[deposited(1)])
            .unwrap();
        seal(&store, |_| ()).unwrap();
        assert!(store.high_water_mark().unwrap() > position);
    }
}

#[test]
fn a_log_with_archived_partitions_becomes_one_table() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 30);
    into_partitions(&database).unwrap();
    // The partitions are filled one after the other.
    for _ in 0..4 {
        store.add_partitions().unwrap();
        fill(&store, 6);
    }
    let events: Vec<EventEnvelope> = movable(&store).into_iter().take(460).collect();
    archive(&store, &events);
    store.add_partitions().unwrap();
    let stale = |account: &AggregateKey| {
        let error = store.append(account, ExpectedVersion::NoStream, &[deposited(1)]);
        assert!(error.unwrap_err().is_conflict());
    };
    for into in [into_one_table, into_partitions, into_one_table] {
        into(&database).unwrap();
        stale(&accounts[0]);
        let short = store.load(&accounts[0]).unwrap_err();
        assert!(matches!(short.kind(), ErrorKind::Archived { .. }), "{short:?}");
        let again = &events[3];
        let error = store
            .append(
                &account(),
                ExpectedVersion::NoStream,
                &[deposited(1).with_id(again.event_id)],
            )
            .unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Duplicate { .. }), "{error:?}");
    }
    attach(&store, &events);
    assert_eq!(all_events(&store).len(), 540);
    assert_works(&store, &accounts);
}

#[test]
fn a_conversion_of_an_empty_log_that_was_cut_off_is_told_to_who_chooses_partitions() {
    let Some((database, _)) = fresh() else { return };
    let mut other = client(&database);
    other.batch_execute(KILLING).unwrap();
    // After the beginning.
    let begun = "SELECT 1 FROM firefly_conversions";
    (1..)
        .find(|statement| {
            killed_at(&database, *statement)
                .convert_to_partitions(SMALL, |_| ())
                .unwrap_err();
            !other.query(begun, &[]).unwrap().is_empty()
        })
        .unwrap();
    other
        .batch_execute("DROP EVENT TRIGGER kill; DROP SCHEMA killing CASCADE")
        .unwrap();
    let chosen = PostgresEventStore::builder(database.url()).partitions(SMALL);
    let error = chosen.migrate().unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    assert!(error.to_string().contains("convert_to_partitions"), "{error}");
    assert!(into_partitions(&database).unwrap());
    assert_eq!(chosen.migrate().unwrap(), []);
}

#[test]
fn a_store_that_notified_before_there_were_conversions_goes_on_to_notify() {
    let Some((database, _)) = fresh() else { return };
    let builder = PostgresEventStore::builder(database.url()).notify(true);
    builder.migrate().unwrap();
    client(&database)
        .batch_execute(
            "CREATE OR REPLACE FUNCTION firefly_notify() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM pg_notify('firefly_events_' || TG_RELID, '');
                 RETURN NULL;
             END $$;
             DROP TABLE firefly_conversions;
             DELETE FROM firefly_schema_history WHERE version IN ('8.0.0', '9.0.0')",
        )
        .unwrap();
    builder.migrate().unwrap();
    into_partitions(&database).unwrap();
    let store = PostgresEventStore::open(database.url()).unwrap();
    let mut listener = store.listen().unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert!(listener.wait(Duration::from_secs(20)).unwrap());
}

#[test]
fn a_store_is_converted_whose_table_has_the_oid_that_another_servers_had_once() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 3);
    // As after a restore of a converted store's dump.
    client(&database)
        .batch_execute(
            "INSERT INTO firefly_conversions (prepared, prepare_until, former, swapped_at, finished_at)
             VALUES (0, 0, 'events'::regclass::oid::bigint, '2026-01-01', '2026-01-01')",
        )
        .unwrap();
    assert!(into_partitions(&database).unwrap());
    assert!(into_one_table(&database).unwrap());
    assert_works(&store, &accounts);
}

#[test]
fn a_log_is_converted_into_months_and_its_partitions_are_chosen_again() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 30);
    fill_much(&store);
    let builder = PostgresEventStore::builder(database.url());
    let into = |partitions| builder.convert_to_partitions(partitions, |_| ()).unwrap();
    let by_month = Partitions::by_month;
    assert!(into(by_month()));
    assert!(!into(by_month()));
    let mut other = client(&database);
    let ends =
        "SELECT string_agg(concat(first_sequence, '-', end_sequence), ' ' ORDER BY end_sequence) FROM firefly_ranges()";
    let mut ends = || -> String { other.query_one(ends, &[]).unwrap().get(0) };
    assert_eq!(ends(), "-");
    assert_works(&store, &accounts);
    store.add_partitions().unwrap();
    assert_eq!(ends(), "-");
    // The month of the conversion is over.
    client(&database)
        .batch_execute(
            "UPDATE firefly_partitions SET begun_at = begun_at - INTERVAL '1 month';
             UPDATE events SET created_at = created_at - INTERVAL '1 month'",
        )
        .unwrap();
    store.add_partitions().unwrap();
    assert_eq!(ends().split(' ').count(), 2);
    assert_works(&store, &accounts);

    // The first partition is kept. Later ones have a size.
    assert!(into(SMALL));
    assert!(!into(SMALL));
    assert_eq!(ends().split(' ').count(), 2);
    store.add_partitions().unwrap();
    assert!(into(by_month()));
    assert!(into_one_table(&database).unwrap());
    assert_works(&store, &accounts);
}

#[test]
fn a_large_log_is_converted_into_tables_of_types() {
    let Some((database, store)) = fresh() else { return };
    let accounts = fill(&store, 30);
    fill_much(&store);
    let before = without_summaries(catalog(&database));
    let builder = PostgresEventStore::builder(database.url());
    let into = |partitions| builder.convert_to_partitions(partitions, |_| ()).unwrap();
    assert!(into(by_type()));
    assert!(!into(by_type()));
    assert_works(&store, &accounts);
    let mut other = client(&database);
    let tables =
        "SELECT string_agg(relid::text, ' ' ORDER BY relid::oid) FROM pg_partition_tree('events') WHERE isleaf";
    let mut tables = || -> String { other.query_one(tables, &[]).unwrap().get(0) };
    assert_eq!(tables().split(' ').count(), 4, "{}", tables());
    assert_eq!(
        store.add_partitions().unwrap().unwrap(),
        "the log has 4, and needs no more"
    );
    // The first partition has the events from before, and some later ones.
    let bound =
        "SELECT setval('events_global_sequence_seq', first_sequence) FROM firefly_ranges() WHERE end_sequence IS NULL";
    client(&database).execute(bound, &[]).unwrap();
    let later = fill(&store, 30);
    let counts = "SELECT (SELECT COUNT(*) FROM events_from_1), (SELECT COUNT(*) FROM events)";
    let row = client(&database).query_one(counts, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (8_310, 8_610));
    assert_works(&store, &accounts);
    assert_works(&store, &later);
    assert_eq!(store.check_storage().unwrap(), []);

    // Other types are for the tables to come, and so is another kind.
    assert!(into(Partitions::by_aggregate_type(["Order"])));
    store.add_partitions().unwrap();
    assert_eq!(tables().split(' ').count(), 6, "{}", tables());
    assert!(into(SMALL));
    assert_works(&store, &later);

    assert!(into_one_table(&database).unwrap());
    assert_works(&store, &accounts);
    assert_eq!(without_summaries(catalog(&database)), before);
}
