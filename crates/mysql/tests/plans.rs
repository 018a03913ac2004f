//! How the servers find events in a log of 200,000 events: each filter by its index, in order, and reading few rows besides the requested
//! ones.
//!
//! Each plan is checked for a log whose statistics say that it is empty, as before `ANALYZE TABLE`, for an analyzed log, and for an empty
//! one. The server counts the rows that it reads, on the logs with events.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Mutex, OnceLock, PoisonError};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Cursor, Metadata, Order, Page, StreamRange, time};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Row, Value};
use firefly_eventstore_mysql::{Indexes, MysqlEventStore};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer};
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::support::{account, builder, client, fresh, on_both, run};

on_both!(
    the_statistics_are_those_that_the_tests_say,
    pattern_1_loads_a_stream_by_the_index_on_aggregate_and_version,
    pattern_2_loads_from_a_version_by_the_index_on_aggregate_and_version,
    pattern_3_streams_the_log_by_the_primary_key,
    pattern_4_finds_a_version_by_the_index_on_aggregate_and_version,
    pattern_5_streams_types_by_their_index,
    pattern_6_streams_a_time_range_by_its_index,
    the_patterns_find_what_the_store_finds_in_the_same_order,
    one_aggregate_is_found_by_its_id_and_version,
    what_an_append_looks_up_is_found_by_its_index,
    the_mark_is_found_at_the_end_of_the_log,
    snapshots_are_found_by_aggregate_and_version,
    a_snapshot_and_the_events_after_it_are_found_by_aggregate_and_version,
    the_log_is_read_in_its_order,
    what_no_index_serves_is_looked_for_in_the_log_in_its_order,
    an_event_type_is_found_by_its_index_in_the_order_of_the_log,
    several_event_types_are_merged_and_no_more_is_read_than_a_page_of_each,
    aggregate_types_are_found_by_their_index_and_merged,
    an_aggregate_is_found_by_its_id_in_the_order_of_its_versions,
    a_tenant_is_found_by_its_index_in_the_order_of_the_log,
    a_correlation_and_a_causation_are_found_by_their_indexes,
    a_creator_is_found_by_its_index_in_the_order_of_the_log,
    events_with_known_ids_are_found_by_them,
    a_time_range_is_found_by_its_index_in_the_order_of_time,
    types_in_a_time_range_are_found_by_type_and_time_and_merged,
    what_few_events_match_is_sorted_where_no_index_has_the_order,
    a_correlation_in_the_metadata_is_found_by_its_index,
    other_metadata_is_looked_for_in_what_another_filter_finds,
    without_its_index_a_filter_walks_the_log,
    an_index_that_is_dropped_meanwhile_is_not_missed,
);

/// The six query patterns of the source document, word for word.
mod pattern {
    pub(super) const LOAD_EVENT_STREAM: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE aggregate_id = ? 
  AND aggregate_type = ?
ORDER BY aggregate_version ASC;";
    pub(super) const LOAD_FROM_VERSION: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE aggregate_id = ? 
  AND aggregate_type = ? 
  AND aggregate_version >= ?
ORDER BY aggregate_version ASC;";
    pub(super) const STREAM_FROM_SEQUENCE: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE global_sequence >= ?
ORDER BY global_sequence ASC;";
    pub(super) const AGGREGATE_VERSION: &str = "
SELECT COALESCE(MAX(aggregate_version), 0) as version
FROM events 
WHERE aggregate_id = ? 
  AND aggregate_type = ?;";
    pub(super) const STREAM_BY_TYPE: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE event_type IN (?, ?, ?)
ORDER BY global_sequence ASC;";
    pub(super) const STREAM_BY_TIME: &str = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE created_at BETWEEN ? AND ?
ORDER BY created_at ASC;";
}

const VERSIONS: &str = "idx_events_aggregate_version";

/// A stream of 10 events, and one of 1,000.
fn quiet() -> AggregateKey {
    key("Type1", 113)
}

fn busy() -> AggregateKey {
    key("Account", 5)
}

fn key(aggregate_type: &str, number: u64) -> AggregateKey {
    AggregateKey::new(
        aggregate_type,
        Uuid::from_u64_pair((number << 32) | 0x7000, (0x9000 << 48) | number),
    )
    .unwrap()
}

fn hour() -> std::ops::Range<OffsetDateTime> {
    let from = datetime!(2025-01-01 01:00 UTC);
    from..from + Duration::HOUR
}

fn query() -> EventQuery {
    EventQuery::new()
}

fn of_types(types: &[&str]) -> EventQuery {
    query().event_types(types.iter().copied()).unwrap()
}

fn of_aggregate_types(types: &[&str]) -> EventQuery {
    query().aggregate_types(types.iter().copied()).unwrap()
}

fn with_metadata(json: &str) -> EventQuery {
    query().metadata(Metadata::from_json(json).unwrap())
}

