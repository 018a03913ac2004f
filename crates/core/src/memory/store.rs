//! The store, its log and its snapshots.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use uuid::Uuid;

use super::consumers::MemoryConsumers;
use crate::backend::{
    self, ArchivedStream, ConsumerChange, ConsumerTables, Contents, EventFilter, EventKey, Fingerprint, Head, Located,
    SlotsQuery, Window, Work, WorkTransaction, Writer,
};
use crate::consumer::{
    ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Transactional, Wake,
};
use crate::operate::{
    Archive, Diagnosis, Finding, IndexUsage, LogDigest, Operations, RestorePoint, Seal, Severity, needed,
};
use crate::{
    AggregateKey, AggregateSummary, Append, Appended, AsOf, Cursor, Direction, Error, ErrorKind, EventEnvelope,
    EventQuery, EventStore, EventStream, EventTransaction, GlobalSequence, Health, Limits, NewEvent, NewSnapshot, Page,
    Result, Snapshot, SnapshotAt, SnapshotSelection, SnapshotStatistics, SnapshotStore, SnapshotType, Statistics,
    StreamRange, SummaryQuery, TenantId, Version,
};

/// A store in memory that behaves exactly like the stores on a database.
///
/// Clones share the stored events, which are dropped with the last clone. Readers never wait for a transaction; transactions wait for one
/// another.
///
/// ```
/// use firefly_eventstore_core::{prelude::*, FaultPoint, MemoryEventStore};
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let opened = [NewEvent::new("account.opened", &serde_json::json!({}))?];
///
/// // The answer is lost on its way back: the caller repeats the append and learns the truth.
/// store.fail_at(FaultPoint::AfterCommit);
/// let error = store.append(&account, ExpectedVersion::NoStream, &opened).unwrap_err();
/// assert!(error.is_retryable());
/// assert!(store.append(&account, ExpectedVersion::NoStream, &opened)?.is_already_stored());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryEventStore {
    shared: Arc<Shared>,
    limits: Limits,
    verify_on_read: bool,
}

/// About how long a consumer's transaction may make other writers wait.
const LONGEST_TRANSACTION: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Shared {
    writer: Writer<()>,
    log: RwLock<Log>,
    snapshots: Mutex<BTreeMap<SnapshotPlace, Snapshot>>,
    seals: Mutex<BTreeMap<GlobalSequence, Seal>>,
    archives: Mutex<Vec<Archive>>,
    consumers: Mutex<MemoryConsumers>,
    wake: Wake,
    faults: Mutex<HashSet<FaultPoint>>,
}

/// An aggregate's id, a version and a form: they identify a snapshot.
type SnapshotPlace = (Uuid, Version, Box<str>);

fn place_of(snapshot: &Snapshot) -> SnapshotPlace {
    (
        snapshot.aggregate.id(),
        snapshot.version,
        snapshot.snapshot_type.as_str().into(),
    )
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<EventEnvelope>,
    by_id: HashMap<Uuid, usize>,
    by_aggregate: HashMap<Uuid, Vec<usize>>,
    archived: BTreeMap<GlobalSequence, (EventKey, Fingerprint)>,
    archived_ids: HashMap<Uuid, GlobalSequence>,
    archived_streams: HashMap<Uuid, ArchivedStream>,
}

/// A point at which the in-memory store fails once: see [`MemoryEventStore::fail_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultPoint {
    /// An append fails before anything is written.
    BeforeAppend,
    /// An append fails at its event with this number, from 1, after the earlier ones were written.
    AtEvent(u64),
    /// An append is committed, then its answer is lost.
    AfterCommit,
    /// A read of a stream, or of a page of the log, fails.
    Read,
    /// Saving a snapshot fails.
    SaveSnapshot,
}

