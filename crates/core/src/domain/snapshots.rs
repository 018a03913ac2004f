//! When to keep a snapshot of an aggregate, and how.

use super::aggregate::Snapshotted;
use crate::{
    AggregateKey, Error, ErrorKind, NewSnapshot, Result, Snapshot, SnapshotAt, SnapshotSelection, SnapshotStore,
    SnapshotType, Version,
};

/// When a repository keeps a snapshot of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotPolicy {
    /// After the command that takes the aggregate past a multiple of this version. For aggregates that change.
    Every(u64),
    /// After so many events, or more, had to be read to load the aggregate. For aggregates that are mostly read, too: loading one writes
    /// then. A service that may only read takes [`Every`](Self::Every).
    AfterReading(u64),
}

impl SnapshotPolicy {
    /// Whether one is due, after an aggregate came from one version to another, and so many events were taken in.
    fn is_due(self, before: Version, after: Version, taken_in: u64) -> bool {
        match self {
            // It is passed, not met: an append of several events goes over it.
            Self::Every(events) => before.get() / events < after.get() / events,
            Self::AfterReading(events) => taken_in >= events,
        }
    }
}

/// The version and the state of a snapshot, if there is one.
type Found<A> = Option<(Version, A)>;

/// How snapshots of one aggregate type are kept. Functions instead of a trait's methods, so that a repository without snapshots asks
/// neither the aggregate nor the store for any.
pub(super) struct Snapshots<S, A> {
    form: SnapshotType,
    policy: SnapshotPolicy,
    find: fn(&S, &AggregateKey, &SnapshotType) -> Result<Found<A>>,
    save: fn(&S, &AggregateKey, &SnapshotType, Version, &A) -> Result<()>,
}

impl<S: SnapshotStore, A: Snapshotted> Snapshots<S, A> {
    pub(super) fn new(policy: SnapshotPolicy) -> Result<Self> {
        let (SnapshotPolicy::Every(events) | SnapshotPolicy::AfterReading(events)) = policy;
        if events == 0 {
            return Err(Error::invalid(
                "snapshots after each 0 events are none; give a greater number",
            ));
        }
        Ok(Self {
            form: SnapshotType::new(A::FORM)?,
            policy,
            find,
            save,
        })
    }
}

impl<S, A> Snapshots<S, A> {
    /// The newest state of this form.
    pub(super) fn find(&self, store: &S, key: &AggregateKey) -> Result<Found<A>> {
        (self.find)(store, key, &self.form)
    }

    /// Keeps the state, if it is due, in place of older ones.
    pub(super) fn save_if_due(
        &self,
        store: &S,
        key: &AggregateKey,
        (before, after): (Version, Version),
        taken_in: u64,
        state: &A,
    ) -> Result<()> {
        match self.policy.is_due(before, after, taken_in) {
            true => (self.save)(store, key, &self.form, after, state),
            false => Ok(()),
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

fn find<S: SnapshotStore, A: Snapshotted>(store: &S, key: &AggregateKey, form: &SnapshotType) -> Result<Found<A>> {
    let Some(snapshot) = store.find_snapshot(None, key, SnapshotAt::LatestOf(form))? else {
        return Ok(None);
    };
    // One hash, whatever the store verifies: what was changed or moved by hand would be a state that no events made.
    snapshot.verify()?;
    Ok(Some((snapshot.version, snapshot.state()?)))
}

fn save<S: SnapshotStore, A: Snapshotted>(
    store: &S,
    key: &AggregateKey,
    form: &SnapshotType,
    version: Version,
    state: &A,
) -> Result<()> {
    store.save_snapshot(None, &NewSnapshot::new(key, version, form, state)?)?;
    store.delete_snapshots(None, SnapshotSelection::AllButLatestOf(key, form, 1))?;
    Ok(())
}

/// Compares a snapshot with the state that the events make.
pub(super) fn compare<A: Snapshotted>(snapshot: &Snapshot, replayed: &A) -> Result<()> {
    snapshot.verify()?;
    let replayed = NewSnapshot::new(&snapshot.aggregate, snapshot.version, &snapshot.snapshot_type, replayed)?;
    if replayed.state().canonical()? == snapshot.state.canonical()? {
        return Ok(());
    }
    Err(wrong(
        snapshot,
        "it is not the state that the events make; delete it, or give the state another form",
    ))
}

/// A snapshot that contradicts the events.
pub(super) fn wrong(snapshot: &Snapshot, reason: &str) -> Error {
    Error::new(ErrorKind::Integrity {
        event_id: None,
        global_sequence: None,
        reason: reason.into(),
    })
    .during(snapshot.name())
}
