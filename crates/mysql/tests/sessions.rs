//! What a caller does with a connection affects no other call, and no append goes to another store.

use std::thread;
use std::time::Duration;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, TxOpts};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer, mariadb_unless_missing, mysql_unless_missing};

use crate::support::{account, all_events, append_one, builder, client, deposited, fresh, mark, on_both, run};

on_both!(
    what_work_leaves_on_a_connection_reaches_no_other_call,
    a_connection_that_was_lent_and_left_as_it_was_is_used_again,
    an_append_after_work_that_used_another_database_is_refused,
    an_append_within_a_transaction_on_another_database_or_server_is_refused,
    a_database_that_was_made_anew_is_not_the_store_that_was_opened,
    a_session_that_the_server_ends_is_retryable,
);

/// A store with one connection, so that each call uses the session of the call before.
fn on_one_connection(database: &Database) -> MysqlEventStore {
    builder(database).max_connections(1).open().unwrap()
}

/// The settings of a session that must be the same in all sessions of a store.
fn session(conn: &mut Conn) -> Vec<String> {
    let flavour = match conn.query_first::<String, _>("SELECT VERSION()").unwrap().unwrap() {
        version if version.contains("MariaDB") => {
            "@@tx_isolation, @@tx_read_only, @@check_constraint_checks, @@max_statement_time"
        }
        _ => "@@transaction_isolation, @@transaction_read_only, @@max_execution_time",
    };
    let of = |names: &str| {
        format!(
            "SELECT DATABASE(), CURRENT_ROLE(), @@character_set_client, @@character_set_connection, @@character_set_results, \
             @@collation_connection, @@sql_mode, @@time_zone, @@sql_select_limit, @@autocommit, @@completion_type, \
             @@unique_checks, @@foreign_key_checks, @@sql_safe_updates, @@sql_auto_is_null, @@sql_big_selects, \
             @@auto_increment_increment, @@auto_increment_offset, @@insert_id, @@innodb_lock_wait_timeout, @@lock_wait_timeout, \
             ABS(UNIX_TIMESTAMP() - UNIX_TIMESTAMP(SYSDATE())) < 100, {names}"
        )
    };
    let row: firefly_eventstore_mysql::driver::Row = conn.query_first(of(flavour)).unwrap().unwrap();
    row.unwrap().iter().map(|value| value.as_sql(true)).collect()
}

