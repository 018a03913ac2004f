//! Archives: moving events out of the log and back, in a transaction that holds all gates.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::kinds::{self, altered};
use firefly_eventstore_core::backend::{self, ArchivedStream, Columns, EventKey, Fingerprint, Retirement, rows};
use firefly_eventstore_core::{Error, EventEnvelope, GlobalSequence, Result, TenantId, Version};
use mysql::prelude::Queryable;
use mysql::{Conn, Row, Value};
use uuid::Uuid;

use crate::error::classify;
use crate::import;
use crate::mark::{free_gates, gates};
use crate::read;
use crate::row::{Cells, decode, time_value};
use crate::session::Session;
use crate::sql::{self, Layout};

/// Removes events from the log and keeps their keys, in a transaction that has done nothing yet.
///
/// An append that has looked before the archiving must not store after it: it would use a version or an id again, because the keys in the
/// log no longer prevent that. So the transaction holds all gates. No append is active then. Later appends wait at their gate, look after
/// that, and see what is archived.
pub(crate) fn retire(session: &mut Session<'_, Conn>, events: &[EventEnvelope]) -> Result<u64> {
    hold_moves(session)?;
    refuse_leaving(session, events)?;
    let archived = keys(session, sql::ARCHIVED_KEY, "", events, |row| {
        rows::archived_key(&Cells(row))
    })?;
    let fingerprints = Fingerprint::of_all(events)?;
    hold_gates(session)?;
    let live = live_keys(session, events, UNLESS_LOCKED)?;
    let streams = streams(session, &backend::aggregate_ids(events), UNLESS_LOCKED)?;
    let newest = read::end(session)?;
    let retired = backend::admit_retirement(events, &live, &archived, &streams, newest)?;
    if retired.events.is_empty() {
        return Ok(0);
    }
    keep_keys(session, &retired, &fingerprints)?;
    keep_streams(session, sql::KEEP_ARCHIVED_STREAM, &retired, &[])?;
    let removed = among(session, sql::REMOVE_EVENT, sequences(&retired.events))?;
    if removed != retired.events.len() as u64 {
        return Err(altered("another session has removed an event from the log"));
    }
    tell_archived(session, true)?;
    Ok(removed)
}

/// Stores the keys of events that leave the log.
pub(crate) fn keep_keys(
    session: &mut Session<'_, Conn>,
    retired: &Retirement<'_>,
    fingerprints: &HashMap<GlobalSequence, Fingerprint>,
) -> Result<()> {
    let rows = vec!["(?, ?, ?, ?, ?)"; retired.events.len()].join(",\n");
    let values = retired.events.iter().flat_map(|event| {
        [
            event.global_sequence.as_i64().into(),
            event.event_id.into(),
            event.aggregate.id().into(),
            event.version.as_i64().into(),
            Value::from(fingerprints[&event.global_sequence].as_bytes()),
        ]
    });
    run(session, &format!("{}{rows}", sql::KEEP_KEY), values.collect())
}

/// Records by a statement up to which version the streams are archived afterwards. The statement has more values after the rows.
pub(crate) fn keep_streams(
    session: &mut Session<'_, Conn>,
    statement: &str,
    retired: &Retirement<'_>,
    more: &[Value],
) -> Result<()> {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; retired.streams.len()].join(",\n");
    let values = retired.streams.iter().flat_map(|stream| {
        [
            stream.aggregate.id().into(),
            stream.aggregate.aggregate_type().as_str().into(),
            stream.tenant.as_ref().map(TenantId::as_str).into(),
            stream.version.as_i64().into(),
            stream.last_event_id.into(),
            stream.first_sequence.as_i64().into(),
            stream.last_sequence.as_i64().into(),
            time_value(stream.created_until),
        ]
    });
    let values = values.chain(more.iter().cloned()).collect();
    run(session, &statement.replace("{rows}", &rows), values)
}

