//! A log in partitions: how it is partitioned, how one partition is always ahead, and what others do meanwhile.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use firefly_eventstore_core::SnapshotAt;
use firefly_eventstore_core::operate::{IndexState, Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::{Client, Config, NoTls};
use firefly_eventstore_postgres::{Partitions, PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::Database;

use crate::support::{account, all_events, archive, client, database, deposited, movable, stored_sequences};

fn builder(database: &Database) -> PostgresBuilder {
    PostgresEventStore::builder(database.url())
        .max_connections(16)
        .migrate_on_open(true)
}

/// A store in partitions of this many events.
fn partitioned(events: u64) -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let store = builder(&database)
        .partitions(Partitions::by_events(events))
        .open()
        .unwrap();
    Some((database, store))
}

/// The partitions: the first sequence of each, except of the first one, which has no lower bound, and the number of
/// events in each.
fn ranges(database: &Database) -> Vec<(Option<i64>, i64)> {
    let mut client = client(database);
    let rows = client
        .query(
            "SELECT partition::text, first_sequence, end_sequence FROM firefly_ranges()",
            &[],
        )
        .unwrap();
    let mut end = None;
    let mut ranges = Vec::new();
    for row in &rows {
        let first: Option<i64> = row.get(1);
        assert_eq!(first, end, "a range begins where the one before it ends");
        end = row.get(2);
        let count = format!("SELECT COUNT(*) FROM {}", row.get::<_, String>(0));
        ranges.push((first, client.query_one(&count, &[]).unwrap().get(0)));
    }
    assert_eq!(end, None, "the last range has no end");
    ranges
}

fn append(store: &PostgresEventStore, events: u64) {
    let events: Vec<NewEvent> = (0..events).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
}

/// Appends events that are so large that their table is not read while others wait.
fn append_much(store: &PostgresEventStore, events: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    // Random data is not compressed, and short data stays in the table itself.
    let mut large = || -> NewEvent {
        let text: String = (0..1_700).map(|_| random.alphanumeric()).collect();
        NewEvent::new("money.deposited", &serde_json::json!({ "text": text })).unwrap()
    };
    for _ in 0..events / 100 {
        let events: Vec<NewEvent> = (0..100).map(|_| large()).collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
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

#[test]
fn a_partition_is_always_ahead_of_the_log() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    assert_eq!(ranges(&database), [(None, 0), (Some(11), 0)]);
    assert_eq!(
        store.add_partitions().unwrap().unwrap(),
        "the log has 2, and needs no more"
    );
    append(&store, 1);
    assert_eq!(store.add_partitions().unwrap().unwrap(), "the log has 3, 1 of them new");
    assert_eq!(ranges(&database), [(None, 1), (Some(11), 0), (Some(21), 0)]);
    // If no partition was added, the last one takes the new events. It is split at a sequence that is not allocated
    // yet.
    append(&store, 25);
    assert_eq!(ranges(&database), [(None, 10), (Some(11), 10), (Some(21), 6)]);
    let told = store.diagnose().unwrap();
    let told = told.iter().find(|told| told.subject == "partitions").unwrap();
    assert_eq!(told.severity, Severity::Warning, "{told:?}");
    store.add_partitions().unwrap();
    let filled = [(None, 10), (Some(11), 10), (Some(21), 6), (Some(37), 0), (Some(47), 0)];
    assert_eq!(ranges(&database)[..4], filled[..4]);
    let told = store.diagnose().unwrap();
    let told = told.iter().find(|told| told.subject == "partitions").unwrap();
    assert_eq!(told.severity, Severity::Good, "{told:?}");
    assert_eq!(all_events(&store).len(), 26);
    assert_keys(&database);
}

/// An automatic vacuum of a large partition takes minutes. It holds this lock, and does not give way to those who wait only briefly.
#[test]
fn a_partition_is_added_while_others_are_vacuumed() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append(&store, 1);
    store.add_partitions().unwrap();
    let mut vacuum = client(&database);
    let mut vacuum = vacuum.transaction().unwrap();
    for partition in ["events_from_1", "events_from_11"] {
        let lock = format!("LOCK TABLE ONLY {partition} IN SHARE UPDATE EXCLUSIVE MODE");
        vacuum.batch_execute(&lock).unwrap();
    }
    append(&store, 12);
    assert_eq!(store.add_partitions().unwrap().unwrap(), "the log has 4, 1 of them new");
    vacuum.commit().unwrap();
    assert_keys(&database);
}

#[test]
fn a_store_that_is_opened_without_the_choice_finds_what_is_there() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append(&store, 15);
    let other = PostgresEventStore::open(database.url()).unwrap();
    append(&other, 15);
    assert_eq!(all_events(&other), all_events(&store));
    assert_eq!(builder(&database).migrate().unwrap(), []);
    assert_eq!(ranges(&database).len(), 2);
    // Another size applies to later partitions.
    builder(&database)
        .partitions(Partitions::by_events(100))
        .migrate()
        .unwrap();
    other.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(None, 10), (Some(11), 20), (Some(131), 0)]);
}

