//! The tables of consumers. Times are the server's.

use std::time::Duration;

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::{ConsumerChange, SlotsQuery, microseconds, rows};
use firefly_eventstore_core::consumer::{ConsumerSlot, ParkedEvent, ParkedQuery};
use mysql::Value;
use mysql::prelude::Queryable;
use uuid::Uuid;

use crate::error::classify;
use crate::row::{Cells, count, decode, uuid};
use crate::session::{Place, Session};
use crate::sql;

/// Writes. One round trip, and one more for each member that is forgotten because it was not seen.
pub(crate) fn change<C: Queryable>(session: &mut Session<'_, C>, change: ConsumerChange<'_>) -> Result<()> {
    try_change(session, change).map_err(|error| error.during(change))
}

fn try_change<C: Queryable>(session: &mut Session<'_, C>, change: ConsumerChange<'_>) -> Result<()> {
    let (statement, values): (_, Vec<Value>) = match change {
        ConsumerChange::Register {
            consumer,
            slot,
            position,
            state,
            definition,
        } => (
            sql::CONSUMER_REGISTER,
            vec![
                consumer.into(),
                slot.into(),
                position.as_i64().into(),
                state.as_str().into(),
                definition.into(),
            ],
        ),
        ConsumerChange::Save(slot) => (sql::CONSUMER_SAVE, row_of(slot)),
        ConsumerChange::Hand {
            consumer,
            slot,
            token,
            holder,
        } => (
            sql::CONSUMER_HAND,
            vec![
                token.into(),
                holder.map(|(holder, _)| holder).into(),
                holder.map(|(_, lease)| microseconds(lease)).into(),
                consumer.into(),
                slot.into(),
            ],
        ),
        ConsumerChange::Renew {
            consumer,
            holder,
            lease,
        } => (
            sql::CONSUMER_RENEW,
            vec![microseconds(lease).into(), consumer.into(), holder.into()],
        ),
        ConsumerChange::SeeMember { consumer, holder } => {
            (sql::CONSUMER_SEE_MEMBER, vec![consumer.into(), holder.into()])
        }
        ConsumerChange::ForgetMember { consumer, holder } => {
            (sql::CONSUMER_FORGET_MEMBER, vec![consumer.into(), holder.into()])
        }
        ConsumerChange::ForgetMembers { consumer, unseen_for } => {
            return forget_members(session, consumer, unseen_for);
        }
        ConsumerChange::Park {
            consumer,
            global_sequence,
            aggregate_id,
            attempts,
            reason,
        } => (
            sql::CONSUMER_PARK,
            vec![
                consumer.into(),
                global_sequence.as_i64().into(),
                aggregate_id.into(),
                attempts.into(),
                reason.into(),
            ],
        ),
        ConsumerChange::Replay { consumer, aggregate_id } => {
            (sql::CONSUMER_REPLAY, vec![consumer.into(), aggregate_id.into()])
        }
        ConsumerChange::Unpark {
            consumer,
            global_sequence,
        } => (
            sql::CONSUMER_UNPARK,
            vec![consumer.into(), global_sequence.as_i64().into()],
        ),
    };
    session.execute(statement, values).map(drop).map_err(classify)
}

/// Saves a locked slot. The caller's work has used the connection meanwhile, so the statement checks that it still leads to the store and
/// is not in autocommit. One round trip. Returns whether it was saved.
pub(crate) fn save_after_work<C: Queryable>(
    session: &mut Session<'_, C>,
    slot: &ConsumerSlot,
    place: &Place,
) -> Result<bool, mysql::Error> {
    let mut values = row_of(slot);
    values.extend([place.server.as_str().into(), place.database.as_deref().into()]);
    let rows = session.execute(sql::CONSUMER_SAVE_AFTER_WORK, values)?;
    Ok(rows == 1)
}

/// What is written of a slot, and which it is.
fn row_of(slot: &ConsumerSlot) -> Vec<Value> {
    let failing = slot.failing.as_ref();
    vec![
        slot.position.as_i64().into(),
        slot.token.into(),
        slot.state.as_str().into(),
        failing.map(|failing| failing.sequence.as_i64()).into(),
        failing.map_or(0, |failing| failing.attempts).into(),
        failing.map(|failing| failing.error.as_str()).into(),
        slot.consumer.as_str().into(),
        slot.slot.into(),
    ]
}

