//! A log in partitions by aggregate type: where events go, who finds them, and what another choice does.

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;

use firefly_eventstore_core::operate::{self, Archiving, Export, Import, IndexState, Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{SnapshotAt, StreamRange};
use firefly_eventstore_postgres::driver::{Client, Config};
use firefly_eventstore_postgres::{Partitions, PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::Database;

use crate::support::{account, all_events, archive, attach, client, database, deposited, fresh, movable};

fn builder(database: &Database) -> PostgresBuilder {
    PostgresEventStore::builder(database.url())
        .max_connections(16)
        .migrate_on_open(true)
}

fn orders_and_customers() -> Partitions {
    Partitions::by_aggregate_type(["order", "customer"])
}

fn by_type() -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let store = builder(&database).partitions(orders_and_customers()).open().unwrap();
    Some((database, store))
}

fn of_type(aggregate_type: &str) -> AggregateKey {
    AggregateKey::new(aggregate_type, Uuid::now_v7()).unwrap()
}

/// Appends this many events to a new aggregate.
fn append(store: &PostgresEventStore, aggregate_type: &str, events: u64) -> AggregateKey {
    let key = of_type(aggregate_type);
    let events: Vec<NewEvent> = (0..events).map(deposited).collect();
    store.append(&key, ExpectedVersion::NoStream, &events).unwrap();
    key
}

/// The tables of the log that have rows, and how many of each aggregate type.
fn tables(database: &Database) -> Vec<(String, BTreeMap<String, i64>)> {
    let mut client = client(database);
    let tables = "SELECT relid::oid, relid::text FROM pg_partition_tree('events') WHERE isleaf ORDER BY relid::oid";
    let tables = client.query(tables, &[]).unwrap();
    let mut found = Vec::new();
    for table in &tables {
        let table: String = table.get(1);
        let count = format!("SELECT aggregate_type, COUNT(*) FROM {table} GROUP BY aggregate_type");
        let counts = client.query(&count, &[]).unwrap();
        found.push((table, counts.iter().map(|row| (row.get(0), row.get(1))).collect()));
    }
    found
}

/// The names of the tables, and the number of events in each.
fn counts(database: &Database) -> Vec<(String, i64)> {
    let tables = tables(database).into_iter();
    tables.map(|(table, types)| (table, types.values().sum())).collect()
}

fn counted(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected
        .iter()
        .map(|(table, events)| ((*table).to_owned(), *events))
        .collect()
}

/// Asserts that each event of the log has its key, and that there is no other key.
fn assert_keys(database: &Database) {
    let columns = "event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id";
    let differences = format!(
        "SELECT COUNT(*) FROM (
             (SELECT {columns} FROM events EXCEPT SELECT {columns} FROM firefly_event_keys)
             UNION ALL
             (SELECT {columns} FROM firefly_event_keys EXCEPT SELECT {columns} FROM events)
         ) AS differences"
    );
    let differences: i64 = client(database).query_one(&differences, &[]).unwrap().get(0);
    assert_eq!(differences, 0);
}

/// Asserts that each table has what a table of the log needs, and that the store has no fault.
fn assert_sound(database: &Database, store: &PostgresEventStore) {
    let lacking = "SELECT tables.relid::text
        FROM pg_partition_tree('events') AS tables
        JOIN pg_class ON pg_class.oid = tables.relid
        WHERE tables.level > 0
          AND (
            relreplident <> 'i'
            OR EXISTS (SELECT FROM aclexplode(relacl) WHERE grantee <> relowner)
            OR NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relid AND tgname = 'trigger_events_refuse' AND tgenabled = 'A')
            OR (SELECT COUNT(*) FROM pg_index WHERE indrelid = relid) <> (SELECT COUNT(*) FROM pg_index WHERE indrelid = 'events'::regclass)
          )";
    let lacking = client(database).query(lacking, &[]).unwrap();
    let lacking: Vec<String> = lacking.iter().map(|row| row.get(0)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    assert_eq!(store.check_storage().unwrap(), []);
    let usage = store.index_usage().unwrap();
    assert!(
        usage.iter().all(|index| index.state == IndexState::Present),
        "{usage:?}"
    );
    assert_keys(database);
}

