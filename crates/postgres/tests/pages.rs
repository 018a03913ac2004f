//! Pages of a partitioned log: they are looked for in few partitions, and nothing is missing in them when partitions are others than a store
//! has seen.

use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::Direction;
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::Client;
use firefly_eventstore_postgres::{Partitions, PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::{Database, without_autovacuum};

use crate::support::{account, all_events, archive, client, database, movable};

fn builder(database: &Database) -> PostgresBuilder {
    PostgresEventStore::builder(database.url()).max_connections(4)
}

const TYPES: [&str; 3] = ["money.deposited", "money.withdrawn", "account.closed"];

/// Appends ten events at a time. Every tenth one closes an account, and the others take turns.
fn append(store: &PostgresEventStore, tens: u64) {
    for _ in 0..tens {
        let events: Vec<NewEvent> = (0..10)
            .map(|number| match number {
                9 => TYPES[2],
                number => TYPES[number % 2],
            })
            .map(|of_type| NewEvent::from_json(of_type, "{}").unwrap())
            .collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
}

/// A log in partitions of ten sequences, with so many events in tens.
fn partitioned(tens: u64) -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let builder = builder(&database).migrate_on_open(true);
    let store = builder.partitions(Partitions::by_events(10)).open().unwrap();
    for _ in 0..tens {
        append(&store, 1);
        store.add_partitions().unwrap();
    }
    Some((database, store))
}

/// Queries of all events that are not archived, of those of one type, and of those of all three.
fn queries() -> Vec<EventQuery> {
    let all = EventQuery::new().skip_archived();
    let mut queries = vec![all.clone(), all.clone().event_types(TYPES).unwrap()];
    queries.extend(TYPES.map(|of_type| all.clone().event_types([of_type]).unwrap()));
    let directions = queries.into_iter().flat_map(|query| [query.clone(), query.backwards()]);
    let sizes = |query: EventQuery| [4, 25].map(|size| query.clone().page_size(NonZeroU32::new(size).unwrap()));
    directions.flat_map(sizes).collect()
}

/// Asserts that each query finds the events that are in the table.
#[track_caller]
fn assert_complete(database: &Database, store: &PostgresEventStore) {
    let stored = "SELECT global_sequence, event_type FROM events ORDER BY global_sequence";
    let stored = client(database).query(stored, &[]).unwrap();
    let stored: Vec<(i64, String)> = stored.iter().map(|row| (row.get(0), row.get(1))).collect();
    for query in queries() {
        let is_of_type = |of_type: &str| {
            let types = query.filter().event_types.as_ref();
            types.is_none_or(|types| types.iter().any(|wanted| wanted.as_str() == of_type))
        };
        let of_types = stored.iter().filter(|(_, of_type)| is_of_type(of_type));
        let mut expected: Vec<i64> = of_types.map(|(sequence, _)| *sequence).collect();
        if query.direction() == Direction::Backwards {
            expected.reverse();
        }
        let read = store.read(query.clone());
        let read: Vec<i64> = read.map(|event| event.unwrap().global_sequence.as_i64()).collect();
        assert_eq!(read, expected, "{query:?}");
    }
}

#[test]
fn pages_are_complete_where_partitions_were_added_since_a_store_looked() {
    let Some((database, other)) = partitioned(6) else {
        return;
    };
    let store = builder(&database).open().unwrap();
    assert_complete(&database, &store);
    for _ in 0..6 {
        append(&other, 2);
        other.add_partitions().unwrap();
        assert_complete(&database, &store);
    }
}

#[test]
fn pages_are_complete_where_partitions_were_joined_since_a_store_looked() {
    let Some((database, other)) = partitioned(26) else {
        return;
    };
    let store = builder(&database).open().unwrap();
    assert_complete(&database, &store);
    assert!(other.join_partitions().unwrap().is_some());
    assert_complete(&database, &store);
    append(&other, 1);
    assert_complete(&database, &store);
}

#[test]
fn pages_are_complete_where_partitions_were_archived_and_merged_since_a_store_looked() {
    let Some((database, other)) = partitioned(10) else {
        return;
    };
    let store = builder(&database).open().unwrap();
    assert_complete(&database, &store);
    let before = all_events(&store);
    let moved: Vec<EventEnvelope> = movable(&other).into_iter().take(65).collect();
    archive(&other, &moved);
    assert_complete(&database, &store);
    // Archived events that are needed are an error, and not missing.
    let of_types = TYPES.map(|of_type| EventQuery::new().event_types([of_type]).unwrap());
    for query in of_types.into_iter().chain([EventQuery::new()]) {
        assert!(store.read_page(&query.limit(1), None).is_err());
    }
    other.vacuum().unwrap();
    other.add_partitions().unwrap();
    assert_complete(&database, &store);
    other.attach_events(&moved).unwrap();
    assert_complete(&database, &store);
    assert_eq!(all_events(&store), before);
}

#[test]
fn pages_are_complete_where_the_log_was_converted_since_a_store_looked() {
    let Some((database, other)) = partitioned(6) else {
        return;
    };
    let store = builder(&database).open().unwrap();
    for partitions in [None, Some(30), None, Some(7)] {
        assert_complete(&database, &store);
        let converted = match partitions {
            None => builder(&database).convert_to_one_table(|_| ()),
            Some(events) => builder(&database).convert_to_partitions(Partitions::by_events(events), |_| ()),
        };
        assert!(converted.unwrap());
        append(&other, 2);
        other.add_partitions().unwrap();
        assert_complete(&database, &store);
    }
}

/// 1,000 events in each of eleven partitions. Each type has one in twenty.
const FILL: &str = "
    INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
    SELECT gen_random_uuid(), gen_random_uuid(), 'Aggregate' || n % 20, 1, 'event.' || n % 20, '{}'
    FROM generate_series(1, 11000) AS n";

#[test]
fn a_page_is_looked_for_in_one_partition() {
    let Some(database) = database() else { return };
    let builder = builder(&database).max_connections(1).migrate_on_open(true);
    let store = builder.partitions(Partitions::by_events(1_000)).open().unwrap();
    let mut client = client(&database);
    for cut in (2..12).map(|ordinal| ordinal * 1_000_i64 + 1) {
        let split = client.query_one("SELECT firefly_split_last_partition($1)", &[&cut]);
        assert!(split.unwrap().get::<_, bool>(0));
    }
    without_autovacuum(&mut client);
    client.batch_execute(FILL).unwrap();
    store.update_statistics().unwrap();

    let of_type = |name: &str| EventQuery::new().event_types([name]).unwrap();
    // Five arms in all.
    let queries = [
        EventQuery::new(),
        of_type("event.1"),
        EventQuery::new().aggregate_types(["Aggregate2"]).unwrap(),
        EventQuery::new().event_types(["event.1", "event.2"]).unwrap(),
    ];
    for (place, direction, expected) in [
        (4_200, Direction::Forwards, &[("events_from_4001", 5)][..]),
        (4_200, Direction::Backwards, &[("events_from_4001", 5)]),
        // Fewer sequences than the page has rows are left in the first partition.
        (
            4_995,
            Direction::Forwards,
            &[("events_from_4001", 5), ("events_from_5001", 5)],
        ),
    ] {
        let place = GlobalSequence::from(place);
        let read = || {
            for query in queries.clone() {
                let query = match direction {
                    Direction::Forwards => query.after(place),
                    Direction::Backwards => query.until(place).backwards(),
                };
                let page = store.read_page(&query.limit(10), None).unwrap();
                assert_eq!(page.events.len(), 10);
            }
        };
        // From some time on, a statement is not planned any more. That would look into partitions, too.
        (0..8).for_each(|_| read());
        let before = looks_into_partitions(&store, &mut client);
        read();
        let after = looks_into_partitions(&store, &mut client);
        let looked = (after.iter().zip(&before)).map(|((name, after), (_, before))| (name.as_str(), after - before));
        let looked: Vec<(&str, i64)> = looked.filter(|(_, looks)| *looks > 0).collect();
        assert_eq!(looked, expected, "{direction:?} from {place}");
    }

    // PostgreSQL plans the first five executions of a statement with their values.
    let planned: Vec<i64> = store
        .transaction(|transaction| {
            let statements = "SELECT custom_plans FROM pg_prepared_statements WHERE statement LIKE '(%LIMIT $4)%'";
            let rows = transaction.connection().query(statements, &[])?;
            Ok::<_, Box<dyn std::error::Error>>(rows.iter().map(|row| row.get(0)).collect())
        })
        .unwrap();
    assert_eq!(planned, [5; 8], "four queries in two directions");
}

/// How often each partition has been looked into.
fn looks_into_partitions(store: &PostgresEventStore, client: &mut Client) -> Vec<(String, i64)> {
    // A connection reports what it did at the end of a transaction, but not more than once a second.
    thread::sleep(Duration::from_millis(1_100));
    store.high_water_mark().unwrap();
    let counts = "SELECT relname::text, idx_scan + seq_scan
        FROM pg_stat_user_tables
        WHERE relname LIKE 'events\\_from\\_%'
        ORDER BY relid";
    let counts = client.query(counts, &[]).unwrap();
    counts.iter().map(|row| (row.get(0), row.get(1))).collect()
}
