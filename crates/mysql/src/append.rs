//! Appending, in one statement: on its own or within a transaction.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use firefly_eventstore_core::backend::{self, AppendSource, Columns, Head, Located, rows};
use firefly_eventstore_core::{
    Append, Appended, CausationId, CorrelationId, CreatedBy, Error, ErrorKind, ExpectedVersion, GlobalSequence,
    Metadata, NewEvent, Result, TenantId, Version,
};
use mysql::prelude::Queryable;
use mysql::{Conn, Value};
use uuid::Uuid;

use crate::error::{classify, driver_error, is_locked, is_lost, is_refused};
use crate::flush;
use crate::row::{self, Cells, decode, integer, uuid};
use crate::session::{Server, Session};
use crate::sql::{self, Layout};

/// How often an append is repeated because another append was faster. Each repetition means that another append succeeded. So many in a row
/// show that something else is wrong.
const MOST_ATTEMPTS: usize = 1_000;

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
    for _ in 0..MOST_ATTEMPTS {
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
    Err(Error::new(ErrorKind::Unavailable {
        reason: "other appends to the aggregate, or to the event ids, were always faster".into(),
    }))
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

/// The version before the first event of an append.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Base {
    version: Version,
    /// Whether the version was looked up. Otherwise the statement looks it up.
    is_seen: bool,
}

impl Base {
    /// The result of an append on top of this version, with the next sequences.
    fn appended(self, append: &Append<'_>, sequences: &mut impl Iterator<Item = GlobalSequence>) -> Appended {
        let stored = sequences.take(append.events.len()).collect();
        let version = self.version.checked_add(append.events.len() as u64);
        let version = version.expect("the database stored this version");
        Appended::new(append.aggregate.clone(), version, stored)
    }
}

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

/// An `INSERT` of as many rows as fit in a statement.
struct Statement {
    sql: String,
    values: Vec<Value>,
    unless_archived: UnlessArchived,
    rows: usize,
    bytes: usize,
}

/// What must not be archived when a statement stores its rows.
#[derive(Default)]
struct UnlessArchived {
    /// Where in the text, and among the values, it is asked: in the first row. None if the first row asks it itself.
    at: Option<(usize, usize)>,
    event_ids: Vec<Uuid>,
    /// Aggregates, with the version up to which each may be archived.
    streams: Vec<(Uuid, i64)>,
}

/// The most placeholders in a statement.
pub(crate) const MOST_PLACEHOLDERS: usize = 65_535;

/// The most placeholders of a row, and the most bytes of its text, including the turns and the check of archives.
const ROW_PLACEHOLDERS: usize = 24;
pub(crate) const ROW_TEXT: usize = 1_024;

/// The bytes that a value adds to a packet besides itself: its type, its length, and whether it is NULL.
pub(crate) const VALUE_OVERHEAD: usize = 12;

/// The room in a packet for the beginning of the statement and the turns.
pub(crate) const STATEMENT_OVERHEAD: usize = 32_768;

/// The number of rows in `firefly_turn`.
pub(crate) const TURNS: u16 = 1_000;

/// The rows of `firefly_turn` for these aggregates. A transaction locks them one after the other and holds them until it ends. Different
/// aggregates rarely share a row.
pub(crate) fn turns(ids: impl Iterator<Item = Uuid>) -> Vec<Value> {
    let turns: BTreeSet<u128> = ids.map(|id| id.as_u128() % u128::from(TURNS)).collect();
    turns
        .into_iter()
        .map(|turn| i64::try_from(turn).expect("there are not so many"))
        .map(Value::from)
        .collect()
}