/// Deletes the members that nobody has seen. A `DELETE` by the time would lock every row that it looks at. It would then wait for members
/// that renew their rows, and they for it.
fn forget_members<C: Queryable>(session: &mut Session<'_, C>, consumer: &str, unseen_for: Duration) -> Result<()> {
    let values = vec![consumer.into(), microseconds(unseen_for).into()];
    let rows = session.query(sql::CONSUMER_UNSEEN_MEMBERS, values).map_err(classify)?;
    for holder in decode(&rows, |row| uuid(row, 0))? {
        session
            .execute(sql::CONSUMER_FORGET_MEMBER, vec![consumer.into(), holder.into()])
            .map_err(classify)?;
    }
    Ok(())
}

/// Slots of consumers. One round trip.
pub(crate) fn slots<C: Queryable>(session: &mut Session<'_, C>, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>> {
    let (statement, values) = match which {
        SlotsQuery::All => (sql::CONSUMER_SLOTS, Vec::new()),
        SlotsQuery::Of(consumer) => (sql::CONSUMER_SLOTS_OF, vec![consumer.into()]),
        SlotsQuery::Lock(consumer, slot) => (sql::CONSUMER_LOCK_SLOT, vec![consumer.into(), slot.into()]),
        SlotsQuery::LockFree(consumer) => (sql::CONSUMER_FREE_SLOTS, vec![consumer.into()]),
    };
    let rows = session.query(statement, values).map_err(classify);
    rows.and_then(|rows| decode(&rows, |row| rows::slot(&Cells(row), None)))
        .map_err(|error| error.during(which))
}

/// Parked events. One round trip.
pub(crate) fn parked<C: Queryable>(session: &mut Session<'_, C>, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
    let (statement, values): (_, Vec<Value>) = match which {
        ParkedQuery::All {
            after: (consumer, sequence),
            limit,
        } => (
            sql::CONSUMER_PARKED,
            vec![consumer.into(), consumer.into(), sequence.as_i64().into(), limit.into()],
        ),
        ParkedQuery::Of { consumer, after, limit } => (
            sql::CONSUMER_PARKED_OF,
            vec![consumer.into(), after.as_i64().into(), limit.into()],
        ),
        ParkedQuery::OfAggregate {
            consumer,
            aggregate_id,
            after,
            limit,
        } => (
            sql::CONSUMER_PARKED_OF_AGGREGATE,
            vec![
                consumer.into(),
                aggregate_id.into(),
                after.as_i64().into(),
                limit.into(),
            ],
        ),
    };
    let rows = session.query(statement, values).map_err(classify);
    rows.and_then(|rows| decode(&rows, |row| rows::parked_event(&Cells(row))))
        .map_err(|error| error.during(which))
}

/// How many events of a consumer are parked. One round trip.
pub(crate) fn count_parked<C: Queryable>(
    session: &mut Session<'_, C>,
    consumer: &str,
    aggregate_id: Option<Uuid>,
) -> Result<u64> {
    let values: Vec<Value> = vec![consumer.into(), aggregate_id.into(), aggregate_id.into()];
    let rows = session.query(sql::CONSUMER_COUNT_PARKED, values).map_err(classify);
    rows.and_then(|rows| decode(&rows, |row| count(row, 0)))
        .map(|counts| counts.into_iter().sum())
        .map_err(|error| error.during(format_args!("count the parked events of consumer {consumer}")))
}

/// How many members of a group were seen within a time. One round trip.
pub(crate) fn members<C: Queryable>(
    session: &mut Session<'_, C>,
    consumer: &str,
    seen_within: Duration,
) -> Result<u64> {
    let values = vec![consumer.into(), microseconds(seen_within).into()];
    let rows = session.query(sql::CONSUMER_MEMBERS, values).map_err(classify);
    rows.and_then(|rows| decode(&rows, |row| count(row, 0)))
        .map(|counts| counts.into_iter().sum())
        .map_err(|error| error.during(format_args!("count the members of consumer {consumer}")))
}
