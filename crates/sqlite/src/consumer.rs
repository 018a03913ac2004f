//! The tables of consumers. Times are those of this machine, which every process that uses the file runs on.

use std::time::Duration;

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::{Columns as _, ConsumerChange, SlotsQuery, rows};
use firefly_eventstore_core::consumer::{ConsumerSlot, Lease, ParkedEvent, ParkedQuery};
use rusqlite::{Connection, Row, ToSql, params};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::classify_writing;
use crate::row::{self, Cells, time_text};
use crate::sql;
use crate::statement::{collect, prepared};

/// Writes, within a transaction.
pub(crate) fn change(connection: &Connection, change: ConsumerChange<'_>) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let now_text = time_text(now);
    let now_text = now_text.as_str();
    let run = |sql: &str, parameters: &[&dyn ToSql]| run(connection, sql, parameters);
    match change {
        ConsumerChange::Register {
            consumer,
            slot,
            position,
            state,
            definition,
        } => run(
            sql::CONSUMER_REGISTER,
            params![consumer, slot, position.as_i64(), state.as_str(), definition, now_text],
        ),
        ConsumerChange::Save(slot) => {
            let failing = slot.failing.as_ref();
            run(
                sql::CONSUMER_SAVE,
                params![
                    slot.consumer,
                    slot.slot,
                    slot.position.as_i64(),
                    slot.token,
                    slot.state.as_str(),
                    failing.map(|failing| failing.sequence.as_i64()),
                    failing.map_or(0, |failing| failing.attempts),
                    failing.map(|failing| &failing.error),
                    now_text,
                ],
            )
        }
        ConsumerChange::Hand {
            consumer,
            slot,
            token,
            holder,
        } => {
            let lease_until = holder.map(|(_, lease)| time_text(after(now, lease)));
            run(
                sql::CONSUMER_HAND,
                params![
                    consumer,
                    slot,
                    token,
                    holder.map(|(holder, _)| id(holder)),
                    lease_until.as_ref().map(row::TimeText::as_str),
                    now_text,
                ],
            )
        }
        ConsumerChange::Renew {
            consumer,
            holder,
            lease,
        } => run(
            sql::CONSUMER_RENEW,
            params![consumer, id(holder), time_text(after(now, lease)).as_str()],
        ),
        ConsumerChange::SeeMember { consumer, holder } => {
            run(sql::CONSUMER_SEE_MEMBER, params![consumer, id(holder), now_text])
        }
        ConsumerChange::ForgetMember { consumer, holder } => {
            run(sql::CONSUMER_FORGET_MEMBER, params![consumer, id(holder)])
        }
        ConsumerChange::ForgetMembers { consumer, unseen_for } => run(
            sql::CONSUMER_FORGET_MEMBERS,
            params![consumer, time_text(before(now, unseen_for)).as_str()],
        ),
        ConsumerChange::Park {
            consumer,
            global_sequence,
            aggregate_id,
            attempts,
            reason,
        } => run(
            sql::CONSUMER_PARK,
            params![
                consumer,
                global_sequence.as_i64(),
                id(aggregate_id),
                attempts,
                reason,
                now_text
            ],
        ),
        ConsumerChange::Replay { consumer, aggregate_id } => {
            run(sql::CONSUMER_REPLAY, params![consumer, id(aggregate_id)])
        }
        ConsumerChange::Unpark {
            consumer,
            global_sequence,
        } => run(sql::CONSUMER_UNPARK, params![consumer, global_sequence.as_i64()]),
    }
    .map_err(|error| error.during(change))
}

fn run(connection: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> Result<()> {
    prepared(connection, sql)?
        .execute(parameters)
        .map_err(classify_writing)?;
    Ok(())
}

/// Slots of consumers.
pub(crate) fn slots(connection: &Connection, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>> {
    let now = OffsetDateTime::now_utc();
    let slots = |sql: &str, parameters: &[&dyn ToSql]| collect(connection, sql, parameters, |row| slot(row, now));
    match which {
        SlotsQuery::All => slots(sql::CONSUMER_SLOTS, &[]),
        SlotsQuery::Of(consumer) => slots(sql::CONSUMER_SLOTS_OF, params![consumer]),
        SlotsQuery::Lock(consumer, number) => slots(sql::CONSUMER_LOCK_SLOT, params![consumer, number]),
        SlotsQuery::LockFree(consumer) => slots(sql::CONSUMER_FREE_SLOTS, params![consumer, time_text(now).as_str()]),
    }
    .map_err(|error| error.during(which))
}

/// A slot from the columns of `consumer_slots.sql`, which have the time until which it is leased.
fn slot(row: &Row<'_>, now: OffsetDateTime) -> Result<ConsumerSlot> {
    let lease_until = Cells(row).optional_time(5)?;
    rows::slot(&Cells(row), Some(lease_until.map(|until| Lease::until(until, now))))
}

/// Parked events.
pub(crate) fn parked(connection: &Connection, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
    let parked = |sql: &str, parameters: &[&dyn ToSql]| {
        collect(connection, sql, parameters, |row| rows::parked_event(&Cells(row)))
    };
    match which {
        ParkedQuery::All {
            after: (consumer, sequence),
            limit,
        } => parked(sql::CONSUMER_PARKED, params![consumer, sequence.as_i64(), limit]),
        ParkedQuery::Of { consumer, after, limit } => {
            parked(sql::CONSUMER_PARKED_OF, params![consumer, after.as_i64(), limit])
        }
        ParkedQuery::OfAggregate {
            consumer,
            aggregate_id,
            after,
            limit,
        } => parked(
            sql::CONSUMER_PARKED_OF_AGGREGATE,
            params![consumer, id(aggregate_id), after.as_i64(), limit],
        ),
    }
    .map_err(|error| error.during(which))
}

/// How many events of a consumer are parked.
pub(crate) fn count_parked(connection: &Connection, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
    let parameters = params![consumer, aggregate_id.map(id)];
    collect(connection, sql::CONSUMER_COUNT_PARKED, parameters, |row| {
        row::count(row, 0)
    })
    .map(|counts| counts.into_iter().sum())
    .map_err(|error| error.during(format_args!("count the parked events of consumer {consumer}")))
}

/// How many members of a group were seen within a time.
pub(crate) fn members(connection: &Connection, consumer: &str, seen_within: Duration) -> Result<u64> {
    let since = time_text(before(OffsetDateTime::now_utc(), seen_within));
    let parameters = params![consumer, since.as_str()];
    collect(connection, sql::CONSUMER_MEMBERS, parameters, |row| row::count(row, 0))
        .map(|counts| counts.into_iter().sum())
        .map_err(|error| error.during(format_args!("count the members of consumer {consumer}")))
}

fn id(id: Uuid) -> String {
    id.hyphenated().to_string()
}

fn after(time: OffsetDateTime, duration: Duration) -> OffsetDateTime {
    time.saturating_add(time::Duration::try_from(duration).unwrap_or(time::Duration::MAX))
}

fn before(time: OffsetDateTime, duration: Duration) -> OffsetDateTime {
    time.saturating_sub(time::Duration::try_from(duration).unwrap_or(time::Duration::MAX))
}
