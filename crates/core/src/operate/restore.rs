//! Restore: copying a log up to a past point into another store.

use std::collections::HashSet;

use uuid::Uuid;

use super::LogDigest;
use super::digest::Hashed;
use super::import::{BATCH_SIZE, Feeder, Imported};
use super::operations::{Operations, RestorePoint};
use super::progress::{Progress, Telling};
use crate::store::pipeline;
use crate::{EventEnvelope, EventQuery, EventStore, GlobalSequence, Result};

/// Copies the log up to a past point into another store, which is empty, or has a beginning of it. Stored events are skipped, so repeat an
/// interrupted restore. The source does not change.
///
/// ```
/// use firefly_eventstore_core::operate::restore;
/// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
///
/// let (source, target) = (MemoryEventStore::new(), MemoryEventStore::new());
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// for name in ["account.opened", "account.closed"] {
///     source.append(&account, ExpectedVersion::Any, &[NewEvent::new(name, &serde_json::json!({}))?])?;
/// }
/// let restored = restore(&source, &target, GlobalSequence::from(1), |_| {})?;
/// assert_eq!(restored.events, 1);
/// assert_eq!(target.load(&account)?.version(), 1);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
///
/// [`Contradiction`](crate::ErrorKind::Contradiction) if the target has other events; [`Integrity`](crate::ErrorKind::Integrity) at a
/// damaged event; those of the stores.
pub fn restore(
    source: &dyn EventStore,
    target: &dyn Operations,
    point: impl Into<RestorePoint>,
    progress: impl FnMut(Progress),
) -> Result<Imported> {
    let mut past = Past::at(point.into());
    let mut telling = Telling::new(progress);
    let mark = source.high_water_mark()?.min(past.until());
    telling.expect(Some(mark.get()));
    let mut feeder = Feeder::new(target, BATCH_SIZE);
    let mut digest = LogDigest::OF_NOTHING;
    pipeline::read_in_order(source, EventQuery::new().until(mark), Hashed::all, |events| {
        for hashed in events {
            hashed.verify()?;
            if past.includes(&hashed.event) {
                digest = digest.with_hashed(&hashed)?;
                feeder.add(hashed.event)?;
            }
            telling.add(1);
        }
        Ok(())
    })?;
    telling.finish();
    feeder.finish(digest)
}

/// The events of a log, in their order, that belong to a point in its past.
#[derive(Clone, Debug)]
struct Past {
    point: RestorePoint,
    /// The aggregates that have events after the point.
    later: HashSet<Uuid>,
}

impl Past {
    /// Before any event was checked.
    fn at(point: RestorePoint) -> Self {
        Self {
            point,
            later: HashSet::new(),
        }
    }

    /// The last sequence that may belong to it.
    fn until(&self) -> GlobalSequence {
        match self.point {
            RestorePoint::Sequence(sequence) => sequence,
            RestorePoint::Time(_) => GlobalSequence::MAX,
        }
    }

    /// Whether the next event of the log belongs to it.
    fn includes(&mut self, event: &EventEnvelope) -> bool {
        let id = event.aggregate.id();
        match self.point {
            RestorePoint::Sequence(sequence) => event.global_sequence <= sequence,
            RestorePoint::Time(time) if event.created_at > time => {
                self.later.insert(id);
                false
            }
            RestorePoint::Time(_) => !self.later.contains(&id),
        }
    }
}
