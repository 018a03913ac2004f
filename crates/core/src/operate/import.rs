//! Import: reading an exported log into any store.

use std::io::{BufRead, Seek, SeekFrom};

use super::LogDigest;
use super::digest::Hashed;
use super::lines::{Chunk, Footer, Header, Line, LineReader, damaged, not_read};
use super::operations::Operations;
use super::progress::{Progress, Telling};
use super::streams::Streams;
use crate::store::pipeline;
use crate::{Error, ErrorKind, EventEnvelope, EventQuery, EventStoreExt, GlobalSequence, Result};

/// Imports an export into a store, from any database. Ids, versions, sequences, times, context and checksums stay the same.
///
/// The file is read twice: first it is checked from beginning to end, then it is stored, in transactions of
/// [`batch_size`](Self::batch_size) events. One thread reads, as many threads as there are cores check and parse, and the calling thread
/// stores. About 32 MiB of events are in memory. Events that are already stored unchanged are skipped: so repeat an interrupted import, and
/// import incremental exports one after another.
#[derive(Clone, Debug)]
pub struct Import {
    batch_size: usize,
}

/// The contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedExport {
    /// How many events.
    pub events: u64,
    /// The events are those after this sequence.
    pub after: GlobalSequence,
    /// They go up to this sequence, the high-water mark of the export.
    pub until: GlobalSequence,
    /// Whether events between the two may be missing, because the export had a filter.
    pub filtered: bool,
    /// Whether [`Archiving`](super::Archiving) wrote it: its events may have left their log.
    pub archive: bool,
    /// The digest of the events.
    pub digest: LogDigest,
}

/// The result of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// How many events it stored.
    pub events: u64,
    /// How many were stored before.
    pub already_stored: u64,
    /// Whether the log of origin may have other events between these, because the export had a filter. A stream may then be shorter here
    /// than there.
    pub filtered: bool,
    /// The digest of all of them.
    pub digest: LogDigest,
}

/// How many events a transaction stores by default.
pub(super) const BATCH_SIZE: usize = 10_000;

/// After this many bytes of events, a transaction ends.
const BATCH_BYTES: u64 = 16 << 20;

impl Import {
    /// An import in transactions of 10,000 events.
    #[must_use]
    pub fn new() -> Self {
        Self { batch_size: BATCH_SIZE }
    }

    /// Sets how many events one transaction stores, at least 1; 10,000 unless set. It also ends at 16 MiB of events. Other appends wait for each transaction, some tenths of a
    /// second. After a crash, the last transaction is repeated.
    #[must_use]
    pub fn batch_size(mut self, events: usize) -> Self {
        self.batch_size = events.max(1);
        self
    }

    /// Checks JSON Lines that [`Export::json_lines`](super::Export::json_lines) wrote, without storing anything: every line, the
    /// checksum of every event, the order of sequences and versions, count and digest.
    ///
    /// Keeps the version of each aggregate in memory, some 100 bytes.
    ///
    /// # Errors
    ///
    /// [`DamagedFile`](ErrorKind::DamagedFile), with the first line that was changed or cannot be imported;
    /// [`Io`](ErrorKind::Io).
    pub fn check(input: impl BufRead + Send) -> Result<CheckedExport> {
        check(input, &mut Telling::new(|_| {}))
    }