fn diagnosed(store: &PostgresEventStore) -> (Severity, String) {
    let told = store.diagnose().unwrap();
    let told = told.into_iter().find(|told| told.subject == "partitions").unwrap();
    (told.severity, told.found)
}

fn events_of(store: &PostgresEventStore, aggregate_type: &str) -> Vec<EventEnvelope> {
    let query = EventQuery::new().aggregate_types([aggregate_type]).unwrap();
    store.read(query).collect::<Result<_, Error>>().unwrap()
}

#[test]
fn each_type_has_a_table_and_all_others_share_one() {
    let Some((database, store)) = by_type() else { return };
    client(&database).batch_execute("CREATE EXTENSION amcheck").unwrap();
    let keys = ["order", "customer", "Order", "invoice"].map(|one| append(&store, one, 5));
    let tables = [
        ("events_from_1_1_customer", 5),
        ("events_from_1_2_order", 5),
        ("events_from_1_others", 10),
    ];
    assert_eq!(counts(&database), counted(&tables));
    assert_eq!(
        store.add_partitions().unwrap().unwrap(),
        "the log has 3, and needs no more"
    );
    let told = "3 by aggregate type (customer, order), the last ones from 1 on";
    assert_eq!(diagnosed(&store), (Severity::Good, told.to_owned()));
    // As a store that is opened without the choice.
    let other = PostgresEventStore::open(database.url()).unwrap();
    for key in &keys {
        let events = events_of(&other, key.aggregate_type().as_str());
        assert_eq!(other.load(key).unwrap().events(), events);
        assert_eq!(events.len(), 5);
        other
            .append(key, ExpectedVersion::Exact(Version::new(5).unwrap()), &[deposited(6)])
            .unwrap();
        other.save(&NewSnapshot::new(key, 4, "State.v1", &2).unwrap()).unwrap();
        let (_, stream) = other.load_from_snapshot(None, key, SnapshotAt::Latest).unwrap();
        assert_eq!(stream.len(), 3);
    }
    let log = all_events(&store);
    assert!(
        log.windows(2)
            .all(|pair| pair[0].global_sequence < pair[1].global_sequence)
    );
    assert_eq!(log.len(), 24);
    store.update_statistics().unwrap();
    let vacuumed = store.vacuum().unwrap();
    assert!(vacuumed.contains("firefly_event_keys"), "{vacuumed}");
    assert!(store.update_statistics().unwrap().contains("events (about 24 rows)"));
    store.refresh_aggregate_summaries().unwrap();
    assert_eq!(store.statistics(None).unwrap().total_events, 24);
    assert_sound(&database, &store);
}

#[test]
fn a_page_of_a_type_and_a_stream_are_read_from_the_table_of_the_type() {
    let Some((database, store)) = by_type() else { return };
    for _ in 0..3 {
        append(&store, "order", 50);
        append(&store, "invoice", 50);
    }
    for is_analyzed in [false, true] {
        if is_analyzed {
            store.update_statistics().unwrap();
        }
        for query in [EventQuery::new(), EventQuery::new().backwards()] {
            let query = query.aggregate_types(["order"]).unwrap().limit(10);
            let plans = store.explain(&query, None).unwrap();
            let plan = plans[0].join("\n");
            assert!(plan.contains("events_from_1_2_order"), "{plan}");
            for other in ["customer", "others", "Sort"] {
                assert!(!plan.contains(other), "{plan}");
            }
        }
    }
    assert_sound(&database, &store);
}

#[test]
fn tables_have_short_and_different_names_whatever_the_types_are() {
    let Some(database) = database() else { return };
    let types = [
        "order",
        "Order",
        "ORDER",
        "it's \"quoted\"",
        "back\\slash",
        "100 %I %s $1",
        "'); DROP TABLE events; --",
        "line\nbreak\tand, comma",
        "a.b",
        "a_b",
        " a b ",
        "others",
        "漢字",
        "é",
        "e\u{301}",
        "_",
    ];
    let long = ["漢", "x"].map(|one| one.repeat(255));
    let alike = format!("{}y", "x".repeat(254));
    let types: Vec<String> = types
        .map(str::to_owned)
        .into_iter()
        .chain(long)
        .chain([alike])
        .collect();
    let chosen = Partitions::by_aggregate_type(&types);
    let store = builder(&database).partitions(chosen.clone()).open().unwrap();
    for one in &types {
        append(&store, one, 2);
        assert_eq!(events_of(&store, one).len(), 2, "{one}");
    }
    append(&store, "another", 2);
    let tables = tables(&database);
    assert_eq!(tables.len(), types.len() + 1);
    let mut names = HashSet::new();
    let mut found = HashSet::new();
    for (table, events) in tables {
        assert!(
            table.len() <= 63 && table.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "{table}"
        );
        assert!(names.insert(table));
        assert_eq!(events.len(), 1, "{events:?}");
        found.extend(events.into_keys());
    }
    assert_eq!(found.len(), types.len() + 1);
    // The types are recognized.
    builder(&database).partitions(chosen).migrate().unwrap();
    assert_eq!(diagnosed(&store).0, Severity::Good);
    let made = store.add_partitions().unwrap().unwrap();
    assert_eq!(made, "the log has 20, and needs no more");
    assert_sound(&database, &store);
}

