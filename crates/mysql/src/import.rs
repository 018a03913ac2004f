//! Importing: events are stored exactly as they are.

use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::backend::{Columns as _, ImportTarget};
use firefly_eventstore_core::{
    CausationId, CorrelationId, CreatedBy, Error, EventEnvelope, GlobalSequence, Metadata, Result, TenantId, backend,
};
use mysql::Value;
use mysql::prelude::Queryable;

use crate::error::classify;
use crate::insert::{MOST_PLACEHOLDERS, ROW_TEXT, STATEMENT_OVERHEAD, VALUE_OVERHEAD, turns};
use crate::row::time_value;
use crate::session::{Server, Session};
use crate::{read, sql};

/// The transaction is `READ COMMITTED`, and has done nothing yet.
///
/// Readers skip no imported sequence, as they skip none of an append. A reader passes a sequence in only two ways. One is by rows without a
/// gap between them: then the row exists. The other is by a grace period: the reader noted the greatest sequence N that it saw, and then
/// saw each gate free. If it noted N before the import took its gate, the row N was committed before the import read the end of the log,
/// with a snapshot that is younger than the gate. So the end was at least N, and every imported event is after N. If it noted N after that,
/// it sees this gate free only when the import has ended. Then it reads the imported rows, or they were rolled back. The order matters: if
/// the end was read before the gate was taken, another session could commit a later event in between, and a reader could pass the sequences
/// that are still to be imported.
///
/// Sequences after the end may have been allocated already. If their appends were rolled back, no reader has passed them, because a mark is
/// the sequence of a row. If their appends are still active, two transactions want the same sequence. The second waits for the first, and
/// fails if the first commits. An append then takes a later sequence, but an import fails. InnoDB never allocates a sequence at or below an
/// imported one.
impl<C: Queryable> ImportTarget for Session<'_, C> {
    fn hold_writers(&mut self, events: &[EventEnvelope]) -> Result<GlobalSequence> {
        // Turns come before the gate, as in appends within a transaction: while a transaction waits for a turn, it does not hold the mark
        // back.
        let turns = turns(backend::aggregate_ids(events).into_iter());
        let turn = sql::APPEND_TURN.trim_end().replace("{list}", &sql::list(turns.len()));
        lock(self, &turn, sql::padded(turns, Value::NULL))?;
        self.server.looks_for_archived = lock(self, sql::APPEND_GATE.trim_end(), Vec::new())? != 0;
        read::end(self)
    }

    /// As the gate said.
    fn has_archived(&mut self) -> Result<bool> {
        Ok(self.server.looks_for_archived)
    }

    fn insert(&mut self, events: &[EventEnvelope]) -> Result<()> {
        insert(self, &events.iter().collect::<Vec<_>>())
    }
}

/// Inserts events as they are, with their sequences, in as few statements as possible.
pub(crate) fn insert<C: Queryable>(session: &mut Session<'_, C>, events: &[&EventEnvelope]) -> Result<()> {
    for statement in statements(&session.server, events)? {
        session.execute(&statement.sql, statement.values).map_err(classify)?;
    }
    Ok(())
}

/// Runs a locking subquery, and returns its result.
fn lock<C: Queryable>(session: &mut Session<'_, C>, subquery: &str, values: Vec<Value>) -> Result<i64> {
    match session
        .select(&format!("SELECT {subquery}"), values, |row| row.optional_integer(0))?
        .as_slice()
    {
        [Some(told)] => Ok(*told),
        _ => Err(altered("a row of firefly_gate is missing")),
    }
}

/// An `INSERT` of as many rows as fit in a statement.
struct Statement {
    sql: String,
    values: Vec<Value>,
    bytes: usize,
}

/// The placeholders of a row.
const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const ROW_PLACEHOLDERS: usize = 15;

fn statements(server: &Server, events: &[&EventEnvelope]) -> Result<Vec<Statement>> {
    let room = server.packet.saturating_sub(STATEMENT_OVERHEAD);
    let mut statements: Vec<Statement> = Vec::new();
    for event in events {
        let bytes = bytes_of(event);
        if bytes > room {
            return Err(Error::invalid(format!(
                "the event {} needs {bytes} bytes, and the server takes packets of {} (max_allowed_packet)",
                event.event_id, server.packet
            )));
        }
        match statements.last_mut() {
            Some(last) if last.values.len() + ROW_PLACEHOLDERS <= MOST_PLACEHOLDERS && last.bytes + bytes <= room => {
                last.sql += ",\n";
                last.add(event, bytes);
            }
            _ => {
                let mut next = Statement {
                    sql: sql::IMPORT.to_owned(),
                    values: Vec::new(),
                    bytes: 0,
                };
                next.add(event, bytes);
                statements.push(next);
            }
        }
    }
    Ok(statements)
}

fn bytes_of(event: &EventEnvelope) -> usize {
    let texts = [
        Some(event.data.as_str()),
        event.metadata.as_ref().map(Metadata::as_str),
        event.created_by.as_ref().map(CreatedBy::as_str),
        event.tenant.as_ref().map(TenantId::as_str),
        event.correlation_id.as_ref().map(CorrelationId::as_str),
        event.causation_id.as_ref().map(CausationId::as_str),
        Some(event.aggregate.aggregate_type().as_str()),
        Some(event.event_type.as_str()),
    ];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    texts + ROW_TEXT + ROW_PLACEHOLDERS * VALUE_OVERHEAD
}

impl Statement {
    fn add(&mut self, event: &EventEnvelope, bytes: usize) {
        self.sql += ROW;
        self.bytes += bytes;
        self.values.extend::<[Value; ROW_PLACEHOLDERS]>([
            event.event_id.into(),
            event.aggregate.id().into(),
            event.aggregate.aggregate_type().as_str().into(),
            event.version.as_i64().into(),
            event.global_sequence.as_i64().into(),
            event.event_type.as_str().into(),
            event.data.as_str().into(),
            event.metadata.as_ref().map(Metadata::as_str).into(),
            time_value(event.created_at),
            event.updated_at.map_or(Value::NULL, time_value),
            event.created_by.as_ref().map(CreatedBy::as_str).into(),
            event.tenant.as_ref().map(TenantId::as_str).into(),
            event.correlation_id.as_ref().map(CorrelationId::as_str).into(),
            event.causation_id.as_ref().map(CausationId::as_str).into(),
            event.checksum.map(|checksum| checksum.to_string()).into(),
        ]);
    }
}
