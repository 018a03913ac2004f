//! The format of events in a file: JSON, with the names that the columns of a database have.

use firefly_eventstore_core::backend::{damaged, parse_time, time_text};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{AggregateType, CausationId, Checksum, CorrelationId, CreatedBy, EventData};
use serde::{Deserialize, Serialize};

/// The version of the format. Every file has it, so that later formats can be distinguished.
pub(crate) const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Transaction {
    format: u32,
    events: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    global_sequence: GlobalSequence,
    event_id: Uuid,
    aggregate_id: Uuid,
    aggregate_type: AggregateType,
    aggregate_version: Version,
    event_type: EventType,
    /// The text of the JSON, so that it is read back unchanged.
    event_data: String,
    metadata: Option<String>,
    created_at: String,
    created_by: Option<CreatedBy>,
    tenant_id: Option<TenantId>,
    correlation_id: Option<CorrelationId>,
    causation_id: Option<CausationId>,
    checksum: Option<String>,
}

pub(crate) fn encode(events: &[EventEnvelope]) -> Vec<u8> {
    let transaction = Transaction {
        format: FORMAT,
        events: events.iter().map(row_of).collect(),
    };
    serde_json::to_vec(&transaction).expect("text and numbers are written as JSON")
}

pub(crate) fn decode(text: &[u8]) -> Result<Vec<EventEnvelope>> {
    let transaction: Transaction = serde_json::from_slice(text)
        .map_err(|error| damaged(&Error::invalid(format!("a file of the log is damaged: {error}")), None))?;
    if transaction.format != FORMAT {
        return Err(Error::invalid(format!(
            "a file has format {}; this program reads format {FORMAT}",
            transaction.format
        )));
    }
    let event = |row: Row| {
        let sequence = row.global_sequence;
        event_of(row).map_err(|error| damaged(&error, Some(sequence)))
    };
    transaction.events.into_iter().map(event).collect()
}

fn row_of(event: &EventEnvelope) -> Row {
    Row {
        global_sequence: event.global_sequence,
        event_id: event.event_id,
        aggregate_id: event.aggregate.id(),
        aggregate_type: event.aggregate.aggregate_type().clone(),
        aggregate_version: event.version,
        event_type: event.event_type.clone(),
        event_data: event.data.as_str().to_owned(),
        metadata: event.metadata.as_ref().map(|json| json.as_str().to_owned()),
        created_at: time_text(event.created_at).to_string(),
        created_by: event.created_by.clone(),
        tenant_id: event.tenant.clone(),
        correlation_id: event.correlation_id.clone(),
        causation_id: event.causation_id.clone(),
        checksum: event.checksum.map(|checksum| checksum.to_string()),
    }
}

fn event_of(row: Row) -> Result<EventEnvelope> {
    let mut event = EventEnvelope::new(
        row.event_id,
        AggregateKey::new(row.aggregate_type, row.aggregate_id)?,
        row.aggregate_version,
        row.global_sequence,
        row.event_type,
        EventData::from_stored(row.event_data),
        parse_time(&row.created_at)?,
    );
    event.metadata = row.metadata.map(Metadata::from_stored);
    event.created_by = row.created_by;
    event.tenant = row.tenant_id;
    event.correlation_id = row.correlation_id;
    event.causation_id = row.causation_id;
    let checksum = |text: String| {
        text.parse::<Checksum>()
            .map_err(|error| Error::invalid(error.to_string()))
    };
    event.checksum = row.checksum.map(checksum).transpose()?;
    Ok(event)
}
