//! An event store over a directory of files, as an example of a backend.
//!
//! - **A transaction is a file** in `log/`, named by its first global sequence: `00000000000000000007.json`. It is written under another
//!   name, flushed to the disk, and renamed. So a reader finds all of it or nothing, also after a crash.
//! - **One writer at a time.** The writer locks the file `lock`. Other processes respect the lock, and a crash releases it. So sequences
//!   are assigned in the order of the commits, and the end of the log is the high-water mark.
//! - **No holes.** Each file begins where the previous one ended, so the name of the next file is known, and directories are never listed.
//!
//! Every call reads the whole log. That is fine for a log of some thousand events. For a larger log, keep what was read, and read only new
//! files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use firefly_eventstore_core::backend::{self, Head, Located, Writer, WriterGuard};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{AggregateSummary, Cursor, Health, Limits, Page, Statistics, SummaryQuery};

use crate::row;

/// An event store over a directory. Clones share one state. Other processes may open the same directory.
#[derive(Clone, Debug)]
pub(crate) struct DirectoryEventStore {
    shared: Arc<Shared>,
    limits: Limits,
    verify_on_read: bool,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    /// The file that a writer locks. Within this process, a thread waits here for other threads. It is refused if it would wait for itself.
    writer: Writer<File>,
    /// The last mark that was returned.
    mark: Mutex<GlobalSequence>,
}

impl DirectoryEventStore {
    /// Opens the store in a directory. Creates the directory if it does not exist.
    pub(crate) fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        let open = || -> io::Result<File> {
            fs::create_dir_all(directory.join("log"))?;
            let mut options = File::options();
            options
                .create(true)
                .truncate(false)
                .write(true)
                .open(directory.join("lock"))
        };
        let lock = open().map_err(|error| Error::io("the directory cannot be opened", error))?;
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                writer: Writer::new(lock),
                mark: Mutex::default(),
            }),
            limits: Limits::PORTABLE,
            verify_on_read: false,
        })
    }

    /// Sets other limits, up to [`Limits::TEXT`].
    pub(crate) fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Verifies the checksum of every event that is read.
    pub(crate) fn verify_on_read(mut self, verify: bool) -> Self {
        self.verify_on_read = verify;
        self
    }

    fn begin(&self) -> Result<DirectoryTransaction<'_>> {
        let writer = self.shared.writer.lock()?;
        writer
            .lock()
            .map_err(|error| Error::io("the lock cannot be had", error))?;
        // From here on the file is unlocked when the transaction is dropped.
        let mut transaction = DirectoryTransaction {
            store: self,
            writer,
            log: Vec::new(),
            committed: 0,
            doom: None,
        };
        transaction.log = read_log(&self.shared.directory)?;
        transaction.committed = transaction.log.len();
        Ok(transaction)
    }

    /// The log, and its end, which is the mark: later appends get later sequences.
    fn log(&self) -> Result<(Vec<EventEnvelope>, GlobalSequence)> {
        // A thread that is within a transaction must read with the transaction.
        self.shared.writer.check_not_held()?;
        // Locked while the log is read, so that no earlier mark is returned after a later one.
        let mut mark = self.shared.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let log = read_log(&self.shared.directory)?;
        let end = end_of(&log);
        let before = std::mem::replace(&mut *mark, end);
        backend::check_end(before, end, || Ok(end))?;
        Ok((log, end))
    }
}

impl EventStore for DirectoryEventStore {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let named = |error: Error| error.during(backend::describe(appends));
        backend::check(appends, &self.limits)?;
        let mut transaction = self.begin().map_err(named)?;
        let appended = transaction.append_all(appends)?;
        transaction.commit().map_err(named)?;
        Ok(appended)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        let mut transaction = self.begin()?;
        work(&mut transaction)?;
        transaction.commit()
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.log()
            .and_then(|(log, _)| load(&log, aggregate, range, self.verify_on_read))
            .map_err(|error| error.during(format_args!("load {aggregate}")))
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        let read = || {
            let (log, end) = self.log()?;
            let mark = match cursor {
                Some(cursor) => cursor.high_water_mark(),
                None => end,
            };
            if cursor.is_none() {
                query.check_end(mark, || Ok(end))?;
            }
            let page = backend::scan_page(&log, query, cursor, mark)?;
            if self.verify_on_read {
                page.events.iter().try_for_each(EventEnvelope::verify)?;
            }
            Ok(page)
        };
        read().map_err(|error: Error| error.during("read the log"))
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        let mark = self.log().map(|(_, end)| end);
        mark.map_err(|error| error.during("read the high-water mark"))
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
        let statistics = self.log().map(|(log, _)| backend::scan_statistics(&log, tenant));
        statistics.map_err(|error| error.during("read statistics"))
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        let summaries = self.log().map(|(log, _)| backend::scan_summaries(&log, query));
        summaries.map_err(|error| error.during("read aggregate summaries"))
    }

    /// Summaries are always computed from the log.
    fn refresh_aggregate_summaries(&self) -> Result<()> {
        Ok(())
    }

    fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        let mark = self.high_water_mark()?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let format = Some(row::FORMAT.to_string());
        Ok(Health::new("directory", version, format, true, mark, asked.elapsed()))
    }
}

