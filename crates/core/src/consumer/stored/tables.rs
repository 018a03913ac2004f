//! What a backend does with the tables of consumers: few small statements, the same on every database.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::slot::{ConsumerSlot, ConsumerState, ParkedEvent};
use crate::{GlobalSequence, Result};

/// The tables `firefly_consumers`, `firefly_consumer_members` and `firefly_parked_events`, within a transaction.
///
/// For authors of backends: each method is one statement. All that is decided is decided in
/// [`ConsumerTransaction`](crate::consumer::ConsumerTransaction), so it is the same on every database. A statement that fails fails the
/// transaction, whatever its work makes of the error: a checkpoint must not stay without what it stands for.
///
/// Each takes one round trip. If the work used the transaction's `connection()` since the last statement, PostgreSQL, MySQL and MariaDB
/// take one more round trip. It checks that the connection still leads to the store; [`ConsumerChange::Save`] finds that out by itself.
/// SQLite runs in the process.
pub trait ConsumerTables {
    /// Writes.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn change(&mut self, change: ConsumerChange<'_>) -> Result<()>;

    /// Slots of consumers, ordered by name and number.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity) if a row cannot be read; those of the backend.
    fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>>;

    /// Parked events, ordered by the consumer's name and the sequence.
    ///
    /// # Errors
    ///
    /// As [`slots`](Self::slots).
    fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>>;

    /// How many members of a group wrote within this time that they live, by the database's clock.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64>;
}

/// How long, in the microseconds that databases compute with: 100 years at most, which none of their times goes beyond.
///
/// For authors of backends.
#[must_use]
pub fn microseconds(duration: Duration) -> i64 {
    const LONGEST: i64 = 100 * 366 * 24 * 60 * 60 * 1_000_000;
    i64::try_from(duration.as_micros()).map_or(LONGEST, |microseconds| microseconds.min(LONGEST))
}

/// A statement that writes. A backend has to do each, so that a new one is found by the compiler.
#[derive(Clone, Copy, Debug)]
pub enum ConsumerChange<'a> {
    /// Inserts a slot without a holder, with token 0, unless it exists.
    Register {
        /// The consumer's name.
        consumer: &'a str,
        /// The number of the slot.
        slot: u16,
        /// Its checkpoint.
        position: GlobalSequence,
        /// What it is to do.
        state: ConsumerState,
        /// The hash of its definition.
        definition: &'a str,
    },
    /// Writes the position, the token, the state and the failure of a slot, not who holds it.
    Save(&'a ConsumerSlot),
    /// Gives a slot to a process for a time that begins now, by the database's clock; or takes it from its holder.
    Hand {
        /// The consumer's name.
        consumer: &'a str,
        /// The number of the slot.
        slot: u16,
        /// The new token.
        token: i64,
        /// The process, and how long.
        holder: Option<(Uuid, Duration)>,
    },
    /// Lets all leases of a process begin anew, now.
    Renew {
        /// The consumer's name.
        consumer: &'a str,
        /// The process.
        holder: Uuid,
        /// How long.
        lease: Duration,
    },
    /// Writes that a process lives: inserts its row, or moves its time to now.
    SeeMember {
        /// The consumer's name.
        consumer: &'a str,
        /// The process.
        holder: Uuid,
    },
    /// Deletes the row of a process.
    ForgetMember {
        /// The consumer's name.
        consumer: &'a str,
        /// The process.
        holder: Uuid,
    },
    /// Deletes the rows of the processes that were not seen for a time.
    ForgetMembers {
        /// The consumer's name.
        consumer: &'a str,
        /// For how long.
        unseen_for: Duration,
    },
    /// Inserts a parked event, at the time that it is now by the database's clock; if it is there, writes its attempts and its reason,
    /// and if they are more than before, that it is not to be replayed.
    Park {
        /// The consumer's name.
        consumer: &'a str,
        /// Where the event is in the log.
        global_sequence: GlobalSequence,
        /// Its aggregate.
        aggregate_id: Uuid,
        /// How often it was tried.
        attempts: u32,
        /// Why it is parked.
        reason: &'a str,
    },
    /// Asks for all parked events of an aggregate to be handled again.
    Replay {
        /// The consumer's name.
        consumer: &'a str,
        /// The aggregate.
        aggregate_id: Uuid,
    },
    /// Deletes a parked event.
    Unpark {
        /// The consumer's name.
        consumer: &'a str,
        /// Where the event is in the log.
        global_sequence: GlobalSequence,
    },
}

