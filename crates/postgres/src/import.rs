//! Importing: events are stored exactly as they are, while nobody else writes any.

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

/// Stores events that were checked, the last of which has this sequence.
///
/// Imported events may have sequences at or before the last allocated one, where rolled-back appends left holes. This lets an import be
/// repeated that was cut off: by then, the sequence is ahead of the log. What makes that safe:
///
/// - A transaction locks the table before it allocates a sequence, and until it ends. Once the import has its own lock, all of these have
///   ended, and later ones wait before they announce themselves. So no allocated sequence can still be committed, and a sequence that is
///   missing now is missing for ever.
/// - A mark that was given away, kept by a reader or cached as proved, is the sequence of a committed event, never one beyond. So
///   none is greater than the last of the log, which is looked at here with every commit in sight, and all that is imported comes
///   after each. (A log whose last events somebody deleted is shorter than that: hence what this store proved counts, too.)
/// - A reader that takes the mark meanwhile sees all of the import or nothing, because it looks at the rows last, in one statement:
///   before the commit the last of the log as it was, after it an imported event, and nothing that is below it is missing.
///   If the sequence that the reader saw, before this began, lies within the import, the reader stops before it, or, at a hole
///   of the import's own, in its midst, as it may with an append; the next mark is beyond.
/// - The sequence is advanced before the commit, which lets others append: they announce, and get, what comes after.
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

/// Refuses events with the ids of archived ones, which no key of the log is in the way of.
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

/// The types of the columns of `import.sql`, as they are sent.
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
