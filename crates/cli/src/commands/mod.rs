//! The commands, each in a module of its own.

pub(crate) mod aggregates;
pub(crate) mod append;
pub(crate) mod completions;
pub(crate) mod consumers;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod maintain;
pub(crate) mod man;
pub(crate) mod metrics;
pub(crate) mod migrate;
pub(crate) mod parked;
pub(crate) mod publish_mark;
pub(crate) mod report;
pub(crate) mod restore;
pub(crate) mod seal;
pub(crate) mod show;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod tail;
pub(crate) mod types;
pub(crate) mod verify;

use std::sync::Arc;

use firefly_eventstore::operate::Operations;

use crate::arguments::{Arguments, Command, STORE_VARIABLE};
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::url::StoreUrl;

/// Runs the command that was asked for.
pub(crate) fn run(arguments: Arguments, console: &mut Console) -> Result<Exit> {
    let store = Chosen(arguments.store.filter(|url| !url.secret().is_empty()));
    run_with(&store, arguments.command, console).map_err(|failure| match &store.0 {
        Some(store) => failure.on(store),
        None => failure,
    })
}

fn run_with(store: &Chosen, command: Command, console: &mut Console) -> Result<Exit> {
    match command {
        Command::Migrate(command) => command.run(store, console),
        Command::Doctor(command) => command.run(store, console),
        Command::Stats(command) => command.run(store, console),
        Command::Types(command) => command.run(store, console),
        Command::Aggregates(command) => command.run(store, console),
        Command::Show(command) => command.run(store, console),
        Command::Tail(command) => command.run(store, console),
        Command::Append(command) => command.run(store, console),
        Command::Export(command) => command.run(store, console),
        Command::Import(command) => command.run(store, console),
        Command::Restore(command) => command.run(store, console),
        Command::Seal(command) => command.run(store, console),
        Command::Verify(command) => command.run(store, console),
        Command::Diff(command) => command.run(store, console),
        Command::Maintain(command) => command.run(store, console),
        Command::PublishMark(command) => command.run(store, console),
        Command::Snapshots(command) => command.run(store, console),
        Command::Consumers(command) => command.run(store, console),
        Command::Parked(command) => command.run(store, console),
        Command::Metrics(command) => command.run(store, console),
        Command::Report(command) => command.run(store, console),
        Command::Completions(command) => command.run(console),
        Command::Man(command) => command.run(console),
    }
}

/// The store that was chosen, if one was: not every command needs it.
#[derive(Debug)]
pub(crate) struct Chosen(Option<StoreUrl>);

impl Chosen {
    pub(crate) fn url(&self) -> Result<&StoreUrl> {
        let missing = || {
            Failure::usage(format!(
                "which store? write --store URL before or after the command, or set {STORE_VARIABLE}"
            ))
        };
        self.0.as_ref().ok_or_else(missing)
    }

    pub(crate) fn open(&self) -> Result<Arc<dyn Operations>> {
        self.url()?.open()
    }
}
