//! The tables of consumers. Times are the server's.

use std::time::Duration;

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::{ConsumerChange, SlotsQuery, microseconds, rows};
use firefly_eventstore_core::consumer::{ConsumerSlot, ParkedEvent, ParkedQuery};
use postgres::GenericClient;
use postgres::types::ToSql;
use uuid::Uuid;

use crate::error::classify;
use crate::pool::Place;
use crate::row::{self, Cells, decode};
use crate::session::Session;
use crate::sql;

/// Writes. One round trip.
pub(crate) fn change<C: GenericClient>(session: &mut Session<'_, C>, change: ConsumerChange<'_>) -> Result<()> {
    let mut run = |sql: &str, parameters: &[&(dyn ToSql + Sync)]| session.execute(sql, parameters).map_err(classify);
    match change {
        ConsumerChange::Register {
            consumer,
            slot,
            position,
            state,
            definition,
        } => run(
            sql::CONSUMER_REGISTER,
            &[
                &consumer,
                &i32::from(slot),
                &position.as_i64(),
                &state.as_str(),
                &definition,
            ],
        ),
        ConsumerChange::Save(slot) => save(session, sql::CONSUMER_SAVE, slot, None).map_err(classify),
        ConsumerChange::Hand {
            consumer,
            slot,
            token,
            holder,
        } => run(
            sql::CONSUMER_HAND,
            &[
                &consumer,
                &i32::from(slot),
                &token,
                &holder.map(|(holder, _)| holder),
                &holder.map(|(_, lease)| microseconds(lease)),
            ],
        ),
        ConsumerChange::Renew {
            consumer,
            holder,
            lease,
        } => run(sql::CONSUMER_RENEW, &[&consumer, &holder, &microseconds(lease)]),
        ConsumerChange::SeeMember { consumer, holder } => run(sql::CONSUMER_SEE_MEMBER, &[&consumer, &holder]),
        ConsumerChange::ForgetMember { consumer, holder } => run(sql::CONSUMER_FORGET_MEMBER, &[&consumer, &holder]),
        ConsumerChange::ForgetMembers { consumer, unseen_for } => {
            run(sql::CONSUMER_FORGET_MEMBERS, &[&consumer, &microseconds(unseen_for)])
        }
        ConsumerChange::Park {
            consumer,
            global_sequence,
            aggregate_id,
            attempts,
            reason,
        } => run(
            sql::CONSUMER_PARK,
            &[
                &consumer,
                &global_sequence.as_i64(),
                &aggregate_id,
                &i64::from(attempts),
                &reason,
            ],
        ),
        ConsumerChange::Replay { consumer, aggregate_id } => run(sql::CONSUMER_REPLAY, &[&consumer, &aggregate_id]),
        ConsumerChange::Unpark {
            consumer,
            global_sequence,
        } => run(sql::CONSUMER_UNPARK, &[&consumer, &global_sequence.as_i64()]),
    }
    .map(drop)
    .map_err(|error| error.during(change))
}

/// Saves a locked slot. The caller's work has used the connection meanwhile, so the statement checks that it still leads to the store. One
/// round trip. Returns whether it was saved.
pub(crate) fn save_after_work<C: GenericClient>(
    session: &mut Session<'_, C>,
    slot: &ConsumerSlot,
    place: &Place,
) -> Result<bool, postgres::Error> {
    save(session, sql::CONSUMER_SAVE_AFTER_WORK, slot, Some(&place.schema())).map(|rows| rows == 1)
}

fn save<C: GenericClient>(
    session: &mut Session<'_, C>,
    statement: &str,
    slot: &ConsumerSlot,
    schema: Option<&(dyn ToSql + Sync)>,
) -> Result<u64, postgres::Error> {
    let failing = slot.failing.as_ref();
    let row: [&(dyn ToSql + Sync); 8] = [
        &slot.consumer,
        &i32::from(slot.slot),
        &slot.position.as_i64(),
        &slot.token,
        &slot.state.as_str(),
        &failing.map(|failing| failing.sequence.as_i64()),
        &failing.map_or(0, |failing| i64::from(failing.attempts)),
        &failing.map(|failing| &failing.error),
    ];
    let values: Vec<_> = row.into_iter().chain(schema).collect();
    session.execute(statement, &values)
}

/// Slots of consumers. One round trip.
pub(crate) fn slots<C: GenericClient>(
    session: &mut Session<'_, C>,
    which: SlotsQuery<'_>,
) -> Result<Vec<ConsumerSlot>> {
    let rows = match which {
        SlotsQuery::All => session.query(sql::CONSUMER_SLOTS, &[]),
        SlotsQuery::Of(consumer) => session.query(sql::CONSUMER_SLOTS_OF, &[&consumer]),
        SlotsQuery::Lock(consumer, slot) => session.query(sql::CONSUMER_LOCK_SLOT, &[&consumer, &i32::from(slot)]),
        SlotsQuery::LockFree(consumer) => session.query(sql::CONSUMER_FREE_SLOTS, &[&consumer]),
    };
    rows.map_err(classify)
        .and_then(|rows| decode(&rows, |row| rows::slot(&Cells(row), None)))
        .map_err(|error| error.during(which))
}

/// Parked events. One round trip.
pub(crate) fn parked<C: GenericClient>(
    session: &mut Session<'_, C>,
    which: ParkedQuery<'_>,
) -> Result<Vec<ParkedEvent>> {
    let rows = match which {
        ParkedQuery::All {
            after: (consumer, sequence),
            limit,
        } => session.query(
            sql::CONSUMER_PARKED,
            &[&consumer, &sequence.as_i64(), &i64::from(limit)],
        ),
        ParkedQuery::Of { consumer, after, limit } => session.query(
            sql::CONSUMER_PARKED_OF,
            &[&consumer, &after.as_i64(), &i64::from(limit)],
        ),
        ParkedQuery::OfAggregate {
            consumer,
            aggregate_id,
            after,
            limit,
        } => session.query(
            sql::CONSUMER_PARKED_OF_AGGREGATE,
            &[&consumer, &aggregate_id, &after.as_i64(), &i64::from(limit)],
        ),
    };
    rows.map_err(classify)
        .and_then(|rows| decode(&rows, |row| rows::parked_event(&Cells(row))))
        .map_err(|error| error.during(which))
}

/// How many events of a consumer are parked. One round trip.
pub(crate) fn count_parked<C: GenericClient>(
    session: &mut Session<'_, C>,
    consumer: &str,
    aggregate_id: Option<Uuid>,
) -> Result<u64> {
    session
        .query(sql::CONSUMER_COUNT_PARKED, &[&consumer, &aggregate_id])
        .map_err(classify)
        .and_then(|rows| decode(&rows, |row| row::count(row, 0)))
        .map(|counts| counts.into_iter().sum())
        .map_err(|error| error.during(format_args!("count the parked events of consumer {consumer}")))
}

/// How many members of a group were seen within a time. One round trip.
pub(crate) fn members<C: GenericClient>(
    session: &mut Session<'_, C>,
    consumer: &str,
    seen_within: Duration,
) -> Result<u64> {
    session
        .query(sql::CONSUMER_MEMBERS, &[&consumer, &microseconds(seen_within)])
        .map_err(classify)
        .and_then(|rows| decode(&rows, |row| row::count(row, 0)))
        .map(|counts| counts.into_iter().sum())
        .map_err(|error| error.during(format_args!("count the members of consumer {consumer}")))
}