/// What is done, for errors.
impl fmt::Display for ConsumerChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { consumer, .. } => write!(f, "begin consumer {consumer}"),
            Self::Save(slot) => write!(f, "save slot {} of consumer {}", slot.slot, slot.consumer),
            Self::Hand { consumer, slot, .. } => write!(f, "hand over slot {slot} of consumer {consumer}"),
            Self::Renew { consumer, .. } => write!(f, "renew the leases of consumer {consumer}"),
            Self::SeeMember { consumer, .. }
            | Self::ForgetMember { consumer, .. }
            | Self::ForgetMembers { consumer, .. } => {
                write!(f, "keep the members of consumer {consumer}")
            }
            Self::Park {
                consumer,
                global_sequence,
                ..
            } => write!(
                f,
                "park the event with global sequence {global_sequence} for consumer {consumer}"
            ),
            Self::Replay { consumer, aggregate_id } => {
                write!(
                    f,
                    "ask consumer {consumer} to handle the parked events of aggregate {aggregate_id} again"
                )
            }
            Self::Unpark {
                consumer,
                global_sequence,
            } => write!(
                f,
                "delete the parked event with global sequence {global_sequence} of consumer {consumer}"
            ),
        }
    }
}

/// Which slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotsQuery<'a> {
    /// Those of every consumer.
    All,
    /// Those of one consumer.
    Of(&'a str),
    /// One slot, locked until the transaction ends (`FOR UPDATE`).
    Lock(&'a str, u16),
    /// The free slots of a consumer: no process holds them, or the lease ended by the database's clock; locked, without waiting for those
    /// that others have locked (`FOR UPDATE SKIP LOCKED`).
    LockFree(&'a str),
}

/// What is done, for errors.
impl fmt::Display for SlotsQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("list the consumers"),
            Self::Of(consumer) | Self::LockFree(consumer) => write!(f, "look at the slots of consumer {consumer}"),
            Self::Lock(consumer, slot) => write!(f, "lock slot {slot} of consumer {consumer}"),
        }
    }
}

/// Which parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedQuery<'a> {
    /// Those of every consumer that come after a place, at most so many.
    All {
        /// The name and the sequence of the one before; an empty name from the start.
        after: (&'a str, GlobalSequence),
        /// How many at most.
        limit: u32,
    },
    /// Those of a consumer after a sequence, at most so many.
    Of {
        /// The consumer's name.
        consumer: &'a str,
        /// The sequence of the one before.
        after: GlobalSequence,
        /// How many at most.
        limit: u32,
    },
    /// Those of an aggregate of a consumer after a sequence, at most so many.
    OfAggregate {
        /// The consumer's name.
        consumer: &'a str,
        /// The aggregate.
        aggregate_id: Uuid,
        /// The sequence of the one before.
        after: GlobalSequence,
        /// How many at most.
        limit: u32,
    },
}

impl<'a> ParkedQuery<'a> {
    /// The first of an aggregate.
    pub(crate) fn first_of(consumer: &'a str, aggregate_id: Uuid) -> Self {
        Self::OfAggregate {
            consumer,
            aggregate_id,
            after: GlobalSequence::ZERO,
            limit: 1,
        }
    }
}

/// What is done, for errors.
impl fmt::Display for ParkedQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { .. } => f.write_str("list the parked events"),
            Self::Of { consumer, .. } | Self::OfAggregate { consumer, .. } => {
                write!(f, "list the parked events of consumer {consumer}")
            }
        }
    }
}
