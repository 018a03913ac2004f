//! `archives`: lists the archived parts of the log.

use clap::Args;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::json::ArchiveRow;
use crate::parse::short_time;
use crate::store::Chosen;
use crate::table::Table;

/// List archives, in the order of the log
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore archives
  firefly-eventstore archives --json | jq -r 'select(.retired | not).location'")]
pub(crate) struct Archives {}

impl Archives {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let archives = store.open()?.archives()?;
        let mut table = Table::new(["first>", "last>", "events>", "archived", "state", "location"]);
        for archive in &archives {
            if console.is_json() {
                console.json(&ArchiveRow::from(archive))?;
                continue;
            }
            table.row([
                archive.first.to_string(),
                archive.last.to_string(),
                archive.events.to_string(),
                short_time(archive.archived_at),
                if archive.is_retired { "retired" } else { "moving" }.to_owned(),
                archive.location.clone(),
            ]);
        }
        if !console.is_json() {
            console.table(table)?;
            if archives.is_empty() {
                console.remark("nothing is archived");
            }
        }
        Ok(Exit::Fine)
    }
}