fn the_statistics_are_those_that_the_tests_say(server: &MysqlServer) {
    in_each_state(server, |log, state| {
        let plan = explain(
            &mut log.client,
            "SELECT event_id FROM events IGNORE INDEX (PRIMARY)",
            Vec::new(),
        );
        let estimate: Option<u64> = plan[0].get("rows").unwrap();
        let estimate = estimate.unwrap();
        match state {
            State::NeverAnalyzed => assert!(estimate < 100, "{estimate}"),
            State::Analyzed => assert!((100_000..400_000).contains(&estimate), "{estimate}"),
        }
    });
}

fn pattern_1_loads_a_stream_by_the_index_on_aggregate_and_version(server: &MysqlServer) {
    for (stream, events) in [(quiet(), 10), (busy(), 1_000)] {
        let values = vec![stream.id().into(), stream.aggregate_type().as_str().into()];
        statement(pattern::LOAD_EVENT_STREAM, values)
            .once_analyzed()
            .finding(events)
            .reads_by(server, &[VERSIONS]);
    }
}

fn pattern_2_loads_from_a_version_by_the_index_on_aggregate_and_version(server: &MysqlServer) {
    let values = vec![busy().id().into(), "Account".into(), 991.into()];
    statement(pattern::LOAD_FROM_VERSION, values)
        .once_analyzed()
        .finding(10)
        .reads_by(server, &[VERSIONS]);
}

fn pattern_3_streams_the_log_by_the_primary_key(server: &MysqlServer) {
    statement(pattern::STREAM_FROM_SEQUENCE, vec![199_001.into()])
        .finding(1_000)
        .reads_by(server, &["PRIMARY"]);
}

fn pattern_4_finds_a_version_by_the_index_on_aggregate_and_version(server: &MysqlServer) {
    let values = vec![quiet().id().into(), "Type1".into()];
    statement(pattern::AGGREGATE_VERSION, values)
        .once_analyzed()
        .reading(20)
        .finding(1)
        .reads_by(server, &[VERSIONS]);
}

fn pattern_5_streams_types_by_their_index(server: &MysqlServer) {
    let values = vec!["type.rare".into(), "type.1".into(), "no.such".into()];
    statement(pattern::STREAM_BY_TYPE, values)
        .once_analyzed()
        .finding(16)
        .reads_by(server, &["idx_events_type"]);
}

fn pattern_6_streams_a_time_range_by_its_index(server: &MysqlServer) {
    let values = vec!["2025-01-01 01:00:00".into(), "2025-01-01 02:00:00".into()];
    statement(pattern::STREAM_BY_TIME, values)
        .once_analyzed()
        .finding(3_602)
        .reads_by(server, &["idx_events_created_at"]);
}

fn the_patterns_find_what_the_store_finds_in_the_same_order(server: &MysqlServer) {
    in_each_state(server, |log, _| {
        let Log { client, store, .. } = log;
        let mut pattern = |sql: &str, values: Vec<Value>| -> Vec<Row> { client.exec(sql, values).unwrap() };
        let read =
            |query: EventQuery| -> Vec<EventEnvelope> { store.read(query).collect::<Result<_, Error>>().unwrap() };
        for key in [quiet(), busy()] {
            let of_stream = || -> Vec<Value> { vec![key.id().into(), key.aggregate_type().as_str().into()] };
            let stream = store.load(&key).unwrap();
            assert_same(&pattern(pattern::LOAD_EVENT_STREAM, of_stream()), stream.events());
            let version: u64 = pattern(pattern::AGGREGATE_VERSION, of_stream())[0].get(0).unwrap();
            assert_eq!(stream.version(), version);
            let range = StreamRange::all().from_version(Version::from(7));
            let values = [of_stream(), vec![7.into()]].concat();
            let part = store.load_range(&key, &range).unwrap();
            assert_same(&pattern(pattern::LOAD_FROM_VERSION, values), part.events());
        }
        let end = read(query().after(GlobalSequence::from(198_999)));
        assert_same(&pattern(pattern::STREAM_FROM_SEQUENCE, vec![199_000.into()]), &end);
        let types = ["type.rare", "type.1", "type.150"];
        assert_same(
            &pattern(pattern::STREAM_BY_TYPE, types.map(Value::from).to_vec()),
            &read(of_types(&types)),
        );
        let mut rows = pattern(
            pattern::STREAM_BY_TIME,
            vec!["2025-01-01 01:00:00".into(), "2025-01-01 02:00:00".into()],
        );
        // The query leaves open which of two events with the same time comes first.
        let time = |row: &Row| row.get::<Value, _>("created_at").unwrap();
        assert!(rows.is_sorted_by(|one, next| time(one) <= time(next)));
        let sequence = |row: &Row| row.get::<i64, _>("global_sequence").unwrap();
        rows.sort_by(|one, other| {
            let by_time = time(one).partial_cmp(&time(other)).unwrap();
            by_time.then(sequence(one).cmp(&sequence(other)))
        });
        assert_same(&rows, &read(query().created_at(hour().start..=hour().end)));
    });
}

