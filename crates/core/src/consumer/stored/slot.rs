//! The stored state of a consumer: its slots and its parked events.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Error, GlobalSequence, Result};

/// A slot of a consumer: its checkpoint, its holder and its state. A consumer without a group has only slot 0.
///
/// The rows are never deleted, so that no token is used twice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerSlot {
    /// The consumer's name.
    pub consumer: String,
    /// The number of the slot, from 0.
    pub slot: u16,
    /// The checkpoint: everything up to here is handled.
    pub position: GlobalSequence,
    /// The token grows whenever the slot gets another holder, and at each reset. A checkpoint with an older token is refused.
    pub token: i64,
    /// The process that holds the slot; none if the slot is free, or the consumer has no group.
    pub holder: Option<Uuid>,
    /// The holder's lease, by the database's clock.
    pub lease: Option<Lease>,
    /// What the consumer is to do.
    pub state: ConsumerState,
    /// The event that failed last, or that was being handled when its process ended. None once later events were handled.
    pub failing: Option<Failing>,
    /// A hash of the consumer's query and its number of slots.
    pub definition: Option<String>,
    /// When the row was last written, by the database's clock.
    pub updated_at: OffsetDateTime,
}

impl ConsumerSlot {
    /// For authors of backends: a row of `firefly_consumers`.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "a row has so many columns")]
    pub fn new(
        consumer: String,
        slot: u16,
        position: GlobalSequence,
        token: i64,
        holder: Option<Uuid>,
        lease: Option<Lease>,
        state: ConsumerState,
        failing: Option<Failing>,
        definition: Option<String>,
        updated_at: OffsetDateTime,
    ) -> Self {
        Self {
            consumer,
            slot,
            position,
            token,
            holder,
            lease,
            state,
            failing,
            definition,
            updated_at,
        }
    }

    /// How often an event was tried before.
    pub(crate) fn attempts_of(&self, sequence: GlobalSequence) -> u32 {
        let failing = self.failing.as_ref().filter(|failing| failing.sequence == sequence);
        failing.map_or(0, |failing| failing.attempts)
    }
}

/// How long a process still holds a slot, or how long ago its lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lease {
    /// The lease ends after this time, unless its holder renews it.
    Left(Duration),
    /// The lease ended this long ago. Another process may take the slot.
    Ended(Duration),
}

impl Lease {
    /// For authors of backends: a lease that ends at this time.
    #[must_use]
    pub fn until(end: OffsetDateTime, now: OffsetDateTime) -> Self {
        Self::of(end - now)
    }

    /// For authors of backends: a lease with this many microseconds left, which are negative if it ended.
    #[must_use]
    pub fn of_microseconds(left: i64) -> Self {
        Self::of(time::Duration::microseconds(left))
    }

    fn of(left: time::Duration) -> Self {
        match left.is_positive() {
            true => Self::Left(left.unsigned_abs()),
            false => Self::Ended(left.unsigned_abs()),
        }
    }

    /// Whether the lease has not ended.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Left(_))
    }
}

/// What a consumer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsumerState {
    /// The consumer handles events.
    Running,
    /// The operator paused the consumer: it keeps its checkpoint and handles nothing.
    Paused,
    /// An event failed at its last attempt: the consumer handles nothing until the operator resumes it.
    Failed,
    /// The appending program changes the read model in the commit of each append. No process follows the log for it.
    Inline,
}

impl ConsumerState {
    /// The name of the state, as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Inline => "inline",
        }
    }
}

impl fmt::Display for ConsumerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ConsumerState {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Running, Self::Paused, Self::Failed, Self::Inline]
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| Error::invalid(format!("{name:?} is not a state of a consumer")))
    }
}

/// An event that a consumer cannot handle, or that it is handling.
///
/// Before its first commit, a projection stores here the first event of that commit, with 0 attempts. If the consumer's previous process
/// did not finish, the next one stores each event here before it tries it. So a process that ends over an event leaves a trace. The commit
/// of the event removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failing {
    /// Where it is in the log.
    pub sequence: GlobalSequence,
    /// How often the event was tried; 0 if it was begun together with events after it.
    pub attempts: u32,
    /// The last error, or a note that the event is being handled.
    pub error: String,
}

impl Failing {
    /// For authors of backends: the failure in a row of `firefly_consumers`.
    #[must_use]
    pub fn new(sequence: GlobalSequence, attempts: u32, error: String) -> Self {
        Self {
            sequence,
            attempts,
            error,
        }
    }
}

/// An event that a consumer could not handle and set aside, to continue with other aggregates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The consumer's name.
    pub consumer: String,
    /// Where the event is in the log.
    pub global_sequence: GlobalSequence,
    /// Its aggregate. All later events of the aggregate are parked too.
    pub aggregate_id: Uuid,
    /// How often it was tried; 0 if an earlier event of its aggregate was parked.
    pub attempts: u32,
    /// Why it was parked.
    pub reason: String,
    /// When it was parked, by the database's clock.
    pub parked_at: OffsetDateTime,
    /// Whether its operator asked the consumer to handle it again.
    pub replay: bool,
}

impl ParkedEvent {
    /// For authors of backends: a row of `firefly_parked_events`.
    #[must_use]
    pub fn new(
        consumer: String,
        global_sequence: GlobalSequence,
        aggregate_id: Uuid,
        attempts: u32,
        reason: String,
        parked_at: OffsetDateTime,
        replay: bool,
    ) -> Self {
        Self {
            consumer,
            global_sequence,
            aggregate_id,
            attempts,
            reason,
            parked_at,
            replay,
        }
    }
}

/// The slot, out of `slots`, that the events of an aggregate belong to.
///
/// 64-bit FNV-1a over the 16 bytes of the id, modulo the number of slots. This never changes, because the stored checkpoints of all groups
/// depend on it.
///
/// # Panics
///
/// If `slots` is 0.
#[must_use]
pub fn slot_of(aggregate_id: Uuid, slots: u16) -> u16 {
    let hash = aggregate_id
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    u16::try_from(hash % u64::from(slots)).expect("a rest is smaller than what was divided by")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_aggregates_are_what_they_always_were() {
        let slots = |id: &str| [1, 7, 12, 1_000].map(|slots| slot_of(id.parse().unwrap(), slots));
        assert_eq!(slots("00000000-0000-0000-0000-000000000000"), [0, 0, 9, 221]);
        assert_eq!(slots("0192f0c1-6d3e-7b4a-8c5d-112233445566"), [0, 6, 3, 471]);
        assert_eq!(slots("ffffffff-ffff-ffff-ffff-ffffffffffff"), [0, 5, 9, 133]);
    }

    #[test]
    fn every_state_is_read_as_it_was_written() {
        for state in [
            ConsumerState::Running,
            ConsumerState::Paused,
            ConsumerState::Failed,
            ConsumerState::Inline,
        ] {
            assert_eq!(state.as_str().parse::<ConsumerState>().unwrap(), state);
        }
        assert!("asleep".parse::<ConsumerState>().is_err());
    }
}