#[test]
fn only_an_empty_log_is_partitioned() {
    let Some((database, store)) = crate::support::fresh() else {
        return;
    };
    let by_events = |events| builder(&database).partitions(Partitions::by_events(events)).open();
    assert_eq!(store.add_partitions().unwrap(), None);
    for none in [0, u64::MAX] {
        assert!(by_events(none).unwrap_err().is_invalid_input());
    }
    append(&store, 1);
    assert!(by_events(10).unwrap_err().is_invalid_input());
    append(&store, 1);
    client(&database).batch_execute("DELETE FROM events").unwrap();

    // A store that was opened before goes on.
    let partitioned = by_events(10).unwrap();
    append(&store, 1);
    append(&partitioned, 1);
    assert_eq!(ranges(&database), [(None, 2), (Some(13), 0)]);
    assert_keys(&database);
}

#[test]
fn partitions_are_added_while_others_append_read_and_add() {
    let Some((database, store)) = partitioned(20) else {
        return;
    };
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let key = account();
                for amount in 0..100 {
                    store.append(&key, ExpectedVersion::Any, &[deposited(amount)]).unwrap();
                    assert_eq!(store.load(&key).unwrap().version(), amount + 1);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while all_events(&store).len() < 600 {
                    match store.add_partitions() {
                        Err(error) if !error.is_retryable() => panic!("{error:?}"),
                        _ => {}
                    }
                }
            });
        }
    });
    store.add_partitions().unwrap();
    let ranges = ranges(&database);
    assert!(ranges.len() > 10, "{ranges:?}");
    assert_eq!(ranges.iter().map(|(_, events)| events).sum::<i64>(), 600);
    let sequences: Vec<_> = all_events(&store).iter().map(|event| event.global_sequence).collect();
    assert!(sequences.is_sorted());
    assert_keys(&database);
}

/// Readers miss nothing while writers roll back and partitions are added, each after a call of `pass`.
fn assert_readers_miss_nothing(database: &Database, store: &PostgresEventStore, mut pass: impl FnMut() + Send) {
    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut checkpoint) = (Vec::new(), GlobalSequence::ZERO);
            loop {
                let was_over = is_over.load(Ordering::Acquire);
                let mut events = store.read(EventQuery::new().after(checkpoint));
                seen.extend(events.by_ref().map(|event| event.unwrap().global_sequence.as_i64()));
                checkpoint = events.checkpoint();
                if was_over {
                    return seen;
                }
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                pass();
                match store.add_partitions() {
                    Err(error) if !error.is_retryable() => panic!("{error:?}"),
                    _ => thread::yield_now(),
                }
            }
        });
        let ends = Ends(&is_over);
        crate::support::write_with_delays_and_rollbacks(store);
        drop(ends);
        reader.join().unwrap()
    });
    assert!(seen.is_sorted());
    assert_eq!(seen.iter().copied().collect::<HashSet<_>>(), stored_sequences(database));
    assert!(ranges(database).len() > 3);
    assert_keys(database);
}

#[test]
fn readers_miss_nothing_while_writers_roll_back_and_partitions_are_added() {
    let Some((database, store)) = partitioned(200) else {
        return;
    };
    assert_readers_miss_nothing(&database, &store, || ());
}

#[test]
fn who_holds_the_log_is_waited_for_briefly_and_not_cut_off() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append(&store, 5);
    store
        .transaction(|transaction| -> Result<(), Error> {
            transaction.append(&account(), ExpectedVersion::Any, &[deposited(1)])?;
            let other = PostgresEventStore::open(database.url()).unwrap();
            let error = other.add_partitions().unwrap_err();
            assert!(error.is_retryable(), "{error:?}");
            append(&other, 1);
            Ok(())
        })
        .unwrap();
    assert_eq!(ranges(&database), [(None, 7), (Some(11), 0)]);
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(None, 7), (Some(11), 0), (Some(21), 0)]);
}

