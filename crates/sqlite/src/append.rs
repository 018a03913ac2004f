//! Appending, within a transaction of the writing connection.

use std::collections::HashMap;

use firefly_eventstore_core::backend::{self, AppendSource, ArchivedStream, Head, Located, rows};
use firefly_eventstore_core::{Append, Appended, Error, EventEnvelope, GlobalSequence, NewEvent, Result, Version};
use rusqlite::{CachedStatement, Connection, params};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{classify_writing, is_unique_violation};
use crate::pool::Database;
use crate::row::{self, time_text};
use crate::session::{Session, collect, prepared};
use crate::sql;
use crate::transaction::{RollbackOnDrop, begin, commit, run};

/// Appends in a transaction of its own.
pub(crate) fn alone(connection: &Connection, database: &Database, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    let name = |error: Error| error.during(backend::describe(appends));
    begin(connection).map_err(name)?;
    let rollback = RollbackOnDrop(connection);
    match shared(connection, appends) {
        Ok(result) => {
            let results = result?;
            commit(connection, Some(database)).map_err(name)?;
            Ok(results)
        }
        Err(failure) => {
            drop(rollback);
            failure.explain(connection, appends)
        }
    }
}

/// Appends within a transaction that continues even if the append fails.
pub(crate) fn within(connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    let name = |error: Error| error.during(backend::describe(appends));
    run(connection, "SAVEPOINT firefly_append").map_err(name)?;
    let result = shared(connection, appends);
    if connection.is_autocommit() {
        // SQLite ended the transaction itself, because the disk is full or fails.
        return result.unwrap_or_else(|failure| Err(name(failure.error)));
    }
    if result.is_err() {
        run(connection, "ROLLBACK TO firefly_append").map_err(name)?;
    }
    run(connection, "RELEASE firefly_append").map_err(name)?;
    result.unwrap_or_else(|failure| failure.explain(connection, appends))
}

