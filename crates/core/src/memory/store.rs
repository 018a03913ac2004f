//! The store: the state that its clones share, how it is created, and how a test makes it fail.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use uuid::Uuid;

use super::consumers::MemoryConsumers;
use super::log::Log;
use crate::backend::Writer;
use crate::consumer::Wake;
use crate::operate::{Archive, Seal};
use crate::{Error, ErrorKind, EventEnvelope, GlobalSequence, Limits, Result, Snapshot, Version};

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
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Limits,
    pub(super) verify_on_read: bool,
}

/// What the clones of a store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) writer: Writer<()>,
    pub(super) log: RwLock<Log>,
    pub(super) snapshots: Mutex<BTreeMap<SnapshotPlace, Snapshot>>,
    pub(super) seals: Mutex<BTreeMap<GlobalSequence, Seal>>,
    pub(super) archives: Mutex<Vec<Archive>>,
    pub(super) consumers: Mutex<MemoryConsumers>,
    pub(super) wake: Wake,
    pub(super) faults: Mutex<HashSet<FaultPoint>>,
}

/// An aggregate's id, a version and a form: they identify a snapshot.
pub(super) type SnapshotPlace = (Uuid, Version, Box<str>);

pub(super) fn place_of(snapshot: &Snapshot) -> SnapshotPlace {
    (
        snapshot.aggregate.id(),
        snapshot.version,
        snapshot.snapshot_type.as_str().into(),
    )
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

    /// Sets whether the checksum of every event and snapshot is verified when it is read; off unless set. This costs a SHA-256 each. A wrong or missing checksum
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

    pub(super) fn pass(&self, point: FaultPoint) -> Result<()> {
        if !lock(&self.shared.faults).remove(&point) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable {
            reason: format!("the store was told to fail at {point:?}").into(),
        }))
    }

    /// Reads for a caller. A thread that is within a transaction must read with the transaction, and is refused.
    pub(super) fn read<R>(&self, read: impl FnOnce(&Log) -> R) -> Result<R> {
        self.shared.writer.check_not_held()?;
        Ok(self.look(read))
    }

    pub(super) fn look<R>(&self, read: impl FnOnce(&Log) -> R) -> R {
        read(&self.shared.log.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn snapshots(&self) -> Result<MutexGuard<'_, BTreeMap<SnapshotPlace, Snapshot>>> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.snapshots))
    }
}

impl Default for MemoryEventStore {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
