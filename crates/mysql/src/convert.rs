//! Converts the log of a store that is in use into partitions, or back into one table.
//!
//! A second table is made and filled while programs read and write. Triggers copy what they write meanwhile, in the same transactions. So the
//! two tables differ only in what is not copied yet. When all is copied, one statement gives the name `events` to the second table. The
//! server commits each step by itself, and the database records how far the conversion is, so that a later call continues.
//!
//! Nothing is lost between the copying and the triggers: an event is locked from its reading to the commit of its copy. Whoever changed it
//! before has committed, and the copy has the change. Whoever changes it later finds the copy.

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::{self, kinds};
use firefly_eventstore_core::operate::Progress;
use firefly_eventstore_core::{Error, Partitions, Result};
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::conversion::{Begun, CONVERSION, is_layout_of};
use crate::detach::Leaving;
use crate::error::{classify, is_held, is_not_shown};
use crate::migrate::require_current;
use crate::migrations::{columns_of, statements};
use crate::partitions::{BRIEFLY, Divided, choose_size, drop_table, partitioned, patiently, refuse_in_cluster};
use crate::pool::Connection;
use crate::read;
use crate::row::{decode, integer, text};
use crate::schema::{self, OPTIONAL_INDEXES, TRIGGER, has, names, run};
use crate::session::Session;
use crate::sql;

/// The table that takes the name `events` later, and the one that has had it.
const NEXT: &str = "firefly_next_events";
const EARLIER: &str = "firefly_earlier_events";

/// The trigger that other programs' appends take a gate by until the swap. The next table has the one of the usual name by then.
const EARLIER_TRIGGER: &str = "trigger trigger_events_earlier_gate";

/// How many sequences one transaction copies. Whoever changes one of these events waits for it.
const COPIED_AT_ONCE: i64 = 1_000;

/// How many partitions the events that are there are divided into at most.
const MOST_PARTITIONS: i64 = 22;

/// How many seconds to wait for a process that migrates.
const PATIENCE: i64 = 10;

/// How long to wait for transactions that began before everything was copied, and the pauses between two looks. The server shows the same
/// again while anybody has looked within a tenth of a second. So the pauses get longer, until others who look do not keep it from looking.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The time between two attempts to divide the last partition of the next table.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(10);

/// Settings of the session. No statement makes others wait for longer than a second, or two on MariaDB. Counting may take long.
const SETTINGS: &str = "SET SESSION innodb_lock_wait_timeout = 1 \
     /*!80000 , max_execution_time = 0 */ /*M!100600 , max_statement_time = 0 */";

/// Converts the log into partitions, or into one table. Records another size for a partitioned log. Returns false if there was nothing to do.
pub(crate) fn convert(
    connection: &mut Connection,
    into: Option<Partitions>,
    tell: &mut dyn FnMut(Progress),
) -> Result<bool> {
    let into = into.as_ref().map(Partitions::checked_events).transpose()?;
    let mut session = connection.session();
    refuse_in_cluster(&session)?;
    let standing = session.server.standing;
    if !standing.writes_alone() {
        return Err(Error::invalid(format!(
            "the log is converted on the server that alone writes it; this one is {standing}"
        )));
    }
    require_current(&mut session)?;
    run(&mut session, SETTINGS)?;
    let busy = "another process converts the store: let it finish";
    schema::take_lock(&mut session, sql::LOCK_CONVERSION, Vec::new(), busy)?;
    schema::until_unlocked(&mut session, sql::UNLOCK_CONVERSION, |session| {
        schema::giving_way(session, BRIEFLY, |session| {
            let mut step = Step {
                session,
                tell,
                started: Instant::now(),
                attempted: None,
            };
            step.convert(into)
        })
    })
}

/// What each step of a conversion uses.
struct Step<'a, 's> {
    session: &'a mut Session<'s, Conn>,
    tell: &'a mut dyn FnMut(Progress),
    started: Instant,
    /// When the last partition of the next table could not be divided, because others used it.
    attempted: Option<Instant>,
}

