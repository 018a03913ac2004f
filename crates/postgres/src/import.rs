//! Importing: events are stored exactly as they are, while no other session writes events.

use firefly_eventstore_core::backend::ImportTarget;
use firefly_eventstore_core::{
    CausationId, Checksum, CorrelationId, CreatedBy, EventEnvelope, GlobalSequence, Metadata, Result, TenantId,
};
use postgres::Transaction;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;

use crate::error::classify;
use crate::read::end_of_log;
use crate::session::Session;
use crate::sql;

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
impl ImportTarget for Session<'_, Transaction<'_>> {
    fn hold_writers(&mut self, _events: &[EventEnvelope]) -> Result<GlobalSequence> {
        self.client.batch_execute(sql::LOCK_EVENTS).map_err(classify)?;
        end_of_log(self)
    }

    fn insert(&mut self, events: &[EventEnvelope]) -> Result<()> {
        copy(self, events).map_err(classify)?;
        let last = events
            .last()
            .map_or(GlobalSequence::ZERO, |event| event.global_sequence);
        self.query(sql::ADVANCE_SEQUENCE, &[&last.as_i64()])
            .map(drop)
            .map_err(classify)
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
