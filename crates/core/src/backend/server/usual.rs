//! How many events to request from a server. The aim is one statement per page, and few events that do not fit into the page.

use std::sync::atomic::{AtomicU64, Ordering};

/// The usual size of an event in bytes, learnt from the last statements of a store.
///
/// A server sends the whole result of a statement, even rows that do not fit into the page. So a statement requests as many events as are
/// likely to fit.
///
/// ```
/// use firefly_eventstore_core::backend::UsualSize;
///
/// let usual = UsualSize::guessed(2_000);
/// assert_eq!(usual.events(1_000, 16_000), 9); // one more than fit, so that the page is full
/// usual.learn(500);
/// assert_eq!(usual.events(1_000, 16_000), 33);
/// assert_eq!(usual.events(20, 16_000), 20);
/// assert_eq!(usual.events(20, 0), 1);
/// ```
#[derive(Debug)]
pub struct UsualSize(AtomicU64);

impl UsualSize {
    /// A first guess.
    #[must_use]
    pub fn guessed(bytes: u64) -> Self {
        Self(AtomicU64::new(bytes))
    }

    /// The last learnt size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// How many events to request: at most `most`, for a page with room for `room` bytes.
    #[must_use]
    pub fn events(&self, most: u32, room: u64) -> u32 {
        u32::try_from(room / self.bytes().max(1)).map_or(most, |events| events.saturating_add(1).min(most))
    }

    /// Learns from the result of a statement.
    pub fn learn(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}
