//! The tool, called as from a shell, and stores for it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use firefly_eventstore::consumer::{ConsumerState, ConsumerTransaction, Registration, StartAt};
use firefly_eventstore::operate::Operations;
use firefly_eventstore::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// The answer of the tool.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// The one JSON value of the answer.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON values of the answer, one on each line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.out.lines().map(parse).collect()
    }

    /// The line with this beginning.
    pub(crate) fn line(&self, begin: &str) -> &str {
        let line = self.out.lines().find(|line| line.starts_with(begin));
        line.unwrap_or_else(|| panic!("no line begins with {begin:?}: {self:?}"))
    }
}

/// The tool, without the variables of the environment that concern it.
pub(crate) fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firefly-eventstore"));
    for variable in [
        "FIREFLY_EVENTSTORE_URL",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command with this text on its standard input.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Answer {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A tool that fails early may not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A store for the tool.
pub(crate) struct Store {
    pub(crate) url: String,
    pub(crate) directory: TempDir,
}

impl Store {
    /// A store in a new SQLite file.
    pub(crate) fn new() -> Self {
        let store = Self::missing();
        store.succeeds(&["migrate"]);
        store
    }

    /// An SQLite file that does not exist yet.
    pub(crate) fn missing() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("ledger.db").display());
        Self { url, directory }
    }

    /// A store in a database of a server.
    pub(crate) fn at(url: &str) -> Self {
        let store = Self {
            url: url.to_owned(),
            directory: tempfile::tempdir().unwrap(),
        };
        store.succeeds(&["migrate"]);
        store
    }

    /// A store of accounts, with data for every command.
    pub(crate) fn of_accounts() -> Self {
        let store = Self::new();
        store.fill();
        store
    }

    /// Three accounts: one without a tenant with four events, and two of tenants with one event each.
    pub(crate) fn fill(&self) {
        self.append(&account(1), "no-stream", &[], r#"
            {"event_type":"account.opened","data":{"owner":"Ada"},"event_id":"00000000-0000-7000-8000-000000000001",
             "created_at":"2025-01-01T12:00:00Z","created_by":"clerk-7","metadata":{"branch":"Oslo","floor":1}}
            {"event_type":"money.deposited","data":{"cents":25000},"created_at":"2025-01-02T12:00:00Z","created_by":"clerk-8",
             "correlation_id":"transfer-1","causation_id":"00000000-0000-7000-8000-000000000001"}"#);
        self.append(&account(2), "no-stream", &["--tenant", "acme"], r#"[
            {"event_type":"account.opened","data":{"owner":"Grace"},"created_at":"2025-01-03T12:00:00Z","metadata":{"branch":"Lima"}}]"#);
        self.append(
            &account(3),
            "any",
            &["--tenant", "globex"],
            r#"
            {"event_type":"account.opened","data":{"owner":"Linus"},"created_at":"2025-01-04T12:00:00Z"}"#,
        );
        self.append(
            &account(1),
            "2",
            &[],
            r#"[
            {"event_type":"money.withdrawn","data":{"cents":5000},"created_at":"2025-01-05T12:00:00Z"},
            {"event_type":"account.closed","data":{},"created_at":"2025-01-06T12:00:00Z"}]"#,
        );
    }

    /// Appends events to an account with the tool.
    pub(crate) fn append(&self, account: &AggregateKey, expected: &str, more: &[&str], events: &str) -> Answer {
        let id = account.id().to_string();
        let kind = account.aggregate_type().as_str();
        let mut arguments = vec!["append", "--type", kind, "--id", &id, "--expected", expected];
        arguments.extend(more);
        let answer = run_with(&mut self.command(&arguments), events.as_bytes());
        assert_eq!(answer.code, 0, "{answer:?}");
        answer
    }

    /// Makes a consumer of the accounts that has failed, `mails.v1`: both events of account 1 up to its position 2 are parked, the second
    /// of its two slots failed at sequence 3, and one process holds both.
    pub(crate) fn fail_mails(&self) {
        let store = self.open();
        begin(&*store, MAILS, 2, 2, ConsumerState::Running);
        within(&*store, |tx| {
            tx.claim(MAILS, Uuid::nil(), Duration::from_secs(3_600))?;
            for (sequence, attempts, reason) in
                [(1, 5, "the mail server refused"), (2, 0, "an earlier event is parked")]
            {
                tx.park(MAILS, GlobalSequence::from(sequence), account(1).id(), attempts, reason)?;
            }
            let mut slot = tx.lock_slot(MAILS, 1)?;
            slot.state = ConsumerState::Failed;
            tx.fail(
                &mut slot,
                GlobalSequence::from(3),
                &format!("no such address\n{}", "x".repeat(200)),
            )
            .map(drop)
        });
    }

    /// The same store, opened with the library.
    pub(crate) fn open(&self) -> Arc<dyn Operations> {
        firefly_eventstore::connect_operator(&self.url).unwrap()
    }

    /// A file in the store's own folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The files in the folder besides the database.
    pub(crate) fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with("ledger.db")).collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tool();
        command
            .current_dir(self.directory.path())
            .args(["--store", &self.url])
            .args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        run_with(&mut self.command(arguments), b"")
    }

    /// Runs a command that must succeed and write nothing to its error output.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> Answer {
        let answer = self.run(arguments);
        assert_eq!((answer.code, &*answer.err), (0, ""), "{arguments:?}: {answer:?}");
        answer
    }

    /// Runs a command that must fail with this exit code, and returns its one line of error.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {answer:?}");
        assert_eq!(answer.err.lines().count(), 1, "{arguments:?}: {answer:?}");
        assert!(answer.err.starts_with("error: "), "{arguments:?}: {answer:?}");
        answer.err
    }
}

