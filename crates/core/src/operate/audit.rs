//! Audit: checks whether stored data was changed or damaged.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::archive::{Archive, archived_log};
use super::digest::Hashed;
use super::finding::{Finding, FindingKind};
use super::operations::Operations;
use super::progress::{Progress, Telling};
use super::seal::{Remembered, Seal, log_ends_before};
use super::snapshots::PAGE;
use super::streams::Streams;
use crate::backend::kinds;
use crate::store::pipeline;
use crate::values::timestamp::time_text;
use crate::{
    Cursor, Error, ErrorKind, EventEnvelope, EventQuery, GlobalSequence, Result, Snapshot, SnapshotCover, StreamRange,
    Version,
};

/// Checks a store: that every event has the right checksum and size, that versions are contiguous, that an aggregate has one type and one
/// tenant, that the log matches its [seals](super::seal()), that snapshots belong to events, and that the database finds no damage itself.
///
/// If the beginning of the log was [archived](super::Archiving), the audit starts after it. [`Import::check`](super::Import::check) checks
/// the files.
///
/// Reports everything that is wrong, in the order of the log. It continues after a finding, and after a row that cannot be read. One thread
/// reads, page by page, and as many threads as there are cores hash. About 16 MiB of events are in memory, and the version of each
/// aggregate, some 100 bytes each.
///
/// ```
/// use firefly_eventstore_core::operate::Audit;
/// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
///
/// let audited = Audit::new().run(&store, |_| {}, |finding| panic!("{finding}"))?;
/// assert!(audited.is_intact());
///
/// // Later: only what is new.
/// let remembered = audited.remembered.expect("nothing is damaged");
/// let audited = Audit::new().only_after(remembered).run(&store, |_| {}, |finding| panic!("{finding}"))?;
/// assert_eq!(audited.events, 0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit {
    remembered: Option<Remembered>,
    only_new: bool,
}

/// The result of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audited {
    /// How many events.
    pub events: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// How many of them have a checksum of the old form, which [covers](SnapshotCover::State) only the state. Save them again to give them
    /// a new checksum.
    pub old_snapshots: u64,
    /// How many seals the log was compared with.
    pub seals: u64,
    /// The newest of these seals.
    pub newest_seal: Option<Seal>,
    /// How many events are not sealed.
    pub unsealed: u64,
    /// How many findings there were.
    pub findings: u64,
    /// The digest of the log; none if anything is wrong with the log.
    pub remembered: Option<Remembered>,
}

impl Audited {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.findings == 0
    }
}

impl Audit {
    /// An audit of the whole store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also compares the log with the result of an earlier audit, or with a [`Seal`] that was stored elsewhere. This also works if the log
    /// was imported into another database since.
    #[must_use]
    pub fn against(mut self, remembered: impl Into<Remembered>) -> Self {
        self.remembered = Some(remembered.into());
        self.only_new = false;
        self
    }

    /// Audits only the events after the remembered sequence, but all snapshots and the whole storage.
    #[must_use]
    pub fn only_after(mut self, remembered: Remembered) -> Self {
        self.remembered = Some(remembered);
        self.only_new = true;
        self
    }

    /// Runs the audit, and passes each finding to `report` at once.
    ///
    /// # Errors
    ///
    /// Those of the store; [`Unavailable`](ErrorKind::Unavailable) if events were archived or attached meanwhile: repeat it. An error about
    /// damaged data is a finding instead.
    pub fn run(
        &self,
        store: &dyn Operations,
        progress: impl FnMut(Progress),
        mut found: impl FnMut(Finding),
    ) -> Result<Audited> {
        let mut telling = Telling::new(progress);
        let archives = store.archives()?;
        let start = self.remembered.filter(|_| self.only_new);
        let log = beginning(start, archived_log(&archives));
        if let Some(remembered) = self
            .remembered
            .filter(|remembered| remembered.global_sequence < log.global_sequence)
        {
            return Err(Error::invalid(format!(
                "what was remembered ends with global sequence {}, and the log is archived up to {}; compare it with the archive's file",
                remembered.global_sequence, log.global_sequence
            )));
        }
        let mut walk = Walk {
            store,
            archives: &archives,
            found: &mut found,
            findings: 0,
            streams: Streams::default(),
            begins_in_the_middle: start.is_some() || !archives.is_empty(),
            log,
            compared: self.remembered.filter(|_| !self.only_new),
            seals: Seals::after(log),
            old_snapshots: 0,
        };
        let newest_seal = walk.list(|store| store.newest_seals(1))?.pop();
        let mark = walk.mark()?;
        telling.expect(Some(mark.get().saturating_sub(log.global_sequence.get())));
        let reached = [self.remembered, newest_seal.map(Remembered::from)];
        for reached in reached.into_iter().flatten() {
            walk.require_reached(reached.global_sequence, mark)?;
        }
        if mark < log.global_sequence {
            walk.report(Finding::of_store(
                FindingKind::History,
                format!("the log ends at {mark}, and went on to {} before", log.global_sequence),
            ));
        }
        walk.events(mark, &mut telling)?;
        walk.compare_at_the_end(mark, newest_seal)?;
        // Whole streams that were archived meanwhile would be missing in the digest.
        walk.require_unmoved()?;
        let damaged = walk.findings;
        let snapshots = walk.snapshots()?;
        for finding in store.check_storage()? {
            walk.report(finding);
        }
        telling.finish();
        Ok(Audited {
            events: walk.log.events - log.events,
            snapshots,
            old_snapshots: walk.old_snapshots,
            seals: walk.seals.compared,
            newest_seal,
            unsealed: walk
                .log
                .events
                .saturating_sub(newest_seal.map_or(0, |seal| seal.events)),
            findings: walk.findings,
            remembered: (damaged == 0).then_some(walk.log),
        })
    }
}