impl MemoryEventStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                writer: Writer::new(()),
                log: RwLock::default(),
                snapshots: Mutex::default(),
                seals: Mutex::default(),
                archives: Mutex::default(),
                consumers: Mutex::default(),
                wake: Wake::default(),
                faults: Mutex::default(),
            }),
            limits: Limits::PORTABLE,
            verify_on_read: false,
        }
    }

    /// Sets the limits of events and snapshots, up to [`Limits::TEXT`]; [`Limits::PORTABLE`] unless set.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Verifies the checksum of every event and snapshot that is read; off unless set. This costs a SHA-256 each. A wrong or missing checksum
    /// is an [`Integrity`](crate::ErrorKind::Integrity) error.
    #[must_use]
    pub fn verify_on_read(mut self, verify: bool) -> Self {
        self.verify_on_read = verify;
        self
    }

    /// Makes the store and its clones fail once, with a retryable error, when one of them next passes this point.
    pub fn fail_at(&self, point: FaultPoint) {
        lock(&self.shared.faults).insert(point);
    }

    /// Changes a stored event without the store's knowledge, to test how a program reacts to damage.
    ///
    /// Returns whether there is such an event.
    pub fn tamper(&self, event_id: Uuid, damage: impl FnOnce(&mut EventEnvelope)) -> bool {
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        let Some(&index) = log.by_id.get(&event_id) else {
            return false;
        };
        damage(&mut log.events[index]);
        true
    }

    /// Replaces the whole log without the store's knowledge. Events may be changed, removed, moved or added.
    pub fn tamper_with_log(&self, events: Vec<EventEnvelope>) {
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        log.replace(Vec::new());
        events.into_iter().for_each(|event| log.push(event));
    }

    /// Replaces all snapshots, behind the store's back.
    pub fn tamper_with_snapshots(&self, snapshots: Vec<Snapshot>) {
        let keyed = |snapshot: Snapshot| (place_of(&snapshot), snapshot);
        *lock(&self.shared.snapshots) = snapshots.into_iter().map(keyed).collect();
    }

    /// Replaces all seals, behind the store's back.
    pub fn tamper_with_seals(&self, seals: Vec<Seal>) {
        *lock(&self.shared.seals) = seals.into_iter().map(|seal| (seal.global_sequence, seal)).collect();
    }

    fn pass(&self, point: FaultPoint) -> Result<()> {
        if !lock(&self.shared.faults).remove(&point) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable {
            reason: format!("the store was told to fail at {point:?}").into(),
        }))
    }

    /// Reads for a caller. A thread that is within a transaction must read with the transaction, and is refused.
    fn read<R>(&self, read: impl FnOnce(&Log) -> R) -> Result<R> {
        self.shared.writer.check_not_held()?;
        Ok(self.look(read))
    }

    fn look<R>(&self, read: impl FnOnce(&Log) -> R) -> R {
        read(&self.shared.log.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn snapshots(&self) -> Result<MutexGuard<'_, BTreeMap<SnapshotPlace, Snapshot>>> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.snapshots))
    }
}

impl Default for MemoryEventStore {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStore for MemoryEventStore {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let name = |error: Error| error.during(backend::describe(appends));
        backend::check(appends, &self.limits)?;
        self.pass(FaultPoint::BeforeAppend).map_err(name)?;
        let _writing = self.shared.writer.lock().map_err(name)?;
        let mut staged = MemoryTransaction::of(self);
        let results = staged.append_all(appends)?;
        staged.commit();
        self.pass(FaultPoint::AfterCommit).map_err(name)?;
        Ok(results)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        self.commit_together(|transaction| work(transaction))
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.pass(FaultPoint::Read)
            .and_then(|()| {
                self.read(|log| {
                    let (stream, archived) = (log.stream(aggregate.id()), log.archived_streams.get(&aggregate.id()));
                    self.select(aggregate, range, &stream, archived)
                })
            })
            .flatten()
            .and_then(|stream| backend::verified(stream, self.verify_on_read))
            .map_err(|error| error.during(format_args!("load {aggregate}")))
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        self.pass(FaultPoint::Read)
            .and_then(|()| self.read(|log| self.page(log, query, cursor)))
            .flatten()
            .and_then(|page| backend::verified_page(page, self.verify_on_read))
            .map_err(|error| error.during("read the log"))
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        self.read(Log::mark)
            .map_err(|error| error.during("read the high-water mark"))
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
        self.read(|log| Statistics {
            archived_events: log.count_archived(tenant),
            ..backend::scan_statistics(&log.events, tenant)
        })
        .map_err(|error| error.during("read statistics"))
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        self.read(|log| backend::scan_summaries(&log.events, query))
            .map_err(|error| error.during("read aggregate summaries"))
    }