/// The statements that append these events on top of those versions: one, unless it would be too large. The beginning is the first one's.
fn statements(server: &Server, appends: &[Append<'_>], bases: &[Base], beginning: Beginning) -> Result<Vec<Statement>> {
    let room = server.packet.saturating_sub(STATEMENT_OVERHEAD);
    let mut statements: Vec<Statement> = Vec::new();
    let mut first = Some(beginning);
    for (append, base) in appends.iter().zip(bases) {
        for (event, step) in append.events.iter().zip(0..) {
            let bytes = bytes_of(append, event);
            if bytes > room {
                return Err(Error::invalid(format!(
                    "the event {} needs {bytes} bytes, and the server takes packets of {} (max_allowed_packet)",
                    event.event_id(),
                    server.packet
                )));
            }
            let last = statements.last_mut().filter(|last| {
                last.placeholders() + ROW_PLACEHOLDERS <= MOST_PLACEHOLDERS && last.bytes + bytes <= room
            });
            let begins = last.is_none();
            let statement = match last {
                Some(statement) => statement,
                None => {
                    statements.push(Statement::new());
                    statements.last_mut().expect("one was added")
                }
            };
            statement.bytes += bytes;
            // There is no version after the greatest one. NULL is refused.
            let before = base.version.checked_add(step);
            let beginning = begins.then(|| first.take().unwrap_or(Beginning::Gate));
            statement.add(server, append, event, before, beginning, step == 0, base.is_seen);
        }
    }
    for statement in &mut statements {
        statement.end(server);
    }
    Ok(statements)
}

fn bytes_of(append: &Append<'_>, event: &NewEvent) -> usize {
    let details = event.details();
    let texts = [
        Some(event.data().as_str()),
        details.metadata.map(Metadata::as_str),
        details.created_by.map(CreatedBy::as_str),
        details.correlation_id.map(CorrelationId::as_str),
        details.causation_id.map(CausationId::as_str),
        Some(event.event_type().as_str()),
    ];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    // The guarded row has them twice.
    let owner = append.aggregate.aggregate_type().as_str().len() + append.tenant.map_or(0, |name| name.as_str().len());
    texts + 2 * owner + ROW_TEXT + ROW_PLACEHOLDERS * VALUE_OVERHEAD
}

/// What the first row of a statement does in addition, while its version is computed.
enum Beginning {
    Gate,
    /// Of a transaction that goes on: it waits for its aggregates' turns, all at once and in their order, before it locks anything else.
    TurnsAndGate(Vec<Value>),
    HeadsAndGate(Heads),
}

impl Beginning {
    fn turns_of(appends: &[Append<'_>]) -> Self {
        let appends = appends.iter().filter(|append| !append.events.is_empty());
        Self::TurnsAndGate(turns(appends.map(|append| append.aggregate.id())))
    }
}

/// An SQL number and its values. It is NULL unless the aggregates are at the expected versions.
struct Heads {
    sql: String,
    values: Vec<Value>,
}

impl Heads {
    fn of(heads: &[(&Append<'_>, Version)]) -> Self {
        let there = heads.iter().filter(|(_, version)| *version != Version::ZERO).count();
        let values: Vec<[Value; 6]> = heads
            .iter()
            .map(|(append, version)| {
                let (id, version) = (append.aggregate.id(), version.as_i64());
                [
                    id.into(),
                    version.into(),
                    append.aggregate.aggregate_type().as_str().into(),
                    append.tenant.map(TenantId::as_str).into(),
                    id.into(),
                    (version + 1).into(),
                ]
            })
            .collect();
        let values = sql::padded(values, [const { Value::NULL }; 6]);
        let head = sql::APPEND_HEAD.trim_end();
        Self {
            sql: sql::APPEND_HEADS
                .trim_end()
                .replace("{heads}", &vec![head; values.len()].join("\n        OR ")),
            values: std::iter::once(Value::from(there))
                .chain(values.into_iter().flatten())
                .collect(),
        }
    }
}

impl Statement {
    fn new() -> Self {
        Self {
            sql: sql::APPEND.to_owned(),
            values: Vec::new(),
            unless_archived: UnlessArchived::default(),
            rows: 0,
            bytes: 0,
        }
    }

    fn placeholders(&self) -> usize {
        self.values.len() + self.unless_archived.placeholders()
    }

    /// Adds a row; `before` is the version before it.
    #[expect(clippy::too_many_arguments, reason = "a row has that much to it")]
    fn add(
        &mut self,
        server: &Server,
        append: &Append<'_>,
        event: &NewEvent,
        before: Option<Version>,
        beginning: Option<Beginning>,
        first: bool,
        is_seen: bool,
    ) {
        let id = || Value::from(append.aggregate.id());
        let aggregate_type = || Value::from(append.aggregate.aggregate_type().as_str());
        let tenant = || Value::from(append.tenant.map(TenantId::as_str));

        let (begins, is_gate) = (beginning.is_some(), matches!(beginning, Some(Beginning::Gate)));
        self.sql += if begins { "(?, ?, ?, " } else { ",\n(?, ?, ?, " };
        self.values.extend([event.event_id().into(), id(), aggregate_type()]);
        let heads = match beginning {
            Some(Beginning::TurnsAndGate(turns)) => {
                self.sql += "0 * ";
                self.sql += &sql::APPEND_TURN.trim_end().replace("{list}", &sql::list(turns.len()));
                self.sql += " + ";
                self.values.extend(sql::padded(turns, Value::NULL));
                None
            }
            Some(Beginning::HeadsAndGate(heads)) => Some(heads),
            Some(Beginning::Gate) | None => None,
        };
        let is_partitioned = server.layout == Layout::Partitioned;
        let is_guarded =
            !is_partitioned && !is_seen && (first || begins) && before.is_some_and(|before| before != Version::ZERO);
        // The server plans each subquery at every execution. So one subquery reads the version and the gate, unless the transaction first waits
        // for its turn.
        let is_one = is_gate && is_guarded && !server.looks_for_archived;
        let takes_gate_first = server.flavour.evaluates_in_order();
        if begins && takes_gate_first && !is_one {
            self.unless_archived.at = Some((self.sql.len(), self.values.len()));
            self.sql += " + ";
        }
        if server.looks_for_archived && (first || begins) {
            let before = before.map_or(i64::MAX, Version::as_i64);
            self.unless_archived.add_stream(append.aggregate.id(), before);
        }
        if server.looks_for_archived {
            self.unless_archived.event_ids.push(event.event_id());
        }
        match before {
            // The unique key refuses a second first event of an aggregate.
            Some(Version::ZERO) if !is_partitioned && !is_seen => self.sql += "1",
            Some(before) if is_one => {
                self.sql += sql::APPEND_GATE_AND_GUARD.trim_end();
                self.values
                    .extend([aggregate_type(), tenant(), id(), before.as_i64().into()]);
            }
            Some(before) if is_guarded => {
                self.sql += match server.looks_for_archived {
                    true => sql::APPEND_GUARD_ARCHIVED.trim_end(),
                    false => sql::APPEND_GUARD.trim_end(),
                };
                // The last version is in the log, or archived.
                for _ in 0..=usize::from(server.looks_for_archived) {
                    self.values
                        .extend([id(), before.as_i64().into(), aggregate_type(), tenant()]);
                }
            }
            before => {
                // In a partitioned log, a trigger looks up the version before a negative one, and turns it round. A log that lost its
                // triggers, and with them the unique keys, refuses it.
                let sign = if is_partitioned && (first || begins) { -1 } else { 1 };
                let version = before.and_then(|before| before.checked_add(1));
                self.sql += "?";
                self.values.push(version.map(|version| sign * version.as_i64()).into());
            }
        }
        if let Some(Heads { sql, values }) = heads {
            self.sql += " + ";
            self.sql += &sql;
            self.values.extend(values);
        }
        if begins && !takes_gate_first && !is_one {
            self.sql += " + ";
            self.unless_archived.at = Some((self.sql.len(), self.values.len()));
        }
        self.sql += ", ?, ?, ?, COALESCE(?, UTC_TIMESTAMP(6)), ?, ?, ?, ?, ?)";
        let details = event.details();
        self.values.extend([
            event.event_type().as_str().into(),
            event.data().as_str().into(),
            details.metadata.map(Metadata::as_str).into(),
            details.created_at.map_or(Value::NULL, row::time_value),
            details.created_by.map(CreatedBy::as_str).into(),
            tenant(),
            details.correlation_id.map(CorrelationId::as_str).into(),
            details.causation_id.map(CausationId::as_str).into(),
            event.checksum().to_string().into(),
        ]);
        self.rows += 1;
    }

    fn end(&mut self, server: &Server) {
        if let Some((in_text, among_values)) = self.unless_archived.at {
            let (condition, values) = std::mem::take(&mut self.unless_archived).into_sql();
            self.sql.insert_str(in_text, &condition);
            self.values.splice(among_values..among_values, values);
        }
        if self.returns_sequences(server) {
            self.sql += "\nRETURNING global_sequence";
        }
    }

    /// The driver always gets the sequence of a single row, without a result set.
    fn returns_sequences(&self, server: &Server) -> bool {
        self.rows > 1 && server.flavour.returns_sequences()
    }

    /// The sequences of the rows, in their order.
    fn run<C: Queryable>(self, session: &mut Session<'_, C>) -> Result<Vec<GlobalSequence>, mysql::Error> {
        let stored = "the database gives positive sequences";
        if self.returns_sequences(&session.server) {
            let rows = session.query(&self.sql, self.values)?;
            let sequence = |row: &mysql::Row| {
                let sequence = integer(row, 0).expect("the statement returns one integer per row");
                GlobalSequence::try_from(sequence).expect(stored)
            };
            return Ok(rows.iter().map(sequence).collect());
        }
        // The server allocates all sequences of a statement with a known number of rows at once, at a fixed step.
        let first = session.insert(&self.sql, self.values)?;
        let first = first.expect("a statement that inserts rows has allocated sequences");
        let step = session.server.increment.cast_unsigned();
        let sequence = |place: u64| GlobalSequence::new(first + place * step).expect(stored);
        Ok((0..self.rows as u64).map(sequence).collect())
    }
}

impl UnlessArchived {
    fn placeholders(&self) -> usize {
        self.event_ids.len() + 2 * self.streams.len()
    }

    fn add_stream(&mut self, id: Uuid, before: i64) {
        // Appends to the same aggregate are next to each other. The first decides.
        if self.streams.last().is_none_or(|(last, _)| *last != id) {
            self.streams.push((id, before));
        }
    }

    /// Returns SQL for a number, which is NULL if events are archived that must not be, and its values. It takes the gate.
    ///
    /// Appends that do not look for archived events require that no event at all is archived.
    ///
    /// Both lists have an additional entry that equals nothing. With a single key, a server may run the look-up before the statement, and
    /// so before the gate is taken.
    fn into_sql(self) -> (String, Vec<Value>) {
        let Self {
            mut event_ids,
            mut streams,
            ..
        } = self;
        if event_ids.is_empty() {
            let condition = format!("CASE {} WHEN 0 THEN 0 END", sql::APPEND_GATE.trim_end());
            return (condition, Vec::new());
        }
        event_ids.extend(event_ids.first().copied().map(another));
        streams.extend(streams.first().map(|(id, _)| (another(*id), i64::MAX)));
        let list = vec!["?"; event_ids.len()].join(", ");
        let stream = "(aggregate_id = ? AND version > ?)";
        let condition = sql::APPEND_UNLESS_ARCHIVED
            .trim_end()
            .replace("{gate}", sql::APPEND_GATE.trim_end())
            .replace("{list}", &format!("({list})"))
            .replace("{streams}", &vec![stream; streams.len()].join(" OR "));
        let streams = streams.into_iter().flat_map(|(id, before)| [id.into(), before.into()]);
        let values = event_ids.into_iter().map(Value::from).chain(streams);
        (condition, values.collect())
    }
}

/// A different id.
fn another(id: Uuid) -> Uuid {
    if id.is_nil() { Uuid::max() } else { Uuid::nil() }
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
fn has_archived<C: Queryable>(session: &mut Session<'_, C>) -> Result<bool> {
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
