//! Importing: checks which events may be imported, and with which sequences.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::append::{AppendSource, first_repeated};
use super::archived::aggregate_ids;
use super::archives::archives_between;
use super::head::Head;
use super::kinds::contradiction;
use super::sql::SqlSession;
use crate::operate::Streams;
use crate::store::pipeline;
use crate::{Error, ErrorKind, EventEnvelope, GlobalSequence, Limits, Located, Result, Version};

/// A transaction that imports events: see [`import`].
pub trait ImportTarget: AppendSource + SqlSession + Sized {
    /// Makes other writers of these aggregates, or of the whole log, wait until the transaction ends. Then returns the last sequence of the
    /// log, or the last one that may have been assigned.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn hold_writers(&mut self, events: &[EventEnvelope]) -> Result<GlobalSequence>;

    /// Whether there may be archived events. The unique keys of the log do not refuse their ids.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn has_archived(&mut self) -> Result<bool> {
        Ok(!archives_between(self, GlobalSequence::ZERO, GlobalSequence::MAX)?.is_empty())
    }

    /// Stores events as they are, with their sequences.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn insert(&mut self, events: &[EventEnvelope]) -> Result<()>;
}

/// Imports [checked](check_import) events within a transaction.
///
/// `proved` is the mark that the store has proved. Readers may have got it, so every imported event must come after it, even if somebody
/// deleted the last events of the log since.
///
/// # Errors
///
/// [`Contradiction`](ErrorKind::Contradiction), and those of the target.
pub fn import(target: &mut impl ImportTarget, events: &[EventEnvelope], proved: GlobalSequence) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let end = target.hold_writers(events)?.max(proved);
    let heads = target.heads(&aggregate_ids(events))?;
    admit_import(events, end, &heads)?;
    if target.has_archived()? {
        let found = target.locate(&event_ids(events))?;
        if !found.is_empty() {
            return Err(refuse_import(events, &found));
        }
    }
    target.insert(events)
}

/// [`Operations::import_events`](crate::operate::Operations::import_events): checks the events, and imports them by `import`, in one
/// transaction.
///
/// `import` is not repeated if the connection was lost: if the first commit succeeded, a second import would report a contradiction. If it
/// violated a unique key, which `is_refused` recognizes, `locate` finds the stored events with these ids, after the rollback.
///
/// # Errors
///
/// As there.
pub fn import_events(
    events: &[EventEnvelope],
    limits: &Limits,
    import: impl FnOnce() -> Result<()>,
    is_refused: impl FnOnce(&Error) -> bool,
    locate: impl FnOnce(&[Uuid]) -> Result<Vec<Located>>,
) -> Result<()> {
    check_import(events, limits)?;
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return import(); // a store that is gone is an error even so
    };
    let imported = match import() {
        Err(error) if is_refused(&error) => {
            locate(&event_ids(events)).and_then(|found| Err(refuse_import(events, &found).with_source(error)))
        }
        imported => imported,
    };
    imported.map_err(|error| {
        error.during(format_args!(
            "import the events with global sequences {} to {}",
            first.global_sequence, last.global_sequence
        ))
    })
}

fn event_ids(events: &[EventEnvelope]) -> Vec<Uuid> {
    events.iter().map(|event| event.event_id).collect()
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

/// Refuses checked events that do not continue the store's log: `end` is the last sequence that the store has, or may have assigned, and
/// `heads` are those of the aggregates that have events, by their ids.
///
/// # Errors
///
/// [`Contradiction`](ErrorKind::Contradiction).
pub fn admit_import(events: &[EventEnvelope], end: GlobalSequence, heads: &HashMap<Uuid, Head>) -> Result<()> {
    let Some(first) = events.first() else {
        return Ok(());
    };
    if first.global_sequence <= end {
        return Err(contradiction(
            first,
            format!("the store has already assigned sequences up to {end}"),
        ));
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

/// The error of an import that violated a unique key. `found` are the stored events with its events' ids.
#[must_use]
pub fn refuse_import(events: &[EventEnvelope], found: &[Located]) -> Error {
    let is_stored = |event: &&EventEnvelope| found.iter().any(|located| located.event_id == event.event_id);
    match (events.iter().find(is_stored), events.first()) {
        (Some(event), _) => contradiction(event, "its id is stored already".to_owned()),
        (None, Some(first)) => Error::new(ErrorKind::Unavailable {
            reason: format!(
                "another program appended while {} and others were imported",
                first.name()
            )
            .into(),
        }),
        (None, None) => Error::invalid("there is nothing to import"),
    }
}