    /// Imports JSON Lines that [`Export::json_lines`](super::Export::json_lines) wrote. Nothing is stored if any line of the file was
    /// changed.
    ///
    /// Progress counts the events of both passes.
    ///
    /// # Errors
    ///
    /// - as [`check`](Self::check);
    /// - [`Contradiction`](ErrorKind::Contradiction) if the store has another event at the same position: events before that position stay
    ///   stored;
    /// - [`InvalidInput`](ErrorKind::InvalidInput) if the file continues a log that the store does not have, or contains events beyond the
    ///   store's limits: events before those stay stored;
    /// - those of the store. After one that is retryable, or a crash, repeat the import.
    pub fn json_lines(
        &self,
        store: &dyn Operations,
        mut input: impl BufRead + Seek + Send,
        progress: impl FnMut(Progress),
    ) -> Result<Imported> {
        let mut telling = Telling::new(progress);
        let start = input.stream_position().map_err(not_read)?;
        let checked = check(&mut input, &mut telling)?;
        telling.expect(Some(2 * checked.events));
        input.seek(SeekFrom::Start(start)).map_err(not_read)?;
        let mark = store.high_water_mark()?;
        if mark < checked.after && !checked.filtered {
            return Err(Error::invalid(format!(
                "the file goes on after global sequence {}, and the store ends at {mark}; import what is between them first",
                checked.after
            )));
        }
        let (lines, _) = LineReader::new(input)?;
        let mut feeder = Feeder::new(store, self.batch_size);
        let (number, footer) = each_line(
            lines,
            |event| event,
            |_, event| {
                feeder.add(event)?;
                telling.add(1);
                Ok(())
            },
        )?;
        if footer.digest(number)? != checked.digest {
            return Err(damaged(number, "the file was changed while it was imported"));
        }
        let fed = feeder.finish(checked.digest)?;
        telling.finish();
        Ok(Imported {
            filtered: checked.filtered,
            ..fed
        })
    }
}

impl Default for Import {
    fn default() -> Self {
        Self::new()
    }
}

fn check<F: FnMut(Progress)>(input: impl BufRead + Send, telling: &mut Telling<F>) -> Result<CheckedExport> {
    check_lines(input, telling, |_| Ok(()))
}

/// Checks a file, and shows each event to `see`.
pub(super) fn check_lines<F: FnMut(Progress)>(
    input: impl BufRead + Send,
    telling: &mut Telling<F>,
    mut see: impl FnMut(&Hashed) -> Result<()>,
) -> Result<CheckedExport> {
    let (lines, header) = LineReader::new(input)?;
    let Header {
        after,
        until,
        filtered,
        archive,
        ..
    } = header;
    if until > after {
        telling.expect(Some(2 * (until.get() - after.get())));
    }
    let mut last = after;
    let mut events = 0;
    let mut digest = LogDigest::OF_NOTHING;
    let mut streams = Streams::default();
    let (number, footer) = each_line(lines, Hashed::of, |number, hashed| {
        let event = &hashed.event;
        let refused = |error: Error| damaged(number, error.to_string());
        if event.global_sequence <= last || event.global_sequence > until {
            return Err(damaged(
                number,
                format!(
                    "the global sequence {} comes after {last} in a file that goes up to {until}",
                    event.global_sequence
                ),
            ));
        }
        digest = digest.with_hashed(&hashed).map_err(refused)?;
        if event.checksum.is_some() {
            hashed.verify().map_err(refused)?;
        }
        streams
            .add(event, after > GlobalSequence::ZERO || archive)
            .map_err(|found| damaged(number, found.reason))?;
        see(&hashed).map_err(refused)?;
        last = event.global_sequence;
        events += 1;
        telling.add(1);
        Ok(())
    })?;
    if (footer.events, footer.last_sequence, footer.digest(number)?) != (events, last, digest) {
        return Err(damaged(number, "its summary of the events before it is wrong"));
    }
    Ok(CheckedExport {
        events,
        after,
        until,
        filtered,
        archive,
        digest,
    })
}

/// Passes the events of a file, with the numbers of their lines, to `take` in their order, after `work` on each in other threads. Returns
/// the closing line and its number.
pub(super) fn each_line<E: Send>(
    lines: LineReader<impl BufRead + Send>,
    work: impl Fn(EventEnvelope) -> E + Sync,
    mut take: impl FnMut(u64, E) -> Result<()>,
) -> Result<(u64, Footer)> {
    let mut closing = None;
    let parse = |chunk: Chunk| chunk.parse(&work);
    pipeline::in_order(lines, Chunk::bytes, parse, |parsed| {
        for (number, line) in parsed.lines {
            match line {
                Line::Event(event) => take(number, event)?,
                Line::Footer(footer) => closing = Some((number, footer)),
            }
        }
        parsed.failed.map_or(Ok(()), Err)
    })?;
    Ok(closing.expect("a file without a closing line is refused"))
}

