//! Verification on demand: was stored data changed or damaged?

use super::pipeline;
use crate::{Error, EventEnvelope, EventQuery, EventStore, GlobalSequence, Result};

/// The result of a verification.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verification {
    /// How many events were checked.
    pub checked: u64,
    /// An [`Integrity`](crate::ErrorKind::Integrity) error for each event that is damaged.
    pub damaged: Vec<Error>,
    /// Where the next verification continues: see [`Events::checkpoint`](crate::Events::checkpoint).
    pub checkpoint: GlobalSequence,
}

impl Verification {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// The progress of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// How many events were checked.
    pub checked: u64,
    /// How many of them are damaged.
    pub damaged: u64,
    /// The last checked event.
    pub at: GlobalSequence,
}

/// Recomputes the checksum of every event that `query` selects, and reports every damaged event.
///
/// `progress` is called after each event, in the calling thread. Another thread reads, page by page, and as many threads as there are cores
/// compute. About 16 MiB of events are in memory.
///
/// ```
/// use firefly_eventstore_core::{prelude::*, verify, MemoryEventStore};
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
///
/// let mut seen = 0;
/// let found = verify(&store, EventQuery::new(), |progress| seen = progress.checked)?;
/// assert!(found.is_intact());
/// assert_eq!((found.checked, seen), (1, 1));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
///
/// Those of the store. If an event is so damaged that its row cannot be read, the verification ends with an error.
pub fn verify<S: EventStore + ?Sized>(
    store: &S,
    query: EventQuery,
    mut progress: impl FnMut(VerifyProgress),
) -> Result<Verification> {
    let mut checked = 0;
    let mut damaged = Vec::new();
    let verified = |events: Vec<EventEnvelope>| {
        let verified = events.iter().map(|event| (event.global_sequence, event.verify().err()));
        verified.collect::<Vec<_>>()
    };
    let checkpoint = pipeline::read_in_order(store, query, verified, |events| {
        for (at, error) in events {
            checked += 1;
            damaged.extend(error);
            progress(VerifyProgress {
                checked,
                damaged: damaged.len() as u64,
                at,
            });
        }
        Ok(())
    })?;
    Ok(Verification {
        checked,
        damaged,
        checkpoint,
    })
}
