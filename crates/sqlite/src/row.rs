//! Decoding the columns of rows.

use firefly_eventstore_core::backend::{Columns, Fingerprint};
pub(crate) use firefly_eventstore_core::backend::{TimeText, parse_time, time_text};
use firefly_eventstore_core::consumer::Lease;
use firefly_eventstore_core::{Error, Result};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::classify;

/// A row, for the decoders of the core.
#[expect(missing_debug_implementations, reason = "core alone uses it")]
pub struct Cells<'r, 's>(pub(crate) &'r Row<'s>);

impl Columns for Cells<'_, '_> {
    fn optional_text(&self, index: usize) -> Result<Option<&str>> {
        optional(self.0, index)
    }

    fn optional_integer(&self, index: usize) -> Result<Option<i64>> {
        self.0.get(index).map_err(classify)
    }

    fn optional_id(&self, index: usize) -> Result<Option<Uuid>> {
        let parse =
            |text| Uuid::try_parse(text).map_err(|error| Error::invalid(format!("{text:?} is not an id: {error}")));
        optional(self.0, index)?.map(parse).transpose()
    }

    fn optional_time(&self, index: usize) -> Result<Option<OffsetDateTime>> {
        optional(self.0, index)?.map(parse_time).transpose()
    }

    /// The time at which the slot's lease ends: see [`parameters`](crate::session::parameters).
    fn lease(&self, index: usize) -> Result<Option<Lease>> {
        let until = self.optional_time(index)?;
        Ok(until.map(|until| Lease::until(until, OffsetDateTime::now_utc())))
    }

    fn double(&self, index: usize) -> Result<f64> {
        self.0.get(index).map_err(classify)
    }

    fn fingerprint(&self, index: usize) -> Result<Fingerprint> {
        self.0.get(index).map(Fingerprint::from_bytes).map_err(classify)
    }
}

/// A text column.
fn optional<'a>(row: &'a Row<'_>, index: usize) -> Result<Option<&'a str>> {
    match row.get_ref(index).map_err(classify)? {
        ValueRef::Null => Ok(None),
        value => value
            .as_str()
            .map(Some)
            .map_err(|error| Error::invalid(format!("column {index}: {error}"))),
    }
}
