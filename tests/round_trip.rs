//! Moves a log of 50,000 events of real history through all databases, as files, and checks that it is the same at the
//! end.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::Command;

use firefly_eventstore_core::operate::{Audit, Export, Import, LogDigest, Operations};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous};
use firefly_eventstore_test_servers::{mariadb_unless_missing, mysql_unless_missing, postgres_unless_missing};
use serde_json::json;

const EVENTS: usize = 50_000;

#[test]
fn a_log_that_goes_around_all_databases_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let source = file(&directory.path().join("source.db"));
    append_history(&source);
    let home = file(&directory.path().join("home.db"));

    let databases = (
        postgres_unless_missing().map(|server| server.new_database()),
        mysql_unless_missing().map(|server| server.new_database()),
        mariadb_unless_missing().map(|server| server.new_database()),
    );
    let mut way: Vec<Box<dyn Operations>> = Vec::new();
    if let Some(database) = &databases.0 {
        let builder = PostgresEventStore::builder(database.url());
        way.push(Box::new(builder.migrate_on_open(true).open().unwrap()));
    }
    for database in [&databases.1, &databases.2].into_iter().flatten() {
        let builder = MysqlEventStore::builder(database.url());
        way.push(Box::new(builder.migrate_on_open(true).open().unwrap()));
    }
    way.push(Box::new(home.clone()));

    let path = directory.path().join("log.jsonl");
    let digest = export(&source, &path);
    let mut from: &dyn Operations = &source;
    for to in &way {
        let names = [from, &**to].map(|store| store.health().unwrap().backend);
        assert_eq!(export(from, &path), digest, "the digest of {}", names[0]);
        let input = BufReader::new(File::open(&path).unwrap());
        let imported = Import::new().json_lines(&**to, input, |_| {}).unwrap();
        assert_eq!(imported.events, EVENTS as u64, "from {} to {}", names[0], names[1]);
        from = &**to;
    }

    let audited = Audit::new().run(&home, |_| {}, |finding| panic!("{finding}")).unwrap();
    assert_eq!(audited.remembered.unwrap().digest, digest);
    // Compares every event, not only the digest, whatever a database made of the spelling of its JSON.
    let canonical = |event: Result<EventEnvelope, Error>| {
        let mut event = event.unwrap();
        event.data = event
            .data
            .canonical()
            .map(firefly_eventstore_core::EventData::from_stored)
            .unwrap();
        event.metadata = event
            .metadata
            .map(|json| Metadata::from_stored(json.canonical().unwrap()));
        event.size_bytes = None;
        event
    };
    let mut here = home.read(EventQuery::new());
    for event in source.read(EventQuery::new()) {
        assert_eq!(here.next().map(canonical), Some(canonical(event)));
    }
    assert!(here.next().is_none());
}

fn file(path: &Path) -> SqliteEventStore {
    let builder = SqliteEventStore::builder(path).synchronous(Synchronous::Normal);
    builder.open().unwrap()
}

fn export(store: &dyn Operations, path: &Path) -> LogDigest {
    let out = BufWriter::new(File::create(path).unwrap());
    Export::new().json_lines(store, out, |_| {}).unwrap().digest
}

/// The history of this repository, file by file, repeated as often as needed.
fn append_history(store: &SqliteEventStore) {
    let changes = changes();
    assert!(!changes.is_empty(), "git log shows no change of this repository");
    let mut left = EVENTS;
    for copy in 0.. {
        let mut aggregates: HashMap<&str, AggregateKey> = HashMap::new();
        let mut events: HashMap<&str, Vec<NewEvent>> = HashMap::new();
        for change in changes.iter().take(left) {
            aggregates
                .entry(&change.path)
                .or_insert_with(|| AggregateKey::new("File", Uuid::now_v7()).unwrap());
            events.entry(&change.path).or_default().push(change.event(copy));
        }
        let stored: usize = events.values().map(Vec::len).sum();
        let appends: Vec<Append<'_>> = events
            .iter()
            .map(|(path, events)| Append::new(&aggregates[path], ExpectedVersion::NoStream, events))
            .collect();
        store.append_all(&appends).unwrap();
        left -= stored;
        if left == 0 {
            return;
        }
    }
}

/// A change of a file in git's history.
struct Change {
    commit: String,
    author: String,
    subject: String,
    modes_and_blobs: Vec<String>,
    path: String,
}

impl Change {
    fn event(&self, copy: u64) -> NewEvent {
        let [old_mode, new_mode, old_blob, new_blob, status] = &self.modes_and_blobs[..] else {
            panic!(
                "git tells two modes, two blobs and a status: {:?}",
                self.modes_and_blobs
            );
        };
        let event_type = match status.as_str() {
            "A" => "file.added",
            "D" => "file.deleted",
            _ => "file.changed",
        };
        let data = json!({
            "path": self.path, "mode": [old_mode, new_mode], "blob": [old_blob, new_blob], "copy": copy,
        });
        NewEvent::new(event_type, &data)
            .unwrap()
            .metadata(&json!({ "subject": self.subject, "correlationId": self.commit }))
            .unwrap()
            .created_by(&*self.author)
            .unwrap()
            .correlation_id(&*self.commit)
            .unwrap()
    }
}

fn changes() -> Vec<Change> {
    let log = Command::new("git")
        .args([
            "log",
            "--reverse",
            "--raw",
            "--no-renames",
            "--no-abbrev",
            "--format=%n%H%x09%an%x09%s",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("git is what the history is read with");
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    let log = String::from_utf8(log.stdout).unwrap();
    let mut changes = Vec::new();
    let mut commit = ("", "", "");
    for line in log.lines().filter(|line| !line.is_empty()) {
        if let Some(raw) = line.strip_prefix(':') {
            let (columns, path) = raw.split_once('\t').unwrap();
            let columns = columns.split(' ').map(str::to_owned).collect();
            changes.push(Change {
                commit: commit.0.to_owned(),
                author: commit.1.to_owned(),
                subject: commit.2.to_owned(),
                modes_and_blobs: columns,
                path: path.to_owned(),
            });
            continue;
        }
        let mut columns = line.splitn(3, '\t');
        let mut next = || columns.next().unwrap_or_default();
        commit = (next(), next(), next());
    }
    changes
}