pub(crate) const MAILS: &str = "mails.v1";

/// Registers a consumer of the whole log, with all of its slots at a position.
pub(crate) fn begin(store: &dyn Operations, name: &str, slots: u16, position: u32, state: ConsumerState) {
    let query = EventQuery::new();
    let registration = Registration::new(name, &query)
        .slots(slots)
        .start(StartAt::Position(GlobalSequence::from(position)))
        .state(state);
    within(store, |tx| tx.register(&registration).map(drop));
}

pub(crate) fn within(
    store: &dyn Operations,
    mut work: impl FnMut(&mut dyn ConsumerTransaction) -> Result<(), firefly_eventstore::Error>,
) {
    store.consume(&mut |tx| work(tx)).unwrap();
}

/// The account with a number for an id.
pub(crate) fn account(number: u128) -> AggregateKey {
    AggregateKey::new(
        "Account",
        Uuid::from_u128(0x0197_c6b1_7e55_7c0e_9d6c_0000_0000_0000 + number),
    )
    .unwrap()
}

pub(crate) fn id(number: u128) -> String {
    account(number).id().to_string()
}

/// Appends this many events to account 1 with the library, in batches.
pub(crate) fn append_many(store: &dyn EventStore, count: usize) {
    let deposit = |cents: usize| {
        let data = serde_json::json!({ "cents": cents, "reference": "x".repeat(150) });
        NewEvent::new("money.deposited", &data).unwrap()
    };
    let events: Vec<_> = (0..count).map(deposit).collect();
    for batch in events.chunks(500) {
        store.append(&account(1), ExpectedVersion::Any, batch).unwrap();
    }
}

/// A child process whose output is read line by line. Dropping this kills it if it still runs.
pub(crate) struct Running {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
    remarks: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        let remarks = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines, remarks }
    }

    /// Waits for the next line; none at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Waits for the next line of the error output.
    pub(crate) fn remark(&mut self) -> String {
        let mut line = String::new();
        self.remarks.read_line(&mut line).unwrap();
        line
    }

    /// Closes the pipe that the child writes to.
    pub(crate) fn close(&mut self) {
        self.lines = None;
    }

    /// Sends a signal only to this child.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code and the error output.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        use std::io::Read as _;
        let mut err = String::new();
        self.remarks.read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Changes one byte in the line of a file that contains this text. Returns the number of the line.
pub(crate) fn flip_a_byte(path: &Path, text: &str) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, &bytes).unwrap();
    bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}
