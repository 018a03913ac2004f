//! The existing indexes, their sizes, and how often they are used, as far as the server shows it.

use std::collections::HashMap;

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::indexes::usage;
use firefly_eventstore_core::operate::{IndexState, IndexUsage};
use firefly_eventstore_core::{ErrorKind, Indexes, Result};
use mysql::Conn;

use crate::error::{classify, driver_error};
use crate::row::{Cells, decode, text};
use crate::schema::{self, OPTIONAL_INDEXES};
use crate::session::Session;
use crate::sql::{self, Layout};

/// A table, with the indexes that every store has.
type Table = (&'static str, &'static [&'static str]);

/// The tables of a store.
pub(super) fn tables(layout: Layout) -> impl Iterator<Item = Table> {
    let of_the_log: &[Table] = match layout {
        Layout::Whole => &[("events", KEYS)],
        Layout::Partitioned => &[
            ("events", &["PRIMARY"]),
            ("firefly_event_keys", KEYS),
            ("firefly_partitions", &["PRIMARY"]),
            ("firefly_leaving", &["PRIMARY"]),
        ],
    };
    of_the_log.iter().chain(TABLES).copied()
}

const KEYS: &[&str] = &["PRIMARY", "idx_events_event_id", "idx_events_aggregate_version"];

const TABLES: &[Table] = &[
    (
        "snapshots",
        &["PRIMARY", "idx_snapshots_version", "idx_snapshots_created_at"],
    ),
    ("mv_aggregate_summary", &["PRIMARY", "idx_mv_aggregate_summary_pk"]),
    ("firefly_gate", &["PRIMARY"]),
    ("firefly_turn", &["PRIMARY"]),
    ("firefly_seals", &["PRIMARY"]),
    ("firefly_consumers", &["PRIMARY"]),
    ("firefly_consumer_members", &["PRIMARY"]),
    ("firefly_parked_events", &["PRIMARY", "idx_parked_events_aggregate"]),
    ("firefly_archives", &["PRIMARY"]),
    ("firefly_archived_streams", &["PRIMARY"]),
    (
        "firefly_archived_events",
        &["PRIMARY", "idx_archived_events_event_id", "idx_archived_events_version"],
    ),
    ("firefly_moves", &["PRIMARY"]),
    ("firefly_schema_history", &["PRIMARY", "version"]),
];

/// The indexes of the store's tables.
pub(super) fn index_usage(session: &mut Session<'_, Conn>, chosen: Option<Indexes>) -> Result<Vec<IndexUsage>> {
    let names = schema::names(session)?;
    let indexes = names
        .iter()
        .filter_map(|name| name.strip_prefix("index ")?.split_once('.'));
    let mut there: Vec<(String, String)> = indexes
        .map(|(table, name)| (table.to_owned(), name.to_owned()))
        .collect();
    there.sort_unstable();
    let mut bytes = numbers(session, sql::INDEX_BYTES)?;
    let mut scans = numbers(session, sql::INDEX_SCANS)?;
    let of_the_store = there
        .iter()
        .filter(|(on, _)| tables(session.server.layout).any(|(table, _)| table == on));
    let found = of_the_store.map(|key| {
        let mut index = IndexUsage::new(&*key.0, &*key.1, IndexState::Present);
        index.bytes = bytes.remove(key);
        index.scans = scans.remove(key);
        index
    });
    let found = found.collect();
    let required: Vec<(&str, &str)> = tables(session.server.layout)
        .flat_map(|(table, names)| names.iter().map(move |name| (table, *name)))
        .collect();
    Ok(usage(found, &required, OPTIONAL_INDEXES, chosen))
}

/// A number for each index, by its table and name, or nothing if the server does not show it.
fn numbers(session: &mut Session<'_, Conn>, statement: &str) -> Result<HashMap<(String, String), u64>> {
    let Some(rows) = if_allowed(session.query(statement, Vec::new()))? else {
        return Ok(HashMap::new());
    };
    let numbers = decode(&rows, |row| {
        let index = (text(row, 0)?.to_owned(), text(row, 1)?.to_owned());
        Ok((index, Cells(row).count(2)?))
    })?;
    Ok(numbers.into_iter().collect())
}

/// The answer, or `None` if the user lacks the right or the server does not understand the question.
pub(super) fn if_allowed<T>(answer: Result<T, mysql::Error>) -> Result<Option<T>> {
    match answer.map_err(classify) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if driver_error(&error).is_some_and(is_not_understood) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Schema(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_not_understood(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::MySqlError(error) if error.code == 1064)
}
