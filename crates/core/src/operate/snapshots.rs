//! Deleting old snapshots.

use time::OffsetDateTime;

use super::operations::Operations;
use super::progress::{Progress, Telling};
use crate::{Result, Snapshot, SnapshotSelection};

/// How many snapshots one query lists.
pub(super) const PAGE: u32 = 500;

/// Deletes snapshots of every aggregate: all but the newest `keep` of each, and those created before a time. Returns their number.
///
/// A snapshot is a cache: without snapshots, an aggregate is loaded from all its events. Snapshots of every form count: while two versions
/// of a program run with two forms of state, keep two.
///
/// # Errors
///
/// Those of the store. Snapshots that were already deleted stay deleted.
pub fn prune_snapshots(
    store: &dyn Operations,
    keep: Option<u64>,
    older_than: Option<OffsetDateTime>,
    progress: impl FnMut(Progress),
) -> Result<u64> {
    let mut telling = Telling::new(progress);
    telling.expect(Some(store.snapshot_statistics(None)?.snapshots));
    let mut deleted = 0;
    if let Some(time) = older_than {
        deleted += store.delete_snapshots(None, SnapshotSelection::OlderThan(time))?;
    }
    let mut place: Option<Snapshot> = None;
    while let Some(keep) = keep {
        let page = store.snapshots_after(place.as_ref(), PAGE)?;
        let Some(last) = page.last() else { break };
        place = Some(last.clone());
        telling.add(page.len() as u64);
        let mut before = None;
        for snapshot in &page {
            if before != Some(snapshot.aggregate.id()) {
                before = Some(snapshot.aggregate.id());
                let selection = SnapshotSelection::AllButLatest(&snapshot.aggregate, keep);
                deleted += store.delete_snapshots(None, selection)?;
            }
        }
    }
    telling.finish();
    Ok(deleted)
}