/// Inserts archived events into the log again, in a transaction that has done nothing yet.
pub(crate) fn attach(session: &mut Session<'_, Conn>, events: &[EventEnvelope]) -> Result<u64> {
    hold_moves(session)?;
    refuse_leaving(session, &[])?;
    let live = live_keys(session, events, "")?;
    let fingerprints = Fingerprint::of_all(events)?;
    hold_gates(session)?;
    let archived = keys(session, sql::ARCHIVED_KEY, UNLESS_LOCKED, events, |row| {
        rows::archived_key(&Cells(row))
    })?;
    let streams = streams(session, &backend::aggregate_ids(events), UNLESS_LOCKED)?;
    let attached = backend::admit_attachment(events, &live, &archived, &fingerprints, &streams)?;
    if attached.events.is_empty() {
        return Ok(0);
    }
    // This comes first, so that the trigger does not find the events archived.
    among(session, sql::FORGET_KEY, sequences(&attached.events))?;
    let is_gone = |(_, version): &&(Uuid, Version)| *version == Version::ZERO;
    let gone = attached.versions.iter().filter(is_gone);
    let gone: Vec<Value> = gone.map(|(id, _)| Value::from(*id)).collect();
    if !gone.is_empty() {
        among(session, sql::FORGET_ARCHIVED_STREAM, gone)?;
    }
    let left = attached.versions.iter().filter(|stream| !is_gone(stream));
    let left: Vec<Value> = left.map(|(id, _)| Value::from(*id)).collect();
    if !left.is_empty() {
        let statement = sql::CUT_ARCHIVED_STREAM.replace("{list}", &sql::list(left.len()));
        run(session, &statement, sql::padded(left, Value::NULL))?;
    }
    import::insert(session, &attached.events)?;
    run(session, sql::COUNT_ATTACHED, Vec::new())?;
    let is_left = session.select(sql::ANY_ARCHIVED, [], |row| row.integer(0))? != [0];
    tell_archived(session, is_left)?;
    Ok(attached.events.len() as u64)
}

/// Fails if another transaction has locked a row. While it holds the gates, an archiving transaction never waits.
pub(crate) const UNLESS_LOCKED: &str = "\nFOR UPDATE NOWAIT";

/// How long to try to get all gates, and the pause between attempts. Appends take another gate every 10 milliseconds. So after that time,
/// no new append takes a gate that an active append still holds.
const PATIENCE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(1);

/// Locks all gates: free ones at once, the others when their appends end. A new append waits at its gate until the transaction ends, so
/// this is short.
pub(crate) fn hold_gates(session: &mut Session<'_, Conn>) -> Result<()> {
    let begun = Instant::now();
    let mut missing = gates();
    loop {
        let free = free_gates(session, &missing).map_err(classify)?;
        missing.retain(|gate| !free.contains(gate));
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= PATIENCE {
            return Err(Error::new(kinds::unavailable(
                "other transactions that append have been open for too long; events are moved while none is",
            )));
        }
        thread::sleep(PAUSE);
    }
}

/// Takes the lock for moving events, until the transaction ends. Fails if another transaction has it.
pub(crate) fn hold_moves(session: &mut Session<'_, Conn>) -> Result<()> {
    match session.query(sql::HOLD_MOVES, Vec::new()).map_err(classify)?.len() {
        1 => Ok(()),
        _ => Err(altered("the row of firefly_moves is missing")),
    }
}

/// Refuses to move events while others leave with their partition, whose streams are prepared. Only events before those may be moved.
fn refuse_leaving(session: &mut Session<'_, Conn>, before: &[EventEnvelope]) -> Result<()> {
    if session.server.layout == Layout::Whole {
        return Ok(());
    }
    let first = session.select(sql::LEAVING_LOCKED, [], |row| row.sequence(0))?.pop();
    match (first, before.last()) {
        (None, _) => Ok(()),
        (Some(first), Some(last)) if last.global_sequence < first => Ok(()),
        _ => Err(Error::new(kinds::unavailable(
            "events of an archive are leaving with their partition: let that finish, or retire or attach that archive again",
        ))),
    }
}

