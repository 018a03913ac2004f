//! A store stays the file that was opened, whatever happens to the file's name. And each call finds the connection as the store made it,
//! whatever another caller's work did to it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firefly_eventstore_core::operate::{Operations, RestorePoint, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Append, SnapshotAt, SnapshotSelection, SummaryQuery};
use firefly_eventstore_sqlite::driver::config::DbConfig;
use firefly_eventstore_sqlite::driver::functions::FunctionFlags;
use firefly_eventstore_sqlite::driver::{Connection, OpenFlags, types::Value};
use firefly_eventstore_sqlite::{JournalMode, SqliteEventStore};

use support::{account, all_events, another, column, deposited, role, rows, succeed, together};

/// The programs of the other processes of these tests.
#[test]
fn child_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "change the directory" => change_the_directory(Path::new(&argument)),
        other => panic!("{other}"),
    }
}

// Where the file is.

#[test]
fn a_relative_path_is_the_file_that_was_opened_whatever_the_directory_becomes() {
    let directory = tempfile::tempdir().unwrap();
    succeed(another("change the directory", directory.path().to_str().unwrap()));
}

fn change_the_directory(directory: &Path) {
    for name in ["first", "second"] {
        fs::create_dir(directory.join(name)).unwrap();
    }
    env::set_current_dir(directory.join("first")).unwrap();
    let store = SqliteEventStore::open("ledger.db").unwrap();
    let aggregate = account();
    let first = [deposited(1)];
    store.append(&aggregate, ExpectedVersion::NoStream, &first).unwrap();
    env::set_current_dir(directory.join("second")).unwrap();
    drop(SqliteEventStore::open("ledger.db").unwrap());

    store.append(&aggregate, Version::from(1), &[deposited(2)]).unwrap();
    let loaded = together(4, |_| (store.version(&aggregate).unwrap(), all_events(&store).len()));
    assert!(
        loaded.iter().all(|(version, events)| *version == 2 && *events == 2),
        "{loaded:?}"
    );
    assert_eq!(store.high_water_mark().unwrap(), 2);
    assert_eq!(
        store
            .restore_table(RestorePoint::Sequence(GlobalSequence::MAX))
            .unwrap(),
        2
    );
    store.vacuum().unwrap();
    let diagnoses = store.diagnose().unwrap();
    let file = diagnoses.iter().find(|found| found.subject == "file").unwrap();
    assert_eq!(file.severity, Severity::Good, "{file:?}");
}

#[test]
#[cfg(unix)]
fn a_symbolic_link_that_is_pointed_elsewhere_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let [real, other, link] = ["real.db", "other.db", "link.db"].map(|name| directory.path().join(name));
    drop(SqliteEventStore::open(&other).unwrap());
    drop(SqliteEventStore::open(&real).unwrap());
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let store = SqliteEventStore::open(&link).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();

    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();

    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(2)])
        .unwrap();
    assert_eq!(all_events(&store).len(), 2);
    assert_eq!(all_events(&SqliteEventStore::open(&real).unwrap()).len(), 2);
    assert_eq!(all_events(&SqliteEventStore::open(&other).unwrap()).len(), 0);
}

#[test]
fn a_name_that_sqlite_would_not_take_for_a_file_is_refused() {
    for name in ["", ":memory:", "file:ledger.db", "file::memory:?cache=shared"] {
        let builder = SqliteEventStore::builder(name);
        for error in [
            builder.clone().open().unwrap_err(),
            builder.pending().unwrap_err(),
            builder.migrate().unwrap_err(),
        ] {
            assert!(error.is_invalid_input(), "{name:?}: {error:?}");
        }
    }
}