#[test]
fn who_ends_in_the_middle_of_a_split_leaves_nothing() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append(&store, 5);
    let before = ranges(&database);
    let mut dying = client(&database);
    dying
        .batch_execute("BEGIN; SELECT firefly_split_last_partition(21)")
        .unwrap();
    drop(dying);
    append(&store, 5);
    assert_eq!(before.len(), ranges(&database).len());
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(None, 10), (Some(11), 0), (Some(21), 0)]);
}

#[test]
fn the_ranges_are_read_as_a_whole_while_partitions_are_added_and_dropped() {
    let Some((database, _)) = partitioned(10) else {
        return;
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = client(&database);
                while !is_over.load(Ordering::Acquire) {
                    let query = "SELECT first_sequence, end_sequence FROM firefly_ranges()";
                    let rows = client.query(query, &[]).unwrap();
                    let mut end: Option<i64> = None;
                    for row in &rows {
                        assert_eq!(row.get::<_, Option<i64>>(0), end);
                        end = row.get(1);
                    }
                    assert_eq!(end, None);
                }
            });
        }
        let ends = Ends(&is_over);
        let mut client = client(&database);
        for round in 1..=60_i64 {
            for cut in (1..=5).map(|part| round * 50 + part * 10 + 1) {
                client
                    .query_one("SELECT firefly_split_last_partition($1)", &[&cut])
                    .unwrap();
            }
            let set = format!("SELECT setval('events_global_sequence_seq', {})", round * 50 + 50);
            client.batch_execute(&set).unwrap();
            client
                .query_one("SELECT firefly_merge_empty_partitions()", &[])
                .unwrap();
        }
        drop(ends);
    });
}

/// Lets readers end, also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_large_last_partition_is_split_by_a_check_that_was_made_before() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append_much(&store, 6_000);
    let bytes = "SELECT pg_relation_size('events_from_11')";
    let bytes: i64 = client(&database).query_one(bytes, &[]).unwrap().get(0);
    assert!(bytes > 8 << 20, "{bytes}");
    // A killed process has left a check, whose bound the appends have reached since.
    let check = |bound: i64| {
        let check = format!(
            "ALTER TABLE events_from_11 DROP CONSTRAINT IF EXISTS firefly_bound, ADD CONSTRAINT firefly_bound
             CHECK (global_sequence >= 11 AND global_sequence < {bound}) NOT VALID"
        );
        client(&database).batch_execute(&check).unwrap();
    };
    check(6_001);
    let refused = store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    refused.unwrap_err();
    store.add_partitions().unwrap();
    append(&store, 10);
    let firsts: Vec<_> = ranges(&database).into_iter().map(|(first, _)| first).collect();
    assert_eq!(firsts[..2], [None, Some(11)]);
    assert!(firsts[2].unwrap() > 1_000_000, "{firsts:?}");
    let checks = "SELECT COUNT(*) FROM pg_constraint WHERE conname = 'firefly_bound'";
    let checks: i64 = client(&database).query_one(checks, &[]).unwrap().get(0);
    assert_eq!(checks, 0);
    assert_eq!(all_events(&store).len(), 6_010);
}

#[test]
fn a_sequence_that_was_set_far_ahead_is_no_obstacle() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append(&store, 5);
    client(&database)
        .batch_execute("SELECT setval('events_global_sequence_seq', 1000000)")
        .unwrap();
    append(&store, 5);
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database)[..2], [(None, 5), (Some(11), 5)]);
    append(&store, 30);
    store.add_partitions().unwrap();
    assert_eq!(all_events(&store).len(), 40);
    assert_keys(&database);
}

#[test]
fn who_writes_into_a_partition_is_refused() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append(&store, 5);
    for statement in [
        "INSERT INTO events_from_1 SELECT * FROM events LIMIT 1",
        "UPDATE events_from_1 SET event_type = 'other'",
        "DELETE FROM events_from_1",
        "COPY events_from_11 (event_id) FROM PROGRAM 'true'",
    ] {
        for role in [
            "SET session_replication_role = replica",
            "SET session_replication_role = origin",
        ] {
            let error = client(&database)
                .batch_execute(&format!("{role}; {statement}"))
                .unwrap_err();
            let code = error.code().map(|code| code.code().to_owned());
            assert!(
                matches!(code.as_deref(), Some("42809" | "428C9")),
                "{statement}: {error:?}"
            );
        }
    }
    assert_eq!(all_events(&store).len(), 5);
}

