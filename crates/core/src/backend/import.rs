//! Checks which events may be imported, and with which sequences.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::append::first_repeated;
use super::head::Head;
use crate::operate::Streams;
use crate::store::pipeline;
use crate::{Error, ErrorKind, EventEnvelope, GlobalSequence, Limits, Located, Result, Version};

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

pub(super) fn contradiction(event: &EventEnvelope, reason: String) -> Error {
    Error::new(ErrorKind::Contradiction {
        event_id: event.event_id,
        global_sequence: event.global_sequence,
        reason: reason.into(),
    })
}