/// Where an audit begins: after the archived events, or after the remembered ones if only new events are audited.
fn beginning(start: Option<Remembered>, archived: Option<Remembered>) -> Remembered {
    let beginnings = [start, archived].into_iter().flatten();
    let latest = beginnings.max_by_key(|log| log.global_sequence);
    latest.unwrap_or(Remembered::NOTHING)
}

/// A step of reading a log.
enum Read<E> {
    Events(E),
    /// A row that cannot be read. Later rows are read.
    Unreadable(Box<Finding>),
    /// The events after a sequence cannot be read.
    Failed {
        error: Error,
        after: GlobalSequence,
    },
}

impl Read<Vec<EventEnvelope>> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Events(events) => pipeline::bytes_of(events),
            Self::Unreadable(_) | Self::Failed { .. } => 0,
        }
    }

    fn hashed(self) -> Read<Vec<Hashed>> {
        match self {
            Self::Events(events) => Read::Events(Hashed::all(events)),
            Self::Unreadable(finding) => Read::Unreadable(finding),
            Self::Failed { error, after } => Read::Failed { error, after },
        }
    }
}

/// Reads a log up to its mark, page by page, and continues after each row that cannot be read.
struct Reading<'a> {
    store: &'a dyn Operations,
    /// Events up to here were read.
    at: GlobalSequence,
    /// No unreadable row is known up to here.
    until: GlobalSequence,
    mark: GlobalSequence,
    /// Whether events of whole streams may be archived.
    skips_archived: bool,
    /// The next page, if it continues the previous one.
    next: Option<(EventQuery, Cursor)>,
}

impl Iterator for Reading<'_> {
    type Item = Read<Vec<EventEnvelope>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.mark {
            return None;
        }
        let (query, cursor) = match self.next.take() {
            Some((query, cursor)) => (query, Some(cursor)),
            None => {
                let query = EventQuery::new().after(self.at).until(self.until);
                let query = match self.skips_archived {
                    true => query.skip_archived(),
                    false => query,
                };
                (pipeline::in_small_pages(query), None)
            }
        };
        let read = match self.store.read_page(&query, cursor.as_ref()) {
            Ok(page) => {
                self.at = page.next.as_ref().map_or(self.until, |_| page.checkpoint);
                self.next = page.next.map(|next| (query, next));
                Read::Events(page.events)
            }
            Err(error) => match self.unreadable(&error) {
                Some((finding, before)) => {
                    self.until = before;
                    Read::Unreadable(Box::new(finding))
                }
                None => {
                    let after = std::mem::replace(&mut self.at, self.mark);
                    Read::Failed { error, after }
                }
            },
        };
        if self.at == self.until && self.until < self.mark {
            // The next row is the unreadable one.
            self.at = self.at.checked_add(1).expect("it is below the mark");
            self.until = self.mark;
        }
        Some(read)
    }
}

impl Reading<'_> {
    /// The finding of a row that cannot be read, and the sequence before it; none if the error is not about one.
    fn unreadable(&self, error: &Error) -> Option<(Finding, GlobalSequence)> {
        let ErrorKind::Integrity {
            event_id,
            global_sequence: Some(sequence),
            reason,
        } = error.kind()
        else {
            return None;
        };
        if *sequence <= self.at || *sequence > self.until {
            return None;
        }
        let mut finding = Finding::of_store(FindingKind::Unreadable, reason.to_string());
        finding.global_sequence = Some(*sequence);
        finding.event_id = *event_id;
        Some((finding, GlobalSequence::new(sequence.get() - 1).ok()?))
    }
}

