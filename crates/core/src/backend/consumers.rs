//! The tables of consumers on a database: the values and the rows of their [statements](super::Sql), which are the same on each.

use std::time::Duration;

use uuid::Uuid;

use super::rows::{self, Columns};
use super::sql::{Sql, SqlSession, Value};
use crate::Result;
use crate::consumer::stored::tables::{ConsumerChange, SlotsQuery};
use crate::consumer::{ConsumerSlot, ParkedEvent, ParkedQuery};

/// [`ConsumerTables::change`](super::ConsumerTables::change).
///
/// # Errors
///
/// As there.
pub fn change(session: &mut impl SqlSession, change: ConsumerChange<'_>) -> Result<()> {
    let mut run = |statement, values: &[Value<'_>]| session.change(statement, values).map(drop);
    match change {
        ConsumerChange::Register {
            consumer,
            slot,
            position,
            state,
            definition,
        } => run(
            Sql::ConsumerRegister,
            &[
                consumer.into(),
                slot.into(),
                position.as_i64().into(),
                state.as_str().into(),
                definition.into(),
                Value::Now,
            ],
        ),
        ConsumerChange::Save(slot) => run(Sql::ConsumerSave, &saved(slot)),
        ConsumerChange::Hand {
            consumer,
            slot,
            token,
            holder,
        } => run(
            Sql::ConsumerHand,
            &[
                consumer.into(),
                slot.into(),
                token.into(),
                holder.map(|(holder, _)| holder).into(),
                holder.map_or(Value::Null, |(_, lease)| Value::In(lease)),
                Value::Now,
            ],
        ),
        ConsumerChange::Renew {
            consumer,
            holder,
            lease,
        } => run(Sql::ConsumerRenew, &[consumer.into(), holder.into(), Value::In(lease)]),
        ConsumerChange::SeeMember { consumer, holder } => {
            run(Sql::ConsumerSeeMember, &[consumer.into(), holder.into(), Value::Now])
        }
        ConsumerChange::ForgetMember { consumer, holder } => {
            run(Sql::ConsumerForgetMember, &[consumer.into(), holder.into()])
        }
        ConsumerChange::ForgetMembers { consumer, unseen_for } => session.forget_members(consumer, unseen_for),
        ConsumerChange::Park {
            consumer,
            global_sequence,
            aggregate_id,
            attempts,
            reason,
        } => run(
            Sql::ConsumerPark,
            &[
                consumer.into(),
                global_sequence.as_i64().into(),
                aggregate_id.into(),
                attempts.into(),
                reason.into(),
                Value::Now,
            ],
        ),
        ConsumerChange::Replay { consumer, aggregate_id } => {
            run(Sql::ConsumerReplay, &[consumer.into(), aggregate_id.into()])
        }
        ConsumerChange::Unpark {
            consumer,
            global_sequence,
        } => run(Sql::ConsumerUnpark, &[consumer.into(), global_sequence.as_i64().into()]),
    }
    .map_err(|error| error.during(change))
}

/// The values of `consumer_save.sql`.
#[must_use]
pub fn saved(slot: &ConsumerSlot) -> [Value<'_>; 9] {
    let failing = slot.failing.as_ref();
    [
        Value::from(&slot.consumer),
        slot.slot.into(),
        slot.position.as_i64().into(),
        slot.token.into(),
        slot.state.as_str().into(),
        failing.map(|failing| failing.sequence.as_i64()).into(),
        failing.map_or(0, |failing| failing.attempts).into(),
        failing.map(|failing| &failing.error).into(),
        Value::Now,
    ]
}

/// [`ConsumerTables::slots`](super::ConsumerTables::slots).
///
/// # Errors
///
/// As there.
pub fn slots(session: &mut impl SqlSession, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>> {
    let mut slots = |statement, values: &[Value<'_>]| session.rows(statement, values, |row| rows::slot(row));
    match which {
        SlotsQuery::All => slots(Sql::ConsumerSlots, &[]),
        SlotsQuery::Of(consumer) => slots(Sql::ConsumerSlotsOf, &[consumer.into()]),
        SlotsQuery::Lock(consumer, slot) => slots(Sql::ConsumerLockSlot, &[consumer.into(), slot.into()]),
        SlotsQuery::LockFree(consumer) => slots(Sql::ConsumerFreeSlots, &[consumer.into(), Value::Now]),
    }
    .map_err(|error| error.during(which))
}

/// [`ConsumerTables::parked`](super::ConsumerTables::parked).
///
/// # Errors
///
/// As there.
pub fn parked(session: &mut impl SqlSession, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
    let mut parked = |statement, values: &[Value<'_>]| session.rows(statement, values, |row| rows::parked_event(row));
    match which {
        ParkedQuery::All {
            after: (consumer, sequence),
            limit,
        } => parked(
            Sql::ConsumerParked,
            &[consumer.into(), sequence.as_i64().into(), Value::most(limit)],
        ),
        ParkedQuery::Of { consumer, after, limit } => parked(
            Sql::ConsumerParkedOf,
            &[consumer.into(), after.as_i64().into(), Value::most(limit)],
        ),
        ParkedQuery::OfAggregate {
            consumer,
            aggregate_id,
            after,
            limit,
        } => parked(
            Sql::ConsumerParkedOfAggregate,
            &[
                consumer.into(),
                aggregate_id.into(),
                after.as_i64().into(),
                Value::most(limit),
            ],
        ),
    }
    .map_err(|error| error.during(which))
}

/// [`ConsumerStore::count_parked`](crate::consumer::ConsumerStore::count_parked).
///
/// # Errors
///
/// As there.
pub fn count_parked(session: &mut impl SqlSession, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
    let values = [consumer.into(), aggregate_id.into()];
    session
        .row(Sql::ConsumerCountParked, &values, |row| row.count(0))
        .map_err(|error| error.during(format_args!("count the parked events of consumer {consumer}")))
}

/// [`ConsumerTables::members`](super::ConsumerTables::members).
///
/// # Errors
///
/// As there.
pub fn members(session: &mut impl SqlSession, consumer: &str, seen_within: Duration) -> Result<u64> {
    let values = [consumer.into(), Value::Ago(seen_within)];
    session
        .row(Sql::ConsumerMembers, &values, |row| row.count(0))
        .map_err(|error| error.during(format_args!("count the members of consumer {consumer}")))
}
