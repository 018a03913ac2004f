//! Failures around the store: a full disk, a damaged file, a held lock, code that panics. Each returns an error that
//! says what to do, and loses nothing. After the cause is removed, the store works without being opened again.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fs;
use std::io::Write;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use firefly_eventstore_core::operate::{Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{AsOf, Order, SchemaProblem, StreamRange, SummaryQuery, time, verify};
use firefly_eventstore_sqlite::driver::{self as rusqlite, Connection};
use firefly_eventstore_sqlite::{JournalMode, SqliteEventStore, Synchronous};

use support::{
    Peer, account, all_events, another, assert_intact, deposited, large, not_tried, role, succeed, tell, through,
    together, wait_for_parent, while_protected, with_writer,
};

/// Long enough to wait for, short enough for a test.
const SHORT: Duration = Duration::from_millis(50);

/// The programs of the other processes of these tests.
#[test]
fn child_process() {
    let Some((role, argument)) = role() else { return };
    let path = Path::new(&argument);
    match role.as_str() {
        "hold a lock" => hold_a_lock(&argument),
        "nearly fill a small file system" => nearly_fill_a_small_file_system(path),
        "fill a small file system" => fill_a_small_file_system(path),
        "open on a full file system" => open_on_a_full_file_system(path),
        "use a read-only file system" => use_a_read_only_file_system(path),
        "use a protected file" => use_a_protected_file(path),
        "read a closed store" => read_a_closed_store(path),
        "open what may not be opened" => open_what_may_not_be_opened(path),
        "read large events" => read_large_events(path),
        other => panic!("{other}"),
    }
}

// A full disk.

#[test]
fn a_disk_that_is_nearly_full_refuses_what_does_not_fit_and_takes_what_does() {
    on_a_small_file_system("nearly fill a small file system", "4m");
}

fn nearly_fill_a_small_file_system(directory: &Path) {
    let store = SqliteEventStore::open(directory.join("ledger.db")).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(0)])
        .unwrap();
    let (filler, room) = (directory.join("filler"), directory.join("room"));
    fs::write(&room, vec![0; 600_000]).unwrap();
    fill(&filler);
    fs::remove_file(&room).unwrap();
    let owners: Vec<_> = (0..8).map(|_| account()).collect();
    let events: Vec<_> = (0..8)
        .map(|n| if n % 4 == 0 { large(1 << 20) } else { deposited(n) })
        .collect();

    let results = together(8, |n| {
        let event = std::slice::from_ref(&events[n]);
        (n, store.append(&owners[n], ExpectedVersion::NoStream, event))
    });

    for (n, result) in results {
        if n % 4 == 0 {
            assert_full(&result.unwrap_err(), &owners[n]);
            assert_eq!(store.version(&owners[n]).unwrap(), 0, "nothing of it is stored");
        } else {
            assert_eq!(result.unwrap().version(), 1, "it fits, whoever it was with");
            assert_eq!(store.version(&owners[n]).unwrap(), 1);
        }
    }
    let batch = [deposited(1), large(1 << 20)];
    assert_full(
        &store.append(&owners[1], Version::from(1), &batch).unwrap_err(),
        &owners[1],
    );
    assert_eq!(
        store.version(&owners[1]).unwrap(),
        1,
        "nor is what came before it in the same append"
    );

    let source = SqliteEventStore::in_memory().unwrap();
    let imported = account();
    let first: Vec<_> = (0..20).map(deposited).collect();
    source.append(&account(), ExpectedVersion::NoStream, &first).unwrap();
    source
        .append(&imported, ExpectedVersion::NoStream, &[deposited(1), large(1 << 20)])
        .unwrap();
    let batch_of_import = &all_events(&source)[20..];
    let error = store.import_events(batch_of_import).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert_eq!(store.version(&imported).unwrap(), 0, "nothing of the import is stored");

    fs::remove_file(&filler).unwrap();
    store.import_events(batch_of_import).unwrap();
    assert_eq!(store.version(&imported).unwrap(), 2);
    let result = store
        .append(&owners[0], ExpectedVersion::NoStream, &[events[0].clone()])
        .unwrap();
    assert!(!result.is_already_stored());
    assert_eq!(store.append(&owners[1], Version::from(1), &batch).unwrap().version(), 3);
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_takes_it_when_there_is_room_again() {
    on_a_small_file_system("fill a small file system", "2m");
}

