//! For those who write a backend: the decisions that must be the same on every one.
//!
//! A backend's append is: [`check`] the input; insert, guarded by its unique keys; when a key is violated, or the guard
//! finds the aggregate elsewhere, look up the ids and ask [`resolve_repeated`]; if these events are new, look up the
//! aggregate's [`Head`] and let [`Head::admit`] say what is wrong.

mod line;
mod load;
mod page;
mod usual;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

pub use crate::query::PageEvents;
use crate::{
    AggregateKey, AggregateType, Append, Appended, Error, ErrorKind, EventEnvelope, EventStream, GlobalSequence,
    Limits, Located, Metadata, NewEvent, NewSnapshot, Result, Snapshot, TenantId, Version, pipeline,
};

pub use crate::event::{EventDetails, to_utc};
use crate::operate::Streams;
pub use crate::publisher::{Publisher, diagnose_published_mark, never_published};
pub use crate::tenant::Scope;
pub use crate::timestamp::{TimeText, parse_time, time_text};
pub use crate::within::{Entered, Within};
pub use crate::writer::{Writer, WriterGuard};
pub use line::{Group, Line, OwnedAppend};
pub(crate) use load::from_snapshot;
pub use load::{StreamSource, load, load_from_snapshot};
pub use page::{FirstPage, Found, first_page};
pub use usual::UsualSize;

/// What a backend needs to know of an aggregate: who it belongs to, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The type its id belongs to.
    pub aggregate_type: AggregateType,
    /// The tenant it belongs to.
    pub tenant: Option<TenantId>,
    /// The version it is at, at least 1.
    pub version: Version,
}

impl Head {
    /// Decides whether `append` may go on top of what is there, and returns the version before its first event.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](ErrorKind::TypeMismatch), [`TenantMismatch`](ErrorKind::TenantMismatch),
    /// [`Conflict`](ErrorKind::Conflict), or [`InvalidInput`](ErrorKind::InvalidInput) if the versions would go beyond
    /// `i64::MAX`.
    pub fn admit(head: Option<&Self>, append: &Append<'_>) -> Result<Version> {
        if let Some(head) = head {
            head.check_owner(append.aggregate, append.tenant)?;
        }
        let actual = head.map_or(Version::ZERO, |head| head.version);
        if !append.expected.admits(actual) {
            return Err(Error::new(ErrorKind::Conflict {
                aggregate: append.aggregate.clone(),
                expected: append.expected,
                actual,
            }));
        }
        if actual.checked_add(append.events.len() as u64).is_none() {
            return Err(Error::invalid("the aggregate's versions would go beyond i64::MAX"));
        }
        Ok(actual)
    }

    /// Refuses an aggregate id that is used with another type or tenant than it belongs to.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](ErrorKind::TypeMismatch) or [`TenantMismatch`](ErrorKind::TenantMismatch).
    pub fn check_owner(&self, aggregate: &AggregateKey, tenant: Option<&TenantId>) -> Result<()> {
        check_owner(aggregate, tenant, &self.aggregate_type, self.tenant.as_ref())
    }
}

fn check_owner(
    aggregate: &AggregateKey,
    tenant: Option<&TenantId>,
    actual_type: &AggregateType,
    actual_tenant: Option<&TenantId>,
) -> Result<()> {
    // The tenant first: nothing of another tenant's aggregate is told, not even its type.
    if actual_tenant != tenant {
        return Err(Error::new(ErrorKind::TenantMismatch {
            aggregate: aggregate.clone(),
        }));
    }
    check_type(aggregate, actual_type)
}

/// Refuses an aggregate id that is used with another type than it belongs to.
///
/// # Errors
///
/// [`TypeMismatch`](ErrorKind::TypeMismatch).
pub fn check_type(aggregate: &AggregateKey, actual: &AggregateType) -> Result<()> {
    if aggregate.aggregate_type() == actual {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TypeMismatch {
        aggregate: aggregate.clone(),
        actual: actual.clone(),
    }))
}

/// Refuses a read that begins beyond the end of the log, where events are gone that were there when its checkpoint was kept.
///
/// `position` is where the read begins, or a mark that was proved before, and `mark` what is proved now. A mark may be behind what
/// another store proved; so `end`, the greatest sequence that is committed, is asked only where the position is beyond it.
///
/// # Errors
///
/// [`BeyondEnd`](ErrorKind::BeyondEnd), and those of `end`.
pub fn check_end(
    position: GlobalSequence,
    mark: GlobalSequence,
    end: impl FnOnce() -> Result<GlobalSequence>,
) -> Result<()> {
    if position <= mark {
        return Ok(());
    }
    match end()? {
        end if position <= end => Ok(()),
        end => Err(Error::new(ErrorKind::BeyondEnd { position, end })),
    }
}

/// The stream, after comparing each event to its checksum if `verify` is set.
///
/// # Errors
///
/// [`Integrity`](ErrorKind::Integrity), naming the event that does not match its checksum.
pub fn verified(stream: EventStream, verify: bool) -> Result<EventStream> {
    if verify {
        stream.events().iter().try_for_each(EventEnvelope::verify)?;
    }
    Ok(stream)
}

