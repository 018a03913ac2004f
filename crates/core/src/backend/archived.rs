//! Archived events: what a store keeps of them, and which may be moved out of the log and back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use time::OffsetDateTime;
use uuid::Uuid;

use super::head::Head;
use super::kinds::contradiction;
use crate::operate::Archive;
use crate::store::query::PageEvents;
use crate::values::fingerprint::Fingerprint;
use crate::{
    AggregateKey, AggregateType, Direction, Error, EventEnvelope, EventFilter, EventQuery, GlobalSequence, Order,
    Result, StreamRange, TenantId, Version, Window,
};

/// The archived beginning of a stream: the versions from 1 to [`version`](Self::version). The later ones are in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchivedStream {
    /// The aggregate.
    pub aggregate: AggregateKey,
    /// The tenant it belongs to.
    pub tenant: Option<TenantId>,
    /// The last archived version, at least 1.
    pub version: Version,
    /// The id of the event with that version.
    pub last_event_id: Uuid,
    /// The sequence of the event with version 1.
    pub first_sequence: GlobalSequence,
    /// The sequence of the event with the last archived version.
    pub last_sequence: GlobalSequence,
    /// When the latest of the archived events was created.
    pub created_until: OffsetDateTime,
}

impl ArchivedStream {
    /// For authors of backends: a row of `firefly_archived_streams`.
    #[must_use]
    pub fn new(
        aggregate: AggregateKey,
        tenant: Option<TenantId>,
        version: Version,
        last_event_id: Uuid,
        first_sequence: GlobalSequence,
        last_sequence: GlobalSequence,
        created_until: OffsetDateTime,
    ) -> Self {
        Self {
            aggregate,
            tenant,
            version,
            last_event_id,
            first_sequence,
            last_sequence,
            created_until,
        }
    }

    /// The head of the aggregate, for an aggregate without events in the log.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            aggregate_type: self.aggregate.aggregate_type().clone(),
            tenant: self.tenant.clone(),
            version: self.version,
        }
    }

    fn ending_with(event: &EventEnvelope) -> Self {
        Self {
            aggregate: event.aggregate.clone(),
            tenant: event.tenant.clone(),
            version: event.version,
            last_event_id: event.event_id,
            first_sequence: event.global_sequence,
            last_sequence: event.global_sequence,
            created_until: event.created_at,
        }
    }
}

/// Events of a stream as one statement found them, and the archived beginning of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPart {
    /// The events that are in the log.
    pub events: Vec<EventEnvelope>,
    /// The archived beginning, if there is one.
    pub archived: Option<ArchivedStream>,
}

impl StreamPart {
    /// For authors of backends: the events in the log, and the archived beginning.
    #[must_use]
    pub fn new(events: Vec<EventEnvelope>, archived: Option<ArchivedStream>) -> Self {
        Self { events, archived }
    }

    /// The part with these events, if they include the first event of the stream: then no event of the stream is archived.
    ///
    /// # Errors
    ///
    /// The events, if the first one is missing: then query the archived beginning.
    pub fn with_first(events: Vec<EventEnvelope>) -> Result<Self, Vec<EventEnvelope>> {
        match events.iter().any(|event| event.version == 1) {
            true => Ok(Self { events, archived: None }),
            false => Err(events),
        }
    }
}

/// Whether a part of a stream, up to the version `to`, would begin with the stream's first event, if that is in the log.
#[must_use]
pub fn begins_with_first(range: &StreamRange, to: Option<Version>) -> bool {
    range.from <= Version::from(1) && to != Some(Version::ZERO) && range.direction == Direction::Forwards
}

