//! When a consumer that finds no event of its own does something all the same.

use std::time::{Duration, Instant};

use crate::GlobalSequence;

/// After how many sequences without an event of its own a consumer's checkpoint moves.
const SEQUENCES: u64 = 1_000;

/// After how long without an event of its own a consumer's checkpoint moves.
const TIME: Duration = Duration::from_secs(10);

/// How often a consumer with parked events looks whether some are to be handled again.
pub(crate) const REPLAY_INTERVAL: Duration = Duration::from_secs(1);

/// Who waits for events looks at the log again after this time, and after ever longer ones while nothing comes.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(20);

/// The longest time after which who waits for events looks at the log again.
pub(crate) const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// Who listens for appends of other processes looks after this time whether it is to stop.
pub(crate) const LONGEST_LISTEN: Duration = Duration::from_millis(50);

/// Whether a checkpoint, which was last moved at a time, is to move to where the log was looked through.
pub(crate) fn is_late(position: GlobalSequence, looked: GlobalSequence, moved: Instant) -> bool {
    let passed = looked.get() - position.get();
    passed >= SEQUENCES || (passed > 0 && moved.elapsed() >= TIME)
}

/// How long a consumer waits at most although nothing new was appended.
pub(crate) fn longest_wait(has_parked: bool) -> Duration {
    match has_parked {
        true => REPLAY_INTERVAL,
        false => TIME,
    }
}
