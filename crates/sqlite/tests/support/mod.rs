//! What the tests of this driver share.

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

/// An aggregate of its own.
pub(crate) fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

/// An event of its own.
pub(crate) fn deposited(amount: u64) -> NewEvent {
    NewEvent::new("money.deposited", &serde_json::json!({ "amount": amount })).unwrap()
}

/// An event with so many bytes of data.
pub(crate) fn large(bytes: usize) -> NewEvent {
    NewEvent::new("file.attached", &serde_json::json!({ "content": "x".repeat(bytes) })).unwrap()
}

/// Everything in the log.
pub(crate) fn all_events(store: &dyn EventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, Error>>().unwrap()
}

/// Runs `work` in so many threads that begin together, and returns what each returned.
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

/// Runs `work` in a transaction of its own on the connection that the store writes with.
pub(crate) fn with_writer<R>(store: &SqliteEventStore, work: impl FnOnce(&Connection) -> R) -> R {
    store.transaction(|tx| Ok::<_, Error>(work(tx.connection()))).unwrap()
}

/// Every row of a query, as SQLite has it.
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

/// Panics unless SQLite finds the file whole.
pub(crate) fn assert_intact(path: &Path) {
    let connection = Connection::open(path).unwrap();
    assert_eq!(column(&connection, "PRAGMA integrity_check"), ["ok"]);
    assert!(rows(&connection, "PRAGMA foreign_key_check", []).is_empty());
}

const ROLE: &str = "FIREFLY_TEST_ROLE";
const ARGUMENT: &str = "FIREFLY_TEST_ARGUMENT";

/// Marks what one process tells the other, among what the test runner prints.
const MARK: &str = ">> ";

/// The command that runs this test binary again in another role: its test `child_process` finds the role by [`role`].
pub(crate) fn another(role: &str, argument: &str) -> Command {
    through(&[], role, argument)
}

/// As [`another`], but started by another program, which is given the command as its last arguments.
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

/// What this process is to do, if it is not the one that runs the tests.
pub(crate) fn role() -> Option<(String, String)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(ARGUMENT).ok()?))
}

/// Tells the parent process something, in one write.
pub(crate) fn tell(line: &str) {
    let line = format!("\n{MARK}{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// Waits until the parent process says something.
pub(crate) fn wait_for_parent() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the parent process is gone");
}

/// Another process; it does not outlive this value.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a process that talks by [`tell`] and listens by [`wait_for_parent`].
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

    /// What it tells next; none if it ended.
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

    /// Panics unless it tells this next.
    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.hear().as_deref(), Some(line));
    }

    /// Lets it go on.
    pub(crate) fn go_on(&mut self) {
        self.input.write_all(b"go on\n").unwrap();
    }

    /// Kills it, as SIGKILL does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Lets it end, and panics unless it succeeded.
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

/// Runs a process to its end, and panics with what it printed unless it succeeded.
pub(crate) fn succeed(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "the other process failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Says, past the test runner that keeps the output of tests that pass, what could not be tried here.
pub(crate) fn not_tried(what: &str, why: &str) {
    writeln!(std::io::stderr().lock(), "NOT TRIED: {what}: {why}").unwrap();
}

/// Runs a role on a file that is, with its directory, protected from being written, in a process without any right over others'
/// files, and over its own only what they grant: the rights of root would make the test mean nothing.
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