/// Their keys are written, however they insert, and they are in the order of the log.
#[test]
fn what_other_programs_write_has_its_keys() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    let insert = "INSERT INTO {}events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, checksum)
                  SELECT gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{\"amount\": 1}', NULL
                  FROM generate_series(1, 7)";
    let mut other = client(&database);
    other.batch_execute(&insert.replace("{}", "")).unwrap();
    other
        .batch_execute("CREATE SCHEMA elsewhere; SET search_path = elsewhere")
        .unwrap();
    other.batch_execute(&insert.replace("{}", "public.")).unwrap();
    other
        .batch_execute(
            "UPDATE public.events SET aggregate_type = 'Wallet' WHERE global_sequence = 2;
             UPDATE public.events SET event_type = 'other' WHERE global_sequence = 5;
             DELETE FROM public.events WHERE global_sequence IN (6, 13);
             UPDATE public.events SET global_sequence = 13, event_type = 'moved' WHERE global_sequence = 3",
        )
        .unwrap();
    assert_keys(&database);
    assert_eq!(all_events(&store).len(), 12);
    let error = other
        .batch_execute(
            "UPDATE public.events SET aggregate_id = (SELECT aggregate_id FROM public.events WHERE global_sequence = 1)
                        WHERE global_sequence = 2",
        )
        .unwrap_err();
    assert_eq!(
        error.as_db_error().unwrap().constraint(),
        Some("idx_event_keys_aggregate_version")
    );
    other.batch_execute("TRUNCATE public.events").unwrap();
    assert_keys(&database);
}

#[test]
fn a_stream_whose_versions_do_not_ascend_along_the_log_is_loaded_as_any_other() {
    let Some((database, store)) = partitioned(3) else {
        return;
    };
    let insert =
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                  SELECT gen_random_uuid(), $1, 'Account', version, 'money.deposited', '{\"amount\": 1}'
                  FROM unnest($2::bigint[]) WITH ORDINALITY AS written (version, ordinal)
                  ORDER BY ordinal";
    let mut other = client(&database);
    for order in orders_of_four() {
        let key = account();
        other.query(insert, &[&key.id(), &&order[..]]).unwrap();
        store.add_partitions().unwrap();
        let versions = |stream: &EventStream| -> Vec<u64> {
            let events = stream.events().iter();
            events.map(|event| event.version.get()).collect()
        };
        let loaded = |range: &StreamRange| versions(&store.load_range(&key, range).unwrap());
        for (from, to) in (1..=4_u32).flat_map(|from| (1..=5_u32).map(move |to| (from, to))) {
            for limit in [1, 2, 5] {
                let range = StreamRange::all().from_version(from).to_version(to).limit(limit);
                let there = u64::from(from)..=u64::from(to.min(4));
                let expected: Vec<u64> = there.clone().take(limit as usize).collect();
                assert_eq!(loaded(&range), expected, "{order:?}: {range:?}");
                let range = range.backwards();
                let expected: Vec<u64> = there.rev().take(limit as usize).collect();
                assert_eq!(loaded(&range), expected, "{order:?}: {range:?}");
            }
        }
        assert_eq!(loaded(&StreamRange::all()), [1, 2, 3, 4], "{order:?}");
        store.save(&NewSnapshot::new(&key, 2, "State.v1", &2).unwrap()).unwrap();
        let (_, stream) = store.load_from_snapshot(None, &key, SnapshotAt::Latest).unwrap();
        assert_eq!(versions(&stream), [2, 3, 4], "{order:?}");
    }
}

/// Every order of the versions 1 to 4.
fn orders_of_four() -> impl Iterator<Item = [i64; 4]> {
    let all = (0..256).map(|number| [number / 64, number / 16 % 4, number / 4 % 4, number % 4].map(|digit| digit + 1));
    all.filter(|order| (1..=4).all(|version| order.contains(&version)))
}

