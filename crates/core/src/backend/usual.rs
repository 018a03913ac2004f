//! How many events to ask a server for, so that a page that is bounded by bytes is filled by one statement, and little is sent in vain.

use std::sync::atomic::{AtomicU64, Ordering};

/// How large, in bytes, the events of a log usually are, as the statements of a store find out.
///
/// What a server has begun to send, it sends to its end, whether somebody wants the rest or not. So a statement asks for no more
/// events than are likely to fit into the page.
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

    /// What was learnt last.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// How many events to ask for, so many at most, where there is room for so many bytes.
    #[must_use]
    pub fn events(&self, most: u32, room: u64) -> u32 {
        u32::try_from(room / self.bytes().max(1)).map_or(most, |events| events.saturating_add(1).min(most))
    }

    /// What a statement found out.
    pub fn learn(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}
