//! Archiving: moving a part of the log into a file, and back.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::path::Path;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Exported;
use super::archive::{Archive, archived_log, end_of_ranges};
use super::diagnosis::{Diagnosis, Severity};
use super::export::write_lines;
use super::import::{CheckedExport, check_lines, each_line};
use super::lines::{Header, LineReader, LineWriter, event_alone, is_footer, not_read};
use super::operations::{Detachment, Operations};
use super::progress::{Progress, Telling};
use super::seal::Remembered;
use crate::backend::Pace;
use crate::store::pipeline;
use crate::{
    Backoff, Error, EventEnvelope, EventQuery, EventStoreExt, GlobalSequence, Order, Result, StreamRange, Version,
};

/// Moves a part of the log into a file. The events leave the database; the store's promises about them still hold.
///
/// The database keeps a row of some 100 bytes for each event, with its keys, and one for each of their aggregates. So versions continue, an
/// event id is never stored a second time, and a repeated append gets its original result. A read, a load or an as-of read that needs an
/// archived event fails with an [`Archived`](crate::ErrorKind::Archived) error, which names the range and the location. An incomplete
/// result is never returned. A stream can be loaded from a [snapshot](crate::SnapshotStore::load_from_snapshot) at or after its last
/// archived version: so first take snapshots of aggregates that are still in use. Projections and exports continue
/// [after](EventQuery::after) the range, or [skip](EventQuery::skip_archived) it.
///
/// There are three steps. The events are written into a file in the format of [`Export`](super::Export). The file is read back and checked,
/// line by line. Only then are the events removed from the log, oldest first, in transactions of 200 to 800 events. Other writers wait for
/// each of those, some 20 milliseconds. Whole [partitions](crate::Partitions) leave at once. After an interruption, [`retire`] continues
/// with the same file.
///
/// ```
/// use std::io::Cursor;
///
/// use firefly_eventstore_core::operate::{Archiving, attach, retire};
/// use firefly_eventstore_core::{MemoryEventStore, prelude::*};
///
/// let (store, account) = (MemoryEventStore::new(), AggregateKey::new("Account", Uuid::now_v7())?);
/// for amount in [1, 2, 3] {
///     store.append(&account, ExpectedVersion::Any, &[NewEvent::new("money.deposited", &amount)?])?;
/// }
///
/// let mut file = Vec::new(); // or Archiving::until(2).into_file(&store, "2024.jsonl", |_| {})?, which does both
/// Archiving::until(2).json_lines(&store, &mut file, |_| {})?;
/// let archive = retire(&store, Cursor::new(&file), "s3://archives/2024.jsonl", |_| {})?;
/// assert_eq!(archive.events, 2);
/// assert!(store.load(&account).unwrap_err().is_archived());
/// assert_eq!(store.read(EventQuery::new().after(archive.last)).count(), 1);
/// assert_eq!(store.version(&account)?, 3);
///
/// attach(&store, Cursor::new(&file), |_| {})?;
/// assert_eq!(store.load(&account)?.len(), 3);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Archiving {
    what: What,
    despite_consumers: bool,
}

#[derive(Clone, Debug)]
enum What {
    Until(GlobalSequence),
    UntilTime(OffsetDateTime),
    Ended {
        event_types: Vec<String>,
        until: OffsetDateTime,
    },
}

/// How much is read at once to be attached.
const READ_AT_ONCE: usize = 1_000;
const BYTES_READ_AT_ONCE: u64 = 4 << 20;

impl Archiving {
    /// Archives all events up to this sequence, from the beginning of the log or from the end of the previous archived range. The newest
    /// event of the log always stays.
    #[must_use]
    pub fn until(sequence: impl Into<GlobalSequence>) -> Self {
        Self::of(What::Until(sequence.into()))
    }

    /// Archives all events before the first one, in the order of the log, that was created after this time.
    #[must_use]
    pub fn until_time(time: OffsetDateTime) -> Self {
        Self::of(What::UntilTime(time))
    }