#[track_caller]
fn assert_same(rows: &[Row], events: &[EventEnvelope]) {
    assert!(!events.is_empty());
    let ids: Vec<Vec<u8>> = rows.iter().map(|row| row.get("event_id").unwrap()).collect();
    assert!(ids.iter().eq(events.iter().map(|event| event.event_id.as_bytes())));
}

fn one_aggregate_is_found_by_its_id_and_version(server: &MysqlServer) {
    let id = || Value::from(busy().id());
    let part = || vec![id(), 993.into(), 999.into(), 5.into(), id()];
    statement(include_str!("../sql/queries/load.sql"), part())
        .finding(5)
        .reads_by(server, &[VERSIONS]);
    statement(include_str!("../sql/queries/load_backwards.sql"), part())
        .finding(5)
        .reads_by(server, &[VERSIONS]);
    statement(include_str!("../sql/queries/load_whole.sql"), vec![id()])
        .finding(1_000)
        .reads_by(server, &[VERSIONS]);
    statement(include_str!("../sql/queries/load_beginning.sql"), part()[..4].to_vec())
        .finding(5)
        .reads_by(server, &[VERSIONS]);
    statement(
        include_str!("../sql/queries/version_at_sequence.sql"),
        vec![id(), 100_000.into()],
    )
    .reading(1_000)
    .finding(1)
    .reads_by(server, &[VERSIONS]);
    statement(
        include_str!("../sql/queries/version_at_time.sql"),
        vec![id(), "2025-01-01 02:00:00".into(), id()],
    )
    .reading(1_000)
    .finding(1)
    .reads_by(server, &[VERSIONS]);
    statement(include_str!("../sql/queries/head.sql"), vec![id()])
        .finding(1)
        .reads_by(server, &[VERSIONS]);
}

fn what_an_append_looks_up_is_found_by_its_index(server: &MysqlServer) {
    let guard = format!("SELECT {}", include_str!("../sql/queries/append_guard_archived.sql"));
    let values: [Value; 4] = [
        busy().id().into(),
        1_000.into(),
        "Account".into(),
        "tenant-common".into(),
    ];
    // The last version is in the log, or archived.
    let values = [&values[..], &values[..]].concat();
    statement(&guard, values).finding(1).reads_by(server, &[VERSIONS]);
    for number in [1, 1_024] {
        let ids: Vec<Value> = (0..number).map(|number| event_id(number * 100).into()).collect();
        let list = vec!["?"; ids.len()].join(", ");
        let locate = include_str!("../sql/queries/locate.sql").replace("{list}", &format!("({list})"));
        statement(&locate.replace("{locking}", ""), [&ids[..], &ids[..]].concat())
            .finding(usize::try_from(number).unwrap())
            .reads_by(server, &["idx_events_event_id"]);
    }
}

fn event_id(number: u64) -> Uuid {
    Uuid::from_u64_pair((number << 32) | 0x7000, (0x8000 << 48) | number)
}

fn the_mark_is_found_at_the_end_of_the_log(server: &MysqlServer) {
    let values = vec![199_990.into(), 199_990.into(), 1_000.into()];
    statement(include_str!("../sql/queries/mark.sql"), values)
        .reading(100) // of tables that the server makes for itself
        .finding(1)
        .reads_by(server, &["PRIMARY"]);
}

fn snapshots_are_found_by_aggregate_and_version(server: &MysqlServer) {
    in_each_state(server, |log, state| {
        let tenant = Value::NULL;
        let values = vec![
            busy().id().into(),
            "Account".into(),
            tenant.clone(),
            tenant,
            1.into(),
            9.into(),
            "State.v1".into(),
            "State.v1".into(),
            1.into(),
        ];
        let plan = explain(
            &mut log.client,
            include_str!("../sql/queries/find_snapshots.sql"),
            values,
        );
        let key: Option<String> = plan[0].get("key").unwrap();
        assert_eq!(key.as_deref(), Some("idx_snapshots_version"), "{state:?}");
    });
}