/// A transaction: the log, and the events to be committed after its end.
#[derive(Debug)]
struct DirectoryTransaction<'a> {
    store: &'a DirectoryEventStore,
    writer: WriterGuard<'a, File>,
    log: Vec<EventEnvelope>,
    committed: usize,
    /// Why the transaction cannot commit any more.
    doom: Option<Error>,
}

impl EventTransaction for DirectoryTransaction<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        if let Some(doom) = &self.doom {
            return Err(doom.clone());
        }
        let appended = backend::check(appends, &self.store.limits).and_then(|()| self.try_append(appends));
        appended.map_err(|error| {
            let error = error.during(backend::describe(appends));
            self.doom = Some(error.clone());
            error
        })
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        load(&self.log, aggregate, range, self.store.verify_on_read)
            .map_err(|error| error.during(format_args!("load {aggregate}")))
    }
}

impl DirectoryTransaction<'_> {
    fn try_append(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let events = appends.iter().flat_map(|append| append.events);
        let ids: HashSet<Uuid> = events.map(NewEvent::event_id).collect();
        let known = self.log.iter().filter(|event| ids.contains(&event.event_id));
        let known: Vec<_> = known.map(Located::of).collect();
        // All of these events are stored already: the append is a repetition, and gets the answer of the first one.
        if let Some(mut appended) = backend::resolve_repeated(appends, &known)? {
            for empty in appended.iter_mut().filter(|one| one.global_sequences().is_empty()) {
                *empty = self.nothing(empty.aggregate());
            }
            return Ok(appended);
        }
        appends.iter().map(|append| self.append_one(append)).collect()
    }

    fn append_one(&mut self, append: &Append<'_>) -> Result<Appended> {
        if append.events.is_empty() {
            return Ok(self.nothing(append.aggregate));
        }
        let mut version = Head::admit(self.head(append.aggregate).as_ref(), append)?;
        let now = OffsetDateTime::now_utc().truncate_to_microsecond();
        let mut sequences = Vec::with_capacity(append.events.len());
        for event in append.events {
            version = version.checked_add(1).expect("the head admitted these versions");
            let sequence = GlobalSequence::new(end_of(&self.log).get() + 1)?;
            self.log
                .push(event.stored(append.aggregate, append.tenant, version, sequence, now));
            sequences.push(sequence);
        }
        Ok(Appended::new(append.aggregate.clone(), version, sequences))
    }

    /// The result of an append of no events.
    fn nothing(&self, aggregate: &AggregateKey) -> Appended {
        let version = self.head(aggregate).map_or(Version::ZERO, |head| head.version);
        Appended::new(aggregate.clone(), version, Vec::new())
    }

    fn head(&self, aggregate: &AggregateKey) -> Option<Head> {
        let mut stream = self.log.iter().rev();
        stream
            .find(|event| event.aggregate.id() == aggregate.id())
            .map(Head::of)
    }

    fn commit(mut self) -> Result<()> {
        if let Some(doom) = self.doom.take() {
            return Err(doom);
        }
        let events = &self.log[self.committed..];
        let written = match events {
            [] => Ok(()),
            events => write(&self.store.shared.directory, events),
        };
        written.map_err(|error| Error::io("the events cannot be written", error))
    }
}

impl Drop for DirectoryTransaction<'_> {
    fn drop(&mut self) {
        // If this fails, the lock is released when the file is closed.
        self.writer.unlock().ok();
    }
}

/// The requested part of a stream.
fn load(log: &[EventEnvelope], aggregate: &AggregateKey, range: &StreamRange, verify: bool) -> Result<EventStream> {
    let stream = log.iter().filter(|event| event.aggregate.id() == aggregate.id());
    let stream = backend::scan_stream(aggregate, range, &stream.collect::<Vec<_>>())?;
    backend::verified(stream, verify)
}

/// Every event, in the order of the sequences.
pub(crate) fn read_log(directory: &Path) -> Result<Vec<EventEnvelope>> {
    let mut log = Vec::new();
    loop {
        let next = end_of(&log).get() + 1;
        match fs::read(file_at(directory, next)) {
            Ok(text) => log.extend(row::decode(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(log),
            Err(error) => return Err(Error::io("the log cannot be read", error)),
        }
    }
}

/// Writes events after the existing ones, all or none.
pub(crate) fn write(directory: &Path, events: &[EventEnvelope]) -> io::Result<()> {
    let staged = directory.join("log/next.tmp");
    let mut file = File::create(&staged)?;
    file.write_all(&row::encode(events))?;
    // The contents are flushed before the file gets its name: a reader that sees the name after a crash reads everything.
    file.sync_all()?;
    fs::rename(staged, file_at(directory, events[0].global_sequence.get()))?;
    File::open(directory.join("log"))?.sync_all()
}

fn file_at(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("log/{sequence:020}.json"))
}

fn end_of(log: &[EventEnvelope]) -> GlobalSequence {
    log.last().map_or(GlobalSequence::ZERO, |event| event.global_sequence)
}