    fn refresh_aggregate_summaries(&self) -> Result<()> {
        Ok(())
    }

    fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        let mark = self.high_water_mark()?;
        let latency = asked.elapsed();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Health::new("memory", version, None, true, mark, latency))
    }
}

impl Operations for MemoryEventStore {
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()> {
        backend::check_import(events, &self.limits)?;
        let _writing = self.shared.writer.lock()?;
        let (end, heads, found) = self.look(|log| {
            let ids = || events.iter().map(|event| event.aggregate.id());
            let heads = ids().filter_map(|id| Some((id, log.head(id)?))).collect();
            let found: Vec<Located> = events.iter().filter_map(|event| log.locate(event.event_id)).collect();
            (log.mark(), heads, found)
        });
        backend::admit_import(events, end, &heads)?;
        if !found.is_empty() {
            return Err(backend::refuse_import(events, &found));
        }
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| log.push(as_stored(event)));
        drop(log);
        self.shared.wake.tell();
        Ok(())
    }

    /// There are no tables: use [`restore`](crate::operate::restore) into another store.
    fn restore_table(&self, _point: RestorePoint) -> Result<u64> {
        Err(Error::invalid(
            "the in-memory store has no tables; restore into another store",
        ))
    }

    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(place_of(after)));
        let snapshots = self.snapshots()?;
        let after = snapshots.range((from, Bound::Unbounded));
        Ok(after
            .take(limit as usize)
            .map(|(_, snapshot)| snapshot.clone())
            .collect())
    }

    fn insert_seal(&self, seal: &Seal) -> Result<()> {
        lock(&self.shared.seals).entry(seal.global_sequence).or_insert(*seal);
        Ok(())
    }

    fn seals_after(&self, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>> {
        let seals = lock(&self.shared.seals);
        let after = seals.range((Bound::Excluded(sequence), Bound::Unbounded));
        Ok(after.take(limit as usize).map(|(_, seal)| *seal).collect())
    }

    fn newest_seals(&self, limit: u32) -> Result<Vec<Seal>> {
        let seals = lock(&self.shared.seals);
        Ok(seals.values().rev().take(limit as usize).copied().collect())
    }

    fn archives(&self) -> Result<Vec<Archive>> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.archives).clone())
    }

    fn archived_stream(&self, aggregate_id: Uuid) -> Result<Option<ArchivedStream>> {
        self.read(|log| log.archived_streams.get(&aggregate_id).cloned())
    }

    fn record_archive(&self, archive: &Archive) -> Result<()> {
        let mut archives = lock(&self.shared.archives);
        archives.retain(|other| other.digest != archive.digest);
        archives.push(archive.clone());
        archives.sort_by_key(|archive| archive.first);
        Ok(())
    }

    fn forget_archive(&self, digest: &LogDigest) -> Result<()> {
        lock(&self.shared.archives).retain(|archive| archive.digest != *digest);
        Ok(())
    }

    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        let _writing = self.shared.writer.lock()?;
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        let archived = log.archived.clone().into_iter().collect();
        let retired = backend::admit_retirement(events, &log.keys(), &archived, &log.archived_streams, log.mark())?;
        let mut gone = HashSet::new();
        for event in &retired.events {
            let key = EventKey::of(event);
            let fingerprint = fingerprints[&key.global_sequence];
            log.archived.insert(key.global_sequence, (key, fingerprint));
            log.archived_ids.insert(key.event_id, key.global_sequence);
            gone.insert(key.global_sequence);
        }
        for stream in retired.streams {
            log.archived_streams.insert(stream.aggregate.id(), stream);
        }
        let mut left = std::mem::take(&mut log.events);
        left.retain(|event| !gone.contains(&event.global_sequence));
        log.replace(left);
        Ok(gone.len() as u64)
    }

    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        let _writing = self.shared.writer.lock()?;
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        let archived = log.archived.clone().into_iter().collect();
        let streams = &log.archived_streams;
        let attached = backend::admit_attachment(events, &log.keys(), &archived, &fingerprints, streams)?;
        let count = attached.events.len() as u64;
        for event in &attached.events {
            log.archived.remove(&event.global_sequence);
            log.archived_ids.remove(&event.event_id);
        }
        for (id, version) in attached.versions {
            log.cut_archived_stream(id, version);
        }
        let mut all = std::mem::take(&mut log.events);
        all.extend(attached.events.into_iter().map(as_stored));
        all.sort_by_key(|event| event.global_sequence);
        log.replace(all);
        Ok(count)
    }

    fn update_statistics(&self) -> Result<String> {
        Ok("the in-memory store keeps no statistics".to_owned())
    }

    fn vacuum(&self) -> Result<String> {
        Ok("the in-memory store leaves no room unused".to_owned())
    }

    fn index_usage(&self) -> Result<Vec<IndexUsage>> {
        Ok(Vec::new())
    }

    fn check_storage(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn diagnose(&self) -> Result<Vec<Diagnosis>> {
        Ok(vec![Diagnosis::bad(
            Severity::Notice,
            "durability",
            "everything is in memory",
            "use a database for what must outlive the process",
        )])
    }
}