impl Step<'_, '_> {
    fn convert(&mut self, into: Option<i64>) -> Result<bool> {
        let mut there = names(self.session)?;
        let mut begun = Begun::of(self.session, &there)?;
        let mut has_done = false;
        if let Some(found) = begun.take_if(|begun| begun.is_swapped || begun.into.is_some() != into.is_some()) {
            has_done = true;
            match found.is_swapped {
                true => self.finish(found.into)?,
                false => self.abandon(found.into)?,
            }
            there = names(self.session)?;
        }
        if is_layout_of(into, schema::layout(&there)) {
            // A conversion in the other direction may have been cut off when it had made this table, and no row in it.
            if has(&there, CONVERSION) {
                run(self.session, "DROP TABLE firefly_conversion")?;
            }
            let has_chosen = into.map(|events| self.choose_again(events)).transpose()?;
            return Ok(has_done || has_chosen == Some(true));
        }
        self.refuse_hindrances()?;
        // Later it needs a right, which is better missed now.
        transactions_of_others(self.session)?;
        let (copied, until) = match begun {
            Some(Begun {
                copied,
                copy_until: Some(until),
                ..
            }) if self.is_prepared(&there, into)? => {
                into.map(|events| choose_size(self.session, events)).transpose()?;
                (copied, until)
            }
            _ => schema::alone(self.session, PATIENCE, |session| {
                without_leaving(session, into, prepare)
            })?,
        };
        self.copy(copied, until, into)?;
        self.check_copies(into)?;
        schema::alone(self.session, PATIENCE, |session| swap(session, into))?;
        self.finish(into)?;
        Ok(true)
    }

    /// Records the size of later partitions. Returns whether it was another.
    fn choose_again(&mut self, events: i64) -> Result<bool> {
        let is_other = Divided::of(self.session)?.events != events;
        if is_other {
            choose_size(self.session, events)?;
        }
        Ok(is_other)
    }

    /// Fails if something on the table cannot be moved to another one.
    fn refuse_hindrances(&mut self) -> Result<()> {
        let found = self
            .session
            .select(sql::HINDRANCES, [], |row| Ok(row.text(0)?.to_owned()))?;
        backend::refuse_hindrances(&found)
    }

    /// Whether everything that an earlier call has made is still there, and fits the table of events; and whether the log has not grown far
    /// into its last partition.
    fn is_prepared(&mut self, there: &[String], into: Option<i64>) -> Result<bool> {
        let keep_keys = if into.is_some() { sql::KEEP_KEYS } else { &[] };
        for (table, needed) in [("events", sql::COPY_CHANGES), (NEXT, keep_keys)] {
            if !has(there, &format!("table {table}")) {
                return Ok(false);
            }
            let triggers = triggers_of(self.session, table)?;
            let is_there = |(name, _): &(&str, &str)| triggers.iter().any(|trigger| trigger == name);
            if !needed.iter().all(is_there) {
                return Ok(false);
            }
        }
        if into.is_some() && Divided::of_table(self.session, NEXT)?.is_split_slowly() {
            return Ok(false);
        }
        Ok(own_columns(self.session, "events")? == own_columns(self.session, NEXT)?)
    }

    /// Copies the events that were written before there were triggers.
    fn copy(&mut self, copied: i64, until: i64, into: Option<i64>) -> Result<()> {
        let columns = own_columns(self.session, "events")?.join(", ");
        let mut copied = copied;
        while let Some(first) = self.next_to_copy(copied, until)? {
            self.progress(copied, until);
            let last = until.min(first.saturating_add(COPIED_AT_ONCE - 1));
            let copy = sql::COPY_EVENTS
                .replace("{columns}", &columns)
                .replace("{first}", &first.to_string())
                .replace("{last}", &last.to_string());
            patiently(|| {
                self.session.committed(|session| {
                    run(session, &copy)?;
                    save(session, last, until)
                })
            })?;
            copied = last;
            self.keep_ahead(into)?;
        }
        save(self.session, until, until)?;
        self.progress(until, until);
        let analyze = format!("ANALYZE TABLE {NEXT}");
        self.session.client.query_drop(analyze).map_err(classify)
    }

