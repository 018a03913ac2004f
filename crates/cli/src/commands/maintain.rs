//! `maintain`: the regular maintenance of a database.

use std::time::Duration;

use clap::Args;
use firefly_eventstore::EventStore as _;
use firefly_eventstore::operate::{IndexUsage, Operations, Seal, prune_snapshots};
use indicatif::HumanBytes;
use serde::Serialize;
use time::OffsetDateTime;

use super::seal::seal;
use crate::console::{Console, DANGER, HEADING};
use crate::exit::{Exit, Failure, Result};
use crate::json::{FindingRow, IndexRow, SealRow, kind_of};
use crate::parse;
use crate::store::Chosen;
use crate::table::Table;
use crate::text::counted;

/// Update statistics, summaries and more, and say what was done
///
/// Without options: --partitions --analyze --refresh --indexes. None of these blocks other programs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore maintain
  firefly-eventstore maintain --prune-keep 3 --prune-older-than 90days
  firefly-eventstore maintain --seal
  firefly-eventstore maintain --vacuum --check")]
pub(crate) struct Maintain {
    /// Add the partitions that the log needs next, if it is partitioned, and join old ones if there are too many
    #[arg(long)]
    partitions: bool,

    /// Update the planner's statistics of the tables
    #[arg(long)]
    analyze: bool,

    /// Free the space of deleted rows; may take long
    #[arg(long)]
    vacuum: bool,

    /// Update the aggregate summaries
    #[arg(long)]
    refresh: bool,

    /// Show the indexes, their size and their use
    #[arg(long)]
    indexes: bool,

    /// Delete all snapshots but the newest N of each aggregate
    #[arg(long, value_name = "N")]
    prune_keep: Option<u64>,

    /// Delete snapshots older than this age, such as 90days
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    prune_older_than: Option<Duration>,

    /// Seal the log, and show the line to store elsewhere
    #[arg(long)]
    seal: bool,

    /// Let the database check its structures; reads everything
    #[arg(long)]
    check: bool,

    /// Whether no step was chosen.
    #[arg(skip)]
    is_usual: bool,
}

#[derive(Serialize)]
struct Step<'a> {
    step: &'static str,
    did: &'a str,
}

#[derive(Serialize)]
struct IndexStep<'a> {
    step: &'static str,
    indexes: Vec<IndexRow<'a>>,
}

#[derive(Serialize)]
struct SealStep {
    step: &'static str,
    seal: SealRow,
}

#[derive(Serialize)]
struct CheckStep<'a> {
    step: &'static str,
    findings: Vec<FindingRow<'a>>,
}

impl Maintain {
    pub(crate) fn run(mut self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        self.choose_usual();
        let store = store.open()?;
        if self.partitions {
            match store.add_partitions()? {
                Some(made) => did("partitions", &made, console)?,
                None if self.is_usual => {}
                None => did("partitions", "the log is one table", console)?,
            }
            if let Some(joined) = store.join_partitions()? {
                did("partitions", &joined, console)?;
            }
        }
        if self.analyze {
            did("analyze", &store.update_statistics()?, console)?;
        }
        if self.prune_keep.is_some() || self.prune_older_than.is_some() {
            self.prune(&*store, console)?;
        }
        if self.vacuum {
            did("vacuum", &store.vacuum()?, console)?;
        }
        if self.refresh {
            store.refresh_aggregate_summaries()?;
            did("refresh", "the aggregate summaries are up to date", console)?;
        }
        if self.indexes {
            tell_indexes(&store.index_usage()?, console)?;
        }
        if self.seal {
            tell_seal(&seal(&*store, console)?, console)?;
        }
        match self.check {
            true => check(&*store, console),
            false => Ok(Exit::Fine),
        }
    }

    fn choose_usual(&mut self) {
        let anything = self.partitions
            || self.analyze
            || self.vacuum
            || self.refresh
            || self.indexes
            || self.prune_keep.is_some()
            || self.prune_older_than.is_some()
            || self.seal
            || self.check;
        if !anything {
            self.is_usual = true;
            (self.partitions, self.analyze, self.refresh, self.indexes) = (true, true, true, true);
        }
    }

    fn prune(&self, store: &dyn Operations, console: &mut Console) -> Result<()> {
        let older_than = self.prune_older_than.map(before).transpose()?;
        let bar = console.bar("pruning snapshots");
        let deleted = prune_snapshots(store, self.prune_keep, older_than, |progress| bar.show(progress))?;
        drop(bar);
        did("prune", &format!("deleted {}", counted(deleted, "snapshot")), console)
    }
}

/// The time this long ago.
fn before(age: Duration) -> Result<OffsetDateTime> {
    let time = age
        .try_into()
        .ok()
        .and_then(|age: time::Duration| OffsetDateTime::now_utc().checked_sub(age));
    time.ok_or_else(|| Failure::usage("that is too long ago"))
}

/// Reports a step as soon as it is done, because the next one may take long, or fail.
fn did(step: &'static str, did: &str, console: &mut Console) -> Result<()> {
    match console.is_json() {
        true => console.json(&Step { step, did })?,
        false => console.marked_line(HEADING, step, format_args!(": {did}"))?,
    }
    console.flush()
}

fn tell_indexes(indexes: &[IndexUsage], console: &mut Console) -> Result<()> {
    if console.is_json() {
        return console.json(&IndexStep {
            step: "indexes",
            indexes: indexes.iter().map(IndexRow::from).collect(),
        });
    }
    let mut table = Table::new(["table", "index", "size>", "reads>", "state"]);
    for index in indexes {
        table.row([
            index.table.clone(),
            index.name.clone(),
            index
                .bytes
                .map_or("-".to_owned(), |bytes| HumanBytes(bytes).to_string()),
            index.scans.map_or("-".to_owned(), |scans| scans.to_string()),
            index.state.as_str().to_owned(),
        ]);
    }
    console.table(table)
}

fn tell_seal(seal: &Seal, console: &mut Console) -> Result<()> {
    if console.is_json() {
        console.json(&SealStep {
            step: "seal",
            seal: seal.into(),
        })?;
        return console.flush();
    }
    did("seal", &seal.to_string(), console)
}

fn check(store: &dyn Operations, console: &mut Console) -> Result<Exit> {
    let findings = store.check_storage()?;
    if console.is_json() {
        console.json(&CheckStep {
            step: "check",
            findings: findings.iter().map(FindingRow::from).collect(),
        })?;
    } else {
        for finding in &findings {
            console.marked_line(DANGER, kind_of(finding.kind), format_args!(" {finding}"))?;
        }
        did("check", &counted(findings.len() as u64, "finding"), console)?;
    }
    Ok(match findings.is_empty() {
        true => Exit::Fine,
        false => Exit::Findings,
    })
}
