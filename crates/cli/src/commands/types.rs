//! `types`: the event types of each aggregate type.

use clap::Args;
use firefly_eventstore::{EventStore as _, TenantId};

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::json::StatisticsRow;
use crate::parse::short_time;
use crate::store::Chosen;
use crate::table::Table;

/// List event types with counts, sizes and times
///
/// The view v_event_statistics. Reads the whole log.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore types
  firefly-eventstore types --json | jq -r 'select(.max_size_bytes > 65536).event_type'")]
pub(crate) struct Types {
    /// Only data of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
}

impl Types {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let rows = store.open()?.statistics(self.tenant.as_ref())?.details;
        if console.is_json() {
            for row in &rows {
                console.json(&StatisticsRow::from(row))?;
            }
            return Ok(Exit::Fine);
        }
        let mut table = Table::new([
            "aggregate",
            "event type",
            "events>",
            "aggregates>",
            "bytes>",
            "at most>",
            "first",
            "last",
        ]);
        for row in rows {
            table.row([
                row.aggregate_type.to_string(),
                row.event_type.to_string(),
                row.event_count.to_string(),
                row.unique_aggregates.to_string(),
                format!("{:.1}", row.average_size_bytes),
                row.max_size_bytes.to_string(),
                short_time(row.first_event_at),
                short_time(row.last_event_at),
            ]);
        }
        console.table(table)?;
        Ok(Exit::Fine)
    }
}
