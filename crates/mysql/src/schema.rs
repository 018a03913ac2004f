//! The objects in the database: names of tables, columns, indexes and triggers.

use firefly_eventstore_core::backend::Columns as _;
pub(crate) use firefly_eventstore_core::backend::indexes::OPTIONAL as OPTIONAL_INDEXES;
use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::{Error, Result};
use mysql::prelude::Queryable;
use mysql::{Conn, Value};

use crate::error::{classify, driver_error, is_missing_table};
use crate::session::{Flavour, Session};
use crate::sql::{self, Layout};

/// The trigger by which other programs' appends take a gate, too.
pub(crate) const TRIGGER: &str = "trigger trigger_events_gate";

/// The names of the objects in the database, each with its kind, such as `table events`. Two round trips.
///
/// While a statement changes a table, such as `OPTIMIZE TABLE`, MariaDB shows a schema without that table, or without its partitions. So a second
/// look names the store's tables that the first one found: the server then holds their definitions until it has answered. If the user may not
/// read one of them, a third look names the log alone.
pub(crate) fn names<C: Queryable>(session: &mut Session<'_, C>) -> Result<Vec<String>> {
    let mut found = names_while_held(session, &[])?;
    for _ in 0..MOST_LOOKS {
        let held = own_tables(&found);
        found = match names_while_held(session, &held) {
            Ok(again) if own_tables(&again) == held => return Ok(again),
            Ok(again) => again,
            Err(error) if driver_error(&error).is_some_and(is_missing_table) => names_while_held(session, &[])?,
            Err(error) if error.is_retryable() => return Err(error),
            Err(_) => return names_while_held(session, &["events".to_owned()]).or(Ok(found)),
        };
    }
    Ok(found)
}

/// How often to look at a schema while tables appear and disappear.
const MOST_LOOKS: u32 = 5;

fn names_while_held<C: Queryable>(session: &mut Session<'_, C>, tables: &[String]) -> Result<Vec<String>> {
    let held = tables
        .iter()
        .map(|table| format!("UNION ALL\nSELECT NULL\nFROM {table}\nWHERE FALSE\n"));
    let names = sql::SCHEMA_NAMES.to_owned() + &held.collect::<String>();
    session.select(&names, [], |row| Ok(row.text(0)?.to_owned()))
}

/// The store's tables among the names of a schema.
fn own_tables(names: &[String]) -> Vec<String> {
    let tables = names.iter().filter_map(|name| name.strip_prefix("table "));
    let is_own =
        |table: &&str| table.starts_with("firefly_") || ["events", "snapshots", "mv_aggregate_summary"].contains(table);
    let mut own: Vec<String> = tables.filter(is_own).map(str::to_owned).collect();
    own.sort_unstable();
    own
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

/// How the events are kept now. One round trip.
pub(crate) fn layout_now<C: Queryable>(session: &mut Session<'_, C>) -> Result<Layout> {
    let partitioned = session.select_one(sql::LAYOUT, [], |row| row.integer(0))?;
    Ok(match partitioned {
        0 => Layout::Whole,
        _ => Layout::Partitioned,
    })
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
    let busy = "another process has been migrating the database for too long";
    take_lock(session, sql::LOCK_MIGRATIONS, vec![patience.into()], busy)?;
    until_unlocked(session, sql::UNLOCK_MIGRATIONS, work)
}

/// Takes a named lock, which ends with the connection at the latest. Fails if another process has it, which is why it is `busy`.
pub(crate) fn take_lock(session: &mut Session<'_, Conn>, lock: &str, values: Vec<Value>, busy: &str) -> Result<()> {
    match session.select(lock, values, |row| row.optional_integer(0))? == [Some(1)] {
        true => Ok(()),
        false => Err(Error::new(kinds::unavailable(busy))),
    }
}

/// Runs `work`, and then releases the lock that was taken for it.
pub(crate) fn until_unlocked<R>(
    session: &mut Session<'_, Conn>,
    unlock: &str,
    work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>,
) -> Result<R> {
    let result = work(session);
    let unlocked = session.query(unlock, Vec::new());
    let result = result?;
    unlocked.map_err(classify)?;
    Ok(result)
}

/// A statement that changes a table waits for transactions that have used the table, and later statements queue behind it. This limits the
/// wait, in seconds. The server's default is up to a year.
pub(crate) const GIVE_WAY_AFTER: u32 = 5;
const DEFAULT_LOCK_WAIT: &str = "SET SESSION lock_wait_timeout = DEFAULT";

/// Runs `work`, which changes tables. Each statement waits for a table, and so delays others, for at most this many seconds.
pub(crate) fn giving_way<R>(
    session: &mut Session<'_, Conn>,
    seconds: u32,
    work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>,
) -> Result<R> {
    run(session, &format!("SET SESSION lock_wait_timeout = {seconds}"))?;
    let result = work(session);
    run(session, DEFAULT_LOCK_WAIT)?;
    result
}

/// By default, MySQL answers questions about tables from a cache that may be a day old. This turns the cache off for the session.
pub(crate) fn disable_statistics_cache(session: &mut Session<'_, Conn>) -> Result<()> {
    match session.server.flavour {
        Flavour::Mysql => run(session, "SET SESSION information_schema_stats_expiry = 0"),
        Flavour::Mariadb => Ok(()),
    }
}
