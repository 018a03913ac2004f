//! How SQLite finds events in a log of 200,000: by which index, in which order, and without sorting or scanning
//! everything.
//!
//! Each plan is checked twice: in a database without statistics, and after `ANALYZE`, as the source document
//! recommends. Both must be right. The databases are in memory, so that nothing is left behind; a plan does not depend
//! on the place of the rows.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Order, time};
use firefly_eventstore_sqlite::driver::{Connection, ToSql, params};
use firefly_eventstore_sqlite::{Indexes, SqliteEventStore};
use time::{Duration, macros::datetime};

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

const AN_AGGREGATE: &str = "00000001-0000-7000-9000-000000000001";

#[test]
fn pattern_1_loads_a_stream_by_the_index_on_aggregate_and_version() {
    let parameters = params![AN_AGGREGATE, "Aggregate1"];
    let by = "SEARCH events USING INDEX idx_events_aggregate_version (aggregate_id=?)";
    assert_statement(pattern::LOAD_EVENT_STREAM, parameters, &[by]);
}

#[test]
fn pattern_2_loads_from_a_version_by_the_index_on_aggregate_and_version() {
    let parameters = params![AN_AGGREGATE, "Aggregate1", 10];
    let by = "SEARCH events USING INDEX idx_events_aggregate_version (aggregate_id=? AND aggregate_version>?)";
    assert_statement(pattern::LOAD_FROM_VERSION, parameters, &[by]);
}

#[test]
fn pattern_3_streams_the_log_as_its_rows_lie() {
    let by = "SEARCH events USING INTEGER PRIMARY KEY (rowid>?)";
    assert_statement(pattern::STREAM_FROM_SEQUENCE, params![150_000], &[by]);
}

#[test]
fn pattern_4_finds_a_version_by_the_index_on_aggregate_and_version() {
    let parameters = params![AN_AGGREGATE, "Aggregate1"];
    let by = "SEARCH events USING INDEX idx_events_aggregate_version (aggregate_id=?)";
    assert_statement(pattern::AGGREGATE_VERSION, parameters, &[by]);
}

/// For this query, SQLite sorts what the index finds. The driver instead queries each type and merges the results.
#[test]
fn pattern_5_streams_types_by_their_index_and_sorts() {
    let parameters = params!["event.1", "event.2", "event.3"];
    let plan = plan_of(plain(), pattern::STREAM_BY_TYPE, parameters);
    let by = "SEARCH events USING INDEX idx_events_type (event_type=?)";
    assert_eq!(plan, [by, "USE TEMP B-TREE FOR ORDER BY"]);
}

#[test]
fn pattern_6_streams_a_time_range_by_its_index() {
    let parameters = params!["2025-01-01T01:00:00.000000Z", "2025-01-01T02:00:00.000000Z"];
    let by = "SEARCH events USING INDEX idx_events_created_at (created_at>? AND created_at<?)";
    assert_statement(pattern::STREAM_BY_TIME, parameters, &[by]);
}

#[test]
fn one_aggregate_is_found_by_its_id_and_version() {
    let versions = "SEARCH main.events USING INDEX idx_events_aggregate_version \
        (aggregate_id=? AND aggregate_version>? AND aggregate_version<?)";
    let aggregate = "SEARCH main.events USING INDEX idx_events_aggregate_version (aggregate_id=?)";
    let part = params![AN_AGGREGATE, 3, 7, -1];
    assert_statement(include_str!("../sql/queries/load.sql"), part, &[versions]);
    assert_statement(include_str!("../sql/queries/load_backwards.sql"), part, &[versions]);
    assert_statement(
        include_str!("../sql/queries/head.sql"),
        params![AN_AGGREGATE],
        &[aggregate],
    );
    let past = params![AN_AGGREGATE, 100_000];
    let covered = "SEARCH main.events USING COVERING INDEX idx_events_aggregate_version (aggregate_id=?)";
    assert_statement(include_str!("../sql/queries/version_at_sequence.sql"), past, &[covered]);
    let past = params![AN_AGGREGATE, "2025-01-01T02:00:00.000000Z"];
    assert_statement(
        include_str!("../sql/queries/version_at_time.sql"),
        past,
        &[
            "SCAN CONSTANT ROW",
            "SCALAR SUBQUERY 1",
            aggregate,
            "SCALAR SUBQUERY 2",
            covered,
        ],
    );
}

