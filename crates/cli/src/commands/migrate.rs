//! `migrate`: brings the schema up to date.

use clap::Args;
use firefly_eventstore::Migration;
use serde::Serialize;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::json::MigrationRow;
use crate::store::Chosen;

/// Create the store's tables, or migrate them
///
/// Creates a missing SQLite file; on a server, the database must exist. Safe to repeat, and to run from several places at once. Tables that
/// were created by hand from the library's schema are adopted with their rows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore --store sqlite:ledger.db migrate
  firefly-eventstore --store postgres://clerk@db/ledger migrate --dry-run")]
pub(crate) struct Migrate {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Answer {
    dry_run: bool,
    migrations: Vec<MigrationRow>,
}

impl Migrate {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let url = store.url()?;
        url.check_scheme()?;
        let migrations = match (self.dry_run, url.is_missing_file()) {
            (false, _) => firefly_eventstore::migrate(url.secret())?,
            (true, false) => firefly_eventstore::pending(url.secret())?,
            // Opening the file would create it.
            (true, true) => firefly_eventstore::pending("sqlite::memory:")?,
        };
        self.answer(&migrations, console)?;
        Ok(Exit::Fine)
    }

    fn answer(&self, migrations: &[Migration], console: &mut Console) -> Result<()> {
        if console.is_json() {
            return console.json(&Answer {
                dry_run: self.dry_run,
                migrations: migrations.iter().map(MigrationRow::from).collect(),
            });
        }
        if migrations.is_empty() {
            return console.line("the schema is up to date");
        }
        let verb = if self.dry_run { "would apply" } else { "applied" };
        for migration in migrations {
            console.line(format_args!("{verb} {migration}"))?;
        }
        Ok(())
    }
}