fn fill_a_small_file_system(directory: &Path) {
    for (name, mode) in [("wal.db", JournalMode::Wal), ("delete.db", JournalMode::Delete)] {
        let store = SqliteEventStore::builder(directory.join(name))
            .journal_mode(mode)
            .open()
            .unwrap();
        let known = account();
        store
            .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        let filler = directory.join("filler");
        fill(&filler);

        let owners: Vec<_> = (0..8).map(|_| account()).collect();
        let events: Vec<_> = (0..8).map(|_| large(100_000)).collect();
        let append = |n: usize| {
            let event = std::slice::from_ref(&events[n]);
            (n, store.append(&owners[n], ExpectedVersion::NoStream, event))
        };
        for (n, result) in together(8, append) {
            assert_full(&result.unwrap_err(), &owners[n]);
            assert_eq!(store.version(&owners[n]).unwrap(), 0);
        }
        let error = store
            .transaction(|tx| tx.append(&known, Version::from(1), &[large(100_000)]))
            .unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::StorageFull, "{error:?}");
        assert_eq!(all_events(&store).len(), 1, "what was there can be read");

        fs::remove_file(&filler).unwrap();
        for n in 0..4 {
            assert!(!append(n).1.unwrap().is_already_stored());
        }
        assert_eq!(
            store
                .append(&known, Version::from(1), &[deposited(2)])
                .unwrap()
                .version(),
            2
        );
        assert_eq!(all_events(&store).len(), 6);
        drop(store);
        assert_intact(&directory.join(name));
        fs::remove_file(directory.join(name)).unwrap();
    }
}

#[test]
fn a_store_cannot_be_made_on_a_full_disk_until_there_is_room() {
    on_a_small_file_system("open on a full file system", "1m");
}

fn open_on_a_full_file_system(directory: &Path) {
    let path = directory.join("ledger.db");
    let filler = directory.join("filler");
    fill(&filler);
    let error = SqliteEventStore::open(&path).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert!(
        error.to_string().starts_with(&format!("open {}: ", path.display())),
        "{error}"
    );

    fs::remove_file(&filler).unwrap();
    let store = SqliteEventStore::open(&path).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[track_caller]
fn assert_full(error: &Error, aggregate: &AggregateKey) {
    assert_eq!(*error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert!(
        error.to_string().starts_with(&format!("append to {aggregate}: ")),
        "{error}"
    );
    let source = error
        .source()
        .and_then(<dyn std::error::Error>::downcast_ref::<rusqlite::Error>);
    assert!(source.is_some(), "{error:?}");
}

/// Runs a role in a process of its own, with a file system of its own, which disappears with the process.
fn on_a_small_file_system(role: &str, size: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={size} none '{}'", directory.path().display());
    let shell = format!("{mount} && exec \"$@\"");
    for namespace in [
        &["unshare", "--mount"][..],
        &["unshare", "--user", "--map-root-user", "--mount"],
    ] {
        let possible = Command::new(namespace[0])
            .args(&namespace[1..])
            .args(["sh", "-c", &mount])
            .output();
        if possible.is_ok_and(|output| output.status.success()) {
            let starter = [namespace, &["sh", "-c", &shell, "sh"]].concat();
            return succeed(through(&starter, role, directory.path().to_str().unwrap()));
        }
    }
    not_tried(
        role,
        "a file system of its own needs Linux, unshare and the right to mount",
    );
}

// A store that must not be written.

#[test]
fn a_store_that_is_opened_for_reading_reads_what_another_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let writing = SqliteEventStore::open(&path).unwrap();
    let reading = SqliteEventStore::builder(&path).read_only(true).open().unwrap();
    let aggregate = account();
    writing
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();

    assert_eq!(reading.version(&aggregate).unwrap(), 1);
    assert!(!reading.health().unwrap().writable);
    let error = reading
        .append(&aggregate, ExpectedVersion::Any, &[deposited(2)])
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ReadOnly);
    assert!(error.to_string().contains(&aggregate.to_string()), "{error}");
    let snapshot = NewSnapshot::new(&aggregate, Version::from(1), "balance", &1).unwrap();
    assert_eq!(*reading.save(&snapshot).unwrap_err().kind(), ErrorKind::ReadOnly);
    let in_transaction = reading.transaction(|_| Ok::<_, Error>(())).unwrap_err();
    assert_eq!(*in_transaction.kind(), ErrorKind::ReadOnly);
    assert_eq!(writing.version(&aggregate).unwrap(), 1);
}

#[test]
fn opening_for_reading_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let error = SqliteEventStore::builder(&path).read_only(true).open().unwrap_err();
    assert_not_opened(&error, "there is no file");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_connection_that_may_only_query_refuses_to_append_until_it_may_write_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let aggregate = account();
    for events in [&[deposited(1)][..], &[deposited(1), deposited(2)]] {
        let error = store
            .transaction(|tx| {
                tx.connection().pragma_update(None, "query_only", true).unwrap();
                let error = tx.append(&aggregate, ExpectedVersion::NoStream, events).unwrap_err();
                assert_eq!(*error.kind(), ErrorKind::ReadOnly, "{error:?}");
                tx.connection().pragma_update(None, "query_only", false).unwrap();
                Ok::<_, Error>(())
            })
            .unwrap_err();
        assert_eq!(
            *error.kind(),
            ErrorKind::ReadOnly,
            "the append that failed undoes the transaction"
        );
        assert_eq!(store.version(&aggregate).unwrap(), 0);
    }
    store
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
}

