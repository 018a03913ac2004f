//! `import`: reads an export into a store.

use std::path::PathBuf;

use clap::Args;
use firefly_eventstore::GlobalSequence;
use firefly_eventstore::operate::{CheckedExport, Import as LogImport, Imported};
use serde::Serialize;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::file;
use crate::store::Chosen;
use crate::text::counted;

/// Import an export into a store, from any database
///
/// The whole file is checked before anything is stored. Stored events are skipped. So after an interruption, repeat the command; and an
/// incremental export continues where the one before ended. Ids, versions, sequences, times and checksums stay the same. Run migrate first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore --store postgres://clerk@db/ledger import ledger.jsonl
  gzip -dc ledger.jsonl.gz | firefly-eventstore import -
  firefly-eventstore import --check ledger.jsonl")]
pub(crate) struct Import {
    /// The file; - is the standard input, which is copied to a temporary file
    file: PathBuf,

    /// Only check the file; needs no store
    #[arg(long)]
    check: bool,

    /// How many events one transaction stores
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    batch_size: usize,
}

#[derive(Serialize)]
struct CheckedAnswer {
    events: u64,
    after: GlobalSequence,
    until: GlobalSequence,
    filtered: bool,
    digest: String,
}

/// The result of an import or a restore.
#[derive(Serialize)]
pub(super) struct ImportedAnswer {
    events: u64,
    already_stored: u64,
    filtered: bool,
    digest: String,
}

impl From<&Imported> for ImportedAnswer {
    fn from(imported: &Imported) -> Self {
        Self {
            events: imported.events,
            already_stored: imported.already_stored,
            filtered: imported.filtered,
            digest: imported.digest.to_string(),
        }
    }
}

impl Import {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        if self.check {
            let checked = LogImport::check(file::open_to_reread(&self.file)?)?;
            tell_checked(&checked, console)?;
            return Ok(Exit::Fine);
        }
        let store = store.open()?;
        let input = file::open_to_reread(&self.file)?;
        let bar = console.bar("checking and importing");
        let import = LogImport::new().batch_size(self.batch_size);
        let imported = import.json_lines(&*store, input, |progress| bar.show(progress))?;
        drop(bar);
        tell_imported("imported", &imported, console)?;
        if imported.filtered && !console.is_json() {
            console.remark(
                "the file was exported with a filter: a stream may be shorter here than in the log it came from",
            );
        }
        Ok(Exit::Fine)
    }
}

fn tell_checked(checked: &CheckedExport, console: &mut Console) -> Result<()> {
    if console.is_json() {
        return console.json(&CheckedAnswer {
            events: checked.events,
            after: checked.after,
            until: checked.until,
            filtered: checked.filtered,
            digest: checked.digest.to_string(),
        });
    }
    let some = if checked.filtered { "some of the" } else { "all" };
    console.line(format_args!(
        "the file is complete: {}, {some} events after global sequence {} up to {}",
        counted(checked.events, "event"),
        checked.after,
        checked.until
    ))?;
    console.line(format_args!("digest {}", checked.digest))
}

/// Reports how many of the events are new.
pub(super) fn tell_imported(done: &str, imported: &Imported, console: &mut Console) -> Result<()> {
    if console.is_json() {
        return console.json(&ImportedAnswer::from(imported));
    }
    match (imported.events, imported.already_stored) {
        (0, known) if known > 0 => console.line(format_args!("all already stored: {}", counted(known, "event")))?,
        (new, 0) => console.line(format_args!("{done} {}", counted(new, "event")))?,
        (new, known) => console.line(format_args!(
            "{done} {}; already stored: {known}",
            counted(new, "event")
        ))?,
    }
    console.line(format_args!("digest {}", imported.digest))
}
