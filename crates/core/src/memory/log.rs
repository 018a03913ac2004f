//! The log: events in their order, and the keys of those that are archived.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::backend::{ArchivedStream, Contents, EventKey, Fingerprint, Head, Located};
use crate::{EventEnvelope, GlobalSequence, TenantId, Version};

/// The events, and what finds them.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) events: Vec<EventEnvelope>,
    pub(super) by_id: HashMap<Uuid, usize>,
    pub(super) by_aggregate: HashMap<Uuid, Vec<usize>>,
    pub(super) archived: BTreeMap<GlobalSequence, (EventKey, Fingerprint)>,
    pub(super) archived_ids: HashMap<Uuid, GlobalSequence>,
    pub(super) archived_streams: HashMap<Uuid, ArchivedStream>,
}

impl Log {
    pub(super) fn push(&mut self, event: EventEnvelope) {
        let index = self.events.len();
        self.by_id.insert(event.event_id, index);
        self.by_aggregate.entry(event.aggregate.id()).or_default().push(index);
        self.events.push(event);
    }

    pub(super) fn stream(&self, aggregate_id: Uuid) -> Vec<&EventEnvelope> {
        let indexes = self.by_aggregate.get(&aggregate_id).map_or(&[][..], Vec::as_slice);
        indexes.iter().map(|&index| &self.events[index]).collect()
    }

    pub(super) fn mark(&self) -> GlobalSequence {
        self.events
            .last()
            .map_or(GlobalSequence::ZERO, |event| event.global_sequence)
    }

    /// Replaces all events.
    pub(super) fn replace(&mut self, events: Vec<EventEnvelope>) {
        self.events.clear();
        self.by_id.clear();
        self.by_aggregate.clear();
        events.into_iter().for_each(|event| self.push(event));
    }

    /// The keys of the events in the log, by their sequences.
    pub(super) fn keys(&self) -> HashMap<GlobalSequence, EventKey> {
        let keys = self.events.iter().map(EventKey::of);
        keys.map(|key| (key.global_sequence, key)).collect()
    }

    /// The position of an event, archived or not.
    pub(super) fn locate(&self, event_id: Uuid) -> Option<Located> {
        if let Some(&index) = self.by_id.get(&event_id) {
            return Some(Located::of(&self.events[index]));
        }
        let (key, fingerprint) = self.archived.get(self.archived_ids.get(&event_id)?)?;
        let stream = self.archived_streams.get(&key.aggregate_id)?;
        Some(Located {
            event_id,
            aggregate: stream.aggregate.clone(),
            tenant: stream.tenant.clone(),
            version: key.version,
            global_sequence: key.global_sequence,
            contents: Contents::Archived(*fingerprint),
        })
    }

    /// The head of an aggregate, archived or not.
    pub(super) fn head(&self, aggregate_id: Uuid) -> Option<Head> {
        let live = self.stream(aggregate_id).last().map(|event| Head::of(event));
        live.or_else(|| self.archived_streams.get(&aggregate_id).map(ArchivedStream::head))
    }

    /// Shortens the archived part of a stream: it now ends at a version.
    pub(super) fn cut_archived_stream(&mut self, aggregate_id: Uuid, version: Version) {
        let mut keys = self.archived.values().map(|(key, _)| key);
        let last = keys.find(|key| key.aggregate_id == aggregate_id && key.version == version);
        match (last, self.archived_streams.get_mut(&aggregate_id)) {
            (Some(last), Some(stream)) => {
                (stream.version, stream.last_event_id, stream.last_sequence) =
                    (version, last.event_id, last.global_sequence);
            }
            _ => drop(self.archived_streams.remove(&aggregate_id)),
        }
    }

    /// How many events are archived, or of one tenant.
    pub(super) fn count_archived(&self, tenant: Option<&TenantId>) -> u64 {
        let is_of_tenant = |(key, _): &&(EventKey, Fingerprint)| {
            let stream = self.archived_streams.get(&key.aggregate_id);
            tenant.is_none() || stream.and_then(|stream| stream.tenant.as_ref()) == tenant
        };
        self.archived.values().filter(is_of_tenant).count() as u64
    }
}