/// The snapshots, one or many, after comparing each to its checksum if `verify` is set.
///
/// # Errors
///
/// [`Integrity`](ErrorKind::Integrity), naming the snapshot that does not match its checksum.
pub fn verified_snapshots<S>(snapshots: S, verify: bool) -> Result<S>
where
    for<'a> &'a S: IntoIterator<Item = &'a Snapshot>,
{
    if verify {
        (&snapshots).into_iter().try_for_each(Snapshot::verify)?;
    }
    Ok(snapshots)
}

/// What was loaded from a snapshot, as [`verified_snapshots`] and [`verified`] return its parts.
///
/// # Errors
///
/// [`Integrity`](ErrorKind::Integrity), naming what does not match its checksum.
pub fn verified_with_snapshot(
    loaded: (Option<Snapshot>, EventStream),
    verify: bool,
) -> Result<(Option<Snapshot>, EventStream)> {
    let (snapshot, stream) = loaded;
    Ok((verified_snapshots(snapshot, verify)?, verified(stream, verify)?))
}

/// The error of a row that was read. A value that would be refused as input cannot have been stored, so it is damage. The sequence
/// is that of the event, if the row is an event and its sequence can be read.
#[must_use]
pub fn damaged(error: &Error, global_sequence: Option<GlobalSequence>) -> Error {
    if !matches!(error.kind(), ErrorKind::InvalidInput { .. }) {
        return error.clone();
    }
    let reason = match global_sequence {
        Some(sequence) => format!("the event with global sequence {sequence} cannot be read: {error}"),
        None => format!("a row cannot be read: {error}"),
    };
    Error::new(ErrorKind::Integrity {
        event_id: None,
        global_sequence,
        reason: reason.into(),
    })
}

/// Refuses events that cannot be imported into any store with these limits, before anything is sent: see
/// [`Operations::import_events`](crate::operate::Operations::import_events).
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) beyond the limits, or if sequences or versions are in another order;
/// [`Integrity`](ErrorKind::Integrity) if data does not match its checksum.
pub fn check_import<'e>(events: &'e [EventEnvelope], limits: &Limits) -> Result<()> {
    /// How many events a thread checks at once.
    const PIECE: usize = 250;
    let mut streams = Streams::default();
    let mut last = GlobalSequence::ZERO;
    let admit = |events: &'e [EventEnvelope]| {
        let admitted = events.iter().map(|event| (event, event.admit(limits)));
        admitted.collect::<Vec<_>>()
    };
    pipeline::in_order(
        events.chunks(PIECE),
        |_| 0,
        admit,
        |admitted| {
            for (event, admitted) in admitted {
                let refused = |error: &Error| Error::invalid(format!("{}: {error}", event.name()));
                if event.global_sequence <= last {
                    return Err(refused(&Error::invalid(format!(
                        "it comes after global sequence {last}"
                    ))));
                }
                last = event.global_sequence;
                admitted.map_err(|error| match error.is_integrity() {
                    true => error,
                    false => refused(&error),
                })?;
                streams
                    .add(event, true)
                    .map_err(|found| refused(&Error::invalid(found.reason)))?;
            }
            Ok(())
        },
    )?;
    if let Some(event_id) = first_repeated(events.iter().map(|event| event.event_id)) {
        return Err(Error::invalid(format!("the event id {event_id} occurs twice")));
    }
    Ok(())
}

/// Refuses checked events that do not go on where the store is: `end` is the last sequence that it holds, or may have given
/// away, and `heads` are those of the aggregates that have events, by their ids.
///
/// # Errors
///
/// [`Contradiction`](ErrorKind::Contradiction).
pub fn admit_import(events: &[EventEnvelope], end: GlobalSequence, heads: &HashMap<Uuid, Head>) -> Result<()> {
    let Some(first) = events.first() else {
        return Ok(());
    };
    if first.global_sequence <= end {
        return Err(contradiction(first, format!("the store goes on to {end} already")));
    }
    let mut seen = HashSet::new();
    for event in events.iter().filter(|event| seen.insert(event.aggregate.id())) {
        let head = heads.get(&event.aggregate.id());
        if let Some(head) = head {
            head.check_owner(&event.aggregate, event.tenant.as_ref())
                .map_err(|error| contradiction(event, error.to_string()))?;
        }
        let version = head.map_or(Version::ZERO, |head| head.version);
        if version.checked_add(1) != Some(event.version) {
            return Err(contradiction(
                event,
                format!(
                    "it is version {} of its aggregate, which the store has at {version}",
                    event.version
                ),
            ));
        }
    }
    Ok(())
}

