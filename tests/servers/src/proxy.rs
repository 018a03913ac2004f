//! A proxy between a client and a server.

#![expect(clippy::unwrap_used, reason = "a test is to fail")]

use std::fmt;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes on the messages of a client and a server, counts the round trips, and can cut an answer off.
#[derive(Debug)]
pub struct Proxy {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    server: PathBuf,
    turns: AtomicUsize,
    cut: AtomicBool,
    before: Mutex<Before>,
}

/// Called with a client's message before the server gets it.
type Before = Box<dyn FnMut(&[u8]) + Send>;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy for the server that listens on a socket.
    ///
    /// # Panics
    ///
    /// If no socket can be created.
    pub fn of(server: &Path) -> Self {
        Self::with(server, |_| ())
    }

    /// As [`of`](Self::of), but first passes each message of a client to `before`, and only then to the server. Clients wait for each
    /// other.
    ///
    /// # Panics
    ///
    /// If no socket can be created.
    pub fn with(server: &Path, before: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join(server.file_name().unwrap());
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            turns: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
            before: Mutex::new(Box::new(before)),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                accepting.pass_on(client.unwrap());
            }
        });
        Self {
            _directory: directory,
            socket,
            shared,
        }
    }

    /// The socket that clients connect to. It has the same name as the server's, in another directory.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The number of round trips: how often a client sent something after the server had.
    pub fn turns(&self) -> usize {
        self.shared.turns.load(Ordering::SeqCst)
    }

    /// Passes the client's next message on to the server, and closes the connection instead of passing the answer back.
    pub fn cut_next_answer(&self) {
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
            drop(to_client.shutdown(Shutdown::Both));
            drop(from_server.shutdown(Shutdown::Both));
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Some(length) = client.read(&mut buffer).ok().filter(|length| *length > 0) {
                if server_spoke.swap(false, Ordering::SeqCst) {
                    shared.turns.fetch_add(1, Ordering::SeqCst);
                }
                shared.before.lock().unwrap_or_else(PoisonError::into_inner)(&buffer[..length]);
                if server.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            drop(server.shutdown(Shutdown::Both));
        });
    }
}
