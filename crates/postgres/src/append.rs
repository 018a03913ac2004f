//! Appending, in one statement: on its own or within a transaction.

use std::collections::HashMap;

use firefly_eventstore_core::backend::kinds::{self, unavailable};
use firefly_eventstore_core::backend::{self, AppendSource, Head, Located, rows};
use firefly_eventstore_core::{
    AggregateType, Append, Appended, CausationId, CorrelationId, CreatedBy, Error, ExpectedVersion, GlobalSequence,
    Metadata, NewEvent, Result, TenantId, Version,
};
use postgres::types::ToSql;
use postgres::{Client, GenericClient, Row, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{BEGIN_ANEW, classify, is_deadlock, is_elsewhere, is_forgotten, is_out_of_range, is_refused};
use crate::migrate::go_on;
use crate::pool::{Location, Place, rows};
use crate::row::{Cells, get, is_null};
use crate::session::Session;
use crate::sql::{self, Layout};

/// Appends in a statement of its own. One round trip, unless the append conflicts.
pub(crate) fn alone(session: &mut Session<'_, Client>, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    let attempt = |session: &mut Session<'_, Client>| Ok(write(session, appends)?);
    repeated(session, appends, attempt).map_err(|error| error.during(backend::describe(appends)))
}

/// Appends within a transaction that continues even if the append fails: a savepoint, the statement, and the savepoint's release.
///
/// If the connection is the caller's, or the caller's work used it, the statement with the savepoint also checks where it leads.
pub(crate) fn within(
    session: &mut Session<'_, Transaction<'_>>,
    appends: &[Append<'_>],
    unchecked: Option<&Location>,
) -> Result<Vec<Appended>> {
    let attempt = |session: &mut Session<'_, Transaction<'_>>| {
        let mut end = "RELEASE firefly_append".to_owned();
        let mut looks_back = None;
        match unchecked.and_then(|location| Some((location, location.place.as_ref()?))) {
            None => session.client.batch_execute("SAVEPOINT firefly_append")?,
            Some((location, place)) => {
                let entered = enter(session, place)?;
                end = format!("SET LOCAL firefly.store = '{}'; {end}", entered.opened_before);
                looks_back = entered.looks_back.then_some(location);
            }
        }
        let result = write(session, appends).map_err(Failure::from);
        let result = result.and_then(|written| {
            if let (Some(location), Some(written)) = (looks_back, &written) {
                check_not_archived(location, appends, written)?;
            }
            Ok(written)
        });
        let ended = session.client.batch_execute(if result.is_ok() { &end } else { UNDO });
        let written = result?;
        ended?;
        Ok(written)
    };
    repeated(session, appends, attempt).map_err(|error| error.during(backend::describe(appends)))
}

const UNDO: &str = "ROLLBACK TO firefly_append; RELEASE firefly_append";

/// For a transaction with an old snapshot: fails if the aggregates were archived since, because the snapshot shows neither the events nor
/// their keys. Another connection checks. The transaction has written already, so nothing more is archived before it ends.
fn check_not_archived(location: &Location, appends: &[Append<'_>], written: &[Written]) -> Result<(), Failure> {
    let looked = || {
        let mut connection = location.open()?;
        connection.check_place()?;
        // Another session may hold a lock and wait for this transaction. So the check waits only briefly.
        connection
            .client
            .batch_execute("SET lock_timeout = '1s'")
            .map_err(classify)?;
        let mut session = connection.session();
        let event_ids: Vec<Uuid> = appends
            .iter()
            .flat_map(|append| append.events)
            .map(NewEvent::event_id)
            .collect();
        let ids: Vec<Uuid> = appends.iter().map(|append| append.aggregate.id()).collect();
        Ok((locate(&mut session, &event_ids)?, heads(&mut session, &ids)?))
    };
    let (located, heads) = looked().map_err(Failure::Refused)?;
    let mut rows = written.iter();
    let mut is_taken = |append: &Append<'_>| {
        let first = rows.by_ref().take(append.events.len()).next();
        let head = heads.get(&append.aggregate.id());
        first
            .zip(head)
            .is_some_and(|(first, head)| first.version <= head.version)
    };
    match located.is_empty() && !appends.iter().any(&mut is_taken) {
        true => Ok(()),
        false => Err(Failure::Refused(Error::new(unavailable(BEGIN_ANEW)))),
    }
}

/// What a transaction is like before an append in it.
struct EnteredTransaction {
    /// The store that was set for the schema's functions before.
    opened_before: String,
    /// Whether its snapshot is from its first statement.
    looks_back: bool,
}

/// Checks that the connection leads to the place, sets the savepoint, and sets the store for the schema's functions.
fn enter(session: &mut Session<'_, Transaction<'_>>, place: &Place) -> Result<EnteredTransaction, Failure> {
    let found = look(session, place, "SAVEPOINT firefly_append");
    if found.is_err() {
        session.client.batch_execute(UNDO)?;
    }
    found
}

/// Fails if the connection leads to another place, or its transaction has ended or failed. Sets the store for the schema's functions until
/// the transaction ends. One round trip.
pub(crate) fn check_place(session: &mut Session<'_, Transaction<'_>>, place: &Place) -> Result<()> {
    // Fails outside of a transaction, in which a statement would be committed at once: there, savepoints are an error.
    match look(session, place, "SAVEPOINT firefly_consumer; RELEASE firefly_consumer") {
        Ok(_) => Ok(()),
        Err(Failure::Driver(error)) => Err(classify(error)),
        Err(Failure::Refused(error)) => Err(error),
    }
}

/// Runs the statement `first`, checks that the connection leads to the place, and sets the store for the schema's functions until the
/// transaction ends. One round trip.
fn look(session: &mut Session<'_, Transaction<'_>>, place: &Place, first: &str) -> Result<EnteredTransaction, Failure> {
    let look = sql::without_comments(sql::PLACE);
    let know = "SELECT set_config('firefly.store', COALESCE(to_regclass('events')::oid::text, ''), true)";
    let enter = format!("{first}; {look}; {know}");
    let answers = session.client.simple_query(&enter);
    let found = answers
        .as_deref()
        .ok()
        .and_then(|answers| rows(answers).find(|row| place.is_that_of(row)));
    if let Some(row) = found.filter(|row| row.get("encoding") == Some("UTF8")) {
        session.layout = Layout::told(row.get("is_partitioned"));
        let is_oid = |store: &&str| store.bytes().all(|byte| byte.is_ascii_digit());
        return Ok(EnteredTransaction {
            opened_before: row.get("store").filter(is_oid).unwrap_or_default().to_owned(),
            looks_back: row.get("looks_back") == Some("t"),
        });
    }
    let is_there = found.is_some();
    let refusal = match answers {
        // Without a store, the tables that the statement reads do not exist.
        Err(error) if !is_elsewhere(&error) => return Err(error.into()),
        _ if is_there => {
            "the transaction's connection has another client_encoding than UTF8, so texts would be changed: leave that setting alone"
        }
        _ => LEADS_ELSEWHERE,
    };
    Err(Failure::Refused(Error::invalid(refusal)))
}

pub(crate) const LEADS_ELSEWHERE: &str = "the transaction's connection leads to another server, database or schema than the store was \
    opened in: connect to that database, and set the search_path";

/// The most bytes of events in one message. The server ends the connection at 1 GiB, and other columns need some of that.
const MOST_BYTES: usize = (1 << 30) - (1 << 26);

/// Refuses an append that would end the connection at each attempt.
fn check_bytes(bytes: usize) -> Result<()> {
    if bytes > MOST_BYTES {
        return Err(Error::invalid(format!(
            "an append with {bytes} bytes of data and metadata is more than PostgreSQL takes in one message, about {MOST_BYTES}; divide it"
        )));
    }
    Ok(())
}

/// Why an attempt failed.
enum Failure {
    Driver(postgres::Error),
    Refused(Error),
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Self {
        Self::Driver(error)
    }
}

fn repeated<C: GenericClient>(
    session: &mut Session<'_, C>,
    appends: &[Append<'_>],
    mut attempt: impl FnMut(&mut Session<'_, C>) -> Result<Option<Vec<Written>>, Failure>,
) -> Result<Vec<Appended>> {
    if appends.iter().all(|append| append.events.is_empty()) {
        return backend::with_versions(session, appends, HashMap::new());
    }
    let events = appends.iter().flat_map(|append| append.events);
    check_bytes(events.map(backend::payload_bytes).sum())?;
    for _ in 0..backend::MOST_ATTEMPTS {
        let obstacle = match attempt(session) {
            Ok(Some(written)) => return results(session, appends, written),
            Ok(None) => None,
            // The statement did not run. It is prepared again.
            Err(Failure::Driver(error)) if is_forgotten(&error) => continue,
            Err(Failure::Driver(error)) if is_refused(&error) || is_deadlock(&error) => Some(error),
            Err(Failure::Driver(error)) => return Err(classify(error)),
            Err(Failure::Refused(error)) => return Err(error),
        };
        if let Some(results) = backend::explain(session, appends)? {
            return Ok(results);
        }
        match obstacle {
            // Another number than the version: something in the data is out of the server's range.
            Some(error) if is_out_of_range(&error) => return Err(classify(error)),
            Some(error) if is_refused(&error) => check_sight(session)?,
            Some(_) => {}
            // The statement also writes nothing if the sequence is behind the log.
            None => go_on(session)?,
        }
        // The conflicting append was rolled back, or this attempt takes it into account. Try again.
    }
    Err(backend::outpaced())
}

/// Fails if retries cannot help, because the conflicting event is invisible: the snapshot is older, or row level security hides it.
fn check_sight<C: GenericClient>(session: &mut Session<'_, C>) -> Result<()> {
    let obstacles = session.select(sql::OBSTACLES, &[], |row| {
        Ok((get::<bool>(row, 0)?, get::<bool>(row, 1)?))
    })?;
    match obstacles[..] {
        [(_, true)] => Err(Error::new(kinds::backend(
            "row level security hides the conflicting event or aggregate from this role; append as a role that sees every row of events",
        ))),
        [(true, _)] => Err(Error::new(unavailable(BEGIN_ANEW))),
        _ => Ok(()),
    }
}

/// A row that was written.
#[derive(Clone, Copy)]
struct Written {
    sequence: GlobalSequence,
    version: Version,
}

impl Written {
    /// From the first two columns of what each append returns.
    fn of(row: &Row) -> Result<Self, postgres::Error> {
        let stored = "the database gives positive sequences and versions";
        Ok(Self {
            sequence: GlobalSequence::try_from(row.try_get::<_, i64>(0)?).expect(stored),
            version: Version::try_from(row.try_get::<_, i64>(1)?).expect(stored),
        })
    }
}

/// Sends the statement. Returns `None` if an aggregate does not have the expected version.
fn write<C: GenericClient>(
    session: &mut Session<'_, C>,
    appends: &[Append<'_>],
) -> Result<Option<Vec<Written>>, postgres::Error> {
    let appends: Vec<&Append<'_>> = appends.iter().filter(|append| !append.events.is_empty()).collect();
    let rows = match appends[..] {
        [append @ Append { events: [event], .. }] => write_one(session, append, event)?,
        [append] => write_batch(session, append)?,
        _ => write_several(session, &appends)?,
    };
    if rows.is_empty() {
        return Ok(None);
    }
    let mut written = rows.iter().map(Written::of).collect::<Result<Vec<_>, _>>()?;
    // Sequences are allocated in the order of the events.
    written.sort_unstable_by_key(|row| row.sequence);
    Ok(Some(written))
}

fn write_one<C: GenericClient>(
    session: &mut Session<'_, C>,
    append: &Append<'_>,
    event: &NewEvent,
) -> Result<Vec<Row>, postgres::Error> {
    let (statement, expected): (_, &(dyn ToSql + Sync)) = match append.expected {
        ExpectedVersion::Any => (sql::APPEND_ONE, &false),
        ExpectedVersion::Exists => (sql::APPEND_ONE, &true),
        ExpectedVersion::NoStream => (sql::APPEND_ONE_EXACTLY, &0_i64),
        ExpectedVersion::Exact(version) => (sql::APPEND_ONE_EXACTLY, &version.as_i64()),
    };
    let details = event.details();
    session.query(
        statement,
        &[
            &event.event_id(),
            &append.aggregate.id(),
            &append.aggregate.aggregate_type().as_str(),
            &append.tenant.map(TenantId::as_str),
            expected,
            &event.event_type().as_str(),
            &event.data().as_str(),
            &details.metadata.map(Metadata::as_str),
            &details.created_at,
            &details.created_by.map(CreatedBy::as_str),
            &details.correlation_id.map(CorrelationId::as_str),
            &details.causation_id.map(CausationId::as_str),
            &event.checksum().to_string(),
        ],
    )
}

fn write_batch<C: GenericClient>(
    session: &mut Session<'_, C>,
    append: &Append<'_>,
) -> Result<Vec<Row>, postgres::Error> {
    let aggregate_id = append.aggregate.id();
    let aggregate_type = append.aggregate.aggregate_type().as_str();
    let tenant = append.tenant.map(TenantId::as_str);
    let expected = number(append.expected);
    let of_append: [&(dyn ToSql + Sync); 4] = [&aggregate_id, &aggregate_type, &tenant, &expected];
    let events = Arrays::of(append.events);
    session.query(sql::APPEND_BATCH, &[&of_append[..], &events.values()].concat())
}

/// Appends for several callers in one statement, each to one aggregate. Appends to the same aggregate must be next to each other. Returns
/// `None` for those whose aggregate does not have the expected version.
pub(crate) fn together(session: &mut Session<'_, Client>, appends: &[Append<'_>]) -> Result<Vec<Option<Appended>>> {
    let same = |a: &Append<'_>, b: &Append<'_>| a.aggregate.id() == b.aggregate.id();
    let firsts: Vec<&Append<'_>> = appends.chunk_by(same).map(|chunk| &chunk[0]).collect();
    let mut which = Vec::<i64>::new();
    let mut steps = Vec::<i64>::new();
    for (chunk, ordinal) in appends.chunk_by(same).zip(1..) {
        for (_, step) in chunk.iter().flat_map(|append| append.events).zip(1..) {
            which.push(ordinal);
            steps.push(step);
        }
    }
    let aggregate_ids: Vec<Uuid> = firsts.iter().map(|append| append.aggregate.id()).collect();
    let types = firsts.iter().map(|append| append.aggregate.aggregate_type());
    let aggregate_types: Vec<&str> = types.map(AggregateType::as_str).collect();
    let tenants: Vec<Option<&str>> = firsts
        .iter()
        .map(|append| append.tenant.map(TenantId::as_str))
        .collect();
    let expected: Vec<i64> = firsts.iter().map(|append| number(append.expected)).collect();
    let of_appends: [&(dyn ToSql + Sync); 6] = [&aggregate_ids, &aggregate_types, &tenants, &expected, &which, &steps];
    let events = Arrays::of(appends.iter().flat_map(|append| append.events));
    let rows = session
        .query(sql::APPEND_GROUP, &[&of_appends[..], &events.values()].concat())
        .map_err(classify)?;
    let mut written: HashMap<Uuid, Vec<Written>> = HashMap::with_capacity(firsts.len());
    for row in &rows {
        let row_of = written.entry(row.try_get(2).map_err(classify)?).or_default();
        row_of.push(Written::of(row).map_err(classify)?);
    }
    let mut results = Vec::with_capacity(appends.len());
    for chunk in appends.chunk_by(same) {
        let mut rows = written.remove(&chunk[0].aggregate.id()).unwrap_or_default();
        rows.sort_unstable_by_key(|row| row.version);
        let mut rows = rows.into_iter();
        for append in chunk {
            let rows: Vec<Written> = rows.by_ref().take(append.events.len()).collect();
            results.push(rows.last().map(|last| {
                let sequences = rows.iter().map(|row| row.sequence).collect();
                Appended::new(append.aggregate.clone(), last.version, sequences)
            }));
        }
    }
    Ok(results)
}

fn write_several<C: GenericClient>(
    session: &mut Session<'_, C>,
    appends: &[&Append<'_>],
) -> Result<Vec<Row>, postgres::Error> {
    let aggregate_ids: Vec<Uuid> = appends.iter().map(|append| append.aggregate.id()).collect();
    let types = appends.iter().map(|append| append.aggregate.aggregate_type());
    let aggregate_types: Vec<&str> = types.map(AggregateType::as_str).collect();
    let tenants = appends.iter().map(|append| append.tenant);
    let tenants: Vec<Option<&str>> = tenants.map(|tenant| tenant.map(TenantId::as_str)).collect();
    let expected: Vec<i64> = appends.iter().map(|append| number(append.expected)).collect();

    let mut which = Vec::<i64>::new();
    let mut steps = Vec::<i64>::new();
    for (append, ordinal) in appends.iter().zip(1..) {
        for (_, step) in append.events.iter().zip(1..) {
            which.push(ordinal);
            steps.push(step);
        }
    }
    let of_appends: [&(dyn ToSql + Sync); 6] = [&aggregate_ids, &aggregate_types, &tenants, &expected, &which, &steps];
    let events = Arrays::of(appends.iter().flat_map(|append| append.events));
    session.query(sql::APPEND, &[&of_appends[..], &events.values()].concat())
}

/// The columns of events, as arrays.
#[derive(Default)]
struct Arrays<'a> {
    event_ids: Vec<Uuid>,
    event_types: Vec<&'a str>,
    data: Vec<&'a str>,
    metadata: Vec<Option<&'a str>>,
    created_at: Vec<Option<OffsetDateTime>>,
    created_by: Vec<Option<&'a str>>,
    correlation_ids: Vec<Option<&'a str>>,
    causation_ids: Vec<Option<&'a str>>,
    checksums: Vec<String>,
}

impl<'a> Arrays<'a> {
    fn of(events: impl IntoIterator<Item = &'a NewEvent>) -> Self {
        let mut arrays = Self::default();
        for event in events {
            let details = event.details();
            arrays.event_ids.push(event.event_id());
            arrays.event_types.push(event.event_type().as_str());
            arrays.data.push(event.data().as_str());
            arrays.metadata.push(details.metadata.map(Metadata::as_str));
            arrays.created_at.push(details.created_at);
            arrays.created_by.push(details.created_by.map(CreatedBy::as_str));
            arrays
                .correlation_ids
                .push(details.correlation_id.map(CorrelationId::as_str));
            arrays.causation_ids.push(details.causation_id.map(CausationId::as_str));
            arrays.checksums.push(event.checksum().to_string());
        }
        arrays
    }

    /// In the order of the statements' parameters.
    fn values(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.event_ids,
            &self.event_types,
            &self.data,
            &self.metadata,
            &self.created_at,
            &self.created_by,
            &self.correlation_ids,
            &self.causation_ids,
            &self.checksums,
        ]
    }
}

/// The number that stands for an expected version in the statements.
fn number(expected: ExpectedVersion) -> i64 {
    match expected {
        ExpectedVersion::Any => -1,
        ExpectedVersion::Exists => -2,
        ExpectedVersion::NoStream => 0,
        ExpectedVersion::Exact(version) => version.as_i64(),
    }
}

/// The results of rows in the order of the events.
fn results<C: GenericClient>(
    session: &mut Session<'_, C>,
    appends: &[Append<'_>],
    written: Vec<Written>,
) -> Result<Vec<Appended>> {
    let mut rows = written.into_iter();
    let mut results = HashMap::with_capacity(appends.len());
    for append in appends {
        let rows: Vec<Written> = rows.by_ref().take(append.events.len()).collect();
        let Some(last) = rows.last() else { continue };
        let sequences = rows.iter().map(|row| row.sequence).collect();
        let result = Appended::new(append.aggregate.clone(), last.version, sequences);
        results.insert(append.aggregate.id(), result);
    }
    backend::with_versions(session, appends, results)
}

impl<C: GenericClient> AppendSource for Session<'_, C> {
    fn locate(&mut self, event_ids: &[Uuid]) -> Result<Vec<Located>> {
        locate(self, event_ids)
    }

    fn heads(&mut self, aggregate_ids: &[Uuid]) -> Result<HashMap<Uuid, Head>> {
        heads(self, aggregate_ids)
    }
}

/// The types, tenants and versions of aggregates, archived or not, without those that have no events.
pub(crate) fn heads<C: GenericClient>(session: &mut Session<'_, C>, ids: &[Uuid]) -> Result<HashMap<Uuid, Head>> {
    let heads = session.select(sql::HEAD, &[&ids], |row| {
        Ok((get(row, 0)?, rows::head(&Cells(row), 1)?))
    })?;
    Ok(heads.into_iter().collect())
}

/// The type, the tenant and the version of an aggregate, or `None` if it has no event.
pub(crate) fn head<C: GenericClient>(session: &mut Session<'_, C>, id: Uuid) -> Result<Option<Head>> {
    Ok(heads(session, &[id])?.remove(&id))
}

/// The places of the events with these ids, archived or not.
pub(crate) fn locate<C: GenericClient>(session: &mut Session<'_, C>, ids: &[Uuid]) -> Result<Vec<Located>> {
    session.select(sql::LOCATE, &[&ids], |row| match is_null(row, 13)? {
        true => rows::located(&Cells(row)),
        false => rows::located_archived(&Cells(row), 13),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    #[test]
    fn what_is_more_than_a_message_takes_is_refused_as_input() {
        check_bytes(MOST_BYTES).unwrap();
        assert!(check_bytes(1 << 30).unwrap_err().is_invalid_input());
    }
}