fn a_snapshot_and_the_events_after_it_are_found_by_aggregate_and_version(server: &MysqlServer) {
    in_each_state(server, |log, state| {
        let at = Version::from(991);
        let last = log.store.load_range(&busy(), &StreamRange::all().last(1)).unwrap();
        let tenant = last.events()[0].tenant.as_ref();
        let snapshot = NewSnapshot::new(&busy(), at, "State.v1", &0).unwrap();
        log.store.save_snapshot(tenant, &snapshot).unwrap();
        let sql = include_str!("../sql/queries/load_from_snapshot.sql");
        let snapshot: [Value; 8] = [
            busy().id().into(),
            "Account".into(),
            Value::NULL,
            Value::NULL,
            0.into(),
            i64::MAX.into(),
            "State.v1".into(),
            "State.v1".into(),
        ];
        let id = [busy().id().into()];
        let values = [&snapshot[..], &id, &snapshot[..], &id].concat();
        let plan = explain(&mut log.client, sql, values.clone());
        let keys = plan
            .iter()
            .filter_map(|row| row.get::<Option<String>, _>("key").unwrap());
        // The snapshot is found once for its row and once for its version.
        let keys: BTreeSet<String> = keys.filter(|key| key.starts_with("idx_")).collect();
        assert!(
            keys.iter().eq([VERSIONS, "idx_snapshots_version"]),
            "{state:?}: {keys:?}"
        );
        let before = log.rows_read_by_client();
        let rows: Vec<Row> = log.client.exec(sql, values).unwrap();
        let read = log.rows_read_by_client() - before;
        assert_eq!(rows.len(), 1 + 10, "{state:?}");
        assert!(read <= 2 * 11 + 10, "{state:?}: {read} rows were read");
    });
}

fn the_log_is_read_in_its_order(server: &MysqlServer) {
    log(query()).found_by(server, "PRIMARY");
    log(query().after(GlobalSequence::from(150_000))).found_by(server, "PRIMARY");
    log(query().until(GlobalSequence::from(150_000))).found_by(server, "PRIMARY");
}

/// These filters match often, so a page needs few reads. A filter that matches rarely needs many.
fn what_no_index_serves_is_looked_for_in_the_log_in_its_order(server: &MysqlServer) {
    let types = (0..16)
        .map(|number| format!("type.{number}"))
        .chain(["type.common".to_owned()]);
    for query in [
        query().event_types(types).unwrap(),
        query()
            .created_at(..datetime!(2025-02-01 0:00 UTC))
            .ordered_by(Order::Sequence),
    ] {
        log(query).found_by(server, "PRIMARY");
    }
}

fn an_event_type_is_found_by_its_index_in_the_order_of_the_log(server: &MysqlServer) {
    let by = "idx_events_type";
    for one in ["type.rare", "type.common", "type.150"] {
        log(of_types(&[one])).found_by(server, by);
    }
    log(of_types(&["type.common"]).aggregate_types(["Account"]).unwrap()).found_by(server, by);
    log(of_types(&["type.rare"]).created_by("clerk-common").unwrap()).found_by(server, by);
    log(of_types(&["type.rare"]).tenant("tenant-7").unwrap())
        .reading(12)
        .finding_few()
        .found_by(server, by);
}

fn several_event_types_are_merged_and_no_more_is_read_than_a_page_of_each(server: &MysqlServer) {
    let by = "idx_events_type";
    log(of_types(&["type.rare", "type.150", "type.common"]))
        .merging(3)
        .found_by(server, by);
    log(of_types(&["type.rare", "type.common"])
        .aggregate_types(["Account", "Type1"])
        .unwrap())
    .merging(2)
    .found_by(server, by);
    let types: Vec<String> = (100..116).map(|number| format!("type.{number}")).collect();
    log(query().event_types(types).unwrap())
        .merging(16)
        .found_by(server, by);
}

fn aggregate_types_are_found_by_their_index_and_merged(server: &MysqlServer) {
    let by = "idx_events_aggregate_type";
    for one in ["Rare", "Type3", "Account"] {
        log(of_aggregate_types(&[one])).found_by(server, by);
    }
    log(of_aggregate_types(&["Rare", "Account"]))
        .merging(2)
        .found_by(server, by);
    log(of_aggregate_types(&["Rare", "Type2", "Type3"]))
        .merging(3)
        .found_by(server, by);
}

fn an_aggregate_is_found_by_its_id_in_the_order_of_its_versions(server: &MysqlServer) {
    for stream in [quiet(), busy()] {
        log(query().aggregate_id(stream.id())).found_by(server, VERSIONS);
    }
    let busy = query().aggregate_id(busy().id());
    log(busy.clone().tenant("tenant-common").unwrap()).found_by(server, VERSIONS);
    log(busy.clone().event_types(["type.common", "type.rare"]).unwrap()).found_by(server, VERSIONS);
    log(busy
        .created_at(..datetime!(2025-02-01 0:00 UTC))
        .ordered_by(Order::Sequence))
    .found_by(server, VERSIONS);
}

fn a_tenant_is_found_by_its_index_in_the_order_of_the_log(server: &MysqlServer) {
    let by = "idx_events_tenant_id";
    for tenant in ["tenant-rare", "tenant-7", "tenant-common"] {
        log(query().tenant(tenant).unwrap()).found_by(server, by);
    }
    log(of_aggregate_types(&["Account"]).tenant("tenant-common").unwrap()).found_by(server, by);
}

