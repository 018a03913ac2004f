//! `partition`: the log of a store that is in use, divided into partitions.

use clap::{ArgGroup, Args};
use firefly_eventstore::Partitions;
use serde::Serialize;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::store::Chosen;

/// Divide the log into partitions, or make it one table again
///
/// Only for PostgreSQL. If the log is divided already, --events or --by-month changes only later partitions. Programs can read and write
/// meanwhile; a few times they wait, for less than a second. First update every program that uses the store to this version of the library.
/// The command writes the keys of all events into a table; with --undo it copies all events, and needs disk space for them. If it is
/// interrupted, the store keeps working: run the same command again, and it continues. Afterwards run maintain before each partition is
/// full, or at the beginning of each month: it creates the next one.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("into").required(true),
    after_help = "\
Examples:
  firefly-eventstore partition --events 5000000
  firefly-eventstore partition --by-month
  firefly-eventstore partition --undo"
)]
pub(crate) struct Partition {
    /// How many global sequences a partition has
    #[arg(long, value_name = "N", group = "into")]
    events: Option<u64>,

    /// One partition for each calendar month in UTC, from the first maintain of the month to that of the next one
    #[arg(long, group = "into")]
    by_month: bool,

    /// Make the log one table again
    #[arg(long, group = "into")]
    undo: bool,
}

#[derive(Serialize)]
struct Answer {
    converted: bool,
}

impl Partition {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let url = store.url()?;
        url.check_scheme()?;
        let bar = console.bar(if self.undo { "copying events" } else { "writing keys" });
        let into = match self.by_month {
            true => Some(Partitions::by_month()),
            false => self.events.map(Partitions::by_events),
        };
        let converted = firefly_eventstore::convert(url.secret(), into, |progress| bar.show(progress))?;
        drop(bar);
        let done = match into {
            Some(partitions) => format!("the log is divided into partitions {partitions}"),
            None => "the log is one table".to_owned(),
        };
        let already = if converted { "" } else { " already" };
        if console.is_json() {
            console.json(&Answer { converted })?;
        } else {
            console.line(format_args!("{done}{already}"))?;
        }
        Ok(Exit::Fine)
    }
}