struct Walk<'a> {
    store: &'a dyn Operations,
    /// Those that there were at the beginning.
    archives: &'a [Archive],
    found: &'a mut dyn FnMut(Finding),
    findings: u64,
    streams: Streams,
    /// Whether the first events of aggregates may come before the audited part.
    begins_in_the_middle: bool,
    log: Remembered,
    /// The expected state of the log at its end.
    compared: Option<Remembered>,
    seals: Seals,
    old_snapshots: u64,
}

/// How often to look for an event that leaves or comes back.
const MOST_LOOKS: u32 = 5;

/// The seals of a log, compared in its order.
struct Seals {
    /// The next seals, in their order.
    pending: VecDeque<Seal>,
    /// Whether there may be more seals after those.
    is_more: bool,
    /// What the last compared seal says.
    last: Remembered,
    /// How many events the log has up to that seal.
    events: u64,
    /// The digest that continues from the last seal, if the log differs from that seal.
    diverged: Option<Remembered>,
    compared: u64,
}

impl Seals {
    /// The seals after a part of the log that is assumed to be intact.
    fn after(log: Remembered) -> Self {
        Self {
            pending: VecDeque::new(),
            is_more: true,
            last: log,
            events: log.events,
            diverged: None,
            compared: 0,
        }
    }
}

