//! The command line.

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands;
use crate::console::Console;
use crate::exit::{EXIT_CODES, Exit, Result};
use crate::store::Chosen;
use crate::url::{STORE_VARIABLE, StoreUrl};

/// Operate an event store in SQLite, PostgreSQL, MySQL or MariaDB
///
/// Answers go to the standard output; progress, remarks and errors to the error output. A password in a URL is never shown.
#[derive(Debug, Parser)]
#[command(
    name = "firefly-eventstore",
    version,
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "'firefly-eventstore help COMMAND' has examples of each command.",
    after_long_help = format!(
        "Examples:\n  \
           firefly-eventstore --store sqlite:ledger.db migrate\n  \
           export FIREFLY_EVENTSTORE_URL=postgres://clerk:secret@db/ledger\n  \
           firefly-eventstore doctor\n  \
           firefly-eventstore tail --follow --event-type money.deposited\n  \
           firefly-eventstore export --output ledger.jsonl\n\n{EXIT_CODES}\n\n\
         'firefly-eventstore help COMMAND' has examples of each command."
    )
)]
pub(crate) struct Arguments {
    /// The store: sqlite:FILE, postgres://USER@HOST/DATABASE or mysql://...
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = STORE_VARIABLE,
        hide_env_values = true,
        help_heading = "Options of every command"
    )]
    pub(crate) store: Option<StoreUrl>,

    /// Answer in JSON: one value, or a line for each of many
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) json: bool,

    /// No progress and no remarks: only the answer, and errors
    #[arg(long, short, global = true, help_heading = "Options of every command")]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = with_negative_numbers(Self::command()).try_get_matches()?;
        Self::from_arg_matches(&matches)
    }

    /// Runs the command that was asked for.
    pub(crate) fn run(self, console: &mut Console) -> Result<Exit> {
        let store = Chosen(self.store.filter(|url| !url.secret().is_empty()));
        self.command.run(&store, console).map_err(|failure| match &store.0 {
            Some(store) => failure.on(store),
            None => failure,
        })
    }
}

/// Takes `-7` for a value, which its option then refuses with a reason, and not for an unknown option.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command
        .allow_negative_numbers(true)
        .mut_subcommands(with_negative_numbers)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Migrate(commands::migrate::Migrate),
    Doctor(commands::doctor::Doctor),
    Stats(commands::stats::Stats),
    Types(commands::types::Types),
    Aggregates(commands::aggregates::Aggregates),
    Show(commands::show::Show),
    Tail(commands::tail::Tail),
    Append(commands::append::Append),
    Export(commands::export::Export),
    Import(commands::import::Import),
    Restore(commands::restore::Restore),
    Archive(commands::archive::Archive),
    Archives(commands::archives::Archives),
    Attach(commands::attach::Attach),
    Partition(commands::partition::Partition),
    Seal(commands::seal::Seal),
    Verify(commands::verify::Verify),
    Diff(commands::diff::Diff),
    Maintain(commands::maintain::Maintain),
    PublishMark(commands::publish_mark::PublishMark),
    Snapshots(commands::snapshots::Snapshots),
    Consumers(commands::consumers::Consumers),
    Parked(commands::parked::Parked),
    Metrics(commands::metrics::Metrics),
    Report(commands::report::Report),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
}

impl Command {
    fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        match self {
            Self::Migrate(command) => command.run(store, console),
            Self::Doctor(command) => command.run(store, console),
            Self::Stats(command) => command.run(store, console),
            Self::Types(command) => command.run(store, console),
            Self::Aggregates(command) => command.run(store, console),
            Self::Show(command) => command.run(store, console),
            Self::Tail(command) => command.run(store, console),
            Self::Append(command) => command.run(store, console),
            Self::Export(command) => command.run(store, console),
            Self::Import(command) => command.run(store, console),
            Self::Restore(command) => command.run(store, console),
            Self::Archive(command) => command.run(store, console),
            Self::Archives(command) => command.run(store, console),
            Self::Attach(command) => command.run(store, console),
            Self::Partition(command) => command.run(store, console),
            Self::Seal(command) => command.run(store, console),
            Self::Verify(command) => command.run(store, console),
            Self::Diff(command) => command.run(store, console),
            Self::Maintain(command) => command.run(store, console),
            Self::PublishMark(command) => command.run(store, console),
            Self::Snapshots(command) => command.run(store, console),
            Self::Consumers(command) => command.run(store, console),
            Self::Parked(command) => command.run(store, console),
            Self::Metrics(command) => command.run(store, console),
            Self::Report(command) => command.run(store, console),
            Self::Completions(command) => command.run(Arguments::command(), console),
            Self::Man(command) => command.run(Arguments::command(), console),
        }
    }
}