fn what_work_leaves_on_a_connection_reaches_no_other_call(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let (other, _) = fresh(server);
    let store = on_one_connection(&database);
    let clean = store
        .transaction(|tx| Ok::<_, Error>(session(tx.connection())))
        .unwrap();
    let mut admin = client(&database);
    let role = format!("r{}", fastrand::u32(..));
    run(&mut admin, &format!("CREATE ROLE {role}"));
    let own = "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)";
    let user: String = admin.query_first(own).unwrap().unwrap();
    run(&mut admin, &format!("GRANT {role} TO {user}@'%'"));
    let mut left = vec![
        format!("USE {}", other.name()),
        format!("SET ROLE {role}"),
        "SET NAMES latin1".to_owned(),
        "SET sql_mode = ''".to_owned(),
        "SET autocommit = 0".to_owned(),
        "SET sql_select_limit = 0".to_owned(),
        "SET time_zone = '+09:00'".to_owned(),
        "SET timestamp = 1000000000".to_owned(),
        "SET unique_checks = 0, foreign_key_checks = 0, sql_safe_updates = 1, sql_auto_is_null = 1".to_owned(),
        "SET insert_id = 77".to_owned(),
        "SET auto_increment_increment = 10, auto_increment_offset = 5".to_owned(),
        "SET innodb_lock_wait_timeout = 1, lock_wait_timeout = 1".to_owned(),
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY".to_owned(),
        "SET completion_type = 'CHAIN'".to_owned(),
        "SET sql_big_selects = 0, max_join_size = 1".to_owned(),
        "SELECT GET_LOCK('a lock', 0)".to_owned(),
        "CREATE TEMPORARY TABLE snapshots (id INT)".to_owned(),
        "CREATE TEMPORARY TABLE events (id INT)".to_owned(),
        "LOCK TABLES firefly_gate READ".to_owned(),
        "ROLLBACK; SET TRANSACTION READ ONLY".to_owned(),
    ];
    left.push(match server.flavour() {
        Flavour::Mysql => "SET max_execution_time = 1".to_owned(),
        Flavour::Mariadb => "SET check_constraint_checks = 0, max_statement_time = 1".to_owned(),
    });
    let mut last = 0;
    for statement in left {
        for commits in [true, false] {
            let ended = store.transaction(|tx| {
                for part in statement.split("; ") {
                    tx.connection().query_drop(part).unwrap();
                }
                match commits {
                    true => Ok(()),
                    false => Err(Error::invalid("the work is not to be kept")),
                }
            });
            // The commit reports a statement that has ended the transaction.
            let ends_it = ["LOCK", "ROLLBACK"].iter().any(|start| statement.starts_with(start));
            assert_eq!(ended.is_ok(), commits && !ends_it, "{statement}: {ended:?}");
            last += 1;
            assert_eq!(append_one(&store), last, "after {statement}");
            assert_eq!(mark(&store), last, "after {statement}");
            assert!(store.health().unwrap().writable, "after {statement}");
            let session = store
                .transaction(|tx| Ok::<_, Error>(session(tx.connection())))
                .unwrap();
            assert_eq!(session, clean, "after {statement}");
            let is_free: Option<i64> = admin.query_first("SELECT IS_FREE_LOCK('a lock')").unwrap();
            assert_eq!(is_free, Some(1), "after {statement}");
            run(&mut admin, "DELETE FROM firefly_gate WHERE id > 120"); // waits while somebody has locked the table
        }
    }
    let events = all_events(&store);
    assert_eq!(events.len(), usize::try_from(last).unwrap());
    let age = |event: &EventEnvelope| (OffsetDateTime::now_utc() - event.created_at).whole_minutes();
    assert!(events.iter().all(|event| age(event) < 10), "times are the server's own");
    assert_eq!(all_events(&builder(&other).open().unwrap()), []);
}