impl ConsumerStore for MemoryEventStore {
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
        self.commit_together(|transaction| work(transaction))
    }

    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
        self.shared.writer.check_not_held()?;
        let which = name.map_or(SlotsQuery::All, SlotsQuery::Of);
        Ok(lock(&self.shared.consumers).slots(which))
    }

    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.consumers).parked(which))
    }

    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.consumers).count_parked(consumer, aggregate_id))
    }

    fn wake(&self) -> &Wake {
        &self.shared.wake
    }

    fn is_transient(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        backend::any_transient(error, |_| None)
    }

    /// Nothing has a time limit here.
    fn took_too_long(&self, _: &(dyn std::error::Error + 'static)) -> bool {
        false
    }

    fn longest_transaction(&self) -> Option<Duration> {
        Some(LONGEST_TRANSACTION)
    }
}

impl Transactional for MemoryEventStore {
    type Transaction<'t> = MemoryTransaction<'t>;

    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let _writing = self.shared.writer.lock()?;
        let mut transaction = MemoryTransaction::of(self);
        let result = work(&mut transaction);
        let result = transaction.work.outcome(result)?;
        transaction.commit();
        Ok(result)
    }
}

/// A transaction of a store in memory. No other transaction runs meanwhile, and readers do not see its changes before the commit.
#[derive(Debug)]
pub struct MemoryTransaction<'a> {
    store: &'a MemoryEventStore,
    /// The last committed sequence.
    committed: u64,
    events: Vec<EventEnvelope>,
    /// The tables of consumers, if this transaction has written to them.
    consumers: Option<MemoryConsumers>,
    work: Work,
}

impl<'a> MemoryTransaction<'a> {
    fn of(store: &'a MemoryEventStore) -> Self {
        Self {
            store,
            committed: store.look(|log| log.mark().get()),
            events: Vec::new(),
            consumers: None,
            work: Work::default(),
        }
    }

    fn read_consumers<R>(&self, read: impl FnOnce(&MemoryConsumers) -> R) -> R {
        match &self.consumers {
            Some(consumers) => read(consumers),
            None => read(&lock(&self.store.shared.consumers)),
        }
    }

    fn try_append(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        if let Some(results) = backend::resolve_repeated(appends, &self.locate(appends))? {
            return Ok(self.with_versions(appends, results));
        }
        let mut results = Vec::with_capacity(appends.len());
        for append in appends {
            results.push(self.append_one(append)?);
        }
        Ok(results)
    }

    fn append_one(&mut self, append: &Append<'_>) -> Result<Appended> {
        let aggregate = append.aggregate;
        let head = self.head(aggregate.id());
        if append.events.is_empty() {
            let version = head.map_or(Version::ZERO, |head| head.version);
            return Ok(Appended::new(aggregate.clone(), version, Vec::new()));
        }
        let mut version = Head::admit(head.as_ref(), append)?;
        let now = OffsetDateTime::now_utc().truncate_to_microsecond();
        let mut sequences = Vec::with_capacity(append.events.len());
        for (number, event) in (1..).zip(append.events) {
            self.store.pass(FaultPoint::AtEvent(number))?;
            version = version.checked_add(1).expect("the head admitted these versions");
            let sequence = GlobalSequence::new(self.committed + self.events.len() as u64 + 1)?;
            self.events
                .push(event.stored(aggregate, append.tenant, version, sequence, now));
            sequences.push(sequence);
        }
        Ok(Appended::new(aggregate.clone(), version, sequences))
    }

