//! `aggregates`: a summary of each aggregate.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use firefly_eventstore::{AggregateType, EventStore as _, SummaryQuery, TenantId};
use uuid::Uuid;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::json::SummaryRow;
use crate::parse::short_time;
use crate::store::Chosen;
use crate::table::Table;

/// List aggregates, ordered by id
///
/// Shows their current state. PostgreSQL, MySQL and MariaDB also keep these rows in mv_aggregate_summary, which `maintain --refresh`
/// updates: --last-refresh shows them as of that time, which is faster for a large log.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore aggregates --type Account
  firefly-eventstore aggregates --limit 1000 --after 0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c")]
pub(crate) struct Aggregates {
    /// Only aggregates of this type
    #[arg(long = "type", value_name = "TYPE")]
    aggregate_type: Option<AggregateType>,

    /// Only aggregates of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    limit: u32,

    /// Only aggregates with a greater id: give the last id of the previous list
    #[arg(long, value_name = "UUID")]
    after: Option<Uuid>,

    /// As of the last refresh, instead of now
    #[arg(long)]
    last_refresh: bool,
}

impl Aggregates {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let mut query = SummaryQuery::new().limit(self.limit);
        query.aggregate_type = self.aggregate_type;
        query.tenant = self.tenant;
        query.after = self.after;
        query.as_of_last_refresh = self.last_refresh;
        let summaries = store.aggregate_summaries(&query)?;
        let mut table = Table::new(["type", "id!", "version>", "bytes>", "last modified", "tenant"]);
        for summary in &summaries {
            if console.is_json() {
                console.json(&SummaryRow::from(summary))?;
                continue;
            }
            table.row([
                summary.aggregate_type.to_string(),
                summary.aggregate_id.to_string(),
                summary.current_version.to_string(),
                summary.total_size_bytes.to_string(),
                short_time(summary.last_modified_at),
                summary.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            ]);
        }
        if !console.is_json() {
            console.table(table)?;
        }
        if self.last_refresh && summaries.is_empty() {
            console.flush()?;
            console.remark("that is as of the last refresh; without --last-refresh the list is as of now");
        }
        if let Some(last) = summaries
            .last()
            .filter(|_| summaries.len() as u64 >= u64::from(self.limit))
        {
            console.flush()?;
            console.remark(format_args!("there may be more: --after {}", last.aggregate_id));
        }
        Ok(Exit::Fine)
    }
}
