//! How PostgreSQL finds events in a log of 200,000 events: by which index, and without scanning or sorting the whole log.
//!
//! Each plan is checked for a table that was never analyzed, as after a restore, and for one that was. Each is planned with the values, as
//! PostgreSQL plans the first executions of a prepared statement, and without them, as it may plan the later ones. All four plans must be
//! good.

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Order, StreamRange, time};
use firefly_eventstore_postgres::driver::types::ToSql;
use firefly_eventstore_postgres::driver::{Client, Row};
use firefly_eventstore_postgres::{Indexes, PostgresEventStore};
use firefly_eventstore_test_servers::Database;
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::support::{client, database};

/// The six query patterns of the source document, word for word except for the names of the parameters.
mod pattern {
    pub(super) const LOAD_EVENT_STREAM: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE aggregate_id = $1 
  AND aggregate_type = $2
ORDER BY aggregate_version ASC;";
    pub(super) const LOAD_FROM_VERSION: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE aggregate_id = $1 
  AND aggregate_type = $2 
  AND aggregate_version >= $3
ORDER BY aggregate_version ASC;";
    pub(super) const STREAM_FROM_SEQUENCE: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE global_sequence >= $1
ORDER BY global_sequence ASC;";
    pub(super) const AGGREGATE_VERSION: &str = "
SELECT COALESCE(MAX(aggregate_version), 0) as version
FROM events 
WHERE aggregate_id = $1 
  AND aggregate_type = $2;";
    pub(super) const STREAM_BY_TYPE: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE event_type IN ($1, $2, $3)
ORDER BY global_sequence ASC;";
    pub(super) const STREAM_BY_TIME: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE created_at BETWEEN $1 AND $2
ORDER BY created_at ASC;";
}

const AN_AGGREGATE: &str = "00000001-0000-7000-9000-000000000001";
const AGGREGATE: &str = "idx_events_aggregate_version (aggregate_id";
const VERSIONS: &str = "idx_events_aggregate_version (aggregate_id, aggregate_version";
const LOG: &str = "idx_events_global_sequence (global_sequence)";
const ARCHIVED_STREAM: &str = "firefly_archived_streams_pkey (aggregate_id)";
const ARCHIVED_EVENT: &str = "idx_archived_events_event_id (event_id)";

#[test]
fn pattern_1_loads_a_stream_by_the_index_on_aggregate_and_version() {
    statement(pattern::LOAD_EVENT_STREAM, &format!("'{AN_AGGREGATE}', 'Aggregate1'"))
        .sorting_a_few()
        .once_analyzed()
        .finds_by(&[AGGREGATE]);
}

#[test]
fn pattern_2_loads_from_a_version_by_the_index_on_aggregate_and_version() {
    let values = format!("'{AN_AGGREGATE}', 'Aggregate1', 10");
    statement(pattern::LOAD_FROM_VERSION, &values)
        .sorting_a_few()
        .once_analyzed()
        .finds_by(&[VERSIONS]);
}

/// PostgreSQL sorts for this query without a limit if there are no statistics. The driver reads pages instead.
#[test]
fn pattern_3_streams_the_log_by_the_index_on_the_sequence() {
    statement(pattern::STREAM_FROM_SEQUENCE, "150000")
        .sorting_a_few()
        .once_analyzed()
        .finds_by(&[LOG]);
}

#[test]
fn pattern_4_finds_a_version_by_the_index_on_aggregate_and_version() {
    statement(pattern::AGGREGATE_VERSION, &format!("'{AN_AGGREGATE}', 'Aggregate1'"))
        .once_analyzed()
        .finds_by(&[AGGREGATE]);
}

/// For this query, PostgreSQL sorts what the index finds. The driver instead reads each type in order and merges the results.
#[test]
fn pattern_5_streams_types_by_their_index_and_sorts() {
    statement(pattern::STREAM_BY_TYPE, "'event.1', 'event.2', 'event.3'")
        .sorting_a_few()
        .once_analyzed()
        .finds_by(&["idx_events_type (event_type)"]);
}

#[test]
fn pattern_6_streams_a_time_range_by_its_index() {
    statement(
        pattern::STREAM_BY_TIME,
        "'2025-01-01 01:00:00Z', '2025-01-01 02:00:00Z'",
    )
    .sorting_a_few()
    .once_analyzed()
    .finds_by(&["idx_events_created_at (created_at)"]);
}