    fn locate(&self, appends: &[Append<'_>]) -> Vec<Located> {
        let ids: HashSet<Uuid> = appends
            .iter()
            .flat_map(|append| append.events)
            .map(NewEvent::event_id)
            .collect();
        let staged = self.events.iter().filter(|event| ids.contains(&event.event_id));
        let mut found: Vec<Located> = staged.map(Located::of).collect();
        self.store
            .look(|log| found.extend(ids.iter().filter_map(|id| log.locate(*id))));
        found
    }

    /// Sets the versions of empty appends in a repeated append, which have no event to show them.
    fn with_versions(&self, appends: &[Append<'_>], results: Vec<Appended>) -> Vec<Appended> {
        let complete = |(append, result): (&Append<'_>, Appended)| {
            if !append.events.is_empty() {
                return result;
            }
            let version = self
                .head(append.aggregate.id())
                .map_or(Version::ZERO, |head| head.version);
            Appended::new(append.aggregate.clone(), version, Vec::new())
        };
        appends.iter().zip(results).map(complete).collect()
    }

    fn head(&self, id: Uuid) -> Option<Head> {
        let staged = self.events.iter().rev().find(|event| event.aggregate.id() == id);
        staged.map(Head::of).or_else(|| self.store.look(|log| log.head(id)))
    }

    fn commit(self) {
        let shared = &self.store.shared;
        if let Some(consumers) = self.consumers {
            *lock(&shared.consumers) = consumers;
        }
        if self.events.is_empty() {
            return;
        }
        let mut log = shared.log.write().unwrap_or_else(PoisonError::into_inner);
        for event in self.events {
            log.push(event);
        }
        drop(log);
        shared.wake.tell();
    }
}

impl ConsumerTables for MemoryTransaction<'_> {
    fn change(&mut self, change: ConsumerChange<'_>) -> Result<()> {
        let shared = &self.store.shared;
        let consumers = self.consumers.get_or_insert_with(|| lock(&shared.consumers).clone());
        consumers.change(change);
        Ok(())
    }

    fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>> {
        Ok(self.read_consumers(|consumers| consumers.slots(which)))
    }

    fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        Ok(self.read_consumers(|consumers| consumers.parked(which)))
    }

    fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64> {
        Ok(self.read_consumers(|consumers| consumers.members(consumer, seen_within)))
    }
}

impl ConsumerTransaction for MemoryTransaction<'_> {
    fn scope(&mut self, tenant: &TenantId) -> Result<()> {
        self.work.narrow(tenant)
    }
}

impl WorkTransaction for MemoryTransaction<'_> {
    fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    fn limits(&self) -> &Limits {
        &self.store.limits
    }

    fn verifies_on_read(&self) -> bool {
        self.store.verify_on_read
    }
}

impl EventTransaction for MemoryTransaction<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.append_by(appends, Self::try_append)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.load_by(aggregate, range, |transaction, range| {
            let store = transaction.store;
            store.look(|log| {
                let staged = transaction
                    .events
                    .iter()
                    .filter(|event| event.aggregate.id() == aggregate.id());
                let stream: Vec<_> = log.stream(aggregate.id()).into_iter().chain(staged).collect();
                let archived = log.archived_streams.get(&aggregate.id());
                store.select(aggregate, range, &stream, archived)
            })
        })
    }
}

/// An imported event, as the store keeps it.
fn as_stored(event: &EventEnvelope) -> EventEnvelope {
    let size_bytes = u32::try_from(event.data.as_str().len()).ok();
    EventEnvelope {
        size_bytes,
        ..event.clone()
    }
}