    /// Adds a partition to the next table when the log has grown towards its last one. A full one could not be divided later: appends would
    /// wait while the server copies it. If an open transaction does not let go of the table in time, this is tried again later, since appends
    /// wait behind each attempt.
    fn keep_ahead(&mut self, into: Option<i64>) -> Result<()> {
        if into.is_none()
            || self
                .attempted
                .is_some_and(|attempted| attempted.elapsed() < BETWEEN_ATTEMPTS)
        {
            return Ok(());
        }
        let divided = Divided::of_table(self.session, NEXT)?;
        let split = divided
            .split()
            .filter(|_| divided.needs_another() && !divided.is_split_slowly());
        self.attempted = match split.map(|split| run(self.session, &split)) {
            None | Some(Ok(())) => None,
            Some(Err(error)) if is_held(&error) => Some(Instant::now()),
            Some(Err(error)) => return Err(error),
        };
        Ok(())
    }

    fn next_to_copy(&mut self, copied: i64, until: i64) -> Result<Option<i64>> {
        let values = [copied, until].map(mysql::Value::from);
        self.session
            .select_one(sql::NEXT_TO_COPY, values.to_vec(), |row| row.optional_integer(0))
    }

    /// Waits for transactions that began before everything was copied, and then counts the copies.
    ///
    /// A transaction with an older snapshot would read the next table without the events that were copied later, and the server would not
    /// refuse that.
    fn check_copies(&mut self, into: Option<i64>) -> Result<()> {
        self.wait_for_earlier(into)?;
        let (events, copies) = self.session.in_one_state(|session| {
            session.select_one(sql::COUNT_COPIED, [], |row| Ok((row.count(0)?, row.count(1)?)))
        })?;
        if events == copies {
            return Ok(());
        }
        self.abandon(into)?;
        Err(Error::new(kinds::unavailable(format!(
            "the log has {events} events, and {copies} were copied: somebody changed a table without its triggers, by TRUNCATE or by \
             dropping a partition; the copies were dropped; call again"
        ))))
    }

    fn wait_for_earlier(&mut self, into: Option<i64>) -> Result<()> {
        let (waiting, mut pause) = (Instant::now(), PAUSE);
        let mut earlier: Option<Vec<(i64, String)>> = None;
        loop {
            if let Some(open) = self.session.in_one_state(transactions_of_others)? {
                let left = earlier.get_or_insert_with(|| open.clone());
                left.retain(|transaction| open.contains(transaction));
                if left.is_empty() {
                    return Ok(());
                }
            }
            if waiting.elapsed() > LONGEST_WAIT {
                let found = match earlier {
                    None => "the server does not show its transactions".to_owned(),
                    Some(left) => {
                        let left: Vec<String> = left.iter().map(|(connection, _)| connection.to_string()).collect();
                        format!(
                            "transactions that began before are still open, on the connections {}",
                            left.join(", ")
                        )
                    }
                };
                return Err(Error::new(kinds::unavailable(format!(
                    "the log is copied, but {found}: call again when they have ended"
                ))));
            }
            self.keep_ahead(into)?;
            thread::sleep(pause);
            pause = (pause + PAUSE).min(LONGEST_PAUSE);
        }
    }

    /// Drops the table that was the log, and the record of the conversion.
    fn finish(&mut self, into: Option<i64>) -> Result<()> {
        if into.is_none() {
            let keys = "DROP TABLE IF EXISTS firefly_earlier_keys, firefly_partitions, firefly_leaving";
            run(self.session, keys)?;
        }
        drop_table(self.session, EARLIER)?;
        run(self.session, "DROP TABLE firefly_conversion")
    }

    /// Undoes what was prepared.
    fn abandon(&mut self, into: Option<i64>) -> Result<()> {
        schema::alone(self.session, PATIENCE, |session| {
            forget_next(session, into)?;
            run(session, "DROP TABLE firefly_conversion")
        })
    }

    fn progress(&mut self, done: i64, total: i64) {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        (self.tell)(Progress::new(count(done), Some(count(total)), self.started.elapsed()));
    }
}

/// The open transactions of other connections, each with its beginning. `None` if the server cannot show them at the moment, or shows what
/// it has shown somebody before everything was copied: then no transaction of `in_one_state` is among them.
fn transactions_of_others(session: &mut Session<'_, Conn>) -> Result<Option<Vec<(i64, String)>>> {
    let rows = match session.query(sql::OPEN_SNAPSHOTS, Vec::new()) {
        Err(error) if is_not_shown(&error) => return Ok(None),
        rows => rows.map_err(classify)?,
    };
    let open = decode(&rows, |row| {
        Ok((integer(row, 0)? != 0, (integer(row, 1)?, text(row, 2)?.to_owned())))
    })?;
    let is_new = open.iter().any(|(is_own, _)| *is_own);
    let others = open.into_iter().filter(|(is_own, _)| !is_own);
    Ok(is_new.then(|| others.map(|(_, transaction)| transaction).collect()))
}

