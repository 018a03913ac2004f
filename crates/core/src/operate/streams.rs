//! Checks that the events of each aggregate follow each other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use uuid::Uuid;

use super::finding::FindingKind;
use crate::{AggregateType, EventEnvelope, TenantId, Version};

/// The last event of each aggregate so far.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    heads: HashMap<Uuid, (Version, AggregateType, Option<TenantId>)>,
}

/// An event that does not follow the previous one of its aggregate.
#[derive(Debug)]
pub(crate) struct Break {
    pub(crate) kind: FindingKind,
    pub(crate) reason: String,
}

impl Break {
    fn versions(reason: String) -> Self {
        let kind = FindingKind::Versions;
        Self { kind, reason }
    }

    fn owner(reason: String) -> Self {
        let kind = FindingKind::Owner;
        Self { kind, reason }
    }
}

impl Streams {
    /// Adds the next event. Returns an error if its version does not follow the previous version of its aggregate.
    ///
    /// If `may_go_on` is set, an aggregate whose first events are elsewhere may begin with any version.
    pub(crate) fn add(&mut self, event: &EventEnvelope, may_go_on: bool) -> Result<(), Break> {
        let id = event.aggregate.id();
        let aggregate_type = event.aggregate.aggregate_type();
        let (version, known_type, tenant) = match self.heads.entry(id) {
            Entry::Occupied(head) => head.into_mut(),
            Entry::Vacant(place) => {
                place.insert((event.version, aggregate_type.clone(), event.tenant.clone()));
                return match event.version.get() == 1 || may_go_on {
                    true => Ok(()),
                    false => Err(Break::versions(format!(
                        "{} begins with version {}; its first events are missing",
                        event.aggregate, event.version
                    ))),
                };
            }
        };
        let before = *version;
        *version = event.version.max(before);
        if known_type != aggregate_type {
            return Err(Break::owner(format!(
                "the aggregate {id} has the type {known_type} before this event, and {aggregate_type} here"
            )));
        }
        if *tenant != event.tenant {
            return Err(Break::owner(format!(
                "{} has another tenant before this event",
                event.aggregate
            )));
        }
        if before.checked_add(1) != Some(event.version) {
            return Err(Break::versions(format!(
                "{} has version {} after version {before}",
                event.aggregate, event.version
            )));
        }
        Ok(())
    }

    pub(super) fn knows(&self, id: Uuid) -> bool {
        self.heads.contains_key(&id)
    }

    /// Adds an event whose aggregate was checked elsewhere.
    pub(super) fn note(&mut self, event: &EventEnvelope) {
        self.heads.insert(
            event.aggregate.id(),
            (
                event.version,
                event.aggregate.aggregate_type().clone(),
                event.tenant.clone(),
            ),
        );
    }
}
