//! `publish-mark`: publishes the high-water mark for readers of replicas.

use std::time::Duration;

use clap::Args;
use firefly_eventstore::GlobalSequence;
use firefly_eventstore::operate::Operations;
use serde::Serialize;

use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::parse;
use crate::signal::Stop;
use crate::store::Chosen;

/// Publish the high-water mark for readers of replicas
///
/// Run it on the server that writes: it proves the mark there, and stores it in a row that is replicated after the
/// events. Stores that are opened with read_replica read up to that row. With --every it continues until Ctrl-C, and
/// waits for a database that restarts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore publish-mark
  firefly-eventstore publish-mark --every 200ms --quiet")]
pub(crate) struct PublishMark {
    /// Publish repeatedly, until Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    every: Option<Duration>,
}

#[derive(Serialize)]
struct Published {
    high_water_mark: GlobalSequence,
}

impl PublishMark {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let Some(every) = self.every else {
            tell(store.publish_mark()?, console)?;
            return Ok(Exit::Fine);
        };
        if every.is_zero() {
            return Err(Failure::usage("--every 0s is not possible; 100ms is already frequent"));
        }
        publish_every(every, &*store, console)?;
        Ok(Exit::Fine)
    }
}

fn publish_every(every: Duration, store: &dyn Operations, console: &mut Console) -> Result<()> {
    let stop = Stop::listen()?;
    let mut told = None;
    let mut is_lost = false;
    while !stop.is_asked() {
        match store.publish_mark().map_err(Failure::from) {
            Ok(mark) => {
                is_lost = false;
                if told.replace(mark) != Some(mark) {
                    tell(mark, console)?;
                }
            }
            Err(failure) if failure.exit() == Exit::Unavailable => {
                if !is_lost {
                    let failure = console.hidden(&failure.to_string());
                    console.remark(format_args!("trying again until it succeeds: {failure}"));
                }
                is_lost = true;
            }
            Err(failure) => return Err(failure),
        }
        stop.wait(every);
    }
    Ok(())
}

fn tell(mark: GlobalSequence, console: &mut Console) -> Result<()> {
    match console.is_json() {
        true => console.json(&Published { high_water_mark: mark })?,
        false => console.line(format_args!("published global sequence {mark}"))?,
    }
    console.flush()
}