/// Makes the next table, and the triggers that copy what is written from now on. Returns the sequences after which, and up to which, events
/// are to be copied.
fn prepare(session: &mut Session<'_, Conn>, into: Option<i64>) -> Result<(i64, i64)> {
    let there = names(session)?;
    if is_layout_of(into, schema::layout(&there)) {
        return Err(Error::new(kinds::unavailable(
            "a migration has partitioned the log meanwhile: call again",
        )));
    }
    for statement in statements(sql::CONVERSION_TABLE) {
        statement.run_if_needed(session, &there)?;
    }
    forget_next(session, into)?;
    let there = names(session)?;
    match into {
        Some(events) => make_next_partitioned(session, &there, events)?,
        None => make_next_whole(session, &there)?,
    }
    copy_changes(session)?;
    // A trigger is made when nobody uses the table. So every event that no trigger copies is committed by now.
    let until = read::end(session)?.as_i64();
    save(session, 0, until)?;
    Ok((0, until))
}

/// Runs `work` while no events are leaving a partitioned log with their partition: no trigger repeats that. When the table of the conversion is
/// there, none begin to.
fn without_leaving<R>(
    session: &mut Session<'_, Conn>,
    into: Option<i64>,
    work: impl FnOnce(&mut Session<'_, Conn>, Option<i64>) -> Result<R>,
) -> Result<R> {
    if into.is_some() {
        return work(session, into);
    }
    let busy =
        "archived events are leaving with their partition: let that finish, or retire or attach that archive again";
    schema::take_lock(session, sql::LOCK_LEAVING, Vec::new(), busy)?;
    schema::until_unlocked(session, sql::UNLOCK_LEAVING, |session| match Leaving::find(session)? {
        Some(_) => Err(Error::new(kinds::unavailable(busy))),
        None => work(session, into),
    })
}

/// Drops what an earlier call has prepared. The triggers go before the table that they write, so that appends succeed.
fn forget_next(session: &mut Session<'_, Conn>, into: Option<i64>) -> Result<()> {
    session
        .execute(sql::BEGIN_CONVERSION, vec![into.into()])
        .map_err(classify)?;
    let mut triggers: Vec<&str> = sql::COPY_CHANGES.iter().rev().map(|(name, _)| *name).collect();
    // A migration that was to partition an empty log, and was cut off, may have made them.
    if into.is_some() {
        triggers.extend(sql::KEEP_KEYS.iter().map(|(name, _)| *name));
    }
    for trigger in triggers {
        patiently(|| run(session, &format!("DROP TRIGGER IF EXISTS {trigger}")))?;
    }
    drop_table(session, NEXT)?;
    if into.is_some() {
        run(
            session,
            "DROP TABLE IF EXISTS firefly_event_keys, firefly_partitions, firefly_leaving",
        )?;
    }
    let there = names(session)?;
    if has(&there, EARLIER_TRIGGER) {
        if !has(&there, TRIGGER) {
            patiently(|| run(session, sql::COVER_OTHER_WRITERS))?;
        }
        patiently(|| run(session, &format!("DROP {EARLIER_TRIGGER}")))?;
    }
    Ok(())
}

fn make_next_partitioned(session: &mut Session<'_, Conn>, there: &[String], events: i64) -> Result<()> {
    for statement in statements(&sql::KEYS.replace(KEY, NEXT_KEY)) {
        statement.run_if_needed(session, there)?;
    }
    choose_size(session, events)?;
    run(session, sql::NEXT_EVENTS)?;
    let last = read::end(session)?.as_i64();
    let first = session
        .select_one("SELECT MIN(global_sequence) FROM events", [], |row| {
            row.optional_integer(0)
        })?
        .unwrap_or(last);
    run(session, &partitioned(NEXT, there, &ends(first, last, events)))?;
    for (_, trigger) in sql::KEEP_KEYS {
        run(session, &on_next(trigger))?;
    }
    Ok(())
}

/// The sequences that the partitions end before, except the last partition. The latest events are in partitions of the chosen size, the
/// others in the first one. A whole partition is ahead, and room for a tenth more events, which may be appended meanwhile.
fn ends(first: i64, last: i64, events: i64) -> Vec<i64> {
    let end = |partitions: i64| partitions.saturating_mul(events).saturating_add(1);
    let (before, full) = ((first - 1).max(0) / events, (last - 1).max(0) / events);
    let divided = before.max(full - MOST_PARTITIONS)..full;
    let ahead = last.saturating_add(events.max(last / 10));
    let mut ends: Vec<i64> = divided.map(|partitions| end(partitions + 1)).collect();
    ends.push(end((ahead - 1) / events + 1));
    ends
}

fn make_next_whole(session: &mut Session<'_, Conn>, there: &[String]) -> Result<()> {
    run(session, sql::NEXT_EVENTS)?;
    run(session, &format!("ALTER TABLE {NEXT} REMOVE PARTITIONING"))?;
    let indexes: String = OPTIONAL_INDEXES
        .iter()
        .filter(|(name, _)| has(there, &format!("index events.{name}")))
        .map(|(name, _)| format!(",\n    DROP INDEX {name},\n    ADD INDEX {name} ({})", columns_of(name)))
        .collect();
    run(session, &sql::WHOLE_EVENTS.replace("{indexes}", &indexes))
}

fn on_next(trigger: &str) -> String {
    trigger.replace(" ON events\n", &format!(" ON {NEXT}\n"))
}

/// Makes the triggers that copy what is written. The sequence of the next table goes on where that of the log is.
///
/// Each comes before the trigger of its kind that a partitioned log has: MariaDB notices that a prepared statement has to be prepared again
/// only if the first trigger is new. Otherwise the statement would not find the next table (1146).
fn copy_changes(session: &mut Session<'_, Conn>) -> Result<()> {
    let of_log = triggers_of(session, "events")?;
    let columns = own_columns(session, "events")?;
    let each = |form: &dyn Fn(&String) -> String| columns.iter().map(form).collect::<Vec<_>>().join(", ");
    for (trigger, before) in sql::COPY_CHANGES.iter().map(|(_, trigger)| *trigger).zip(BEFORE) {
        let place = match of_log.iter().any(|trigger| trigger == before) {
            true => &format!("FOR EACH ROW PRECEDES {before}\n"),
            false => EACH_ROW,
        };
        let trigger = trigger
            .replace(EACH_ROW, place)
            .replace("{columns}", &columns.join(", "))
            .replace("{new}", &each(&|column| format!("NEW.{column}")))
            .replace("{set}", &each(&|column| format!("{column} = NEW.{column}")));
        patiently(|| run(session, &trigger))?;
    }
    schema::disable_statistics_cache(session)?;
    patiently(|| run(session, &format!("LOCK TABLES events READ, {NEXT} WRITE")))?;
    let next = session
        .select_one(sql::NEXT_SEQUENCE, [], |row| row.optional_integer(1))
        .and_then(|next| match next {
            Some(next) => run(session, &format!("ALTER TABLE {NEXT} AUTO_INCREMENT = {next}")),
            None => Ok(()),
        });
    run(session, "UNLOCK TABLES")?;
    next
}

const EACH_ROW: &str = "FOR EACH ROW\n";

/// The triggers of a partitioned log at deletes, updates and inserts.
const BEFORE: [&str; 3] = [
    "trigger_events_keys_deleted",
    "trigger_events_keys_updated",
    "trigger_events_keys",
];

/// What the names of the unique indexes of the keys begin with, and what they begin with while the keys are copied.
///
/// A connection may still take the log for partitioned, because it was idle while the log was one table. Its statements name these indexes. So
/// they fail, and do not find a part of the keys.
const KEY: &str = "UNIQUE KEY idx_events_";
const NEXT_KEY: &str = "UNIQUE KEY idx_next_events_";

/// Gives the indexes of the keys their names: everything is copied.
fn name_keys(session: &mut Session<'_, Conn>) -> Result<()> {
    let there = names(session)?;
    for key in ["event_id", "aggregate_version"] {
        if has(&there, &format!("index firefly_event_keys.idx_next_events_{key}")) {
            let rename =
                format!("ALTER TABLE firefly_event_keys RENAME INDEX idx_next_events_{key} TO idx_events_{key}");
            patiently(|| run(session, &rename))?;
        }
    }
    Ok(())
}

/// Gives the name of the log to the next table.
fn swap(session: &mut Session<'_, Conn>, into: Option<i64>) -> Result<()> {
    choose_indexes_of_next(session, into)?;
    if into.is_some() {
        name_keys(session)?;
    }
    move_gate(session)?;
    let swap = match into {
        Some(_) => sql::SWAP_INTO_PARTITIONS,
        None => sql::SWAP_INTO_ONE_TABLE,
    };
    patiently(|| run(session, swap))
}

/// Gives the next table the optional indexes of the log. A migration may have chosen others meanwhile.
fn choose_indexes_of_next(session: &mut Session<'_, Conn>, into: Option<i64>) -> Result<()> {
    let there = names(session)?;
    let last = if into.is_some() { ", global_sequence" } else { "" };
    for (index, _) in OPTIONAL_INDEXES {
        match ["events", NEXT].map(|table| has(&there, &format!("index {table}.{index}"))) {
            [true, false] => {
                let columns = columns_of(index);
                patiently(|| run(session, &format!("CREATE INDEX {index} ON {NEXT} ({columns}{last})")))?;
            }
            [false, true] => patiently(|| run(session, &format!("DROP INDEX {index} ON {NEXT}")))?,
            _ => {}
        }
    }
    Ok(())
}

/// Gives the next table the trigger by which other programs' appends take a gate, if the log has it. Such a name can be there once. So the
/// log first gets another one that does the same.
fn move_gate(session: &mut Session<'_, Conn>) -> Result<()> {
    let (_, gate) = TRIGGER.split_once(' ').expect("the name has its kind");
    let (_, earlier) = EARLIER_TRIGGER.split_once(' ').expect("the name has its kind");
    let triggers = triggers_of(session, "events")?;
    let has_trigger = |name: &str| triggers.iter().any(|trigger| trigger == name);
    if has_trigger(gate) {
        if !has_trigger(earlier) {
            let cover = sql::COVER_OTHER_WRITERS.replace(gate, earlier);
            patiently(|| run(session, &cover))?;
        }
        patiently(|| run(session, sql::DO_NOT_COVER_OTHER_WRITERS))?;
    } else if !has_trigger(earlier) {
        return Ok(());
    }
    if !has(&names(session)?, TRIGGER) {
        patiently(|| run(session, &on_next(sql::COVER_OTHER_WRITERS)))?;
    }
    Ok(())
}

fn triggers_of(session: &mut Session<'_, Conn>, table: &str) -> Result<Vec<String>> {
    let triggers = sql::TRIGGERS_OF.replace("events /* or that table */", table);
    session.select(&triggers, [table.into()], |row| Ok(row.text(0)?.to_owned()))
}

/// The columns of a table that the server does not compute.
fn own_columns(session: &mut Session<'_, Conn>, table: &str) -> Result<Vec<String>> {
    let columns = sql::OWN_COLUMNS.replace("events /* or that table */", table);
    session.select(&columns, [table.into()], |row| {
        Ok(format!("`{}`", row.text(0)?.replace('`', "``")))
    })
}

fn save(session: &mut Session<'_, Conn>, copied: i64, until: i64) -> Result<()> {
    let saved = session.execute(sql::SAVE_CONVERSION, vec![copied.into(), until.into()]);
    saved.map(drop).map_err(classify)
}

#[cfg(test)]
mod tests {
    use super::ends;

    #[test]
    fn the_events_that_are_there_are_divided_and_one_partition_is_ahead() {
        assert_eq!(ends(0, 0, 10), [11]);
        assert_eq!(ends(1, 1, 10), [21]);
        assert_eq!(ends(1, 10, 10), [21]);
        assert_eq!(ends(1, 11, 10), [11, 31]);
        assert_eq!(ends(1, 35, 10), [11, 21, 31, 51]);
        // The first 20 sequences have no events any more.
        assert_eq!(ends(21, 35, 10), [31, 51]);
        assert_eq!(ends(25, 35, 10), [31, 51]);
        let of_many = ends(1, 1_000, 10);
        assert_eq!(
            (of_many.len(), of_many[0], &of_many[21..]),
            (23, 781, &[991, 1_101][..])
        );
        assert_eq!(ends(1, 5, i64::MAX), [i64::MAX]);
    }
}
