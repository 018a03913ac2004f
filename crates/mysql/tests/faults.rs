//! Crashed servers, killed connections, missing rights: no acknowledged event is lost, none is stored twice, and every error has a kind.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Limits, SchemaProblem};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, IsolationLevel, Opts, OptsBuilder, Row, TxOpts};
use firefly_eventstore_mysql::{MysqlEventStore, MysqlTransaction, Partitions};
use firefly_eventstore_test_servers::{
    Database, Flavour, MysqlServer, appended_once_each_while, on_a_small_file_system,
};

use crate::support::{
    account, all_events, append_one, builder, client, connections, deposited, fresh, mark, on_both, run,
    until_some_connection,
};

on_both!(
    a_server_that_is_killed_under_load_loses_nothing_that_was_acknowledged,
    connections_that_are_killed_at_random_lose_nothing,
    threads_on_one_aggregate_all_get_through,
    a_pool_that_is_used_up_is_a_pool_timeout,
    a_unique_key_of_somebody_elses_is_not_taken_for_an_append_that_was_faster,
    each_refusal_of_the_server_is_a_typed_error,
    a_full_disk_refuses_an_append_whole_and_takes_it_when_there_is_room,
    a_full_disk_under_the_binary_log_holds_appends_up_and_reads_go_on,
    a_compressed_connection_keeps_batches_of_many_megabytes,
    compression_is_as_the_server_has_it,
    a_limit_of_the_clients_on_packets_is_kept,
    what_a_statement_or_the_server_cannot_take_is_invalid_input,
    a_lock_that_is_held_for_too_long_is_retryable,
    what_was_acknowledged_is_committed_whatever_the_servers_defaults_are,
    a_connection_on_which_a_transaction_timed_out_is_not_used_again,
    a_transaction_that_ended_before_its_work_keeps_nothing_that_followed,
    a_transaction_that_only_read_writes_nothing_into_the_binary_log,
    an_append_that_is_the_victim_of_a_deadlock_is_repeated,
    the_victim_of_a_deadlock_is_told_to_repeat_its_transaction,
    any_version_in_a_repeatable_read_transaction_holds_up_the_aggregates_that_come_next,
    a_transaction_of_the_callers_goes_on_after_an_append_that_failed,
    a_connection_of_the_callers_that_would_change_values_silently_is_refused,
    a_statement_outlives_a_change_of_its_table,
    a_table_that_was_dropped_is_an_altered_schema,
    a_dump_is_restored_and_goes_on,
    limits_beyond_what_the_server_keeps_are_refused_when_opening,
    what_cannot_be_reached_is_said_without_the_password,
);

fn a_server_that_is_killed_under_load_loses_nothing_that_was_acknowledged(server: &MysqlServer) {
    let server = MysqlServer::start(server.flavour(), &[]).unwrap();
    let (_database, store) = fresh(&server);
    appended_once_each_while(&store, |until_one_more_is_acknowledged| {
        for _ in 0..4 {
            until_one_more_is_acknowledged();
            thread::sleep(Duration::from_millis(fastrand::u64(50..300)));
            server.kill("KILL");
            server.restart();
        }
    });
}

fn connections_that_are_killed_at_random_lose_nothing(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    appended_once_each_while(&store, |until_one_more_is_acknowledged| {
        for _ in 0..100 {
            until_one_more_is_acknowledged();
            thread::sleep(Duration::from_millis(fastrand::u64(1..10)));
            let ids: Vec<u32> = connections(&mut other, &database)
                .iter()
                .map(|row| row.get("Id").unwrap())
                .filter(|id| *id != other.connection_id())
                .collect();
            if let Some(id) = fastrand::choice(ids) {
                let _ = other.query_drop(format!("KILL {id}")); // it may have ended by itself
            }
        }
    });
}

