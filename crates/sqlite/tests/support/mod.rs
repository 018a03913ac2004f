//! Shared functions of this driver's tests.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Barrier;
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::SqliteEventStore;
use firefly_eventstore_sqlite::driver::{self as rusqlite, Connection, types::Value};

/// A new aggregate.
pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// A new event.
pub(crate) fn deposited(amount: u64) -> NewEvent {
    NewEvent::new("money.deposited", &serde_json::json!({ "amount": amount })).unwrap()
}

/// An event with this many bytes of data.
pub(crate) fn large(bytes: usize) -> NewEvent {
    NewEvent::new("file.attached", &serde_json::json!({ "content": "x".repeat(bytes) })).unwrap()
}

/// Everything in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}

/// Runs `work` in this many threads that start together, and returns their results.
pub(crate) fn together<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(threads);
    let run = |index| {
        barrier.wait();
        work(index)
    };
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for index in 0..threads {
            handles.push(scope.spawn(move || run(index)));
        }
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// Runs `work` in a transaction on the store's writing connection.
pub(crate) fn with_writer<R>(store: &SqliteEventStore, work: impl FnOnce(&Connection) -> R) -> R {
    store.transaction(|tx| Ok::<_, Error>(work(tx.connection()))).unwrap()
}

/// Every row of a query, with SQLite's values.
pub(crate) fn rows(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    statement
        .query_map(parameters, |row| (0..columns).map(|index| row.get(index)).collect())
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap()
}

/// One column of a query, as text.
pub(crate) fn column(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap()
}

/// Panics if SQLite finds damage in the file.
pub(crate) fn assert_intact(path: &Path) {
    let connection = Connection::open(path).unwrap();
    assert_eq!(column(&connection, "PRAGMA integrity_check"), ["ok"]);
    assert!(rows(&connection, "PRAGMA foreign_key_check", []).is_empty());
}

const ROLE: &str = "FIREFLY_TEST_ROLE";
const ARGUMENT: &str = "FIREFLY_TEST_ARGUMENT";

/// Marks messages between the processes in the output of the test runner.
const MARK: &str = ">> ";

/// The command that runs this test binary again in another role: its test `child_process` reads the role with [`role`].
pub(crate) fn another(role: &str, argument: &str) -> Command {
    through(&[], role, argument)
}

/// As [`another`], but another program starts it, with the command as its last arguments.
pub(crate) fn through(starter: &[&str], role: &str, argument: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match starter {
        [] => Command::new(program),
        [starter, arguments @ ..] => {
            let mut command = Command::new(starter);
            command.args(arguments).arg(program);
            command
        }
    };
    command
        .args(["--exact", "child_process", "--nocapture"])
        .env(ROLE, role)
        .env(ARGUMENT, argument);
    command
}

/// The role of this process, if it is not the one that runs the tests.
pub(crate) fn role() -> Option<(String, String)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(ARGUMENT).ok()?))
}

/// Sends a line to the parent process, in one write.
pub(crate) fn tell(line: &str) {
    let line = format!("\n{MARK}{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// Waits for a line of the parent process.
pub(crate) fn wait_for_parent() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the parent process is gone");
}

/// Another process. Dropping this kills it.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a process that writes with [`tell`] and waits with [`wait_for_parent`].
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// The next line of the process; none if it ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.output.read_until(b'\n', &mut line).unwrap();
            // A line without an end was cut off when the process died.
            let whole = line.strip_suffix(b"\n")?;
            if let Some(told) = String::from_utf8_lossy(whole).strip_prefix(MARK) {
                return Some(told.to_owned());
            }
        }
    }

    /// Panics unless the next line is this.
    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.hear().as_deref(), Some(line));
    }

    /// Lets the process continue.
    pub(crate) fn go_on(&mut self) {
        self.input.write_all(b"go on\n").unwrap();
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Lets the process end, and panics unless it succeeded.
    pub(crate) fn finish(mut self) {
        while self.hear().is_some() {}
        assert!(self.wait().success(), "the other process failed");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a process to its end. Panics with its output unless it succeeded.
pub(crate) fn succeed(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "the other process failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Prints what could not be tested here. Written directly, because the test runner hides the output of passing tests.
pub(crate) fn not_tried(what: &str, why: &str) {
    writeln!(std::io::stderr().lock(), "NOT TRIED: {what}: {why}").unwrap();
}

/// Runs a role on a write-protected file in a write-protected directory. The process has no rights on files of others, and only the granted
/// ones on its own: as root, the test would prove nothing.
pub(crate) fn while_protected(path: &Path, role: &str) {
    let starter = ["unshare", "--user"];
    let directory = path.parent().unwrap();
    let protect = |protect: bool| {
        for path in [path, directory] {
            let mut permissions = fs::metadata(path).unwrap().permissions();
            permissions.set_readonly(protect);
            fs::set_permissions(path, permissions).unwrap();
        }
    };
    protect(true);
    let probe = Command::new(starter[0])
        .args(&starter[1..])
        .args(["sh", "-c", "test -w \"$0\" || echo protected"])
        .arg(path)
        .output();
    if probe.is_ok_and(|output| output.stdout == b"protected\n") {
        succeed(through(&starter, role, path.to_str().unwrap()));
    } else {
        not_tried(role, "a process that its protection binds needs Linux and unshare");
    }
    protect(false);
}
