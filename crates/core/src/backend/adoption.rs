//! The adoption of tables that were made by hand from the source document's schema, before a driver's migrations: which columns are kept.

use uuid::Uuid;

use super::kinds::altered;
use crate::{Error, Result};

/// The columns of `events` that are kept, in the order of `adopt_event.sql`.
pub const EVENT_COLUMNS: &[&str] = &[
    "event_id",
    "aggregate_id",
    "aggregate_type",
    "aggregate_version",
    "global_sequence",
    "event_type",
    "event_data",
    "metadata",
    "created_at",
    "updated_at",
    "created_by",
    "tenant_id",
    "correlation_id",
    "causation_id",
];

/// The columns of `snapshots` that are kept, in the order of `save_snapshot.sql`.
pub const SNAPSHOT_COLUMNS: &[&str] = &[
    "snapshot_id",
    "aggregate_id",
    "aggregate_type",
    "version",
    "snapshot_type",
    "snapshot_data",
    "created_at",
    "tenant_id",
];

/// Columns that are computed anew.
const COMPUTED_COLUMNS: &[&str] = &["event_size_bytes", "checksum"];

/// Refuses a table with columns that would be lost.
///
/// # Errors
///
/// [`Schema`](crate::ErrorKind::Schema), naming them.
pub fn refuse_unknown_columns(table: &str, found: &[impl AsRef<str>], known: &[&str]) -> Result<()> {
    let found = found.iter().map(AsRef::as_ref);
    let unknown: Vec<&str> = found
        .filter(|column| !known.contains(column) && !COMPUTED_COLUMNS.contains(column))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(altered(format!(
        "the table {table}, made by hand, has columns that would be lost: {}; move them to another table first",
        unknown.join(", ")
    )))
}

/// Refuses streams for which the store's promises would not hold: given the ids that `broken_stream.sql` finds.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput), naming one.
pub fn refuse_broken_streams(found: &[Uuid]) -> Result<()> {
    match found.first() {
        None => Ok(()),
        Some(id) => Err(Error::invalid(format!(
            "the aggregate {id} cannot be adopted: its versions are not contiguous from 1, or not in the order of their sequences, or it has \
             several types or tenants"
        ))),
    }
}
