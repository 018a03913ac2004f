//! `snapshots`: lists, counts and deletes snapshots.

use clap::{ArgGroup, Args};
use firefly_eventstore::operate::{Operations, prune_snapshots};
use firefly_eventstore::{AggregateKey, AggregateType, Snapshot, SnapshotSelection, TenantId, Version};
use indicatif::HumanBytes;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::stats::SnapshotsRow;
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::json::SnapshotRow;
use crate::parse::{self, short_time, time_text};
use crate::store::Chosen;
use crate::table::Table;
use crate::text::counted;

/// List snapshots, count them, or delete some
///
/// Of one aggregate, the newest first, or of all. A snapshot is a cache: without it, an aggregate is loaded from all its events.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").multiple(false),
    after_help = "\
Examples:
  firefly-eventstore snapshots --statistics
  firefly-eventstore snapshots Account 0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c
  firefly-eventstore snapshots --delete --keep 3
  firefly-eventstore snapshots Account 0197c6b1-... --delete --before 40"
)]
pub(crate) struct Snapshots {
    /// Only of the aggregate of this type ...
    #[arg(value_name = "TYPE", requires = "aggregate_id")]
    aggregate_type: Option<AggregateType>,

    /// ... with this id
    #[arg(value_name = "ID")]
    aggregate_id: Option<Uuid>,

    /// Only snapshots of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,

    /// List at most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    /// Count them instead
    #[arg(long, conflicts_with_all = ["aggregate_type", "delete"])]
    statistics: bool,

    /// Delete the snapshots that one of the next options selects
    #[arg(long, requires = "which")]
    delete: bool,

    /// Those at this version of the aggregate, of every form
    #[arg(long, value_name = "VERSION", value_parser = parse::version, group = "which", requires_all = ["delete", "aggregate_type"])]
    at: Option<Version>,

    /// Those before this version of the aggregate
    #[arg(long, value_name = "VERSION", value_parser = parse::version, group = "which", requires_all = ["delete", "aggregate_type"])]
    before: Option<Version>,

    /// All but the newest N of the aggregate, or of each aggregate
    #[arg(long, value_name = "N", group = "which", requires = "delete")]
    keep: Option<u64>,

    /// Those of any aggregate that were created before a time or a date, or that are older than an age
    #[arg(long, value_name = "TIME", value_parser = parse::time, group = "which", requires = "delete", conflicts_with = "aggregate_type")]
    older_than: Option<OffsetDateTime>,

    /// All of the aggregate, or of every aggregate
    #[arg(long, group = "which", requires = "delete")]
    all: bool,
}

#[derive(Serialize)]
struct Deleted {
    deleted: u64,
}

impl Snapshots {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        if self.statistics {
            self.count(&*store, console)?;
        } else if self.delete {
            let deleted = self.delete(&*store, console)?;
            match console.is_json() {
                true => console.json(&Deleted { deleted })?,
                false => console.line(format_args!("deleted {}", counted(deleted, "snapshot")))?,
            }
        } else {
            self.list(&*store, console)?;
        }
        Ok(Exit::Fine)
    }

    fn aggregate(&self) -> Result<Option<AggregateKey>> {
        match (&self.aggregate_type, self.aggregate_id) {
            (Some(aggregate_type), Some(id)) => Ok(Some(AggregateKey::new(aggregate_type, id)?)),
            _ => Ok(None),
        }
    }

    fn count(&self, store: &dyn Operations, console: &mut Console) -> Result<()> {
        let statistics = store.snapshot_statistics(self.tenant.as_ref())?;
        if console.is_json() {
            return console.json(&SnapshotsRow::from(&statistics));
        }
        console.line(format_args!(
            "{} of {}, {}",
            counted(statistics.snapshots, "snapshot"),
            counted(statistics.aggregates, "aggregate"),
            HumanBytes(statistics.total_bytes)
        ))?;
        match (statistics.oldest, statistics.newest) {
            (Some(oldest), Some(newest)) => console.line(format_args!(
                "created from {} to {}",
                time_text(oldest),
                time_text(newest)
            )),
            _ => Ok(()),
        }
    }

    fn delete(&self, store: &dyn Operations, console: &Console) -> Result<u64> {
        let tenant = self.tenant.as_ref();
        let aggregate = self.aggregate()?;
        let selection = match &aggregate {
            Some(aggregate) => match (self.at, self.before, self.keep) {
                (Some(version), _, _) => SnapshotSelection::Exactly(aggregate, version),
                (_, Some(version), _) => SnapshotSelection::Before(aggregate, version),
                (_, _, Some(count)) => SnapshotSelection::AllButLatest(aggregate, count),
                (None, None, None) => SnapshotSelection::Aggregate(aggregate),
            },
            None => match (self.older_than, self.keep) {
                (Some(time), _) => SnapshotSelection::OlderThan(time),
                (None, Some(_)) if tenant.is_some() => {
                    return Err(Failure::usage(
                        "name an aggregate: --keep of a whole tenant is not possible",
                    ));
                }
                (None, Some(count)) => {
                    let bar = console.bar("pruning snapshots");
                    return Ok(prune_snapshots(store, Some(count), None, |progress| {
                        bar.show(progress);
                    })?);
                }
                (None, None) => SnapshotSelection::All,
            },
        };
        Ok(store.delete_snapshots(tenant, selection)?)
    }

    fn list(&self, store: &dyn Operations, console: &mut Console) -> Result<()> {
        let mut table = Table::new([
            "type",
            "id!",
            "version>",
            "snapshot type",
            "bytes>",
            "created",
            "tenant",
        ]);
        let mut show = |snapshot: &Snapshot, console: &mut Console| -> Result<()> {
            if console.is_json() {
                return console.json(&SnapshotRow::from(snapshot));
            }
            table.row([
                snapshot.aggregate.aggregate_type().to_string(),
                snapshot.aggregate.id().to_string(),
                snapshot.version.to_string(),
                snapshot.snapshot_type.to_string(),
                snapshot.state.as_str().len().to_string(),
                short_time(snapshot.created_at),
                snapshot.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            ]);
            Ok(())
        };
        let is_more = match self.aggregate()? {
            Some(aggregate) => {
                let snapshots = store.list_snapshots(self.tenant.as_ref(), &aggregate)?;
                for snapshot in snapshots.iter().take(self.limit) {
                    show(snapshot, console)?;
                }
                snapshots.len() > self.limit
            }
            None => self.each(store, |snapshot| show(snapshot, console))?,
        };
        if !console.is_json() {
            console.table(table)?;
        }
        if is_more {
            console.flush()?;
            console.remark(format_args!("there are more than {}: --limit N", self.limit));
        }
        Ok(())
    }

    /// Shows the snapshots of every aggregate up to the limit, page by page. Returns whether there are more.
    fn each(&self, store: &dyn Operations, mut show: impl FnMut(&Snapshot) -> Result<()>) -> Result<bool> {
        const PAGE: u32 = 500;
        let mut left = self.limit;
        let mut place: Option<Snapshot> = None;
        loop {
            let page = store.snapshots_after(place.as_ref(), PAGE)?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            place = Some(last.clone());
            for snapshot in &page {
                if self.tenant.is_some() && snapshot.tenant != self.tenant {
                    continue;
                }
                if left == 0 {
                    return Ok(true);
                }
                left -= 1;
                show(snapshot)?;
            }
        }
    }
}
