//! Checks appends, and finds the result of a repeated append.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

use super::damaged::damaged;
use super::head::{Head, check_owner};
use crate::values::fingerprint::Fingerprint;
use crate::{
    AggregateKey, Append, Appended, Contents, Error, ErrorKind, ExpectedVersion, Limits, Located, Metadata, NewEvent,
    Result, TenantId, Version,
};

/// How often an append is repeated because another append was faster. Each repetition means that another append succeeded. So many in a row
/// show that something else is wrong.
pub const MOST_ATTEMPTS: usize = 1_000;

/// The error after [`MOST_ATTEMPTS`].
#[must_use]
pub fn outpaced() -> Error {
    Error::new(ErrorKind::Unavailable {
        reason:
            "other appends to the aggregate, or with the same event ids, came first in every attempt: repeat the call"
                .into(),
    })
}

/// Refuses appends that cannot be stored exactly, or contradict themselves, before anything is sent.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) if an event exceeds the limits, or an event id or an aggregate occurs twice.
pub fn check(appends: &[Append<'_>], limits: &Limits) -> Result<()> {
    for append in appends {
        for (index, event) in append.events.iter().enumerate() {
            event.admit(limits).map_err(|error| {
                Error::invalid(format!(
                    "event {} ({}, {}): {error}",
                    index + 1,
                    event.event_type(),
                    event.event_id()
                ))
                .during(describe(appends))
            })?;
        }
    }
    if let Some(event_id) = first_repeated(appends.iter().flat_map(|a| a.events).map(NewEvent::event_id)) {
        return Err(
            Error::invalid(format!("the event id {event_id} occurs twice; give each event its own"))
                .during(describe(appends)),
        );
    }
    if let Some(id) = first_repeated(appends.iter().map(|append| append.aggregate.id())) {
        return Err(Error::invalid(format!(
            "the aggregate id {id} occurs twice; put all its events into one append"
        ))
        .during(describe(appends)));
    }
    Ok(())
}

pub(super) fn first_repeated(ids: impl Iterator<Item = Uuid>) -> Option<Uuid> {
    let mut ids = ids.peekable();
    let first = ids.next()?;
    ids.peek()?;
    let mut seen = HashSet::from([first]);
    ids.find(|id| !seen.insert(*id))
}

/// Decides whether `appends` is a repeated append. `found` are the stored events with ids of its events.
///
/// Returns the original result, marked as already stored, if every event is stored for its aggregate, in this order, with contiguous
/// versions; none if no id was found.
///
/// # Errors
///
/// [`TenantMismatch`](ErrorKind::TenantMismatch) or [`TypeMismatch`](ErrorKind::TypeMismatch) if they are stored, but the aggregate has
/// another tenant or type; [`Integrity`](ErrorKind::Integrity) if stored metadata is not JSON; in any other case
/// [`Duplicate`](ErrorKind::Duplicate), with the ids that were found.
pub fn resolve_repeated(appends: &[Append<'_>], found: &[Located]) -> Result<Option<Vec<Appended>>> {
    if found.is_empty() {
        return Ok(None);
    }
    let by_id: HashMap<Uuid, &Located> = found.iter().map(|located| (located.event_id, located)).collect();
    let mut results = Vec::with_capacity(appends.len());
    for append in appends {
        let result = resolve_one(append, &by_id).map_err(|refusal| match refusal {
            Refusal::Other(error) => error,
            Refusal::Ids(reason) => duplicate(appends, append, &by_id, reason),
        });
        results.push(result.map_err(|error| error.during(describe(appends)))?);
    }
    Ok(Some(results))
}

enum Refusal {
    /// The aggregate belongs to another type or tenant, or stored data is damaged.
    Other(Error),
    /// The ids are stored with other events.
    Ids(Cow<'static, str>),
}

fn resolve_one(append: &Append<'_>, by_id: &HashMap<Uuid, &Located>) -> Result<Appended, Refusal> {
    let mut sequences = Vec::with_capacity(append.events.len());
    let mut last: Option<Version> = None;
    for event in append.events {
        let Some(located) = by_id.get(&event.event_id()) else {
            return Err(Refusal::Ids("only some of the event ids are stored already".into()));
        };
        if located.aggregate.id() != append.aggregate.id() {
            return Err(Refusal::Ids(
                "event ids are stored already, in another aggregate".into(),
            ));
        }
        check_owner(
            append.aggregate,
            append.tenant,
            located.aggregate.aggregate_type(),
            located.tenant.as_ref(),
        )
        .map_err(Refusal::Other)?;
        if let Some(what) = difference(event, located).map_err(Refusal::Other)? {
            return Err(Refusal::Ids(
                format!("event ids are stored already, with {what}").into(),
            ));
        }
        if last.is_some_and(|last| last.checked_add(1) != Some(located.version)) {
            return Err(Refusal::Ids(
                "the event ids are stored already, in another order".into(),
            ));
        }
        last = Some(located.version);
        sequences.push(located.global_sequence);
    }
    Ok(Appended::new(append.aggregate.clone(), last.unwrap_or(Version::ZERO), sequences).already_stored())
}

/// The first difference between the stored event and this one; none if both are the same.
///
/// Times are compared only if the caller set the time; otherwise the store's clock set it. The time of an archived event is not known.
fn difference(event: &NewEvent, stored: &Located) -> Result<Option<&'static str>> {
    let live = match &stored.contents {
        Contents::Live(live) => live,
        Contents::Archived(fingerprint) => {
            let is_other = *fingerprint != Fingerprint::of_new(event);
            return Ok(is_other.then_some("another type, or other data or context"));
        }
    };
    let metadata = live.metadata.as_ref().map(Metadata::checksum).transpose();
    let metadata = metadata.map_err(|error| damaged(&error, Some(stored.global_sequence)))?;
    let details = event.details();
    let is_set_otherwise = |time| time != live.created_at;
    let differences = [
        (live.event_type != *event.event_type(), "another type"),
        (live.checksum.is_some_and(|sum| sum != event.checksum()), "other data"),
        (metadata != event.metadata_checksum(), "other metadata"),
        (live.created_by.as_ref() != details.created_by, "another creator"),
        (
            live.correlation_id.as_ref() != details.correlation_id,
            "another correlation id",
        ),
        (
            live.causation_id.as_ref() != details.causation_id,
            "another causation id",
        ),
        (details.created_at.is_some_and(is_set_otherwise), "another time"),
    ];
    let found = differences.into_iter().find(|(differs, _)| *differs);
    Ok(found.map(|(_, what)| what))
}

fn duplicate(
    appends: &[Append<'_>],
    append: &Append<'_>,
    by_id: &HashMap<Uuid, &Located>,
    reason: Cow<'static, str>,
) -> Error {
    let ids = appends.iter().flat_map(|append| append.events).map(NewEvent::event_id);
    Error::new(ErrorKind::Duplicate {
        aggregate: append.aggregate.clone(),
        event_ids: ids.filter(|id| by_id.contains_key(id)).collect(),
        reason: reason.into_owned().into(),
    })
}

/// A connection for [`explain`], which finds out why an append was refused.
pub trait AppendSource {
    /// The positions of the stored events with these ids.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn locate(&mut self, event_ids: &[Uuid]) -> Result<Vec<Located>>;

    /// The heads of these aggregates, by their ids, without aggregates that have no events.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn heads(&mut self, aggregate_ids: &[Uuid]) -> Result<HashMap<Uuid, Head>>;
}

/// Finds out why an append was refused. Returns the original results if it is a repeated one, an error if it conflicts, and none if the
/// conflicting append was rolled back meanwhile.
///
/// # Errors
///
/// Those of [`resolve_repeated`] and [`Head::admit`], and of the source.
pub fn explain(source: &mut impl AppendSource, appends: &[Append<'_>]) -> Result<Option<Vec<Appended>>> {
    let events = appends.iter().flat_map(|append| append.events);
    let event_ids: Vec<Uuid> = events.map(NewEvent::event_id).collect();
    if let Some(results) = resolve_repeated(appends, &source.locate(&event_ids)?)? {
        let stored = appends
            .iter()
            .zip(results)
            .filter(|(append, _)| !append.events.is_empty());
        let stored = stored.map(|(append, result)| (append.aggregate.id(), result)).collect();
        return with_versions(source, appends, stored).map(Some);
    }
    let ids: Vec<Uuid> = appends.iter().map(|append| append.aggregate.id()).collect();
    let heads = source.heads(&ids)?;
    for append in appends.iter().filter(|append| !append.events.is_empty()) {
        Head::admit(heads.get(&append.aggregate.id()), append)?;
    }
    Ok(None)
}

/// The results of appends in their order. `results` are those of the appends that have events. An empty append has no event with its
/// aggregate's version, so the version is looked up.
///
/// # Errors
///
/// Those of the source.
pub fn with_versions(
    source: &mut impl AppendSource,
    appends: &[Append<'_>],
    mut results: HashMap<Uuid, Appended>,
) -> Result<Vec<Appended>> {
    let empty = appends.iter().filter(|append| append.events.is_empty());
    let ids: Vec<Uuid> = empty.map(|append| append.aggregate.id()).collect();
    let heads = match ids.is_empty() {
        true => HashMap::new(),
        false => source.heads(&ids)?,
    };
    let complete = |append: &Append<'_>| {
        let id = append.aggregate.id();
        results.remove(&id).unwrap_or_else(|| {
            let version = heads.get(&id).map_or(Version::ZERO, |head| head.version);
            Appended::new(append.aggregate.clone(), version, Vec::new())
        })
    };
    Ok(appends.iter().map(complete).collect())
}

/// The size of a new event's data and metadata, in bytes.
#[must_use]
pub fn payload_bytes(event: &NewEvent) -> usize {
    let metadata = event.details().metadata.map_or(0, |metadata| metadata.as_str().len());
    event.data().as_str().len() + metadata
}

/// Names an append for an error, such as `append to Account 0192…`.
#[must_use]
pub fn describe<'a>(appends: &'a [Append<'a>]) -> impl fmt::Display + 'a {
    struct Description<'a>(&'a [Append<'a>]);

    impl fmt::Display for Description<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("append to ")?;
            match self.0 {
                [] => f.write_str("nothing"),
                [one] => one.aggregate.fmt(f),
                [first, others @ ..] => write!(f, "{} and {} others", first.aggregate, others.len()),
            }
        }
    }

    Description(appends)
}

/// An append that another thread can make.
#[derive(Debug)]
pub struct OwnedAppend {
    pub(super) aggregate: AggregateKey,
    expected: ExpectedVersion,
    events: Vec<NewEvent>,
    tenant: Option<TenantId>,
}

impl OwnedAppend {
    /// Copies an append. The copy shares the events' data.
    #[must_use]
    pub fn of(append: &Append<'_>) -> Self {
        Self {
            aggregate: append.aggregate.clone(),
            expected: append.expected,
            events: append.events.to_vec(),
            tenant: append.tenant.cloned(),
        }
    }

    /// The append.
    #[must_use]
    pub fn borrow(&self) -> Append<'_> {
        let append = Append::new(&self.aggregate, self.expected, &self.events);
        match &self.tenant {
            Some(tenant) => append.tenant(tenant),
            None => append,
        }
    }
}
