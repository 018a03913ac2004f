//! The findings of an audit.

use std::fmt;

use uuid::Uuid;

use crate::{AggregateKey, EventEnvelope, GlobalSequence, Snapshot, Version};

/// Damage, or another error in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// Where in the log, if it is one event.
    pub global_sequence: Option<GlobalSequence>,
    /// The id of the event, if it can be read.
    pub event_id: Option<Uuid>,
    /// The aggregate, if it can be read.
    pub aggregate: Option<AggregateKey>,
    /// The version of the event or snapshot.
    pub version: Option<Version>,
    /// A description of the error.
    pub reason: String,
}

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// An event's data does not match its checksum, or it has none.
    Checksum,
    /// An event cannot be read.
    Unreadable,
    /// The stored size of an event differs from the size of its data.
    Size,
    /// An aggregate's versions are not contiguous in the order of the log: an event is missing, or changed places.
    Versions,
    /// An aggregate's events have different types or tenants.
    Owner,
    /// A snapshot does not match its checksum, or the events of its aggregate.
    Snapshot,
    /// A snapshot is of an aggregate without events.
    OrphanedSnapshot,
    /// The database would allocate a sequence that is already used.
    Sequence,
    /// The database found damage in its own structures, or tables contradict each other.
    Storage,
    /// The log is not the one that was remembered.
    History,
    /// A part of the log differs from its seal, or a seal was changed.
    Seal,
}

impl Finding {
    /// Something wrong that is not an event or a snapshot.
    #[must_use]
    pub fn of_store(kind: FindingKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            global_sequence: None,
            event_id: None,
            aggregate: None,
            version: None,
            reason: reason.into(),
        }
    }

    pub(super) fn of_event(kind: FindingKind, event: &EventEnvelope, reason: impl Into<String>) -> Self {
        Self {
            kind,
            global_sequence: Some(event.global_sequence),
            event_id: Some(event.event_id),
            aggregate: Some(event.aggregate.clone()),
            version: Some(event.version),
            reason: reason.into(),
        }
    }

    pub(super) fn of_snapshot(kind: FindingKind, snapshot: &Snapshot, reason: impl Into<String>) -> Self {
        Self {
            kind,
            global_sequence: None,
            event_id: None,
            aggregate: Some(snapshot.aggregate.clone()),
            version: Some(snapshot.version),
            reason: reason.into(),
        }
    }
}

/// One line: where, and what.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sequence) = self.global_sequence {
            write!(f, "global sequence {sequence}, ")?;
        }
        if let Some(id) = self.event_id {
            write!(f, "event {id}, ")?;
        }
        if let Some(aggregate) = &self.aggregate {
            write!(f, "{aggregate}, ")?;
        }
        if let Some(version) = self.version {
            write!(f, "version {version}: ")?;
        }
        f.write_str(&self.reason)
    }
}