    /// Archives whole streams that ended: the last event has one of these types, and was created at this time or earlier. Other streams
    /// stay.
    ///
    /// Reads the log once, and looks up each of those streams. If the log has a [seal](super::seal()), this is refused, also for events after
    /// the seal: archive ranges of a sealed log.
    #[must_use]
    pub fn ended<T: Into<String>>(event_types: impl IntoIterator<Item = T>, until: OffsetDateTime) -> Self {
        Self::of(What::Ended {
            event_types: event_types.into_iter().map(Into::into).collect(),
            until,
        })
    }

    fn of(what: What) -> Self {
        Self {
            what,
            despite_consumers: false,
        }
    }

    /// Archives events even if consumers have not handled them yet. The consumers then stop at them with an
    /// [`Archived`](crate::ErrorKind::Archived) error. Without this, archiving is refused, and the error names the consumers.
    #[must_use]
    pub fn despite_consumers(mut self) -> Self {
        self.despite_consumers = true;
        self
    }

    /// Does all steps: writes the file, which gets its name when it is complete and on the disk, and [retires](retire) its events. The path
    /// is the archive's location.
    ///
    /// # Errors
    ///
    /// As [`json_lines`](Self::json_lines) and [`retire`]; [`InvalidInput`](crate::ErrorKind::InvalidInput) if the file exists: after an
    /// interruption, continue with [`retire`].
    pub fn into_file(
        &self,
        store: &dyn Operations,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Archive> {
        let path = path.as_ref();
        let failed = |error| Error::io(format!("the archive {} cannot be written", path.display()), error);
        if fs::exists(path).map_err(failed)? {
            return Err(Error::invalid(format!(
                "{} exists already; choose another name, or retire its events if an archiving was interrupted",
                path.display()
            )));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let mut file = BufWriter::new(File::create(&part).map_err(failed)?);
        let written = self.json_lines(store, &mut file, &mut progress);
        if let Err(error) = written {
            // The first error says more than an error of this would.
            drop(fs::remove_file(&part));
            return Err(error);
        }
        file.into_inner()
            .map_err(|error| failed(error.into_error()))
            .and_then(|file| file.sync_all().map_err(failed))?;
        fs::rename(&part, path).map_err(failed)?;
        sync_folder_of(path).map_err(failed)?;
        let location = fs::canonicalize(path).map_err(failed)?.display().to_string();
        let input = BufReader::new(File::open(path).map_err(not_read)?);
        retire(store, input, &location, progress)
    }

    /// Only writes the file: nothing is removed from the log. Store the file safely, then [`retire`] its events.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is nothing to archive, or consumers have not handled it yet, or
    /// streams that [ended](Self::ended) are chosen and the log has a seal, or an earlier range was not archived or attached to its end;
    /// those of an [export](super::Export::json_lines).
    pub fn json_lines(
        &self,
        store: &dyn Operations,
        out: impl Write,
        progress: impl FnMut(Progress),
    ) -> Result<Exported> {
        self.write(store, out, progress)
            .map_err(|error| error.during("archive a part of the log"))
    }

    fn write(&self, store: &dyn Operations, out: impl Write, progress: impl FnMut(Progress)) -> Result<Exported> {
        let mark = store.high_water_mark()?;
        let newest = GlobalSequence::new(mark.get().saturating_sub(1))?;
        let archives = store.archives()?;
        refuse_unfinished(&archives)?;
        let before = end_of_ranges(&archives);
        let part = match &self.what {
            What::Until(sequence) => Part::range(before, (*sequence).min(newest)),
            What::UntilTime(time) => Part::range(before, last_until(store, *time)?.min(newest)),
            What::Ended { event_types, until } => ended_streams(store, event_types, *until, newest)?,
        };
        if part.after >= part.until {
            return Err(Error::invalid(
                "there is nothing to archive: it is archived already, or it is the newest event, which stays",
            ));
        }
        if !self.despite_consumers {
            refuse_consumers_before(store, part.until)?;
        }
        let health = store.health()?;
        let mut lines = LineWriter::new(out);
        lines.header(&Header {
            archive: true,
            filtered: part.streams.is_some(),
            ..Header::of(health, part.after, part.until)
        })?;
        let query = EventQuery::new().after(part.after).until(part.until).skip_archived();
        let exported = write_lines(
            store,
            query,
            part.until,
            &mut lines,
            progress,
            Some(|event: &EventEnvelope| Ok(part.has(event))),
        )?;
        if exported.events == 0 {
            return Err(Error::invalid("there is nothing to archive"));
        }
        Ok(exported)
    }
}

/// Fails if the events of an archived range are still on their way. Events of the same streams would leave before earlier ones.
fn refuse_unfinished(archives: &[Archive]) -> Result<()> {
    let unfinished = archives
        .iter()
        .find(|archive| archive.log.is_some() && !archive.is_retired);
    match unfinished {
        None => Ok(()),
        Some(Archive { location, .. }) => Err(Error::invalid(format!(
            "the events of the archive {location} are on their way out of the log, or back, or that was interrupted: retire or attach its \
             file again, and archive more then"
        ))),
    }
}

/// The part of the log for a file.
struct Part {
    after: GlobalSequence,
    until: GlobalSequence,
    /// The last versions of whole streams; none if the part is a range of the log.
    streams: Option<HashMap<Uuid, Version>>,
}

impl Part {
    fn range(after: GlobalSequence, until: GlobalSequence) -> Self {
        Self {
            after,
            until,
            streams: None,
        }
    }

    fn has(&self, event: &EventEnvelope) -> bool {
        self.streams.as_ref().is_none_or(|streams| {
            let last = streams.get(&event.aggregate.id());
            last.is_some_and(|last| event.version <= *last)
        })
    }
}

/// The sequence before the first event that was created after a time.
fn last_until(store: &dyn Operations, time: OffsetDateTime) -> Result<GlobalSequence> {
    let later = EventQuery::new()
        .created_at((Bound::Excluded(time), Bound::Unbounded))
        .ordered_by(Order::Sequence)
        .limit(1)
        .skip_archived();
    match store.read_page(&later, None)?.events.first() {
        Some(event) => GlobalSequence::new(event.global_sequence.get() - 1),
        None => Ok(GlobalSequence::MAX),
    }
}

/// The streams that ended. Each is looked up, because it may have continued.
fn ended_streams(
    store: &dyn Operations,
    event_types: &[String],
    until: OffsetDateTime,
    newest: GlobalSequence,
) -> Result<Part> {
    let ends = EventQuery::new()
        .event_types(event_types.iter().map(String::as_str))?
        .created_at(..=until)
        .ordered_by(Order::Sequence)
        .until(newest)
        .skip_archived();
    let (mut streams, mut last) = (HashMap::new(), GlobalSequence::ZERO);
    for event in store.read(ends) {
        let event = event?;
        let head = store.load_range(&event.aggregate, &StreamRange::all().limit(0))?;
        if head.version() == event.version {
            streams.insert(event.aggregate.id(), event.version);
            last = event.global_sequence;
        }
    }
    let sealed = store.newest_seals(1)?.pop();
    if !streams.is_empty() && sealed.is_some() {
        return Err(Error::invalid(
            "the log is sealed, and a seal could not be compared with a log that lacks streams; archive ranges instead",
        ));
    }
    Ok(Part {
        after: GlobalSequence::ZERO,
        until: last,
        streams: Some(streams),
    })
}

fn refuse_consumers_before(store: &dyn Operations, until: GlobalSequence) -> Result<()> {
    let slots = store.consumers(None)?;
    let mut behind: Vec<&str> = slots
        .iter()
        .filter(|slot| slot.position < until)
        .map(|slot| slot.consumer.as_str())
        .collect();
    behind.dedup();
    match &behind[..] {
        [] => Ok(()),
        _ => Err(Error::invalid(format!(
            "these consumers have not handled the events up to global sequence {until} yet: {}; let them catch up, or archive despite them",
            behind.join(", ")
        ))),
    }
}

/// Removes the events of a file that [`Archiving`] wrote from the log. First the whole file is checked. Every event must be in the store as
/// it is in the file.
///
/// After an interruption, repeat it with the same file: archived events are skipped. Errors of readers name the `location`: a path, or the
/// address of an object.
///
/// The file is read twice. Each transaction moves 200 to 800 events, and excludes other writers; whole partitions leave at once. If open
/// transactions prevent that on a server, it waits and tries again for some seconds.
///
/// # Errors
///
/// - [`DamagedFile`](crate::ErrorKind::DamagedFile), before anything is moved;
/// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if the file is not an archive, or does not continue the previous archived range, or that
///   one was not retired or attached to its end;
/// - [`Contradiction`](crate::ErrorKind::Contradiction) if the store does not have an event as it is in the file: the events before it stay
///   archived;
/// - those of the store; after one that is retryable, repeat it.
pub fn retire(
    store: &dyn Operations,
    input: impl BufRead + Seek + Send,
    location: &str,
    progress: impl FnMut(Progress),
) -> Result<Archive> {
    try_retire(store, input, location, Telling::new(progress))
        .map_err(|error| error.during(format_args!("retire the events in {location}")))
}

fn try_retire<F: FnMut(Progress)>(
    store: &dyn Operations,
    mut input: impl BufRead + Seek + Send,
    location: &str,
    mut telling: Telling<F>,
) -> Result<Archive> {
    let start = input.stream_position().map_err(not_read)?;
    let archives = store.archives()?;
    let read = ReadBack::of(&mut input, &archives, &mut telling)?;
    let recorded = archives.iter().find(|archive| archive.digest == read.checked.digest);
    if recorded.is_none() {
        refuse_unfinished(&archives)?;
    }
    let archive = read.into_archive(location, recorded, end_of_ranges(&archives))?;
    let mark = store.high_water_mark()?;
    if archive.last >= mark {
        return Err(Error::invalid(format!(
            "the file goes up to global sequence {}, and the log to {mark}; its newest event is never archived",
            archive.last
        )));
    }
    store.record_archive(&archive)?;
    let mut detachment = next_detachment(store, &archive)?;
    // How many events were counted. Those that could not leave at once are read again.
    let mut counted = 0_u64;
    let mut pace = Pace::new();
    loop {
        input.seek(SeekFrom::Start(start)).map_err(not_read)?;
        let (lines, _) = LineReader::new(&mut input)?;
        let mut leaving = Leaving {
            store,
            archive: &archive,
            detachment: detachment.take(),
            pace: &mut pace,
            batch: Batch::default(),
            is_refused: false,
        };
        let mut read = 0;
        each_line(
            lines,
            |event| event,
            |_, event| {
                leaving.add(event)?;
                read += 1;
                if read > counted && !leaving.is_refused {
                    counted = read;
                    telling.add(1);
                }
                Ok(())
            },
        )?;
        leaving.end()?;
        if !leaving.is_refused {
            break;
        }
        // Not all events could leave at once. Those that are left leave one by one.
    }
    let archive = Archive {
        is_retired: true,
        ..archive
    };
    store.record_archive(&archive)?;
    telling.finish();
    Ok(archive)
}

/// The next events that can leave all at once.
fn next_detachment<'s>(store: &'s dyn Operations, archive: &Archive) -> Result<Option<Box<dyn Detachment + 's>>> {
    Backoff::new().repeat(|| store.detachment(archive))
}

