//! Appends return the sequences that were stored, whatever the server's settings are.

use std::collections::HashMap;
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_test_servers::{Database, MysqlServer};

use crate::support::{account, all_events, client, deposited, fresh, mark, on_both, run};

on_both!(
    an_append_says_the_sequences_that_were_stored_in_every_mode,
    a_batch_of_more_than_a_statement_takes_is_stored_whole_or_not_at_all,
    a_batch_of_more_than_a_packet_takes_is_stored_whole_or_not_at_all,
    an_event_of_more_than_a_packet_is_refused,
);

fn an_append_says_the_sequences_that_were_stored_in_every_mode(server: &MysqlServer) {
    for mode in ["0", "1", "2"] {
        for (increment, offset) in [("1", "1"), ("5", "3")] {
            let options = [
                ("innodb_autoinc_lock_mode", mode),
                ("auto_increment_increment", increment),
                ("auto_increment_offset", offset),
            ];
            let server = MysqlServer::start_forgetful(server.flavour(), &options).unwrap();
            let (database, store) = fresh(&server);
            run(&mut client(&database), "CREATE TABLE numbers (number INT NOT NULL)");
            let numbers: Vec<String> = (0..40).map(|number| format!("({number})")).collect();
            run(
                &mut client(&database),
                &format!("INSERT INTO numbers VALUES {}", numbers.join(", ")),
            );
            let said = append_in_threads(&database, &store);
            let stored: HashMap<Uuid, i64> = client(&database)
                .query("SELECT event_id, global_sequence FROM events WHERE aggregate_type = 'Account'")
                .unwrap()
                .into_iter()
                .collect();
            assert_eq!(said.len(), stored.len());
            for (id, sequence) in said {
                assert_eq!(stored[&id], sequence, "mode {mode}, increment {increment}");
            }
            let log = all_events(&store);
            assert_eq!(log.last().unwrap().global_sequence.as_i64(), mark(&store));
            let greatest: Option<i64> = client(&database)
                .query_first("SELECT MAX(global_sequence) FROM events")
                .unwrap();
            assert_eq!(greatest, Some(mark(&store)));
        }
    }
}

/// The sequences that several threads' appends returned, next to inserts whose number of rows the server does not know in advance.
fn append_in_threads(database: &Database, store: &MysqlEventStore) -> Vec<(Uuid, i64)> {
    const INSERT: &str =
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
         SELECT RANDOM_BYTES(16), RANDOM_BYTES(16), 'Other', 1, 'other.thing', '{}' FROM numbers";
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = client(database);
            for _ in 0..10 {
                run(&mut other, INSERT);
            }
        });
        let mut threads = Vec::new();
        for thread in 0..6 {
            threads.push(scope.spawn(move || append_many(store, &mut fastrand::Rng::with_seed(thread))));
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn append_many(store: &MysqlEventStore, random: &mut fastrand::Rng) -> Vec<(Uuid, i64)> {
    let mut said = Vec::new();
    for _ in 0..25 {
        let events: Vec<NewEvent> = (0..random.u64(1..30)).map(deposited).collect();
        let appended = if random.bool() {
            store.append(&account(), ExpectedVersion::NoStream, &events)
        } else {
            store.transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(0)])?;
                tx.connection()
                    .query_drop("DELETE FROM events WHERE global_sequence = LAST_INSERT_ID()")
                    .unwrap();
                tx.append(&account(), ExpectedVersion::Any, &events)
            })
        };
        let sequences = appended.unwrap().global_sequences().to_vec();
        said.extend(
            events
                .iter()
                .map(NewEvent::event_id)
                .zip(sequences.into_iter().map(GlobalSequence::as_i64)),
        );
    }
    said
}

fn a_batch_of_more_than_a_statement_takes_is_stored_whole_or_not_at_all(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    let (known, account) = (account(), account());
    let events: Vec<NewEvent> = (0..12_000).map(deposited).collect();
    store
        .append(&known, ExpectedVersion::NoStream, &[events[11_999].clone()])
        .unwrap();
    // The last event is already stored. So the events before it are rolled back.
    let error = store.append(&account, ExpectedVersion::NoStream, &events).unwrap_err();
    assert!(error.is_duplicate(), "{error}");
    assert_eq!(all_events(&store).len(), 1);
    store
        .transaction(|tx| {
            let fewer = &events[..11_999];
            let appended = tx.append(&account, ExpectedVersion::NoStream, fewer)?;
            assert_eq!(appended.version(), 11_999);
            assert_eq!(tx.load(&account)?.version(), 11_999);
            Ok::<_, Error>(())
        })
        .unwrap();
    let again = store
        .append(&account, ExpectedVersion::NoStream, &events[..11_999])
        .unwrap();
    assert!(again.is_already_stored());
    let stored: Vec<GlobalSequence> = all_events(&store)[1..]
        .iter()
        .map(|event| event.global_sequence)
        .collect();
    assert_eq!(again.global_sequences(), stored);
}

fn small_packets(server: &MysqlServer) -> MysqlServer {
    MysqlServer::start_forgetful(server.flavour(), &[("max_allowed_packet", "1M")]).unwrap()
}

fn of_bytes(bytes: usize) -> NewEvent {
    NewEvent::from_json("money.deposited", format!(r#"{{"note":"{}"}}"#, "x".repeat(bytes))).unwrap()
}

fn a_batch_of_more_than_a_packet_takes_is_stored_whole_or_not_at_all(server: &MysqlServer) {
    let server = small_packets(server);
    let (_database, store) = fresh(&server);
    let account = account();
    let events: Vec<NewEvent> = (0..20).map(|_| of_bytes(300_000)).collect();
    let appended = store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    assert_eq!(appended.version(), 20);
    let stream = store.load(&account).unwrap();
    for (stored, appended) in stream.events().iter().zip(&events) {
        assert_eq!(stored.checksum, Some(appended.checksum()));
        stored.verify().unwrap();
    }
}

fn an_event_of_more_than_a_packet_is_refused(server: &MysqlServer) {
    let server = small_packets(server);
    let (_database, store) = fresh(&server);
    let events = [deposited(1), of_bytes(1_200_000), deposited(2)];
    let error = store
        .append(&account(), ExpectedVersion::NoStream, &events)
        .unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    assert!(error.to_string().contains("max_allowed_packet"), "{error}");
    assert!(error.to_string().contains(&events[1].event_id().to_string()), "{error}");
    assert!(all_events(&store).is_empty());
}