fn a_correlation_and_a_causation_are_found_by_their_indexes(server: &MysqlServer) {
    let correlation = query().correlation_id("corr-400").unwrap();
    log(correlation.clone()).found_by(server, "idx_events_correlation_id");
    log(correlation.tenant("tenant-common").unwrap())
        .reading(12)
        .finding_few()
        .found_by(server, "idx_events_correlation_id");
    log(query().causation_id("cause-400").unwrap()).found_by(server, "idx_events_causation_id");
}

fn a_creator_is_found_by_its_index_in_the_order_of_the_log(server: &MysqlServer) {
    let by = "idx_events_created_by";
    for creator in ["clerk-rare", "clerk-common"] {
        log(query().created_by(creator).unwrap()).found_by(server, by);
    }
    log(query()
        .created_by("clerk-common")
        .unwrap()
        .tenant("tenant-common")
        .unwrap())
    .reading(100)
    .found_by(server, by);
    log(query().created_by("clerk-rare").unwrap().tenant("tenant-9").unwrap())
        .reading(12)
        .finding_few()
        .found_by(server, by);
}

fn events_with_known_ids_are_found_by_them(server: &MysqlServer) {
    let ids = (0..8).map(|number| event_id(number * 1_000));
    log(query().event_ids(ids))
        .sorting_a_few()
        .found_by(server, "idx_events_event_id");
}

