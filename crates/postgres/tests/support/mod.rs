//! What the tests of this driver share.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::postgres::{Client, NoTls};
use firefly_eventstore_test_servers::{Database, postgres_unless_missing};

/// A database of its own, with a store in it; none where there is no server, which is said unless one is required.
pub(crate) fn fresh() -> Option<(Database, PostgresEventStore)> {
    let database = database()?;
    let store = PostgresEventStore::builder(database.url())
        .max_connections(16)
        .migrate_on_open(true)
        .open()
        .unwrap();
    Some((database, store))
}

/// A database of its own; see [`fresh`].
pub(crate) fn database() -> Option<Database> {
    Some(postgres_unless_missing()?.new_database())
}

/// A connection of somebody else's.
pub(crate) fn client(database: &Database) -> Client {
    Client::connect(database.url(), NoTls).unwrap()
}

/// An aggregate of its own.
pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// An event of its own.
pub(crate) fn deposited(amount: u64) -> NewEvent {
    NewEvent::new("money.deposited", &serde_json::json!({ "amount": amount })).unwrap()
}

/// Everything in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}

/// Passes on what a client and the server say, counts whose turn it is, and can cut the answer off.
pub(crate) struct Proxy {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    server: std::path::PathBuf,
    turns: AtomicUsize,
    cut: AtomicBool,
}

const SOCKET: &str = ".s.PGSQL.5432";

impl Proxy {
    /// A proxy for the server whose socket is in this directory.
    pub(crate) fn of(server: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let shared = Arc::new(Shared {
            server: server.join(SOCKET),
            turns: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                accepting.pass_on(client.unwrap());
            }
        });
        Self { directory, shared }
    }

    /// How to connect through it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "host={} user=postgres dbname={database}",
            self.directory.path().display()
        )
    }

    /// How often a client spoke after the server had.
    pub(crate) fn turns(&self) -> usize {
        self.shared.turns.load(Ordering::SeqCst)
    }

    /// Passes the next thing that the client says on to the server, and cuts the connection instead of passing back the
    /// answer.
    pub(crate) fn cut_next_answer(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn pass_on(self: &Arc<Self>, mut client: UnixStream) {
        let mut server = UnixStream::connect(&self.server).unwrap();
        let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let server_spoke = Arc::new(AtomicBool::new(true));
        let (asked, answered) = (Arc::clone(self), Arc::clone(&server_spoke));
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Some(length) = from_server.read(&mut buffer).ok().filter(|length| *length > 0) {
                answered.store(true, Ordering::SeqCst);
                if asked.cut.swap(false, Ordering::SeqCst) || to_client.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            drop(to_client.shutdown(std::net::Shutdown::Both));
            drop(from_server.shutdown(std::net::Shutdown::Both));
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Some(length) = client.read(&mut buffer).ok().filter(|length| *length > 0) {
                if server_spoke.swap(false, Ordering::SeqCst) {
                    shared.turns.fetch_add(1, Ordering::SeqCst);
                }
                if server.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            drop(server.shutdown(std::net::Shutdown::Both));
        });
    }
}