impl MemoryEventStore {
    /// The part of a stream that a range asks for. `events` are the events of the stream in the log, oldest first.
    fn select(
        &self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        stream: &[&EventEnvelope],
        archived: Option<&ArchivedStream>,
    ) -> Result<EventStream> {
        let Some(archived) = archived else {
            return backend::scan_stream(aggregate, range, stream);
        };
        if range.tenant.is_some() && range.tenant != archived.tenant {
            return Ok(EventStream::new(aggregate.clone(), Version::ZERO, Vec::new()));
        }
        backend::check_type(aggregate, archived.aggregate.aggregate_type())?;
        let live = backend::scan_stream(aggregate, range, stream)?;
        let mut version = live.version().max(archived.version);
        match range.as_of {
            Some(AsOf::Version(at)) => version = version.min(at),
            Some(AsOf::Sequence(at)) if at < archived.first_sequence => version = Version::ZERO,
            Some(AsOf::Sequence(at)) if at < archived.last_sequence => return Err(self.needed(archived)),
            Some(AsOf::Time(at)) if at < archived.created_until => return Err(self.needed(archived)),
            Some(AsOf::Sequence(_) | AsOf::Time(_)) | None => {}
        }

        let to = range.to.map_or(version, |to| to.min(version));
        let limit = range.limit.unwrap_or(u64::MAX);
        let first = range.from.max(Version::from(1));
        let is_filled = match range.direction {
            Direction::Forwards => limit == 0,
            Direction::Backwards => live.len() as u64 >= limit,
        };
        if first <= to.min(archived.version) && !is_filled {
            return Err(self.needed(archived));
        }
        let archived = (archived.version, archived.last_event_id);
        Ok(EventStream::new(aggregate.clone(), version, live.into_events()).with_archived(Some(archived)))
    }

    /// The error of a load that needs archived events of a stream.
    fn needed(&self, stream: &ArchivedStream) -> Error {
        let (first, last) = (stream.first_sequence, stream.last_sequence);
        let archives = lock(&self.shared.archives);
        let holding: Vec<_> = archives
            .iter()
            .filter(|archive| archive.first <= last && archive.last >= first)
            .cloned()
            .collect();
        needed(first, last, &holding)
    }

    fn page(&self, log: &Log, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        let mark = match cursor {
            Some(cursor) => cursor.high_water_mark(),
            None => {
                let mark = log.mark();
                query.check_end(mark, || Ok(mark))?;
                mark
            }
        };
        let window = query.window(cursor, mark);
        let found = backend::scan_events(&log.events, query, &window)?;
        let archived_until = log.archived.keys().next_back().copied();
        backend::check_archived(query, &window, &found, archived_until, |covered| {
            Ok(self.archive_with(log, query.filter(), covered))
        })?;
        Ok(found.into_page(query, cursor, mark))
    }

    /// The first archive with an event in a window that may match the filters.
    fn archive_with(&self, log: &Log, filter: &EventFilter, window: &Window) -> Option<Archive> {
        let may_pass = |(_, (key, _)): &(&GlobalSequence, &(EventKey, Fingerprint))| {
            let stream = &log.archived_streams[&key.aggregate_id];
            backend::may_pass_archived(filter, key.event_id, stream)
        };
        let archives = lock(&self.shared.archives);
        let mut archives = archives
            .iter()
            .filter(|archive| backend::may_pass_archive(filter, archive));
        archives
            .find(|archive| {
                let first = archive.first.max(window.after.checked_add(1).unwrap_or(window.after));
                let last = archive.last.min(window.until);
                first <= last && log.archived.range(first..=last).any(|entry| may_pass(&entry))
            })
            .cloned()
    }
}

impl Log {
    fn push(&mut self, event: EventEnvelope) {
        let index = self.events.len();
        self.by_id.insert(event.event_id, index);
        self.by_aggregate.entry(event.aggregate.id()).or_default().push(index);
        self.events.push(event);
    }

    fn stream(&self, aggregate_id: Uuid) -> Vec<&EventEnvelope> {
        let indexes = self.by_aggregate.get(&aggregate_id).map_or(&[][..], Vec::as_slice);
        indexes.iter().map(|&index| &self.events[index]).collect()
    }

    fn mark(&self) -> GlobalSequence {
        self.events
            .last()
            .map_or(GlobalSequence::ZERO, |event| event.global_sequence)
    }

