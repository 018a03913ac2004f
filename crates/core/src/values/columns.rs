//! An event as JSON, with the names of its columns.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::timestamp::time_text;
use crate::{
    AggregateType, CausationId, CorrelationId, CreatedBy, EventData, EventEnvelope, EventType, GlobalSequence,
    Metadata, TenantId, Version,
};

#[derive(Serialize)]
struct Columns<'e> {
    global_sequence: GlobalSequence,
    event_id: Uuid,
    aggregate_type: &'e AggregateType,
    aggregate_id: Uuid,
    aggregate_version: Version,
    event_type: &'e EventType,
    event_data: &'e EventData,
    metadata: Option<&'e Metadata>,
    created_at: String,
    updated_at: Option<String>,
    created_by: Option<&'e CreatedBy>,
    tenant_id: Option<&'e TenantId>,
    correlation_id: Option<&'e CorrelationId>,
    causation_id: Option<&'e CausationId>,
    event_size_bytes: Option<u32>,
    checksum: Option<String>,
}

/// An object with the names of the columns of `events`. NULL is written as null. Data and metadata are written as JSON, not as strings.
/// Times are RFC 3339 in UTC, with microseconds.
///
/// ```
/// use firefly_eventstore_core::prelude::*;
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, 0, &[NewEvent::from_json("money.deposited", r#"{"amount": 2.50}"#)?])?;
///
/// let event = store.load(&account)?.into_events().remove(0);
/// let json = serde_json::to_string(&event).expect("an event is written as JSON");
/// assert!(json.contains(r#""aggregate_version":1,"event_type":"money.deposited","event_data":{"amount": 2.50},"metadata":null"#));
/// # Ok::<(), Error>(())
/// ```
impl Serialize for EventEnvelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let columns = Columns {
            global_sequence: self.global_sequence,
            event_id: self.event_id,
            aggregate_type: self.aggregate.aggregate_type(),
            aggregate_id: self.aggregate.id(),
            aggregate_version: self.version,
            event_type: &self.event_type,
            event_data: &self.data,
            metadata: self.metadata.as_ref(),
            created_at: time_text(self.created_at).to_string(),
            updated_at: self.updated_at.map(|time| time_text(time).to_string()),
            created_by: self.created_by.as_ref(),
            tenant_id: self.tenant.as_ref(),
            correlation_id: self.correlation_id.as_ref(),
            causation_id: self.causation_id.as_ref(),
            event_size_bytes: self.size_bytes,
            checksum: self.checksum.map(|checksum| checksum.to_string()),
        };
        columns.serialize(serializer)
    }
}

macro_rules! json_as_it_is {
    ($($Name:ident),*) => {$(
        /// With `serde_json`, the text is written as it is. If the text was damaged and is no longer JSON, it is written as a string.
        impl Serialize for $Name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match serde_json::from_str::<&RawValue>(self.as_str()) {
                    Ok(json) => json.serialize(serializer),
                    Err(_) => serializer.serialize_str(self.as_str()),
                }
            }
        }
    )*};
}

json_as_it_is!(EventData, Metadata);