#[test]
fn the_patterns_find_what_the_store_finds_in_the_same_order() {
    let Some(logs) = logs() else { return };
    let Log { store, .. } = &logs[1];
    let mut client = logs[1].client();
    let mut pattern = |sql: &str, values: &[&(dyn ToSql + Sync)]| -> Vec<Row> { client.query(sql, values).unwrap() };
    let id: Uuid = AN_AGGREGATE.parse().unwrap();
    let key = AggregateKey::new("Aggregate1", id).unwrap();
    let read = |query: EventQuery| -> Vec<EventEnvelope> { store.read(query).collect::<Result<_, Error>>().unwrap() };

    let stream = store.load(&key).unwrap();
    assert_eq!(stream.events().len(), 20);
    assert_same(
        &pattern(pattern::LOAD_EVENT_STREAM, &[&id, &"Aggregate1"]),
        stream.events(),
    );
    let version: i64 = pattern(pattern::AGGREGATE_VERSION, &[&id, &"Aggregate1"])[0].get(0);
    assert_eq!(stream.version(), u64::try_from(version).unwrap());

    let part = store
        .load_range(&key, &StreamRange::all().from_version(Version::from(10)))
        .unwrap();
    assert_eq!(part.events().len(), 11);
    assert_same(
        &pattern(pattern::LOAD_FROM_VERSION, &[&id, &"Aggregate1", &10_i64]),
        part.events(),
    );

    let end = read(EventQuery::new().after(GlobalSequence::from(198_999)));
    assert_eq!(end.len(), 1_001);
    assert_same(&pattern(pattern::STREAM_FROM_SEQUENCE, &[&199_000_i64]), &end);

    let types = ["event.1", "event.2", "event.3"];
    let of_types = read(EventQuery::new().event_types(types).unwrap());
    assert_eq!(of_types.len(), 6_000);
    assert_same(
        &pattern(pattern::STREAM_BY_TYPE, &[&types[0], &types[1], &types[2]]),
        &of_types,
    );

    let hour = hour();
    let in_time = read(EventQuery::new().created_at(hour.start..=hour.end));
    assert_eq!(in_time.len(), 3_602);
    let mut rows = pattern(pattern::STREAM_BY_TIME, &[&hour.start, &hour.end]);
    let time = |row: &Row| row.get::<_, OffsetDateTime>("created_at");
    assert!(rows.is_sorted_by_key(time));
    // The query leaves open which of two events with the same time comes first.
    rows.sort_by_key(|row| (time(row), row.get::<_, i64>("global_sequence")));
    assert_same(&rows, &in_time);
}

#[track_caller]
fn assert_same(rows: &[Row], events: &[EventEnvelope]) {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get("event_id")).collect();
    assert!(ids.iter().eq(events.iter().map(|event| &event.event_id)));
}

#[test]
fn one_aggregate_is_found_by_its_id_and_version() {
    let part = format!("'{AN_AGGREGATE}', 3, 7, NULL");
    statement(include_str!("../sql/queries/load.sql"), &part)
        .sorting_a_few()
        .finds_by(&[VERSIONS, ARCHIVED_STREAM]);
    statement(include_str!("../sql/queries/load_backwards.sql"), &part)
        .sorting_a_few()
        .finds_by(&[VERSIONS, ARCHIVED_STREAM]);
    let past = format!("'{AN_AGGREGATE}', 100000");
    statement(include_str!("../sql/queries/version_at_sequence.sql"), &past).finds_by(&[AGGREGATE]);
    let past = format!("'{AN_AGGREGATE}', '2025-01-01 02:00:00Z'");
    statement(include_str!("../sql/queries/version_at_time.sql"), &past).finds_by(&[AGGREGATE, AGGREGATE]);
}

#[test]
fn heads_of_aggregates_are_found_by_their_ids() {
    for aggregates in [1, 1_000] {
        let ids = filled_array(&format!("'{AN_AGGREGATE}'::uuid"), aggregates);
        statement(include_str!("../sql/queries/head.sql"), &ids).finds_by(&[AGGREGATE, ARCHIVED_STREAM]);
    }
}

#[test]
fn an_append_looks_for_the_version_it_expects_and_the_end_of_the_log() {
    for (aggregates, events) in [(1, 1), (1, 1_000), (1_000, 1_000)] {
        let of_aggregates = [
            &format!("'{AN_AGGREGATE}'::uuid"),
            "'Aggregate1'::text",
            "'tenant-1'::text",
            "20::bigint",
        ];
        let of_events = [
            "1::bigint",
            "1::bigint",
            "gen_random_uuid()",
            "'event.1'::text",
            "'{}'::text",
            "NULL::text",
            "NULL::timestamptz",
            "NULL::text",
            "NULL::text",
            "NULL::text",
            "repeat('0', 64)",
        ];
        let values: Vec<String> = of_aggregates
            .iter()
            .map(|value| filled_array(value, aggregates))
            .chain(of_events.iter().map(|value| filled_array(value, events)))
            .collect();
        statement(include_str!("../sql/queries/append.sql"), &values.join(", "))
            .sorting_a_few()
            .finds_by(&[AGGREGATE, ARCHIVED_STREAM, LOG, ARCHIVED_EVENT]);
        if aggregates == 1 {
            // Of one aggregate: which, and at what step, need not be told.
            let values = [of_aggregates.join(", "), values[6..].join(", ")].join(", ");
            statement(include_str!("../sql/queries/append_batch.sql"), &values).finds_by(&[
                AGGREGATE,
                ARCHIVED_STREAM,
                LOG,
                ARCHIVED_EVENT,
            ]);
        }
    }
}

