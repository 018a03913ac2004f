//! Appends and their results.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::values::fingerprint::Fingerprint;
use crate::{
    AggregateKey, CausationId, Checksum, CorrelationId, CreatedBy, EventEnvelope, EventType, ExpectedVersion,
    GlobalSequence, Metadata, NewEvent, TenantId, Version,
};

/// Events to append to one aggregate. One transaction may have several of these.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Append<'a> {
    /// The aggregate.
    pub aggregate: &'a AggregateKey,
    /// The version that the aggregate must have.
    pub expected: ExpectedVersion,
    /// The events, in order. Without events, the append does nothing and succeeds, whatever version is expected.
    pub events: &'a [NewEvent],
    /// The tenant that owns the aggregate.
    pub tenant: Option<&'a TenantId>,
}

impl<'a> Append<'a> {
    /// Events to append to an aggregate that belongs to no tenant.
    #[must_use]
    pub fn new(aggregate: &'a AggregateKey, expected: impl Into<ExpectedVersion>, events: &'a [NewEvent]) -> Self {
        Self {
            aggregate,
            expected: expected.into(),
            events,
            tenant: None,
        }
    }

    /// Sets the tenant that owns the aggregate.
    #[must_use]
    pub fn tenant(mut self, tenant: &'a TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }
}

/// The result of an append: the versions and sequences of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    aggregate: AggregateKey,
    version: Version,
    global_sequences: Vec<GlobalSequence>,
    already_stored: bool,
}

impl Appended {
    /// For authors of backends: `version` is the version of the aggregate after the last of the events.
    #[must_use]
    pub fn new(aggregate: AggregateKey, version: Version, global_sequences: Vec<GlobalSequence>) -> Self {
        Self {
            aggregate,
            version,
            global_sequences,
            already_stored: false,
        }
    }

    /// For authors of backends: marks the result as that of an earlier append.
    #[must_use]
    pub fn already_stored(mut self) -> Self {
        self.already_stored = true;
        self
    }

    /// The aggregate.
    #[must_use]
    pub fn aggregate(&self) -> &AggregateKey {
        &self.aggregate
    }

    /// The version of the aggregate after these events: the expected version of the next append.
    ///
    /// For an empty append, the current version of the aggregate.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The version of the first event; none of an empty append.
    #[must_use]
    pub fn first_version(&self) -> Option<Version> {
        let before_last = (self.global_sequences.len() as u64).checked_sub(1)?;
        Version::new(self.version.get().checked_sub(before_last)?).ok()
    }

    /// The global sequence of each event, ascending, not always consecutive.
    #[must_use]
    pub fn global_sequences(&self) -> &[GlobalSequence] {
        &self.global_sequences
    }

    /// The global sequence of the last event; none of an empty append.
    #[must_use]
    pub fn last_sequence(&self) -> Option<GlobalSequence> {
        self.global_sequences.last().copied()
    }

    /// Whether an earlier append has stored the same events, and this is its result.
    ///
    /// Events are the same if their ids, their order, aggregate, type, data, metadata, creator, correlation and
    /// causation are equal; and their time, if the caller set one.
    #[must_use]
    pub fn is_already_stored(&self) -> bool {
        self.already_stored
    }
}

/// The position of a stored event, for [`backend::resolve_repeated`](crate::backend::resolve_repeated).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Located {
    /// The id of the event.
    pub event_id: Uuid,
    /// The aggregate it was appended to.
    pub aggregate: AggregateKey,
    /// The tenant it was appended for.
    pub tenant: Option<TenantId>,
    /// Its version.
    pub version: Version,
    /// Its global sequence.
    pub global_sequence: GlobalSequence,
    /// Its stored contents.
    pub contents: Contents,
}

/// Contents that distinguish a stored event from another one with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contents {
    /// The columns of an event in the log.
    Live(Box<LiveContents>),
    /// The fingerprint of an event that is archived.
    Archived(Fingerprint),
}

/// The stored columns of an event in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveContents {
    /// The type.
    pub event_type: EventType,
    /// The checksum.
    pub checksum: Option<Checksum>,
    /// The metadata, as the database spells it.
    pub metadata: Option<Metadata>,
    /// The time.
    pub created_at: OffsetDateTime,
    /// The creator.
    pub created_by: Option<CreatedBy>,
    /// The correlation id.
    pub correlation_id: Option<CorrelationId>,
    /// The causation id.
    pub causation_id: Option<CausationId>,
}

impl LiveContents {
    /// For authors of backends: the columns of a row.
    #[must_use]
    pub fn new(
        event_type: EventType,
        checksum: Option<Checksum>,
        metadata: Option<Metadata>,
        created_at: OffsetDateTime,
        created_by: Option<CreatedBy>,
        correlation_id: Option<CorrelationId>,
        causation_id: Option<CausationId>,
    ) -> Self {
        Self {
            event_type,
            checksum,
            metadata,
            created_at,
            created_by,
            correlation_id,
            causation_id,
        }
    }
}

impl Located {
    /// For authors of backends: the position of a row.
    #[must_use]
    pub fn new(
        event_id: Uuid,
        aggregate: AggregateKey,
        tenant: Option<TenantId>,
        version: Version,
        global_sequence: GlobalSequence,
        contents: Contents,
    ) -> Self {
        Self {
            event_id,
            aggregate,
            tenant,
            version,
            global_sequence,
            contents,
        }
    }

    /// The position of an event.
    #[must_use]
    pub fn of(event: &EventEnvelope) -> Self {
        Self {
            event_id: event.event_id,
            aggregate: event.aggregate.clone(),
            tenant: event.tenant.clone(),
            version: event.version,
            global_sequence: event.global_sequence,
            contents: Contents::Live(Box::new(LiveContents {
                event_type: event.event_type.clone(),
                checksum: event.checksum,
                metadata: event.metadata.clone(),
                created_at: event.created_at,
                created_by: event.created_by.clone(),
                correlation_id: event.correlation_id.clone(),
                causation_id: event.causation_id.clone(),
            })),
        }
    }
}
