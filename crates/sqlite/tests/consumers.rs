//! Consumers: their work commits with their writes, and errors of the caller's own statements are classified correctly.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use firefly_eventstore_core::consumer::{
    ConsumerSlot, ConsumerStore, ConsumerTransaction, Registration, Transactional,
};
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::driver::{self as rusqlite, Connection};
use firefly_eventstore_sqlite::{SqliteEventStore, SqliteTransaction};

use support::{account, all_events, deposited, with_writer};

type BoxError = Box<dyn StdError + Send + Sync>;

const NAME: &str = "balances.v1";

fn register(store: &SqliteEventStore) -> ConsumerSlot {
    let query = EventQuery::new();
    let registration = Registration::new(NAME, &query);
    let registered = store.commit_together(|tx| tx.register(&registration));
    registered.unwrap().pop().unwrap()
}

fn position(store: &SqliteEventStore) -> GlobalSequence {
    store.consumers(Some(NAME)).unwrap()[0].position
}

fn advance(tx: &mut SqliteTransaction<'_>, to: u64) -> Result<(), Error> {
    let mut slot = tx.lock_slot(NAME, 0)?;
    tx.advance(&mut slot, GlobalSequence::new(to)?)
}

fn sums(store: &SqliteEventStore) -> Vec<String> {
    with_writer(store, |connection| support::column(connection, "SELECT sum FROM sums"))
}

fn with_sums() -> SqliteEventStore {
    let store = SqliteEventStore::in_memory().unwrap();
    register(&store);
    with_writer(&store, |connection| {
        connection
            .execute_batch("CREATE TABLE sums (sum TEXT NOT NULL PRIMARY KEY)")
            .unwrap();
    });
    store
}

#[test]
fn a_read_model_and_its_checkpoint_change_in_one_commit() {
    let store = with_sums();
    let project = |sum: &str, to: u64, fails: bool| -> Result<(), BoxError> {
        store.commit_together(|tx| {
            tx.connection().execute("INSERT INTO sums VALUES (?1)", [sum])?;
            advance(tx, to)?;
            match fails {
                true => Err("refused".into()),
                false => Ok(()),
            }
        })
    };
    project("7", 3, false).unwrap();
    assert!(project("9", 5, true).is_err());
    // The projection's own statement fails.
    assert!(project("7", 5, false).is_err());
    assert_eq!(position(&store), 3);
    assert_eq!(sums(&store), ["7"]);
}

#[test]
fn what_is_done_after_the_transaction_was_ended_is_not_kept() {
    let store = with_sums();
    let ended = store.commit_together(|tx| -> Result<(), BoxError> {
        tx.connection()
            .execute_batch("INSERT INTO sums VALUES ('7'); ROLLBACK")?;
        // The transaction fails even if the result is ignored.
        let _ = advance(tx, 3);
        Ok(())
    });
    assert!(ended.unwrap_err().to_string().contains("ended before its work did"));
    assert_eq!(position(&store), 0);
    assert!(sums(&store).is_empty());
}

#[test]
fn a_failed_statement_of_a_consumer_fails_the_transaction_even_if_it_is_ignored() {
    let store = with_sums();
    with_writer(&store, |connection| {
        let trigger =
            "CREATE TRIGGER refused BEFORE UPDATE ON firefly_consumers BEGIN SELECT RAISE(ABORT, 'refused'); END";
        connection.execute_batch(trigger).unwrap();
    });
    let ignored = store.commit_together(|tx| -> Result<(), BoxError> {
        tx.connection().execute("INSERT INTO sums VALUES ('7')", [])?;
        let _ = advance(tx, 3);
        Ok(())
    });
    let message = ignored.unwrap_err().to_string();
    assert!(message.contains("save slot 0 of consumer balances.v1"), "{message}");
    assert!(sums(&store).is_empty());
}

#[test]
fn temporary_tables_of_the_caller_do_not_hide_those_of_consumers() {
    let store = with_sums();
    let result: Result<(), BoxError> = store.commit_together(|tx| {
        tx.connection()
            .execute_batch("CREATE TEMP TABLE firefly_consumers AS SELECT * FROM main.firefly_consumers")?;
        Ok(advance(tx, 3)?)
    });
    result.unwrap();
    assert_eq!(position(&store), 3);
}

