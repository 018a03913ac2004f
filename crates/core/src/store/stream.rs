//! One aggregate's stream: which part of it to load, and the loaded events.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{AggregateKey, EventEnvelope, GlobalSequence, Snapshot, TenantId, Version};

/// The direction of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forwards,
    /// Newest first.
    Backwards,
}

/// A point in the past of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AsOf {
    /// At this version.
    Version(Version),
    /// At this time: the events before the first one that was created later.
    Time(OffsetDateTime),
    /// At this global sequence of the log.
    Sequence(GlobalSequence),
}

impl From<Version> for AsOf {
    fn from(version: Version) -> Self {
        Self::Version(version)
    }
}

/// At this version.
impl From<u32> for AsOf {
    fn from(version: u32) -> Self {
        Self::Version(version.into())
    }
}

impl From<OffsetDateTime> for AsOf {
    fn from(time: OffsetDateTime) -> Self {
        Self::Time(time)
    }
}

impl From<GlobalSequence> for AsOf {
    fn from(sequence: GlobalSequence) -> Self {
        Self::Sequence(sequence)
    }
}

/// Which part of an aggregate's stream to load; everything by default.
///
/// ```
/// use firefly_eventstore_core::{Direction, StreamRange};
///
/// let last_ten = StreamRange::all().last(10);
/// assert_eq!(last_ten.direction, Direction::Backwards);
/// let some = StreamRange::all().from_version(5).to_version(9);
/// assert_eq!(some.limit, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamRange {
    /// The first version, inclusive; 0 and 1 both mean from the start.
    pub from: Version,
    /// The last version, inclusive.
    pub to: Option<Version>,
    /// Oldest or newest first.
    pub direction: Direction,
    /// The most events to load.
    pub limit: Option<u64>,
    /// The point in the past at which the stream ends.
    pub as_of: Option<AsOf>,
    /// Only if the aggregate belongs to this tenant.
    pub tenant: Option<TenantId>,
}

impl StreamRange {
    /// The whole stream, oldest first.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Starts at a version, inclusive.
    #[must_use]
    pub fn from_version(mut self, version: impl Into<Version>) -> Self {
        self.from = version.into();
        self
    }

    /// Ends at a version, inclusive.
    #[must_use]
    pub fn to_version(mut self, version: impl Into<Version>) -> Self {
        self.to = Some(version.into());
        self
    }

    /// Newest first.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.direction = Direction::Backwards;
        self
    }

    /// At most this many events.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The newest `count` events, newest first.
    #[must_use]
    pub fn last(self, count: u64) -> Self {
        self.backwards().limit(count)
    }

    /// As of a version, a time or a global sequence.
    #[must_use]
    pub fn as_of(mut self, point: impl Into<AsOf>) -> Self {
        self.as_of = Some(point.into());
        self
    }

    /// Only if the aggregate belongs to this tenant. Otherwise the stream is empty.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The events to load with a snapshot: from its version on, or all if there is none.
    pub(crate) fn with_snapshot(tenant: Option<&TenantId>, snapshot: Option<&Snapshot>) -> Self {
        Self {
            from: snapshot.map_or(Version::ZERO, |snapshot| snapshot.version),
            tenant: tenant.cloned(),
            ..Self::all()
        }
    }
}

/// Loaded events of one aggregate, in the requested order, and the aggregate's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStream {
    aggregate: AggregateKey,
    version: Version,
    events: Vec<EventEnvelope>,
    archived: Option<(Version, Uuid)>,
}

impl EventStream {
    /// For authors of backends: `version` is the aggregate's version, whatever part of the stream was loaded.
    #[must_use]
    pub fn new(aggregate: AggregateKey, version: Version, events: Vec<EventEnvelope>) -> Self {
        Self {
            aggregate,
            version,
            events,
            archived: None,
        }
    }

    /// For authors of backends: sets the last archived version, and the id of its event.
    #[must_use]
    pub fn with_archived(mut self, archived: Option<(Version, Uuid)>) -> Self {
        self.archived = archived;
        self
    }

    /// The aggregate.
    #[must_use]
    pub fn aggregate(&self) -> &AggregateKey {
        &self.aggregate
    }

    /// The version of the aggregate when it was read, or at the requested point in the past, even if only a part of the stream was loaded.
    /// [`Version::ZERO`] means that there is no event. Pass it to the next append.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &[EventEnvelope] {
        &self.events
    }

    /// The events, owned.
    #[must_use]
    pub fn into_events(self) -> Vec<EventEnvelope> {
        self.events
    }

    /// The last [archived](crate::operate::Archiving) version; [`Version::ZERO`] if none is archived. Events up to it are not in the log.
    #[must_use]
    pub fn archived_version(&self) -> Version {
        self.archived.map_or(Version::ZERO, |(version, _)| version)
    }

    /// The id of the event with this version, if it is the first loaded event, or the last archived one.
    pub(crate) fn event_id_at(&self, version: Version) -> Option<Uuid> {
        let loaded = self.events.first().filter(|event| event.version == version);
        let archived = self.archived.filter(|(archived, _)| *archived == version);
        loaded.map(|event| event.event_id).or(archived.map(|(_, id)| id))
    }

    /// How many events were loaded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether no event was loaded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether the aggregate has any event, loaded or not.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.version > Version::ZERO
    }
}

impl<'a> IntoIterator for &'a EventStream {
    type Item = &'a EventEnvelope;
    type IntoIter = std::slice::Iter<'a, EventEnvelope>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.iter()
    }
}

impl IntoIterator for EventStream {
    type Item = EventEnvelope;
    type IntoIter = std::vec::IntoIter<EventEnvelope>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.into_iter()
    }
}
