//! `restore`: copies the log up to a past point.

use clap::{ArgGroup, Args};
use firefly_eventstore::GlobalSequence;
use firefly_eventstore::operate::{RestorePoint, restore};
use serde::Serialize;
use time::OffsetDateTime;

use super::import::tell_imported;
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::parse;
use crate::store::Chosen;
use crate::text::counted;
use crate::url::StoreUrl;

/// Copy the log up to a past point into another store, or a table
///
/// The store itself does not change. After an interruption of a restore into another store, repeat it: stored events are skipped.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true),
    group = ArgGroup::new("point").required(true),
    override_usage = "firefly-eventstore restore [OPTIONS] <--to <URL>|--table> \\\n           \
                      <--until-sequence <SEQUENCE>|--until-time <TIME>>",
    after_help = "\
Examples:
  firefly-eventstore restore --to sqlite:yesterday.db --until-time 2025-01-31
  firefly-eventstore restore --table --until-sequence 1200"
)]
pub(crate) struct Restore {
    /// Into this store, which is empty or has the beginning of the log
    #[arg(long, value_name = "URL", group = "target")]
    to: Option<StoreUrl>,

    /// Into the new table events_restored of the same database
    #[arg(long, group = "target")]
    table: bool,

    /// Up to this global sequence, inclusive
    #[arg(long, value_name = "SEQUENCE", value_parser = parse::sequence, group = "point")]
    until_sequence: Option<GlobalSequence>,

    /// Up to this time, inclusive: for each aggregate, the events before its first later one
    #[arg(long, value_name = "TIME", value_parser = parse::time, group = "point")]
    until_time: Option<OffsetDateTime>,
}

#[derive(Serialize)]
struct TableAnswer {
    table: &'static str,
    events: u64,
}

impl Restore {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let point = match (self.until_sequence, self.until_time) {
            (Some(sequence), _) => RestorePoint::Sequence(sequence),
            (None, Some(time)) => RestorePoint::Time(time),
            (None, None) => return Err(Failure::usage("up to which point?")),
        };
        let source = store.open()?;
        let Some(target) = self.to else {
            let events = source.restore_table(point)?;
            match console.is_json() {
                true => console.json(&TableAnswer {
                    table: "events_restored",
                    events,
                })?,
                false => console.line(format_args!(
                    "restored {} into the table events_restored",
                    counted(events, "event")
                ))?,
            }
            return Ok(Exit::Fine);
        };
        if target == *store.url()? {
            return Err(Failure::usage("the store cannot be restored into itself"));
        }
        let target = target
            .open()
            .map_err(|failure| failure.about(format_args!("the target {target}")))?;
        let bar = console.bar("restoring");
        let restored = restore(&*source, &*target, point, |progress| bar.show(progress))?;
        drop(bar);
        tell_imported("restored", &restored, console)?;
        Ok(Exit::Fine)
    }
}
