//! The fingerprint of an archived event, which distinguishes it from another event with the same id.

use std::collections::HashMap;

use super::row::Row;
use crate::{
    CausationId, Checksum, CorrelationId, CreatedBy, Error, EventEnvelope, GlobalSequence, Metadata, NewEvent, Result,
};

/// SHA-256 of the contents of an event: type, data, metadata, creator, correlation and causation. The store keeps it for an archived event,
/// to distinguish a repeated append from another event with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(Checksum);

impl Fingerprint {
    /// The stored fingerprint: 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Checksum::from_bytes(bytes))
    }

    /// The 32 bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The fingerprint of a stored event.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity) if its data or metadata is not JSON.
    pub fn of(event: &EventEnvelope) -> Result<Self> {
        let damaged = |error: Error| event.damaged(format!("its data or metadata is damaged: {error}"));
        let metadata = event.metadata.as_ref().map(Metadata::checksum).transpose();
        Ok(Self::new(
            event.event_type.as_str(),
            &event.data.checksum().map_err(damaged)?,
            metadata.map_err(damaged)?,
            [
                event.created_by.as_ref().map(CreatedBy::as_str),
                event.correlation_id.as_ref().map(CorrelationId::as_str),
                event.causation_id.as_ref().map(CausationId::as_str),
            ],
        ))
    }

    /// The fingerprints of stored events, by their sequences. Compute them before other writers have to wait.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_all(events: &[EventEnvelope]) -> Result<HashMap<GlobalSequence, Self>> {
        let of = |event: &EventEnvelope| Ok((event.global_sequence, Self::of(event)?));
        events.iter().map(of).collect()
    }

    /// The fingerprint of a new event.
    pub(crate) fn of_new(event: &NewEvent) -> Self {
        let details = event.details();
        Self::new(
            event.event_type().as_str(),
            &event.checksum(),
            event.metadata_checksum(),
            [
                details.created_by.map(CreatedBy::as_str),
                details.correlation_id.map(CorrelationId::as_str),
                details.causation_id.map(CausationId::as_str),
            ],
        )
    }

    fn new(event_type: &str, data: &Checksum, metadata: Option<Checksum>, context: [Option<&str>; 3]) -> Self {
        let mut row = Row::after(b"firefly-event");
        row.text(Some(event_type));
        row.hash(data);
        row.checksum(metadata);
        context.into_iter().for_each(|text| row.text(text));
        Self(row.digest())
    }
}