#[test]
fn a_read_only_file_system_can_be_read_and_refuses_the_rest() {
    on_a_small_file_system("use a read-only file system", "2m");
}

fn use_a_read_only_file_system(directory: &Path) {
    let path = directory.join("ledger.db");
    let builder = || SqliteEventStore::builder(&path).journal_mode(JournalMode::Delete);
    let aggregate = account();
    builder()
        .open()
        .unwrap()
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let remount = |mode| {
        let options = format!("remount,bind,{mode}");
        let mut command = Command::new("mount");
        command.args(["-o", &options]).arg(directory);
        succeed(command);
    };
    remount("ro");

    let reading = builder().read_only(true).open().unwrap();
    assert_eq!(reading.version(&aggregate).unwrap(), 1);
    drop(reading);
    let refused = builder()
        .open()
        .and_then(|store| store.append(&aggregate, Version::from(1), &[deposited(2)]))
        .unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::ReadOnly, "{refused:?}");
    let elsewhere = SqliteEventStore::open(directory.join("new.db")).unwrap_err();
    assert_not_opened(&elsewhere, "no right to write in the directory");

    remount("rw");
    let store = builder().open().unwrap();
    store.append(&aggregate, Version::from(1), &[deposited(2)]).unwrap();
}

/// Such as a backup on read-only media. SQLite cannot make the index of a write-ahead log there.
#[test]
fn a_store_with_a_log_that_was_closed_is_read_where_nothing_can_be_written() {
    on_a_small_file_system("read a closed store", "8m");
}

fn read_a_closed_store(directory: &Path) {
    let [path, copy, odd] = ["ledger.db", "copy.db", "a name?with#signs%20.db"].map(|name| directory.join(name));
    let store = SqliteEventStore::open(&path).unwrap();
    let aggregate = account();
    store
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    fs::copy(&path, &copy).unwrap();
    fs::copy(directory.join("ledger.db-wal"), directory.join("copy.db-wal")).unwrap();
    drop(store);
    fs::copy(&path, &odd).unwrap();
    let remount = |mode| {
        let options = format!("remount,bind,{mode}");
        let mut command = Command::new("mount");
        command.args(["-o", &options]).arg(directory);
        succeed(command);
    };
    remount("ro");

    let reading = |path: &Path| SqliteEventStore::builder(path).read_only(true).open();
    for path in [&path, &odd] {
        let store = reading(path).unwrap();
        let versions = together(4, |_| store.version(&aggregate).unwrap().get());
        assert_eq!(versions, [1; 4]);
        assert_eq!(all_events(&store).len(), 1);
        assert!(verify(&store, EventQuery::new(), |_| {}).unwrap().is_intact());
        assert!(store.check_storage().unwrap().is_empty());
        assert!(
            store
                .diagnose()
                .unwrap()
                .iter()
                .all(|found| found.severity <= Severity::Notice)
        );
    }
    assert!(
        SqliteEventStore::builder(&path)
            .read_only(true)
            .pending()
            .unwrap()
            .is_empty()
    );
    let error = reading(&copy).unwrap_err();
    assert_not_opened(
        &error,
        "has a write-ahead log that cannot be read where it is; copy both",
    );
    let writing = SqliteEventStore::open(&path).unwrap_err();
    assert!(
        matches!(writing.kind(), ErrorKind::ReadOnly | ErrorKind::Io { .. }),
        "{writing:?}"
    );

    // Another program writes nevertheless.
    let store = reading(&path).unwrap();
    assert_eq!(store.version(&aggregate).unwrap(), 1);
    remount("rw");
    let writing = SqliteEventStore::open(&path).unwrap();
    let error = store.version(&aggregate).unwrap_err();
    assert!(error.is_moved(), "{error:?}");
    assert!(error.to_string().contains("open the store again"), "{error}");
    writing.append(&aggregate, Version::from(1), &[deposited(2)]).unwrap();
    assert!(store.version(&aggregate).unwrap_err().is_moved());
    assert_eq!(reading(&path).unwrap().version(&aggregate).unwrap(), 2);
    drop(writing);
    assert!(
        store.version(&aggregate).unwrap_err().is_moved(),
        "the file is another now"
    );
}

#[test]
fn a_file_without_rights_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    drop(SqliteEventStore::open(&path).unwrap());
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    while_protected(&path, "open what may not be opened");
}

/// The process owns the file and the directory, so it can remove its own rights.
#[cfg(unix)]
fn open_what_may_not_be_opened(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let rights = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    rights(path, 0);
    for builder in [
        SqliteEventStore::builder(path),
        SqliteEventStore::builder(path).read_only(true),
    ] {
        assert_not_opened(&builder.open().unwrap_err(), "has no right to");
    }
    rights(path, 0o600);
    let closed = path.with_file_name("closed");
    rights(&closed, 0);
    let error = SqliteEventStore::open(closed.join("ledger.db")).unwrap_err();
    assert_not_opened(&error, "has no right to");
    rights(&closed, 0o700);
}

