//! A small backend over a directory of files, and the suite on it: an example for everybody who writes a backend.
//!
//! `store` is the backend, and `row` its format. This file has what the suite needs.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

mod row;
mod store;

use std::fs;
use std::path::Path;

use firefly_eventstore_conformance::{Ability, Damage, Environment, Handle, Partial, conformance};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Checksum, EventData, Limits};
use tempfile::TempDir;

use store::DirectoryEventStore;

conformance!(directory: fresh);

fn fresh() -> Option<Box<dyn Environment>> {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryEventStore::open(directory.path()).unwrap();
    Some(Box::new(Directory { store, directory }))
}

/// A directory for each case, which is removed with this.
struct Directory {
    store: DirectoryEventStore,
    directory: TempDir,
}

impl Directory {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn open(&self) -> DirectoryEventStore {
        DirectoryEventStore::open(self.path()).unwrap()
    }
}

fn handle(store: DirectoryEventStore) -> Handle {
    Partial::of(store).handle()
}

impl Environment for Directory {
    fn store(&self) -> Handle {
        handle(self.store.clone())
    }

    fn reopen(&self) -> Handle {
        handle(self.open())
    }

    fn lacks(&self) -> &[Ability] {
        use Ability::{Consumers, Operations, Schema, Snapshots, Timeouts};
        &[Snapshots, Consumers, Operations, Timeouts, Schema]
    }

    fn store_with(&self, limits: Limits) -> Handle {
        handle(self.open().with_limits(limits))
    }

    fn verifying_store(&self) -> Handle {
        handle(self.open().verify_on_read(true))
    }

    fn damage(&self, event: Uuid, damage: &Damage<'_>) {
        let mut log = store::read_log(self.path()).unwrap();
        let stored = log.iter_mut().find(|stored| stored.event_id == event).unwrap();
        match damage {
            Damage::Data(data) => stored.data = EventData::from_stored(*data),
            Damage::Checksum(checksum) => stored.checksum = Some(checksum.parse::<Checksum>().unwrap()),
            Damage::NoChecksum => stored.checksum = None,
            Damage::Version(version) => stored.version = Version::new(*version).unwrap(),
        }
        self.rewrite_log(&log);
    }

    /// Into one file, which may have holes.
    fn rewrite_log(&self, events: &[EventEnvelope]) {
        fs::remove_dir_all(self.path().join("log")).unwrap();
        fs::create_dir(self.path().join("log")).unwrap();
        if !events.is_empty() {
            fs::write(self.path().join(format!("log/{:020}.json", 1)), row::encode(events)).unwrap();
        }
    }

    /// Puts a directory in the place of the file that the next transaction writes.
    fn break_at(&self, _position: u64) {
        fs::create_dir(self.path().join("log/next.tmp")).unwrap();
    }

    fn repair(&self) {
        fs::remove_dir(self.path().join("log/next.tmp")).unwrap();
    }

    fn make_hole(&self) -> GlobalSequence {
        let mut log = store::read_log(self.path()).unwrap();
        let gone = log.remove(log.len() - 2);
        self.rewrite_log(&log);
        gone.global_sequence
    }

    fn cut_log(&self, after: GlobalSequence) {
        let mut log = store::read_log(self.path()).unwrap();
        log.retain(|event| event.global_sequence <= after);
        self.rewrite_log(&log);
    }
}
