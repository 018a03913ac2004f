//! The history of a git repository as events: one aggregate per file, one event per change.
//!
//! ```text
//! cargo run --release --example git_history -- [PATH] [--store FILE] [--as-of DATE_OR_COMMIT] [--files]
//! ```
//!
//! The program reads `git log` as a stream and stores it. Run it again and it continues where it stopped, also after it was killed. Then it
//! answers every question from the store alone. The memory it needs does not grow with the history, only with the number of paths and
//! authors.
//!
//! - The log follows the first parents: a merge is one change of the branch that it was merged into. So the log is the history of one tree,
//!   and the tree as of any of its commits is exactly git's.
//! - A repository is a tenant, identified by its first commit: one store may hold several. It may also hold several branches of one
//!   repository: each change names the commit that it `follows`, and the tree is found along that chain.
//! - Paths are bytes, and JSON is text: a backslash is doubled; a control character, or a byte that is not UTF-8, is written as an escape
//!   such as `\n` or `\xff`. So different paths stay different.

mod git;
mod import;
mod progress;
mod report;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, ffi::OsString};

use firefly_eventstore::prelude::*;
use firefly_eventstore::sqlite::Synchronous;
use time::format_description::well_known::Rfc3339;
use time::{Date, Time, macros::format_description};

use crate::git::Repository;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const USAGE: &str = "usage: git_history [PATH] [--store FILE] [--as-of DATE_OR_COMMIT] [--files]

  PATH      a git repository, or a folder in one; the current folder if absent
  --store   the SQLite file to keep the events in; one in the system's temporary folder if absent
  --as-of   show the tree of that day (2025-01-31), time (2025-01-31T12:00:00Z) or commit; HEAD if absent
  --files   list every file of that tree with its mode and blob";

#[derive(Debug, Default)]
struct Arguments {
    path: Option<PathBuf>,
    store: Option<PathBuf>,
    as_of: Option<String>,
    files: bool,
    help: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments, &mut BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output, such as `head`, has read enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(arguments: Arguments, out: &mut impl Write) -> Result<()> {
    if arguments.help {
        writeln!(out, "{USAGE}")?;
        return Ok(out.flush()?);
    }
    let repository = Repository::open(arguments.path)?;
    let root = repository.root()?;
    let path = arguments
        .store
        .unwrap_or_else(|| env::temp_dir().join(format!("git-history-{}.db", &root[..12])));
    writeln!(out, "store: {}", path.display())?;
    out.flush()?;

    // If a power failure loses the end of the log, the next run reads it from git again.
    let store = SqliteEventStore::builder(&path)
        .synchronous(Synchronous::Normal)
        .open()?;
    let tenant = TenantId::new(root)?;
    let imported = import::import(&store, &tenant, &repository)?;
    writeln!(
        out,
        "stored {} new changes, {} were there already ({:.1} s)",
        imported.stored,
        imported.already_stored,
        imported.duration.as_seconds_f64()
    )?;

    let history = store.for_tenant(tenant);
    let (tip, until) = match arguments.as_of {
        None => (imported.tip, None),
        Some(text) => match parse_time(&text) {
            Some(time) => (imported.tip, Some(time)),
            None => (import::stored_commit(&history, &repository, &text)?, None),
        },
    };
    let events = report::overview(out, &history)?;
    report::most_changed(out, &history)?;
    report::tree(out, &history, tip.as_deref(), until, arguments.files)?;
    report::verify(out, &history, events)?;
    Ok(out.flush()?)
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            let mut value = || {
                let value = given
                    .next()
                    .filter(|value| !value.is_empty() && !starts_with_dash(value));
                value.ok_or_else(|| format!("{} needs a value", argument.display()))
            };
            match argument.to_str() {
                Some("--store") => arguments.store = Some(value()?.into()),
                Some("--as-of") => {
                    let text = value()?.into_string();
                    arguments.as_of = Some(text.map_err(|text| format!("{} is no date or commit", text.display()))?);
                }
                Some("--files") => arguments.files = true,
                Some("--help" | "-h") => arguments.help = true,
                _ if starts_with_dash(&argument) => return Err(format!("unknown option {}", argument.display()).into()),
                _ if arguments.path.is_some() => return Err("more than one PATH".into()),
                _ => arguments.path = Some(argument.into()),
            }
        }
        Ok(arguments)
    }
}

fn starts_with_dash(text: &OsString) -> bool {
    text.as_encoded_bytes().starts_with(b"-")
}

/// Parses a time. A day means its last moment, in UTC.
fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
    day.map(|day| OffsetDateTime::new_utc(day, Time::MAX))
        .or_else(|_| OffsetDateTime::parse(text, &Rfc3339))
        .ok()
}
