//! The statements of a backend on the tables of consumers: few, small, and the same on every database.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::slot::{ConsumerSlot, ConsumerState, ParkedEvent};
use crate::{GlobalSequence, Result};

/// The tables `firefly_consumers`, `firefly_consumer_members` and `firefly_parked_events`, within a transaction.
///
/// For authors of backends: each method is one statement. All decisions are made in
/// [`ConsumerTransaction`](crate::consumer::ConsumerTransaction), so they are the same on every database. If a statement fails, the
/// transaction must fail too, even if its work ignores the error. Otherwise a checkpoint could be committed without the effects that it
/// stands for.
///
/// Each statement takes one round trip. If the work used the transaction's `connection()` since the last statement, PostgreSQL, MySQL and
/// MariaDB take one more, to check that the connection still leads to the store; [`ConsumerChange::Save`] checks that in its own round
/// trip. SQLite runs in the process.
pub trait ConsumerTables {
    /// Executes a statement that writes.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn change(&mut self, change: ConsumerChange<'_>) -> Result<()>;

    /// Reads slots of consumers, ordered by name and number.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity) if a row cannot be read; those of the backend.
    fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>>;

    /// Reads parked events, ordered by the consumer's name and the sequence.
    ///
    /// # Errors
    ///
    /// As [`slots`](Self::slots).
    fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>>;

    /// How many members of a group were seen within this time, by the database's clock.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64>;
}

/// A duration in microseconds, as databases compute it: 100 years at most, so that no database's time overflows.
///
/// For authors of backends.
#[must_use]
pub fn microseconds(duration: Duration) -> i64 {
    const LONGEST: i64 = 100 * 366 * 24 * 60 * 60 * 1_000_000;
    i64::try_from(duration.as_micros()).map_or(LONGEST, |microseconds| microseconds.min(LONGEST))
}

/// A statement that writes. Not `#[non_exhaustive]`: when one is added, the compiler finds each backend that lacks it.
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
    /// Writes the position, the token, the state and the failure of a slot, but not its holder.
    Save(&'a ConsumerSlot),
    /// Gives a slot to a process for a time that begins now, by the database's clock; or takes it from its holder.
    Hand {
        /// The consumer's name.
        consumer: &'a str,
        /// The number of the slot.
        slot: u16,
        /// The new token.
        token: i64,
        /// The process, and for how long; none to free the slot.
        holder: Option<(Uuid, Duration)>,
    },
    /// Renews all leases of a process: they begin again now.
    Renew {
        /// The consumer's name.
        consumer: &'a str,
        /// The process.
        holder: Uuid,
        /// How long.
        lease: Duration,
    },
    /// Records that a process is alive: inserts its row, or sets its time to now.
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
    /// Inserts a parked event, with the database's current time. If it is already parked, updates its attempts and its reason; and if the
    /// attempts grew, clears its replay request.
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
    /// Requests a replay of all parked events of an aggregate.
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

/// Describes the statement, for errors.
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

/// Selects slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotsQuery<'a> {
    /// The slots of every consumer.
    All,
    /// The slots of one consumer.
    Of(&'a str),
    /// One slot, locked until the transaction ends (`FOR UPDATE`).
    Lock(&'a str, u16),
    /// The free slots of a consumer, locked: slots that no process holds, or whose lease has ended by the database's clock. Slots that
    /// another transaction has locked are skipped (`FOR UPDATE SKIP LOCKED`).
    LockFree(&'a str),
}

/// Describes the statement, for errors.
impl fmt::Display for SlotsQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("list the consumers"),
            Self::Of(consumer) | Self::LockFree(consumer) => write!(f, "look at the slots of consumer {consumer}"),
            Self::Lock(consumer, slot) => write!(f, "lock slot {slot} of consumer {consumer}"),
        }
    }
}

/// Selects parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedQuery<'a> {
    /// Those of every consumer.
    All {
        /// The name and the sequence of the last event of the previous page; an empty name for the first page.
        after: (&'a str, GlobalSequence),
        /// The largest number of rows.
        limit: u32,
    },
    /// Those of one consumer.
    Of {
        /// The consumer's name.
        consumer: &'a str,
        /// The sequence of the last event of the previous page.
        after: GlobalSequence,
        /// The largest number of rows.
        limit: u32,
    },
    /// Those of one aggregate.
    OfAggregate {
        /// The consumer's name.
        consumer: &'a str,
        /// The aggregate.
        aggregate_id: Uuid,
        /// The sequence of the last event of the previous page.
        after: GlobalSequence,
        /// The largest number of rows.
        limit: u32,
    },
}

impl<'a> ParkedQuery<'a> {
    /// The first parked event of an aggregate.
    pub(crate) fn first_of(consumer: &'a str, aggregate_id: Uuid) -> Self {
        Self::OfAggregate {
            consumer,
            aggregate_id,
            after: GlobalSequence::ZERO,
            limit: 1,
        }
    }
}

/// Describes the statement, for errors.
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