#[test]
fn a_role_needs_the_rights_on_the_keys_that_it_has_on_events() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    let clerk = format!("clerk_{}", database.name());
    client(&database)
        .batch_execute(&format!(
            "CREATE ROLE {clerk} LOGIN;
             GRANT SELECT ON firefly_schema_history, firefly_archives, firefly_archived_events, firefly_archived_streams, events TO {clerk};
             GRANT INSERT ON events TO {clerk};
             GRANT SELECT, USAGE ON SEQUENCE events_global_sequence_seq TO {clerk}"
        ))
        .unwrap();
    let config = format!("{}&user={clerk}", database.url());
    let config = if database.url().contains('?') {
        config
    } else {
        config.replacen('&', "?", 1)
    };
    let as_clerk = PostgresEventStore::builder(&config).open().unwrap();
    let key = account();
    let append = || as_clerk.append(&key, ExpectedVersion::Any, &[deposited(1)]);
    assert_eq!(*append().unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(all_events(&store).is_empty());
    client(&database)
        .batch_execute(&format!("GRANT SELECT, INSERT ON firefly_event_keys TO {clerk}"))
        .unwrap();
    append().unwrap();
    assert_eq!(as_clerk.load(&key).unwrap().version(), 1);
    assert_eq!(all_events(&as_clerk), all_events(&store));
    assert_eq!(
        *as_clerk.add_partitions().unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    drop(as_clerk);
    client(&database)
        .batch_execute(&format!("DROP OWNED BY {clerk}; DROP ROLE {clerk}"))
        .unwrap();
}

/// What somebody inserted there would be part of the log later, without keys.
#[test]
fn a_table_that_becomes_a_partition_gives_no_rights() {
    let Some((database, _)) = partitioned(10) else { return };
    let clerk = format!("clerk_{}", database.name());
    let mut client = client(&database);
    client
        .batch_execute(&format!(
            "CREATE ROLE {clerk}; CREATE ROLE {clerk}_owner; GRANT SELECT, INSERT ON events TO {clerk};
             ALTER TABLE events OWNER TO {clerk}_owner"
        ))
        .unwrap();
    for (table, script) in [
        (
            "firefly_emptied_events",
            include_str!("../sql/partitions/make_emptied.sql"),
        ),
        (
            "firefly_joined_events",
            include_str!("../sql/partitions/make_joined.sql"),
        ),
        (
            "events_from_1001",
            include_str!("../sql/partitions/prepare_partition.sql"),
        ),
    ] {
        let value = if table == "firefly_joined_events" {
            "global_sequence < 1001"
        } else {
            "1001"
        };
        client.batch_execute(&script.replace("$1", value)).unwrap();
        let may = "SELECT has_table_privilege($1, $2, 'SELECT') OR has_table_privilege($1, $2, 'INSERT')";
        let may = client.query_one(may, &[&clerk, &table]).unwrap();
        assert!(!may.get::<_, bool>(0), "{table}");
        let owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = $1::text::regclass";
        let owner: String = client.query_one(owner, &[&table]).unwrap().get(0);
        assert_eq!(owner, format!("{clerk}_owner"), "{table}");
    }
    client
        .batch_execute(&format!(
            "REASSIGN OWNED BY {clerk}_owner TO CURRENT_USER; DROP OWNED BY {clerk}, {clerk}_owner; DROP ROLE {clerk}, {clerk}_owner"
        ))
        .unwrap();
}

#[test]
fn a_schema_may_be_renamed() {
    let Some(database) = database() else { return };
    let store = builder(&database)
        .schema("a ledger")
        .partitions(Partitions::by_events(10))
        .open()
        .unwrap();
    append(&store, 5);
    client(&database)
        .batch_execute("ALTER SCHEMA \"a ledger\" RENAME TO \"Another's\"")
        .unwrap();
    append(&store, 10);
    store.add_partitions().unwrap();
    append(&store, 10);
    assert_eq!(all_events(&store).len(), 25);
    store.update_statistics().unwrap();
    store.vacuum().unwrap();
    store.refresh_aggregate_summaries().unwrap();
}

#[test]
fn partitions_whose_events_are_archived_become_one_and_take_them_back() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    for _ in 0..9 {
        append(&store, 5);
        store.add_partitions().unwrap();
    }
    let before = all_events(&store);
    let moved: Vec<EventEnvelope> = movable(&store).into_iter().take(35).collect();
    archive(&store, &moved);
    store.vacuum().unwrap();
    store.add_partitions().unwrap();
    assert_eq!(
        ranges(&database),
        [(None, 0), (Some(31), 5), (Some(41), 5), (Some(51), 0), (Some(61), 0)]
    );
    assert_keys(&database);
    store.attach_events(&moved).unwrap();
    assert_eq!(all_events(&store), before);
    assert_eq!(ranges(&database)[..2], [(None, 30), (Some(31), 10)]);
    assert_keys(&database);
}

#[test]
fn the_store_is_sound_and_says_so() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    client(&database).batch_execute("CREATE EXTENSION amcheck").unwrap();
    append(&store, 25);
    assert_eq!(store.check_storage().unwrap(), []);
    let usage = store.index_usage().unwrap();
    let strange: Vec<_> = usage
        .iter()
        .filter(|index| index.state != firefly_eventstore_core::operate::IndexState::Present)
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(store.update_statistics().unwrap().contains("events (about 25 rows)"));

    client(&database)
        .batch_execute("DROP INDEX idx_event_keys_aggregate_version")
        .unwrap();
    assert_eq!(store.check_storage().unwrap().len(), 1);
    let error = PostgresEventStore::open(database.url()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Schema(_)), "{error:?}");
}

