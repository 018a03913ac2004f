//! `attach`: brings an archive back into the log.

use std::path::PathBuf;

use clap::Args;
use firefly_eventstore::operate::attach;

use super::archive::tell;
use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::file;
use crate::store::Chosen;

/// Bring an archive back into the log
///
/// All columns of the events are restored, as if they had never left the log. After an interruption, repeat the command. To read an archive
/// elsewhere, import it into an empty store.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore attach ledger-2024.jsonl
  firefly-eventstore --store sqlite:2024.db import ledger-2024.jsonl")]
pub(crate) struct Attach {
    /// The file; - is the standard input, which is copied to a temporary file
    file: PathBuf,
}

impl Attach {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let input = file::open_to_reread(&self.file)?;
        let bar = console.bar("checking and attaching");
        let archive = attach(&*store, input, |progress| bar.show(progress))?;
        drop(bar);
        tell("attached", &archive, console)?;
        Ok(Exit::Fine)
    }
}