#[cfg(not(unix))]
fn open_what_may_not_be_opened(_: &Path) {}

#[test]
fn a_file_that_the_system_protects_can_be_read_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let builder = SqliteEventStore::builder(&path).journal_mode(JournalMode::Delete);
    builder
        .open()
        .unwrap()
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    while_protected(&path, "use a protected file");
}

fn use_a_protected_file(path: &Path) {
    let builder = || SqliteEventStore::builder(path).journal_mode(JournalMode::Delete);
    let reading = builder().read_only(true).open().unwrap();
    assert_eq!(all_events(&reading).len(), 1);
    drop(reading);
    let refused = builder()
        .open()
        .and_then(|store| store.append(&account(), ExpectedVersion::NoStream, &[deposited(2)]))
        .unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::ReadOnly, "{refused:?}");
    let elsewhere = SqliteEventStore::open(path.with_file_name("new.db")).unwrap_err();
    assert_not_opened(&elsewhere, "no right to write in the directory");
}

// What is no store, or no longer one.

#[test]
fn a_directory_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let error = SqliteEventStore::open(directory.path()).unwrap_err();
    assert!(error.is_invalid_input(), "{error:?}");
    assert!(error.to_string().contains("directory"), "{error}");
}

#[test]
fn a_store_in_a_directory_that_is_missing_can_be_opened_once_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/ledger.db");
    let error = SqliteEventStore::open(&path).unwrap_err();
    assert_not_opened(&error, "missing does not exist; make it first");
    let builder = SqliteEventStore::builder(&path);
    assert_not_opened(&builder.migrate().unwrap_err(), "make it first");
    assert_not_opened(&builder.pending().unwrap_err(), "make it first");
    fs::create_dir(path.parent().unwrap()).unwrap();
    SqliteEventStore::open(&path).unwrap();

    let error = SqliteEventStore::open(path.join("ledger.db")).unwrap_err();
    assert_not_opened(&error, "is not a directory");
}

