//! Appending, in one statement: on its own or within a transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use firefly_eventstore_core::backend::{self, AppendSource, Columns, Head, Located, rows};
use firefly_eventstore_core::{Append, Appended, ExpectedVersion, GlobalSequence, Result, Version};
use mysql::prelude::Queryable;
use mysql::{Conn, Value};
use uuid::Uuid;

use crate::error::{classify, driver_error, is_locked, is_lost, is_refused};
use crate::flush;
use crate::insert::{Base, Beginning, Heads, Statement, statements};
use crate::row::{Cells, decode, integer, uuid};
use crate::session::Session;
use crate::sql::{self, Layout};

/// Appends in a statement of its own. One round trip, unless the append conflicts or a version must be looked up.
pub(crate) fn alone(session: &mut Session<'_, Conn>, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    repeated(session, appends, false, TRANSACTION).map_err(|error| error.during(backend::describe(appends)))
}

/// Appends within a transaction. The transaction goes on if the append fails, unless it was the victim of a deadlock. A failed statement
/// leaves nothing behind.
pub(crate) fn within<C: Queryable>(session: &mut Session<'_, C>, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
    let savepoint = [
        "SAVEPOINT firefly_append",
        "RELEASE SAVEPOINT firefly_append",
        "ROLLBACK TO SAVEPOINT firefly_append",
    ];
    repeated(session, appends, true, savepoint).map_err(|error| error.during(backend::describe(appends)))
}

