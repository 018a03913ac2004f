//! The order of the log while writers overlap: a reader misses no event, gets none twice, and never waits.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{ErrorKind, Statistics};
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::Client;
use firefly_eventstore_test_servers::Database;

use crate::support::{
    account, all_events, client, deposited, fresh, stored_sequences, write_with_delays_and_rollbacks,
};

/// What a reader saw during the test, in order.
struct Seen {
    sequences: Vec<i64>,
    stored: HashSet<i64>,
}

/// Writers whose transactions overlap, and a reader that follows the log up to the end that `end_of_log` returns.
fn hammer(database: &Database, end_of_log: impl Fn(&mut Client) -> i64 + Sync) -> Seen {
    let store = PostgresEventStore::builder(database.url())
        .max_connections(16)
        .open()
        .unwrap();
    let working = AtomicBool::new(true);
    let mut sequences = Vec::new();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut client = client(database);
            let (mut position, mut seen) = (0_i64, Vec::new());
            loop {
                let last = !working.load(Ordering::SeqCst);
                let end = end_of_log(&mut client);
                let select = "SELECT global_sequence FROM events WHERE global_sequence > $1 AND global_sequence <= $2 ORDER BY 1";
                let rows = client.query(select, &[&position, &end]).unwrap();
                seen.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
                position = position.max(end);
                if last {
                    return seen;
                }
            }
        });
        write_with_delays_and_rollbacks(&store);
        working.store(false, Ordering::SeqCst);
        sequences = reader.join().unwrap();
    });
    Seen {
        sequences,
        stored: stored_sequences(database),
    }
}

#[test]
fn a_reader_that_follows_the_mark_misses_nothing_and_repeats_nothing() {
    let Some((database, _store)) = fresh() else { return };
    let seen = hammer(&database, |client| {
        client
            .query_one("SELECT firefly_high_water_mark()", &[])
            .unwrap()
            .get(0)
    });
    assert!(seen.sequences.is_sorted_by(|a, b| a < b), "out of order, or twice");
    assert_eq!(seen.sequences.len(), seen.stored.len());
    assert_eq!(seen.sequences.into_iter().collect::<HashSet<_>>(), seen.stored);
}

#[test]
fn a_reader_that_does_not_follow_the_mark_misses_events() {
    let Some((database, _store)) = fresh() else { return };
    let seen = hammer(&database, |client| {
        let row = client.query_one("SELECT COALESCE(MAX(global_sequence), 0) FROM events", &[]);
        row.unwrap().get(0)
    });
    assert!(
        seen.sequences.len() < seen.stored.len(),
        "the hammer finds nothing: all {} events were seen",
        seen.stored.len()
    );
}

const INSERT: &str =
    "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
    VALUES (gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'account.opened', '{}')";

#[test]
fn the_first_event_of_a_database_is_waited_for_also_from_another_writer() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    let mut open = other.transaction().unwrap();
    open.batch_execute(INSERT).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 0);
    assert!(all_events(&store).is_empty());
    open.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 2);
    assert_eq!(all_events(&store).len(), 2);
}

#[test]
fn a_transaction_that_allocated_before_and_after_another_does_not_hide_it() {
    let Some((database, store)) = fresh() else { return };
    let (mut ada, mut bob) = (client(&database), client(&database));
    let mut a = ada.transaction().unwrap();
    a.batch_execute(INSERT).unwrap();
    let mut b = bob.transaction().unwrap();
    b.batch_execute(INSERT).unwrap();
    a.batch_execute(INSERT).unwrap();
    a.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1, "2 is not committed yet");
    b.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 3);
}

#[test]
fn a_bulk_copy_is_waited_for() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    let mut open = other.transaction().unwrap();
    let copy =
        "COPY events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data) FROM STDIN";
    let mut rows = open.copy_in(copy).unwrap();
    let line = format!(
        "{}\t{}\tAccount\t1\taccount.opened\t{{}}\n",
        Uuid::now_v7(),
        Uuid::now_v7()
    );
    std::io::Write::write_all(&mut rows, line.as_bytes()).unwrap();
    assert_eq!(rows.finish().unwrap(), 1);
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 0);
    open.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 2);
}

#[test]
fn what_was_rolled_back_to_a_savepoint_is_announced_again() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    let mut open = other.transaction().unwrap();
    open.batch_execute("SAVEPOINT s").unwrap();
    open.batch_execute(INSERT).unwrap();
    open.batch_execute("ROLLBACK TO s").unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 2, "nothing is announced any more");
    open.batch_execute(INSERT).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 2);
    open.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 4);
}