    /// Replaces all events.
    fn replace(&mut self, events: Vec<EventEnvelope>) {
        self.events.clear();
        self.by_id.clear();
        self.by_aggregate.clear();
        events.into_iter().for_each(|event| self.push(event));
    }

    /// The keys of the events in the log, by their sequences.
    fn keys(&self) -> HashMap<GlobalSequence, EventKey> {
        let keys = self.events.iter().map(EventKey::of);
        keys.map(|key| (key.global_sequence, key)).collect()
    }

    /// The position of an event, archived or not.
    fn locate(&self, event_id: Uuid) -> Option<Located> {
        if let Some(&index) = self.by_id.get(&event_id) {
            return Some(Located::of(&self.events[index]));
        }
        let (key, fingerprint) = self.archived.get(self.archived_ids.get(&event_id)?)?;
        let stream = self.archived_streams.get(&key.aggregate_id)?;
        Some(Located {
            event_id,
            aggregate: stream.aggregate.clone(),
            tenant: stream.tenant.clone(),
            version: key.version,
            global_sequence: key.global_sequence,
            contents: Contents::Archived(*fingerprint),
        })
    }

    /// The head of an aggregate, archived or not.
    fn head(&self, aggregate_id: Uuid) -> Option<Head> {
        let live = self.stream(aggregate_id).last().map(|event| Head::of(event));
        live.or_else(|| self.archived_streams.get(&aggregate_id).map(ArchivedStream::head))
    }

    /// Shortens the archived part of a stream: it now ends at a version.
    fn cut_archived_stream(&mut self, aggregate_id: Uuid, version: Version) {
        let mut keys = self.archived.values().map(|(key, _)| key);
        let last = keys.find(|key| key.aggregate_id == aggregate_id && key.version == version);
        match (last, self.archived_streams.get_mut(&aggregate_id)) {
            (Some(last), Some(stream)) => {
                (stream.version, stream.last_event_id, stream.last_sequence) =
                    (version, last.event_id, last.global_sequence);
            }
            _ => drop(self.archived_streams.remove(&aggregate_id)),
        }
    }

    /// How many events are archived, or of one tenant.
    fn count_archived(&self, tenant: Option<&TenantId>) -> u64 {
        let is_of_tenant = |(key, _): &&(EventKey, Fingerprint)| {
            let stream = self.archived_streams.get(&key.aggregate_id);
            tenant.is_none() || stream.and_then(|stream| stream.tenant.as_ref()) == tenant
        };
        self.archived.values().filter(is_of_tenant).count() as u64
    }
}