#[test]
fn the_mark_is_the_end_of_the_log() {
    assert_statement(include_str!("../sql/queries/mark.sql"), params![], &["SEARCH events"]);
}

#[test]
fn events_are_located_by_their_ids() {
    for store in [plain(), analyzed()] {
        let plan = plan_of(store, include_str!("../sql/queries/locate.sql"), params!["[]"]);
        assert_eq!(
            plan[0], "SEARCH main.events USING INDEX idx_events_event_id (event_id=?)",
            "{plan:?}"
        );
    }
}

#[test]
fn snapshots_are_found_by_aggregate_and_version() {
    let by = "SEARCH snapshots USING INDEX idx_snapshots_version (aggregate_id=? AND version>? AND version<?)";
    let parameters = params![AN_AGGREGATE, "Aggregate1", None::<String>, 1, 9, "State.v1", 1];
    assert_statement(include_str!("../sql/queries/find_snapshots.sql"), parameters, &[by]);
}

#[test]
fn a_snapshot_and_the_events_after_it_are_found_by_aggregate_and_version() {
    let snapshot =
        "SEARCH main.snapshots USING INDEX idx_snapshots_version (aggregate_id=? AND version>? AND version<?)";
    let events = "SEARCH main.events USING INDEX idx_events_aggregate_version (aggregate_id=? AND aggregate_version>?)";
    let parameters = params![AN_AGGREGATE, "Aggregate1", None::<String>, 0, i64::MAX, "State.v1"];
    for store in [plain(), analyzed()] {
        let mut plan = plan_of(store, include_str!("../sql/queries/load_from_snapshot.sql"), parameters);
        plan.retain(|line| line.starts_with("SEARCH") || line.contains("SORT") || line.contains("ORDER"));
        assert_eq!(plan, [snapshot, events]);
    }
}

#[test]
fn what_is_archived_is_found_by_its_keys() {
    let stream = ["SEARCH main.firefly_archived_streams USING PRIMARY KEY (aggregate_id=?)"];
    assert_statement(
        include_str!("../sql/queries/archived_stream.sql"),
        params![AN_AGGREGATE],
        &stream,
    );
    let parameters = params![
        0,
        100,
        None::<String>,
        None::<String>,
        AN_AGGREGATE,
        "tenant-1",
        None::<String>,
        None::<String>
    ];
    for store in [plain(), analyzed()] {
        let plan = plan_of(store, include_str!("../sql/queries/archived_in.sql"), parameters);
        let events = "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
        assert!(plan.iter().any(|line| line == events), "{plan:#?}");
        let streams = "SEARCH stream USING PRIMARY KEY (aggregate_id=?)";
        assert!(plan.iter().any(|line| line == streams), "{plan:#?}");
    }
}