#[test]
fn a_database_where_transactions_are_serializable_unless_they_say_otherwise_has_a_mark_too() {
    let Some((database, _)) = fresh() else { return };
    let serializable = format!(
        "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'",
        database.name()
    );
    client(&database).batch_execute(&serializable).unwrap();
    let store = PostgresEventStore::open(database.url()).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1);
    assert_eq!(all_events(&store).len(), 1);
}

#[test]
fn an_open_transaction_of_another_application_holds_nothing_back() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    let mut open = other.transaction().unwrap();
    open.batch_execute("CREATE TABLE notes (note TEXT); INSERT INTO notes VALUES ('open')")
        .unwrap();
    open.batch_execute("SELECT pg_advisory_xact_lock_shared(1, 0), pg_advisory_xact_lock(7)")
        .unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1);
    open.rollback().unwrap();
}

#[test]
fn another_store_in_the_same_database_holds_nothing_back() {
    let Some((database, store)) = fresh() else { return };
    let second = PostgresEventStore::builder(database.url())
        .schema("Second \"store\"")
        .migrate_on_open(true)
        .open()
        .unwrap();
    second
        .transaction(|tx| {
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            assert_eq!(store.high_water_mark()?, 1);
            assert_eq!(
                thread::scope(|scope| scope.spawn(|| second.high_water_mark()).join().unwrap())?,
                0
            );
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(second.high_water_mark().unwrap(), 1);
    assert_eq!(all_events(&second).len(), 1);
}

#[test]
fn twenty_thousand_inserts_in_one_transaction_announce_once() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    let mut open = other.transaction().unwrap();
    let inserts = format!("DO $$ BEGIN FOR number IN 1..20000 LOOP {INSERT}; END LOOP; END $$");
    open.batch_execute(&inserts).unwrap();
    let locks = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    assert_eq!(open.query_one(locks, &[]).unwrap().get::<_, i64>(0), 1);
    assert_eq!(store.high_water_mark().unwrap(), 0);
    open.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 20_000);
}

#[test]
fn twenty_thousand_appends_in_one_transaction_announce_once() {
    let Some((database, store)) = fresh() else { return };
    let mut sequences = Vec::new();
    let open = PostgresEventStore::builder(database.url()).open().unwrap();
    open.transaction(|tx| {
        for _ in 0..20_000 {
            let appended = tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            sequences.extend_from_slice(appended.global_sequences());
        }
        let locks = "SELECT COUNT(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'relation'";
        let locks: i64 = tx.connection().query_one(locks, &[]).unwrap().get(0);
        assert!(locks < 10, "{locks} locks");
        // Another client's append does not move the mark beyond the open transaction.
        store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
        assert_eq!(store.high_water_mark()?, 0);
        assert!(all_events(&store).is_empty());
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 20_001);
    let log = all_events(&store);
    assert_eq!(log.len(), 20_001);
    let stored: Vec<GlobalSequence> = log[..20_000].iter().map(|event| event.global_sequence).collect();
    assert_eq!(stored, sequences);
}

#[test]
fn a_writer_without_ordinary_triggers_is_waited_for() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    // As replication and restores set it.
    other.batch_execute("SET session_replication_role = replica").unwrap();
    let mut open = other.transaction().unwrap();
    open.batch_execute(INSERT).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 0);
    open.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 2);
}

/// Announces, as every writer does, that this transaction allocates sequences beyond the given one.
const ANNOUNCE: &str =
    "SELECT pg_advisory_xact_lock_shared(('events'::regclass::oid::bigint # 1718973036)::bit(32)::integer, $1)";

const MARK: &str = "SELECT firefly_high_water_mark()";

#[test]
fn a_writer_that_announced_late_takes_back_nothing_that_was_proved() {
    let Some((database, store)) = fresh() else { return };
    for _ in 0..2 {
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    assert_eq!(store.high_water_mark().unwrap(), 2);
    // The writer saw that nothing was allocated, and then slept. What it allocates now is beyond 2 nevertheless.
    let mut other = client(&database);
    let mut late = other.transaction().unwrap();
    late.query(ANNOUNCE, &[&0]).unwrap();
    assert_eq!(late.query_one(MARK, &[]).unwrap().get::<_, i64>(0), 0);
    for store in [&store, &store.clone()] {
        assert_eq!(store.high_water_mark().unwrap(), 2);
        assert_eq!(store.high_water_mark().unwrap(), 2, "nor does it when asked again");
        assert_eq!(all_events(store).len(), 2);
    }
}

#[test]
fn a_writer_that_announces_after_the_sequence_was_looked_at_holds_nothing_back() {
    let Some((database, store)) = fresh() else { return };
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    // The writer saw more sequences allocated than the reader did. That happens if it looked between the reader's two
    // looks.
    let mut other = client(&database);
    let mut later = other.transaction().unwrap();
    later.query(ANNOUNCE, &[&9]).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1);
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 2);
}

