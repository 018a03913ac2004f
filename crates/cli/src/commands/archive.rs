//! `archive`: moves a part of the log into a file.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use firefly_eventstore::GlobalSequence;
use firefly_eventstore::operate::{self, Archiving, retire};
use time::OffsetDateTime;

use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::file;
use crate::json::ArchiveRow;
use crate::parse;
use crate::store::Chosen;
use crate::text::counted;

/// Move a part of the log into a file
///
/// The events are written into the file, which is read back and checked. Then they leave the database, in small transactions. Their keys
/// stay: versions continue, and no event is stored twice. A read that needs an archived event fails, and names the file. First take
/// snapshots of aggregates that are still in use. Afterwards run vacuum, if you need the space. The newest event always stays.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true),
    override_usage = "firefly-eventstore archive [OPTIONS] <FILE> \\\n           \
                      <--until-sequence <N>|--until-time <TIME>|--ended <TYPE>...|--resume>",
    after_help = "\
Examples:
  firefly-eventstore archive ledger-2024.jsonl --until-time 2025-01-01
  firefly-eventstore archive closed.jsonl --ended account.closed --older-than 365days
  firefly-eventstore archive ledger-2024.jsonl --resume"
)]
pub(crate) struct Archive {
    /// The file
    file: PathBuf,

    /// All events up to this global sequence, inclusive
    #[arg(long, value_name = "SEQUENCE", value_parser = parse::sequence, group = "what")]
    until_sequence: Option<GlobalSequence>,

    /// All events before the first one in the log that was created after this time
    #[arg(long, value_name = "TIME", value_parser = parse::time, group = "what")]
    until_time: Option<OffsetDateTime>,

    /// Whole streams whose last event is of one of these types; refused if the log is sealed
    #[arg(long, value_name = "TYPE", num_args = 1.., group = "what", requires = "older_than")]
    ended: Vec<String>,

    /// Only streams whose last event is older than this age, or was created before this time
    #[arg(long, value_name = "TIME", value_parser = parse::time, requires = "ended")]
    older_than: Option<OffsetDateTime>,

    /// Continue an interrupted run whose file exists
    #[arg(long, group = "what")]
    resume: bool,

    /// Where readers find the file, such as the address of an object; its path unless given
    #[arg(long, value_name = "PLACE")]
    location: Option<String>,

    /// Also archive events that consumers have not handled yet: they stop there
    #[arg(long, conflicts_with = "resume")]
    despite_consumers: bool,
}

impl Archive {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        if let Some(archiving) = self.archiving() {
            let bar = console.bar("writing the archive");
            file::write_whole(&self.file, file::Existing::Keep, |out| {
                Ok(archiving.json_lines(&*store, out, |progress| bar.show(progress))?)
            })?;
        }
        let location = match self.location {
            Some(location) => location,
            None => self
                .file
                .canonicalize()
                .map_err(|error| Failure::io(format_args!("{} cannot be read", self.file.display()), &error))?
                .display()
                .to_string(),
        };
        let bar = console.bar("checking and retiring");
        let input = file::open_to_reread(&self.file)?;
        let archive = retire(&*store, input, &location, |progress| bar.show(progress))?;
        drop(bar);
        tell("archived", &archive, console)?;
        Ok(Exit::Fine)
    }

    /// The events to write; none if the file exists already.
    fn archiving(&self) -> Option<Archiving> {
        let archiving = match (self.until_sequence, self.until_time, self.older_than) {
            (Some(sequence), ..) => Archiving::until(sequence),
            (None, Some(time), _) => Archiving::until_time(time),
            (None, None, Some(time)) => Archiving::ended(&self.ended, time),
            (None, None, None) => return None,
        };
        Some(match self.despite_consumers {
            true => archiving.despite_consumers(),
            false => archiving,
        })
    }
}

/// Reports what was moved.
pub(super) fn tell(done: &str, archive: &operate::Archive, console: &mut Console) -> Result<()> {
    if console.is_json() {
        return console.json(&ArchiveRow::from(archive));
    }
    console.line(format_args!(
        "{done} {}, global sequences {} to {}: {}",
        counted(archive.events, "event"),
        archive.first,
        archive.last,
        archive.location
    ))?;
    console.line(format_args!("digest {}", archive.digest))
}
