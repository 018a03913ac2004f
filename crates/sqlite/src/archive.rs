//! Archives: moving events out of the log and back, within a transaction of the writing connection.

use std::collections::HashMap;

use firefly_eventstore_core::backend::{self, ArchivedStream, Fingerprint, rows};
use firefly_eventstore_core::{EventEnvelope, GlobalSequence, Result, TenantId};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::append::{adopt_event, archived_stream};
use crate::error::classify_writing;
use crate::read::mark;
use crate::row::{Cells, time_text};
use crate::session::{collect, execute, prepared};
use crate::sql;

/// Removes events from the log and keeps their keys.
pub(crate) fn retire(
    connection: &Connection,
    events: &[EventEnvelope],
    fingerprints: &HashMap<GlobalSequence, Fingerprint>,
) -> Result<u64> {
    let live = keys(connection, sql::LIVE_KEY, events, |row| rows::event_key(row))?;
    let archived = keys(connection, sql::ARCHIVED_KEY, events, |row| rows::archived_key(row))?;
    let streams = streams(connection, events)?;
    let retired = backend::admit_retirement(events, &live, &archived, &streams, mark(connection)?)?;
    for event in &retired.events {
        let parameters = params![
            event.global_sequence.as_i64(),
            event.event_id.hyphenated().to_string(),
            event.aggregate.id().hyphenated().to_string(),
            event.version.as_i64(),
            fingerprints[&event.global_sequence].as_bytes(),
        ];
        execute(connection, sql::KEEP_KEY, parameters)?;
        execute(connection, sql::REMOVE_EVENT, [event.global_sequence.as_i64()])?;
    }
    for stream in &retired.streams {
        let until = time_text(stream.created_until);
        let parameters = params![
            stream.aggregate.id().hyphenated().to_string(),
            stream.aggregate.aggregate_type().as_str(),
            stream.tenant.as_ref().map(TenantId::as_str),
            stream.version.as_i64(),
            stream.last_event_id.hyphenated().to_string(),
            stream.first_sequence.as_i64(),
            stream.last_sequence.as_i64(),
            until.as_str(),
        ];
        execute(connection, sql::KEEP_ARCHIVED_STREAM, parameters)?;
    }
    Ok(retired.events.len() as u64)
}

/// Inserts archived events into the log again.
pub(crate) fn attach(
    connection: &Connection,
    events: &[EventEnvelope],
    fingerprints: &HashMap<GlobalSequence, Fingerprint>,
) -> Result<u64> {
    let live = keys(connection, sql::LIVE_KEY, events, |row| rows::event_key(row))?;
    let archived = keys(connection, sql::ARCHIVED_KEY, events, |row| rows::archived_key(row))?;
    let streams = streams(connection, events)?;
    let attached = backend::admit_attachment(events, &live, &archived, fingerprints, &streams)?;
    let mut insert = prepared(connection, sql::ADOPT_EVENT)?;
    for event in &attached.events {
        execute(connection, sql::FORGET_KEY, [event.global_sequence.as_i64()])?;
        adopt_event(&mut insert, event).map_err(classify_writing)?;
    }
    for (aggregate_id, version) in attached.versions {
        let id = aggregate_id.hyphenated().to_string();
        match version.get() {
            0 => execute(connection, sql::FORGET_ARCHIVED_STREAM, [id])?,
            _ => execute(connection, sql::CUT_ARCHIVED_STREAM, params![id, version.as_i64()])?,
        };
    }
    Ok(attached.events.len() as u64)
}

/// The rows that a statement finds at the sequences of these events.
fn keys<K>(
    connection: &Connection,
    statement: &str,
    events: &[EventEnvelope],
    decode: impl Fn(&Cells<'_, '_>) -> Result<K>,
) -> Result<HashMap<GlobalSequence, K>> {
    let mut keys = HashMap::with_capacity(events.len());
    for event in events {
        let sequence = event.global_sequence;
        let found = collect(connection, statement, [sequence.as_i64()], &decode)?;
        keys.extend(found.into_iter().map(|key| (sequence, key)));
    }
    Ok(keys)
}

/// The archived parts of the streams that these events belong to.
fn streams(connection: &Connection, events: &[EventEnvelope]) -> Result<HashMap<Uuid, ArchivedStream>> {
    let mut streams = HashMap::new();
    for id in backend::aggregate_ids(events) {
        streams.extend(archived_stream(connection, id)?.map(|stream| (id, stream)));
    }
    Ok(streams)
}
