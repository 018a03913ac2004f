//! Threads that append at once share statements: group commit.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::{Opts, OptsBuilder};
use firefly_eventstore_mysql::{MysqlBuilder, MysqlEventStore, Partitions};
use firefly_eventstore_test_servers::{
    CROWD, Database, MysqlServer, Proxy, append_in_turn, appended_once_each_although_answers_are_cut_off, at_once,
};

use crate::support::{account, all_events, builder, deposited, on_both};

on_both!(
    many_threads_share_round_trips_unless_they_are_told_not_to,
    an_open_transaction_holds_up_nobody_but_who_appends_to_its_aggregate,
    groups_whose_answers_were_cut_off_are_stored_once_and_acknowledged,
);

/// A new database for a log in one table, and one for a log in partitions.
fn databases(server: &MysqlServer) -> [Database; 2] {
    [None, Some(Partitions::by_events(1_000))].map(|partitions| {
        let database = server.new_database();
        let builder = builder(&database);
        let made = match partitions {
            None => builder.migrate(),
            Some(partitions) => builder.partitions(partitions).migrate(),
        };
        made.unwrap();
        database
    })
}

fn behind_a_proxy(
    database: &Database,
    configure: impl FnOnce(MysqlBuilder) -> MysqlBuilder,
) -> (Proxy, MysqlEventStore) {
    let opts = Opts::from_url(database.url()).unwrap();
    let proxy = Proxy::of(Path::new(opts.get_socket().expect("the server has a socket")));
    let opts = OptsBuilder::from_opts(opts).socket(proxy.socket().to_str());
    let store = configure(MysqlEventStore::configure(opts)).open().unwrap();
    (proxy, store)
}

fn many_threads_share_round_trips_unless_they_are_told_not_to(server: &MysqlServer) {
    let databases = databases(server);
    for (database, is_grouped) in databases
        .iter()
        .flat_map(|database| [(database, true), (database, false)])
    {
        let (proxy, store) = behind_a_proxy(database, |builder| builder.group(is_grouped));
        let logged = all_events(&store).len();
        let before = proxy.turns();
        at_once(|| append_in_turn(&store, 50));
        let (turns, appends) = (proxy.turns() - before, CROWD * 50);
        assert_eq!(all_events(&store).len() - logged, appends);
        assert_eq!(
            turns < appends / 2,
            is_grouped,
            "{turns} round trips for {appends} appends"
        );
    }
}

fn an_open_transaction_holds_up_nobody_but_who_appends_to_its_aggregate(server: &MysqlServer) {
    for database in databases(server) {
        for (before, expected) in [
            (ExpectedVersion::NoStream, ExpectedVersion::Any),
            (ExpectedVersion::NoStream, ExpectedVersion::NoStream),
            (Version::from(1).into(), Version::from(1).into()),
        ] {
            holds_up_nobody_else(&database, before, expected);
        }
    }
}

/// An open transaction appends to an aggregate that is as `before`, and another append expects it to be as `expected`.
fn holds_up_nobody_else(database: &Database, before: ExpectedVersion, expected: ExpectedVersion) {
    let [store, other] = [(); 2].map(|()| builder(database).open().unwrap());
    let account = account();
    if before != ExpectedVersion::NoStream {
        store
            .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    let (begun, has_begun) = mpsc::channel();
    let (end, is_to_end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let account = &account;
        let open = scope.spawn(move || {
            other.transaction(|tx| {
                let appended = tx.append(account, before, &[deposited(1)])?;
                begun.send(()).unwrap();
                // All others have to be through by then.
                is_to_end.recv_timeout(Duration::from_secs(30)).unwrap();
                Ok::<_, Error>(appended.version())
            })
        });
        has_begun.recv().unwrap();
        // In the midst of the others, so that it joins a group of them.
        let held_up = scope.spawn(|| {
            append_in_turn(&store, 5);
            store.append(account, expected, &[deposited(1)])
        });
        at_once(|| append_in_turn(&store, 50));
        assert!(!held_up.is_finished());
        end.send(()).unwrap();
        let version = open.join().unwrap().unwrap();
        let answer = held_up.join().unwrap();
        match expected {
            ExpectedVersion::Any => assert_eq!(answer.unwrap().version().get(), version.get() + 1),
            _ => assert!(answer.unwrap_err().is_conflict()),
        }
    });
}

fn groups_whose_answers_were_cut_off_are_stored_once_and_acknowledged(server: &MysqlServer) {
    for database in databases(server) {
        let (proxy, store) = behind_a_proxy(&database, |builder| builder);
        appended_once_each_although_answers_are_cut_off(&store, &proxy);
    }
}