/// Stores events in batches, and skips events that are already stored.
pub(super) struct Feeder<'a> {
    store: &'a dyn Operations,
    batch_size: usize,
    batch: Vec<EventEnvelope>,
    /// The size of the batch in memory.
    bytes: u64,
    /// The last sequence that the store is known to have.
    end: GlobalSequence,
    events: u64,
    already_stored: u64,
}

impl<'a> Feeder<'a> {
    pub(super) fn new(store: &'a dyn Operations, batch_size: usize) -> Self {
        Self {
            store,
            batch_size,
            batch: Vec::new(),
            bytes: 0,
            end: GlobalSequence::MAX,
            events: 0,
            already_stored: 0,
        }
    }

    pub(super) fn add(&mut self, event: EventEnvelope) -> Result<()> {
        self.bytes += pipeline::bytes_of(std::slice::from_ref(&event));
        self.batch.push(event);
        if self.batch.len() >= self.batch_size || self.bytes >= BATCH_BYTES {
            self.store_batch()?;
        }
        Ok(())
    }

    /// Stores the rest. `digest` is that of all events.
    pub(super) fn finish(mut self, digest: LogDigest) -> Result<Imported> {
        self.store_batch()?;
        Ok(Imported {
            events: self.events,
            already_stored: self.already_stored,
            filtered: false,
            digest,
        })
    }

    fn store_batch(&mut self) -> Result<()> {
        let known = self.skip_known()?;
        let new = &self.batch[known..];
        if !new.is_empty() {
            self.store.import_events(new)?;
        }
        self.already_stored += known as u64;
        self.events += new.len() as u64;
        self.batch.clear();
        self.bytes = 0;
        Ok(())
    }

    /// How many of the batch's first events are stored already.
    fn skip_known(&mut self) -> Result<usize> {
        let (Some(first), Some(last)) = (self.batch.first(), self.batch.last()) else {
            return Ok(0);
        };
        if first.global_sequence > self.end {
            return Ok(0);
        }
        let before = GlobalSequence::new(first.global_sequence.get() - 1)?;
        let query = EventQuery::new().after(before).until(last.global_sequence);
        let mut stored = self.store.read(query);
        let mut known = 0;
        for found in &mut stored {
            let found = match found {
                // The log ends before the batch begins: nothing of it is stored.
                Err(error) if error.is_beyond_end() => break,
                found => found?,
            };
            match self.batch.get(known) {
                Some(event) if is_same(&found, event)? => known += 1,
                Some(event) => return Err(contradiction(event, &found)),
                None => break,
            }
        }
        let mark = stored.high_water_mark().unwrap_or(GlobalSequence::ZERO);
        self.end = mark;
        // If a batch ends before the stored log does, all of its events must be stored already.
        match self.batch.get(known) {
            Some(event) if event.global_sequence <= mark => Err(Error::new(ErrorKind::Contradiction {
                event_id: event.event_id,
                global_sequence: event.global_sequence,
                reason: format!("the store has events up to {mark}, but not this one").into(),
            })),
            _ => Ok(known),
        }
    }
}

fn is_same(one: &EventEnvelope, other: &EventEnvelope) -> Result<bool> {
    let digest = |event| LogDigest::OF_NOTHING.with(event).map(|(digest, _)| digest);
    Ok(digest(one)? == digest(other)?)
}

fn contradiction(event: &EventEnvelope, found: &EventEnvelope) -> Error {
    let reason = match found.event_id == event.event_id {
        true => "the store has it, but with other contents".to_owned(),
        false => format!(
            "the store holds the event {} with global sequence {} instead",
            found.event_id, found.global_sequence
        ),
    };
    Error::new(ErrorKind::Contradiction {
        event_id: event.event_id,
        global_sequence: event.global_sequence,
        reason: reason.into(),
    })
}