fn a_connection_that_was_lent_and_left_as_it_was_is_used_again(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let store = on_one_connection(&database);
    let id = || {
        store.transaction(|tx| {
            tx.connection()
                .query_drop("SET NAMES latin1, time_zone = '+01:00'")
                .unwrap();
            Ok::<_, Error>(tx.connection().connection_id())
        })
    };
    let first = id().unwrap();
    append_one(&store);
    assert_eq!(id().unwrap(), first, "what can be set back is");
    store
        .transaction(|tx| {
            tx.connection().query_drop("SET innodb_lock_wait_timeout = 7").unwrap();
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_ne!(id().unwrap(), first, "what cannot is given up with its connection");
}

fn an_append_after_work_that_used_another_database_is_refused(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let (other, theirs) = fresh(server);
    let ways = [
        (format!("USE {}", other.name()), other.name()),
        ("SET sql_mode = ''".to_owned(), "sql_mode"),
        ("SET NAMES latin1".to_owned(), "character set"),
        ("SET unique_checks = 0".to_owned(), "unique_checks"),
    ];
    for (way, word) in ways {
        let error = store
            .transaction(|tx| {
                tx.connection().query_drop(&way).unwrap();
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            })
            .expect_err(&way);
        assert!(
            error.is_invalid_input() && error.to_string().contains(word),
            "{way}: {error}"
        );
        let error = store
            .transaction(|tx| {
                tx.connection().query_drop(&way).unwrap();
                tx.load(&account())
            })
            .unwrap_err();
        assert!(
            error.is_invalid_input() && error.to_string().starts_with("load "),
            "{way}: {error}"
        );
    }
    let account = account();
    store
        .transaction(|tx| {
            tx.connection().query_drop(format!("USE {}", other.name())).unwrap();
            tx.connection().query_drop(format!("USE {}", database.name())).unwrap();
            tx.append(&account, ExpectedVersion::NoStream, &[deposited(1)])?;
            tx.load(&account).map(drop)
        })
        .unwrap();
    assert_eq!((mark(&store), mark(&theirs)), (1, 0));
}

fn an_append_within_a_transaction_on_another_database_or_server_is_refused(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let (other, theirs) = fresh(server);
    let elsewhere = match server.flavour() {
        Flavour::Mysql => mariadb_unless_missing(),
        Flavour::Mariadb => mysql_unless_missing(),
    };
    let Some(elsewhere) = elsewhere else { return };
    // A database of the same name on another server, with its own store.
    let mut root = Conn::new(elsewhere.url("mysql").as_str()).unwrap();
    run(&mut root, &format!("CREATE DATABASE {}", database.name()));
    let url = elsewhere.url(database.name());
    MysqlEventStore::builder(&url).migrate().unwrap();

    let within = |conn: &mut Conn| {
        let account = account();
        let events = [deposited(1)];
        let append = Append::new(&account, ExpectedVersion::NoStream, &events);
        let mut transaction = conn.start_transaction(TxOpts::default()).unwrap();
        let appended = store.append_within(&mut transaction, &[append]);
        transaction.commit().unwrap();
        appended
    };
    let mut on_other = client(&other);
    let mut on_server = Conn::new(url.as_str()).unwrap();
    let mut on_none = client(&database);
    run(&mut on_none, "CREATE DATABASE nowhere");
    run(&mut on_none, "USE nowhere");
    run(&mut on_none, "DROP DATABASE nowhere");
    for (conn, word) in [
        (&mut on_other, other.name()),
        (&mut on_server, "another server"),
        (&mut on_none, "no database"),
    ] {
        let error = within(conn).unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(word), "{error}");
    }
    within(&mut client(&database)).unwrap();
    assert_eq!((mark(&store), mark(&theirs)), (1, 0));
    assert_eq!(mark(&MysqlEventStore::open(&url).unwrap()), 0);
    run(&mut root, &format!("DROP DATABASE {}", database.name()));
}

fn a_database_that_was_made_anew_is_not_the_store_that_was_opened(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let store_of_one = builder(&database)
        .pool_timeout(Duration::from_millis(500))
        .open()
        .unwrap();
    append_one(&store);
    let mut other = client(&database);
    run(&mut other, &format!("DROP DATABASE {}", database.name()));
    run(&mut other, &format!("CREATE DATABASE {}", database.name()));
    MysqlEventStore::builder(database.url()).migrate().unwrap();
    // The store has no connection yet, so the first one fails.
    let error = store_of_one
        .append(&account(), ExpectedVersion::Any, &[deposited(1)])
        .unwrap_err();
    assert!(error.is_moved() && !error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains(database.name()), "{error}");
    assert_eq!(all_events(&builder(&database).open().unwrap()), []);
}

fn a_session_that_the_server_ends_is_retryable(server: &MysqlServer) {
    let (database, _) = fresh(server);
    let store = on_one_connection(&database);
    let mut limits = vec!["wait_timeout"];
    if server.flavour() == Flavour::Mariadb {
        limits.push("idle_transaction_timeout");
    }
    for (done, limit) in limits.into_iter().enumerate() {
        let error = store
            .transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
                tx.connection().query_drop(format!("SET SESSION {limit} = 1")).unwrap();
                thread::sleep(Duration::from_millis(2_500));
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            })
            .unwrap_err();
        assert!(error.is_retryable(), "{limit}: {error:?}");
        assert_eq!(all_events(&store).len(), done, "nothing of it is kept");
        append_one(&store);
    }
}