/// A way to remove the file of an open store.
type Away = (&'static str, fn(&Path));

const AWAY: &[Away] = &[
    ("removed", |path| fs::remove_file(path).unwrap()),
    ("moved", |path| {
        fs::rename(path, path.with_file_name("moved.db")).unwrap();
    }),
    ("replaced", |path| {
        fs::rename(path.with_file_name("other.db"), path).unwrap();
    }),
    ("without its log", |path| fs::remove_file(beside(path, "-wal")).unwrap()),
    ("without its log's index", |path| {
        fs::remove_file(beside(path, "-shm")).unwrap();
    }),
    ("with another log", |path| {
        fs::write(path.with_file_name("empty"), b"").unwrap();
        fs::rename(path.with_file_name("empty"), beside(path, "-wal")).unwrap();
    }),
    ("in a directory that was renamed", |path| {
        let directory = path.parent().unwrap();
        fs::rename(directory, directory.with_file_name("renamed")).unwrap();
    }),
];

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A store with one event, and another database that may take its place.
fn with_a_rival(directory: &Path) -> PathBuf {
    let directory = directory.join("ledgers");
    fs::create_dir(&directory).unwrap();
    let rival = SqliteEventStore::builder(directory.join("other.db")).journal_mode(JournalMode::Delete);
    let rival = rival.open().unwrap();
    for n in 0..3 {
        rival
            .append(&account(), ExpectedVersion::NoStream, &[deposited(n)])
            .unwrap();
    }
    directory.join("ledger.db")
}

fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let files = fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.path(), file.metadata().unwrap().len()))
        .collect();
    files.sort();
    files
}

#[test]
#[cfg(unix)]
fn a_file_that_is_removed_moved_or_replaced_is_neither_written_nor_read() {
    for (how, take_away) in AWAY {
        // Reading connections are opened when they are first needed: before or after the file was removed.
        for has_read in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let path = with_a_rival(directory.path());
            let store = SqliteEventStore::open(&path).unwrap();
            let aggregate = account();
            store
                .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap();
            if has_read {
                assert_eq!(all_events(&store).len(), 1);
            }
            take_away(&path);
            let left = files(path.parent().unwrap());

            for (call, error) in every_call(&store, &aggregate) {
                assert!(error.is_moved(), "{how}, {has_read}: {call}: {error:?}");
                assert!(!error.is_retryable());
                assert!(error.to_string().contains("ledger.db"), "{error}");
            }
            let refused = together(4, |_| {
                store.append(&account(), ExpectedVersion::NoStream, &[deposited(2)])
            });
            assert!(
                refused.into_iter().all(|result| result.unwrap_err().is_moved()),
                "{how}"
            );
            let diagnoses = store.diagnose().unwrap();
            let file = diagnoses.iter().find(|found| found.subject == "file").unwrap();
            assert_eq!(file.severity, Severity::Danger, "{how}: {file:?}");

            assert_eq!(
                files(path.parent().unwrap()),
                left,
                "{how}: nothing is written, and no file is made"
            );
        }
    }
}

#[test]
#[cfg(unix)]
fn a_store_for_reading_knows_its_file_too() {
    for (how, take_away) in AWAY {
        let directory = tempfile::tempdir().unwrap();
        let path = with_a_rival(directory.path());
        let writing = SqliteEventStore::open(&path).unwrap();
        writing
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        let store = SqliteEventStore::builder(&path).read_only(true).open().unwrap();
        // Now the file's number may be given to the next new file.
        drop(writing);
        take_away(&path);
        for result in [store.high_water_mark().map(drop), store.load(&account()).map(drop)] {
            assert!(result.as_ref().is_err_and(Error::is_moved), "{how}: {result:?}");
        }
    }
}

#[test]
#[cfg(unix)]
fn a_file_that_comes_back_is_the_same_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = with_a_rival(directory.path());
    let store = SqliteEventStore::open(&path).unwrap();
    let aggregate = account();
    let event = [deposited(1)];
    let elsewhere = path.with_file_name("elsewhere.db");
    fs::rename(&path, &elsewhere).unwrap();
    let error = store.append(&aggregate, ExpectedVersion::NoStream, &event).unwrap_err();
    assert!(error.is_moved(), "{error:?}");
    fs::rename(&elsewhere, &path).unwrap();

    let appended = store.append(&aggregate, ExpectedVersion::NoStream, &event).unwrap();
    assert!(!appended.is_already_stored(), "nothing was written meanwhile");
    assert_eq!(store.version(&aggregate).unwrap(), 1);
}