/// Checks that the error says what to do, and is not retryable.
#[track_caller]
fn assert_not_opened(error: &Error, why: &str) {
    assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error:?}");
    assert!(!error.is_retryable());
    assert!(error.to_string().contains(why), "{error}");
    let source = error.source().is_some_and(|source| source.is::<rusqlite::Error>());
    assert!(source, "{error:?}");
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(20_000).collect();
    for (name, bytes) in [("noise", &noise[..]), ("letter", b"Dear Sir or Madam,")] {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        for builder in [
            SqliteEventStore::builder(&path),
            SqliteEventStore::builder(&path).migrate_on_open(true),
        ] {
            let error = builder.open().unwrap_err();
            assert!(error.is_integrity(), "{name}: {error:?}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn an_empty_file_becomes_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    fs::write(&path, b"").unwrap();
    let store = SqliteEventStore::open(&path).unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("songs.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE songs (title TEXT)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteEventStore::open(&path).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Schema(SchemaProblem::NotMigrated { found: None, .. })
        ),
        "{error:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_truncated_file_is_damaged_wherever_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let whole = fs::read(store_of_many(directory.path())).unwrap();
    let page = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    // SQLite treats a file of one byte as an empty one.
    let ends = [2, 99, 100, 511, 512, page - 1, page, page + 1, 2 * page, 7 * page + 100];
    for end in ends
        .into_iter()
        .chain([whole.len() / 2, whole.len() - page, whole.len() - 1])
    {
        let path = directory.path().join("truncated.db");
        fs::write(&path, &whole[..end]).unwrap();
        let result = SqliteEventStore::open(&path).and_then(|store| read_everything(&store));
        assert!(
            result.as_ref().is_err_and(Error::is_integrity),
            "cut at {end}: {result:?}"
        );
    }
}

/// Any byte may flip. Then either the written data is read, or an error says that the file is damaged. (SQLite's own
/// check finds missing rows.)
#[test]
fn a_flipped_byte_is_found_and_never_read_as_data() {
    let directory = tempfile::tempdir().unwrap();
    let whole = fs::read(store_of_many(directory.path())).unwrap();
    let page = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    let original = all_events(&SqliteEventStore::open(directory.path().join("many.db")).unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // SQLite has no error code for the format number of the schema, at byte 44.
    let mut places: Vec<_> = (0..140).filter(|at| !(44..48).contains(at)).collect();
    places.extend(
        (0..whole.len() / page)
            .map(|number| number * page + random.usize(..16))
            .filter(|at| *at > 140),
    );
    places.extend(std::iter::repeat_with(|| random.usize(140..whole.len())).take(150));

    let mut found = 0;
    for at in places {
        let mut flipped = whole.clone();
        flipped[at] ^= random.u8(1..);
        let path = directory.path().join("flipped.db");
        fs::write(&path, &flipped).unwrap();
        let opened = SqliteEventStore::builder(&path)
            .journal_mode(JournalMode::Delete)
            .busy_timeout(SHORT)
            .verify_on_read(true)
            .open();
        let place = format!(
            "byte {at}, on page {}, is {} instead of {}",
            at / page + 1,
            flipped[at],
            whole[at]
        );
        match opened.and_then(|store| read_everything(&store)) {
            Ok(events) => {
                for event in &events {
                    let was = original.iter().find(|was| was.event_id == event.event_id);
                    assert!(was.is_none_or(|was| was.data == event.data), "{place}: {event:?}");
                }
                if events.len() != original.len() {
                    let check = support::column(&Connection::open(&path).unwrap(), "PRAGMA integrity_check");
                    assert_ne!(check, ["ok"], "{place}: {} events", events.len());
                }
            }
            Err(error) => {
                found += 1;
                let misleading = matches!(error.kind(), ErrorKind::Backend { .. } | ErrorKind::InvalidInput { .. });
                assert!(!misleading, "{place}: {error:?}");
            }
        }
    }
    assert!(found > 50, "{found} flips were found");
}

/// A flipped byte in a table's definition looks like this: the file is intact, but the statements do not fit it.
#[test]
fn tables_that_a_statement_does_not_fit_any_more_are_altered() {
    for damage in [
        "ALTER TABLE firefly_schema_history RENAME COLUMN checksum TO checksun",
        "ALTER TABLE events RENAME COLUMN event_data TO event_date",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        drop(SqliteEventStore::open(&path).unwrap());
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let error = SqliteEventStore::open(&path)
            .and_then(|store| store.read_page(&EventQuery::new().after(0), None))
            .map(|page| page.high_water_mark)
            .and_then(|_| SqliteEventStore::open(&path)?.load(&account()))
            .unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Schema(_)), "{damage}: {error:?}");
    }
}

#[test]
fn metadata_that_is_no_json_any_more_is_damage_and_never_skipped() {
    let store = SqliteEventStore::in_memory().unwrap();
    let event = deposited(1).metadata_json(r#"{"branch":"Oslo"}"#).unwrap();
    store.append(&account(), ExpectedVersion::NoStream, &[event]).unwrap();
    let damage = "PRAGMA ignore_check_constraints = ON; UPDATE events SET metadata = '{\"branch\":'";
    store
        .transaction(|tx| {
            tx.connection()
                .execute_batch(damage)
                .map_err(|error| Error::invalid(error.to_string()))
        })
        .unwrap();
    let query = EventQuery::new().metadata(Metadata::from_json("{}").unwrap());
    let error = store.read_page(&query, None).unwrap_err();
    assert!(error.is_integrity(), "{error:?}");
    assert!(std::error::Error::source(&error).is_some());
}

/// Whatever reads it, and for whatever purpose.
#[test]
fn text_that_is_damaged_is_damage_wherever_it_is_found() {
    let damaged = ["CAST(x'41ff42' AS TEXT)", "'{'", "''", "'\u{1}'", "printf('%0300d', 1)"];
    let of_events = [
        "event_id",
        "aggregate_id",
        "aggregate_type",
        "event_type",
        "event_data",
        "metadata",
        "created_at",
        "updated_at",
        "created_by",
        "tenant_id",
        "correlation_id",
        "causation_id",
        "checksum",
    ];
    let of_snapshots = [
        "snapshot_id",
        "aggregate_id",
        "aggregate_type",
        "snapshot_type",
        "snapshot_data",
        "created_at",
        "checksum",
    ];
    let columns = of_events.map(|column| ("events", column)).into_iter();
    let mut found = BTreeSet::new();
    for (table, column) in columns.chain(of_snapshots.map(|column| ("snapshots", column))) {
        // Metadata that is not JSON cannot be put into an index.
        let store = SqliteEventStore::in_memory().unwrap();
        let aggregate = account();
        let event = deposited(1).metadata_json(r#"{"branch":"Oslo"}"#).unwrap();
        let event = event
            .created_by("ada")
            .and_then(|event| event.correlation_id("c")?.causation_id("d"))
            .unwrap();
        store
            .append(&aggregate, ExpectedVersion::NoStream, std::slice::from_ref(&event))
            .unwrap();
        let snapshot = NewSnapshot::new(&aggregate, Version::from(1), "balance", &1).unwrap();
        store.save(&snapshot).unwrap();
        for value in damaged {
            let damage = format!("PRAGMA ignore_check_constraints = ON; UPDATE {table} SET {column} = {value}");
            with_writer(&store, |connection| connection.execute_batch(&damage).unwrap());
            for (call, result) in every_use(&store, &aggregate, &event) {
                let Err(error) = result else { continue };
                let expected = error.is_integrity()
                    || error.is_duplicate() || error.is_conflict() // what is there is another event now
                    || matches!(error.kind(), ErrorKind::TypeMismatch { .. } | ErrorKind::TenantMismatch { .. });
                assert!(expected, "{table}.{column} = {value}: {call}: {error:?}");
                if error.is_integrity() {
                    found.insert((table, column));
                }
            }
        }
    }
    assert_eq!(found.len(), of_events.len() + of_snapshots.len(), "{found:?}");
}

fn every_use(
    store: &SqliteEventStore,
    aggregate: &AggregateKey,
    event: &NewEvent,
) -> Vec<(&'static str, Result<(), Error>)> {
    let read = |query: EventQuery| {
        store
            .read(query)
            .try_for_each(|event| event.and_then(|event| event.verify()))
    };
    let only = |json: &str| EventQuery::new().metadata(Metadata::from_json(json).unwrap());
    let again = std::slice::from_ref(event);
    let undone = |tx: Result<(), Error>| match tx {
        Err(error) if error.to_string().contains("undone") => Ok(()),
        other => other,
    };
    vec![
        (
            "load",
            store
                .load(aggregate)
                .and_then(|stream| stream.events().iter().try_for_each(EventEnvelope::verify)),
        ),
        (
            "load as of",
            store
                .load_as_of(aggregate, AsOf::Time(time::OffsetDateTime::now_utc()))
                .map(drop),
        ),
        ("the log", read(EventQuery::new())),
        ("backwards", read(EventQuery::new().backwards())),
        ("by time", read(EventQuery::new().ordered_by(Order::Time))),
        ("by metadata", read(only("{}"))),
        ("by another metadata", read(only(r#"{"correlationId":"c"}"#))),
        ("by a creator", read(EventQuery::new().created_by("ada").unwrap())),
        ("statistics", EventStore::statistics(store, None).map(drop)),
        ("summaries", store.aggregate_summaries(&SummaryQuery::new()).map(drop)),
        ("health", store.health().map(drop)),
        (
            "find",
            store
                .latest_snapshot(aggregate)
                .and_then(|found| found.map_or(Ok(()), |found| found.verify())),
        ),
        (
            "snapshots",
            store
                .snapshots_after(None, 10)
                .and_then(|found| found.iter().try_for_each(Snapshot::verify)),
        ),
        ("their statistics", store.snapshot_statistics(None).map(drop)),
        (
            "a repeated append",
            store.append(aggregate, ExpectedVersion::NoStream, again).map(drop),
        ),
        (
            "an append",
            undone(store.transaction(|tx| {
                tx.append(aggregate, ExpectedVersion::Any, &[deposited(2)])?;
                Err(Error::invalid("undone"))
            })),
        ),
    ]
}

#[test]
fn damaged_data_is_named_when_it_is_read_or_verified() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let aggregate = account();
    let events: Vec<_> = (0..50).map(|n| deposited(1_000_000 + n)).collect();
    let store = SqliteEventStore::open(&path).unwrap();
    store.append(&aggregate, ExpectedVersion::NoStream, &events).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(7).position(|window| window == b"1000031").unwrap();
    bytes[at] = b'9';
    fs::write(&path, &bytes).unwrap();

    let damaged = events[31].event_id();
    let names_it =
        |error: &Error| matches!(error.kind(), ErrorKind::Integrity { event_id: Some(id), .. } if *id == damaged);
    let store = SqliteEventStore::builder(&path).verify_on_read(true).open().unwrap();
    assert!(names_it(&store.load(&aggregate).unwrap_err()));
    assert!(
        store
            .read(EventQuery::new())
            .any(|event| event.is_err_and(|error| names_it(&error)))
    );
    let before = store
        .load_range(&aggregate, &StreamRange::all().to_version(31))
        .unwrap();
    assert_eq!(before.len(), 31, "what is not damaged can be read");

    let unverified = SqliteEventStore::open(&path).unwrap();
    let found = verify(&unverified, EventQuery::new(), |_| {}).unwrap();
    assert_eq!((found.checked, found.damaged.len()), (50, 1));
    assert!(names_it(&found.damaged[0]));
}

#[test]
fn text_that_is_no_text_any_more_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let aggregate = account();
    let store = SqliteEventStore::open(&path).unwrap();
    store
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(7_654_321)])
        .unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(7).position(|window| window == b"7654321").unwrap();
    bytes[at] = 0xff;
    fs::write(&path, &bytes).unwrap();

    let error = SqliteEventStore::open(&path).unwrap().load(&aggregate).unwrap_err();
    assert!(error.is_integrity(), "{error:?}");
    assert!(error.to_string().starts_with(&format!("load {aggregate}: ")), "{error}");
}

#[test]
fn a_file_that_is_gone_is_not_made_anew_by_reading() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::builder(&path)
        .journal_mode(JournalMode::Delete)
        .busy_timeout(SHORT)
        .open()
        .unwrap();
    fs::remove_file(&path).unwrap();
    let error = store.high_water_mark().unwrap_err();
    assert!(error.is_moved(), "{error:?}");
    assert!(!path.exists());
}

/// A closed file with many pages.
fn store_of_many(directory: &Path) -> PathBuf {
    let path = directory.join("many.db");
    let store = SqliteEventStore::builder(&path)
        .journal_mode(JournalMode::Delete)
        .open()
        .unwrap();
    for _ in 0..10 {
        let events: Vec<_> = (0..20).map(|n| large(200 + n)).collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
    path
}

fn read_everything(store: &SqliteEventStore) -> Result<Vec<EventEnvelope>, Error> {
    let events: Vec<_> = store
        .read(EventQuery::new().page_size(NonZeroU32::new(64).unwrap()))
        .collect::<Result<_, _>>()?;
    let aggregates: BTreeSet<_> = events.iter().map(|event| &event.aggregate).collect();
    for aggregate in aggregates {
        store.load(aggregate)?;
    }
    store.statistics(None)?;
    Ok(events)
}

// Locks.

#[test]
fn a_lock_that_another_process_holds_too_long_is_reported_and_forgotten_when_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::builder(&path).busy_timeout(SHORT).open().unwrap();
    let aggregate = account();
    store
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    for lock in ["IMMEDIATE", "EXCLUSIVE"] {
        let mut peer = lock_elsewhere(&path, lock);
        let version = store.version(&aggregate).unwrap();
        let next = [deposited(version.get())];
        assert_locked(&store.append(&aggregate, version, &next).unwrap_err(), &aggregate);
        let results = together(4, |_| {
            store.append(&account(), ExpectedVersion::NoStream, &[deposited(9)])
        });
        assert!(
            results
                .iter()
                .all(|result| result.as_ref().is_err_and(Error::is_retryable)),
            "{results:?}"
        );
        let in_transaction = store.transaction(|_| Ok::<_, Error>(())).unwrap_err();
        assert!(in_transaction.is_retryable(), "{in_transaction:?}");
        assert_eq!(all_events(&store).len() as u64, version.get(), "reading goes on");

        peer.go_on();
        peer.expect("released");
        assert!(!store.append(&aggregate, version, &next).unwrap().is_already_stored());
    }
}

#[test]
fn the_lock_of_a_process_that_is_killed_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::builder(&path).busy_timeout(SHORT).open().unwrap();
    let mut peer = lock_elsewhere(&path, "IMMEDIATE");
    let aggregate = account();
    assert_locked(
        &store
            .append(&aggregate, ExpectedVersion::Any, &[deposited(1)])
            .unwrap_err(),
        &aggregate,
    );
    peer.kill();
    peer.wait();
    store.append(&aggregate, ExpectedVersion::Any, &[deposited(1)]).unwrap();
}