/// The ids of the aggregates of these events, each once, in their order.
#[must_use]
pub fn aggregate_ids(events: &[EventEnvelope]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = events.iter().map(|event| event.aggregate.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The unique keys of an event. A backend finds the row by its sequence, and compares the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EventKey {
    /// Its global sequence.
    pub global_sequence: GlobalSequence,
    /// Its id.
    pub event_id: Uuid,
    /// The id of its aggregate.
    pub aggregate_id: Uuid,
    /// Its version.
    pub version: Version,
}

impl EventKey {
    /// For authors of backends: the key of an archived event.
    #[must_use]
    pub fn new(global_sequence: GlobalSequence, event_id: Uuid, aggregate_id: Uuid, version: Version) -> Self {
        Self {
            global_sequence,
            event_id,
            aggregate_id,
            version,
        }
    }

    /// The key of an event.
    #[must_use]
    pub fn of(event: &EventEnvelope) -> Self {
        Self {
            global_sequence: event.global_sequence,
            event_id: event.event_id,
            aggregate_id: event.aggregate.id(),
            version: event.version,
        }
    }
}

/// The events that leave the log: see [`admit_retirement`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Retirement<'e> {
    /// The events, in the order of their sequences: delete these, and keep their keys.
    pub events: Vec<&'e EventEnvelope>,
    /// The archived beginnings of their streams afterwards.
    pub streams: Vec<ArchivedStream>,
}

/// The events that return to the log: see [`admit_attachment`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Attachment<'e> {
    /// The events, in the order of their sequences: insert them unchanged, and delete their keys.
    pub events: Vec<&'e EventEnvelope>,
    /// The last archived version afterwards, by the ids of the aggregates; 0 if none is archived.
    pub versions: Vec<(Uuid, Version)>,
}

/// Decides which of these events move out of the log. The events are in the order of their sequences. `live` and `archived` are the keys of
/// the events in the log and of the archived ones, by their sequences; `streams` are the archived beginnings of their aggregates' streams,
/// by the aggregates' ids; `newest` is the last sequence of the log.
///
/// Events that are already archived are left out, so that an interrupted retirement can be repeated.
///
/// # Errors
///
/// [`Contradiction`](crate::ErrorKind::Contradiction) if the store does not have an event as it is here, or if an earlier event of its
/// aggregate is still in the log; [`InvalidInput`](crate::ErrorKind::InvalidInput) if the newest event of the log is among them.
pub fn admit_retirement<'e>(
    events: &'e [EventEnvelope],
    live: &HashMap<GlobalSequence, EventKey>,
    archived: &HashMap<GlobalSequence, (EventKey, Fingerprint)>,
    streams: &HashMap<Uuid, ArchivedStream>,
    newest: GlobalSequence,
) -> Result<Retirement<'e>> {
    let mut moved = Vec::with_capacity(events.len());
    let mut ends: HashMap<Uuid, ArchivedStream> = HashMap::new();
    for event in events {
        let key = EventKey::of(event);
        match (live.get(&key.global_sequence), archived.get(&key.global_sequence)) {
            (Some(found), _) if *found == key => {}
            (None, Some((found, _))) if *found == key => continue,
            (None, None) => return Err(contradiction(event, "the store does not hold it".to_owned())),
            _ => return Err(contradiction(event, "the store holds another event there".to_owned())),
        }
        if key.global_sequence >= newest {
            return Err(Error::invalid("the newest event of the log is never archived"));
        }
        let end = match ends.entry(key.aggregate_id) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(place) => streams
                .get(&key.aggregate_id)
                .map(|stream| place.insert(stream.clone())),
        };
        let before = end.as_ref().map_or(Version::ZERO, |end| end.version);
        if before.checked_add(1) != Some(event.version) {
            return Err(contradiction(
                event,
                format!(
                    "it has version {}, and its aggregate is archived up to {before}: archive the events between them first",
                    event.version
                ),
            ));
        }
        match end {
            Some(end) => {
                (end.version, end.last_event_id, end.last_sequence) =
                    (event.version, event.event_id, event.global_sequence);
                end.created_until = end.created_until.max(event.created_at);
            }
            None => drop(ends.insert(key.aggregate_id, ArchivedStream::ending_with(event))),
        }
        moved.push(event);
    }
    Ok(Retirement {
        events: moved,
        streams: ends.into_values().collect(),
    })
}