fn filled_array(value: &str, length: usize) -> String {
    format!("array_fill({value}, ARRAY[{length}])")
}

#[test]
fn an_append_of_one_event_looks_for_the_version_it_expects_and_the_end_of_the_log() {
    for (file, expected, by) in [
        (
            include_str!("../sql/queries/append_one.sql"),
            "true",
            &[LOG, ARCHIVED_EVENT, AGGREGATE, ARCHIVED_STREAM][..],
        ),
        (
            include_str!("../sql/queries/append_one_exactly.sql"),
            "20",
            &[AGGREGATE, ARCHIVED_STREAM, LOG, ARCHIVED_EVENT],
        ),
    ] {
        let values = format!(
            "gen_random_uuid(), '{AN_AGGREGATE}', 'Aggregate1', 'tenant-1', {expected}, 'event.1', '{{}}', NULL, NULL, NULL,
            NULL, NULL, repeat('0', 64)"
        );
        statement(file, &values).finds_by(by);
    }
}

#[test]
fn the_mark_is_found_at_the_end_of_the_log() {
    let migration = include_str!("../sql/migrations/5.1.0_hardening.sql");
    let (_, function) = migration.split_once("RETURN COALESCE((").unwrap();
    let (query, _) = function.split_once("), 0);").unwrap();
    let query = query.replace("settled", "$1");
    statement(&query, "150000").finds_by(&[LOG, LOG, LOG]);
}

#[test]
fn events_are_located_by_their_ids() {
    for events in [1, 1_000] {
        let ids = filled_array("gen_random_uuid()", events);
        statement(include_str!("../sql/queries/locate.sql"), &ids).finds_by(&[
            "events_pkey (event_id)",
            ARCHIVED_EVENT,
            ARCHIVED_STREAM,
        ]);
    }
}

#[test]
fn what_is_archived_is_found_by_its_keys() {
    let archives = "Seq Scan on firefly_archives archive";
    let leaving = "Seq Scan on firefly_leaving";
    let version = "idx_archived_events_version (aggregate_id)";
    let ids = filled_array("gen_random_uuid()", 1_000);
    for (filters, by) in [
        (
            "NULL, NULL, NULL, NULL",
            &[archives, leaving, "firefly_archived_events_pkey (global_sequence)"][..],
        ),
        (
            &format!("'{AN_AGGREGATE}', NULL, NULL, NULL"),
            &[archives, leaving, ARCHIVED_STREAM, version],
        ),
        (
            &format!("NULL, {ids}, NULL, NULL"),
            &[archives, leaving, ARCHIVED_EVENT, ARCHIVED_STREAM],
        ),
        (
            "NULL, NULL, 'tenant-1', ARRAY['Aggregate1']",
            &[
                archives,
                leaving,
                "Seq Scan on firefly_archived_streams stream",
                version,
            ],
        ),
    ] {
        let values = format!("1, 100000, NULL, NULL, {filters}");
        statement(include_str!("../sql/queries/archived_in.sql"), &values)
            .sorting_a_few()
            .with_its_values()
            .finds_by(by);
    }
    let sequences = filled_array("1::bigint", 500);
    statement(include_str!("../sql/queries/keys.sql"), &sequences)
        .finds_by(&[LOG, "firefly_archived_events_pkey (global_sequence)"]);
}

#[test]
fn snapshots_are_found_by_aggregate_and_version() {
    for form in ["NULL", "'State.v1'"] {
        let values = format!("'{AN_AGGREGATE}', 'Aggregate1', NULL, 1, 9, {form}, 1");
        statement(include_str!("../sql/queries/find_snapshots.sql"), &values)
            .finds_by(&["idx_snapshots_version (aggregate_id, version)"]);
    }
}

