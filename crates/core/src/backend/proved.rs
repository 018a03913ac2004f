//! The high-water mark that a store has proved so far.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::query::check_end;
use crate::{GlobalSequence, Result};

/// The greatest high-water mark that a store has proved. For authors of backends.
///
/// A mark is the sequence of a committed event, so the log never ends before it, unless events were lost: after a crash, a restore, or a
/// deletion by hand.
///
/// ```
/// use firefly_eventstore_core::GlobalSequence;
/// use firefly_eventstore_core::backend::ProvedMark;
///
/// let proved = ProvedMark::default();
/// assert_eq!(proved.raise(GlobalSequence::from(7)), 7);
/// assert_eq!(proved.raise(GlobalSequence::from(5)), 7);
/// // The log now ends at 5: events were lost. That is an error once.
/// let (before, found) = (proved.get(), GlobalSequence::from(5));
/// assert!(proved.check(before, found, || Ok(found)).unwrap_err().is_beyond_end());
/// assert_eq!(proved.get(), 0);
/// ```
#[derive(Debug, Default)]
pub struct ProvedMark(AtomicU64);

impl ProvedMark {
    /// The mark. 0 if none was proved.
    #[must_use]
    pub fn get(&self) -> GlobalSequence {
        GlobalSequence::new(self.0.load(Ordering::Acquire)).expect("it was a sequence when it was proved")
    }

    /// Adds a proof. Returns the greatest mark that was proved.
    pub fn raise(&self, mark: GlobalSequence) -> GlobalSequence {
        let before = self.0.fetch_max(mark.get(), Ordering::AcqRel);
        mark.max(GlobalSequence::new(before).expect("it was a sequence when it was proved"))
    }

    /// Forgets what was proved.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Fails if the log ends before a mark that was proved: then events were lost. The error is returned once, and the mark is forgotten.
    ///
    /// `before` is the mark as it was [before](Self::get) the database was asked, because another thread may prove a greater one
    /// meanwhile. `found` is what the database answered. If that is less, `end` looks where the log ends.
    ///
    /// # Errors
    ///
    /// [`BeyondEnd`](crate::ErrorKind::BeyondEnd), and those of `end`.
    pub fn check(
        &self,
        before: GlobalSequence,
        found: GlobalSequence,
        end: impl FnOnce() -> Result<GlobalSequence>,
    ) -> Result<()> {
        check_end(before, found, end).inspect_err(|error| {
            if error.is_beyond_end() {
                // If another thread has proved another mark meanwhile, that one is checked later.
                let _ = self
                    .0
                    .compare_exchange(before.get(), 0, Ordering::AcqRel, Ordering::Acquire);
            }
        })
    }
}