/// Decides which of these events move back into the log. The events are in the order of their sequences. `live` and `archived` are the keys
/// of the events in the log and of the archived ones, by their sequences; `fingerprints` are [those](Fingerprint::of_all) of these events;
/// `streams` are the archived beginnings of their aggregates' streams, by the aggregates' ids.
///
/// Events that are already in the log are left out, so that an interrupted attachment can be repeated.
///
/// # Errors
///
/// [`Contradiction`](crate::ErrorKind::Contradiction) if an event is not archived here, or if a later event of its aggregate still is.
pub fn admit_attachment<'e>(
    events: &'e [EventEnvelope],
    live: &HashMap<GlobalSequence, EventKey>,
    archived: &HashMap<GlobalSequence, (EventKey, Fingerprint)>,
    fingerprints: &HashMap<GlobalSequence, Fingerprint>,
    streams: &HashMap<Uuid, ArchivedStream>,
) -> Result<Attachment<'e>> {
    let mut moved = Vec::with_capacity(events.len());
    let mut left: HashMap<Uuid, Version> = HashMap::new();
    for event in events.iter().rev() {
        let key = EventKey::of(event);
        match (live.get(&key.global_sequence), archived.get(&key.global_sequence)) {
            (Some(found), _) if *found == key => continue,
            (None, Some((found, fingerprint)))
                if *found == key && fingerprints.get(&key.global_sequence) == Some(fingerprint) => {}
            (None, None) => {
                return Err(contradiction(
                    event,
                    "it is not archived here; import the file into a store that does not know its events".to_owned(),
                ));
            }
            _ => return Err(contradiction(event, "the store holds another event there".to_owned())),
        }
        let known = streams
            .get(&key.aggregate_id)
            .map_or(Version::ZERO, |stream| stream.version);
        let end = left.get(&key.aggregate_id).copied().unwrap_or(known);
        if end != event.version {
            return Err(contradiction(
                event,
                format!(
                    "it has version {}, and its aggregate is archived up to {end}: attach the newer archive first",
                    event.version
                ),
            ));
        }
        left.insert(key.aggregate_id, Version::new(event.version.get() - 1)?);
        moved.push(event);
    }
    moved.reverse();
    Ok(Attachment {
        events: moved,
        versions: left.into_iter().collect(),
    })
}

/// Refuses a page that lacks archived events. Call it after the rows were read.
///
/// `archived_until` is the last archived sequence, as it was read with the rows; none if no event is archived. If the page has no row, or
/// begins before that sequence, `find` searches the archives: for the first one with an event that may match the filters, in the part of
/// the window that the page covers.
///
/// Rows and archives must belong to one state of the database, or be read again in one, because an archive may be attached at any time. An
/// event that was archived after the rows were read is among the rows, or in the archives.
///
/// # Errors
///
/// [`Archived`](crate::ErrorKind::Archived), and those of `find`.
pub fn check_archived(
    query: &EventQuery,
    window: &Window,
    found: &PageEvents,
    archived_until: Option<GlobalSequence>,
    find: impl FnOnce(&Window) -> Result<Option<Archive>>,
) -> Result<()> {
    let is_asked = !query.skips_archived() && window.after < window.until && window.rows > 0;
    let is_before = match found.is_empty() {
        true => true,
        false => archived_until.is_some_and(|until| until > window.after),
    };
    if !is_asked || !is_before {
        return Ok(());
    }
    let mut covered = *window;
    if let Some(last) = found
        .last()
        .filter(|_| found.is_full() && query.order() == Order::Sequence)
    {
        match query.direction() {
            Direction::Forwards => covered.until = last.global_sequence,
            Direction::Backwards => covered.after = GlobalSequence::new(last.global_sequence.get() - 1)?,
        }
    }
    match find(&covered)? {
        None => Ok(()),
        Some(archive) => Err(archive.needed()),
    }
}

/// Whether an archived event, of which only the keys are known, may match the filters of a query.
#[must_use]
pub fn may_pass_archived(filter: &EventFilter, event_id: Uuid, stream: &ArchivedStream) -> bool {
    let among_ids = |ids: &Vec<Uuid>| ids.binary_search(&event_id).is_ok();
    let among_types = |types: &Vec<AggregateType>| types.binary_search(stream.aggregate.aggregate_type()).is_ok();
    filter.event_ids.as_ref().is_none_or(among_ids)
        && filter.aggregate_types.as_ref().is_none_or(among_types)
        && filter.aggregate_id.is_none_or(|id| id == stream.aggregate.id())
        && (filter.tenant.is_none() || filter.tenant == stream.tenant)
}

/// Whether any event of an archive may match the filters of a query, by the times of its events.
#[must_use]
pub fn may_pass_archive(filter: &EventFilter, archive: &Archive) -> bool {
    filter.created_from.is_none_or(|from| archive.created_until >= from)
        && filter.created_until.is_none_or(|until| archive.created_from <= until)
}
