//! The state of a conversion of the log into partitions or back.

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::{Columns as _, checks};
use firefly_eventstore_core::operate::Diagnosis;
use mysql::Conn;

use crate::schema::{has, layout, names};
use crate::session::Session;
use crate::sql::{self, Layout};

/// The table that is there during a conversion.
pub(crate) const CONVERSION: &str = "table firefly_conversion";

/// A conversion that is not finished.
pub(crate) struct Begun {
    /// How many sequences a partition is to have, or `None` if the log becomes one table.
    pub(crate) into: Option<i64>,
    /// The sequence up to which events are copied.
    pub(crate) copied: i64,
    /// The last sequence that is to be copied, or `None` while the other table is made.
    pub(crate) copy_until: Option<i64>,
    /// Whether the other table has the name `events` already.
    pub(crate) is_swapped: bool,
}

impl Begun {
    /// The conversion that is not finished, given the names of the schema.
    pub(crate) fn of(session: &mut Session<'_, Conn>, there: &[String]) -> Result<Option<Self>> {
        if !has(there, CONVERSION) {
            return Ok(None);
        }
        let found = session.select(sql::CONVERSION, [], |row| {
            let into = row.optional_integer(0)?;
            Ok(Self {
                into,
                copied: row.integer(1)?,
                copy_until: row.optional_integer(2)?,
                is_swapped: is_layout_of(into, layout(there)),
            })
        })?;
        Ok(found.into_iter().next())
    }

    /// The conversion that is not finished.
    pub(crate) fn pending(session: &mut Session<'_, Conn>) -> Result<Option<Diagnosis>> {
        let there = names(session)?;
        Ok(Self::of(session, &there)?.as_ref().map(Self::diagnosis))
    }

    /// How far it is, and the call that continues it.
    fn diagnosis(&self) -> Diagnosis {
        let (into, call) = match self.into {
            Some(_) => ("partitions", "convert_to_partitions, or the tool's partition --events"),
            None => ("one table", "convert_to_one_table, or the tool's partition --undo"),
        };
        let done = match self.copy_until {
            _ if self.is_swapped => "done, except that the earlier table is not dropped yet".to_owned(),
            Some(until) => format!("{} of {until} sequences are copied", self.copied),
            None => "nothing is copied yet".to_owned(),
        };
        checks::conversion(into, &done, call)
    }
}

/// Whether a log is kept as it is after a conversion into partitions of this size, or into one table.
pub(crate) fn is_layout_of(into: Option<i64>, layout: Layout) -> bool {
    into.is_some() == (layout == Layout::Partitioned)
}