#[test]
fn a_new_store_cannot_be_made_in_a_file_that_is_locked_until_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut peer = lock_elsewhere(&path, "EXCLUSIVE");
    let open = || SqliteEventStore::builder(&path).busy_timeout(SHORT).open();
    let error = open().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("ledger.db"), "{error}");
    peer.go_on();
    peer.expect("released");
    open().unwrap();
}

/// Without a write-ahead log, a writer blocks readers. With one reading connection, the first reader waits for the
/// file, and the others wait for the connection.
#[test]
fn readers_that_wait_too_long_for_a_connection_are_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::builder(&path)
        .journal_mode(JournalMode::Delete)
        .busy_timeout(SHORT)
        .readers(1)
        .open()
        .unwrap();
    let mut peer = lock_elsewhere(&path, "EXCLUSIVE");
    let errors = together(8, |_| store.high_water_mark().unwrap_err());
    assert!(errors.iter().all(Error::is_retryable), "{errors:?}");
    assert!(
        errors.iter().any(|error| *error.kind() == ErrorKind::PoolTimeout),
        "{errors:?}"
    );
    assert!(
        errors
            .iter()
            .all(|error| error.to_string().starts_with("read the high-water mark: "))
    );
    peer.go_on();
    peer.expect("released");
    assert_eq!(store.high_water_mark().unwrap(), 0);
}

