//! `verify`: whether stored data was changed or damaged.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use firefly_eventstore::operate::{Audit, Audited, Remembered, Seal};
use serde::Serialize;

use crate::console::{Console, DANGER, GOOD};
use crate::exit::{Exit, Failure, Result};
use crate::file::{self, Existing};
use crate::json::{FindingRow, RememberedRow, SealRow, kind_of};
use crate::store::Chosen;
use crate::text::counted;

/// Check every event and snapshot, and the database itself
///
/// Reports everything that is wrong; the exit code is then 1. Compares the log with its seals. Store the file of --remember elsewhere: it
/// makes the next verify quick (--since), and shows whether the past was changed (--against). So does a line that the seal command printed
/// (--seal).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore verify --remember ledger.point
  firefly-eventstore verify --since ledger.point --remember ledger.point
  firefly-eventstore verify --against ledger.point
  firefly-eventstore verify --seal $(tail -n 1 /mnt/elsewhere/ledger.seals)")]
pub(crate) struct Verify {
    /// Only the events after the point in this file
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    since: Option<PathBuf>,

    /// Everything, and whether the log up to the point in this file is unchanged
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// Everything, and whether the log up to this seal is unchanged
    #[arg(long, value_name = "LINE", conflicts_with_all = ["since", "against"])]
    seal: Option<Seal>,

    /// Write the end of the log into this file, if nothing is wrong with the log
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer {
    events: u64,
    snapshots: u64,
    old_snapshots: u64,
    seals: u64,
    newest_seal: Option<SealRow>,
    unsealed: u64,
    findings: u64,
    remembered: Option<RememberedRow>,
}

impl Verify {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let mut audit = Audit::new();
        if let Some(path) = &self.since {
            audit = audit.only_after(read_point(path)?);
        }
        if let Some(path) = &self.against {
            audit = audit.against(read_point(path)?);
        }
        if let Some(seal) = self.seal {
            audit = audit.against(seal);
        }
        let store = store.open()?;
        let bar = console.bar("verifying");
        let mut written = Ok(());
        let audited = audit.run(
            &*store,
            |progress| bar.show(progress),
            |finding| {
                if written.is_ok() {
                    written = bar.aside(|| {
                        match console.is_json() {
                            true => console.json(&FindingRow::from(&finding))?,
                            false => console.marked_line(DANGER, kind_of(finding.kind), format_args!(" {finding}"))?,
                        }
                        console.flush()
                    });
                }
            },
        )?;
        drop(bar);
        written?;
        if let (Some(path), Some(remembered)) = (&self.remember, &audited.remembered) {
            write_point(path, remembered)?;
        }
        self.answer(&audited, console)?;
        Ok(match audited.is_intact() {
            true => Exit::Fine,
            false => Exit::Findings,
        })
    }

    fn answer(&self, audited: &Audited, console: &mut Console) -> Result<()> {
        if console.is_json() {
            return console.json(&Answer {
                events: audited.events,
                snapshots: audited.snapshots,
                old_snapshots: audited.old_snapshots,
                seals: audited.seals,
                newest_seal: audited.newest_seal.as_ref().map(SealRow::from),
                unsealed: audited.unsealed,
                findings: audited.findings,
                remembered: audited.remembered.as_ref().map(RememberedRow::from),
            });
        }
        let looked = format!(
            " {} and {} verified",
            counted(audited.events, "event"),
            counted(audited.snapshots, "snapshot")
        );
        match audited.findings {
            0 => console.marked_line(GOOD, "intact", format_args!(":{looked}"))?,
            findings => console.marked_line(
                DANGER,
                "damaged",
                format_args!(":{looked}, {}", counted(findings, "finding")),
            )?,
        }
        if audited.old_snapshots > 0 {
            console.line(format_args!(
                "{} of them with a checksum of the state only, as an older version made it; save or delete them to have it cover all",
                audited.old_snapshots
            ))?;
        }
        if let Some(newest) = &audited.newest_seal {
            console.line(format_args!(
                "{} compared, the newest up to global sequence {}; {} after it",
                counted(audited.seals, "seal"),
                newest.global_sequence,
                counted(audited.unsealed, "event")
            ))?;
        }
        if let Some(remembered) = &audited.remembered {
            console.line(format_args!(
                "the log up to global sequence {}: {}, digest {}",
                remembered.global_sequence,
                counted(remembered.events, "event"),
                remembered.digest
            ))?;
        }
        match (&self.remember, audited.remembered) {
            (Some(path), Some(_)) => console.line(format_args!("remembered in {}", path.display())),
            (Some(_), None) => console.line("nothing was remembered: something is wrong with the log"),
            (None, _) => Ok(()),
        }
    }
}

fn read_point(path: &Path) -> Result<Remembered> {
    let name = path.display().to_string();
    let advise = |failure: Failure| failure.advise_command(["verify", "--remember", &name]);
    let text =
        fs::read_to_string(path).map_err(|error| advise(Failure::io(format_args!("{name} cannot be read"), &error)))?;
    let wrong = |reason: String| {
        advise(Failure::new(
            Exit::Damaged,
            format!("{name} is not a remembered point: {reason}"),
        ))
    };
    let row: RememberedRow = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    row.try_into()
        .map_err(|error: firefly_eventstore::Error| wrong(error.to_string()))
}

fn write_point(path: &Path, remembered: &Remembered) -> Result<()> {
    let text = serde_json::to_string(&RememberedRow::from(remembered)).expect("a plain struct is written as JSON");
    file::write_whole(path, Existing::Replace, |out| {
        writeln!(out, "{text}")
            .map_err(|error| Failure::io(format_args!("{} cannot be written", path.display()), &error))
    })
}