#[test]
fn another_program_reads_the_views() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    append(&store, 25);
    store.refresh_aggregate_summaries().unwrap();
    let mut other = Client::connect(database.url(), NoTls).unwrap();
    for view in ["v_event_statistics", "v_recent_events", "mv_aggregate_summary"] {
        let rows = other.query(&format!("SELECT * FROM {view}"), &[]).unwrap();
        assert!(!rows.is_empty(), "{view}");
    }
}

/// A store with a partition for each month.
fn by_month() -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let store = builder(&database).partitions(Partitions::by_month()).open().unwrap();
    Some((database, store))
}

/// Lets everything have happened this many months earlier.
fn pass_months(database: &Database, months: i32) {
    client(database)
        .batch_execute(&format!(
            "UPDATE firefly_partitions SET begun_at = begun_at - INTERVAL '{months} months';
             UPDATE events SET created_at = created_at - INTERVAL '{months} months'"
        ))
        .unwrap();
}

fn diagnosed(store: &PostgresEventStore) -> (Severity, String) {
    let told = store.diagnose().unwrap();
    let told = told.into_iter().find(|told| told.subject == "partitions").unwrap();
    (told.severity, told.found)
}

const NO_MORE: &str = "and needs no more";

#[test]
fn a_month_ends_with_the_first_call_of_the_next_one() {
    let Some((database, store)) = by_month() else { return };
    let add = || store.add_partitions().unwrap().unwrap();
    assert_eq!(ranges(&database), [(None, 0)]);
    append(&store, 5);
    assert_eq!(add(), format!("the log has 1, {NO_MORE}"));
    pass_months(&database, 1);
    assert_eq!(diagnosed(&store).0, Severity::Warning);
    // No row moves: what was appended before the call stays.
    append(&store, 2);
    assert_eq!(add(), "the log has 2, 1 of them new");
    assert_eq!(add(), format!("the log has 2, {NO_MORE}"));
    assert_eq!(ranges(&database), [(None, 7), (Some(8), 0)]);
    // A hundred times as many events make a partition larger, not more of them.
    for _ in 0..7 {
        append(&store, 100);
        assert_eq!(add(), format!("the log has 2, {NO_MORE}"));
    }
    let (severity, found) = diagnosed(&store);
    assert_eq!(
        (severity, found.as_str()),
        (Severity::Good, "2 by month, the last one from 8 on")
    );
    pass_months(&database, 1);
    add();
    append(&store, 7);
    assert_eq!(ranges(&database), [(None, 7), (Some(8), 700), (Some(708), 7)]);
    assert_eq!(all_events(&store).len(), 714);
    assert_keys(&database);
}

#[test]
fn a_month_without_events_gets_no_partition() {
    let Some((database, store)) = by_month() else { return };
    let add = || store.add_partitions().unwrap();
    pass_months(&database, 5);
    add();
    assert_eq!(ranges(&database), [(None, 0)]);
    // The first event decides the month, even if no call has noticed the months before.
    append(&store, 5);
    add();
    assert_eq!(ranges(&database), [(None, 5)]);
    pass_months(&database, 1);
    add();
    pass_months(&database, 3);
    add();
    // An append that was rolled back has allocated a sequence, and has left no event.
    let undone: Result<(), Error> = store.transaction(|transaction| {
        transaction.append(&account(), ExpectedVersion::Any, &[deposited(1)])?;
        Err(Error::invalid("undone"))
    });
    undone.unwrap_err();
    add();
    assert_eq!(ranges(&database), [(None, 5), (Some(6), 0)]);
    assert_eq!(diagnosed(&store).0, Severity::Good);
    append(&store, 1);
    add();
    assert_eq!(ranges(&database), [(None, 5), (Some(6), 1)]);
}

#[test]
fn what_imported_events_say_of_their_time_begins_no_month() {
    let Some((database, store)) = by_month() else { return };
    let at = |time: &str| {
        let insert = format!(
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, created_at)
             VALUES (gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'money.deposited', '{{\"amount\": 1}}', '{time}')"
        );
        client(&database).batch_execute(&insert).unwrap();
        store.add_partitions().unwrap();
        assert_eq!(ranges(&database).len(), 1, "{time}");
        diagnosed(&store);
    };
    for time in [
        "2019-05-01",
        "2019-07-01",
        "9999-05-01",
        "infinity",
        "-infinity",
        "20000-01-01",
    ] {
        at(time);
        client(&database).batch_execute("DELETE FROM events").unwrap();
    }
}