/// Appends in a transaction that others share. The inner result leaves nothing behind if it is an error; the outer error
/// says that a part was written, or that SQLite ended the transaction: it has to be rolled back.
pub(crate) fn shared(connection: &Connection, appends: &[Append<'_>]) -> Result<Result<Vec<Appended>>, Failure> {
    match write(connection, appends) {
        Ok(results) => Ok(Ok(results)),
        Err(failure) if failure.spoiled || connection.is_autocommit() => Err(failure),
        Err(failure) => Ok(failure.explain(connection, appends)),
    }
}

/// Why an append failed.
pub(crate) struct Failure {
    error: Error,
    /// An append that conflicts with stored events may be a repeated one.
    may_be_repeated: bool,
    /// Some of its events were written.
    spoiled: bool,
}

impl Failure {
    /// A failure that no earlier append explains.
    pub(crate) fn other(error: Error) -> Self {
        Self {
            error,
            may_be_repeated: false,
            spoiled: false,
        }
    }

    fn refused(error: Error) -> Self {
        Self {
            may_be_repeated: true,
            ..Self::other(error)
        }
    }

    /// The error, as it is before it is explained.
    pub(crate) fn error(&self) -> &Error {
        &self.error
    }

    /// The result of the append after its rollback: the original result if this was a repeated append, the failure otherwise.
    pub(crate) fn explain(self, connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let explain = || {
            if !self.may_be_repeated {
                return Err(self.error);
            }
            backend::explain(&mut Session(connection), appends)?.ok_or(self.error)
        };
        explain().map_err(|error| error.during(backend::describe(appends)))
    }
}

fn write(connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>, Failure> {
    // All aggregates are checked before the first write, so that a conflict leaves nothing to undo.
    let heads = appends
        .iter()
        .map(|append| admit(connection, append))
        .collect::<Result<Vec<_>, _>>()?;
    let mut insert = prepared(connection, sql::APPEND).map_err(Failure::other)?;
    let now = OffsetDateTime::now_utc();
    let mut spoiled = false;
    let mut results = Vec::with_capacity(appends.len());
    for (append, mut version) in appends.iter().zip(heads) {
        let mut sequences = Vec::with_capacity(append.events.len());
        for event in append.events {
            version = version.checked_add(1).expect("the head admitted these versions");
            let inserted = insert_event(&mut insert, append, version, event, now).map_err(|error| Failure {
                may_be_repeated: is_unique_violation(&error),
                error: classify_writing(error),
                spoiled,
            })?;
            if inserted == 0 {
                return Err(Failure {
                    may_be_repeated: true,
                    error: Error::invalid(format!(
                        "the event id {} is stored already, in an archive",
                        event.event_id()
                    )),
                    spoiled,
                });
            }
            spoiled = true;
            sequences.push(GlobalSequence::try_from(connection.last_insert_rowid()).map_err(Failure::other)?);
        }
        results.push(Appended::new(append.aggregate.clone(), version, sequences));
    }
    Ok(results)
}

/// The version before the first event of an append, if the aggregate's head admits the append.
fn admit(connection: &Connection, append: &Append<'_>) -> Result<Version, Failure> {
    let head = head(connection, append.aggregate.id()).map_err(Failure::other)?;
    if append.events.is_empty() {
        return Ok(head.map_or(Version::ZERO, |head| head.version));
    }
    Head::admit(head.as_ref(), append).map_err(Failure::refused)
}

fn insert_event(
    insert: &mut CachedStatement<'_>,
    append: &Append<'_>,
    version: Version,
    event: &NewEvent,
    now: OffsetDateTime,
) -> rusqlite::Result<usize> {
    let (mut event_id, mut aggregate_id) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let checksum = event.checksum().to_string();
    let details = event.details();
    insert.execute(params![
        &*event.event_id().hyphenated().encode_lower(&mut event_id),
        &*append.aggregate.id().hyphenated().encode_lower(&mut aggregate_id),
        append.aggregate.aggregate_type().as_str(),
        version.as_i64(),
        event.event_type().as_str(),
        event.data().as_str(),
        details.metadata.map(|metadata| metadata.as_str()),
        time_text(details.created_at.unwrap_or(now)).as_str(),
        details.created_by.map(|name| name.as_str()),
        append.tenant.map(|name| name.as_str()),
        details.correlation_id.map(|name| name.as_str()),
        details.causation_id.map(|name| name.as_str()),
        checksum,
    ])
}

/// Inserts an event as it is, by `adopt_event.sql`.
pub(crate) fn adopt_event(insert: &mut CachedStatement<'_>, event: &EventEnvelope) -> rusqlite::Result<usize> {
    let (mut event_id, mut aggregate_id) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    insert.execute(params![
        &*event.event_id.hyphenated().encode_lower(&mut event_id),
        &*event.aggregate.id().hyphenated().encode_lower(&mut aggregate_id),
        event.aggregate.aggregate_type().as_str(),
        event.version.as_i64(),
        event.global_sequence.as_i64(),
        event.event_type.as_str(),
        event.data.as_str(),
        event.metadata.as_ref().map(|metadata| metadata.as_str()),
        time_text(event.created_at).as_str(),
        event.updated_at.map(time_text).as_ref().map(row::TimeText::as_str),
        event.created_by.as_ref().map(|name| name.as_str()),
        event.tenant.as_ref().map(|name| name.as_str()),
        event.correlation_id.as_ref().map(|name| name.as_str()),
        event.causation_id.as_ref().map(|name| name.as_str()),
        event.checksum.map(|checksum| checksum.to_string()),
    ])
}

/// The type, the tenant and the version of an aggregate, archived or not, or `None` if it has no event.
pub(crate) fn head(connection: &Connection, aggregate_id: Uuid) -> Result<Option<Head>> {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = aggregate_id.hyphenated().encode_lower(&mut buffer);
    let heads = collect(connection, sql::HEAD, [id], |row| rows::head(row, 0))?;
    match heads.into_iter().next() {
        Some(head) => Ok(Some(head)),
        None => Ok(archived_stream(connection, aggregate_id)?.map(|stream| stream.head())),
    }
}

/// The archived part of an aggregate's stream.
pub(crate) fn archived_stream(connection: &Connection, aggregate_id: Uuid) -> Result<Option<ArchivedStream>> {
    let id = aggregate_id.hyphenated().to_string();
    let found = collect(connection, sql::ARCHIVED_STREAM, [id], |row| rows::archived_stream(row))?;
    Ok(found.into_iter().next())
}

impl AppendSource for Session<'_> {
    fn locate(&mut self, event_ids: &[Uuid]) -> Result<Vec<Located>> {
        locate(self.0, event_ids)
    }

    fn heads(&mut self, aggregate_ids: &[Uuid]) -> Result<HashMap<Uuid, Head>> {
        let mut heads = HashMap::with_capacity(aggregate_ids.len());
        for id in aggregate_ids {
            heads.extend(head(self.0, *id)?.map(|head| (*id, head)));
        }
        Ok(heads)
    }
}

/// The places of the events with these ids, archived or not.
pub(crate) fn locate(connection: &Connection, ids: &[Uuid]) -> Result<Vec<Located>> {
    let ids = serde_json::to_string(ids).expect("ids are written as JSON strings");
    let mut found = collect(connection, sql::LOCATE, [&ids], |row| rows::located(row))?;
    found.extend(collect(connection, sql::LOCATE_ARCHIVED, [&ids], |row| {
        rows::located_archived(row, 6)
    })?);
    Ok(found)
}