/// The statements that begin, end and undo several statements of which all or none are stored.
type Brackets = [&'static str; 3];

const TRANSACTION: Brackets = ["START TRANSACTION", "COMMIT", "ROLLBACK"];

/// How often an append may conflict at the same versions although no conflicting event is found.
///
/// It happens if the conflicting transaction is rolled back before the check. If it happens again and again, another program has added a
/// unique key to the table.
#[derive(Default)]
struct Unexplained {
    bases: Vec<Base>,
    times: usize,
}

impl Unexplained {
    const MOST: usize = 20;

    fn is_too_often(&mut self, bases: Vec<Base>) -> bool {
        if self.bases != bases {
            *self = Self { bases, times: 0 };
        }
        self.times += 1;
        self.times > Self::MOST
    }
}

fn repeated<C: Queryable>(
    session: &mut Session<'_, C>,
    appends: &[Append<'_>],
    goes_on: bool,
    brackets: Brackets,
) -> Result<Vec<Appended>> {
    if appends.iter().all(|append| append.events.is_empty()) {
        return backend::with_versions(session, appends, HashMap::new());
    }
    let mut unexplained = Unexplained::default();
    for _ in 0..backend::MOST_ATTEMPTS {
        let mut refusal = None;
        if let Some(bases) = bases(session, appends)? {
            let beginning = match goes_on {
                true => Beginning::turns_of(appends),
                false => Beginning::Gate,
            };
            let statements = statements(&session.server, appends, &bases, beginning)?;
            match run(session, statements, brackets) {
                Ok(sequences) => return results(session, appends, &bases, sequences),
                Err(error) if is_refused(&error) => refusal = Some((error, bases)),
                Err(error) => return Err(classify(error)),
            }
        }
        if let Some(results) = explain(session, appends, goes_on)? {
            return Ok(results);
        }
        session.server.looks_for_archived = has_archived(session)?;
        // The conflicting append was rolled back, or this attempt takes it into account. Try again.
        if let Some((error, bases)) = refusal
            && unexplained.is_too_often(bases)
        {
            return Err(classify(error));
        }
    }
    Err(backend::outpaced())
}

/// Appends for several callers at once, each to one aggregate. Appends to the same aggregate must be next to each other. Returns `None` for
/// those whose aggregate does not have the expected version.
pub(crate) fn together(session: &mut Session<'_, Conn>, appends: &[Append<'_>]) -> Result<Vec<Option<Appended>>> {
    if let Some(results) = together_as_expected(session, appends)? {
        return Ok(results.into_iter().map(Some).collect());
    }
    let mut ids: Vec<Uuid> = appends.iter().map(|append| append.aggregate.id()).collect();
    ids.dedup();
    let looks_for_archived = session.server.looks_for_archived;
    let heads = locked_heads(session, &ids, UNLESS_LOCKED, looks_for_archived)?;
    let mut bases = Vec::with_capacity(appends.len());
    let mut last: Option<(Uuid, Option<Version>)> = None;
    for append in appends {
        let id = append.aggregate.id();
        let version = match last {
            Some((same, end)) if same == id => end,
            _ => Head::admit(heads.get(&id), append).ok(),
        };
        let end = version.and_then(|version| version.checked_add(append.events.len() as u64));
        last = Some((id, end));
        let base = version.filter(|_| end.is_some());
        bases.push(base.map(|version| Base { version, is_seen: true }));
    }
    let admitted = appends.iter().zip(&bases);
    let (admitted, seen): (Vec<Append<'_>>, Vec<Base>) =
        admitted.filter_map(|(append, base)| Some((*append, (*base)?))).unzip();
    if admitted.is_empty() {
        return Ok(vec![None; appends.len()]);
    }
    let statements = statements(&session.server, &admitted, &seen, Beginning::Gate)?;
    let mut sequences = run(session, statements, TRANSACTION).map_err(classify)?.into_iter();
    let results = appends.iter().zip(bases);
    Ok(results
        .map(|(append, base)| base.map(|base| base.appended(append, &mut sequences)))
        .collect())
}

/// The most aggregates that are looked up within the statement that appends to them.
const HEADS_WITHIN: usize = 64;

/// Appends for several callers in one round trip. None if an aggregate is not as expected or another transaction appends to it, or if an
/// append does not say which version it expects.
fn together_as_expected(session: &mut Session<'_, Conn>, appends: &[Append<'_>]) -> Result<Option<Vec<Appended>>> {
    // A statement that inserts into a partitioned log cannot read the keys.
    if session.server.looks_for_archived || session.server.layout == Layout::Partitioned {
        return Ok(None);
    }
    let mut bases: Vec<Base> = Vec::with_capacity(appends.len());
    let mut heads = Vec::new();
    let mut last: Option<(Uuid, Version)> = None;
    for append in appends {
        let id = append.aggregate.id();
        let version = match (last, append.expected) {
            (Some((same, end)), _) if same == id => end,
            (_, ExpectedVersion::NoStream) => Version::ZERO,
            (_, ExpectedVersion::Exact(version)) => version,
            (_, ExpectedVersion::Any | ExpectedVersion::Exists) => return Ok(None),
        };
        let Some(end) = version.checked_add(append.events.len() as u64) else {
            return Ok(None);
        };
        if last.is_none_or(|(other, _)| other != id) {
            heads.push((append, version));
        }
        last = Some((id, end));
        bases.push(Base { version, is_seen: true });
    }
    if heads.len() > HEADS_WITHIN {
        return Ok(None);
    }
    let beginning = Beginning::HeadsAndGate(Heads::of(&heads));
    let statements = statements(&session.server, appends, &bases, beginning)?;
    match run(session, statements, TRANSACTION) {
        Ok(sequences) => {
            let mut sequences = sequences.into_iter();
            let results = appends.iter().zip(bases);
            Ok(Some(
                results
                    .map(|(append, base)| base.appended(append, &mut sequences))
                    .collect(),
            ))
        }
        Err(error) if is_refused(&error) || is_locked(&error) => Ok(None),
        Err(error) => Err(classify(error)),
    }
}

/// Fails if another transaction has locked the row, because it has not committed the row yet.
const UNLESS_LOCKED: &str = "\n/*!80000 FOR SHARE NOWAIT *//*M!100600 LOCK IN SHARE MODE NOWAIT */";

/// Runs the statements. A single statement needs no savepoint or transaction of its own.
fn run<C: Queryable>(
    session: &mut Session<'_, C>,
    statements: Vec<Statement>,
    [begin, end, undo]: Brackets,
) -> Result<Vec<GlobalSequence>, mysql::Error> {
    let is_alone = statements.len() == 1;
    if !is_alone {
        session.client.query_drop(begin)?;
    }
    let run = || {
        let mut sequences = Vec::new();
        for statement in statements {
            sequences.extend(statement.run(session)?);
        }
        if !is_alone {
            session.client.query_drop(end)?;
        }
        Ok(sequences)
    };
    let result = run();
    if result.is_err() && !is_alone {
        // This fails after a deadlock, which has undone everything already.
        let undone = session.client.query_drop(undo);
        if let Some(lost) = undone.err().filter(is_lost) {
            return Err(lost);
        }
    }
    result
}

/// The version before the first event of each append. Appends with any expected version need a look-up, one round trip for all. Returns
/// `None` if an aggregate does not have the expected version.
fn bases<C: Queryable>(session: &mut Session<'_, C>, appends: &[Append<'_>]) -> Result<Option<Vec<Base>>> {
    let is_open = |append: &&Append<'_>| {
        matches!(append.expected, ExpectedVersion::Any | ExpectedVersion::Exists) && !append.events.is_empty()
    };
    let ids: Vec<Uuid> = appends
        .iter()
        .filter(is_open)
        .map(|append| append.aggregate.id())
        .collect();
    let heads = match ids.is_empty() {
        true => HashMap::new(),
        false => {
            let (locking, looks_for_archived) = (locking(session), session.server.looks_for_archived);
            locked_heads(session, &ids, locking, looks_for_archived)?
        }
    };
    let mut bases = Vec::with_capacity(appends.len());
    for append in appends {
        let (version, is_seen) = match append.expected {
            _ if append.events.is_empty() => (Version::ZERO, false),
            ExpectedVersion::NoStream => (Version::ZERO, false),
            ExpectedVersion::Exact(version) => (version, false),
            ExpectedVersion::Any | ExpectedVersion::Exists => {
                match Head::admit(heads.get(&append.aggregate.id()), append) {
                    Ok(version) => (version, true),
                    Err(_) => return Ok(None),
                }
            }
        };
        bases.push(Base { version, is_seen });
    }
    Ok(Some(bases))
}

