//! Appending, within a transaction of the one writer.

use firefly_eventstore_core::backend::{self, Head};
use firefly_eventstore_core::{
    AggregateKey, Append, Appended, Error, EventType, GlobalSequence, Located, NewEvent, Result, Version,
};
use rusqlite::{CachedStatement, Connection, params};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{classify, is_unique_violation};
use crate::read::collect;
use crate::row::{self, time_text};
use crate::sql;

/// Appends in a transaction of its own.
pub(crate) fn alone(connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    let write = || {
        begin(connection)?;
        let rollback = RollbackOnDrop(connection);
        let result = shared(connection, appends)?;
        commit(connection)?;
        std::mem::forget(rollback);
        Ok(result)
    };
    write().map_err(|error: Error| error.during(backend::describe(appends)))
}

/// Appends in a transaction that others share: if it fails, it leaves nothing behind in it.
pub(crate) fn shared(connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    try_shared(connection, appends).map_err(|error| error.during(backend::describe(appends)))
}

fn try_shared(connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    // A single statement leaves nothing behind when it fails; a savepoint would cost two more.
    let events: usize = appends.iter().map(|append| append.events.len()).sum();
    let savepoint = (events > 1).then(|| Savepoint::set(connection)).transpose()?;
    let failure = match write(connection, appends) {
        Ok(results) => {
            savepoint.map(Savepoint::release).transpose()?;
            return Ok(results);
        }
        Err(failure) => failure,
    };
    savepoint.map(Savepoint::roll_back).transpose()?;
    // Only an append that was refused for what is stored already can be one that was repeated.
    let (Failure::Refused(error) | Failure::IdTaken(error)) = failure else {
        let Failure::Other(error) = failure else {
            unreachable!("the other failures are matched above")
        };
        return Err(error);
    };
    match backend::resolve_repeated(appends, &locate(connection, appends)?)? {
        Some(results) => with_versions(connection, appends, results),
        None => Err(error),
    }
}

enum Failure {
    /// The aggregate is elsewhere, or somebody else's.
    Refused(Error),
    /// A unique key was violated.
    IdTaken(Error),
    /// Everything else.
    Other(Error),
}

