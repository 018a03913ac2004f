//! Prepared XA transactions: their events are not committed, and their gates are free. A reader waits for them nevertheless.

use firefly_eventstore_core::operate::{Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_test_servers::{Database, MysqlServer};

use crate::support::{account, all_events, append_one, builder, client, deposited, mark, on_both, run};

on_both!(
    a_prepared_transaction_is_waited_for_also_after_a_crash,
    a_prepared_transaction_far_behind_is_waited_for_by_a_store_that_is_opened,
);

/// A database whose store supports other writers.
fn covered(server: &MysqlServer) -> Database {
    let database = server.new_database();
    builder(&database).cover_other_writers(true).migrate().unwrap();
    database
}

/// A prepared transaction. Dropping it rolls it back, so that a failed test can drop its database.
struct Prepared<'a> {
    database: &'a Database,
    name: &'a str,
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        let _ = client(self.database).query_drop(format!("XA ROLLBACK '{}'", self.name));
    }
}

/// Leaves an event in a prepared XA transaction.
fn prepare<'a>(database: &'a Database, name: &'a str) -> Prepared<'a> {
    let mut other = client(database);
    run(&mut other, &format!("XA START '{name}'"));
    let id = Uuid::now_v7().simple().to_string();
    run(
        &mut other,
        &format!(
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
             VALUES (UNHEX('{id}'), UNHEX('{id}'), 'Account', 1, 'money.deposited', '{{}}')"
        ),
    );
    run(&mut other, &format!("XA END '{name}'"));
    run(&mut other, &format!("XA PREPARE '{name}'"));
    Prepared { database, name }
}

/// The marks of a store that has followed all the time and of one that is opened now. Each looks more than once.
fn marks(database: &Database, follower: &dyn EventStore) -> Vec<i64> {
    let opened = builder(database).open().unwrap();
    let mut marks = Vec::new();
    for _ in 0..3 {
        marks.push(follower.high_water_mark().unwrap().as_i64());
        marks.push(mark(&opened));
    }
    marks.dedup();
    marks
}

fn a_prepared_transaction_is_waited_for_also_after_a_crash(server: &MysqlServer) {
    let server = MysqlServer::start(server.flavour(), &[]).unwrap();
    let database = covered(&server);
    let store = builder(&database).open().unwrap();
    let first = append_one(&store);
    let _prepared = [prepare(&database, "one"), prepare(&database, "two")];
    let last = append_one(&store);
    assert_eq!(last, first + 3);
    assert_eq!(marks(&database, &store), [first]);
    let doctor = |severity| {
        let found = store.diagnose().unwrap();
        let found = found
            .iter()
            .find(|found| found.subject == "prepared XA transactions")
            .unwrap();
        assert_eq!(found.severity, severity, "{found:?}");
    };
    doctor(Severity::Warning);

    server.kill("KILL");
    server.restart();
    assert_eq!(marks(&database, &store), [first]);
    assert_eq!(all_events(&store).len(), 1);
    // One transaction ends, by a commit or a rollback. Readers still wait for the other.
    let mut again = client(&database);
    run(&mut again, "XA ROLLBACK 'one'");
    assert_eq!(marks(&database, &store), [first]);
    run(&mut again, "XA COMMIT 'two'");
    assert_eq!(marks(&database, &store), [last]);
    let sequences: Vec<i64> = all_events(&store)
        .iter()
        .map(|event| event.global_sequence.as_i64())
        .collect();
    assert_eq!(sequences, [first, first + 2, last]);
    doctor(Severity::Good);
}

fn a_prepared_transaction_far_behind_is_waited_for_by_a_store_that_is_opened(server: &MysqlServer) {
    let database = covered(server);
    let store = builder(&database).open().unwrap();
    let first = append_one(&store);
    let _prepared = prepare(&database, database.name());
    let events: Vec<NewEvent> = (0..12_000).map(deposited).collect();
    let appended = store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    let last = appended.last_sequence().unwrap().as_i64();
    assert_eq!(marks(&database, &store), [first]);
    run(&mut client(&database), &format!("XA COMMIT '{}'", database.name()));
    assert_eq!(marks(&database, &store), [last]);
    assert_eq!(all_events(&store).len(), 12_002);
}