fn threads_on_one_aggregate_all_get_through(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    let account = account();
    thread::scope(|scope| {
        for thread in 0..16 {
            let (store, account) = (&store, &account);
            scope.spawn(move || {
                for round in 0..10 {
                    if thread % 4 == 0 {
                        store
                            .transaction(|tx| tx.append(account, ExpectedVersion::Any, &[deposited(round)]))
                            .unwrap();
                    } else {
                        store
                            .append(account, ExpectedVersion::Any, &[deposited(round)])
                            .unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(store.load(&account).unwrap().version(), 160);
}

fn a_pool_that_is_used_up_is_a_pool_timeout(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let store = builder(&database)
        .max_connections(1)
        .pool_timeout(Duration::from_secs(2)) // in which the first connection is to be made, too
        .open()
        .unwrap();
    let asked = Instant::now();
    let error = store
        .transaction(|_| {
            let append = || store.append(&account(), ExpectedVersion::Any, &[deposited(1)]);
            thread::scope(|scope| scope.spawn(append).join().unwrap())
        })
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PoolTimeout);
    assert!(error.is_retryable());
    let waited = asked.elapsed();
    assert!(waited < Duration::from_secs(60), "{waited:?}");
    append_one(&store);
}

fn a_unique_key_of_somebody_elses_is_not_taken_for_an_append_that_was_faster(server: &MysqlServer) {
    let (database, store) = fresh(server);
    append_one(&store);
    let mut other = client(&database);
    run(&mut other, "CREATE UNIQUE INDEX one_of_each ON events (event_type)");
    for expected in [ExpectedVersion::Any, ExpectedVersion::NoStream] {
        let error = store.append(&account(), expected, &[deposited(1)]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error:?}");
        assert!(!error.is_retryable());
    }
    run(&mut other, "DROP INDEX one_of_each ON events");
    let last = append_one(&store);
    assert_eq!(mark(&store), last);
}

/// A store of a user with these rights.
fn as_clerk(database: &Database, rights: &[&str]) -> MysqlEventStore {
    let clerk = format!("c{}", fastrand::u32(..));
    let mut admin = client(database);
    run(&mut admin, &format!("CREATE USER {clerk}@'%' IDENTIFIED BY 'secret'"));
    for right in rights {
        run(
            &mut admin,
            &format!("GRANT {} TO {clerk}@'%'", right.replace("DB", database.name())),
        );
    }
    let opts = OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap());
    MysqlEventStore::configure(opts.user(Some(clerk)).pass(Some("secret")))
        .open()
        .unwrap()
}

/// An error code of the server, and the expected kind of error.
type Signal = (&'static str, fn(&ErrorKind) -> bool);

fn each_refusal_of_the_server_is_a_typed_error(server: &MysqlServer) {
    const APPENDS: &[&str] = &[
        "SELECT ON DB.* ",
        "INSERT ON DB.events",
        "UPDATE ON DB.firefly_gate",
        "UPDATE ON DB.firefly_turn",
    ];
    let (database, store) = fresh(server);
    // That is all it takes to append and to read, but not in a transaction whose connection is read-only.
    let clerk = as_clerk(&database, APPENDS);
    append_one(&clerk);
    clerk
        .transaction(|tx| tx.append(&account(), ExpectedVersion::Any, &[deposited(1)]))
        .unwrap();
    assert_eq!(mark(&clerk), 2);
    let error = clerk
        .transaction(|tx| {
            tx.connection().query_drop("ROLLBACK").unwrap();
            tx.connection().query_drop("START TRANSACTION READ ONLY").unwrap();
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        })
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ReadOnly, "{error:?}");

    let reader = as_clerk(&database, &["SELECT ON DB.*"]);
    let error = reader
        .append(&account(), ExpectedVersion::Any, &[deposited(1)])
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().starts_with("append to Account "), "{error}");
    assert!(std::error::Error::source(&error).is_some());

    let signals: [Signal; 5] = [
        ("1114", |kind| *kind == ErrorKind::StorageFull),
        ("1021", |kind| *kind == ErrorKind::StorageFull),
        ("1290", |kind| *kind == ErrorKind::ReadOnly),
        ("1317", |kind| matches!(kind, ErrorKind::Unavailable { .. })),
        ("1105", |kind| matches!(kind, ErrorKind::Backend { .. })),
    ];
    for (code, is_right) in signals {
        let mut other = client(&database);
        run(
            &mut other,
            &format!(
                "CREATE TRIGGER refusal BEFORE INSERT ON events FOR EACH ROW
                 SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'no'"
            ),
        );
        let error = store
            .append(&account(), ExpectedVersion::Any, &[deposited(1)])
            .unwrap_err();
        assert!(is_right(error.kind()), "{code}: {error:?}");
        run(&mut other, "DROP TRIGGER refusal");
    }
    assert_eq!(all_events(&store).len(), 2);
}

fn a_full_disk_refuses_an_append_whole_and_takes_it_when_there_is_room(server: &MysqlServer) {
    let flavour = server.flavour();
    let this = "a_full_disk_refuses_an_append_whole_and_takes_it_when_there_is_room";
    on_a_small_file_system(&format!("faults::{}::{this}", flavour.name()), 400, |directory| {
        append_until_the_disk_is_full(flavour, directory);
    });
}

/// All of the server's files are in the directory, on the small file system.
fn append_until_the_disk_is_full(flavour: Flavour, directory: &Path) {
    let redo_log = match flavour {
        Flavour::Mysql => ("innodb_redo_log_capacity", "16M"),
        Flavour::Mariadb => ("innodb_log_file_size", "16M"),
    };
    // With a binary log, the server would wait; another test covers that.
    let server = MysqlServer::start_in(directory, flavour, &[redo_log, ("skip_log_bin", "")]).unwrap();
    let (_database, store) = fresh(&server);
    let before = append_one(&store);
    let filler = Filler::of_all_but(16 << 20, directory);

    let account = account();
    let (stored, refused, error) = until_refused(&store, &account);
    assert_eq!(*error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert!(
        error.to_string().starts_with(&format!("append to {account}: ")),
        "{error}"
    );
    assert_stored(&store, &account, stored);
    assert_eq!(mark(&store), before + stored.as_i64());
    assert_eq!(all_events(&store).len() as u64, 1 + stored.get());

    drop(filler);
    let appended = store.append(&account, stored, &refused).unwrap();
    assert!(!appended.is_already_stored());
    assert_stored(&store, &account, appended.version());
    assert_eq!(store.high_water_mark().unwrap(), appended.last_sequence().unwrap());
}

/// When the binary log finds no room, both servers wait and look once a minute. A client need not wait for them.
fn a_full_disk_under_the_binary_log_holds_appends_up_and_reads_go_on(server: &MysqlServer) {
    let flavour = server.flavour();
    let this = "a_full_disk_under_the_binary_log_holds_appends_up_and_reads_go_on";
    on_a_small_file_system(&format!("faults::{}::{this}", flavour.name()), 8, |directory| {
        append_until_the_binary_log_is_full(flavour, directory);
    });
}

fn append_until_the_binary_log_is_full(flavour: Flavour, directory: &Path) {
    let binary_log = directory.join("log");
    let options = [("log_bin", binary_log.to_str().unwrap()), ("server_id", "1")];
    let server = MysqlServer::start(flavour, &options).unwrap();
    let (database, _) = fresh(&server);
    let opts = OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap());
    let store = MysqlEventStore::configure(opts.read_timeout(Some(Duration::from_secs(2))))
        .open()
        .unwrap();
    let filler = Filler::of_all_but(2 << 20, directory);

    let account = account();
    let (stored, held_up, error) = until_refused(&store, &account);
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
    assert!(error.is_retryable());
    assert_stored(&store, &account, stored);
    assert_eq!(mark(&store), stored.as_i64());

    drop(filler);
    // A kill is faster than to wait until the server looks.
    server.kill("KILL");
    server.restart();
    let appended = store.append(&account, stored, &held_up).unwrap();
    assert_eq!(appended.version(), stored.get() + held_up.len() as u64);
    assert_stored(&store, &account, appended.version());
    assert_eq!(store.high_water_mark().unwrap(), appended.last_sequence().unwrap());
    assert_eq!(all_events(&store).len() as u64, appended.version().get());
}

/// A file that leaves little room on a file system. Dropping it frees the room.
struct Filler(PathBuf);

impl Filler {
    fn of_all_but(bytes: usize, directory: &Path) -> Self {
        let [filler, room] = ["filler", "room"].map(|name| directory.join(name));
        File::create(&room).unwrap().write_all(&vec![0; bytes]).unwrap();
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[0; 1 << 16]).is_ok() {}
        fs::remove_file(room).unwrap();
        Self(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Appends to an aggregate until an append fails. Returns the version then, the refused events and the error.
fn until_refused(store: &MysqlEventStore, account: &AggregateKey) -> (Version, Vec<NewEvent>, Error) {
    let large = |_| NewEvent::from_json("file.attached", format!(r#"{{"content":"{}"}}"#, "x".repeat(1_500))).unwrap();
    let mut stored = Version::ZERO;
    loop {
        let events: Vec<NewEvent> = (0..100).map(large).collect();
        match store.append(account, stored, &events) {
            Ok(appended) => stored = appended.version(),
            Err(error) => {
                assert!(stored > Version::ZERO, "there was room for some: {error:?}");
                return (stored, events, error);
            }
        }
    }
}

/// Asserts that the aggregate has exactly the events up to this version, all complete.
fn assert_stored(store: &MysqlEventStore, account: &AggregateKey, version: Version) {
    assert_eq!(store.version(account).unwrap(), version);
    let stream = store.load(account).unwrap();
    let versions: Vec<u64> = stream.events().iter().map(|event| event.version.get()).collect();
    assert_eq!(versions, (1..=version.get()).collect::<Vec<_>>());
    stream.events().iter().for_each(|event| event.verify().unwrap());
}

/// The URL with one more parameter.
fn with_parameter(url: &str, parameter: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameter}")
}

/// An event with this many bytes, which compression cannot halve.
fn of_bytes(bytes: usize) -> NewEvent {
    let noise: String = (0..bytes / 2).map(|_| format!("{:02x}", fastrand::u8(..))).collect();
    NewEvent::from_json("file.attached", format!(r#"{{"content":"{noise}"}}"#)).unwrap()
}

/// Batches of large events and of many events, in one packet and in several.
fn batches() -> [Vec<NewEvent>; 4] {
    [
        vec![deposited(1)],
        (0..5_000).map(deposited).collect(),
        (0..1_000).map(|_| of_bytes(3_000)).collect(),
        (0..5).map(|_| of_bytes(900_000)).collect(),
    ]
}

fn a_compressed_connection_keeps_batches_of_many_megabytes(server: &MysqlServer) {
    let flavour = server.flavour();
    // The second value is no multiple of the server's unit of allocation.
    for packet in ["1M", "1050624"] {
        let server = MysqlServer::start_forgetful(flavour, &[("max_allowed_packet", packet)]).unwrap();
        let (database, plain) = fresh(&server);
        let compressed = MysqlEventStore::open(&with_parameter(database.url(), "compress=true")).unwrap();
        let status = "SHOW SESSION STATUS LIKE 'Compression'";
        for (store, expected) in [(&plain, "OFF"), (&compressed, "ON")] {
            let found: Option<(String, String)> = store
                .transaction(|tx| Ok::<_, Error>(tx.connection().query_first(status).unwrap()))
                .unwrap();
            assert_eq!(found.unwrap().1, expected);
        }
        let account = account();
        let mut stored = Vec::new();
        for batch in batches() {
            let version = compressed.version(&account).unwrap();
            compressed.append(&account, version, &batch).unwrap();
            stored.extend(batch);
        }
        let log = all_events(&compressed);
        assert_eq!(log, all_events(&plain));
        assert_eq!(compressed.load(&account).unwrap().events(), log);
        assert_eq!(log.len(), stored.len());
        for (found, event) in log.iter().zip(&stored) {
            found.verify().unwrap();
            assert_eq!(found.event_id, event.event_id());
            assert_eq!(found.checksum, Some(event.checksum()));
        }

        // It is refused although it compresses well.
        let content = "x".repeat(1_100_000);
        let large = NewEvent::from_json("file.attached", format!(r#"{{"content":"{content}"}}"#)).unwrap();
        let error = compressed
            .append(&account, ExpectedVersion::Any, &[deposited(1), large])
            .unwrap_err();
        assert!(error.is_invalid_input(), "{error:?}");
        assert!(error.to_string().contains("max_allowed_packet"), "{error}");
        assert_eq!(compressed.version(&account).unwrap(), log.len() as u64);
    }
}

/// If a server does not offer the compression that the driver asks for, the connection is not compressed. MariaDB always offers it.
fn compression_is_as_the_server_has_it(server: &MysqlServer) {
    if server.flavour() == Flavour::Mariadb {
        return;
    }
    let algorithms = ("protocol_compression_algorithms", "zstd,uncompressed");
    let server = MysqlServer::start_forgetful(server.flavour(), &[algorithms]).unwrap();
    let (database, _) = fresh(&server);
    let store = MysqlEventStore::open(&with_parameter(database.url(), "compress=true")).unwrap();
    append_one(&store);
    let error = MysqlEventStore::open(&with_parameter(database.url(), "compress=somewhat")).unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
}

fn a_limit_of_the_clients_on_packets_is_kept(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let limited = MysqlEventStore::open(&with_parameter(database.url(), "max_allowed_packet=131072")).unwrap();
    let account = account();
    let batch: Vec<NewEvent> = (0..100).map(|_| of_bytes(20_000)).collect();
    limited.append(&account, ExpectedVersion::NoStream, &batch).unwrap();
    assert_eq!(limited.load(&account).unwrap().events().len(), batch.len());

    let large = [of_bytes(200_000)];
    let error = limited.append(&account, ExpectedVersion::Any, &large).unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    assert!(error.to_string().contains("max_allowed_packet"), "{error}");
    // A client with a small limit can never read the large events that others stored.
    store.append(&account, ExpectedVersion::Any, &large).unwrap();
    let error = limited.load(&account).unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("max_allowed_packet"), "{error}");
    assert_eq!(mark(&limited), 101);

    // Where packets are compressed, many of the server's are one.
    let parameters = "max_allowed_packet=131072&compress=true";
    let compressed = MysqlEventStore::open(&with_parameter(database.url(), parameters)).unwrap();
    assert_eq!(compressed.load(&account).unwrap().events().len(), 101);
    assert_eq!(all_events(&compressed).len(), 101);
}

fn what_a_statement_or_the_server_cannot_take_is_invalid_input(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    append_one(&store);
    let ids = |count| EventQuery::new().event_ids((0..count).map(|_| Uuid::now_v7()));
    assert!(store.read_page(&ids(32_768), None).unwrap().events.is_empty());
    let error = store.read_page(&ids(32_769), None).unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");

    // MySQL's binary form of numbers takes more room than their text.
    let server = MysqlServer::start_forgetful(server.flavour(), &[("max_allowed_packet", "4194304")]).unwrap();
    let (_database, store) = fresh(&server);
    let ones = NewEvent::from_json("numbers.counted", format!("[{}1]", "1,".repeat(1_950_000))).unwrap();
    let appended = store.append(&account(), ExpectedVersion::NoStream, &[ones]);
    match server.flavour() {
        Flavour::Mysql => assert!(appended.unwrap_err().is_invalid_input()),
        Flavour::Mariadb => assert_eq!(appended.unwrap().version(), 1),
    }
    append_one(&store);
}

fn a_lock_that_is_held_for_too_long_is_retryable(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let account = account();
    let event = [deposited(1)];
    let error = store
        .transaction(|tx| {
            tx.append(&account, ExpectedVersion::NoStream, &[deposited(2)])?;
            let impatient = MysqlEventStore::configure(
                OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap())
                    .init(vec!["SET SESSION innodb_lock_wait_timeout = 1"]),
            );
            let impatient = impatient.open()?;
            let error = impatient
                .append(&account, ExpectedVersion::NoStream, &event)
                .unwrap_err();
            assert!(error.is_retryable(), "{error:?}");
            Err::<(), _>(Error::invalid("changed my mind"))
        })
        .unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    store.append(&account, ExpectedVersion::NoStream, &event).unwrap();
    assert_eq!(all_events(&store).len(), 1);
}

fn what_was_acknowledged_is_committed_whatever_the_servers_defaults_are(server: &MysqlServer) {
    let options = [("autocommit", "0"), ("completion_type", "CHAIN")];
    let server = MysqlServer::start_forgetful(server.flavour(), &options).unwrap();
    let (database, _) = fresh(&server);
    run(&mut client(&database), "SET GLOBAL sql_select_limit = 1");
    let one_connection = || builder(&database).max_connections(1).open().unwrap();
    let store = one_connection();
    for _ in 0..2 {
        let account = account();
        store
            .transaction(|tx| tx.append(&account, ExpectedVersion::NoStream, &[deposited(1)]))
            .unwrap();
        store
            .append(&account, ExpectedVersion::Exact(1.into()), &[deposited(2)])
            .unwrap();
        let batch: Vec<NewEvent> = (0..6_000).map(deposited).collect();
        store.append(&account, ExpectedVersion::Any, &batch).unwrap();
        store
            .append(&account, ExpectedVersion::Exact(6_002.into()), &[deposited(3)])
            .unwrap();
    }
    assert_eq!(all_events(&one_connection()).len(), 2 * 6_003);
}

fn a_connection_on_which_a_transaction_timed_out_is_not_used_again(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let opts = Opts::from_url(database.url()).unwrap();
    let impatient = OptsBuilder::from_opts(opts).read_timeout(Some(Duration::from_millis(700)));
    let store = MysqlEventStore::configure(impatient).max_connections(1).open().unwrap();
    let accounts = [account(), account()];
    for account in &accounts {
        store
            .append(account, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    }
    let connection_id = || {
        let ask = |tx: &mut MysqlTransaction<'_>| tx.connection().query_first::<u64, _>("SELECT CONNECTION_ID()");
        store.transaction(|tx| Ok::<_, Error>(ask(tx).unwrap())).unwrap()
    };
    let lock = "SELECT id FROM firefly_turn FOR UPDATE";
    let times_out = |work: &dyn Fn(&mut MysqlTransaction<'_>, &mut Conn) -> Result<(), Error>| {
        let timed_out = connection_id();
        let mut other = client(&database);
        run(&mut other, "START TRANSACTION");
        run(&mut other, lock);
        let error = store.transaction(|tx| work(tx, &mut other)).unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        drop(other);
        assert_ne!(connection_id(), timed_out);
        for account in &accounts {
            assert_eq!(store.load(account).unwrap().version(), 1);
            let refused = store.append(account, ExpectedVersion::NoStream, &[deposited(3)]);
            assert!(refused.unwrap_err().is_conflict());
        }
    };
    times_out(&|tx, _| tx.append(&accounts[0], ExpectedVersion::Any, &[deposited(2)]).map(drop));
    // The caller ignores the error. The server has answered an earlier question when the transaction commits.
    times_out(&|tx, other| {
        tx.connection().query_drop(lock).unwrap_err();
        run(other, "ROLLBACK");
        let id = u64::from(tx.connection().connection_id());
        until_some_connection(&database, |row| {
            row.get("Id") == Some(id) && row.get("Command") == Some("Sleep".to_owned())
        });
        Ok(())
    });
    assert_eq!(all_events(&store).len(), 2);
}

fn a_transaction_that_ended_before_its_work_keeps_nothing_that_followed(server: &MysqlServer) {
    let (database, store) = fresh(server);
    run(&mut client(&database), "CREATE TABLE notes (note TEXT)");
    for ends in [
        "ROLLBACK",
        "COMMIT",
        "CREATE TABLE more_notes (note TEXT)",
        "START TRANSACTION",
    ] {
        let account = account();
        let error = store
            .transaction(|tx| {
                tx.connection().query_drop(ends).unwrap();
                tx.connection().query_drop("INSERT INTO notes VALUES ('?')").unwrap();
                tx.append(&account, ExpectedVersion::NoStream, &[deposited(1)])
            })
            .unwrap_err();
        assert!(
            error.is_retryable() && error.to_string().contains("ended"),
            "{ends}: {error}"
        );
        assert_eq!(store.load(&account).unwrap().version(), 0, "{ends}");
        let notes: Option<String> = client(&database).query_first("SELECT note FROM notes").unwrap();
        assert_eq!(notes, None, "{ends}");
    }
    // A savepoint of the caller does not end the transaction.
    store
        .transaction(|tx| {
            run(tx.connection(), "SAVEPOINT mine");
            run(tx.connection(), "INSERT INTO notes VALUES ('undone')");
            run(tx.connection(), "ROLLBACK TO SAVEPOINT mine");
            tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        })
        .unwrap();
    assert_eq!(all_events(&store).len(), 1);
}

fn a_transaction_that_only_read_writes_nothing_into_the_binary_log(server: &MysqlServer) {
    let server = MysqlServer::start_forgetful(server.flavour(), &[("log_bin", "binlog"), ("server_id", "7")]).unwrap();
    writes_nothing_into_the_binary_log(fresh(&server));
    let database = server.new_database();
    let builder = MysqlEventStore::builder(database.url()).partitions(Partitions::by_events(10));
    let store = builder.migrate_on_open(true).open().unwrap();
    writes_nothing_into_the_binary_log((database, store));
}

fn writes_nothing_into_the_binary_log((database, store): (Database, MysqlEventStore)) {
    append_one(&store);
    let place = || -> Row { client(&database).query_first("SHOW BINARY LOGS").unwrap().unwrap() };
    let size = |row: Row| row.get::<u64, _>(1).unwrap();
    let before = size(place());
    let key = account();
    store.transaction(|tx| tx.load(&key).map(drop)).unwrap();
    assert_eq!(size(place()), before);
    append_one(&store);
    assert!(size(place()) > before);
}

fn an_append_that_is_the_victim_of_a_deadlock_is_repeated(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    run(&mut other, "CREATE TABLE notes (note BIGINT)");
    run(&mut other, "START TRANSACTION");
    // The server chooses the transaction that has changed fewer rows as the victim.
    let notes: Vec<String> = (0..1_000).map(|note| format!("({note})")).collect();
    run(&mut other, &format!("INSERT INTO notes VALUES {}", notes.join(", ")));
    let [first, second] = [account(), account()];
    let begin = "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                 VALUES (?, ?, 'Account', 1, 'account.opened', '{}')";
    other.exec_drop(begin, (Uuid::now_v7(), second.id())).unwrap();

    let events = [deposited(1), deposited(2)];
    let appends = [
        Append::new(&first, ExpectedVersion::NoStream, &events[..1]),
        Append::new(&second, ExpectedVersion::NoStream, &events[1..]),
    ];
    let appended = thread::scope(|scope| {
        let appending = scope.spawn(|| store.append_all(&appends));
        // The append has stored the first event, and waits for the transaction that stored the second.
        until_an_append_waits(&database);
        // This insert fails as long as the first event is stored. If it succeeds, the append was the victim.
        other.exec_drop(begin, (Uuid::now_v7(), first.id())).unwrap();
        run(&mut other, "ROLLBACK");
        appending.join().unwrap().unwrap()
    });
    assert!(
        appended
            .iter()
            .all(|appended| appended.version() == 1 && !appended.is_already_stored())
    );
    assert_eq!(all_events(&store).len(), 2);
}

/// Waits until an append in the database waits for another session's lock.
fn until_an_append_waits(database: &Database) {
    let mut other = client(database);
    let asked = Instant::now();
    loop {
        // The information schema of MySQL leaves out transactions whose statements have binary values.
        let status: Vec<Row> = other.query("SHOW ENGINE INNODB STATUS").unwrap();
        let status: Vec<u8> = status[0].get("Status").unwrap();
        let status = String::from_utf8_lossy(&status);
        let table = format!("of table `{}`.`events`", database.name());
        if status
            .lines()
            .any(|line| line.contains(&table) && line.ends_with("waiting"))
        {
            return;
        }
        assert!(asked.elapsed() < Duration::from_secs(40), "nobody waits");
        thread::sleep(Duration::from_millis(10));
    }
}

fn the_victim_of_a_deadlock_is_told_to_repeat_its_transaction(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut other = client(&database);
    run(&mut other, "CREATE TABLE notes (note TEXT)");
    let accounts = [account(), account()];
    let transfer = |from: &AggregateKey, to: &AggregateKey| {
        store.transaction(|tx| {
            tx.append(from, ExpectedVersion::Any, &[deposited(1)])?;
            thread::sleep(Duration::from_millis(300));
            let result = tx.append(to, ExpectedVersion::Any, &[deposited(2)]);
            // If the caller goes on nevertheless, none of its writes stays.
            tx.connection()
                .query_drop("INSERT INTO notes VALUES ('transferred')")
                .unwrap();
            result
        })
    };
    let results = thread::scope(|scope| {
        let there = scope.spawn(|| transfer(&accounts[0], &accounts[1]));
        let back = scope.spawn(|| transfer(&accounts[1], &accounts[0]));
        [there.join().unwrap(), back.join().unwrap()]
    });
    let victims: Vec<&Error> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(victims.len(), 1, "{results:?}");
    assert!(victims[0].is_retryable(), "{:?}", victims[0]);
    assert_eq!(all_events(&store).len(), 2);
    transfer(&accounts[0], &accounts[1]).unwrap();
    assert_eq!(all_events(&store).len(), 4);
    let notes: Vec<String> = other.query("SELECT note FROM notes").unwrap();
    assert_eq!(notes.len(), 2);
}

/// The documentation of `append_within` says so.
fn any_version_in_a_repeatable_read_transaction_holds_up_the_aggregates_that_come_next(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let impatient = OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap())
        .init(vec!["SET SESSION innodb_lock_wait_timeout = 1"]);
    let impatient = MysqlEventStore::configure(impatient).open().unwrap();
    for (isolation, expected, holds_up) in [
        (IsolationLevel::RepeatableRead, ExpectedVersion::Any, true),
        (IsolationLevel::RepeatableRead, ExpectedVersion::Exists, true),
        (
            IsolationLevel::RepeatableRead,
            ExpectedVersion::Exact(Version::from(1)),
            false,
        ),
        (IsolationLevel::ReadCommitted, ExpectedVersion::Any, false),
    ] {
        let known = account();
        store
            .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        let mut other = client(&database);
        let options = TxOpts::default().set_isolation_level(Some(isolation));
        let mut transaction = other.start_transaction(options).unwrap();
        let events = [deposited(2)];
        store
            .append_within(&mut transaction, &[Append::new(&known, expected, &events)])
            .unwrap();
        let next = account();
        let result = impatient.append(&next, ExpectedVersion::NoStream, &[deposited(3)]);
        match result {
            Ok(_) => assert!(!holds_up, "{isolation:?}, {expected:?}"),
            Err(error) => assert!(
                holds_up && error.is_retryable(),
                "{isolation:?}, {expected:?}: {error:?}"
            ),
        }
        transaction.commit().unwrap();
        impatient.append(&next, ExpectedVersion::Any, &[deposited(3)]).unwrap();
    }
}

fn a_transaction_of_the_callers_goes_on_after_an_append_that_failed(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let stored = deposited(1);
    store
        .append(&account(), ExpectedVersion::Any, std::slice::from_ref(&stored))
        .unwrap();
    let mut other = client(&database);
    run(&mut other, "CREATE TABLE notes (note TEXT)");
    let mut transaction = other.start_transaction(TxOpts::default()).unwrap();
    transaction.query_drop("INSERT INTO notes VALUES ('before')").unwrap();
    let account = account();
    let events = [deposited(2), stored];
    let twice = [Append::new(&account, ExpectedVersion::Any, &events)];
    let error = store.append_within(&mut transaction, &twice).unwrap_err();
    assert!(error.is_duplicate(), "{error:?}");
    transaction.query_drop("INSERT INTO notes VALUES ('after')").unwrap();
    let events = [deposited(3)];
    let other_append = [Append::new(&account, ExpectedVersion::NoStream, &events)];
    store.append_within(&mut transaction, &other_append).unwrap();
    transaction.commit().unwrap();
    let notes: Vec<String> = other.query("SELECT note FROM notes").unwrap();
    assert_eq!(notes.len(), 2);
    assert_eq!(all_events(&store).len(), 2);
}

fn a_connection_of_the_callers_that_would_change_values_silently_is_refused(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let account = account();
    let events = [deposited(1)];
    let append = [Append::new(&account, ExpectedVersion::NoStream, &events)];
    for setting in [
        "SET SESSION sql_mode = ''",
        "SET NAMES latin1",
        "SET character_set_connection = latin1",
    ] {
        let mut other = client(&database);
        run(&mut other, setting);
        let mut transaction = other.start_transaction(TxOpts::default()).unwrap();
        let error = store.append_within(&mut transaction, &append).unwrap_err();
        assert!(error.is_invalid_input(), "{setting}: {error:?}");
    }
    assert!(all_events(&store).is_empty());
}

fn a_statement_outlives_a_change_of_its_table(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let account = account();
    for change in [
        "ALTER TABLE events ADD COLUMN note TEXT",
        "ALTER TABLE events MODIFY COLUMN created_by VARCHAR(300)",
        "ALTER TABLE events DROP COLUMN note",
        "CREATE INDEX another ON events (checksum)",
    ] {
        store.append(&account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
        let before = store.load(&account).unwrap().version();
        run(&mut client(&database), change);
        let appended = store.append(&account, before, &[deposited(2)]).unwrap();
        assert_eq!(store.load(&account).unwrap().version(), appended.version());
        assert_eq!(all_events(&store).len() as u64, appended.version().get());
    }
}

fn a_table_that_was_dropped_is_an_altered_schema(server: &MysqlServer) {
    let (database, store) = fresh(server);
    run(&mut client(&database), "DROP TABLE events");
    for error in [
        store
            .append(&account(), ExpectedVersion::Any, &[deposited(1)])
            .unwrap_err(),
        store.high_water_mark().unwrap_err(),
        builder(&database).open().unwrap_err(),
    ] {
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error:?}"
        );
    }
}

fn a_dump_is_restored_and_goes_on(server: &MysqlServer) {
    let (source, store) = fresh(server);
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
        .unwrap();
    let opts = Opts::from_url(source.url()).unwrap();
    let access = |mut command: std::process::Command| {
        // If the tests did not start the server, its tools need the address and the user.
        command.arg(format!("--user={}", opts.get_user().unwrap()));
        command.arg(format!("--password={}", opts.get_pass().unwrap_or_default()));
        if let Some(socket) = opts.get_socket() {
            command.arg(format!("--socket={socket}"));
        }
        command
    };
    let flavour = server.flavour();
    let mut dump = access(server.command(flavour.dump()));
    let dump = dump.args(["--single-transaction", source.name()]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let target = server.new_database();
    let mut restore = access(server.command(flavour.client()))
        .arg(target.name())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut restore.stdin.take().unwrap(), &dump.stdout).unwrap();
    assert!(restore.wait().unwrap().success());

    let restored = builder(&target).open().unwrap();
    assert_eq!(mark(&restored), 2);
    assert_eq!(all_events(&restored), all_events(&store));
    let appended = restored.append(&known, Version::from(2), &[deposited(3)]).unwrap();
    assert_eq!(appended.last_sequence(), Some(GlobalSequence::from(3)));
    assert_eq!(mark(&restored), 3);
}

fn limits_beyond_what_the_server_keeps_are_refused_when_opening(server: &MysqlServer) {
    let (database, _store) = fresh(server);
    let mut deep = Limits::PORTABLE;
    deep.max_depth = 101;
    let mut exact = Limits::PORTABLE;
    exact.allow_inexact_numbers = true;
    let mut keys = Limits::PORTABLE;
    keys.max_key_bytes += 1;
    let is_mysql = server.flavour() == Flavour::Mysql;
    for (limits, is_refused) in [(deep, true), (exact, is_mysql), (keys, is_mysql)] {
        match builder(&database).limits(limits).open() {
            Ok(_) => assert!(!is_refused),
            Err(error) => assert!(is_refused && error.is_invalid_input(), "{error:?}"),
        }
    }
}

fn what_cannot_be_reached_is_said_without_the_password(server: &MysqlServer) {
    let database = server.new_database();
    let name = database.name();
    for (url, kind) in [
        ("mysql://clerk:geheim@127.0.0.1:1/ledger".to_owned(), "Unavailable"),
        ("mysql://clerk:geheim@127.0.0.1:1".to_owned(), "InvalidInput"),
        ("postgres://clerk:geheim@127.0.0.1:1/ledger".to_owned(), "InvalidInput"),
        ("mysql://clerk:geheim@127.0.0.1:x/ledger".to_owned(), "InvalidInput"),
        (
            format!("mysql://clerk:geheim@127.0.0.1:1/{name}?no=parameter"),
            "InvalidInput",
        ),
    ] {
        let builder = MysqlEventStore::builder(&url);
        let shown = format!("{builder:?}");
        let error = builder.open().unwrap_err();
        assert!(format!("{:?}", error.kind()).starts_with(kind), "{url}: {error:?}");
        assert!(!format!("{shown}{error}{error:?}").contains("geheim"));
    }
    let opts = OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap());
    let error = MysqlEventStore::configure(opts.clone().pass(Some("geheim")))
        .open()
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PermissionDenied);
    assert!(!format!("{error:?}").contains("geheim"));
    let error = MysqlEventStore::configure(opts.db_name(Some("no_such_database")))
        .open()
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error:?}");
    let error = builder(&database).open().unwrap_err();
    let missing = ErrorKind::Schema(SchemaProblem::NotMigrated {
        found: None,
        required: "7.0.0".into(),
    });
    assert_eq!(*error.kind(), missing);
}

#[test]
fn a_server_that_hangs_up_while_it_greets_may_be_there_later() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::scope(|scope| {
        for said in [&b""[..], b"\x4a\0", b"\x4a\0\0\0\x0a9.7"] {
            scope.spawn(|| listener.accept().unwrap().0.write_all(said).unwrap());
            let error = MysqlEventStore::open(&format!("mysql://clerk@127.0.0.1:{port}/ledger?prefer_socket=false"));
            let error = error.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
        }
    });
}