#[test]
fn a_snapshot_and_the_events_after_it_are_found_by_aggregate_and_version() {
    for form in ["NULL", "'State.v1'"] {
        let values = format!("'{AN_AGGREGATE}', 'Aggregate1', NULL, 0, {}, {form}", i64::MAX);
        statement(include_str!("../sql/queries/load_from_snapshot.sql"), &values).finds_by(&[
            "idx_snapshots_version (aggregate_id, version)",
            VERSIONS,
            ARCHIVED_STREAM,
        ]);
    }
}

#[test]
fn the_log_is_read_in_its_order() {
    log(EventQuery::new()).found_by(LOG);
    log(EventQuery::new().after(GlobalSequence::from(150_000))).found_by(LOG);
}

/// PostgreSQL plans the first five executions of a statement with their values.
#[test]
fn pages_along_the_log_are_not_planned_at_each_execution() {
    let Some(logs) = logs() else { return };
    let queries = || {
        [
            EventQuery::new(),
            EventQuery::new().event_types(["event.1"]).unwrap(),
            EventQuery::new().aggregate_types(["Aggregate1"]).unwrap(),
            EventQuery::new().aggregate_types(["Aggregate1", "Aggregate2"]).unwrap(),
            EventQuery::new().tenant("tenant-1").unwrap(),
            EventQuery::new().correlation_id("corr-400").unwrap(),
        ]
    };
    for Log { name, url, .. } in logs {
        for query in queries() {
            // The only connection, whose statements the transaction then sees.
            let builder = PostgresEventStore::builder(url).schema(*name).max_connections(1);
            let store = builder.open().unwrap();
            for _ in 0..8 {
                let page = store
                    .read_page(&query.clone().after(GlobalSequence::from(100)).limit(100), None)
                    .unwrap();
                assert!(!page.events.is_empty());
            }
            let planned: Vec<(i64, i64)> = store
                .transaction(|transaction| {
                    let statements = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE '(%LIMIT $4)%'";
                    let rows = transaction.connection().query(statements, &[])?;
                    Ok::<_, Box<dyn std::error::Error>>(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
                })
                .unwrap();
            assert_eq!(planned, [(5, 3)], "{name}: {query:?}");
        }
    }
}

#[test]
fn what_no_index_serves_is_looked_for_in_the_log_in_its_order() {
    let types = (0..17).map(|number| format!("event.{number}"));
    for query in [
        EventQuery::new().event_types(types).unwrap(),
        EventQuery::new().created_at(hour()).ordered_by(Order::Sequence),
    ] {
        log(query).found_by(LOG);
    }
}

#[test]
fn an_event_type_is_found_by_its_index_in_the_order_of_the_log() {
    let by = "idx_events_type (event_type, global_sequence)";
    let query = EventQuery::new().event_types(["event.1"]).unwrap();
    log(query.clone()).found_by(by);
    log(query.clone().aggregate_types(["Aggregate1"]).unwrap()).found_by(by);
    log(query.created_by("clerk-1").unwrap()).found_by(by);
}

#[test]
fn several_event_types_are_merged_without_a_sort() {
    let by = "idx_events_type (event_type, global_sequence)";
    let query = EventQuery::new()
        .event_types(["event.1", "event.2", "event.3"])
        .unwrap();
    log(query.clone()).merging(3).found_by(by);
    log(query.tenant("tenant-1").unwrap()).merging(3).found_by(by);
}

#[test]
fn aggregate_types_are_found_by_their_index_and_merged_without_a_sort() {
    let by = "idx_events_aggregate_type (aggregate_type, global_sequence)";
    log(EventQuery::new().aggregate_types(["Aggregate1"]).unwrap()).found_by(by);
    log(EventQuery::new().aggregate_types(["Aggregate1", "Aggregate2"]).unwrap())
        .merging(2)
        .found_by(by);
}

#[test]
fn an_aggregate_is_found_by_its_id() {
    let query = EventQuery::new().aggregate_id(AN_AGGREGATE.parse().unwrap());
    log(query.clone()).sorting_a_few().found_by(AGGREGATE);
    log(query.clone().tenant("tenant-1").unwrap())
        .sorting_a_few()
        .found_by(AGGREGATE);
    log(query.created_at(datetime!(2025-01-01 0:00 UTC)..))
        .sorting_a_few()
        .found_by(AGGREGATE);
}

#[test]
fn a_tenant_is_found_by_its_index_in_the_order_of_the_log() {
    let by = "idx_events_tenant_id (tenant_id, global_sequence)";
    let query = EventQuery::new().tenant("tenant-1").unwrap();
    log(query.clone()).found_by(by);
    log(query.aggregate_types(["Aggregate1"]).unwrap()).found_by(by);
}

#[test]
fn a_correlation_is_found_by_its_index() {
    let query = EventQuery::new().correlation_id("corr-400").unwrap();
    log(query.clone()).found_by("idx_events_correlation_id (correlation_id, global_sequence)");
    log(query.created_at(hour()))
        .sorting_a_few()
        .found_by("idx_events_correlation_id (correlation_id)");
}

#[test]
fn a_causation_is_found_by_its_index() {
    let query = EventQuery::new().causation_id("cause-400").unwrap();
    log(query.clone()).found_by("idx_events_causation_id (causation_id, global_sequence)");
    log(query.created_at(hour()))
        .sorting_a_few()
        .found_by("idx_events_causation_id (causation_id)");
}

#[test]
fn a_creator_is_found_by_its_index_in_the_order_of_the_log() {
    let by = "idx_events_created_by (created_by, global_sequence)";
    let query = EventQuery::new().created_by("clerk-1").unwrap();
    log(query.clone()).found_by(by);
    log(query.tenant("tenant-1").unwrap()).found_by(by);
}

#[test]
fn events_with_known_ids_are_found_by_them() {
    let ids = (1..9).map(|number| Uuid::from_u64_pair((number << 32) | 0x7000, (0x8000 << 48) | number));
    log(EventQuery::new().event_ids(ids))
        .planned_anew()
        .sorting_a_few()
        .found_by("events_pkey (event_id)");
}

#[test]
fn a_time_range_is_found_by_its_index_in_the_order_of_time() {
    let query = EventQuery::new().created_at(hour());
    for query in [
        query.clone(),
        query.clone().tenant("tenant-1").unwrap(),
        query.clone().created_by("clerk-1").unwrap(),
        query.metadata(Metadata::from_json(r#"{"source":"test"}"#).unwrap()),
    ] {
        log(query)
            .planned_anew()
            .resumed_by("idx_events_created_at (created_at, global_sequence)")
            .found_by("idx_events_created_at (created_at)");
    }
}

#[test]
fn types_in_a_time_range_are_found_by_type_and_time_and_merged() {
    let day = datetime!(2025-01-01 0:00 UTC)..datetime!(2025-01-02 0:00 UTC);
    let query = EventQuery::new().created_at(day);
    let event_types = ["event.1", "event.2"];
    let aggregate_types = ["Aggregate1", "Aggregate2"];
    for count in [1, 2] {
        log(query.clone().event_types(event_types.into_iter().take(count)).unwrap())
            .merging(count)
            .sorting_until_analyzed()
            .resumed_by("idx_events_type_created (event_type, created_at, global_sequence)")
            .found_by("idx_events_type_created (event_type, created_at)");
        log(query
            .clone()
            .aggregate_types(aggregate_types.into_iter().take(count))
            .unwrap())
        .merging(count)
        .sorting_until_analyzed()
        .resumed_by("idx_events_aggregate_type_created (aggregate_type, created_at, global_sequence)")
        .found_by("idx_events_aggregate_type_created (aggregate_type, created_at)");
    }
}

#[test]
fn of_types_in_a_time_range_a_few_may_be_sorted() {
    let query = EventQuery::new().created_at(hour());
    log(query.event_types(["event.1"]).unwrap())
        .sorting_a_few()
        .resumed_by("idx_events_type_created (event_type, created_at")
        .found_by("idx_events_type_created (event_type, created_at)");
}

#[test]
fn everything_in_the_order_of_time_is_read_along_the_index_without_a_sort() {
    // PostgreSQL 17 knows that every row has a time, so it does not search for rows without one.
    log(EventQuery::new().ordered_by(Order::Time))
        .planned_anew()
        .resumed_by("idx_events_created_at (created_at, global_sequence)")
        .found_by("idx_events_created_at");
}

/// Only the values show which plan is better. So PostgreSQL must plan such a statement each time, with its values.
#[test]
fn rare_metadata_is_found_by_its_index_and_frequent_metadata_along_the_log() {
    let Some([plain, analyzed]) = logs() else { return };
    let metadata = |json| EventQuery::new().metadata(Metadata::from_json(json).unwrap());
    let rare = metadata(r#"{"correlationId":"corr-10003","source":"test"}"#);
    let frequent = metadata(r#"{"source":"test"}"#);
    let by_metadata = "idx_events_metadata_gin (metadata)";
    for (log, query, by) in [
        (plain, &rare, by_metadata),
        (analyzed, &rare, by_metadata),
        (analyzed, &frequent, LOG),
    ] {
        for query in [query.clone(), query.clone().backwards()] {
            let one = query.clone().page_size(NonZeroU32::MIN);
            let next = log.store.read_page(&one, None).unwrap().next;
            for cursor in [None, next.as_ref()] {
                let plans = log.store.explain(&query, cursor).unwrap();
                assert_eq!(plans.len(), 1);
                let plan = Plan::of_page(&plans[0]);
                assert_eq!(plan.scans, [by], "{}: {:#?}", log.name, plans[0]);
                assert!(plan.sorts == 0 || by == by_metadata, "{}: {:#?}", log.name, plans[0]);
            }
        }
    }
}

#[test]
fn a_correlation_that_is_kept_in_the_metadata_is_found_by_the_index_on_it() {
    statement(
        "SELECT event_id FROM events WHERE metadata ->> 'correlationId' = $1",
        "'corr-3'",
    )
    .finds_by(&["idx_events_metadata_correlation (metadata)"]);
}

#[test]
fn without_its_index_a_filter_walks_the_log_or_what_another_filter_finds() {
    let Some(database) = database() else { return };
    let created_by = EventQuery::new().created_by("clerk-1").unwrap();
    let by_type = EventQuery::new().event_types(["event.1", "event.2"]).unwrap();
    let tenant = "idx_events_tenant_id (tenant_id, global_sequence)";
    let time = "idx_events_created_at (created_at)";
    let metadata = Metadata::from_json(r#"{"source":"test"}"#).unwrap();

    let standard = filled(&database, "standard", Indexes::Standard, 20_000).store;
    for (query, by) in [
        (created_by.clone(), LOG),
        (EventQuery::new().metadata(metadata), LOG),
        (created_by.clone().tenant("tenant-1").unwrap(), tenant),
        (by_type.clone().created_at(hour()), time),
    ] {
        assert_walks(&standard, &query, by, 0);
    }

    let lean = filled(&database, "lean", Indexes::Lean, 20_000).store;
    for query in [
        created_by,
        by_type.clone(),
        EventQuery::new().tenant("tenant-1").unwrap(),
        EventQuery::new().correlation_id("corr-40").unwrap(),
    ] {
        assert_walks(&lean, &query, LOG, 0);
    }
    assert_walks(
        &lean,
        &by_type.aggregate_id(AN_AGGREGATE.parse().unwrap()),
        AGGREGATE,
        1,
    );
    // No index has this order, so each page is sorted.
    assert_walks(&lean, &EventQuery::new().created_at(hour()), LOG, 1);
}

#[track_caller]
fn assert_walks(store: &PostgresEventStore, query: &EventQuery, by: &str, sorts: usize) {
    for lines in store.explain(query, None).unwrap() {
        let plan = Plan::of_page(&lines);
        assert!(plan.scans.len() == 1 && plan.scans[0].starts_with(by), "{lines:#?}");
        assert_eq!(plan.sorts, sorts, "{lines:#?}");
    }
}

fn hour() -> std::ops::Range<OffsetDateTime> {
    let from = datetime!(2025-01-01 01:00 UTC);
    from..from + Duration::HOUR
}

/// What must hold for a query's plans: forwards and backwards, for the first page and the next, and for pages of one event and of the usual
/// size.
struct QueryPlans {
    query: EventQuery,
    arms: usize,
    sorting: bool,
    sorting_until_analyzed: bool,
    resumed_by: Option<&'static str>,
    planned_anew: bool,
}

fn log(query: EventQuery) -> QueryPlans {
    QueryPlans {
        query,
        arms: 1,
        sorting: false,
        sorting_until_analyzed: false,
        resumed_by: None,
        planned_anew: false,
    }
}

impl QueryPlans {
    /// The statement is not kept prepared. So it is never planned without its values or for another size of the log.
    fn planned_anew(mut self) -> Self {
        self.planned_anew = true;
        self
    }

    /// This many lists, each in order, are merged.
    fn merging(mut self, arms: usize) -> Self {
        self.arms = arms;
        self
    }

    /// So few rows match that sorting them costs little.
    fn sorting_a_few(mut self) -> Self {
        self.sorting = true;
        self
    }

    /// Without statistics, PostgreSQL assumes that less than a page of rows matches.
    fn sorting_until_analyzed(mut self) -> Self {
        self.sorting_until_analyzed = true;
        self
    }

    fn resumed_by(mut self, by: &'static str) -> Self {
        self.resumed_by = Some(by);
        self
    }

    #[track_caller]
    fn found_by(self, by: &str) {
        for Log { name, store, .. } in logs().into_iter().flatten() {
            for query in [self.query.clone(), self.query.clone().backwards()] {
                let one = query.clone().page_size(NonZeroU32::MIN);
                let page = store.read_page(&one, None).unwrap();
                assert_eq!(page.events.len(), 1, "the query finds something");
                let empty = empty_log().filter(|_| !self.planned_anew);
                let empty = empty.map(|log| (log.name, &log.store));
                for (name, store) in empty.into_iter().chain([(*name, store)]) {
                    for query in [&one, &query] {
                        self.check(&store.explain(query, None).unwrap(), by, name);
                        let next = store.explain(query, page.next.as_ref()).unwrap();
                        self.check(&next, self.resumed_by.unwrap_or(by), name);
                    }
                }
            }
        }
    }

    #[track_caller]
    fn check(&self, plans: &[Vec<String>], by: &str, log: &str) {
        assert_eq!(plans.len(), if self.planned_anew { 1 } else { 2 }, "{log}");
        for lines in plans {
            let plan = Plan::of_page(lines);
            let as_expected = |scan: &String| scan.starts_with(by);
            let all = plan.scans.len() == self.arms && plan.scans.iter().all(as_expected);
            assert!(all, "{log}: {lines:#?}");
            if plan.sorts == 0 {
                assert_eq!(plan.merges, usize::from(self.arms > 1), "{log}: {lines:#?}");
            } else {
                let may_sort = self.sorting || self.sorting_until_analyzed && log == "plain";
                assert!(may_sort, "{log}: {lines:#?}");
            }
        }
    }
}

/// What must hold for a statement's plans.
struct StatementPlans<'a> {
    sql: &'a str,
    values: &'a str,
    sorting: bool,
    once_analyzed: bool,
    with_its_values: bool,
}

fn statement<'a>(sql: &'a str, values: &'a str) -> StatementPlans<'a> {
    StatementPlans {
        sql,
        values,
        sorting: false,
        once_analyzed: false,
        with_its_values: false,
    }
}

impl StatementPlans<'_> {
    /// The statement asks for a sort, or the sort costs little.
    fn sorting_a_few(mut self) -> Self {
        self.sorting = true;
        self
    }

    /// Checks only the table that was analyzed, because the statement is not one of the driver's.
    fn once_analyzed(mut self) -> Self {
        self.once_analyzed = true;
        self
    }

    /// Checks the plan with the values only. The plan without them has both branches, and executes one.
    fn with_its_values(mut self) -> Self {
        self.with_its_values = true;
        self
    }

    /// The statement reads by these indexes only, and searches each by at least these columns.
    #[track_caller]
    fn finds_by(self, by: &[&str]) {
        let filled = logs().into_iter().flatten().skip(usize::from(self.once_analyzed));
        for log in filled {
            self.check(log, "force_custom_plan", by);
            if !self.with_its_values {
                self.check(log, "force_generic_plan", by);
            }
        }
        if let Some(log) = empty_log().filter(|_| !self.once_analyzed && !self.with_its_values) {
            self.check(log, "force_generic_plan", by);
        }
    }

    #[track_caller]
    fn check(&self, log: &Log, mode: &str, by: &[&str]) {
        let mut client = log.client();
        client
            .batch_execute(&format!(
                "SET plan_cache_mode = {mode}; PREPARE explained AS {}",
                self.sql
            ))
            .unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE explained ({})", self.values);
        let rows = client.query(&explain, &[]).unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = Plan::of(&lines);
        let as_expected = |(scan, by): (&String, &&str)| scan.starts_with(by);
        let all = plan.scans.len() == by.len() && plan.scans.iter().zip(by).all(as_expected);
        assert!(all, "{} {mode}: {lines:#?}", log.name);
        assert!(self.sorting || plan.sorts == 0, "{} {mode}: {lines:#?}", log.name);
    }
}

/// The parts of a plan that matter here.
#[derive(Default)]
struct Plan {
    /// How each table is read: by an index and the columns that it is searched by, or by a full scan.
    scans: Vec<String>,
    sorts: usize,
    merges: usize,
}

impl Plan {
    /// Leaves out the part for the last row, which says where the log ends and what is archived.
    #[track_caller]
    fn of_page(lines: &[String]) -> Self {
        let mut plan = Self::of(lines);
        let archives = plan.scans.pop();
        let end = plan.scans.pop();
        assert_eq!(end.as_deref(), Some(LOG), "{lines:#?}");
        assert_eq!(archives.as_deref(), Some("Seq Scan on firefly_archives"), "{lines:#?}");
        plan
    }

    fn of(lines: &[String]) -> Self {
        let mut plan = Self::default();
        for line in lines {
            let line = line.trim_start().trim_start_matches("->").trim_start();
            let line = line.strip_prefix("Parallel ").unwrap_or(line);
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["Index", "Scan", "using", index, ..]
                | ["Index", "Only", "Scan", "using", index, ..]
                | ["Index", "Scan", "Backward", "using", index, ..]
                | ["Index", "Only", "Scan", "Backward", "using", index, ..]
                | ["Bitmap", "Index", "Scan", "on", index] => plan.scans.push(index.to_owned()),
                ["Seq", "Scan", ..] | ["BitmapAnd"] | ["BitmapOr"] => plan.scans.push(line.to_owned()),
                ["Index", "Cond:", ..] => {
                    let scan = plan.scans.last_mut().unwrap();
                    *scan += &format!(" ({})", columns(line).join(", "));
                }
                ["Sort"] | ["Incremental", "Sort"] => plan.sorts += 1,
                ["Merge", "Append"] => plan.merges += 1,
                _ => {}
            }
        }
        plan
    }
}

/// The columns that a condition names, without duplicates.
fn columns(condition: &str) -> Vec<&str> {
    const COLUMNS: [&str; 11] = [
        "aggregate_id",
        "aggregate_type",
        "aggregate_version",
        "causation_id",
        "correlation_id",
        "created_at",
        "created_by",
        "event_id",
        "event_type",
        "global_sequence",
        "metadata",
    ];
    let mut columns = Vec::new();
    for word in condition.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if (COLUMNS.contains(&word) || ["tenant_id", "version"].contains(&word)) && !columns.contains(&word) {
            columns.push(word);
        }
    }
    columns
}

const EVENTS: i64 = 200_000;

/// Each aggregate has 20 events. There are 100 types of events, 5 of aggregates, 10 tenants and 100 creators. Each correlation and each
/// causation has 10 events. There is one event a second, and some are a minute late.
const FILL: &str = "
INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata,
                    created_at, created_by, tenant_id, correlation_id, causation_id)
SELECT
    (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    (lpad(to_hex(n % ($1::bigint / 20)), 8, '0') || '-0000-7000-9000-' || lpad(to_hex(n % ($1::bigint / 20)), 12, '0'))::uuid,
    'Aggregate' || n % 5,
    1 + n / ($1::bigint / 20),
    'event.' || n % 100,
    jsonb_build_object('amount', n),
    CASE WHEN n % 2 = 1 THEN jsonb_build_object('correlationId', 'corr-' || n / 10, 'source', 'test') END,
    timestamptz '2025-01-01 00:00:00+00' + make_interval(secs => n) - make_interval(mins => (n % 7 = 0)::integer),
    'clerk-' || n % 100,
    'tenant-' || n % 10,
    'corr-' || n / 10,
    'cause-' || n / 10
FROM generate_series(0::bigint, $1::bigint - 1) AS n";

/// A filled store in its own PostgreSQL schema.
struct Log {
    name: &'static str,
    url: String,
    store: PostgresEventStore,
}

impl Log {
    fn client(&self) -> Client {
        let mut client = Client::connect(&self.url, firefly_eventstore_postgres::driver::NoTls).unwrap();
        client
            .batch_execute(&format!("SET search_path = {}", self.name))
            .unwrap();
        client
    }
}

fn filled(database: &Database, name: &'static str, indexes: Indexes, events: i64) -> Log {
    let store = PostgresEventStore::builder(database.url())
        .schema(name)
        .indexes(indexes)
        .migrate_on_open(true)
        .open()
        .unwrap();
    let mut client = client(database);
    // Autovacuum would analyze the table after a while.
    client
        .batch_execute(&format!(
            "SET search_path = {name}; ALTER TABLE events SET (autovacuum_enabled = off)"
        ))
        .unwrap();
    client.execute(FILL, &[&events]).unwrap();
    let url = database.url().to_owned();
    Log { name, url, store }
}

/// A log that was never analyzed, and one that was.
fn logs() -> Option<&'static [Log; 2]> {
    all_logs().map(|logs| &logs.filled)
}

/// An empty log, as the statements of a new store find it. A plan that is made then without values is kept for long.
fn empty_log() -> Option<&'static Log> {
    all_logs().map(|logs| &logs.empty)
}

struct Logs {
    filled: [Log; 2],
    empty: Log,
    _database: Database,
}

/// `None` if there is no server. The logs are made once, and disappear with the server when this process ends.
fn all_logs() -> Option<&'static Logs> {
    static LOGS: OnceLock<Option<Logs>> = OnceLock::new();
    let make = || {
        let database = database()?;
        let filled = thread::scope(|scope| {
            let plain = scope.spawn(|| filled(&database, "plain", Indexes::Full, EVENTS));
            let analyzed = filled(&database, "analyzed", Indexes::Full, EVENTS);
            analyzed.client().batch_execute("ANALYZE events").unwrap();
            [plain.join().unwrap(), analyzed]
        });
        Some(Logs {
            filled,
            empty: self::filled(&database, "empty", Indexes::Full, 0),
            _database: database,
        })
    };
    LOGS.get_or_init(make).as_ref()
}