#[test]
fn types_that_cannot_be_chosen_are_refused_before_anything_is_done() {
    let Some(database) = database() else { return };
    let many: Vec<String> = (0..21).map(|number| format!("type {number}")).collect();
    let long = "x".repeat(256);
    let refused: [(&[&str], &str); 5] = [
        (&[], "at least one"),
        (&["order", ""], "empty"),
        (&["order", "order"], "twice"),
        (&[&long], "256 characters"),
        (&many.iter().map(String::as_str).collect::<Vec<_>>(), "21 types"),
    ];
    for (types, reason) in refused {
        let builder = builder(&database).partitions(Partitions::by_aggregate_type(types.iter().copied()));
        for error in [builder.migrate().unwrap_err(), builder.open().unwrap_err()] {
            assert!(
                error.is_invalid_input() && error.to_string().contains(reason),
                "{error}"
            );
        }
        let tables = "SELECT COUNT(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        assert_eq!(client(&database).query_one(tables, &[]).unwrap().get::<_, i64>(0), 0);
    }
}

#[test]
fn other_types_and_other_kinds_are_for_the_events_to_come() {
    let Some((database, store)) = by_type() else { return };
    let choose = |partitions| builder(&database).partitions(partitions).migrate().unwrap();
    let add = || store.add_partitions().unwrap().unwrap();
    let fill = |events| ["order", "customer", "invoice"].map(|one| append(&store, one, events));
    // As long as there are no events, nothing is made.
    choose(Partitions::by_aggregate_type(["invoice"]));
    assert_eq!(add(), "the log has 3, and needs no more");
    fill(1);
    let (severity, told) = diagnosed(&store);
    assert_eq!(severity, Severity::Notice);
    assert!(told.contains("by aggregate type (invoice)"), "{told}");
    assert_eq!(add(), "the log has 5, 2 of them new");
    assert_eq!(add(), "the log has 5, and needs no more");
    assert_eq!(diagnosed(&store).0, Severity::Good);
    // Events that were appended while the tables were made are in the earlier ones.
    fill(150);
    let tables = [
        ("events_from_1_1_customer", 1),
        ("events_from_1_2_order", 101),
        ("events_from_1_others", 1),
        ("events_from_104_1_invoice", 150),
        ("events_from_104_others", 200),
    ];
    assert_eq!(counts(&database), counted(&tables));

    // Other kinds, and back.
    choose(Partitions::by_events(10));
    assert_eq!(add(), "the log has 6, 1 of them new");
    fill(20);
    assert_eq!(add(), "the log has 7, 1 of them new");
    choose(Partitions::by_month());
    assert_eq!(add(), "the log has 7, and needs no more");
    choose(orders_and_customers());
    assert_eq!(add(), "the log has 7, and needs no more");
    fill(10);
    assert_eq!(add(), "the log has 10, 3 of them new");
    fill(50);
    for key in fill(60) {
        assert_eq!(store.load(&key).unwrap().len(), 60);
    }
    let tables = [
        ("events_from_644_1_customer", 60),
        ("events_from_644_2_order", 60),
        ("events_from_644_others", 110),
    ];
    assert_eq!(counts(&database)[7..], counted(&tables));
    assert_eq!(all_events(&store).len(), 3 * (1 + 150 + 20 + 10 + 50 + 60));
    assert_eq!(events_of(&store, "order").len(), 1 + 150 + 20 + 10 + 50 + 60);
    assert_sound(&database, &store);
    PostgresEventStore::builder(database.url())
        .convert_to_one_table(|_| ())
        .unwrap();
    assert_eq!(all_events(&store).len(), 3 * (1 + 150 + 20 + 10 + 50 + 60));
}

