//! Damaged data: how it is detected, and its errors.

use crate::{Error, ErrorKind, EventEnvelope, EventStream, GlobalSequence, Page, Result, Snapshot};

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

/// The page, after comparing each event to its checksum if `verify` is set.
///
/// # Errors
///
/// [`Integrity`](ErrorKind::Integrity), naming the event that does not match its checksum.
pub fn verified_page(page: Page, verify: bool) -> Result<Page> {
    if verify {
        page.events.iter().try_for_each(EventEnvelope::verify)?;
    }
    Ok(page)
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

/// The snapshot and the stream, after [`verified_snapshots`] and [`verified`].
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
