//! The sealed log: the log's digest at points of its past, kept beside it.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;

use super::digest::Hashed;
use super::lines::parse_time;
use super::progress::{Progress, Telling};
use super::{Diagnosis, LogDigest, Operations, Remembered, Severity};
use crate::timestamp::time_text;
use crate::{Error, ErrorKind, EventQuery, EventStore, GlobalSequence, Result, pipeline};

/// What the log was, up to a sequence: a row of the table `firefly_seals`.
///
/// The digest is that of the whole log up to there, with all that is stored of each event: the same as that of an
/// [`Export`](super::Export) up to this sequence. It goes on from the digest of the seal before, so a seal vouches for all
/// before it, and sealing reads only what is new.
///
/// Whoever can write to the database can rewrite seals along with the log. So keep the newest one outside of it: it is written as
/// one line, and read from it.
///
/// ```
/// use firefly_eventstore_core::operate::{Audit, Seal, seal};
/// use firefly_eventstore_core::{MemoryEventStore, prelude::*};
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
///
/// let kept: String = seal(&store, |_| {})?.to_string();
///
/// // Later: is the log still the one that was sealed?
/// let kept: Seal = kept.parse()?;
/// let audited = Audit::new().against(kept).run(&store, |_| {}, |finding| panic!("{finding}"))?;
/// assert_eq!((audited.seals, audited.unsealed), (1, 0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The last sequence that is sealed.
    pub global_sequence: GlobalSequence,
    /// How many events the log had up to there.
    pub events: u64,
    /// The digest of the log up to there.
    pub digest: LogDigest,
    /// When it was sealed, by the clock of the program that did, in UTC, to the microsecond. The digest does not cover it.
    pub sealed_at: OffsetDateTime,
}

/// What an audit needs of a seal to compare the log with it.
impl From<Seal> for Remembered {
    fn from(seal: Seal) -> Self {
        Self {
            global_sequence: seal.global_sequence,
            events: seal.events,
            digest: seal.digest,
        }
    }
}

/// What the line of a seal begins with.
const NAME: &str = "firefly-seal";

/// One line without spaces: `firefly-seal/SEQUENCE/EVENTS/TIME/DIGEST`.
impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            global_sequence,
            events,
            digest,
            sealed_at,
        } = self;
        write!(
            f,
            "{NAME}/{global_sequence}/{events}/{}/{digest}",
            time_text(*sealed_at)
        )
    }
}

impl FromStr for Seal {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("{line:?} is not the line of a seal: it begins with {NAME}/"));
        let [NAME, sequence, events, sealed_at, digest] = line.trim().split('/').collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        let sequence: u64 = sequence.parse().map_err(|_| wrong())?;
        Ok(Self {
            global_sequence: GlobalSequence::new(sequence)?,
            events: events.parse().map_err(|_| wrong())?,
            digest: digest.parse()?,
            sealed_at: parse_time(sealed_at)?,
        })
    }
}

/// Seals the log up to its high-water mark, and returns the newest seal: a new one, or the last one if nothing came since.
///
/// Reads what came since the last seal, and once more what that one sealed since the seal before, to see that it is still the same.
/// So each event is read twice, whatever the log's length. One thread reads, page by page, and as many as there are cores hash; some
/// 16 MiB of events are in memory. Nobody who appends or reads waits. Several programs may seal at once: what they seal is the same
/// log. A seal is some 100 bytes; once an hour or once a day is usual.
///
/// What is not sealed yet can be changed without being found out; what the newest seal covers, only by whoever also rewrites the
/// seals from there on, and that is found out by [comparing](super::Audit::against) with a seal that was kept elsewhere.
///
/// # Errors
///
/// - [`Integrity`](ErrorKind::Integrity) if the log is not what the last seal says, or an event does not match its checksum, or
///   has none: nothing is sealed. [`Audit`](super::Audit) says more;
/// - those of the store.
pub fn seal(store: &dyn Operations, progress: impl FnMut(Progress)) -> Result<Seal> {
    try_seal(store, Telling::new(progress)).map_err(|error| error.during("seal the log"))
}

fn try_seal<F: FnMut(Progress)>(store: &dyn Operations, mut telling: Telling<F>) -> Result<Seal> {
    let mut newest = store.newest_seals(2)?.into_iter();
    let last = newest.next();
    let end_of_last = last.map_or(GlobalSequence::ZERO, |seal| seal.global_sequence);
    let mut log = newest.next().map_or(Remembered::NOTHING, Remembered::from);
    let mark = store.high_water_mark()?;
    if mark < end_of_last && log_ends_before(store, end_of_last)? {
        return Err(not_as_sealed(format!(
            "it was sealed up to global sequence {end_of_last}, and ends at {mark}: its last events are gone"
        )));
    }
    telling.expect(Some(mark.get().saturating_sub(log.global_sequence.get())));

    let mut is_last_checked = false;
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
        // The mark of another store may be behind what this one sealed.
        Some(last) if sealed.global_sequence <= end_of_last => Ok(last),
        None if sealed.events == 0 => Ok(sealed),
        _ => insert(store, sealed),
    }
}

/// Stores a seal, or finds the one that another program stored meanwhile.
fn insert(store: &dyn Operations, seal: Seal) -> Result<Seal> {
    store.insert_seal(&seal)?;
    let before = GlobalSequence::new(seal.global_sequence.get() - 1)?;
    match store.seals_after(before, 1)?.pop() {
        Some(stored) if Remembered::from(stored) == Remembered::from(seal) => Ok(stored),
        _ => Err(not_as_sealed(format!(
            "there is another seal at global sequence {}, which says otherwise",
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
        reason: format!("the log is not what was sealed, and nothing more is: {reason}").into(),
    })
}

/// Whether the log ends before a sequence that it had. A mark that is before it does not tell: another store may have proved more.
pub(super) fn log_ends_before(store: &(impl EventStore + ?Sized), sequence: GlobalSequence) -> Result<bool> {
    Ok(store.statistics(None)?.current_global_sequence < sequence)
}

/// How much of the log is sealed, and whether what was sealed is still there.
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
            format!("{sealed}; what came since is not known here"),
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
