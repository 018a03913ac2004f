//! What the tests of this driver share.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses a part")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::mysql::prelude::Queryable;
use firefly_eventstore_mysql::mysql::{Conn, Opts, OptsBuilder};
use firefly_eventstore_mysql::{MysqlBuilder, MysqlEventStore};
use firefly_eventstore_test_servers::{Database, MysqlServer};

/// Makes a test of each function on either server, such as `mariadb::name`; it is skipped where the server is missing.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod mysql {
            $(#[test]
            fn $test() {
                if let Some(server) = firefly_eventstore_test_servers::mysql_unless_missing() {
                    super::$test(server);
                }
            })+
        }

        mod mariadb {
            $(#[test]
            fn $test() {
                if let Some(server) = firefly_eventstore_test_servers::mariadb_unless_missing() {
                    super::$test(server);
                }
            })+
        }
    };
}
pub(crate) use on_both;

/// A database of its own, with a store in it.
pub(crate) fn fresh(server: &MysqlServer) -> (Database, MysqlEventStore) {
    let database = server.new_database();
    let store = builder(&database).migrate_on_open(true).open().unwrap();
    (database, store)
}

/// How to open a store in a database.
pub(crate) fn builder(database: &Database) -> MysqlBuilder {
    MysqlEventStore::builder(database.url()).max_connections(20)
}

/// A connection of somebody else's.
pub(crate) fn client(database: &Database) -> Conn {
    Conn::new(database.url()).unwrap()
}

/// Runs a statement as somebody else.
pub(crate) fn run(client: &mut Conn, statement: &str) {
    client
        .query_drop(statement)
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// An aggregate of its own.
pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// An event of its own.
pub(crate) fn deposited(amount: u64) -> NewEvent {
    NewEvent::from_json("money.deposited", format!(r#"{{"amount":{amount}}}"#)).unwrap()
}

/// Appends an event to an aggregate of its own, and returns its sequence.
pub(crate) fn append_one(store: &MysqlEventStore) -> i64 {
    let appended = store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    appended.unwrap().last_sequence().unwrap().as_i64()
}

/// Everything in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}

/// The mark, as a number.
pub(crate) fn mark(store: &MysqlEventStore) -> i64 {
    store.high_water_mark().unwrap().as_i64()
}

/// Passes on what a client and the server say, counts whose turn it is, and can cut the answer off.
pub(crate) struct Proxy {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    server: PathBuf,
    turns: AtomicUsize,
    cut: AtomicBool,
}

impl Proxy {
    /// A proxy for the server of a database, which has to listen on a socket.
    pub(crate) fn of(database: &Database) -> Self {
        let opts = Opts::from_url(database.url()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let shared = Arc::new(Shared {
            server: opts.get_socket().expect("the server has a socket").into(),
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

    /// How to connect to the database through it.
    pub(crate) fn opts(&self, database: &Database) -> Opts {
        let opts = OptsBuilder::from_opts(Opts::from_url(database.url()).unwrap());
        let socket = self.directory.path().join("socket");
        opts.socket(Some(socket.to_str().unwrap())).into()
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