/// The results of rows in the order of the events.
fn results<C: Queryable>(
    session: &mut Session<'_, C>,
    appends: &[Append<'_>],
    bases: &[Base],
    sequences: Vec<GlobalSequence>,
) -> Result<Vec<Appended>> {
    let mut sequences = sequences.into_iter();
    let mut results = HashMap::with_capacity(appends.len());
    for (append, base) in appends
        .iter()
        .zip(bases)
        .filter(|(append, _)| !append.events.is_empty())
    {
        let result = base.appended(append, &mut sequences);
        results.insert(append.aggregate.id(), result);
    }
    backend::with_versions(session, appends, results)
}

/// Finds out why an append was refused. It may have been a repeated one. Returns `None` if the conflicting append was rolled back. The
/// stored events in the answer are on the disk.
fn explain<C: Queryable>(
    session: &mut Session<'_, C>,
    appends: &[Append<'_>],
    goes_on: bool,
) -> Result<Option<Vec<Appended>>> {
    let explanation = backend::explain(session, appends);
    let tells_of_rows = match &explanation {
        Ok(results) => results.is_some(),
        Err(error) => driver_error(error).is_none(),
    };
    if tells_of_rows {
        flush::until_flushed(session, goes_on)?;
    }
    explanation
}

impl<C: Queryable> AppendSource for Session<'_, C> {
    fn locate(&mut self, event_ids: &[Uuid]) -> Result<Vec<Located>> {
        located(self, event_ids)
    }

    fn heads(&mut self, aggregate_ids: &[Uuid]) -> Result<HashMap<Uuid, Head>> {
        heads(self, aggregate_ids)
    }
}

/// How many aggregates, and how many event ids, one statement looks up.
const HEADS_AT_ONCE: usize = 64;
const IDS_AT_ONCE: usize = 4_096;

/// The types, tenants and versions of aggregates, archived or not, without those that have no events.
pub(crate) fn heads<C: Queryable>(session: &mut Session<'_, C>, ids: &[Uuid]) -> Result<HashMap<Uuid, Head>> {
    let locking = locking(session);
    locked_heads(session, ids, locking, true)
}

/// Whether any event is archived. A row of the gates records it for appends.
pub(crate) fn has_archived<C: Queryable>(session: &mut Session<'_, C>) -> Result<bool> {
    let statement = format!("{}{}", sql::HAS_ARCHIVED.trim_end(), locking(session));
    let rows = session.query(&statement, Vec::new()).map_err(classify)?;
    Ok(decode(&rows, |row| integer(row, 0))?.contains(&1))
}

fn locked_heads<C: Queryable>(
    session: &mut Session<'_, C>,
    ids: &[Uuid],
    locking: &str,
    with_archived: bool,
) -> Result<HashMap<Uuid, Head>> {
    let mut heads = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(HEADS_AT_ONCE) {
        let ids = sql::padded(ids.to_vec(), Uuid::nil());
        let archived = format!("{} {}", sql::HEAD_ARCHIVED.trim_end(), sql::list(ids.len()));
        let live = vec![sql::HEAD.trim_end(); ids.len()];
        let all = live.into_iter().chain(with_archived.then_some(&*archived));
        let all: Vec<String> = all.map(|one| format!("({one}{locking})")).collect();
        let again = if with_archived { &ids[..] } else { &[] };
        let ids = ids.iter().chain(again).map(|id| Value::from(*id)).collect();
        let rows = session.query(&all.join("\nUNION ALL\n"), ids);
        for (id, head) in decode(&rows.map_err(classify)?, |row| {
            Ok((uuid(row, 0)?, rows::head(&Cells(row), 1)?))
        })? {
            match heads.entry(id) {
                Entry::Vacant(place) => drop(place.insert(head)),
                // Archived events come before those in the log.
                Entry::Occupied(mut entry) if entry.get().version < head.version => drop(entry.insert(head)),
                Entry::Occupied(_) => {}
            }
        }
    }
    Ok(heads)
}

/// The type, the tenant and the version of an aggregate, archived or not, or `None` if it has no event.
pub(crate) fn head<C: Queryable>(session: &mut Session<'_, C>, id: Uuid) -> Result<Option<Head>> {
    Ok(heads(session, &[id])?.remove(&id))
}

/// The places of the events with these ids, in the log or archived.
pub(crate) fn located<C: Queryable>(session: &mut Session<'_, C>, ids: &[Uuid]) -> Result<Vec<Located>> {
    let mut located = Vec::new();
    let locate = match session.server.layout {
        Layout::Whole => sql::LOCATE,
        Layout::Partitioned => sql::LOCATE_PARTITIONED,
    };
    for ids in ids.chunks(IDS_AT_ONCE) {
        let statement = locate.replace("{list}", &sql::list(ids.len()));
        let statement = statement.replace("{locking}", locking(session));
        let ids = sql::padded(ids.iter().map(|id| Value::from(*id)).collect(), Value::NULL);
        let rows = session.query(&statement, [&ids[..], &ids[..]].concat());
        located.extend(decode(&rows.map_err(classify)?, |row| {
            match Cells(row).optional_time(9)? {
                Some(_) => rows::located(&Cells(row)),
                None => rows::located_archived(&Cells(row), 6),
            }
        })?);
    }
    Ok(located)
}

fn locking<C>(session: &Session<'_, C>) -> &'static str {
    match session.locks {
        true => "\nLOCK IN SHARE MODE",
        false => "",
    }
}