impl Walk<'_> {
    fn report(&mut self, finding: Finding) {
        self.findings += 1;
        (self.found)(finding);
    }

    /// Reports what could also mean that events left the log, or came back, since the audit began.
    fn report_if_unmoved(&mut self, finding: Finding) -> Result<()> {
        self.require_unmoved()?;
        self.report(finding);
        Ok(())
    }

    /// Fails if an archive was begun, finished or attached since the audit began.
    fn require_unmoved(&self) -> Result<()> {
        match self.store.archives()? == self.archives {
            true => Ok(()),
            false => Err(moved()),
        }
    }

    fn mark(&mut self) -> Result<GlobalSequence> {
        match self.store.high_water_mark() {
            // The store itself reports lost events, once.
            Err(error) if error.is_beyond_end() => {
                self.report(Finding::of_store(FindingKind::History, reason_of(&error)));
                self.store.high_water_mark()
            }
            mark => mark,
        }
    }

    /// Fails if an open transaction holds the mark back before this sequence.
    fn require_reached(&self, sequence: GlobalSequence, mark: GlobalSequence) -> Result<()> {
        if sequence <= mark || log_ends_before(self.store, sequence)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable {
            reason: format!(
                "the log can be verified up to global sequence {mark} only, and not yet up to {sequence}: a transaction is open"
            )
            .into(),
        }))
    }

    /// Reads seals. Reports an error as a finding, and returns none then.
    fn list(&mut self, list: impl FnOnce(&dyn Operations) -> Result<Vec<Seal>>) -> Result<Vec<Seal>> {
        match list(self.store) {
            Ok(seals) => Ok(seals),
            Err(error) => {
                self.cut_off(error, "the seals".to_owned())?;
                self.seals.is_more = false;
                Ok(Vec::new())
            }
        }
    }

    fn events<F: FnMut(Progress)>(&mut self, mark: GlobalSequence, telling: &mut Telling<F>) -> Result<()> {
        let reading = Reading {
            store: self.store,
            at: self.log.global_sequence,
            until: mark,
            mark,
            skips_archived: self.archives.iter().any(|archive| archive.log.is_none()),
            next: None,
        };
        pipeline::in_order(reading, Read::bytes, Read::hashed, |read| match read {
            Read::Events(events) => {
                events.iter().try_for_each(|event| self.event(event))?;
                telling.add(events.len() as u64);
                Ok(())
            }
            Read::Unreadable(finding) => {
                self.report(*finding);
                self.log.events += 1;
                Ok(())
            }
            Read::Failed { error, after } => self.cut_off(error, format!("the events after global sequence {after}")),
        })
    }

    /// Reports damage of unknown extent. The rest of this part is skipped.
    fn cut_off(&mut self, error: Error, left_out: String) -> Result<()> {
        if error.is_archived() {
            return Err(moved());
        }
        if !error.is_integrity() {
            return Err(error);
        }
        self.report(Finding::of_store(
            FindingKind::Storage,
            format!("{left_out} cannot be read, and were not checked: {}", reason_of(&error)),
        ));
        Ok(())
    }

    fn event(&mut self, hashed: &Hashed) -> Result<()> {
        let event = &hashed.event;
        self.compare_remembered(event.global_sequence)?;
        self.compare_seals(event.global_sequence)?;
        if let Err(error) = self.log.add(hashed) {
            self.report(Finding::of_event(FindingKind::Unreadable, event, error.to_string()));
        }
        if let Some(diverged) = &mut self.seals.diverged {
            // Unreadable rows were reported.
            let _ = diverged.add(hashed);
        }
        if let Err(error) = hashed.verify() {
            self.report(Finding::of_event(FindingKind::Checksum, event, reason_of(&error)));
        }
        let bytes = event.data.as_str().len();
        if let Some(size) = event.size_bytes.filter(|size| *size as usize != bytes) {
            self.report(Finding::of_event(
                FindingKind::Size,
                event,
                format!("its data has {bytes} bytes, stored is {size}"),
            ));
        }
        if self.begins_in_the_middle && !self.streams.knows(event.aggregate.id()) {
            if let Some(reason) = self.join(event)? {
                self.report_if_unmoved(Finding::of_event(FindingKind::Versions, event, reason))?;
            }
            self.streams.note(event);
            return Ok(());
        }
        if let Err(found) = self.streams.add(event, false) {
            self.report_if_unmoved(Finding::of_event(found.kind, event, found.reason))?;
        }
        Ok(())
    }

    /// Whether the first audited event of an aggregate continues the version before the audited part.
    fn join(&self, event: &EventEnvelope) -> Result<Option<String>> {
        let Some(previous) = event.version.get().checked_sub(1).filter(|previous| *previous > 0) else {
            return Ok(None);
        };
        let previous = Version::new(previous)?;
        let range = StreamRange::all().from_version(previous).to_version(previous);
        let missing = || format!("version {previous} is missing before it");
        let is_moving = self.archives.iter().any(|archive| !archive.is_retired);
        let mut looks = 0;
        let stream = loop {
            match self.store.load_range(&event.aggregate, &range) {
                Ok(stream) => break stream,
                // The archived versions begin at 1, and those of the log follow.
                Err(error) if error.is_archived() => {
                    let archived = self.store.archived_stream(event.aggregate.id())?;
                    let archived = archived.map_or(Version::ZERO, |archived| archived.version);
                    looks += 1;
                    match archived.cmp(&previous) {
                        Ordering::Equal => return Ok(None),
                        // The event itself has left since it was read.
                        Ordering::Greater if is_moving => return Ok(None),
                        // The previous one came back since it was looked for.
                        Ordering::Less if is_moving && looks < MOST_LOOKS => {}
                        _ => return Ok(Some(missing())),
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::TypeMismatch { .. } | ErrorKind::Integrity { .. }
                    ) =>
                {
                    return Ok(Some(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        };
        Ok(match stream.events().first() {
            None => Some(missing()),
            Some(before) if before.global_sequence > event.global_sequence => {
                Some(format!("version {previous} comes after it in the log"))
            }
            Some(before) if before.tenant != event.tenant => {
                Some("its aggregate has another tenant before this event".to_owned())
            }
            Some(_) => None,
        })
    }

    /// Compares the log with the remembered digest, after all events up to its sequence were read.
    fn compare_remembered(&mut self, next: GlobalSequence) -> Result<()> {
        if let Some(remembered) = self.compared.take_if(|remembered| next > remembered.global_sequence)
            && remembered.digest != self.log.digest
        {
            self.report_if_unmoved(Finding::of_store(
                FindingKind::History,
                format!(
                    "up to global sequence {} the log is not what it was: it had {} events with the digest {}, and has {} with {}",
                    remembered.global_sequence,
                    remembered.events,
                    remembered.digest,
                    self.log.events,
                    self.log.digest
                ),
            ))?;
        }
        Ok(())
    }

    /// Compares the log with the seals before a sequence, after everything before it was read.
    fn compare_seals(&mut self, next: GlobalSequence) -> Result<()> {
        while let Some(seal) = self.seal_before(next)? {
            let sealed = Remembered::from(seal);
            let is_sealed = |log: &Remembered| (log.events, log.digest) == (sealed.events, sealed.digest);
            // If the digest of the whole log matches, earlier seals do not matter.
            let is_log = is_sealed(&self.log);
            if !is_log && !self.seals.diverged.as_ref().is_some_and(is_sealed) {
                self.report_seal(seal, "")?;
            }
            self.seals.diverged = (!is_log).then_some(sealed);
            self.seals.last = sealed;
            self.seals.events = self.log.events;
            self.seals.compared += 1;
        }
        Ok(())
    }

    /// The next seal, if it is before a sequence.
    fn seal_before(&mut self, next: GlobalSequence) -> Result<Option<Seal>> {
        if self.seals.pending.is_empty() && self.seals.is_more {
            let last = self.seals.last.global_sequence;
            let listed = self.list(|store| store.seals_after(last, PAGE))?;
            self.seals.is_more = listed.len() >= PAGE as usize;
            self.seals.pending.extend(listed);
        }
        match self.seals.pending.front() {
            Some(seal) if seal.global_sequence < next => Ok(self.seals.pending.pop_front()),
            _ => Ok(None),
        }
    }

    fn report_seal(&mut self, seal: Seal, besides: &str) -> Result<()> {
        let last = self.seals.last;
        let (sealed, found) = (
            seal.events.saturating_sub(last.events),
            self.log.events - self.seals.events,
        );
        let reason = match sealed == found {
            true => format!("its {found} events, or the seal itself, were changed"),
            false => format!("{sealed} events were sealed there, and {found} are there"),
        };
        self.report_if_unmoved(Finding::of_store(
            FindingKind::Seal,
            format!(
                "after global sequence {}, up to {}, the log is not what was sealed at {}: {reason}{besides}",
                last.global_sequence,
                seal.global_sequence,
                time_text(seal.sealed_at)
            ),
        ))
    }

    fn compare_at_the_end(&mut self, mark: GlobalSequence, newest: Option<Seal>) -> Result<()> {
        self.compare_remembered(GlobalSequence::MAX)?;
        self.compare_seals(mark.checked_add(1).unwrap_or(GlobalSequence::MAX))?;
        // A newer seal was made meanwhile.
        if newest.is_some_and(|newest| newest.global_sequence > mark)
            && let Some(seal) = self.seal_before(GlobalSequence::MAX)?
        {
            self.report_seal(seal, &format!("; the log ends at {mark}"))?;
        }
        Ok(())
    }

    fn snapshots(&mut self) -> Result<u64> {
        let mut count = 0;
        let mut place: Option<Snapshot> = None;
        loop {
            let page = match self.store.snapshots_after(place.as_ref(), PAGE) {
                Ok(page) => page,
                Err(error) => {
                    self.cut_off(error, "snapshots".to_owned())?;
                    return Ok(count);
                }
            };
            let Some(last) = page.last() else {
                return Ok(count);
            };
            place = Some(last.clone());
            count += page.len() as u64;
            for snapshot in &page {
                self.snapshot(snapshot)?;
            }
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        match snapshot.cover() {
            Some(SnapshotCover::Row) => {}
            Some(SnapshotCover::State) => self.old_snapshots += 1,
            None => {
                let reason = "its checksum does not match; delete it, since the events have the state";
                self.report(Finding::of_snapshot(FindingKind::Snapshot, snapshot, reason));
            }
        }
        let range = StreamRange::all()
            .from_version(snapshot.version)
            .to_version(snapshot.version);
        let stream = match self.store.load_range(&snapshot.aggregate, &range) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::TypeMismatch { .. }) => {
                self.report(Finding::of_snapshot(FindingKind::Snapshot, snapshot, reason_of(&error)));
                return Ok(());
            }
            // The event is damaged, which was reported already, or it is archived.
            Err(error) if error.is_integrity() || error.is_archived() => return Ok(()),
            Err(error) => return Err(error),
        };
        let (kind, reason) = match stream.events().first() {
            Some(event) if event.tenant == snapshot.tenant => return Ok(()),
            Some(_) => (
                FindingKind::Snapshot,
                "its aggregate belongs to another tenant".to_owned(),
            ),
            None if stream.version() == Version::ZERO => (
                FindingKind::OrphanedSnapshot,
                "its aggregate has no events; delete it".to_owned(),
            ),
            None => (
                FindingKind::Snapshot,
                format!("its aggregate, at version {}, has no such event", stream.version()),
            ),
        };
        self.report(Finding::of_snapshot(kind, snapshot, reason));
        Ok(())
    }
}

/// The error of an audit that cannot tell a finding from events that left the log, or came back.
fn moved() -> Error {
    Error::new(kinds::unavailable(
        "events were archived or attached while the log was verified",
    ))
}

/// The error's text without the name of the event or snapshot, which the finding has.
fn reason_of(error: &Error) -> String {
    error.kind().to_string()
}
