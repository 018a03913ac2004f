//! `seal`: seals the log, so that later changes are found.

use clap::Args;
use firefly_eventstore::operate::{self, Operations};

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::json::SealRow;
use crate::store::Chosen;
use crate::text::counted;

/// Seal the log, so that verify finds changes of its past
///
/// Stores a digest of the log, chained to the previous seal. The verify command checks all seals. Somebody who can write to the database
/// can also rewrite its seals. So store the line that the command prints elsewhere, for verify --seal. Reads the events since the previous
/// seal, and those that it covers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore seal >> /mnt/elsewhere/ledger.seals
  firefly-eventstore verify --seal $(tail -n 1 /mnt/elsewhere/ledger.seals)")]
pub(crate) struct Seal {}

impl Seal {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let seal = seal(&*store.open()?, console)?;
        match console.is_json() {
            true => console.json(&SealRow::from(&seal))?,
            false => {
                console.line(seal)?;
                console.remark(format_args!(
                    "sealed: {} up to global sequence {}; keep the line elsewhere, for verify --seal",
                    counted(seal.events, "event"),
                    seal.global_sequence
                ));
            }
        }
        Ok(Exit::Fine)
    }
}

/// Seals the log, and shows progress.
pub(super) fn seal(store: &dyn Operations, console: &Console) -> Result<operate::Seal> {
    let bar = console.bar("sealing");
    Ok(operate::seal(store, |progress| bar.show(progress))?)
}
