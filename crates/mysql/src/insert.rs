//! The statements that insert appended events, and what each checks while it inserts.

use std::collections::BTreeSet;

use firefly_eventstore_core::{
    Append, Appended, CausationId, CorrelationId, CreatedBy, Error, GlobalSequence, Metadata, NewEvent, Result,
    TenantId, Version,
};
use mysql::Value;
use mysql::prelude::Queryable;
use uuid::Uuid;

use crate::row::{self, integer};
use crate::session::{Server, Session};
use crate::sql::{self, Layout};

/// The statements that insert these events after those versions; one, unless it would be too large. Only the first has the beginning.
pub(crate) fn statements(
    server: &Server,
    appends: &[Append<'_>],
    bases: &[Base],
    beginning: Beginning,
) -> Result<Vec<Statement>> {
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

/// The version before the first event of an append.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) version: Version,
    /// Whether the version was looked up. Otherwise the statement looks it up.
    pub(crate) is_seen: bool,
}

impl Base {
    /// The result of an append on top of this version, with the next sequences.
    pub(crate) fn appended(
        self,
        append: &Append<'_>,
        sequences: &mut impl Iterator<Item = GlobalSequence>,
    ) -> Appended {
        let stored = sequences.take(append.events.len()).collect();
        let version = self.version.checked_add(append.events.len() as u64);
        let version = version.expect("the database stored this version");
        Appended::new(append.aggregate.clone(), version, stored)
    }
}

/// What the first row of a statement does in addition, while its version is computed.
pub(crate) enum Beginning {
    Gate,
    /// Of a transaction that goes on: it waits for its aggregates' turns, all at once and in their order, before it locks anything else.
    TurnsAndGate(Vec<Value>),
    HeadsAndGate(Heads),
}

impl Beginning {
    pub(crate) fn turns_of(appends: &[Append<'_>]) -> Self {
        let appends = appends.iter().filter(|append| !append.events.is_empty());
        Self::TurnsAndGate(turns(appends.map(|append| append.aggregate.id())))
    }
}

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

/// An SQL number and its values. It is NULL unless the aggregates are at the expected versions.
pub(crate) struct Heads {
    sql: String,
    values: Vec<Value>,
}

impl Heads {
    pub(crate) fn of(heads: &[(&Append<'_>, Version)]) -> Self {
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

/// The most placeholders in a statement.
pub(crate) const MOST_PLACEHOLDERS: usize = 65_535;

/// The most placeholders of a row, and the most bytes of its text, including the turns and the check of archives.
const ROW_PLACEHOLDERS: usize = 24;
pub(crate) const ROW_TEXT: usize = 1_024;

/// The bytes that a value adds to a packet besides itself: its type, its length, and whether it is NULL.
pub(crate) const VALUE_OVERHEAD: usize = 12;

/// The room in a packet for the beginning of the statement and the turns.
pub(crate) const STATEMENT_OVERHEAD: usize = 32_768;

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

/// An `INSERT` of as many rows as fit in a statement.
pub(crate) struct Statement {
    sql: String,
    values: Vec<Value>,
    unless_archived: UnlessArchived,
    rows: usize,
    bytes: usize,
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
    pub(crate) fn run<C: Queryable>(self, session: &mut Session<'_, C>) -> Result<Vec<GlobalSequence>, mysql::Error> {
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

/// What must not be archived when a statement stores its rows.
#[derive(Default)]
struct UnlessArchived {
    /// Where the condition is inserted into the text and the values of the first row. `None` if that row has its own.
    at: Option<(usize, usize)>,
    event_ids: Vec<Uuid>,
    /// Aggregates, with the version up to which each may be archived.
    streams: Vec<(Uuid, i64)>,
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

/// The id with all bits inverted. In practice no event has it.
fn another(id: Uuid) -> Uuid {
    Uuid::from_u128(!id.as_u128())
}