/// The events of a file on their way out of the log, in their order.
struct Leaving<'s> {
    store: &'s dyn Operations,
    archive: &'s Archive,
    /// Those that leave all at once, until they have left.
    detachment: Option<Box<dyn Detachment + 's>>,
    pace: &'s mut Pace,
    batch: Batch,
    /// Whether the events could not leave all at once, and are still there.
    is_refused: bool,
}

impl Leaving<'_> {
    fn add(&mut self, event: EventEnvelope) -> Result<()> {
        if let Some(detachment) = &self.detachment {
            let sequences = detachment.sequences();
            let is_before = |event: &EventEnvelope| event.global_sequence < *sequences.start();
            if event.global_sequence > *sequences.end() {
                self.detach()?;
            } else if !is_before(&event) && self.batch.events.last().is_some_and(is_before) {
                self.move_batch()?;
            }
        }
        if self.is_refused {
            return Ok(());
        }
        if let Some(full) = self.batch.add(event, self.pace) {
            self.move_out(&full)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.move_batch()?;
        while self.detachment.is_some() {
            self.detach()?;
        }
        Ok(())
    }

    /// Lets the events leave that leave all at once, and looks for the next ones that do.
    fn detach(&mut self) -> Result<()> {
        self.move_batch()?;
        if let Some(detachment) = self.detachment.take() {
            self.is_refused = !detachment.detach()?;
            if !self.is_refused {
                self.detachment = next_detachment(self.store, self.archive)?;
            }
        }
        Ok(())
    }

    fn move_batch(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.move_out(&batch.events)
    }

    fn move_out(&mut self, events: &[EventEnvelope]) -> Result<()> {
        let Some(last) = events.last() else { return Ok(()) };
        match &mut self.detachment {
            Some(detachment) if last.global_sequence >= *detachment.sequences().start() => {
                self.pace.step(|| detachment.prepare(events))
            }
            _ => repeat(self.pace, || self.store.retire_events(events)),
        }
    }
}