#[test]
fn a_log_that_is_divided_by_its_sequence_is_not_divided_by_type() {
    let Some(database) = database() else { return };
    for sequences in [Partitions::by_events(100), Partitions::by_month()] {
        let store = builder(&database).partitions(sequences).open().unwrap();
        append(&store, "order", 1);
        let chosen = builder(&database).partitions(orders_and_customers());
        let converted = builder(&database).convert_to_partitions(orders_and_customers(), |_| ());
        for error in [
            chosen.migrate().unwrap_err(),
            chosen.open().unwrap_err(),
            converted.unwrap_err(),
        ] {
            assert!(error.is_invalid_input(), "{error:?}");
            assert!(error.to_string().contains("convert_to_one_table"), "{error}");
        }
        store.add_partitions().unwrap();
        assert_eq!(diagnosed(&store).0, Severity::Good);
    }
}

#[test]
fn who_writes_into_a_table_of_a_type_is_refused() {
    let Some((database, store)) = by_type() else { return };
    append(&store, "order", 5);
    append(&store, "invoice", 5);
    for table in ["events_from_1", "events_from_1_2_order", "events_from_1_others"] {
        for statement in [
            format!("INSERT INTO {table} SELECT * FROM events LIMIT 1"),
            format!("UPDATE {table} SET event_type = 'other'"),
            format!("DELETE FROM {table}"),
            format!("COPY {table} (event_id) FROM PROGRAM 'true'"),
        ] {
            for role in ["replica", "origin"] {
                let error = client(&database)
                    .batch_execute(&format!("SET session_replication_role = {role}; {statement}"))
                    .unwrap_err();
                let code = error.code().map(|code| code.code().to_owned());
                assert!(
                    matches!(code.as_deref(), Some("42809" | "428C9")),
                    "{statement}: {error:?}"
                );
            }
        }
    }
    assert_eq!(all_events(&store).len(), 10);
    assert_keys(&database);
}

#[test]
fn what_other_programs_write_is_in_the_table_of_its_type() {
    let Some((database, store)) = by_type() else { return };
    let mut other = client(&database);
    other
        .batch_execute(
            "CREATE SCHEMA elsewhere; SET search_path = elsewhere;
             INSERT INTO public.events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, checksum)
             SELECT gen_random_uuid(), gen_random_uuid(), (ARRAY['order', 'customer', 'new type'])[1 + number % 3], 1, 'noted', '{}', NULL
             FROM generate_series(1, 9) AS number",
        )
        .unwrap();
    assert!(counts(&database).iter().all(|(_, events)| *events == 3));
    // Somebody corrects a type.
    other
        .batch_execute("UPDATE public.events SET aggregate_type = 'order' WHERE aggregate_type = 'new type'")
        .unwrap();
    assert_eq!(counts(&database)[1], ("events_from_1_2_order".to_owned(), 6));
    assert_eq!(events_of(&store, "order").len(), 6);
    assert_keys(&database);
    let twice = "INSERT INTO public.events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, checksum)
                 SELECT gen_random_uuid(), aggregate_id, 'customer', 1, 'noted', '{}', NULL
                 FROM public.events WHERE aggregate_type = 'order' LIMIT 1";
    let error = other.batch_execute(twice).unwrap_err();
    assert_eq!(
        error.as_db_error().unwrap().constraint(),
        Some("idx_event_keys_aggregate_version")
    );
    other.batch_execute("TRUNCATE public.events").unwrap();
    assert_keys(&database);
}

