//! Importing: events are stored exactly as they are, while no other session writes events.

use firefly_eventstore_core::backend::tables::archives_between;
use firefly_eventstore_core::{
    CausationId, Checksum, CorrelationId, CreatedBy, EventEnvelope, GlobalSequence, Metadata, Result, TenantId, backend,
};
use postgres::Transaction;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use uuid::Uuid;

use crate::append::{heads, locate};
use crate::error::classify;
use crate::read::end_of_log;
use crate::session::Session;
use crate::sql;

/// Stores checked events, the last of which has this sequence.
///
/// Imported events may have sequences that were allocated before, if appends with these sequences were rolled back. So an interrupted
/// import can be repeated, although the sequence is then ahead of the log. This is safe because:
///
/// - A transaction locks the table before it allocates a sequence, until it ends. When the import has its own lock, all such transactions
///   have ended, and later ones wait before they announce themselves. So no allocated sequence can still be committed. A sequence that is
///   missing now stays missing.
/// - Every mark that a reader has got or a store has cached is the sequence of a committed event. So none is greater than the last sequence
///   of the log, which is read here when every commit is visible. All imported events come after it. (If somebody deleted the last events,
///   the log ends earlier. Therefore the mark that this store has proved counts, too.)
/// - A reader that takes the mark during the import sees all of the import or nothing, because one statement reads the rows last. Before
///   the commit it sees the old end of the log. After the commit it sees an imported event, and everything before it is there. If the
///   reader read the sequence before the import began and that number lies within the import, the reader stops before the import, or within
///   it at a hole, as with an append. The next mark is beyond.
/// - The sequence is advanced before the commit, after which others can append. They announce and get later sequences.
pub(crate) fn import(
    session: &mut Session<'_, Transaction<'_>>,
    events: &[EventEnvelope],
    last: GlobalSequence,
    given_away: GlobalSequence,
) -> Result<()> {
    session.client.batch_execute(sql::LOCK_EVENTS).map_err(classify)?;
    let end = end_of_log(session)?.max(given_away);
    let heads = heads(session, &backend::aggregate_ids(events))?;
    backend::admit_import(events, end, &heads)?;
    refuse_archived(session, events)?;
    copy(session, events).map_err(classify)?;
    session
        .query(sql::ADVANCE_SEQUENCE, &[&last.as_i64()])
        .map_err(classify)?;
    Ok(())
}

/// Refuses events that have the ids of archived events. The keys of the log do not prevent that.
fn refuse_archived(session: &mut Session<'_, Transaction<'_>>, events: &[EventEnvelope]) -> Result<()> {
    if archives_between(session, GlobalSequence::ZERO, GlobalSequence::MAX)?.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    let found = locate(session, &ids)?;
    match found.is_empty() {
        true => Ok(()),
        false => Err(backend::refuse_import(events, &found)),
    }
}

/// The types of the columns of `import.sql`, in their order.
const IMPORTED: [Type; 15] = [
    Type::UUID,
    Type::UUID,
    Type::VARCHAR,
    Type::INT8,
    Type::INT8,
    Type::VARCHAR,
    Type::TEXT,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::VARCHAR,
    Type::VARCHAR,
    Type::VARCHAR,
    Type::VARCHAR,
    Type::VARCHAR,
];

/// The binary form of JSONB: its version, and the text.
fn jsonb(text: &str) -> String {
    format!("\u{1}{text}")
}

/// Stores events as they are.
pub(crate) fn copy<'e>(
    session: &mut Session<'_, Transaction<'_>>,
    events: impl IntoIterator<Item = &'e EventEnvelope>,
) -> Result<(), postgres::Error> {
    let mut rows = BinaryCopyInWriter::new(session.client.copy_in(sql::IMPORT)?, &IMPORTED);
    for event in events {
        rows.write(&[
            &event.event_id,
            &event.aggregate.id(),
            &event.aggregate.aggregate_type().as_str(),
            &event.version.as_i64(),
            &event.global_sequence.as_i64(),
            &event.event_type.as_str(),
            &jsonb(event.data.as_str()),
            &event.metadata.as_ref().map(Metadata::as_str).map(jsonb),
            &event.created_at,
            &event.updated_at,
            &event.created_by.as_ref().map(CreatedBy::as_str),
            &event.tenant.as_ref().map(TenantId::as_str),
            &event.correlation_id.as_ref().map(CorrelationId::as_str),
            &event.causation_id.as_ref().map(CausationId::as_str),
            &event.checksum.as_ref().map(Checksum::to_string),
        ])?;
    }
    rows.finish().map(drop)
}
