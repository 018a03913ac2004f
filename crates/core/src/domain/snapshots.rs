//! When and how snapshots of an aggregate are saved.

use uuid::Uuid;

use super::aggregate::{Aggregate, Root, Snapshotted};
use crate::{
    AggregateKey, Error, ErrorKind, EventStream, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotSelection,
    SnapshotStore, SnapshotType, Version,
};

/// When a repository saves a snapshot of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotPolicy {
    /// After the command that takes the aggregate past a multiple of this version. For aggregates that change.
    Every(u64),
    /// After a load that read this many events, or more. Also for aggregates that are mostly read: then a load writes. A service that may only
    /// read uses [`Every`](Self::Every).
    AfterReading(u64),
}

impl SnapshotPolicy {
    /// Whether a snapshot is due after an aggregate went from one version to another and this many events were applied.
    fn is_due(self, before: Version, after: Version, taken_in: u64) -> bool {
        match self {
            // The version passes a multiple, without having to be equal to it: an append of several events may step over it.
            Self::Every(events) => before.get() / events < after.get() / events,
            Self::AfterReading(events) => taken_in >= events,
        }
    }
}

/// How snapshots of one aggregate type are saved. Functions instead of a trait's methods, so that a repository without snapshots does not
/// require the aggregate or the store to support them.
pub(super) struct Snapshots<S, A> {
    form: SnapshotType,
    policy: SnapshotPolicy,
    load: Load<S>,
    parse: fn(&Snapshot) -> Result<A>,
    save: fn(&S, &Root<A>, &SnapshotType, Uuid) -> Result<()>,
}

type Load<S> = fn(&S, &AggregateKey, &SnapshotType) -> Result<(Option<Snapshot>, EventStream)>;

impl<S: SnapshotStore, A: Snapshotted> Snapshots<S, A> {
    pub(super) fn new(policy: SnapshotPolicy) -> Result<Self> {
        let (SnapshotPolicy::Every(events) | SnapshotPolicy::AfterReading(events)) = policy;
        if events == 0 {
            return Err(Error::invalid(
                "a snapshot after every 0 events is not possible; give a greater number",
            ));
        }
        Ok(Self {
            form: SnapshotType::new(A::FORM)?,
            policy,
            load,
            parse: Snapshot::state::<A>,
            save,
        })
    }
}

impl<S, A: Aggregate> Snapshots<S, A> {
    /// Loads the newest snapshot of this form, and the events from its version on; without one, all events.
    pub(super) fn load(&self, store: &S, key: &AggregateKey) -> Result<(Option<Snapshot>, EventStream)> {
        (self.load)(store, key, &self.form)
    }

    /// The state in a snapshot that came with these events. Refuses a snapshot that was changed, was made of other events than the stored
    /// ones, or has a state that the program cannot read.
    pub(super) fn state(&self, snapshot: &Snapshot, events: &EventStream) -> Result<A> {
        // One hash, even if the store does not verify: a snapshot that was changed or moved by hand has a state that does not result from
        // the events.
        snapshot.verify()?;
        let (key, at) = (events.aggregate(), snapshot.version);
        let last = events
            .event_id_at(at)
            .ok_or_else(|| beyond_end(key, at, events.version()))?;
        match snapshot.snapshot_id == snapshot_id(last, &self.form) {
            true => (self.parse)(snapshot),
            false => Err(of_other_events(key, at)),
        }
    }

    /// Saves the state of an aggregate if a snapshot is due, and deletes older ones. `before` is its earlier version.
    pub(super) fn save_if_due(&self, store: &S, before: Version, taken_in: u64, root: &Root<A>) -> Result<()> {
        match root.last_event() {
            Some(last) if self.policy.is_due(before, root.version(), taken_in) => {
                (self.save)(store, root, &self.form, snapshot_id(last, &self.form))
            }
            _ => Ok(()),
        }
    }
}

impl<S, A> Clone for Snapshots<S, A> {
    fn clone(&self) -> Self {
        Self {
            form: self.form.clone(),
            ..*self
        }
    }
}

/// The id of a snapshot is computed from the last event that it includes. If a log was truncated and then continued, it has another event
/// at that version.
fn snapshot_id(last_event: Uuid, form: &SnapshotType) -> Uuid {
    Uuid::new_v5(&last_event, form.as_str().as_bytes())
}

fn load<S: SnapshotStore>(
    store: &S,
    key: &AggregateKey,
    form: &SnapshotType,
) -> Result<(Option<Snapshot>, EventStream)> {
    store.load_from_snapshot(None, key, SnapshotAt::LatestOf(form))
}

fn save<S: SnapshotStore, A: Snapshotted>(store: &S, root: &Root<A>, form: &SnapshotType, id: Uuid) -> Result<()> {
    let snapshot = NewSnapshot::new(root.key(), root.version(), form, root.state())?;
    store.save_snapshot(None, &snapshot.with_id(id))?;
    store.delete_snapshots(None, SnapshotSelection::AllButLatestOf(root.key(), form, 1))?;
    Ok(())
}

/// Compares a snapshot with its last event, and with the state that results from the events.
pub(super) fn compare<A: Snapshotted>(snapshot: &Snapshot, last_event: Uuid, replayed: &A) -> Result<()> {
    snapshot.verify()?;
    if snapshot.snapshot_id != snapshot_id(last_event, &snapshot.snapshot_type) {
        return Err(of_other_events(&snapshot.aggregate, snapshot.version));
    }
    let replayed = NewSnapshot::new(&snapshot.aggregate, snapshot.version, &snapshot.snapshot_type, replayed)?;
    match replayed.state().canonical()? == snapshot.state.canonical()? {
        true => Ok(()),
        false => Err(wrong(
            &snapshot.aggregate,
            snapshot.version,
            "it is not the state that the events make; delete it, or give the state another form".to_owned(),
        )),
    }
}

/// A snapshot whose last event does not exist.
pub(super) fn beyond_end(key: &AggregateKey, at: Version, end: Version) -> Error {
    let reason = format!("it is beyond the last event, version {end}: events were lost; delete it");
    wrong(key, at, reason)
}

fn of_other_events(key: &AggregateKey, at: Version) -> Error {
    let reason = "it was made of another event than the one that is stored at this version; delete it".to_owned();
    wrong(key, at, reason)
}

fn wrong(key: &AggregateKey, at: Version, reason: String) -> Error {
    Error::new(ErrorKind::Integrity {
        event_id: None,
        global_sequence: None,
        reason: reason.into(),
    })
    .during(format_args!("snapshot of {key} at version {at}"))
}