/// The error of an import that violated a unique key, given where the ids of its events were found.
#[must_use]
pub fn refuse_import(events: &[EventEnvelope], found: &[Located]) -> Error {
    let is_stored = |event: &&EventEnvelope| found.iter().any(|located| located.event_id == event.event_id);
    match (events.iter().find(is_stored), events.first()) {
        (Some(event), _) => contradiction(event, "its id is stored already".to_owned()),
        (None, Some(first)) => Error::new(ErrorKind::Unavailable {
            reason: format!("somebody else appended while {} and others were imported", first.name()).into(),
        }),
        (None, None) => Error::invalid("there is nothing to import"),
    }
}

fn contradiction(event: &EventEnvelope, reason: String) -> Error {
    Error::new(ErrorKind::Contradiction {
        event_id: event.event_id,
        global_sequence: event.global_sequence,
        reason: reason.into(),
    })
}

/// Refuses a snapshot of a version that the aggregate, whose head this is, does not have.
///
/// # Errors
///
/// [`TypeMismatch`](ErrorKind::TypeMismatch), [`TenantMismatch`](ErrorKind::TenantMismatch), or
/// [`InvalidInput`](ErrorKind::InvalidInput).
pub fn check_snapshot(head: Option<&Head>, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
    if let Some(head) = head {
        head.check_owner(snapshot.aggregate(), tenant)?;
    }
    let actual = head.map_or(Version::ZERO, |head| head.version);
    if snapshot.version() > actual {
        return Err(Error::invalid(format!(
            "the aggregate is at version {actual} only; append the events first"
        )));
    }
    Ok(())
}

/// Refuses what cannot be stored exactly, or makes no sense, before anything is sent.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) if an event exceeds the limits, an event id occurs twice, or an aggregate
/// does.
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

fn first_repeated(ids: impl Iterator<Item = Uuid>) -> Option<Uuid> {
    let mut ids = ids.peekable();
    let first = ids.next()?;
    ids.peek()?;
    let mut seen = HashSet::from([first]);
    ids.find(|id| !seen.insert(*id))
}

/// Decides whether the events of `appends`, some of whose ids were found, are a repeated append.
///
/// Returns the original result, marked, if every event is stored for its aggregate, in this order, one version after the
/// other; none if no id was found.
///
/// # Errors
///
/// [`TenantMismatch`](ErrorKind::TenantMismatch) or [`TypeMismatch`](ErrorKind::TypeMismatch) if they are stored, but the
/// aggregate is somebody else's; [`Integrity`](ErrorKind::Integrity) if metadata that was found is no JSON;
/// [`Duplicate`](ErrorKind::Duplicate) with the ids that were found, in any other case.
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
    /// The aggregate is somebody else's, or what is stored is damaged.
    Other(Error),
    /// The ids are stored in another way.
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

/// What the stored event has otherwise than this one; none if both are the same.
///
/// The time counts only where the caller set it: otherwise the store's clock did.
fn difference(event: &NewEvent, stored: &Located) -> Result<Option<&'static str>> {
    let metadata = stored.metadata.as_ref().map(Metadata::checksum).transpose();
    let metadata = metadata.map_err(|error| damaged(&error, Some(stored.global_sequence)))?;
    let details = event.details();
    let is_set_otherwise = |time| time != stored.created_at;
    let differences = [
        (stored.event_type != *event.event_type(), "another type"),
        (stored.checksum.is_some_and(|sum| sum != event.checksum()), "other data"),
        (metadata != event.metadata_checksum(), "other metadata"),
        (stored.created_by.as_ref() != details.created_by, "another creator"),
        (
            stored.correlation_id.as_ref() != details.correlation_id,
            "another correlation id",
        ),
        (
            stored.causation_id.as_ref() != details.causation_id,
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

/// The error of a URL that a driver does not take. It names the option that the driver does not take, if one is the reason:
/// `takes` asks it about one, such as `compress=yes`. Nothing else of the URL is repeated: there may be a password in it.
///
/// ```
/// use firefly_eventstore_core::backend::refused_url;
///
/// let takes = |option: &str| option.starts_with("compress=");
/// let form = "mysql://user:password@host:port/database";
/// let error = refused_url("mysql://clerk:tiger@db/ledger?compress=true&speed=full", form, takes);
/// assert_eq!(error.to_string(), "the option speed of the URL, or its value, is unknown");
/// let error = refused_url("mysql:/clerk:tiger@db", form, takes);
/// assert_eq!(error.to_string(), "the URL cannot be understood; write mysql://user:password@host:port/database");
/// ```
#[must_use]
pub fn refused_url(url: &str, form: &str, takes: impl Fn(&str) -> bool) -> Error {
    let options = url.split_once('?').map_or("", |(_, options)| options);
    let refused = options.split('&').find(|option| !option.is_empty() && !takes(option));
    let name = refused.map(|option| option.split('=').next().unwrap_or(option));
    let is_name = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    // Before an `@` it may be a part of a password that has a question mark.
    match name.filter(is_name).filter(|_| !options.contains('@')) {
        Some(name) => Error::invalid(format!("the option {name} of the URL, or its value, is unknown")),
        None => Error::invalid(format!("the URL cannot be understood; write {form}")),
    }
}

/// How many bytes the data and the metadata of a new event have.
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