/// Another process drops indexes, by a migration with another choice or with a shell, or creates others with their
/// names.
#[test]
fn reads_find_the_same_events_after_an_index_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let drop_all = |_: &Connection| {
        SqliteEventStore::builder(&path)
            .indexes(Indexes::Lean)
            .migrate()
            .unwrap();
    };
    let drop_one = |connection: &Connection| connection.execute_batch("DROP INDEX idx_events_type").unwrap();
    let change_one = |connection: &Connection| {
        let change =
            "DROP INDEX idx_events_type; CREATE INDEX idx_events_type ON events (created_by) WHERE created_by = 'me'";
        connection.execute_batch(change).unwrap();
    };
    let ways: [&dyn Fn(&Connection); 3] = [&drop_all, &drop_one, &change_one];
    for (what, drop_it) in ["all", "one", "changed"].iter().zip(ways) {
        drop(fs::remove_file(&path));
        let store = SqliteEventStore::builder(&path).indexes(Indexes::Full).open().unwrap();
        let fresh = SqliteEventStore::open(&path).unwrap();
        let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
        let event = |n: u64| {
            NewEvent::new(if n.is_multiple_of(2) { "even" } else { "odd" }, &n)
                .and_then(|event| {
                    event
                        .created_by("ada")?
                        .correlation_id("c")?
                        .causation_id("d")?
                        .metadata(&serde_json::json!({ "correlationId": "m" }))
                })
                .unwrap()
        };
        let events: Vec<_> = (0..20).map(event).collect();
        let tenant = TenantId::new("acme").unwrap();
        store
            .for_tenant(tenant)
            .append(&account, ExpectedVersion::NoStream, &events)
            .unwrap();
        let queries = || {
            [
                EventQuery::new().event_types(["even"]).unwrap(),
                EventQuery::new().event_types(["even", "odd"]).unwrap().backwards(),
                EventQuery::new().aggregate_types(["Account"]).unwrap(),
                EventQuery::new().tenant("acme").unwrap(),
                EventQuery::new().correlation_id("c").unwrap(),
                EventQuery::new().causation_id("d").unwrap(),
                EventQuery::new().created_by("ada").unwrap(),
                EventQuery::new().ordered_by(Order::Time),
                EventQuery::new().event_types(["odd"]).unwrap().ordered_by(Order::Time),
                EventQuery::new().metadata(Metadata::from_json(r#"{"correlationId":"m"}"#).unwrap()),
            ]
            .map(|query| query.page_size(NonZeroU32::new(7).unwrap()))
        };
        let read = |store: &SqliteEventStore| {
            queries().map(|query| store.read(query).collect::<Result<Vec<_>, Error>>().unwrap())
        };
        let before = read(&store);
        assert!(before.iter().all(|events| events.len() >= 10));
        let half_way = queries().map(|query| (store.read_page(&query, None).unwrap(), query));

        drop_it(&Connection::open(&path).unwrap());

        for (page, query) in half_way {
            store.read_page(&query, page.next.as_ref()).unwrap();
        }
        for store in [&store, &fresh] {
            assert_eq!(read(store), before, "{what}");
            assert_eq!(read(store), before, "{what}, again");
        }
        drop((store, fresh));
    }
}

#[test]
fn the_log_is_read_as_its_rows_lie() {
    log(EventQuery::new()).found_by("INTEGER PRIMARY KEY (rowid>? AND rowid<?)");
}

#[test]
fn what_no_index_serves_is_looked_for_in_the_log_as_its_rows_lie() {
    let types = (0..17).map(|number| format!("event.{number}"));
    let source = Metadata::from_json(r#"{"source":"test"}"#).unwrap();
    for query in [
        EventQuery::new().event_types(types).unwrap(),
        EventQuery::new().metadata(source),
        EventQuery::new().created_at(hour()).ordered_by(Order::Sequence),
    ] {
        log(query).found_by("INTEGER PRIMARY KEY (rowid>? AND rowid<?)");
    }
}

#[test]
fn an_event_type_is_found_by_its_index_in_the_order_of_the_log() {
    let by = "INDEX idx_events_type (event_type=? AND rowid>? AND rowid<?)";
    log(EventQuery::new().event_types(["event.1"]).unwrap()).found_by(by);
    log(EventQuery::new()
        .event_types(["event.1"])
        .unwrap()
        .aggregate_types(["Aggregate1"])
        .unwrap())
    .found_by(by);
}

#[test]
fn several_event_types_are_merged_without_a_sort() {
    let by = "INDEX idx_events_type (event_type=? AND rowid>? AND rowid<?)";
    let query = EventQuery::new()
        .event_types(["event.1", "event.2", "event.3"])
        .unwrap();
    log(query.clone()).merging(3).found_by(by);
    log(query.tenant("tenant-1").unwrap()).merging(3).found_by(by);
}

#[test]
fn aggregate_types_are_found_by_their_index_and_merged_without_a_sort() {
    let by = "INDEX idx_events_aggregate_type (aggregate_type=? AND rowid>? AND rowid<?)";
    log(EventQuery::new().aggregate_types(["Aggregate1"]).unwrap()).found_by(by);
    log(EventQuery::new().aggregate_types(["Aggregate1", "Aggregate2"]).unwrap())
        .merging(2)
        .found_by(by);
}

#[test]
fn an_aggregate_is_found_by_its_id_and_resumed_at_its_version() {
    let query = EventQuery::new().aggregate_id(AN_AGGREGATE.parse().unwrap());
    let by = "INDEX idx_events_aggregate_version (aggregate_id=?)";
    log(query.clone()).resumed_by(BY_VERSION).found_by(by);
    log(query.tenant("tenant-1").unwrap())
        .resumed_by(BY_VERSION)
        .found_by(by);
}

#[test]
fn a_tenant_is_found_by_its_index_in_the_order_of_the_log() {
    let by = "INDEX idx_events_tenant_id (tenant_id=? AND rowid>? AND rowid<?)";
    let query = EventQuery::new().tenant("tenant-1").unwrap();
    log(query.clone()).found_by(by);
    log(query.aggregate_types(["Aggregate1"]).unwrap()).found_by(by);
}

#[test]
fn a_correlation_is_found_by_its_index() {
    let by = "INDEX idx_events_correlation_id (correlation_id=? AND rowid>? AND rowid<?)";
    let query = EventQuery::new().correlation_id("corr-400").unwrap();
    log(query.clone()).found_by(by);
    log(query.created_at(hour())).sorting_a_few().found_by(by);
}

#[test]
fn a_causation_is_found_by_its_index() {
    let by = "INDEX idx_events_causation_id (causation_id=? AND rowid>? AND rowid<?)";
    let query = EventQuery::new().causation_id("cause-400").unwrap();
    log(query.clone()).found_by(by);
    log(query.created_at(hour())).sorting_a_few().found_by(by);
}

#[test]
fn a_creator_is_found_by_its_index_in_the_order_of_the_log() {
    let by = "INDEX idx_events_created_by (created_by=? AND rowid>? AND rowid<?)";
    let query = EventQuery::new().created_by("clerk-1").unwrap();
    log(query.clone()).found_by(by);
    log(query.tenant("tenant-1").unwrap()).found_by(by);
}

#[test]
fn a_correlation_that_is_kept_in_the_metadata_is_found_by_the_index_on_it() {
    let correlated = Metadata::from_json(r#"{"correlationId":"corr-3","source":"test"}"#).unwrap();
    log(EventQuery::new().metadata(correlated))
        .found_by("INDEX idx_events_metadata_correlation (<expr>=? AND rowid>? AND rowid<?)");
}

#[test]
fn events_with_known_ids_are_found_by_them() {
    let ids = (1..9).map(|number| Uuid::from_u64_pair((number << 32) | 0x7000, (0x8000 << 48) | number));
    log(EventQuery::new().event_ids(ids))
        .sorting_a_few()
        .found_by("INDEX idx_events_event_id (event_id=? AND rowid>? AND rowid<?)");
}

#[test]
fn a_time_range_is_found_by_its_index_in_the_order_of_time() {
    let by = "INDEX idx_events_created_at (created_at>? AND created_at<?)";
    log(EventQuery::new().created_at(hour())).found_by(by);
    log(EventQuery::new().created_at(hour()).tenant("tenant-1").unwrap()).found_by(by);
    log(EventQuery::new().created_at(hour()).created_by("clerk-1").unwrap()).found_by(by);
}

#[test]
fn types_in_a_time_range_are_found_by_type_and_time_and_merged() {
    let by = "INDEX idx_events_type_created (event_type=? AND created_at>? AND created_at<?)";
    let query = EventQuery::new().created_at(hour());
    log(query.clone().event_types(["event.1"]).unwrap())
        .sorting_ties()
        .found_by(by);
    log(query.clone().event_types(["event.1", "event.2"]).unwrap())
        .sorting_ties()
        .merging(2)
        .found_by(by);

    let by = "INDEX idx_events_aggregate_type_created (aggregate_type=? AND created_at>? AND created_at<?)";
    log(query.clone().aggregate_types(["Aggregate1"]).unwrap())
        .sorting_ties()
        .found_by(by);
    let both = ["Aggregate1", "Aggregate2"];
    log(query.aggregate_types(both).unwrap())
        .sorting_ties()
        .merging(2)
        .found_by(by);
}

#[test]
fn everything_in_the_order_of_time_is_read_along_the_index_without_a_sort() {
    let query = EventQuery::new().ordered_by(Order::Time).page_size(NonZeroU32::MIN);
    for store in [plain(), analyzed()] {
        for query in [query.clone(), query.clone().backwards()] {
            let next = store.read_page(&query, None).unwrap().next;
            for cursor in [None, next.as_ref()] {
                let plan = store.explain(&query, cursor).unwrap();
                let along = |line: &String| line.contains("events USING INDEX idx_events_created_at");
                assert!(plan.len() == 1 && plan.iter().all(along), "{plan:#?}");
            }
        }
    }
}

const BY_VERSION: &str = "INDEX idx_events_aggregate_version (aggregate_id=? AND aggregate_version";

fn hour() -> std::ops::Range<time::OffsetDateTime> {
    let from = datetime!(2025-01-01 01:00 UTC);
    from..from + Duration::HOUR
}

/// The expectations of a query's plan: forwards and backwards, its first page and the next.
struct Expectation {
    query: EventQuery,
    arms: usize,
    sorts: &'static [&'static str],
    resumed_by: Option<&'static str>,
}

fn log(query: EventQuery) -> Expectation {
    Expectation {
        query,
        arms: 1,
        sorts: &[],
        resumed_by: None,
    }
}

impl Expectation {
    /// This many lists, each in order, are merged.
    fn merging(mut self, arms: usize) -> Self {
        self.arms = arms;
        self
    }

    /// So few rows match that sorting costs nothing.
    fn sorting_a_few(mut self) -> Self {
        self.sorts = &["USE TEMP B-TREE FOR ORDER BY"];
        self
    }

    /// Events of the same microsecond are sorted.
    fn sorting_ties(mut self) -> Self {
        self.sorts = &["USE TEMP B-TREE FOR LAST TERM OF ORDER BY"];
        self
    }

    fn resumed_by(mut self, by: &'static str) -> Self {
        self.resumed_by = Some(by);
        self
    }

    #[track_caller]
    fn found_by(self, by: &str) {
        for (name, store) in stores() {
            let query = self.query.clone().page_size(NonZeroU32::MIN);
            for query in [query.clone(), query.backwards()] {
                let page = store.read_page(&query, None).unwrap();
                assert_eq!(page.events.len(), 1, "the query finds something");
                self.check(&store.explain(&query, None).unwrap(), by, name);
                if let Some(cursor) = &page.next {
                    let plan = store.explain(&query, Some(cursor)).unwrap();
                    self.check(&plan, self.resumed_by.unwrap_or(by), name);
                }
            }
        }
    }

    #[track_caller]
    fn check(&self, plan: &[String], by: &str, store: &str) {
        let (mut searches, mut merges) = (0, 0);
        for line in plan {
            let search = line.strip_prefix("SEARCH events USING ");
            if search.is_some_and(|found| found.starts_with(by)) {
                searches += 1;
            } else if line == "MERGE (UNION ALL)" {
                merges += 1;
            } else {
                assert!(
                    self.sorts.contains(&line.as_str()) || HARMLESS.contains(&line.as_str()),
                    "{store}: {line:?} in {plan:#?}"
                );
            }
        }
        assert_eq!((searches, merges), (self.arms, self.arms - 1), "{store}: {plan:#?}");
    }
}

const HARMLESS: &[&str] = &[
    "LEFT",
    "RIGHT",
    // The list of names that one filter takes.
    "LIST SUBQUERY 1",
    "LIST SUBQUERY 2",
    "SCAN json_each VIRTUAL TABLE INDEX 1:",
    "CREATE BLOOM FILTER",
    // The version of the last event of the previous page, archived or not.
    "SCALAR SUBQUERY 1",
    "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)",
    "SCALAR SUBQUERY 2",
    "SEARCH firefly_archived_events USING INTEGER PRIMARY KEY (rowid=?)",
];

#[track_caller]
fn assert_statement(sql: &str, parameters: &[&dyn ToSql], expected: &[&str]) {
    for (name, store) in stores() {
        assert_eq!(plan_of(store, sql, parameters), expected, "{name}");
    }
}

fn plan_of(store: &SqliteEventStore, sql: &str, parameters: &[&dyn ToSql]) -> Vec<String> {
    with(store, |connection| {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let details = statement.query_map(parameters, |row| row.get("detail")).unwrap();
        details.map(Result::unwrap).collect()
    })
}

const EVENTS: i64 = 200_000;

/// 20 events in each aggregate, 20 types of events, 5 of aggregates, 10 tenants, 100 creators; a correlation and a
/// causation for each 10 events; a second from event to event, and some a minute late.
const FILL: &str = "
WITH RECURSIVE numbers (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?1)
INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata,
                    created_at, created_by, tenant_id, correlation_id, causation_id)
SELECT
    printf('%08x-0000-7000-8000-%012x', n, n),
    printf('%08x-0000-7000-9000-%012x', n % (?1 / 20), n % (?1 / 20)),
    'Aggregate' || (n % 5),
    1 + n / (?1 / 20),
    'event.' || (n % 20),
    json_object('amount', n),
    CASE WHEN n % 2 THEN json_object('correlationId', 'corr-' || (n / 10), 'source', 'test') END,
    strftime('%Y-%m-%dT%H:%M:%f000Z', 1735689600 + n - (n % 7 = 0) * 60, 'unixepoch'),
    'clerk-' || (n % 100),
    'tenant-' || (n % 10),
    'corr-' || (n / 10),
    'cause-' || (n / 10)
FROM numbers";

fn filled() -> SqliteEventStore {
    let store = SqliteEventStore::in_memory_builder()
        .indexes(Indexes::Full)
        .open()
        .unwrap();
    with(&store, |connection| connection.execute(FILL, [EVENTS]).unwrap());
    store
}

fn plain() -> &'static SqliteEventStore {
    &stores()[0].1
}