#[test]
#[cfg(unix)]
fn a_file_that_is_moved_within_a_transaction_takes_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = with_a_rival(directory.path());
    let store = SqliteEventStore::open(&path).unwrap();
    let elsewhere = path.with_file_name("elsewhere.db");
    let aggregate = account();
    let result = store.transaction(|tx| {
        tx.append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])?;
        fs::rename(&path, &elsewhere).unwrap();
        Ok::<_, Error>(())
    });
    assert!(result.unwrap_err().is_moved());
    fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(store.version(&aggregate).unwrap(), 0);
}

/// The error of each call of a store that cannot do anything.
fn every_call(store: &SqliteEventStore, aggregate: &AggregateKey) -> Vec<(&'static str, Error)> {
    let next = [deposited(2)];
    let snapshot = NewSnapshot::new(aggregate, Version::from(1), "balance", &1).unwrap();
    let transaction = store.transaction(|tx| tx.append(aggregate, ExpectedVersion::Any, &next));
    vec![
        (
            "append",
            store.append(aggregate, ExpectedVersion::Any, &next).unwrap_err(),
        ),
        ("transaction", transaction.unwrap_err()),
        (
            "empty transaction",
            store.transaction(|_| Ok::<_, Error>(())).unwrap_err(),
        ),
        ("load", store.load(aggregate).unwrap_err()),
        ("read", store.read(EventQuery::new()).next().unwrap().unwrap_err()),
        ("mark", store.high_water_mark().unwrap_err()),
        ("statistics", EventStore::statistics(store, None).unwrap_err()),
        (
            "summaries",
            store.aggregate_summaries(&SummaryQuery::default()).unwrap_err(),
        ),
        ("health", store.health().unwrap_err()),
        ("save", store.save(&snapshot).unwrap_err()),
        (
            "find",
            store.find_snapshot(None, aggregate, SnapshotAt::Latest).unwrap_err(),
        ),
        (
            "delete",
            store
                .delete_snapshots(None, SnapshotSelection::Aggregate(aggregate))
                .unwrap_err(),
        ),
        ("import", store.import_events(&[]).unwrap_err()),
        (
            "restore",
            store
                .restore_table(RestorePoint::Sequence(GlobalSequence::MAX))
                .unwrap_err(),
        ),
        ("vacuum", store.vacuum().unwrap_err()),
        ("check", store.check_storage().unwrap_err()),
        ("indexes", store.index_usage().unwrap_err()),
    ]
}

// The connection of a caller.

#[test]
fn an_append_within_the_callers_transaction_goes_to_the_stores_file_or_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let [path, other] = ["ledger.db", "other.db"].map(|name| directory.path().join(name));
    let store = SqliteEventStore::open(&path).unwrap();
    drop(SqliteEventStore::open(&other).unwrap());
    let aggregate = account();
    let event = [deposited(1)];
    let append = [Append::new(&aggregate, ExpectedVersion::NoStream, &event)];
    let within = |connection: &Connection| {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let result = store.append_within(connection, &append);
        connection.execute_batch("COMMIT").unwrap();
        result
    };

    let memory = Connection::open_in_memory().unwrap();
    memory.execute("ATTACH ?1 AS ours", [path.to_str().unwrap()]).unwrap();
    for connection in [Connection::open(&other).unwrap(), Connection::open("").unwrap(), memory] {
        let error = within(&connection).unwrap_err();
        assert!(error.is_invalid_input(), "{error:?}");
        assert!(error.to_string().contains("ledger.db"), "{error}");
    }
    assert_eq!(all_events(&SqliteEventStore::open(&other).unwrap()).len(), 0);
    assert_eq!(all_events(&store).len(), 0);

    let uri = format!("file:{}?cache=private", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let same = [
        Connection::open(&path).unwrap(),
        Connection::open_with_flags(uri, flags).unwrap(),
    ];
    assert!(!within(&same[0]).unwrap()[0].is_already_stored());
    assert!(within(&same[1]).unwrap()[0].is_already_stored());
}

