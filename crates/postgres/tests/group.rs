//! Group commit: threads that append at the same time share statements.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::{PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::{
    CROWD, Database, Proxy, append_in_turn, appended_once_each_although_answers_are_cut_off, at_once, postgres,
};

use crate::support::{account, all_events, deposited, fresh};

fn behind_a_proxy(
    configure: impl FnOnce(PostgresBuilder) -> PostgresBuilder,
) -> Option<(Database, Proxy, PostgresEventStore)> {
    let (database, _) = fresh()?;
    let proxy = Proxy::of(&postgres().unwrap().directory().join(".s.PGSQL.5432"));
    let directory = proxy.socket().parent().unwrap();
    let url = format!("host={} user=postgres dbname={}", directory.display(), database.name());
    let store = configure(PostgresEventStore::builder(&url)).open().unwrap();
    Some((database, proxy, store))
}

#[test]
fn many_threads_share_round_trips_unless_they_are_told_not_to() {
    for is_grouped in [true, false] {
        let Some((_database, proxy, store)) = behind_a_proxy(|builder| builder.group(is_grouped)) else {
            return;
        };
        let before = proxy.turns();
        at_once(|| append_in_turn(&store, 50));
        let (turns, appends) = (proxy.turns() - before, CROWD * 50);
        assert_eq!(all_events(&store).len(), appends);
        assert_eq!(
            turns < appends / 2,
            is_grouped,
            "{turns} round trips for {appends} appends"
        );
    }
}

#[test]
fn an_open_transaction_holds_up_nobody_but_who_appends_to_its_aggregate() {
    let Some((database, store)) = fresh() else { return };
    let other = PostgresEventStore::open(database.url()).unwrap();
    let account = account();
    let (begun, has_begun) = mpsc::channel();
    let (end, is_to_end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let account = &account;
        let open = scope.spawn(move || {
            other.transaction(|tx| {
                tx.append(account, ExpectedVersion::NoStream, &[deposited(1)])?;
                begun.send(()).unwrap();
                // All others must have finished by then.
                is_to_end.recv_timeout(Duration::from_secs(30)).unwrap();
                Ok::<_, Error>(())
            })
        });
        has_begun.recv().unwrap();
        // Started among the others, so that it joins a group of them.
        let held_up = scope.spawn(|| {
            append_in_turn(&store, 5);
            store.append(account, ExpectedVersion::Any, &[deposited(1)])
        });
        at_once(|| append_in_turn(&store, 50));
        assert!(!held_up.is_finished());
        end.send(()).unwrap();
        open.join().unwrap().unwrap();
        assert_eq!(held_up.join().unwrap().unwrap().version().get(), 2);
    });
    assert_eq!(all_events(&store).len(), CROWD * 50 + 5 + 2);
}

#[test]
fn groups_whose_answers_were_cut_off_are_stored_once_and_acknowledged() {
    let Some((_database, proxy, store)) = behind_a_proxy(|builder| builder) else {
        return;
    };
    appended_once_each_although_answers_are_cut_off(&store, &proxy);
}