fn lock_elsewhere(path: &Path, lock: &str) -> Peer {
    let mut peer = Peer::start(another("hold a lock", &format!("{lock}|{}", path.display())));
    peer.expect("locked");
    peer
}

fn hold_a_lock(argument: &str) {
    let (lock, path) = argument.split_once('|').unwrap();
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(&format!("BEGIN {lock}")).unwrap();
    tell("locked");
    wait_for_parent();
    connection.execute_batch("ROLLBACK").unwrap();
    tell("released");
}

#[track_caller]
fn assert_locked(error: &Error, aggregate: &AggregateKey) {
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
    assert!(error.is_retryable());
    assert!(
        error.to_string().starts_with(&format!("append to {aggregate}: ")),
        "{error}"
    );
    let source = error
        .source()
        .and_then(<dyn std::error::Error>::downcast_ref::<rusqlite::Error>);
    let code = source.and_then(rusqlite::Error::sqlite_error_code);
    assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy), "{error:?}");
}

// The caller's own code.

#[test]
fn a_thread_that_uses_the_store_within_its_own_transaction_gets_an_error_instead_of_a_deadlock() {
    let directory = tempfile::tempdir().unwrap();
    let in_file = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    for store in [in_file, SqliteEventStore::in_memory().unwrap()] {
        let aggregate = account();
        let snapshot = NewSnapshot::new(&aggregate, Version::from(1), "balance", &1).unwrap();
        store
            .transaction(|tx| {
                tx.append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])?;
                let errors = [
                    store
                        .append(&account(), ExpectedVersion::Any, &[deposited(2)])
                        .unwrap_err(),
                    store.transaction(|_| Ok::<_, Error>(())).unwrap_err(),
                    store.save(&snapshot).unwrap_err(),
                    store
                        .clone()
                        .append(&aggregate, ExpectedVersion::Any, &[deposited(2)])
                        .unwrap_err(),
                ];
                for error in errors {
                    assert!(error.is_invalid_input(), "{error:?}");
                    assert!(error.to_string().contains("transaction"), "{error}");
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(all_events(&store).len(), 1);
    }
}

#[test]
fn a_thread_that_reads_a_store_in_memory_within_its_own_transaction_gets_an_error_instead_of_a_deadlock() {
    let store = SqliteEventStore::in_memory().unwrap();
    let aggregate = account();
    store
        .transaction(|tx| {
            tx.append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])?;
            assert!(store.load(&aggregate).unwrap_err().is_invalid_input());
            assert!(store.high_water_mark().unwrap_err().is_invalid_input());
            assert_eq!(tx.load(&aggregate)?.version(), 1);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(store.version(&aggregate).unwrap(), 1);
}

#[test]
fn a_panic_within_a_transaction_rolls_it_back_and_the_store_works_on() {
    let directory = tempfile::tempdir().unwrap();
    let in_file = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    for store in [in_file, SqliteEventStore::in_memory().unwrap()] {
        let aggregate = account();
        let panicked = together(8, |thread| {
            let work = || {
                store.transaction(|tx| {
                    tx.append(&aggregate, ExpectedVersion::Any, &[deposited(1)])?;
                    tx.connection().execute_batch("CREATE TABLE mine (id INTEGER)").unwrap();
                    // Does not call the panic hook, so nothing is printed.
                    std::panic::resume_unwind(Box::new("the caller's mistake"));
                    #[allow(unreachable_code)]
                    Ok::<_, Error>(())
                })
            };
            match thread % 2 {
                0 => catch_unwind(AssertUnwindSafe(work)).is_err(),
                _ => store
                    .append(&account(), ExpectedVersion::NoStream, &[deposited(2)])
                    .is_err(),
            }
        });
        assert_eq!(panicked, [true, false, true, false, true, false, true, false]);
        assert_eq!(store.version(&aggregate).unwrap(), 0);
        assert_eq!(all_events(&store).len(), 4);
        store
            .transaction(|tx| {
                tx.connection().execute_batch("CREATE TABLE mine (id INTEGER)").unwrap();
                tx.append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
            })
            .unwrap();
    }
}

#[test]
fn a_transaction_that_the_caller_ended_is_an_error_and_the_store_works_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let aggregate = account();
    let result = store.transaction(|tx| {
        tx.connection().execute_batch("ROLLBACK").unwrap();
        Ok::<_, Error>(())
    });
    assert!(matches!(result.unwrap_err().kind(), ErrorKind::Backend { .. }));
    store
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
}