/// The keys of these events in the log.
pub(crate) fn live_keys(
    session: &mut Session<'_, Conn>,
    events: &[EventEnvelope],
    locking: &str,
) -> Result<HashMap<GlobalSequence, EventKey>> {
    keys(session, sql::LIVE_KEY, locking, events, |row| {
        rows::event_key(&Cells(row))
    })
}

/// The rows that a statement finds at the sequences of these events.
fn keys<K>(
    session: &mut Session<'_, Conn>,
    statement: &str,
    locking: &str,
    events: &[EventEnvelope],
    key: impl Fn(&Row) -> Result<K>,
) -> Result<HashMap<GlobalSequence, K>> {
    let sequences = events
        .iter()
        .map(|event| event.global_sequence.as_i64().into())
        .collect();
    let rows = found_among(session, statement, locking, sequences)?;
    let keys = decode(&rows, |row| Ok((Cells(row).sequence(0)?, key(row)?)))?;
    Ok(keys.into_iter().collect())
}

/// The archived parts of the streams of these aggregates, as they are stored.
pub(crate) fn streams(
    session: &mut Session<'_, Conn>,
    aggregate_ids: &[Uuid],
    locking: &str,
) -> Result<HashMap<Uuid, ArchivedStream>> {
    let ids = aggregate_ids.iter().map(|id| Value::from(*id)).collect();
    let found = found_among(session, sql::ARCHIVED_STREAM, locking, ids)?;
    let streams = decode(&found, |row| rows::archived_stream(&Cells(row)))?;
    Ok(streams
        .into_iter()
        .map(|stream| (stream.aggregate.id(), stream))
        .collect())
}

/// The archived part of an aggregate's stream.
pub(crate) fn stream(session: &mut Session<'_, Conn>, id: Uuid) -> Result<Option<ArchivedStream>> {
    let found = session.select(sql::ARCHIVED_PART, [id.into()], |row| rows::archived_stream(row))?;
    Ok(found.into_iter().next())
}

/// The rows of a statement with a list.
fn found_among(
    session: &mut Session<'_, Conn>,
    statement: &str,
    locking: &str,
    values: Vec<Value>,
) -> Result<Vec<Row>> {
    let statement = format!("{} {}{locking}", statement.trim_end(), sql::list(values.len()));
    session
        .query(&statement, sql::padded(values, Value::NULL))
        .map_err(classify)
}

/// Runs a statement with a list, and returns how many rows it changed.
fn among(session: &mut Session<'_, Conn>, statement: &str, values: Vec<Value>) -> Result<u64> {
    among_with(session, statement, &[], values)
}

/// Runs a statement with other values and a list, and returns how many rows it changed.
pub(crate) fn among_with(
    session: &mut Session<'_, Conn>,
    statement: &str,
    others: &[Value],
    values: Vec<Value>,
) -> Result<u64> {
    let statement = format!("{} {}", statement.trim_end(), sql::list(values.len()));
    let values = [others, &sql::padded(values, Value::NULL)].concat();
    session.execute(&statement, values).map_err(classify)
}

fn sequences(events: &[&EventEnvelope]) -> Vec<Value> {
    events
        .iter()
        .map(|event| event.global_sequence.as_i64().into())
        .collect()
}

/// Records for appends, which wait meanwhile, whether to look for archived events.
pub(crate) fn tell_archived(session: &mut Session<'_, Conn>, are_there: bool) -> Result<()> {
    run(session, sql::TELL_ARCHIVED, vec![are_there.into(); 2])
}

fn run<C: Queryable>(session: &mut Session<'_, C>, statement: &str, values: Vec<Value>) -> Result<()> {
    session.execute(statement, values).map(drop).map_err(classify)
}
