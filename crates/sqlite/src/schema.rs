//! The names of the tables, indexes, triggers and views in the database.

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::Columns as _;
use rusqlite::Connection;

use crate::session::collect;
use crate::sql;

/// Whether the database has no tables, indexes, triggers or views.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    Ok(names(connection)?.is_empty())
}

/// Whether an object with this name exists. SQLite ignores the case of names.
pub(crate) fn has_name(connection: &Connection, name: &str) -> Result<bool> {
    Ok(names(connection)?.iter().any(|there| there.eq_ignore_ascii_case(name)))
}

/// The names of all objects in the database.
pub(crate) fn names(connection: &Connection) -> Result<Vec<String>> {
    collect(connection, sql::SCHEMA_NAMES, [], |row| Ok(row.text(0)?.to_owned()))
}