#[test]
fn an_append_that_another_writer_announced_itself_in_the_middle_of_is_held_back_whole() {
    let Some((database, store)) = fresh() else { return };
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    // When the writer looked, two of the three sequences below were allocated.
    let mut other = client(&database);
    let mut open = other.transaction().unwrap();
    open.query(ANNOUNCE, &[&3]).unwrap();
    let events: Vec<NewEvent> = (0..3).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1);
    assert_eq!(all_events(&store).len(), 1);
    open.commit().unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 4);
    assert_eq!(all_events(&store).len(), 4);
}

#[test]
fn statistics_are_those_of_one_moment() {
    let Some((_database, store)) = fresh() else { return };
    let account = account();
    let working = AtomicBool::new(true);
    let seen: Vec<Result<Statistics, Error>> = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while working.load(Ordering::SeqCst) {
                    store.append(&account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
                }
            });
        }
        let seen = (0..200).map(|_| store.statistics(None)).collect();
        working.store(false, Ordering::SeqCst);
        seen
    });
    for statistics in seen {
        let statistics = statistics.unwrap();
        let details: u64 = statistics.details.iter().map(|details| details.event_count).sum();
        assert_eq!(details, statistics.total_events);
    }
}

#[test]
fn a_log_that_was_cut_is_told_once_by_the_mark_and_to_every_read_that_begins_beyond() {
    let Some((database, store)) = fresh() else { return };
    for _ in 0..40 {
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    let checkpoint = store.high_water_mark().unwrap();
    let calls: [&dyn Fn() -> Result<(), Error>; 3] = [
        &|| store.high_water_mark().map(drop),
        &|| store.read_page(&EventQuery::new(), None).map(drop),
        &|| store.health().map(drop),
    ];
    for call in calls {
        assert_eq!(store.high_water_mark().unwrap(), checkpoint);
        for (cut, end) in [
            ("DELETE FROM events WHERE global_sequence > 3", 3_u32),
            ("TRUNCATE events", 0),
        ] {
            let mut other = client(&database);
            let mut cutting = other.transaction().unwrap();
            cutting.batch_execute("CREATE TABLE kept AS TABLE events").unwrap();
            cutting.batch_execute(cut).unwrap();
            cutting.commit().unwrap();
            let error = call().unwrap_err();
            let expected = ErrorKind::BeyondEnd {
                position: checkpoint,
                end: GlobalSequence::from(end),
            };
            assert_eq!(*error.kind(), expected, "{cut}");
            assert_eq!(store.high_water_mark().unwrap(), u64::from(end), "the proof is dropped");
            let error = store
                .read(EventQuery::new().after(checkpoint))
                .next()
                .unwrap()
                .unwrap_err();
            assert_eq!(*error.kind(), expected, "{cut}");
            let backwards = EventQuery::new().after(checkpoint).backwards();
            assert!(store.read(backwards).next().unwrap().unwrap_err().is_beyond_end());
            assert_eq!(all_events(&store).len(), end as usize);
            let columns = "event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data, checksum";
            other
                .batch_execute(&format!(
                    "TRUNCATE events; INSERT INTO events ({columns}) SELECT {columns} FROM kept; DROP TABLE kept"
                ))
                .unwrap();
            assert_eq!(store.high_water_mark().unwrap(), checkpoint);
        }
    }
}

#[test]
fn a_field_of_a_thousand_holes_is_crossed_in_one_step() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    other
        .batch_execute("SELECT nextval('events_global_sequence_seq') FROM generate_series(1, 1000)")
        .unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1_001);
    assert_eq!(all_events(&store).len(), 1);
}

#[test]
fn sequences_beyond_32_bits_are_announced_right() {
    let Some((database, store)) = fresh() else { return };
    let mut other = client(&database);
    for start in [4_294_967_290_i64, 2_147_483_640, 8_589_934_585] {
        let restart = format!("TRUNCATE events; SELECT setval('events_global_sequence_seq', {start})");
        other.batch_execute(&restart).unwrap();
        // A store never lowers a mark that it has proved. So a new store reads the log that began anew.
        let store = PostgresEventStore::open(database.url()).unwrap();
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        let mut open = other.transaction().unwrap();
        open.batch_execute(INSERT).unwrap();
        for _ in 0..20 {
            store
                .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap();
        }
        assert_eq!(store.high_water_mark().unwrap().as_i64(), start + 1);
        open.commit().unwrap();
        assert_eq!(store.high_water_mark().unwrap().as_i64(), start + 22);
    }
    drop(store);
}
