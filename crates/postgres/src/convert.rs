//! Converts the log of a store that is in use into partitions, or back into one table.
//!
//! Small steps prepare another table while programs read and write. Then one short transaction gives the name `events` to that table. Each step
//! is a transaction, and the database records which step is next, so that a later call continues.

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::{self, kinds};
use firefly_eventstore_core::operate::Progress;
use firefly_eventstore_core::{Error, ErrorKind, Partitions, Result};
use postgres::Transaction;

use crate::conversion::{Begun, Chosen, State, changed};
use crate::detach;
use crate::error::classify;
use crate::lock::{self, BRIEFLY};
use crate::migrate::require_current;
use crate::partitions::{
    APPENDED_MEANWHILE, FEW_MEANWHILE, LITTLE_BYTES, begin_conversion, choose_again, partition_events, prepare,
    take_name,
};
use crate::pool::Connection;
use crate::replace;
use crate::row::{decode, get};
use crate::session::run;
use crate::sql;

/// The scripts of the steps.
const BEGIN_WHOLE: &str = include_str!("../sql/partitions/begin_whole.sql");
const FORGET_COPY: &str = include_str!("../sql/partitions/forget_copy.sql");
const FORGET_KEYS: &str = include_str!("../sql/partitions/forget_keys.sql");
const FORGET_PARTITIONS: &str = include_str!("../sql/partitions/forget_partitions.sql");
const WHOLE_EVENTS: &str = include_str!("../sql/partitions/events_whole.sql");

/// How many events are prepared per transaction.
const PREPARED_AT_ONCE: i64 = 5_000;

/// How often the margin for concurrent appends is doubled.
const MOST_DOUBLINGS: u32 = 24;

/// The pause between two looks whether transactions have ended.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait for transactions that began before the swap.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Converts the log into partitions, or into one table. Records another choice for a partitioned log. Returns false if there was nothing to do.
pub(crate) fn convert(
    connection: &mut Connection,
    into: Option<&Partitions>,
    tell: &mut dyn FnMut(Progress),
) -> Result<bool> {
    let into = into.map(Chosen::of).transpose()?;
    // Reading a large table may take longer than the server allows for the statements of programs.
    run(&mut connection.client, "SET statement_timeout = 0")?;
    require_current(&mut connection.session())?;
    if !replace::try_lock(connection)? {
        return Err(Error::new(kinds::unavailable(
            "another process converts the store: let it finish",
        )));
    }
    let converted = convert_locked(connection, into.as_ref(), tell);
    let unlocked = connection.session().query(sql::UNLOCK_CONVERSION, &[]);
    let converted = converted?;
    unlocked.map_err(classify)?;
    Ok(converted)
}

/// Converts the log. The connection has the lock for it.
fn convert_locked(connection: &mut Connection, into: Option<&Chosen>, tell: &mut dyn FnMut(Progress)) -> Result<bool> {
    detach::settle_locked(connection)?;
    let mut step = Step {
        connection,
        tell,
        started: Instant::now(),
    };
    let mut state = step.state()?;
    let mut has_done = false;
    if let Some(begun) = state.begun.take() {
        has_done = true;
        let begun_into_partitions = begun.into.is_some();
        if !begun.is_swapped && begun_into_partitions != into.is_some() {
            step.abandon(&begun)?;
        } else {
            if !begun.is_swapped {
                step.go_on(&begun)?;
            }
            step.finish(begun_into_partitions)?;
        }
        state = step.state()?;
    }
    if state.is_partitioned == into.is_some() {
        let has_chosen = into.map(|into| choose_again(step.connection, into)).transpose()?;
        return Ok(has_done || has_chosen == Some(true));
    }
    step.refuse_hindrances(into.is_some())?;
    step.begin(into)?;
    let begun = step.state()?.begun.ok_or_else(changed)?;
    step.go_on(&begun)?;
    step.finish(into.is_some())?;
    Ok(true)
}

/// What each step of a conversion uses.
struct Step<'a> {
    connection: &'a mut Connection,
    tell: &'a mut dyn FnMut(Progress),
    started: Instant,
}