#[test]
fn a_clock_that_is_set_back_and_forth_divides_no_month() {
    let Some((database, store)) = by_month() else { return };
    append(&store, 5);
    // In the first minutes of a month, the clock is set back to the one before.
    pass_months(&database, -1);
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(None, 5)]);
    // The clock was some years ahead for a while. The partition that was made then does not last for years.
    pass_months(&database, -50);
    store.add_partitions().unwrap();
    append(&store, 1);
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(None, 5), (Some(6), 1)]);
}

#[test]
fn of_many_that_end_a_month_at_once_one_does_while_others_append() {
    let Some((database, store)) = by_month() else { return };
    for month in 1..=5 {
        append(&store, 1);
        pass_months(&database, 1);
        let is_over = AtomicBool::new(false);
        let added = thread::scope(|scope| {
            let ends = Ends(&is_over);
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Acquire) {
                        append(&store, 1);
                    }
                });
            }
            let added = [(); 4]
                .map(|()| scope.spawn(|| store.add_partitions().unwrap().unwrap()))
                .map(|adder| adder.join().unwrap());
            let added = added.iter().filter(|added| added.contains("1 of them new")).count();
            drop(ends);
            added
        });
        assert_eq!(added, 1);
        assert_eq!(ranges(&database).len(), 1 + month);
    }
    let stored: i64 = ranges(&database).iter().map(|(_, events)| events).sum();
    assert_eq!(all_events(&store).len() as i64, stored);
    assert_keys(&database);
}

#[test]
fn readers_miss_nothing_while_months_end() {
    let Some((database, store)) = by_month() else { return };
    let mut client = client(&database);
    // As if the clock had been ahead each time: then each partition with events is of another month.
    let age = "UPDATE firefly_partitions SET begun_at = clock_timestamp() + INTERVAL '1 year'";
    assert_readers_miss_nothing(&database, &store, || client.batch_execute(age).unwrap());
}

#[test]
fn a_large_month_ends_a_little_later_and_a_process_that_dies_meanwhile_costs_nothing() {
    let Some((database, store)) = by_month() else { return };
    append_much(&store, 6_000);
    pass_months(&database, 1);
    // A killed process has left a check, and others append until it refuses.
    let check = |bound: i64| {
        let check = format!(
            "ALTER TABLE events_from_1 DROP CONSTRAINT IF EXISTS firefly_bound, ADD CONSTRAINT firefly_bound
             CHECK (global_sequence < {bound}) NOT VALID"
        );
        client(&database).batch_execute(&check).unwrap();
    };
    check(6_003);
    append(&store, 2);
    let key = account();
    let refused = store.append(&key, ExpectedVersion::NoStream, &[deposited(1)]);
    assert!(refused.unwrap_err().is_retryable());
    assert_eq!(store.load(&key).unwrap().version(), 0);
    store.add_partitions().unwrap();
    // The refused appends have allocated sequences.
    let firsts: Vec<_> = ranges(&database).into_iter().map(|(first, _)| first).collect();
    let first = firsts[1].unwrap();
    assert!(firsts.len() == 2 && (16_003..16_100).contains(&first), "{firsts:?}");
    append(&store, 10);
    let checks = "SELECT COUNT(*) FROM pg_constraint WHERE conname = 'firefly_bound'";
    let checks: i64 = client(&database).query_one(checks, &[]).unwrap().get(0);
    assert_eq!(checks, 0);
    assert_eq!(all_events(&store).len(), 6_012);
    assert_keys(&database);
    // The next partition is of the month in which it gets its first event.
    pass_months(&database, 1);
    store.add_partitions().unwrap();
    let set = format!("SELECT setval('events_global_sequence_seq', {first})");
    client(&database).batch_execute(&set).unwrap();
    append(&store, 1);
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(None, 6_012), (Some(first), 1)]);
}

