//! `stats`: the statistics of a store.

use clap::Args;
use firefly_eventstore::{EventStore as _, Health, SnapshotStatistics, SnapshotStore as _, Statistics, TenantId};
use indicatif::HumanBytes;
use serde::Serialize;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::parse::time_text;
use crate::store::Chosen;
use crate::table::Table;
use crate::text::counted;

/// Count events, aggregates, types and snapshots
///
/// Reads the whole log.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore stats
  firefly-eventstore stats --tenant acme --json | jq .total_events")]
pub(crate) struct Stats {
    /// Only data of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
}

#[derive(Serialize)]
struct Answer<'a> {
    backend: &'a str,
    server_version: &'a str,
    schema_version: Option<&'a str>,
    writable: bool,
    high_water_mark: u64,
    latency_ms: f64,
    total_events: u64,
    archived_events: u64,
    total_aggregates: u64,
    current_global_sequence: u64,
    unique_event_types: u64,
    unique_aggregate_types: u64,
    event_types: Vec<TypeRow<'a>>,
    aggregate_types: Vec<ActivityRow<'a>>,
    snapshots: SnapshotsRow,
}

#[derive(Serialize)]
struct TypeRow<'a> {
    event_type: &'a str,
    event_count: u64,
    percentage: f64,
}

#[derive(Serialize)]
struct ActivityRow<'a> {
    aggregate_type: &'a str,
    aggregate_count: u64,
    average_version: f64,
    max_version: u64,
}

/// The statistics of snapshots.
#[derive(Serialize)]
pub(super) struct SnapshotsRow {
    snapshots: u64,
    aggregates: u64,
    total_bytes: u64,
    oldest: Option<String>,
    newest: Option<String>,
}

impl From<&SnapshotStatistics> for SnapshotsRow {
    fn from(statistics: &SnapshotStatistics) -> Self {
        Self {
            snapshots: statistics.snapshots,
            aggregates: statistics.aggregates,
            total_bytes: statistics.total_bytes,
            oldest: statistics.oldest.map(time_text),
            newest: statistics.newest.map(time_text),
        }
    }
}

impl Stats {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let health = store.health()?;
        let statistics = store.statistics(self.tenant.as_ref())?;
        let snapshots = store.snapshot_statistics(self.tenant.as_ref())?;
        match console.is_json() {
            true => console.json(&answer(&health, &statistics, &snapshots))?,
            false => self.tell(&health, &statistics, &snapshots, console)?,
        }
        Ok(Exit::Fine)
    }

    fn tell(
        &self,
        health: &Health,
        statistics: &Statistics,
        snapshots: &SnapshotStatistics,
        console: &mut Console,
    ) -> Result<()> {
        let schema = health.schema_version.as_deref().unwrap_or("none");
        console.line(format_args!(
            "{} {}, schema {schema}",
            health.backend, health.server_version
        ))?;
        if let Some(tenant) = &self.tenant {
            console.line(format_args!("tenant {tenant}"))?;
        }
        console.line(format_args!(
            "{} of {}; the log ends at global sequence {}",
            counted(statistics.total_events, "event"),
            counted(statistics.total_aggregates, "aggregate"),
            statistics.current_global_sequence
        ))?;
        if statistics.archived_events > 0 {
            console.line(format_args!(
                "{} archived",
                counted(statistics.archived_events, "event")
            ))?;
        }
        console.line(format_args!(
            "{} of {}, {}",
            counted(snapshots.snapshots, "snapshot"),
            counted(snapshots.aggregates, "aggregate"),
            HumanBytes(snapshots.total_bytes)
        ))?;
        if statistics.total_events == 0 {
            return Ok(());
        }
        let mut types = Table::new(["event type", "events>", "percent>"]);
        for share in &statistics.event_types {
            types.row([
                share.event_type.to_string(),
                share.event_count.to_string(),
                format!("{:.2}", share.percentage),
            ]);
        }
        console.gap()?;
        console.table(types)?;
        let mut activity = Table::new(["aggregate type", "aggregates>", "average version>", "greatest version>"]);
        for row in &statistics.aggregate_types {
            activity.row([
                row.aggregate_type.to_string(),
                row.aggregate_count.to_string(),
                format!("{:.2}", row.average_version),
                row.max_version.to_string(),
            ]);
        }
        console.gap()?;
        console.table(activity)
    }
}

fn answer<'a>(health: &'a Health, statistics: &'a Statistics, snapshots: &SnapshotStatistics) -> Answer<'a> {
    Answer {
        backend: health.backend,
        server_version: &health.server_version,
        schema_version: health.schema_version.as_deref(),
        writable: health.writable,
        high_water_mark: health.high_water_mark.get(),
        latency_ms: health.latency.as_secs_f64() * 1_000.0,
        total_events: statistics.total_events,
        archived_events: statistics.archived_events,
        total_aggregates: statistics.total_aggregates,
        current_global_sequence: statistics.current_global_sequence.get(),
        unique_event_types: statistics.unique_event_types,
        unique_aggregate_types: statistics.unique_aggregate_types,
        event_types: (statistics.event_types.iter())
            .map(|share| TypeRow {
                event_type: share.event_type.as_str(),
                event_count: share.event_count,
                percentage: share.percentage,
            })
            .collect(),
        aggregate_types: (statistics.aggregate_types.iter())
            .map(|row| ActivityRow {
                aggregate_type: row.aggregate_type.as_str(),
                aggregate_count: row.aggregate_count,
                average_version: row.average_version,
                max_version: row.max_version.get(),
            })
            .collect(),
        snapshots: snapshots.into(),
    }
}
