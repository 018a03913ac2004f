//! `export`: writes the log into a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use firefly_eventstore::operate::{Export as LogExport, Exported, Operations};
use firefly_eventstore::{EventStore as _, GlobalSequence};
use serde::Serialize;

use crate::condition::Conditions;
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::file::{self, Existing};
use crate::filter::Filter;
use crate::signal::{Stop, Stoppable};
use crate::store::Chosen;
use crate::text::counted;
use crate::url::StoreUrl;

/// Write the log, or its new events, into a file
///
/// Ends at the high-water mark, and prints it as a checkpoint. The next export, with --after this checkpoint, misses no event that was
/// committed late. The file gets its name when it is complete. An existing file is not overwritten, unless --force is given. JSON Lines
/// lose nothing and can be imported into any database; CSV has the columns of the table events.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore export --output ledger.jsonl
  firefly-eventstore export --after 1200 --output ledger-after-1200.jsonl
  firefly-eventstore export | gzip > ledger.jsonl.gz
  firefly-eventstore export --format csv --since 2025-01-01 --output year.csv
  firefly-eventstore export --format csv --where /customer/name=Ada --output ada.csv")]
pub(crate) struct Export {
    /// Where to write to; - is the standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Replace an existing file
    #[arg(long)]
    force: bool,

    /// The format of the file
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,

    #[command(flatten)]
    filter: Filter,

    #[command(flatten)]
    conditions: Conditions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON Lines, for import
    Jsonl,
    /// Comma-separated values, for other programs
    Csv,
}

#[derive(Serialize)]
struct Answer<'a> {
    events: u64,
    checkpoint: GlobalSequence,
    digest: String,
    output: String,
    next: &'a str,
}

impl Export {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let url = store.url()?;
        let store = url.open()?;
        let after = self.filter.after.unwrap_or_default();
        let mark = store.high_water_mark()?;
        if after > mark {
            return Err(Failure::new(
                Exit::Conflict,
                format!("the log ends at global sequence {mark}, and was to be exported after {after}"),
            )
            .advise("check that it is the right store"));
        }
        // Otherwise the end of the process by a signal would leave an unfinished file behind.
        let stop = Stop::listen()?;
        let bar = console.bar("exporting");
        let exported = file::write_whole(&self.output, Existing::forced(self.force), |out| {
            let out = Stoppable { out, stop: &stop };
            self.write(&*store, out, |progress| bar.show(progress))
        });
        drop(bar);
        match exported {
            Ok(exported) => self.answer(url, &exported, console)?,
            Err(failure) if stop.is_asked() && !failure.is_closed_pipe() => {
                return Err(Failure::new(
                    Exit::Interrupted,
                    "the export was stopped before it was complete",
                ));
            }
            Err(failure) => return Err(failure),
        }
        Ok(Exit::Fine)
    }

    fn write(
        &self,
        store: &dyn Operations,
        out: impl Write,
        progress: impl FnMut(firefly_eventstore::operate::Progress),
    ) -> Result<Exported> {
        let mut export = LogExport::of(self.filter.query()?);
        if !self.conditions.is_empty() {
            let conditions = self.conditions.clone();
            export = export.matching(move |event| conditions.hold(event));
        }
        Ok(match self.format {
            Format::Jsonl => export.json_lines(store, out, progress)?,
            Format::Csv => export.csv(store, out, progress)?,
        })
    }

    fn answer(&self, url: &StoreUrl, exported: &Exported, console: &mut Console) -> Result<()> {
        let next = self.next(url, exported.checkpoint);
        let is_output_taken = file::is_standard(&self.output);
        if console.is_json() {
            let answer = Answer {
                events: exported.events,
                checkpoint: exported.checkpoint,
                digest: exported.digest.to_string(),
                output: self.output.display().to_string(),
                next: &next,
            };
            match is_output_taken {
                true => console.json_remark(&answer),
                false => console.json(&answer)?,
            }
            return Ok(());
        }
        let lines = [
            format!(
                "exported {} up to global sequence {}",
                counted(exported.events, "event"),
                exported.checkpoint
            ),
            format!("digest {}", exported.digest),
            format!("what comes next: {next}"),
        ];
        for line in lines {
            match is_output_taken {
                true => console.remark(line),
                false => console.line(line)?,
            }
        }
        Ok(())
    }

    /// The command that exports the events after this export.
    fn next(&self, url: &StoreUrl, mark: GlobalSequence) -> String {
        let mut command = vec!["export".to_owned(), "--after".to_owned(), mark.to_string()];
        if self.format == Format::Csv {
            command.extend(["--format".to_owned(), "csv".to_owned()]);
        }
        command.extend(self.filter.options());
        command.extend(self.conditions.options());
        if !file::is_standard(&self.output) {
            command.extend(["--output".to_owned(), next_name(&self.output, mark)]);
        }
        url.command(&command)
    }
}

/// `ledger.jsonl`, or `ledger-after-9.jsonl`, becomes `ledger-after-12.jsonl`.
fn next_name(path: &Path, mark: GlobalSequence) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let begin = match stem.rsplit_once("-after-") {
        Some((begin, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => begin,
        _ => &stem,
    };
    let extension = path
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()));
    let name = format!("{begin}-after-{mark}{}", extension.unwrap_or_default());
    path.with_file_name(name).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_is_named_after_the_mark() {
        let next = |path: &str| next_name(Path::new(path), GlobalSequence::from(12));
        assert_eq!(next("ledger.jsonl"), "ledger-after-12.jsonl");
        assert_eq!(next("backup/ledger-after-9.jsonl"), "backup/ledger-after-12.jsonl");
        assert_eq!(next("morning-after-all"), "morning-after-all-after-12");
    }
}
