//! How the tool ends: an exit code, and why it failed.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::url::StoreUrl;
use firefly_eventstore::{Error, ErrorKind, SchemaProblem};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The command succeeded.
    Fine = 0,
    /// The check that was asked for found something.
    Findings = 1,
    /// The command line or the input is wrong.
    Usage = 2,
    /// The request conflicts with stored data.
    Conflict = 3,
    /// The database cannot answer now.
    Unavailable = 4,
    /// The schema is not the one that the tool needs, or was moved.
    Schema = 5,
    /// A file or stored data is damaged.
    Damaged = 6,
    /// The database accepts no writes, or cannot prove the high-water mark.
    Refused = 7,
    /// A file or stream cannot be read or written.
    Files = 8,
    /// Anything else that the database reports.
    Database = 9,
    /// `doctor` found a danger: stored data may be lost.
    Danger = 10,
    /// The command was stopped before it was done.
    Interrupted = 130,
}

/// The exit codes, for the help and the man page.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  done, and nothing is wrong; also if a pipe was closed early
    1  verify, maintain --check or doctor found something, or diff a difference
    2  the command line or the input is wrong
    3  conflict: what is stored contradicts what was asked for
    4  the database cannot answer now: repeat later, nothing is lost
    5  the schema is missing, older, newer, altered or moved
    6  a file or stored data is damaged
    7  the database refuses: read-only, a replica, no rights, or no room
    8  a file or stream cannot be read or written
    9  any other error of the database
   10  doctor found a danger: what was stored may be lost
  130  stopped before it was done";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a command returns.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    advice: Option<Advice>,
    /// The store that it is about.
    store: Option<StoreUrl>,
    closed_pipe: bool,
}

/// What to do.
#[derive(Debug)]
enum Advice {
    Say(String),
    /// To run a command of this tool with the same store.
    Run(Vec<String>),
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            advice: None,
            store: None,
            closed_pipe: false,
        }
    }

    /// Says what to do.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(Advice::Say(advice.into()));
        self
    }

    /// Says which command of this tool to run.
    pub(crate) fn advise_command(mut self, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.advice = Some(Advice::Run(command.into_iter().map(Into::into).collect()));
        self
    }

    /// Adds the store that the error is about, unless it has one.
    pub(crate) fn on(mut self, store: &StoreUrl) -> Self {
        self.store.get_or_insert_with(|| store.clone());
        self
    }

    /// Adds the subject of the error, if the error does not name it.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The command line or the input is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file or stream cannot be read or written.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(Exit::Files, format!("{what}: {error}"))
    }

    /// What happened, without what to do.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do, if that is known.
    pub(crate) fn advice(&self) -> Option<String> {
        Some(match (self.advice.as_ref()?, &self.store) {
            (Advice::Say(advice), _) => advice.clone(),
            (Advice::Run(command), Some(store)) if store.is_for_reading() && *command == ["migrate"] => {
                "migrate it with a URL that may write, without read_only or read_replica".to_owned()
            }
            (Advice::Run(command), Some(store)) => format!("run: {}", store.command(command)),
            (Advice::Run(command), None) => format!("run: firefly-eventstore {}", command.join(" ")),
        })
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether the only problem is that the reader of the output has closed it.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.advice().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

/// The standard output cannot be written.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            closed_pipe: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::io("the output cannot be written", &error)
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // Only a file or stream: a database's connection may break as a pipe does.
        let closed_pipe = matches!(error.kind(), ErrorKind::Io { .. })
            && sources(&error).any(|source| {
                let source = source.downcast_ref::<io::Error>();
                source.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
            });
        Self {
            closed_pipe,
            advice: advice(error.kind()),
            ..Self::new(exit_of(error.kind()), message_of(&error))
        }
    }
}

fn exit_of(kind: &ErrorKind) -> Exit {
    match kind {
        ErrorKind::InvalidInput { .. } => Exit::Usage,
        ErrorKind::Conflict { .. }
        | ErrorKind::TypeMismatch { .. }
        | ErrorKind::TenantMismatch { .. }
        | ErrorKind::Duplicate { .. }
        | ErrorKind::BeyondEnd { .. }
        | ErrorKind::Archived { .. }
        | ErrorKind::Contradiction { .. } => Exit::Conflict,
        ErrorKind::Unavailable { .. } | ErrorKind::PoolTimeout => Exit::Unavailable,
        ErrorKind::Schema(_) | ErrorKind::Moved { .. } => Exit::Schema,
        ErrorKind::Integrity { .. } | ErrorKind::DamagedFile { .. } => Exit::Damaged,
        ErrorKind::ReadOnly | ErrorKind::Unprovable { .. } | ErrorKind::PermissionDenied | ErrorKind::StorageFull => {
            Exit::Refused
        }
        ErrorKind::Io { .. } => Exit::Files,
        _ => Exit::Database,
    }
}

/// What happened, and why.
fn message_of(error: &Error) -> String {
    let mut message = match error.kind() {
        // The library names its function; the tool has a command.
        ErrorKind::Schema(SchemaProblem::NotMigrated { found, required }) => match found {
            Some(found) => format!("the schema is at version {found}, this tool needs {required}"),
            None => format!("there is no event store schema yet, this tool needs {required}"),
        },
        _ => error.to_string(),
    };
    for source in sources(error) {
        let reason = source.to_string();
        if !message.contains(&reason) {
            message.push_str(": ");
            message.push_str(&reason);
        }
    }
    message
}

/// What to do with this tool, where the message does not say it.
fn advice(kind: &ErrorKind) -> Option<Advice> {
    let advice = match kind {
        ErrorKind::Schema(SchemaProblem::NotMigrated { .. }) => return Some(Advice::Run(vec!["migrate".to_owned()])),
        ErrorKind::Integrity { .. } => return Some(Advice::Run(vec!["verify".to_owned()])),
        ErrorKind::DamagedFile { .. } => "fetch the file again, or export again",
        ErrorKind::Contradiction { .. } => "import into an empty store, or into the one that the file continues",
        ErrorKind::Duplicate { .. } => "give new events new ids",
        ErrorKind::TypeMismatch { .. } => "name the type that the id belongs to",
        ErrorKind::TenantMismatch { .. } => "name its tenant with --tenant",
        ErrorKind::PermissionDenied => "connect as a user who has it, or let one grant it",
        _ => return None,
    };
    Some(Advice::Say(advice.to_owned()))
}

fn sources(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |source| (*source).source())
}