fn a_time_range_is_found_by_its_index_in_the_order_of_time(server: &MysqlServer) {
    let by = "idx_events_created_at";
    log(query().ordered_by(Order::Time)).found_by(server, by);
    let query = query().created_at(hour());
    log(query.clone()).found_by(server, by);
    log(query.clone().tenant("tenant-common").unwrap())
        .reading(100)
        .found_by(server, by);
    log(query.clone().created_by("clerk-common").unwrap())
        .reading(100)
        .found_by(server, by);
    log(query.metadata(Metadata::from_json(r#"{"source":"common"}"#).unwrap())).found_by(server, by);
}

fn types_in_a_time_range_are_found_by_type_and_time_and_merged(server: &MysqlServer) {
    for range in [hour(), datetime!(2025-01-01 0:00 UTC)..datetime!(2025-02-01 0:00 UTC)] {
        let query = query().created_at(range);
        let event_types = ["type.common", "type.150"];
        let aggregate_types = ["Account", "Type3"];
        for count in [1, 2] {
            let walking = count > 1;
            log(query.clone().event_types(event_types.into_iter().take(count)).unwrap())
                .merging(count)
                .walking_until_analyzed(walking)
                .found_by(server, "idx_events_type_created");
            let types = aggregate_types.into_iter().take(count);
            log(query.clone().aggregate_types(types).unwrap())
                .merging(count)
                .walking_until_analyzed(walking)
                .found_by(server, "idx_events_aggregate_type_created");
        }
    }
}

fn what_few_events_match_is_sorted_where_no_index_has_the_order(server: &MysqlServer) {
    let day = datetime!(2025-01-01 0:00 UTC)..datetime!(2025-01-02 0:00 UTC);
    log(query().correlation_id("corr-400").unwrap().created_at(day))
        .sorting_a_few()
        .found_by(server, "idx_events_correlation_id");
    log(query().aggregate_id(quiet().id()).ordered_by(Order::Time))
        .sorting_a_few()
        .found_by(server, VERSIONS);
}

fn a_correlation_in_the_metadata_is_found_by_its_index(server: &MysqlServer) {
    let by = "idx_events_metadata_correlation";
    log(with_metadata(r#"{"correlationId":"corr-400"}"#)).found_by(server, by);
    log(with_metadata(r#"{"correlationId":"corr-400","source":"common"}"#)).found_by(server, by);
}

/// This metadata has no index, so the server reads as many rows as necessary. But it sends only those that match.
fn other_metadata_is_looked_for_in_what_another_filter_finds(server: &MysqlServer) {
    let rare = Metadata::from_json(r#"{"source":"rare"}"#).unwrap();
    log(query().metadata(rare.clone()))
        .reading(EVENTS)
        .found_by(server, "PRIMARY");
    log(query().metadata(rare).aggregate_id(key("Account", 4).id()))
        .reading(1_010)
        .found_by(server, VERSIONS);
    log(with_metadata(r#"{"source":"common"}"#)).found_by(server, "PRIMARY");
    log(with_metadata(r#"{"order":{"tags":["tag-7"]}}"#))
        .reading(2_000)
        .found_by(server, "PRIMARY");
    in_each_state(server, |log, state| {
        for (json, count) in [(r#"{"source":"rare"}"#, 10), (r#"{"order":{"id":70001}}"#, 1)] {
            let query = with_metadata(json);
            let before = log.status("Bytes_sent");
            assert_eq!(log.store.read(query).count(), count);
            let sent = log.status("Bytes_sent") - before;
            assert!(sent < 20_000, "{json} {state:?}: {sent} bytes were sent");
        }
    });
}

fn without_its_index_a_filter_walks_the_log(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let store = builder(&database)
        .indexes(Indexes::Lean)
        .migrate_on_open(true)
        .open()
        .unwrap();
    for query in [
        of_types(&["type.1"]),
        query().tenant("c").unwrap(),
        query().created_by("c").unwrap(),
    ] {
        let plan = store.explain(&query, None).unwrap();
        let events: Vec<&String> = plan.iter().filter(|line| line.starts_with("events: ")).collect();
        assert!(events.len() == 1 && events[0].contains(" PRIMARY: "), "{plan:#?}");
    }
}

fn an_index_that_is_dropped_meanwhile_is_not_missed(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let store = builder(&database)
        .indexes(Indexes::Full)
        .migrate_on_open(true)
        .open()
        .unwrap();
    let events = (0..100).map(|event| NewEvent::from_json(format!("type.{}", event % 10), "{}").unwrap());
    let events: Vec<NewEvent> = events.collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    for round in 0..2 {
        for (types, count) in [(&["type.1"][..], 10), (&["type.1", "type.2"], 20)] {
            assert_eq!(store.read(of_types(types)).count(), count, "round {round}");
        }
        builder(&database).indexes(Indexes::Lean).migrate().unwrap();
    }
}

/// The number of events in a page here.
const PAGE: u32 = 2;

/// The most rows that a check of the server's role reads. The check comes with a mark once a second.
const ROWS_OF_TOPOLOGY: u64 = 24;

/// What must hold for a query: forwards and backwards, for the first page and the next, and for small and usual pages.
struct QueryPlans {
    query: EventQuery,
    arms: usize,
    sorting: bool,
    /// The most rows that are read for a page, or `None` for about as many as the page has.
    reading: Option<u64>,
    finding_few: bool,
    walking_until_analyzed: bool,
}

fn log(query: EventQuery) -> QueryPlans {
    QueryPlans {
        query,
        arms: 1,
        sorting: false,
        reading: None,
        finding_few: false,
        walking_until_analyzed: false,
    }
}

impl QueryPlans {
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

    fn reading(mut self, rows: u64) -> Self {
        self.reading = Some(rows);
        self
    }

    /// A server without statistics reads each list from its beginning, not from where the page begins: it assumes that the whole index is
    /// smaller than a range of it. If rows were read too, it would not, but that would cost a third of the speed with statistics.
    fn walking_until_analyzed(mut self, walking: bool) -> Self {
        self.walking_until_analyzed = walking;
        self
    }

    /// There may be fewer events than a page has.
    fn finding_few(mut self) -> Self {
        self.finding_few = true;
        self
    }

    #[track_caller]
    fn found_by(self, server: &MysqlServer, index: &str) {
        // The page's own rows, the row after the last one of an index, and the rows for the mark.
        let few = if self.sorting { 30 } else { u64::from(PAGE) * 6 + 8 } * self.arms as u64;
        in_each_state(server, |log, state| {
            let walking = self.walking_until_analyzed && state == State::NeverAnalyzed;
            let walked = if walking { EVENTS * self.arms as u64 } else { 0 };
            let most = few + walked + self.reading.unwrap_or(0) + ROWS_OF_TOPOLOGY;
            for query in [self.query.clone(), self.query.clone().backwards()] {
                let small = query.clone().page_size(NonZeroU32::new(PAGE).unwrap());
                let mut cursors = vec![None];
                for number in 0..2 {
                    let cursor: Option<Cursor> = cursors[number].clone();
                    let (page, read) = log.page(&small, cursor.as_ref());
                    assert!(
                        read <= most,
                        "{state:?}: {read} rows were read for page {number}: {query:?}"
                    );
                    let full = page.events.len() == PAGE as usize || number > 0 || self.finding_few;
                    assert!(full, "{query:?}: {} events", page.events.len());
                    let Some(next) = page.next else { break };
                    cursors.push(Some(next));
                }
                assert!(cursors.len() > 1 || self.finding_few, "{query:?} goes on");
                for cursor in &cursors {
                    for query in [&small, &query] {
                        for (state, store) in [(format!("{state:?}"), &log.store), ("Empty".to_owned(), &log.empty.1)] {
                            let plan = store.explain(query, cursor.as_ref()).unwrap();
                            self.check(&plan, index, &state);
                        }
                    }
                }
            }
        });
    }

    #[track_caller]
    fn check(&self, plan: &[String], index: &str, state: &str) {
        // The last event of the previous page is looked up first. An empty log has none.
        if state == "Empty" && plan.iter().any(|line| line.contains("const table")) {
            return;
        }
        let events: Vec<&String> = plan.iter().filter(|line| line.starts_with("events: ")).collect();
        let (joined, found): (Vec<&String>, Vec<&String>) =
            events.iter().partition(|line| line.contains(": eq_ref PRIMARY:"));
        assert_eq!(joined.len(), usize::from(self.arms > 1), "{state}: {plan:#?}");
        assert_eq!(found.len(), self.arms, "{state}: {plan:#?}");
        for line in found {
            assert!(
                line.contains(&format!(" {index}:")),
                "{state}: not by {index}: {plan:#?}"
            );
            let sorts = line.contains("filesort");
            assert!(self.sorting || !sorts, "{state}: {plan:#?}");
        }
    }
}

/// What must hold for a statement.
struct StatementPlans<'a> {
    sql: &'a str,
    values: Vec<Value>,
    reading: u64,
    finding: usize,
    once_analyzed: bool,
}

fn statement(sql: &str, values: Vec<Value>) -> StatementPlans<'_> {
    StatementPlans {
        sql,
        values,
        reading: 0,
        finding: 0,
        once_analyzed: false,
    }
}

impl StatementPlans<'_> {
    /// The most rows that are read besides the ones that are found.
    fn reading(mut self, rows: u64) -> Self {
        self.reading = rows;
        self
    }

    fn finding(mut self, rows: usize) -> Self {
        self.finding = rows;
        self
    }

    /// Checks only the analyzed table, because the statement is not one of the driver's and names no index. For an empty table, a server
    /// may choose any index.
    fn once_analyzed(mut self) -> Self {
        self.once_analyzed = true;
        self
    }

    #[track_caller]
    fn reads_by(self, server: &MysqlServer, indexes: &[&str]) {
        in_each_state(server, |log, state| {
            // The first statement after a change of the statistics reads the statistics.
            let plan = explain(&mut log.client, self.sql, self.values.clone());
            let before = log.rows_read_by_client();
            let rows: Vec<Row> = log.client.exec(self.sql, self.values.clone()).unwrap();
            let read = log.rows_read_by_client() - before;
            assert_eq!(rows.len(), self.finding, "{state:?}: {}", self.sql);
            if self.once_analyzed && state == State::NeverAnalyzed {
                return;
            }
            // Archived events are looked up by keys, too. The plan of an empty table does not show it.
            let is_of_archives = |row: &&Row| {
                let table = row.get::<Option<String>, _>("table").unwrap().unwrap_or_default();
                ["firefly_archived_streams", "archived", "event", "stream"].contains(&&*table)
            };
            let keys = plan
                .iter()
                .filter(|row| !is_of_archives(row))
                .filter_map(|row| row.get::<Option<String>, _>("key").unwrap());
            let keys: Vec<String> = keys.collect();
            assert_eq!(keys, indexes, "{state:?}: {}", self.sql);
            // Each row, and the row after the last one. In a list, each value is read once more.
            let most = self.reading + 2 * rows.len() as u64 + 3;
            assert!(read <= most, "{state:?}: {read} rows were read: {}", self.sql);
        });
    }
}

fn explain(client: &mut Conn, sql: &str, values: Vec<Value>) -> Vec<Row> {
    let explain = format!("EXPLAIN FORMAT = TRADITIONAL {sql}");
    client.exec(explain, values).unwrap()
}

/// What a server knows about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NeverAnalyzed,
    Analyzed,
}

/// A filled store and an empty one, whose reads use one connection.
struct Log {
    store: MysqlEventStore,
    client: Conn,
    empty: (Database, MysqlEventStore),
    _database: Database,
}

/// Checks the log of a server in each state, one check at a time. The log is made once, and disappears with the server when this process
/// ends.
#[track_caller]
fn in_each_state(server: &MysqlServer, mut check: impl FnMut(&mut Log, State)) {
    static LOGS: [OnceLock<Mutex<Log>>; 2] = [const { OnceLock::new() }; 2];
    let log = &LOGS[usize::from(server.flavour() == Flavour::Mariadb)];
    let log = log.get_or_init(|| Mutex::new(Log::filled(server)));
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.forget_statistics();
    check(&mut log, State::NeverAnalyzed);
    run(&mut log.client, "ANALYZE TABLE events");
    check(&mut log, State::Analyzed);
}

const EVENTS: u64 = 200_000;

/// Half of the events are in 100 aggregates with 1,000 events each, half in 10,000 aggregates with 10. Half have the same type, 10 have a
/// rare one, and the others have 224 more types. Creators and tenants are distributed in the same way. Each correlation has 10 events, each
/// causation 3. There is one event a second, and some are a minute late. Half have metadata.
const FILL: &str = "
INSERT INTO events (global_sequence, event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data,
                    metadata, created_at, created_by, tenant_id, correlation_id, causation_id)
WITH digits (digit) AS (
    SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
), numbers (n) AS (
    SELECT f.digit * 100000 + e.digit * 10000 + d.digit * 1000 + c.digit * 100 + b.digit * 10 + a.digit
    FROM digits AS a, digits AS b, digits AS c, digits AS d, digits AS e, digits AS f
    WHERE f.digit < 2
), placed (n, stream, version, noise) AS (
    SELECT
        n,
        IF(n % 2 = 0, n DIV 2 % 100, 100 + n DIV 2 % 10000),
        1 + IF(n % 2 = 0, n DIV 2 DIV 100, n DIV 2 DIV 10000),
        n * 7919 % 100003
    FROM numbers
)
SELECT
    n + 1,
    UNHEX(CONCAT(LPAD(HEX(n), 8, '0'), '000070008000', LPAD(HEX(n), 12, '0'))),
    UNHEX(CONCAT(LPAD(HEX(stream), 8, '0'), '000070009000', LPAD(HEX(stream), 12, '0'))),
    CASE WHEN stream = 107 THEN 'Rare' WHEN stream < 100 THEN 'Account' ELSE CONCAT('Type', stream % 7) END,
    version,
    CASE
        WHEN n % 20000 = 7 THEN 'type.rare'
        WHEN noise < 50000 THEN 'type.common'
        ELSE CONCAT('type.', FLOOR(SQRT(noise - 50000)))
    END,
    JSON_OBJECT('amount', n, 'currency', 'EUR'),
    IF(n % 2 = 1 OR n % 20000 = 8, JSON_OBJECT(
        'correlationId', CONCAT('corr-', n DIV 10),
        'source', IF(n % 20000 = 8, 'rare', 'common'),
        'order', JSON_OBJECT('id', n, 'tags', JSON_ARRAY('all', CONCAT('tag-', n % 50)))
    ), NULL),
    TIMESTAMP('2025-01-01 00:00:00') + INTERVAL n SECOND - INTERVAL IF(n % 7 = 0, 60, 0) SECOND,
    CASE
        WHEN n % 20000 = 9 THEN 'clerk-rare'
        WHEN noise < 70000 THEN 'clerk-common'
        ELSE CONCAT('clerk-', noise % 500)
    END,
    CASE WHEN stream = 108 THEN 'tenant-rare' WHEN stream < 60 THEN 'tenant-common' ELSE CONCAT('tenant-', stream % 40) END,
    CONCAT('corr-', n DIV 10),
    CONCAT('cause-', n DIV 3)
FROM placed
ORDER BY n";

/// Restores the statistics of an empty table.
const FORGET: &str = "
UPDATE mysql.innodb_table_stats
SET n_rows = 0, clustered_index_size = 1, sum_of_other_index_sizes = 0
WHERE database_name = DATABASE() AND table_name = 'events';
UPDATE mysql.innodb_index_stats
SET stat_value = IF(stat_name LIKE 'n\\_diff%', 0, 1)
WHERE database_name = DATABASE() AND table_name = 'events';
RENAME TABLE events TO forgotten, forgotten TO events;
FLUSH TABLES events";

impl Log {
    fn filled(server: &MysqlServer) -> Self {
        let database = server.new_database();
        // An index is built faster from many rows than row by row.
        builder(&database).indexes(Indexes::Lean).migrate().unwrap();
        let mut client = client(&database);
        run(&mut client, "SET time_zone = '+00:00'");
        // The server would update the statistics by itself after a while.
        run(
            &mut client,
            "ALTER TABLE events STATS_PERSISTENT = 1, STATS_AUTO_RECALC = 0",
        );
        run(&mut client, FILL);
        let store = Self::open(&database);
        // After this, each read proves a mark that is near.
        store.high_water_mark().unwrap();
        let empty = server.new_database();
        let empty = (Self::open(&empty), empty);
        Self {
            store,
            client,
            empty: (empty.1, empty.0),
            _database: database,
        }
    }

    fn open(database: &Database) -> MysqlEventStore {
        builder(database)
            .max_connections(1)
            .indexes(Indexes::Full)
            .migrate_on_open(true)
            .open()
            .unwrap()
    }

    fn forget_statistics(&mut self) {
        for statement in FORGET.split(';') {
            run(&mut self.client, statement);
        }
    }

    /// A page, and the number of rows that the server read to find it.
    fn page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> (Page, u64) {
        // The first read after a change reads the statistics and the table's definition.
        self.store.read_page(query, cursor).unwrap();
        let before = self.status(ROWS_READ);
        let page = self.store.read_page(query, cursor).unwrap();
        (page, self.status(ROWS_READ) - before)
    }

    /// The sum of counters of the store's one connection.
    fn status(&self, names: &str) -> u64 {
        self.store
            .transaction(|transaction| Ok::<_, Error>(status(transaction.connection(), names)))
            .unwrap()
    }

    fn rows_read_by_client(&mut self) -> u64 {
        status(&mut self.client, ROWS_READ)
    }
}

const ROWS_READ: &str = "Handler_read%";

fn status(client: &mut impl Queryable, names: &str) -> u64 {
    let counters: Vec<(String, u64)> = client.query(format!("SHOW SESSION STATUS LIKE '{names}'")).unwrap();
    counters.into_iter().map(|(_, count)| count).sum()
}