/// Another program has given the events of an aggregate two types.
#[test]
fn a_stream_with_two_types_is_loaded_as_from_one_table() {
    let Some(stores) = by_type().and_then(|by_type| Some([by_type, fresh()?])) else {
        return;
    };
    let insert =
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                  SELECT gen_random_uuid(), $1, type, version, 'money.deposited', '{\"amount\": 1}'
                  FROM unnest($2::text[]) WITH ORDINALITY AS written (type, version)";
    for types in [
        ["order", "order", "customer", "customer"],
        ["order", "customer", "invoice", "order"],
        ["invoice", "customer", "order", "other"],
        ["order", "order", "order", "customer"],
    ] {
        let key = of_type(types[0]);
        for (database, _) in &stores {
            client(database).execute(insert, &[&key.id(), &&types[..]]).unwrap();
        }
        for range in [
            StreamRange::all(),
            StreamRange::all().limit(2),
            StreamRange::all().backwards(),
            StreamRange::all().from_version(2_u32).to_version(3_u32),
        ] {
            let [by_type, whole] = [&stores[0], &stores[1]].map(|(_, store)| match store.load_range(&key, &range) {
                Ok(stream) => format!(
                    "{:?}",
                    stream.events().iter().map(|event| event.version).collect::<Vec<_>>()
                ),
                Err(error) => error.to_string(),
            });
            assert_eq!(by_type, whole, "{types:?} {range:?}");
        }
    }
}

#[test]
fn a_schema_with_tables_of_types_may_be_renamed() {
    let Some(database) = database() else { return };
    let store = builder(&database)
        .schema("a ledger")
        .partitions(orders_and_customers())
        .open()
        .unwrap();
    append(&store, "order", 5);
    client(&database)
        .batch_execute("ALTER SCHEMA \"a ledger\" RENAME TO \"Another's\"")
        .unwrap();
    append(&store, "invoice", 10);
    builder(&database)
        .schema("Another's")
        .partitions(Partitions::by_aggregate_type(["it's"]))
        .migrate()
        .unwrap();
    assert_eq!(store.add_partitions().unwrap().unwrap(), "the log has 5, 2 of them new");
    append(&store, "it's", 200);
    assert_eq!(all_events(&store).len(), 215);
    assert_eq!(events_of(&store, "it's").len(), 200);
    store.update_statistics().unwrap();
    store.vacuum().unwrap();
    store.refresh_aggregate_summaries().unwrap();
}

#[test]
fn archived_events_leave_the_tables_of_their_types_and_come_back() {
    let Some((database, store)) = by_type() else { return };
    for amount in 1..=10 {
        append(&store, ["order", "customer", "invoice"][amount as usize % 3], amount);
    }
    let before = all_events(&store);
    let moved: Vec<EventEnvelope> = movable(&store).into_iter().take(30).collect();
    archive(&store, &moved);
    assert_eq!(counts(&database).iter().map(|(_, events)| events).sum::<i64>(), 25);
    assert!(store.load(&moved[0].aggregate).is_err());
    assert_eq!(
        store.add_partitions().unwrap().unwrap(),
        "the log has 3, and needs no more"
    );
    attach(&store, &moved);
    assert_eq!(all_events(&store), before);

    // As the tool does it: with a file, and as many events as can leave at once.
    let mut file = Vec::new();
    Archiving::until(30_u32).json_lines(&store, &mut file, |_| ()).unwrap();
    operate::retire(&store, Cursor::new(&file), "elsewhere", |_| ()).unwrap();
    assert_eq!(counts(&database).iter().map(|(_, events)| events).sum::<i64>(), 25);
    operate::attach(&store, Cursor::new(&file), |_| ()).unwrap();
    assert_eq!(all_events(&store), before);
    assert_sound(&database, &store);
}

#[test]
fn an_export_of_one_table_is_imported_into_tables_of_types() {
    let Some((_database, whole)) = fresh() else { return };
    for amount in 1..=10 {
        append(&whole, ["order", "customer", "invoice"][amount as usize % 3], amount);
    }
    let mut file = Vec::new();
    Export::new().json_lines(&whole, &mut file, |_| ()).unwrap();
    let Some((database, store)) = by_type() else { return };
    Import::new().json_lines(&store, Cursor::new(&file), |_| ()).unwrap();
    assert_eq!(all_events(&store), all_events(&whole));
    assert_sound(&database, &store);
}

/// Events of these types, so large that their tables are not read while others wait.
fn append_much(store: &PostgresEventStore, events: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut large = || -> NewEvent {
        let text: String = (0..1_700).map(|_| random.alphanumeric()).collect();
        NewEvent::new("money.deposited", &serde_json::json!({ "text": text })).unwrap()
    };
    for number in 0..events / 100 {
        let events: Vec<NewEvent> = (0..100).map(|_| large()).collect();
        let key = of_type(["order", "customer", "invoice"][number as usize % 3]);
        store.append(&key, ExpectedVersion::NoStream, &events).unwrap();
    }
}

