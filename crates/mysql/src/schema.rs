//! The objects in the database: names of tables, columns, indexes and triggers.

use firefly_eventstore_core::backend::Columns as _;
pub(crate) use firefly_eventstore_core::backend::indexes::OPTIONAL as OPTIONAL_INDEXES;
use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::{Error, Result};
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::error::classify;
use crate::session::Session;
use crate::sql::{self, Layout};

/// The trigger by which other programs' appends take a gate, too.
pub(crate) const TRIGGER: &str = "trigger trigger_events_gate";

/// The names of the objects in the database, each with its kind, such as `table events`.
pub(crate) fn names(session: &mut Session<'_, Conn>) -> Result<Vec<String>> {
    session.select(sql::SCHEMA_NAMES, [], |row| Ok(row.text(0)?.to_owned()))
}

pub(crate) fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|found| found == name)
}

/// How the events are kept, by the names of a schema.
pub(crate) fn layout(names: &[String]) -> Layout {
    match has(names, "partitioned events") {
        true => Layout::Partitioned,
        false => Layout::Whole,
    }
}

/// The indexes of the log among the names of a schema.
pub(crate) fn indexes(names: &[String]) -> Vec<String> {
    let prefixes: &[&str] = match layout(names) {
        Layout::Whole => &["index events."],
        Layout::Partitioned => &["index events.", "index firefly_event_keys."],
    };
    let of_the_log = |name: &String| {
        let index = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
        index.map(str::to_owned)
    };
    names.iter().filter_map(of_the_log).collect()
}

/// Runs a statement that changes the schema, as text: some of them cannot be prepared.
pub(crate) fn run(session: &mut Session<'_, Conn>, statement: &str) -> Result<()> {
    session.client.query_drop(statement).map_err(classify)
}

/// Runs `work`, which changes the schema, while no other process does. Waits up to this many seconds for others.
pub(crate) fn alone<R>(
    session: &mut Session<'_, Conn>,
    patience: i64,
    work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>,
) -> Result<R> {
    if session.select(sql::LOCK_MIGRATIONS, [patience.into()], |row| row.optional_integer(0))? != [Some(1)] {
        return Err(Error::new(kinds::unavailable(
            "another process has been migrating the database for too long",
        )));
    }
    let result = work(session);
    let unlocked = session.query(sql::UNLOCK_MIGRATIONS, Vec::new());
    let result = result?;
    unlocked.map_err(classify)?;
    Ok(result)
}

/// A statement that changes a table waits for transactions that have used the table, and later statements queue behind it. This limits the
/// wait, in seconds. The server's default is up to a year.
pub(crate) const GIVE_WAY_AFTER: u32 = 5;
const GIVE_WAY_NO_MORE: &str = "SET SESSION lock_wait_timeout = DEFAULT";

/// Runs `work`, which changes tables. Each statement waits for a table, and so delays others, for at most this many seconds.
pub(crate) fn giving_way<R>(
    session: &mut Session<'_, Conn>,
    seconds: u32,
    work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>,
) -> Result<R> {
    run(session, &format!("SET SESSION lock_wait_timeout = {seconds}"))?;
    let result = work(session);
    run(session, GIVE_WAY_NO_MORE)?;
    result
}