fn write(connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Appended>, Failure> {
    let mut insert = prepared(connection, sql::APPEND).map_err(Failure::Other)?;
    let now = OffsetDateTime::now_utc();
    let mut results = Vec::with_capacity(appends.len());
    for append in appends {
        let head = head(connection, append.aggregate.id()).map_err(Failure::Other)?;
        if append.events.is_empty() {
            results.push(nothing_appended(append, head));
            continue;
        }
        let mut version = Head::admit(head.as_ref(), append).map_err(Failure::Refused)?;
        let mut sequences = Vec::with_capacity(append.events.len());
        for event in append.events {
            version = version.checked_add(1).expect("the head admitted these versions");
            let inserted = insert_event(&mut insert, append, version, event, now);
            inserted.map_err(|error| match is_unique_violation(&error) {
                true => Failure::IdTaken(classify(error)),
                false => Failure::Other(classify(error)),
            })?;
            let sequence = GlobalSequence::try_from(connection.last_insert_rowid()).map_err(Failure::Other)?;
            sequences.push(sequence);
        }
        results.push(Appended::new(append.aggregate.clone(), version, sequences));
    }
    Ok(results)
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
    insert.execute(params![
        &*event.event_id().hyphenated().encode_lower(&mut event_id),
        &*append.aggregate.id().hyphenated().encode_lower(&mut aggregate_id),
        append.aggregate.aggregate_type().as_str(),
        version.as_i64(),
        event.event_type().as_str(),
        event.data().as_str(),
        event.get_metadata().map(|metadata| metadata.as_str()),
        time_text(event.get_created_at().unwrap_or(now)).as_str(),
        event.get_created_by().map(|name| name.as_str()),
        append.tenant.map(|name| name.as_str()),
        event.get_correlation_id().map(|name| name.as_str()),
        event.get_causation_id().map(|name| name.as_str()),
        checksum,
    ])
}

/// Who an aggregate belongs to, and the version it is at; none if it has no event.
pub(crate) fn head(connection: &Connection, aggregate_id: Uuid) -> Result<Option<Head>> {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = aggregate_id.hyphenated().encode_lower(&mut buffer);
    let heads = collect(connection, sql::HEAD, [id], |row| {
        Ok(Head {
            aggregate_type: row::text(row, 0)?.try_into()?,
            tenant: row::name(row, 1)?,
            version: Version::try_from(row::integer(row, 2)?)?,
        })
    })?;
    Ok(heads.into_iter().next())
}

fn nothing_appended(append: &Append<'_>, head: Option<Head>) -> Appended {
    let version = head.map_or(Version::ZERO, |head| head.version);
    Appended::new(append.aggregate.clone(), version, Vec::new())
}

/// An empty append within a repeated one has no event to tell its version by.
fn with_versions(connection: &Connection, appends: &[Append<'_>], results: Vec<Appended>) -> Result<Vec<Appended>> {
    let complete = |(append, result): (&Append<'_>, Appended)| match append.events {
        [] => Ok(nothing_appended(append, head(connection, append.aggregate.id())?)),
        _ => Ok(result),
    };
    appends.iter().zip(results).map(complete).collect()
}

fn locate(connection: &Connection, appends: &[Append<'_>]) -> Result<Vec<Located>> {
    let ids: Vec<Uuid> = appends
        .iter()
        .flat_map(|append| append.events)
        .map(NewEvent::event_id)
        .collect();
    let ids = serde_json::to_string(&ids).expect("ids are written as JSON strings");
    collect(connection, sql::LOCATE, [ids], |row| {
        Ok(Located {
            event_id: row::uuid(row, 0)?,
            aggregate: AggregateKey::new(row::text(row, 2)?, row::uuid(row, 1)?)?,
            tenant: row::name(row, 3)?,
            version: Version::try_from(row::integer(row, 4)?)?,
            global_sequence: GlobalSequence::try_from(row::integer(row, 5)?)?,
            event_type: EventType::new(row::text(row, 6)?)?,
            checksum: row::optional(row, 7)?.map(row::parse_checksum).transpose()?,
        })
    })
}

/// A statement that the connection prepares once.
pub(crate) fn prepared<'a>(connection: &'a Connection, sql: &str) -> Result<CachedStatement<'a>> {
    connection.prepare_cached(sql).map_err(classify)
}

/// Begins a transaction that writes: at once, so that it never has to give way to another writer half-way.
pub(crate) fn begin(connection: &Connection) -> Result<()> {
    run(connection, "BEGIN IMMEDIATE")
}

/// Commits.
pub(crate) fn commit(connection: &Connection) -> Result<()> {
    run(connection, "COMMIT")
}

fn run(connection: &Connection, sql: &str) -> Result<()> {
    prepared(connection, sql)?.execute([]).map_err(classify)?;
    Ok(())
}

/// SQLite ends the transaction itself when the disk is full or fails; then nothing of it is stored.
pub(crate) fn check_active(connection: &Connection, result: &Result<Vec<Appended>>) -> Result<()> {
    match result {
        Err(error) if connection.is_autocommit() => Err(error.clone()),
        _ => Ok(()),
    }
}

/// Rolls a transaction back unless it is forgotten, also when its work panics.
pub(crate) struct RollbackOnDrop<'a>(pub(crate) &'a Connection);

impl Drop for RollbackOnDrop<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // If even this fails, the connection is broken, and the next BEGIN says so.
            drop(run(self.0, "ROLLBACK"));
        }
    }
}

/// A point within a transaction to which an append that fails goes back.
struct Savepoint<'a>(&'a Connection);

impl<'a> Savepoint<'a> {
    fn set(connection: &'a Connection) -> Result<Self> {
        run(connection, "SAVEPOINT firefly_append")?;
        Ok(Self(connection))
    }

    fn release(self) -> Result<()> {
        run(self.0, "RELEASE firefly_append")
    }

    fn roll_back(self) -> Result<()> {
        if self.0.is_autocommit() {
            return Ok(());
        }
        run(self.0, "ROLLBACK TO firefly_append")?;
        self.release()
    }
}