/// Moves the events of an archive back into the log, unchanged, newest first, and then deletes the archive's record. Reads, loads and
/// versions are the same as before the archiving.
///
/// After an interruption, repeat it with the same file. First attach archives that have later events of the same streams. To read an
/// archive without this store, [import](super::Import) it into an empty store.
///
/// # Errors
///
/// - [`DamagedFile`](crate::ErrorKind::DamagedFile), before anything is moved;
/// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not an archive of this store;
/// - [`Contradiction`](crate::ErrorKind::Contradiction) if a later archive has to be attached first;
/// - those of the store; after one that is retryable, repeat it.
pub fn attach(
    store: &dyn Operations,
    input: impl BufRead + Seek + Send,
    progress: impl FnMut(Progress),
) -> Result<Archive> {
    try_attach(store, input, Telling::new(progress)).map_err(|error| error.during("attach an archive"))
}

fn try_attach<F: FnMut(Progress)>(
    store: &dyn Operations,
    mut input: impl BufRead + Seek + Send,
    mut telling: Telling<F>,
) -> Result<Archive> {
    let start = input.stream_position().map_err(not_read)?;
    let archives = store.archives()?;
    let read = ReadBack::of(&mut input, &archives, &mut telling)?;
    let digest = read.checked.digest;
    let Some(mut archive) = archives.into_iter().find(|archive| archive.digest == digest) else {
        return Err(Error::invalid(format!(
            "this store has no archive with the digest {digest}; to read the file, import it into an empty store"
        )));
    };
    archive.is_retired = false;
    store.record_archive(&archive)?;
    input.seek(SeekFrom::Start(start)).map_err(not_read)?;
    let mut pace = Pace::new();
    for place in Place::all(&mut input)?.iter().rev() {
        input.seek(SeekFrom::Start(start + place.offset)).map_err(not_read)?;
        let mut events = place.read(&mut input)?;
        while !events.is_empty() {
            let newest = split_off_newest(&mut events, &pace);
            repeat(&mut pace, || store.attach_events(&newest))?;
            telling.add(newest.len() as u64);
        }
    }
    store.forget_archive(&archive.digest)?;
    telling.finish();
    Ok(archive)
}