/// A process that ends at any step leaves a store that works, and the next one makes the tables.
#[test]
fn a_process_that_is_killed_at_any_step_of_another_choice_leaves_a_store_that_works() {
    let Some((database, store)) = by_type() else { return };
    append_much(&store, 6_000);
    builder(&database)
        .partitions(Partitions::by_aggregate_type(["invoice"]))
        .migrate()
        .unwrap();
    let mut other = client(&database);
    other.batch_execute(KILLING).unwrap();
    let mut kills = 0;
    let done = (1..).find_map(|statement| {
        let mut config: Config = database.url().parse().unwrap();
        config.options(&format!("-c killing.until={statement}"));
        let killed = PostgresEventStore::configure(config).open().unwrap();
        let done = killed.add_partitions();
        append(&store, "invoice", 1);
        match done {
            Ok(done) => done,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                assert_eq!(counts(&database).len(), 3);
                kills += 1;
                None
            }
        }
    });
    assert_eq!(done.unwrap(), "the log has 5, 2 of them new");
    assert!(kills > 20, "{kills}");
    other
        .batch_execute("DROP EVENT TRIGGER kill; DROP SCHEMA killing CASCADE")
        .unwrap();
    let counts = counts(&database);
    assert_eq!(counts.iter().map(|(_, events)| events).sum::<i64>(), 6_001 + kills);
    assert_eq!(prepared(&mut other), 0);
    let checks = "SELECT COUNT(*) FROM pg_constraint WHERE conname = 'firefly_bound'";
    assert_eq!(other.query_one(checks, &[]).unwrap().get::<_, i64>(0), 0);
    assert_sound(&database, &store);
}

/// The tables that are no part of the log.
fn prepared(client: &mut Client) -> i64 {
    let tables = "SELECT COUNT(*) FROM pg_class WHERE relname LIKE 'events\\_from\\_%' AND relkind IN ('r', 'p') AND NOT relispartition";
    client.query_one(tables, &[]).unwrap().get(0)
}

/// Ends a session at the given one of its statements that define something.
const KILLING: &str = "
    CREATE SCHEMA killing;
    CREATE FUNCTION killing.kill() RETURNS event_trigger LANGUAGE plpgsql AS $$
    DECLARE
        until integer := COALESCE(NULLIF(current_setting('killing.until', true), ''), '0');
    BEGIN
        PERFORM set_config('killing.until', (until - 1)::text, false);
        IF until = 1 THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
    END $$;
    CREATE EVENT TRIGGER kill ON ddl_command_end EXECUTE FUNCTION killing.kill()";

#[test]
fn tables_that_were_prepared_for_nothing_are_dropped() {
    let Some((database, store)) = by_type() else { return };
    append(&store, "order", 5);
    let choose = |partitions| builder(&database).partitions(partitions).migrate().unwrap();
    choose(Partitions::by_aggregate_type(["invoice"]));
    let mut other = client(&database);
    // A process ended after it had made the tables.
    let prepare = include_str!("../sql/partitions/prepare_partition.sql");
    for first in ["106", "205"] {
        other.batch_execute(&prepare.replace("$1", first)).unwrap();
        assert_eq!(prepared(&mut other), 1);
    }
    choose(Partitions::by_events(10));
    store.add_partitions().unwrap();
    assert_eq!(prepared(&mut other), 0);
    // Tables of the log are never dropped, even if they were prepared for the same sequence.
    choose(orders_and_customers());
    append(&store, "order", 50);
    store.add_partitions().unwrap();
    append(&store, "order", 150);
    let first = "SELECT MAX(first_sequence) FROM firefly_ranges()";
    let first: i64 = other.query_one(first, &[]).unwrap().get(0);
    let before = counts(&database);
    assert!(
        before.last().unwrap().1 == 0 && before[before.len() - 2].1 > 0,
        "{before:?}"
    );
    other.batch_execute(&prepare.replace("$1", &first.to_string())).unwrap();
    assert_eq!(counts(&database), before);
    assert_eq!(all_events(&store).len(), 205);
    assert_eq!(store.load(&account()).unwrap().len(), 0);
    assert_sound(&database, &store);
}
