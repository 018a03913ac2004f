//! Sealing the log, and the findings about its seals.

use time::OffsetDateTime;

use super::archive::archived_log;
use super::diagnosis::{Diagnosis, Severity};
use super::digest::Hashed;
use super::operations::Operations;
use super::progress::{Progress, Telling};
use super::seal::{Remembered, Seal, log_ends_before};
use crate::store::pipeline;
use crate::values::timestamp::time_text;
use crate::{Error, ErrorKind, EventQuery, GlobalSequence, Result};

/// Seals the log up to its high-water mark, and returns the newest seal: a new one, or the last one if there are no new events.
///
/// Reads the events since the last seal. It also reads again the events that the last seal added, and checks that they are unchanged. So
/// each event is read twice, whatever the log's length. One thread reads, page by page, and as many threads as there are cores hash; about
/// 16 MiB of events are in memory. Appends and reads do not wait for it. Several programs may seal at once: they seal the same log. A seal
/// is some 100 bytes; seal the log once an hour or once a day.
///
/// If the beginning of the log was [archived](super::Archiving), the seal continues from the digest of the last archived range.
///
/// Changes of events that are not sealed yet are not detected. Changes of sealed events are detected, unless the later seals are rewritten
/// as well. Such a rewrite is detected by [comparing](super::Audit::against) the log with a seal that was stored elsewhere.
///
/// # Errors
///
/// - [`Integrity`](ErrorKind::Integrity) if the log does not match the last seal, or an event does not match its checksum, or has none: no
///   seal is made. [`Audit`](super::Audit) finds out more;
/// - [`Archived`](ErrorKind::Archived) if whole streams were archived, and their events lie after the archived ranges: attach them, and
///   archive ranges instead;
/// - those of the store.
pub fn seal(store: &dyn Operations, progress: impl FnMut(Progress)) -> Result<Seal> {
    try_seal(store, Telling::new(progress)).map_err(|error| error.during("seal the log"))
}

fn try_seal<F: FnMut(Progress)>(store: &dyn Operations, mut telling: Telling<F>) -> Result<Seal> {
    let mut newest = store.newest_seals(2)?.into_iter();
    let last = newest.next();
    let end_of_last = last.map_or(GlobalSequence::ZERO, |seal| seal.global_sequence);
    // The files of the archives have their own digests. The log continues from there.
    let bases = [newest.next().map(Remembered::from), archived_log(&store.archives()?)];
    let base = bases.into_iter().flatten().max_by_key(|log| log.global_sequence);
    let mut log = base.unwrap_or(Remembered::NOTHING);
    let mark = store.high_water_mark()?;
    if mark < end_of_last && log_ends_before(store, end_of_last)? {
        return Err(not_as_sealed(format!(
            "it was sealed up to global sequence {end_of_last}, and ends at {mark}: its last events are gone"
        )));
    }
    telling.expect(Some(mark.get().saturating_sub(log.global_sequence.get())));

    let mut is_last_checked = log.global_sequence > end_of_last;
    let query = EventQuery::new().after(log.global_sequence).until(mark);
    pipeline::read_in_order(store, query, Hashed::all, |events| {
        for hashed in events {
            if !is_last_checked && hashed.event.global_sequence > end_of_last {
                check_last(last, &log)?;
                is_last_checked = true;
            }
            hashed.verify()?;
            log.add(&hashed)?;
            telling.add(1);
        }
        Ok(())
    })?;
    if !is_last_checked && mark >= end_of_last {
        check_last(last, &log)?;
    }
    telling.finish();

    let sealed = Seal {
        global_sequence: log.global_sequence,
        events: log.events,
        digest: log.digest,
        sealed_at: OffsetDateTime::now_utc().truncate_to_microsecond(),
    };
    match last {
        // Another store may have sealed beyond the mark of this one.
        Some(last) if sealed.global_sequence <= end_of_last => Ok(last),
        None if sealed.events == 0 => Ok(sealed),
        _ => insert(store, sealed),
    }
}

/// Stores a seal, or returns the one that another program stored meanwhile.
fn insert(store: &dyn Operations, seal: Seal) -> Result<Seal> {
    store.insert_seal(&seal)?;
    let before = GlobalSequence::new(seal.global_sequence.get() - 1)?;
    match store.seals_after(before, 1)?.pop() {
        Some(stored) if Remembered::from(stored) == Remembered::from(seal) => Ok(stored),
        _ => Err(not_as_sealed(format!(
            "there is another seal at global sequence {}, with another digest",
            seal.global_sequence
        ))),
    }
}

fn check_last(last: Option<Seal>, log: &Remembered) -> Result<()> {
    match last {
        Some(seal) if Remembered::from(seal) != *log => Err(not_as_sealed(format!(
            "it was sealed up to global sequence {} with {} events and the digest {}, and has {} with {}",
            seal.global_sequence, seal.events, seal.digest, log.events, log.digest
        ))),
        _ => Ok(()),
    }
}

fn not_as_sealed(reason: String) -> Error {
    Error::new(ErrorKind::Integrity {
        event_id: None,
        global_sequence: None,
        reason: format!("the log is not what was sealed, so no new seal was made: {reason}").into(),
    })
}

/// The finding about the seals: how much of the log is sealed, and whether the sealed events still exist.
///
/// `mark` is the high-water mark, if it is known here.
pub(super) fn diagnose_seals(store: &dyn Operations, mark: Option<GlobalSequence>) -> Result<Diagnosis> {
    const SUBJECT: &str = "seals";
    let Some(seal) = store.newest_seals(1)?.pop() else {
        return Ok(Diagnosis::good(SUBJECT, "none; the log is not sealed"));
    };
    let sealed = format!(
        "the newest is of {}, up to global sequence {}",
        time_text(seal.sealed_at),
        seal.global_sequence
    );
    let Some(mark) = mark else {
        return Ok(Diagnosis::good(
            SUBJECT,
            format!("{sealed}; the number of later events is unknown"),
        ));
    };
    if mark < seal.global_sequence && log_ends_before(store, seal.global_sequence)? {
        return Ok(Diagnosis::bad(
            Severity::Danger,
            SUBJECT,
            format!("{sealed}, and the log ends at {mark}: its last events are gone"),
            "find out who removed them, and restore a backup; an audit says which seals do not match",
        ));
    }
    let unsealed = mark.get().saturating_sub(seal.global_sequence.get());
    Ok(Diagnosis::good(
        SUBJECT,
        match unsealed {
            0 => format!("{sealed}, where the log ends"),
            _ => format!("{sealed}; the log ends {unsealed} after it"),
        },
    ))
}
