//! How the servers find events: each filter by its index, in order, whatever they know of the table.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Metadata, Order};
use firefly_eventstore_mysql::mysql::prelude::Queryable;
use firefly_eventstore_mysql::mysql::{Row, Value};
use firefly_eventstore_mysql::{Indexes, MysqlEventStore};
use firefly_eventstore_test_servers::{Database, MysqlServer};

use support::{account, builder, client, fresh, on_both, run};

on_both!(
    each_filter_is_found_by_its_index_and_not_sorted,
    what_few_events_match_is_found_by_its_index,
    a_page_that_goes_on_is_found_as_the_first_is,
    without_its_index_a_filter_walks_the_log,
    an_index_that_is_dropped_meanwhile_is_not_missed,
    the_six_patterns_of_the_source_document,
);

fn with_all_indexes(server: &MysqlServer) -> (Database, MysqlEventStore) {
    let database = server.new_database();
    let store = builder(&database)
        .indexes(Indexes::Full)
        .migrate_on_open(true)
        .open()
        .unwrap();
    for number in 0..20 {
        let account = account();
        let events: Vec<NewEvent> = (0..100)
            .map(|event| {
                NewEvent::from_json(format!("type.{}", event % 10), "{}")
                    .unwrap()
                    .correlation_id(format!("corr-{number}-{event}"))
                    .unwrap()
                    .metadata_json(format!(r#"{{"correlationId":"corr-{event}"}}"#))
                    .unwrap()
            })
            .collect();
        store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    }
    (database, store)
}

fn query() -> EventQuery {
    EventQuery::new()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Queries that an index has in their order, and the index.
fn in_order() -> Vec<(EventQuery, &'static str)> {
    let two = ["type.1", "type.2"];
    let metadata = Metadata::from_json(r#"{"correlationId":"corr-3"}"#).unwrap();
    vec![
        (query(), "PRIMARY"),
        (query().aggregate_id(Uuid::now_v7()), "idx_events_aggregate_version"),
        (query().correlation_id("c").unwrap(), "idx_events_correlation_id"),
        (query().causation_id("c").unwrap(), "idx_events_causation_id"),
        (query().created_by("c").unwrap(), "idx_events_created_by"),
        (query().tenant("c").unwrap(), "idx_events_tenant_id"),
        (query().event_types(["type.1"]).unwrap(), "idx_events_type"),
        (
            query().aggregate_types(["Account"]).unwrap(),
            "idx_events_aggregate_type",
        ),
        (query().created_at(now()..), "idx_events_created_at"),
        (query().ordered_by(Order::Time), "idx_events_created_at"),
        (
            query().event_types(["type.1"]).unwrap().created_at(..now()),
            "idx_events_type_created",
        ),
        (
            query().aggregate_types(["Account"]).unwrap().created_at(..now()),
            "idx_events_aggregate_type_created",
        ),
        (query().metadata(metadata), "idx_events_metadata_correlation"),
        (query().event_types(two).unwrap(), "idx_events_type"),
        (
            query().event_types(two).unwrap().created_at(..now()),
            "idx_events_type_created",
        ),
    ]
}

/// The tables of a plan that hold events, without those that are merged.
fn events_of(plan: &[String]) -> Vec<&String> {
    plan.iter().filter(|line| line.starts_with("events: ")).collect()
}

fn assert_by(plan: &[String], index: &str) {
    let tables = events_of(plan);
    assert!(!tables.is_empty(), "{plan:#?}");
    for table in tables {
        let is_joined = table.contains(": eq_ref PRIMARY:");
        assert!(
            is_joined || table.contains(&format!(" {index}:")),
            "not by {index}: {plan:#?}"
        );
    }
}

fn each_filter_is_found_by_its_index_and_not_sorted(server: &MysqlServer) {
    let (_database, store) = with_all_indexes(server);
    for (query, index) in in_order() {
        for query in [query.clone(), query.backwards()] {
            let plan = store.explain(&query, None).unwrap();
            assert_by(&plan, index);
            let sorted = events_of(&plan).into_iter().any(|table| table.contains("filesort"));
            assert!(!sorted, "{query:?}: {plan:#?}");
        }
    }
}

fn what_few_events_match_is_found_by_its_index(server: &MysqlServer) {
    let (_database, store) = with_all_indexes(server);
    for (query, index) in [
        (
            query().event_ids([Uuid::now_v7(), Uuid::now_v7()]),
            "idx_events_event_id",
        ),
        (
            query().correlation_id("c").unwrap().created_at(now()..),
            "idx_events_correlation_id",
        ),
        (
            query().aggregate_id(Uuid::now_v7()).ordered_by(Order::Time),
            "idx_events_aggregate_version",
        ),
    ] {
        let plan = store.explain(&query, None).unwrap();
        assert_by(&plan, index);
        // Little is sorted, which shows that the other tests would see a sort.
        assert!(plan[0].contains("filesort"), "{plan:#?}");
    }
}

fn a_page_that_goes_on_is_found_as_the_first_is(server: &MysqlServer) {
    let (_database, store) = with_all_indexes(server);
    let first = store.read_page(&query().limit(1_000), None).unwrap();
    let known = first.events[0].aggregate.id();
    for (query, index) in in_order() {
        let query = query.page_size(7.try_into().unwrap());
        let Some(cursor) = store.read_page(&query, None).unwrap().next else {
            continue;
        };
        let plan = store.explain(&query, Some(&cursor)).unwrap();
        assert_by(&plan, index);
        let sorted = events_of(&plan).into_iter().any(|table| table.contains("filesort"));
        assert!(!sorted, "{query:?}: {plan:#?}");
    }
    let query = query().aggregate_id(known).page_size(7.try_into().unwrap());
    let cursor = store.read_page(&query, None).unwrap().next.unwrap();
    let plan = store.explain(&query, Some(&cursor)).unwrap();
    assert!(plan[0].contains(" idx_events_aggregate_version:"), "{plan:#?}");
    assert!(!plan[0].contains("filesort"), "{plan:#?}");
}

fn without_its_index_a_filter_walks_the_log(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let store = builder(&database)
        .indexes(Indexes::Lean)
        .migrate_on_open(true)
        .open()
        .unwrap();
    for query in [
        query().event_types(["type.1"]).unwrap(),
        query().tenant("c").unwrap(),
        query().created_by("c").unwrap(),
    ] {
        assert_by(&store.explain(&query, None).unwrap(), "PRIMARY");
    }
}

fn an_index_that_is_dropped_meanwhile_is_not_missed(server: &MysqlServer) {
    let (database, store) = with_all_indexes(server);
    let of_types = [
        query().event_types(["type.1"]),
        query().event_types(["type.1", "type.2"]),
    ];
    for round in 0..2 {
        for (query, count) in of_types.iter().zip([200, 400]) {
            let query = query.clone().unwrap();
            assert_eq!(store.read(query).count(), count, "round {round}");
        }
        builder(&database).indexes(Indexes::Lean).migrate().unwrap();
    }
}

fn the_six_patterns_of_the_source_document(server: &MysqlServer) {
    const COLUMNS: &str = "SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events ";
    let (database, store) = with_all_indexes(server);
    let known = store.read_page(&query().limit(1), None).unwrap().events.remove(0);
    let id = || Value::from(known.aggregate.id());
    let mut other = client(&database);
    run(&mut other, "SET time_zone = '+00:00'");
    let patterns: [(String, Vec<Value>, &[&str], usize); 6] = [
        (
            format!("{COLUMNS}\nWHERE aggregate_id = ? \n  AND aggregate_type = ?\nORDER BY aggregate_version ASC"),
            vec![id(), "Account".into()],
            &["idx_events_aggregate_version"],
            100,
        ),
        (
            format!("{COLUMNS}\nWHERE aggregate_id = ? \n  AND aggregate_type = ? \n  AND aggregate_version >= ?\nORDER BY aggregate_version ASC"),
            vec![id(), "Account".into(), 91.into()],
            &["idx_events_aggregate_version"],
            10,
        ),
        (
            format!("{COLUMNS}\nWHERE global_sequence >= ?\nORDER BY global_sequence ASC"),
            vec![1_901.into()],
            &["PRIMARY"],
            100,
        ),
        (
            "SELECT COALESCE(MAX(aggregate_version), 0) as version\nFROM events \nWHERE aggregate_id = ? \n  AND aggregate_type = ?"
                .to_owned(),
            vec![id(), "Account".into()],
            &["idx_events_aggregate_version"],
            1,
        ),
        (
            format!("{COLUMNS}\nWHERE event_type IN (?, ?, ?)\nORDER BY global_sequence ASC"),
            vec!["type.1".into(), "type.2".into(), "no.such".into()],
            // The server may as well walk the log, where so many events match.
            &["idx_events_type", "idx_events_type_created", "PRIMARY"],
            400,
        ),
        (
            format!("{COLUMNS}\nWHERE created_at BETWEEN ? AND ?\nORDER BY created_at ASC"),
            vec!["2025-01-01 00:00:00".into(), "2025-01-02 00:00:00".into()],
            &["idx_events_created_at"],
            0,
        ),
    ];
    run(&mut other, "ANALYZE TABLE events");
    for (sql, values, indexes, count) in patterns {
        let rows: Vec<Row> = other.exec(&sql, values.clone()).unwrap();
        assert_eq!(rows.len(), count, "{sql}");
        let plan: Vec<Row> = other
            .exec(format!("EXPLAIN FORMAT = TRADITIONAL {sql}"), values)
            .unwrap();
        let key: Option<String> = plan[0].get("key").unwrap();
        assert!(indexes.contains(&key.as_deref().unwrap_or_default()), "{sql}: {key:?}");
    }
    // And for people, with readable ids.
    let readable: Option<u64> = other
        .exec_first(
            "SELECT COUNT(*) FROM v_events WHERE aggregate_id = ?",
            (known.aggregate.id().to_string(),),
        )
        .unwrap();
    assert_eq!(readable, Some(100));
}