/// Moves events in a transaction, and repeats it for some seconds while other writers prevent it.
fn repeat(pace: &mut Pace, mut transaction: impl FnMut() -> Result<u64>) -> Result<()> {
    Backoff::new().repeat(|| pace.step(&mut transaction)).map(drop)
}

/// Takes the newest events out, as many as the next transaction moves.
fn split_off_newest(events: &mut Vec<EventEnvelope>, pace: &Pace) -> Vec<EventEnvelope> {
    let mut newest = Batch::default();
    while let Some(event) = events.pop() {
        newest.push(event);
        if newest.is_full(pace) {
            break;
        }
    }
    newest.events.reverse();
    newest.events
}

/// The findings about the archives, and about those whose events are still being moved.
pub(super) fn diagnose_archives(archives: &[Archive]) -> Vec<Diagnosis> {
    const SUBJECT: &str = "archives";
    let Some(last) = archives.iter().map(|archive| archive.last).max() else {
        return Vec::new();
    };
    let moving = archives.iter().filter(|archive| !archive.is_retired);
    let moving = moving.map(|archive| {
        Diagnosis::bad(
            Severity::Warning,
            SUBJECT,
            format!(
                "the events with global sequences {} to {} are partly in the log and partly in {}",
                archive.first, archive.last, archive.location
            ),
            "if no program is moving them now, the move was interrupted: retire or attach the file again",
        )
    });
    let events: u64 = archives.iter().map(|archive| archive.events).sum();
    let all = format!("{} hold {events} events, up to global sequence {last}", archives.len());
    std::iter::once(Diagnosis::good(SUBJECT, all)).chain(moving).collect()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().truncate_to_microsecond()
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        #[cfg(unix)]
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        #[cfg(unix)]
        Some(folder) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Events that one transaction moves.
#[derive(Default)]
struct Batch {
    events: Vec<EventEnvelope>,
    bytes: u64,
}

impl Batch {
    /// Adds the next event. Returns the batch once it is full for a transaction.
    fn add(&mut self, event: EventEnvelope, pace: &Pace) -> Option<Vec<EventEnvelope>> {
        self.push(event);
        self.is_full(pace).then(|| std::mem::take(self).events)
    }

    fn push(&mut self, event: EventEnvelope) {
        self.bytes += pipeline::bytes_of(std::slice::from_ref(&event));
        self.events.push(event);
    }

    const fn is_full(&self, pace: &Pace) -> bool {
        self.events.len() >= pace.events() || self.bytes >= pace.bytes()
    }
}

/// The contents of a file that was read to its end.
struct ReadBack {
    checked: CheckedExport,
    first: GlobalSequence,
    last: GlobalSequence,
    created_from: OffsetDateTime,
    created_until: OffsetDateTime,
    /// The log up to its last event, if it is a range that continues the archived part of the log.
    log: Option<Remembered>,
}

impl ReadBack {
    fn of<F: FnMut(Progress)>(
        input: impl BufRead + Send,
        archives: &[Archive],
        telling: &mut Telling<F>,
    ) -> Result<Self> {
        let mut log = archived_log(archives).unwrap_or(Remembered::NOTHING);
        let before = log.global_sequence;
        let mut bounds: Option<[(GlobalSequence, OffsetDateTime); 2]> = None;
        let checked = check_lines(input, telling, |hashed| {
            let event = &hashed.event;
            log.add(hashed)?;
            let (sequence, time) = (event.global_sequence, event.created_at);
            let [(first, from), (_, until)] = bounds.unwrap_or([(sequence, time); 2]);
            bounds = Some([(first, from.min(time)), (sequence, until.max(time))]);
            Ok(())
        })?;
        if !checked.archive {
            return Err(Error::invalid(
                "the file is an export, not an archive; only what was written to be archived leaves the log",
            ));
        }
        let [(first, created_from), (last, created_until)] =
            bounds.ok_or_else(|| Error::invalid("the archive has no events"))?;
        Ok(Self {
            log: (!checked.filtered && checked.after == before).then_some(log),
            checked,
            first,
            last,
            created_from,
            created_until,
        })
    }

    /// The record of the archive, new or existing.
    fn into_archive(
        self,
        location: &str,
        recorded: Option<&Archive>,
        end_of_ranges: GlobalSequence,
    ) -> Result<Archive> {
        if recorded.is_none() && self.log.is_none() && !self.checked.filtered {
            return Err(Error::invalid(format!(
                "the archive goes on after global sequence {}, and the log is archived up to {end_of_ranges}; retire what is between them first",
                self.checked.after
            )));
        }
        Ok(Archive {
            digest: self.checked.digest,
            first: self.first,
            last: self.last,
            events: self.checked.events,
            created_from: self.created_from,
            created_until: self.created_until,
            location: location.to_owned(),
            archived_at: recorded.map_or_else(now, |recorded| recorded.archived_at),
            log: recorded.map_or(self.log, |recorded| recorded.log),
            is_retired: false,
        })
    }
}

/// The position of some lines with events in a file.
struct Place {
    offset: u64,
    lines: usize,
}

impl Place {
    /// The positions of all events, in the order of the file, in parts that are read at once. The file was checked before.
    fn all(mut input: impl BufRead) -> Result<Vec<Self>> {
        let (mut places, mut offset, mut line) = (Vec::new(), 0, Vec::new());
        let mut place = Self { offset, lines: 0 };
        let mut number = 0;
        loop {
            line.clear();
            let bytes = input.read_until(b'\n', &mut line).map_err(not_read)? as u64;
            number += 1;
            let is_event = bytes > 0 && number > 1 && !is_footer(&line);
            if place.lines > 0
                && (!is_event || place.lines >= READ_AT_ONCE || offset - place.offset >= BYTES_READ_AT_ONCE)
            {
                places.push(std::mem::replace(&mut place, Self { offset, lines: 0 }));
            }
            if bytes == 0 {
                return Ok(places);
            }
            if is_event {
                place.lines += 1;
            } else {
                place.offset = offset + bytes;
            }
            offset += bytes;
        }
    }

    /// Reads its events from an input at this position.
    fn read(&self, mut input: impl BufRead) -> Result<Vec<EventEnvelope>> {
        let mut events = Vec::with_capacity(self.lines);
        let mut line = Vec::new();
        for _ in 0..self.lines {
            line.clear();
            input.read_until(b'\n', &mut line).map_err(not_read)?;
            events.push(event_alone(&mut line)?);
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExpectedVersion, MemoryEventStore, NewEvent};

    /// The events of an aggregate, with this many bytes of data each.
    fn events(count: usize, bytes: usize) -> Vec<EventEnvelope> {
        let store = MemoryEventStore::new();
        let aggregate = crate::AggregateKey::new("Account", Uuid::from_u128(1)).unwrap();
        let event = || NewEvent::new("money.deposited", &"x".repeat(bytes)).unwrap();
        let events: Vec<NewEvent> = std::iter::repeat_with(event).take(count).collect();
        store.append(&aggregate, ExpectedVersion::NoStream, &events).unwrap();
        store.load(&aggregate).unwrap().into_events()
    }

    /// How many events each full batch has.
    fn full_batches(events: Vec<EventEnvelope>) -> Vec<usize> {
        let mut batch = Batch::default();
        let full = events.into_iter().filter_map(|event| batch.add(event, &Pace::new()));
        full.map(|full| full.len()).collect()
    }

    #[test]
    fn a_transaction_takes_as_much_as_the_pace_allows() {
        assert_eq!(full_batches(events(450, 10)), [200, 200]);
        assert_eq!(full_batches(events(17, 110_000)), [8, 8]);
    }

    #[test]
    fn the_newest_events_come_back_first() {
        let mut left = events(450, 10);
        let mut taken = Vec::new();
        while !left.is_empty() {
            let newest = split_off_newest(&mut left, &Pace::new());
            taken.push(newest.iter().map(|event| event.version.get()).collect::<Vec<_>>());
        }
        let versions = |range: std::ops::RangeInclusive<u64>| range.collect::<Vec<_>>();
        assert_eq!(taken, [versions(251..=450), versions(51..=250), versions(1..=50)]);
    }
}