#[test]
fn a_damaged_row_says_so() {
    for (damage, column) in [
        ("UPDATE firefly_consumers SET state = 'asleep'", "asleep"),
        ("UPDATE firefly_consumers SET updated_at = printf('%027d', 1)", "time"),
        ("UPDATE firefly_consumers SET slot = 70000", "70000"),
        ("UPDATE firefly_consumers SET holder = printf('%036d', 1)", "id"),
    ] {
        let store = with_sums();
        with_writer(&store, |connection| connection.execute_batch(damage).unwrap());
        let error = store.consumers(None).unwrap_err();
        assert!(error.is_integrity() && error.to_string().contains(column), "{error:?}");
    }
}

#[test]
fn appends_wake_those_that_wait() {
    let store = SqliteEventStore::in_memory().unwrap();
    let mut listening = store.wake().listen();
    let mut is_told = |by: &dyn Fn()| {
        by();
        listening.wait(Duration::ZERO)
    };
    let append = |store: &SqliteEventStore| {
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap()
    };
    assert!(is_told(&|| drop(append(&store))));
    assert!(is_told(&|| store
        .transact(&mut |tx| tx
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .map(drop))
        .unwrap()));
    assert!(!is_told(&|| store.transact(&mut |_| Ok(())).unwrap()));
    assert!(!is_told(&|| assert!(
        store
            .transact(&mut |tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
                Err(Error::invalid("refused"))
            })
            .is_err()
    )));
    let imported = SqliteEventStore::in_memory().unwrap();
    let mut listening = imported.wake().listen();
    imported.import_events(&all_events(&store)).unwrap();
    assert!(listening.wait(Duration::ZERO));
}

/// An error of the caller with an SQLite error as its cause.
#[derive(Debug)]
struct Caused(rusqlite::Error);

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the balance was not written")
    }
}

impl StdError for Caused {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn errors_of_the_callers_statements_are_the_databases_fault_or_the_events() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::open(&path).unwrap();
    with_writer(&store, |connection| {
        connection
            .execute_batch("CREATE TABLE sums (sum TEXT NOT NULL PRIMARY KEY); INSERT INTO sums VALUES ('1')")
            .unwrap();
    });
    let other = directory.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE sums (sum TEXT)")
        .unwrap();
    let fails = |on: &Connection, sql: &str| on.execute_batch(sql).unwrap_err();
    let error_of = |work: &dyn Fn(&Connection) -> rusqlite::Error| -> Caused {
        let failed = store.commit_together(|tx| -> Result<(), BoxError> { Err(Caused(work(tx.connection())).into()) });
        *failed.unwrap_err().downcast().unwrap()
    };

    type Fails<'a> = &'a dyn Fn(&Connection) -> rusqlite::Error;
    let by_the_database: [(&str, Fails<'_>); 4] = [
        ("another connection writes", &|_| {
            let beside = Connection::open(&path).unwrap();
            beside.busy_timeout(Duration::ZERO).unwrap();
            fails(&beside, "INSERT INTO sums VALUES ('2')")
        }),
        ("no more pages", &|connection| {
            connection
                .query_row("PRAGMA max_page_count = 1", [], |_| Ok(()))
                .unwrap();
            fails(connection, "INSERT INTO sums VALUES (hex(randomblob(1000000)))")
        }),
        ("only queries", &|connection| {
            connection.execute_batch("PRAGMA query_only = ON").unwrap();
            fails(connection, "INSERT INTO sums VALUES ('2')")
        }),
        ("a file that cannot be opened", &|_| {
            Connection::open(directory.path().join("nowhere/ledger.db")).unwrap_err()
        }),
    ];
    for (why, work) in by_the_database {
        let error = error_of(work);
        assert!(store.is_transient(&error), "{why}: {error:?}");
        assert!(!store.took_too_long(&error), "{why}: {error:?}");
    }
    let by_the_event: [(&str, Fails<'_>); 5] = [
        ("a unique key", &|connection| {
            fails(connection, "INSERT INTO sums VALUES ('1')")
        }),
        ("a null", &|connection| {
            fails(connection, "INSERT INTO sums VALUES (NULL)")
        }),
        ("a syntax error", &|connection| fails(connection, "INSERT INTO sums")),
        ("a missing table", &|connection| {
            fails(connection, "INSERT INTO sum VALUES ('1')")
        }),
        ("a number that is too great", &|connection| {
            fails(connection, "SELECT abs(-9223372036854775808)")
        }),
    ];
    for (why, work) in by_the_event {
        let error = error_of(work);
        assert!(!store.is_transient(&error), "{why}: {error:?}");
    }
    assert!(!store.is_transient(&Error::invalid("refused")));
}