#[test]
fn an_append_within_another_memorys_transaction_is_refused() {
    let [one, other] = [(); 2].map(|()| SqliteEventStore::in_memory().unwrap());
    let aggregate = account();
    let event = [deposited(1)];
    let append = [Append::new(&aggregate, ExpectedVersion::NoStream, &event)];
    let result = one.transaction(|tx| other.append_within(tx.connection(), &append));
    assert!(result.unwrap_err().is_invalid_input());
    assert_eq!(all_events(&one).len() + all_events(&other).len(), 0);
    one.transaction(|tx| one.append_within(tx.connection(), &append))
        .unwrap();
    assert_eq!(all_events(&one).len(), 1);
}

#[test]
fn an_append_goes_to_the_stores_table_whatever_the_callers_connection_shadows_it_with() {
    let store = SqliteEventStore::in_memory().unwrap();
    let aggregate = account();
    store
        .transaction(|tx| {
            tx.connection()
                .execute_batch("CREATE TEMP TABLE events AS SELECT * FROM main.events")
                .unwrap();
            tx.append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])?;
            assert_eq!(tx.load(&aggregate)?.version(), 1);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(store.version(&aggregate).unwrap(), 1);
}

/// Changes that a caller's work may leave on the connection.
type Leftover = (&'static str, fn(&Connection));

const LEFTOVERS: &[Leftover] = &[
    ("query_only", |connection| run(connection, "PRAGMA query_only = ON")),
    ("checks", |connection| {
        run(connection, "PRAGMA ignore_check_constraints = ON");
    }),
    ("recursive triggers", |connection| {
        run(connection, "PRAGMA recursive_triggers = ON");
    }),
    ("like", |connection| run(connection, "PRAGMA case_sensitive_like = ON")),
    ("names of columns", |connection| {
        run(connection, "PRAGMA full_column_names = ON");
    }),
    ("busy timeout", |connection| run(connection, "PRAGMA busy_timeout = 1")),
    ("busy timeout, not by a pragma", |connection| {
        connection.busy_timeout(Duration::ZERO).unwrap();
    }),
    ("cache", |connection| run(connection, "PRAGMA cache_size = 1")),
    ("checkpoints", |connection| {
        run(connection, "PRAGMA wal_autocheckpoint = 0");
    }),
    ("size", |connection| run(connection, "PRAGMA max_page_count = 1")),
    ("locking", |connection| {
        run(connection, "PRAGMA locking_mode = EXCLUSIVE");
    }),
    ("writable schema", |connection| {
        run(connection, "PRAGMA writable_schema = ON");
    }),
    ("a database", |connection| run(connection, "ATTACH ':memory:' AS other")),
    ("a table", |connection| {
        run(connection, "CREATE TEMP TABLE events (event_id TEXT)");
    }),
    ("a view", |connection| {
        run(connection, "CREATE TEMP VIEW snapshots AS SELECT 1 AS version");
    }),
    ("a trigger", |connection| {
        run(
            connection,
            "CREATE TEMP TRIGGER mine BEFORE INSERT ON main.events BEGIN SELECT RAISE(IGNORE); END",
        );
    }),
    ("another function of a name that there is", |connection| {
        connection
            .create_scalar_function("lower", 1, FunctionFlags::SQLITE_UTF8, |_| Ok("changed"))
            .unwrap();
    }),
    ("a function", |connection| {
        connection
            .create_scalar_function("mine", 0, FunctionFlags::SQLITE_UTF8, |_| Ok(1))
            .unwrap();
        run(connection, "SELECT mine()");
    }),
    ("a configuration", |connection| {
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
            .unwrap();
    }),
    ("a savepoint", |connection| {
        run(connection, "SAVEPOINT mine; SAVEPOINT firefly_append");
    }),
    ("another transaction", |connection| {
        run(
            connection,
            "COMMIT; PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; BEGIN IMMEDIATE",
        );
    }),
    ("nothing to prepare again", |connection| {
        connection.flush_prepared_statement_cache();
        run(connection, "PRAGMA reverse_unordered_selects = ON");
    }),
];

/// A forgotten statement stays open. In memory, the store cannot help that: closing the connection needs the statement.
const FORGOTTEN: Leftover = ("an open statement", |connection| {
    let mut statement = connection.prepare("SELECT * FROM sqlite_schema").unwrap();
    let mut rows = statement.query([]).unwrap();
    rows.next().unwrap().unwrap();
    std::mem::forget(rows);
    std::mem::forget(statement);
});

fn run(connection: &Connection, statements: &str) {
    connection.execute_batch(statements).unwrap();
}

/// The settings of a connection, and the objects that exist only on it.
fn state(connection: &Connection) -> Vec<Vec<Value>> {
    let mut state = Vec::new();
    for pragma in [
        "query_only",
        "ignore_check_constraints",
        "recursive_triggers",
        "full_column_names",
        "reverse_unordered_selects",
        "busy_timeout",
        "cache_size",
        "wal_autocheckpoint",
        "journal_mode",
        "max_page_count",
        "locking_mode",
        "writable_schema",
        "foreign_keys",
        "synchronous",
        "temp_store",
    ] {
        state.extend(rows(connection, &format!("PRAGMA {pragma}"), []));
    }
    let databases = "SELECT name FROM pragma_database_list WHERE name <> 'temp'";
    state.extend(rows(connection, databases, []));
    state.extend(rows(connection, "SELECT name FROM sqlite_temp_schema", []));
    state.extend(rows(
        connection,
        "SELECT name FROM pragma_function_list WHERE NOT builtin ORDER BY 1",
        [],
    ));
    state.extend(rows(connection, "SELECT 'A' LIKE 'a', lower('B')", []));
    for config in [
        DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
        DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG,
    ] {
        state.push(vec![Value::from(connection.db_config(config).unwrap())]);
    }
    state.push(vec![Value::from(connection.is_busy())]);
    state
}

#[test]
fn what_a_callers_work_leaves_on_the_connection_reaches_no_other_call() {
    let directory = tempfile::tempdir().unwrap();
    let file = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let with_forgotten = [LEFTOVERS, &[FORGOTTEN]].concat();
    for (store, leftovers) in [
        (file, &*with_forgotten),
        (SqliteEventStore::in_memory().unwrap(), LEFTOVERS),
    ] {
        let look = || store.transaction(|tx| Ok::<_, Error>(state(tx.connection()))).unwrap();
        let as_it_was = look();
        for (what, leave) in leftovers {
            for ends in ["with success", "with an error", "in a panic"] {
                let stored = all_events(&store).len();
                let work = || {
                    store.transaction(|tx| {
                        leave(tx.connection());
                        match ends {
                            "with success" => Ok(()),
                            "with an error" => Err(Error::invalid("it fails")),
                            _ => panic!("a caller's work panics, as it is to in this test"),
                        }
                    })
                };
                drop(catch_unwind(AssertUnwindSafe(work)));

                let appended = store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
                assert_eq!(appended.unwrap().version(), 1, "{what}, {ends}");
                assert_eq!(all_events(&store).len(), stored + 1, "{what}, {ends}");
                assert_eq!(look(), as_it_was, "{what}, {ends}");
            }
        }
    }
}

#[test]
fn a_connection_is_kept_while_work_leaves_nothing_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let aggregate = account();
    store
        .transaction(|tx| {
            tx.connection()
                .execute_batch("CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER)")
                .unwrap();
            Ok::<_, Error>(())
        })
        .unwrap();
    let counted = |store: &SqliteEventStore| {
        store
            .transaction(|tx| {
                // Statements belong to a connection, so an already prepared one shows that it is the same connection.
                let mut statement = tx.connection().prepare_cached("SELECT COUNT(*) FROM balances").unwrap();
                let count: i64 = statement.query_row([], |row| row.get(0)).unwrap();
                let runs = statement.get_status(firefly_eventstore_sqlite::driver::StatementStatus::Run);
                drop(statement);
                tx.append(&aggregate, ExpectedVersion::Any, &[deposited(1)])?;
                tx.connection()
                    .execute("INSERT OR REPLACE INTO balances VALUES ('a', 1)", [])
                    .unwrap();
                Ok::<_, Error>((count, runs))
            })
            .unwrap()
    };
    counted(&store);
    assert_eq!(
        column(
            &Connection::open(directory.path().join("ledger.db")).unwrap(),
            "SELECT account FROM balances"
        ),
        ["a"]
    );
    let (_, before) = counted(&store);
    assert_eq!(counted(&store), (1, before + 1));
}
