//! `partition`: the log of a store that is in use, divided into partitions.

use clap::{ArgGroup, Args};
use firefly_eventstore::Partitions;
use serde::Serialize;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::store::Chosen;

/// Divide the log into partitions, or make it one table again
///
/// For PostgreSQL, MySQL and MariaDB; --by-month and --by-type only for PostgreSQL. If the log is divided already, --events, --by-month or
/// --by-type changes only later partitions. Programs can read and write meanwhile; a few times they wait, for a second or two at most. First
/// update every program that uses the store to this version of the library. The command needs disk space: on PostgreSQL for a table of keys,
/// and with --undo for the log once more; on MySQL and MariaDB always for the log once more. If it is interrupted, the store keeps working:
/// run the same command again, and it continues. Afterwards run maintain before each partition is full, or at the beginning of each month: it
/// creates the next one.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("into").required(true),
    override_usage = "firefly-eventstore partition [OPTIONS]
       <--events N|--by-month|--by-type TYPES|--undo>",
    after_help = "\
Examples:
  firefly-eventstore partition --events 5000000
  firefly-eventstore partition --by-month
  firefly-eventstore partition --by-type order,customer
  firefly-eventstore partition --undo"
)]
pub(crate) struct Partition {
    /// How many global sequences a partition has
    #[arg(long, value_name = "N", group = "into")]
    events: Option<u64>,

    /// One partition for each calendar month in UTC, from the first maintain of the month to that of the next one
    #[arg(long, group = "into")]
    by_month: bool,

    /// One partition for each of these aggregate types, 20 at most, and one for all others; for types with a comma, use the library
    #[arg(long, value_name = "TYPES", value_delimiter = ',', group = "into")]
    by_type: Option<Vec<String>>,

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
        let into = match (self.events, self.by_type) {
            (Some(events), _) => Some(Partitions::by_events(events)),
            (_, Some(types)) => Some(Partitions::by_aggregate_type(types)),
            _ => self.by_month.then(Partitions::by_month),
        };
        let converted = firefly_eventstore::convert(url.secret(), into.clone(), |progress| bar.show(progress))?;
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