impl Step<'_> {
    fn state(&mut self) -> Result<State> {
        State::of(&mut self.connection.session())
    }

    /// Fails if something on the table cannot be moved to another one, or if it is to be copied and the server does not tell when older
    /// snapshots are gone.
    fn refuse_hindrances(&mut self, into_partitions: bool) -> Result<()> {
        let mut session = self.connection.session();
        if !into_partitions && !session.select_one(sql::MAY_REPLACE, &[], |row| get::<bool>(row, 0))? {
            return Err(Error::invalid(
                "the log cannot become one table: this role may not write to firefly_leaving, or the server's setting old_snapshot_threshold \
                 is not -1; let the owner of the tables convert, or set it to -1 and restart the server",
            ));
        }
        let rows = session.query(sql::HINDRANCES, &[]).map_err(classify)?;
        let found: Vec<String> = decode(&rows, |row| get(row, 0))?;
        backend::refuse_hindrances(&found)
    }

    fn begin(&mut self, into: Option<&Chosen>) -> Result<()> {
        let prepare = match into {
            Some(_) => sql::KEEP_KEYS,
            None => BEGIN_WHOLE,
        };
        self.patiently(|transaction| {
            run(transaction, sql::LOCK_TO_MOVE)?;
            run(transaction, prepare)?;
            if into.is_none() {
                change_indexes(transaction)?;
            }
            begin_conversion(transaction, into)
        })
    }

    /// Does the steps from the preparation to the swap.
    fn go_on(&mut self, begun: &Begun) -> Result<()> {
        self.prepare(begun)?;
        // Something may have been added since the conversion began.
        self.refuse_hindrances(begun.into.is_some())?;
        match &begun.into {
            Some(into) => self.divide(into),
            None => self.make_whole(),
        }
    }

    /// Prepares the events that were written before the conversion began. Triggers prepare later ones.
    fn prepare(&mut self, begun: &Begun) -> Result<()> {
        let prepare = match begun.into {
            Some(_) => sql::PREPARE_KEYS,
            None => "SELECT firefly_copy_events($1, $2, $3)",
        };
        let (mut prepared, until) = (begun.prepared, begun.prepare_until);
        while prepared < until {
            self.progress(prepared, until);
            let done = self.patiently(|transaction| {
                run(transaction, sql::LOCK_PREPARATION)?;
                let rows = transaction
                    .query(prepare, &[&prepared, &until, &PREPARED_AT_ONCE])
                    .map_err(classify)?;
                let done = decode(&rows, |row| get::<i64>(row, 0))?
                    .into_iter()
                    .max()
                    .unwrap_or(until);
                transaction.execute(sql::SAVE_CONVERSION, &[&done]).map_err(classify)?;
                Ok(done)
            })?;
            prepared = done;
        }
        self.progress(until, until);
        let prepared = match begun.into {
            Some(_) => "ANALYZE firefly_event_keys",
            None => "ANALYZE firefly_whole_events",
        };
        run(&mut self.connection.client, prepared)
    }

    fn divide(&mut self, into: &Chosen) -> Result<()> {
        if matches!(into, Chosen::Types(_)) {
            self.index("idx_events_sequence_type", sql::INDEX_TYPES)?;
        }
        self.index("idx_events_stream", sql::INDEX_STREAMS)?;
        if self.state()?.are_summaries_of_table {
            self.patiently(|transaction| run(transaction, sql::MAKE_SUMMARIES))?;
            self.patiently(|transaction| {
                run(transaction, BRIEFLY)?;
                run(transaction, sql::TAKE_SUMMARIES)
            })?;
        }
        let events = match into {
            Chosen::Events(events) => *events,
            Chosen::Month => return self.divide_by_month(),
            Chosen::Types(_) => FEW_MEANWHILE,
        };
        // If others append too fast, try again with a larger margin.
        for margin in (0..=MOST_DOUBLINGS).map(|doublings| events.saturating_mul(1 << doublings)) {
            if self.divide_after(into, margin)? {
                return Ok(());
            }
        }
        Err(changed())
    }

    /// Builds an index that each partition is to have. On a large table, others go on meanwhile, but this waits for transactions with an older
    /// snapshot.
    fn index(&mut self, name: &str, build: &str) -> Result<()> {
        let forget = format!("DROP INDEX IF EXISTS {name};");
        let found = self
            .connection
            .session()
            .query(sql::IS_INDEX_VALID, &[&name])
            .map_err(classify)?;
        let is_valid = decode(&found, |row| get::<bool>(row, 0))?;
        if is_valid == [true] {
            return Ok(());
        }
        if self.state()?.bytes <= LITTLE_BYTES {
            return self.patiently(|transaction| {
                run(transaction, sql::LOCK_TO_SWAP)?;
                run(transaction, &forget)?;
                run(transaction, build)
            });
        }
        // An earlier call was cut off while it built one.
        if is_valid == [false] {
            self.patiently(|transaction| {
                run(transaction, sql::LOCK_TO_SWAP)?;
                run(transaction, &forget)
            })?;
        }
        let concurrently = build.replace(" INDEX ", " INDEX CONCURRENTLY ");
        run(&mut self.connection.client, &concurrently)
    }

    /// Makes the table the only partition. The first call of `add_partitions` in the next month ends it.
    fn divide_by_month(&mut self) -> Result<()> {
        self.patiently(|transaction| {
            run(transaction, sql::LOCK_TO_SWAP)?;
            partition_events(transaction, None, &Chosen::Month)
        })
    }

    /// Lets the second partition begin after this many sequences more. False if that many were allocated meanwhile.
    fn divide_after(&mut self, into: &Chosen, margin: i64) -> Result<bool> {
        let bound = self.bounded(margin)?;
        prepare(&mut self.connection.client, bound)?;
        self.patiently(|transaction| {
            run(transaction, sql::LOCK_TO_SWAP)?;
            let found = transaction.query(sql::CONVERSION, &[]).map_err(classify)?;
            let is_beyond = decode(&found, |row| get::<i64>(row, 8))?
                .iter()
                .all(|allocated| *allocated < bound);
            if is_beyond {
                partition_events(transaction, Some(bound), into)?;
            }
            Ok(is_beyond)
        })
    }

    /// Chooses the first sequence of the second partition. A constraint proves that no event of a large table is beyond it. The constraint is
    /// validated while others append, so that the swap reads no row.
    fn bounded(&mut self, margin: i64) -> Result<i64> {
        let state = self.state()?;
        let is_little = state.bytes <= LITTLE_BYTES;
        let margin = match is_little {
            true => margin,
            false => margin.max(APPENDED_MEANWHILE),
        };
        let begun = state.begun.as_ref().ok_or_else(changed)?;
        // The bound of an earlier call is kept if at least half of its margin is left.
        let allocated = state.allocated.ok_or_else(|| Error::new(ErrorKind::PermissionDenied))?;
        let is_far = |bound: &i64| *bound > allocated + margin / 2;
        let left = begun.bound.filter(is_far).filter(|_| is_little || begun.is_bound);
        let bound = left.unwrap_or(allocated + 1 + margin);
        if left.is_none() {
            let earlier = begun.bound.map_or(String::new(), |bound| {
                format!("DROP TABLE IF EXISTS events_from_{bound};")
            });
            let check = match is_little {
                true => String::new(),
                false => {
                    format!(", ADD CONSTRAINT firefly_bound CHECK (global_sequence < {bound}) NOT VALID")
                }
            };
            let alter = format!("{earlier} ALTER TABLE events DROP CONSTRAINT IF EXISTS firefly_bound{check}");
            self.patiently(|transaction| {
                run(transaction, sql::LOCK_TO_SWAP)?;
                run(transaction, &alter)?;
                transaction
                    .execute(sql::BOUND_CONVERSION, &[&bound])
                    .map(drop)
                    .map_err(classify)
            })?;
        }
        if !is_little {
            run(
                &mut self.connection.client,
                "ALTER TABLE events VALIDATE CONSTRAINT firefly_bound",
            )?;
        }
        Ok(bound)
    }

    /// Waits for older snapshots before the swap, since they do not contain the copies: a transaction that uses one, and reads `events` only
    /// after the swap, would find no events. Triggers make the later copies, in the transactions that write the events.
    fn make_whole(&mut self) -> Result<()> {
        if !replace::wait_for_snapshots(&mut self.connection.client)? {
            return Err(Error::new(kinds::unavailable(
                "the events are copied, but a transaction, a dump or a replication slot still uses an older snapshot, which does not contain \
                 the copies; call again when it has ended",
            )));
        }
        self.patiently(|transaction| {
            run(transaction, sql::LOCK_TO_SWAP)?;
            // A migration may have chosen others meanwhile. Then everybody waits while they are built.
            change_indexes(transaction)?;
            take_name(transaction, |transaction| run(transaction, WHOLE_EVENTS))
        })
    }

    /// Does the steps after the swap.
    fn finish(&mut self, is_partitioned: bool) -> Result<()> {
        self.patiently(|transaction| {
            run(transaction, BRIEFLY)?;
            run(transaction, sql::OWN_SEQUENCE)
        })?;
        self.wait_for_earlier()?;
        self.patiently(|transaction| {
            if is_partitioned {
                return run(transaction, sql::FORGET_OWN_KEYS);
            }
            run(transaction, sql::LOCK_TO_SWAP)?;
            run(transaction, FORGET_PARTITIONS)?;
            run(transaction, FORGET_KEYS)?;
            run(transaction, FORGET_COPY)
        })?;
        self.finished()
    }

    fn finished(&mut self) -> Result<()> {
        let finished = self.connection.session().execute(sql::FINISH_CONVERSION, &[]);
        finished.map(drop).map_err(classify)
    }

    /// Undoes what was prepared.
    fn abandon(&mut self, begun: &Begun) -> Result<()> {
        let forget = match begun.into {
            Some(_) => {
                let partition = begun.bound.map_or(String::new(), |bound| {
                    format!("DROP TABLE IF EXISTS events_from_{bound};")
                });
                format!(
                    "{partition} ALTER TABLE events DROP CONSTRAINT IF EXISTS firefly_bound;\n\
                     DROP INDEX IF EXISTS idx_events_stream, idx_events_sequence_type;\n{FORGET_PARTITIONS}\n{FORGET_KEYS}"
                )
            }
            None => FORGET_COPY.to_owned(),
        };
        self.patiently(|transaction| {
            run(transaction, sql::LOCK_TO_SWAP)?;
            run(transaction, &forget)?;
            transaction
                .execute(sql::FINISH_CONVERSION, &[])
                .map(drop)
                .map_err(classify)
        })
    }

    /// Waits for transactions that began before the swap: they still need what the next step drops.
    fn wait_for_earlier(&mut self) -> Result<()> {
        let waiting = Instant::now();
        let mut session = self.connection.session();
        loop {
            if session.select(sql::IS_CONVERSION_KNOWN, &[], |row| get::<bool>(row, 0))? == [true] {
                break;
            }
            thread::sleep(PAUSE);
        }
        let earlier = session
            .query(sql::TRANSACTIONS_BEFORE_CONVERSION, &[])
            .map_err(classify)?;
        let mut earlier: Vec<String> = decode(&earlier, |row| get(row, 0))?;
        while !earlier.is_empty() {
            if waiting.elapsed() > LONGEST_WAIT {
                return Err(Error::new(kinds::unavailable(
                    "the log is converted, but transactions that began before are still open; call again when they have ended, to drop \
                     what only they need",
                )));
            }
            thread::sleep(PAUSE);
            earlier = session.select(sql::OPEN_TRANSACTIONS, &[&earlier], |row| get(row, 0))?;
        }
        Ok(())
    }

    /// Does a step in a transaction; see [`lock::patiently`].
    fn patiently<R>(&mut self, step: impl FnMut(&mut Transaction<'_>) -> Result<R>) -> Result<R> {
        lock::patiently(&mut self.connection.client, step)
    }

    fn progress(&mut self, done: i64, total: i64) {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        (self.tell)(Progress::new(count(done), Some(count(total)), self.started.elapsed()));
    }
}

/// Gives the copy of a partitioned log the indexes that the log has now.
fn change_indexes(transaction: &mut Transaction<'_>) -> Result<()> {
    let rows = transaction.query(sql::CHANGE_INDEXES, &[]).map_err(classify)?;
    let statements: Vec<String> = decode(&rows, |row| get(row, 0))?;
    statements.iter().try_for_each(|statement| run(transaction, statement))
}