fn analyzed() -> &'static SqliteEventStore {
    &stores()[1].1
}

fn stores() -> &'static [(&'static str, SqliteEventStore); 2] {
    static STORES: OnceLock<[(&str, SqliteEventStore); 2]> = OnceLock::new();
    STORES.get_or_init(|| {
        thread::scope(|scope| {
            let plain = scope.spawn(filled);
            let analyzed = filled();
            with(&analyzed, |connection| connection.execute_batch("ANALYZE").unwrap());
            [("plain", plain.join().unwrap()), ("analyzed", analyzed)]
        })
    })
}

fn with<R>(store: &SqliteEventStore, work: impl FnOnce(&Connection) -> R) -> R {
    store.transaction(|tx| Ok::<_, Error>(work(tx.connection()))).unwrap()
}

#[test]
fn without_its_index_a_filter_walks_the_log_or_what_another_filter_finds() {
    let store = SqliteEventStore::in_memory_builder()
        .indexes(Indexes::Lean)
        .open()
        .unwrap();
    let plan = |query: &EventQuery| store.explain(query, None).unwrap().join("\n");
    let log = "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
    let by_type = EventQuery::new().event_types(["money.deposited"]).unwrap();
    assert!(plan(&by_type).starts_with(log), "{}", plan(&by_type));
    assert_eq!(plan(&EventQuery::new().tenant("acme").unwrap()), log);
    let of_aggregate = plan(&by_type.aggregate_id(Uuid::now_v7()));
    assert!(of_aggregate.contains("idx_events_aggregate_version"), "{of_aggregate}");

    let store = SqliteEventStore::in_memory().unwrap();
    let clerk = EventQuery::new().created_by("clerk-7").unwrap();
    assert_eq!(store.explain(&clerk, None).unwrap(), [log]);
    let tenant = store.explain(&clerk.tenant("acme").unwrap(), None).unwrap().join("\n");
    assert!(tenant.contains("idx_events_tenant_id"), "{tenant}");
}