#[test]
fn an_error_of_the_callers_rolls_back_and_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(directory.path().join("ledger.db")).unwrap();
    let aggregate = account();
    let result = store.transaction(|tx| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        tx.append(&aggregate, ExpectedVersion::NoStream, &[deposited(1)])?;
        tx.connection().execute("INSERT INTO nowhere VALUES (1)", [])?;
        Ok(())
    });
    assert!(result.unwrap_err().is::<rusqlite::Error>());
    assert_eq!(store.version(&aggregate).unwrap(), 0);
}

// Memory.

#[test]
#[cfg(target_os = "linux")]
fn a_log_of_large_events_is_read_with_the_memory_of_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = SqliteEventStore::builder(&path)
        .synchronous(Synchronous::Normal)
        .open()
        .unwrap();
    for _ in 0..10 {
        let events: Vec<_> = (0..10).map(|_| large((1 << 20) - 100)).collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
    drop(store);
    succeed(another("read large events", path.to_str().unwrap()));
}

fn read_large_events(path: &Path) {
    let store = SqliteEventStore::open(path).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 100);
    let before = most_memory();
    assert_eq!(store.read(EventQuery::new()).map(Result::unwrap).count(), 100);
    let took = most_memory() - before;
    println!("{took} bytes");
    // A page of 16 MiB, and the memory of SQLite and the allocator.
    assert!(took < 40 << 20, "{took} bytes");
}

/// The most memory that this process ever had, in bytes.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024
}
