//! What a consumer without new events of its own does from time to time.

use std::time::{Duration, Instant};

use crate::GlobalSequence;

/// The checkpoint moves after this many sequences without an event of the consumer's own.
const SEQUENCES: u64 = 1_000;

/// The checkpoint moves after this time without an event of the consumer's own.
const TIME: Duration = Duration::from_secs(10);

/// How often a consumer with parked events looks for replay requests.
pub(crate) const REPLAY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a thread that waits for events pauses before its second look at the log. Later pauses are longer while
/// nothing is appended.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(20);

/// The longest pause between two looks at the log.
pub(crate) const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// How long a thread listens for appends of other processes before it checks whether to stop.
pub(crate) const LONGEST_LISTEN: Duration = Duration::from_millis(50);

/// Whether to move a checkpoint, last moved at `moved`, from `position` to `looked`, the position up to which the log
/// was read.
pub(crate) fn is_late(position: GlobalSequence, looked: GlobalSequence, moved: Instant) -> bool {
    let passed = looked.get() - position.get();
    passed >= SEQUENCES || (passed > 0 && moved.elapsed() >= TIME)
}

/// The longest wait of a consumer if nothing is appended.
pub(crate) fn longest_wait(has_parked: bool) -> Duration {
    match has_parked {
        true => REPLAY_INTERVAL,
        false => TIME,
    }
}