impl SnapshotStore for MemoryEventStore {
    fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
        let aggregate = snapshot.aggregate();
        self.try_save(tenant, snapshot).map_err(|error| {
            error.during(format_args!(
                "save a snapshot of {aggregate} at version {}",
                snapshot.version()
            ))
        })
    }

    fn find_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>> {
        let found = find(&*self.snapshots()?, tenant, aggregate, at);
        backend::verified_snapshots(found, self.verify_on_read)
    }

    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream)> {
        self.pass(FaultPoint::Read)
            .and_then(|()| {
                self.read(|log| {
                    let snapshot = find(&lock(&self.shared.snapshots), tenant, aggregate, at);
                    let mut range = StreamRange::with_snapshot(tenant, snapshot.as_ref());
                    let archived = log.archived_streams.get(&aggregate.id());
                    if archived.is_some_and(|archived| snapshot.is_some() && archived.version == range.from) {
                        range.from = range.from.checked_add(1).unwrap_or(range.from);
                    }
                    let stream = self.select(aggregate, &range, &log.stream(aggregate.id()), archived)?;
                    Ok((snapshot, stream))
                })
            })
            .flatten()
            .and_then(|loaded| backend::verified_with_snapshot(loaded, self.verify_on_read))
            .map_err(|error| error.during(format_args!("load {aggregate} from a snapshot")))
    }

    fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>> {
        let snapshots = self.snapshots()?;
        let of_aggregate = snapshots
            .values()
            .rev()
            .filter(|snapshot| owned(snapshot, tenant, Some(aggregate)));
        backend::verified_snapshots(of_aggregate.cloned().collect(), self.verify_on_read)
    }

    fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
        let snapshots = self.snapshots()?;
        let of_aggregate = snapshots
            .values()
            .filter(|snapshot| owned(snapshot, tenant, Some(aggregate)));
        Ok(of_aggregate.count() as u64)
    }

    fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64> {
        let mut snapshots = self.snapshots()?;
        let before = snapshots.len();
        let mut newer = 0;
        // From the newest version to the oldest, so that the newest of an aggregate are counted first.
        let doomed: HashSet<SnapshotPlace> = snapshots
            .iter()
            .rev()
            .filter(|(_, snapshot)| match selection {
                SnapshotSelection::Exactly(aggregate, version) => {
                    owned(snapshot, tenant, Some(aggregate)) && snapshot.version == version
                }
                SnapshotSelection::Before(aggregate, version) => {
                    owned(snapshot, tenant, Some(aggregate)) && snapshot.version < version
                }
                SnapshotSelection::AllButLatest(aggregate, count) => {
                    let of_aggregate = owned(snapshot, tenant, Some(aggregate));
                    newer += u64::from(of_aggregate);
                    of_aggregate && newer > count
                }
                SnapshotSelection::AllButLatestOf(aggregate, form, count) => {
                    let of_form = owned(snapshot, tenant, Some(aggregate)) && is_of(snapshot, Some(form));
                    newer += u64::from(of_form);
                    of_form && newer > count
                }
                SnapshotSelection::Aggregate(aggregate) => owned(snapshot, tenant, Some(aggregate)),
                SnapshotSelection::OlderThan(time) => owned(snapshot, tenant, None) && snapshot.created_at < time,
                SnapshotSelection::All => owned(snapshot, tenant, None),
            })
            .map(|(key, _)| key.clone())
            .collect();
        snapshots.retain(|key, _| !doomed.contains(key));
        Ok((before - snapshots.len()) as u64)
    }

    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
        let snapshots = self.snapshots()?;
        let owned: Vec<_> = snapshots
            .values()
            .filter(|snapshot| owned(snapshot, tenant, None))
            .collect();
        let aggregates: HashSet<_> = owned.iter().map(|snapshot| snapshot.aggregate.id()).collect();
        Ok(SnapshotStatistics::new(
            owned.len() as u64,
            aggregates.len() as u64,
            owned.iter().map(|snapshot| snapshot.state.as_str().len() as u64).sum(),
            owned.iter().map(|snapshot| snapshot.created_at).min(),
            owned.iter().map(|snapshot| snapshot.created_at).max(),
        ))
    }
}

impl MemoryEventStore {
    fn try_save(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
        snapshot.check(&self.limits)?;
        self.pass(FaultPoint::SaveSnapshot)?;
        let aggregate = snapshot.aggregate();
        let head = self.read(|log| log.head(aggregate.id()))?;
        backend::check_snapshot(head.as_ref(), tenant, snapshot)?;
        let snapshot = snapshot.stored(tenant);
        lock(&self.shared.snapshots).insert(place_of(&snapshot), snapshot);
        Ok(())
    }
}

fn find(
    snapshots: &BTreeMap<SnapshotPlace, Snapshot>,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Option<Snapshot> {
    let (from, to, form) = at.bounds();
    let from = (aggregate.id(), from, Box::default());
    let of_versions = snapshots
        .range(from..)
        .take_while(|((id, version, _), _)| *id == aggregate.id() && *version <= to)
        .map(|(_, snapshot)| snapshot);
    of_versions
        .filter(|snapshot| owned(snapshot, tenant, Some(aggregate)) && is_of(snapshot, form))
        .last()
        .cloned()
}

fn owned(snapshot: &Snapshot, tenant: Option<&TenantId>, aggregate: Option<&AggregateKey>) -> bool {
    (tenant.is_none() || snapshot.tenant.as_ref() == tenant)
        && aggregate.is_none_or(|aggregate| snapshot.aggregate == *aggregate)
}

fn is_of(snapshot: &Snapshot, form: Option<&SnapshotType>) -> bool {
    form.is_none_or(|form| snapshot.snapshot_type == *form)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