#[test]
fn a_process_that_is_killed_at_any_step_of_a_months_end_leaves_a_store_that_works() {
    for is_large in [false, true] {
        let Some((database, store)) = by_month() else { return };
        match is_large {
            true => append_much(&store, 6_000),
            false => append(&store, 6_000),
        }
        pass_months(&database, 1);
        let mut other = client(&database);
        other
            .batch_execute(
                "CREATE SCHEMA killing;
                 CREATE FUNCTION killing.kill() RETURNS event_trigger LANGUAGE plpgsql AS $$
                 DECLARE
                     until integer := COALESCE(NULLIF(current_setting('killing.until', true), ''), '0');
                 BEGIN
                     PERFORM set_config('killing.until', (until - 1)::text, false);
                     IF until = 1 THEN
                         PERFORM pg_terminate_backend(pg_backend_pid());
                     END IF;
                 END $$;
                 CREATE EVENT TRIGGER kill ON ddl_command_end EXECUTE FUNCTION killing.kill()",
            )
            .unwrap();
        let mut kills = 0;
        let done = (1..).find_map(|statement| {
            let mut config: Config = database.url().parse().unwrap();
            config.options(&format!("-c killing.until={statement}"));
            let killed = PostgresEventStore::configure(config).open().unwrap();
            let done = killed.add_partitions();
            append(&store, 1);
            match done {
                Ok(done) => done,
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    assert_eq!(ranges(&database).len(), 1);
                    kills += 1;
                    None
                }
            }
        });
        assert_eq!(done.unwrap(), "the log has 2, 1 of them new");
        assert!(kills > if is_large { 5 } else { 4 }, "{kills}");
        other
            .batch_execute("DROP EVENT TRIGGER kill; DROP SCHEMA killing CASCADE")
            .unwrap();
        let ranges = ranges(&database);
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges.iter().map(|(_, events)| events).sum::<i64>(), 6_001 + kills);
        assert_keys(&database);
    }
}

#[test]
fn another_choice_is_for_the_partitions_to_come() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    let choose = |partitions| builder(&database).partitions(partitions).migrate().unwrap();
    append(&store, 5);
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database).len(), 3);
    assert_eq!(diagnosed(&store).1, "3 of 10 events each, the last one from 21 on");
    choose(Partitions::by_month());
    append(&store, 25);
    pass_months(&database, 1);
    store.add_partitions().unwrap();
    append(&store, 40);
    store.add_partitions().unwrap();
    assert_eq!(
        ranges(&database),
        [(None, 10), (Some(11), 10), (Some(21), 10), (Some(31), 40)]
    );
    assert_eq!(diagnosed(&store).1, "4 by month, the last one from 31 on");
    choose(Partitions::by_events(100));
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database)[3..], [(Some(31), 40), (Some(171), 0)]);

    // A log that begins as one partition may get a size, too.
    let Some((database, store)) = by_month() else { return };
    append(&store, 5);
    builder(&database)
        .partitions(Partitions::by_events(10))
        .migrate()
        .unwrap();
    store.add_partitions().unwrap();
    assert_eq!(ranges(&database), [(None, 5), (Some(16), 0)]);
}

#[test]
fn a_log_that_was_partitioned_before_there_was_an_index_on_streams_gets_it() {
    let Some((database, store)) = partitioned(10) else {
        return;
    };
    let key = account();
    for amount in 0..35 {
        store.append(&key, ExpectedVersion::Any, &[deposited(amount)]).unwrap();
        store.add_partitions().unwrap();
    }
    let is_missing = || {
        let usage = store.index_usage().unwrap();
        let index = usage.iter().find(|index| index.name == "idx_events_stream").unwrap();
        index.state == IndexState::Missing
    };
    let mut other = client(&database);
    // The second one was cut off while it built that of a partition.
    for cut_off in [
        "",
        "CREATE INDEX idx_events_stream ON ONLY events (aggregate_id, global_sequence);
         CREATE INDEX events_from_11_stream ON events_from_11 (aggregate_id, global_sequence)",
    ] {
        other
            .batch_execute(&format!("DROP INDEX idx_events_stream; {cut_off}"))
            .unwrap();
        assert!(is_missing());
        let told = store.diagnose().unwrap();
        assert!(
            told.iter()
                .any(|told| told.severity > Severity::Good && format!("{told:?}").contains("idx_events_stream")),
            "{told:?}"
        );
        // The store goes on without it.
        assert_eq!(
            PostgresEventStore::open(database.url())
                .unwrap()
                .load(&key)
                .unwrap()
                .len(),
            35
        );
        let made = store.add_partitions().unwrap().unwrap();
        assert!(made.contains("index on streams"), "{made}");
        assert!(!is_missing());
        assert!(!store.add_partitions().unwrap().unwrap().contains("index"));
        let is_valid =
            "SELECT bool_and(indisvalid) AND COUNT(*) = 1 + (SELECT COUNT(*) FROM firefly_ranges()) FROM pg_index
                        WHERE indexrelid IN (SELECT relid FROM pg_partition_tree('idx_events_stream'))";
        assert!(other.query_one(is_valid, &[]).unwrap().get::<_, bool>(0));
    }
    assert_eq!(store.load(&key).unwrap().len(), 35);
}
