//! Detaching: events of an archive leave a partitioned log with their partition.
//!
//! Deleting a million events one by one takes minutes, because each deletion also deletes a row of each index. If an archive has all events
//! that are left in a partition, the server empties the partition instead: `ALTER TABLE … TRUNCATE PARTITION` gives it an empty table. One
//! partition after the other leaves in this way.
//!
//! # The steps
//!
//! 1. *Begin.* A row of `firefly_leaving` names the first and the last event, and the end of their partition. From now on, triggers refuse
//!    changes of these events. Then the table is locked once, for a moment: whoever changed these events before has ended by then, and their
//!    first and last one must still be those.
//! 2. *Prepare.* For each event of the file, the key in the log is compared, and written ahead into `firefly_archived_events`. The streams are
//!    written ahead into `firefly_archived_streams`; `former_version` and its neighbours keep what was archived of a stream before. At the
//!    end, all events of the partition are compared with the keys that were written ahead.
//! 3. *Leave.* While nobody else uses the table, the partition is emptied, if its first and last event are those that are leaving: somebody may
//!    have changed the partitions by hand. Others wait for that, and for the lock.
//! 4. *Forget* the keys of the events in `firefly_event_keys`, oldest first, and then the row of `firefly_leaving`.
//!
//! # Why nothing is missing, and nothing is there twice
//!
//! A statement that changes a table is no part of a transaction, so step 3 cannot write anything else. The rule for readers needs nothing
//! else: **an event that is leaving is in the log while its row is there, and archived afterwards.** Statements that find what is archived of
//! a stream (`archived_that_count.sql`), or of a part of the log (`has_left.sql`), look at the row of the first event that is leaving, since
//! all leave together and nobody can change them meanwhile.
//!
//! A statement holds the definition of its tables from before its snapshot until its transaction ends. So there are these readers:
//!
//! - Those that used the table before step 3. It waits for them. They see the rows.
//! - Those with a snapshot from after step 3. They see no rows, and all keys.
//! - Those with a snapshot from before step 3 that use the table after it: a `REPEATABLE READ` transaction that read something else first. The
//!   server does not let them read the emptied partition, since its table is newer than their snapshot: error 1412, which is retryable. A
//!   dropped partition would be missing, without an error. So emptied partitions are never dropped, but joined, by which they become newer
//!   still.
//!
//! All of this is true on replicas, too: they run the same statements in the same order. There, step 3 waits for those who read.
//!
//! # Ids and versions
//!
//! Until step 4, appends find the keys in `firefly_event_keys`. From before step 2 on, the gates tell appends to look at what is archived, too.
//! There, an append is refused only what the log refuses as well. The keys of an event are deleted long after its archived ones were committed.
//! The oldest are deleted first, so the last key of a stream stays the head until the archived stream is.
//!
//! # Interruptions and others
//!
//! One process at a time does this: it holds a named lock of its connection. An error undoes steps 1 and 2. If the process died, `retire`
//! or `attach` does that, or completes step 4 if step 3 was done. `doctor` says where it stands. Partitions may be added meanwhile.

use std::ops::RangeInclusive;
use std::time::Duration;

use firefly_eventstore_core::backend::{self, Columns as _, Fingerprint, Pace, Patience, kinds};
use firefly_eventstore_core::operate::{Archive, Detachment};
use firefly_eventstore_core::{Error, EventEnvelope, GlobalSequence, Result};
use mysql::{Conn, Value};

use crate::append::has_archived;
use crate::archive::{
    UNLESS_LOCKED, among_with, hold_gates, hold_moves, keep_keys, keep_streams, live_keys, streams, tell_archived,
};
use crate::conversion::CONVERSION;
use crate::error::{classify, driver_error, is_denied, is_held};
use crate::partitions::{self, BRIEFLY, Divided, Partition, alone_with_events, patiently};
use crate::pool::{Connection, Location};
use crate::read;
use crate::schema::{self, has, names, run};
use crate::session::Session;
use crate::sql;

/// How often a batch of keys is written while appends hold the rows of its streams, and the pause in which these appends end.
const ATTEMPTS: Patience = Patience::new(100, Duration::from_millis(10));

/// The events that are leaving with their partition: the row of `firefly_leaving`.
pub(crate) struct Leaving {
    digest: String,
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Whether the partition was emptied. Somebody may have deleted the first event before this began.
    pub(crate) has_left: bool,
    pub(crate) location: Option<String>,
}

impl Leaving {
    pub(crate) fn find(session: &mut Session<'_, Conn>) -> Result<Option<Self>> {
        let found = session.select(sql::LEAVING, [], |row| {
            let (digest, location) = (row.text(0)?, row.optional_text(3)?);
            Ok((
                digest.to_owned(),
                row.integer(1)?,
                row.integer(2)?,
                location.map(str::to_owned),
            ))
        })?;
        let Some((digest, first, last, location)) = found.into_iter().next() else {
            return Ok(None);
        };
        let staying = session.select(sql::STAYING, [first.into(), last.into()], |row| row.integer(0))?;
        Ok(Some(Self {
            digest,
            first,
            last,
            has_left: staying.is_empty(),
            location,
        }))
    }
}

/// Begins to empty the first partition whose events are all in an archive; `None` if there is none.
pub(crate) fn begin(location: &Location, archive: &Archive, mark: GlobalSequence) -> Result<Option<Detaching>> {
    let mut connection = locked(location)?;
    if let Some(leaving) = Leaving::find(&mut connection.session())? {
        if !leaving.has_left && leaving.digest != archive.digest.to_string() {
            return Err(backend::interrupted_archiving(leaving.location.as_deref()));
        }
        settle_locked(&mut connection.session())?;
    }
    // The triggers of a conversion repeat what is deleted, not what leaves with its partition.
    if has(&names(&mut connection.session())?, CONVERSION) {
        return Ok(None);
    }
    let noted = unchanged(&mut connection.session(), |session| {
        repeated(|| session.committed(|session| note(session, archive, mark)))
    })?;
    let Some((first, last)) = noted else { return Ok(None) };
    let mut detaching = Detaching {
        connection,
        first: GlobalSequence::try_from(first)?,
        last: GlobalSequence::try_from(last)?,
        is_given_up: false,
        is_over: false,
    };
    match detaching.wait_for_earlier() {
        Ok(true) => Ok(Some(detaching)),
        Ok(false) => detaching.stop().map(|()| None),
        Err(error) if is_prevented(&error) => detaching.stop().map(|()| None),
        Err(error) => Err(error),
    }
}

/// Notes the first and the last event that leave with their partition; `None` if no partition can leave.
fn note(session: &mut Session<'_, Conn>, archive: &Archive, mark: GlobalSequence) -> Result<Option<(i64, i64)>> {
    hold_moves(session)?;
    for Partition { start, end, .. } in Divided::of(session)?.partitions {
        let Some(end) = end.filter(|end| *end - 1 <= mark.as_i64()) else {
            break;
        };
        let events = session.select_one(sql::EVENTS_OF_PARTITION, [start.into(), end.into()], |row| {
            let ends = row.optional_integer(0)?.zip(row.optional_integer(1)?);
            Ok(ends.filter(|_| row.integer(2).is_ok_and(|are_some_archived| are_some_archived == 0)))
        })?;
        let is_in_archive =
            |(first, last): &(i64, i64)| *first >= archive.first.as_i64() && *last <= archive.last.as_i64();
        let Some((first, last)) = events.filter(is_in_archive) else {
            continue;
        };
        if !has_archived(session)? {
            hold_gates(session)?;
            tell_archived(session, true)?;
        }
        let values = vec![archive.digest.to_string().into(), first.into(), last.into(), end.into()];
        session.execute(sql::BEGIN_LEAVING, values).map_err(classify)?;
        return Ok(Some((first, last)));
    }
    Ok(None)
}

/// Completes what was interrupted after the partition was emptied, or undoes what was interrupted before.
pub(crate) fn settle(location: &Location) -> Result<()> {
    settle_locked(&mut locked(location)?.session())
}

/// As [`settle`], on a connection with the lock.
fn settle_locked(session: &mut Session<'_, Conn>) -> Result<()> {
    match Leaving::find(session)? {
        None => Ok(()),
        Some(Leaving {
            first, last, has_left, ..
        }) if has_left => {
            // Again, because MariaDB may have ended before this statement was in its binary log. Replicas would keep the rows.
            empty(session, first, last, true)?;
            forget_left(session, first, last)
        }
        Some(Leaving { first, last, .. }) => stop(session, first, last),
    }
}

/// A connection with the lock against others that do this. It waits for locks briefly, and for its own statements as long as they take.
fn locked(location: &Location) -> Result<Connection> {
    let mut connection = location.open()?;
    let mut session = connection.session();
    run(
        &mut session,
        &format!(
            "SET SESSION lock_wait_timeout = {BRIEFLY}, innodb_lock_wait_timeout = {BRIEFLY} \
             /*M!100600 , max_statement_time = 0 *//*!80000 , max_execution_time = 0 */"
        ),
    )?;
    let busy = "another process archives events: let it finish";
    schema::take_lock(&mut session, sql::LOCK_LEAVING, Vec::new(), busy)?;
    Ok(connection)
}

/// Whether others, or a lack of rights, keep a partition from being emptied. The events can leave one by one.
fn is_prevented(error: &Error) -> bool {
    is_held(error) || driver_error(error).is_some_and(is_denied)
}

/// Runs `work` while no partition is added or joined, so that what it has seen of them stays true.
fn unchanged<R>(session: &mut Session<'_, Conn>, work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>) -> Result<R> {
    schema::alone(session, partitions::PATIENCE, work)
}

/// Repeats a transaction that did not get its rows in time, or was the victim of a deadlock with a change of the table.
fn repeated<R>(transaction: impl FnMut() -> Result<R>) -> Result<R> {
    ATTEMPTS.repeat(is_held, transaction)
}

/// Events that are leaving with their partition. The connection has the lock against others that do this.
pub(crate) struct Detaching {
    connection: Connection,
    first: GlobalSequence,
    last: GlobalSequence,
    /// Whether appends kept the keys from being written.
    is_given_up: bool,
    /// Whether nothing is left to do, or to undo.
    is_over: bool,
}

impl Detaching {
    /// Waits until the transactions that may have changed the events have ended. Later ones are refused. Returns whether the first and the last
    /// event are still those that are leaving.
    fn wait_for_earlier(&mut self) -> Result<bool> {
        let (first, last) = (self.first.as_i64(), self.last.as_i64());
        let are_those = alone_with_partition(&mut self.connection.session(), first, |session, partition| {
            Ok(ends_of(session, partition)? == Some((first, last)))
        })?;
        Ok(are_those == Some(true))
    }

    fn try_prepare(&mut self, events: &[EventEnvelope]) -> Result<()> {
        let fingerprints = Fingerprint::of_all(events)?;
        let ids = backend::aggregate_ids(events);
        let first = Value::from(self.first.as_i64());
        let session = &mut self.connection.session();
        repeated(|| {
            session.committed(|session| {
                let newest = read::end(session)?;
                let live = live_keys(session, events, "")?;
                let archived = streams(session, &ids, "")?;
                let retired = backend::admit_retirement(events, &live, &Default::default(), &archived, newest)?;
                keep_keys(session, &retired, &fingerprints)?;
                // Last, because appends to these streams wait for it.
                streams(session, &ids, UNLESS_LOCKED)?;
                keep_streams(session, sql::PREPARE_LEAVING, &retired, &vec![first.clone(); 4])
            })
        })
    }

    /// Whether all events of the partition are prepared.
    fn is_prepared(&mut self) -> Result<bool> {
        let first = self.first.as_i64();
        unchanged(&mut self.connection.session(), |session| {
            let Some(partition) = partition_of(session, first)? else {
                return Ok(false);
            };
            let unprepared = sql::UNPREPARED.replace("{partition}", &partition.name);
            Ok(session.query(&unprepared, Vec::new()).map_err(classify)?.is_empty())
        })
    }

    fn try_detach(&mut self) -> Result<bool> {
        if self.is_given_up || !self.is_prepared()? {
            return self.stop().map(|()| false);
        }
        let (first, last) = (self.first.as_i64(), self.last.as_i64());
        match empty(&mut self.connection.session(), first, last, false) {
            Err(error) if is_prevented(&error) => return self.stop().map(|()| false),
            emptied => emptied?,
        }
        forget_left(&mut self.connection.session(), first, last)?;
        self.is_over = true;
        Ok(true)
    }

    fn stop(&mut self) -> Result<()> {
        stop(&mut self.connection.session(), self.first.as_i64(), self.last.as_i64())?;
        self.is_over = true;
        Ok(())
    }
}

impl Detachment for Detaching {
    fn sequences(&self) -> RangeInclusive<GlobalSequence> {
        self.first..=self.last
    }

    fn prepare(&mut self, events: &[EventEnvelope]) -> Result<()> {
        if self.is_given_up {
            return Ok(());
        }
        match self.try_prepare(events) {
            Err(error) if is_held(&error) => {
                self.is_given_up = true;
                Ok(())
            }
            prepared => prepared,
        }
    }

    fn detach(mut self: Box<Self>) -> Result<bool> {
        self.try_detach()
            .map_err(|error| error.during("empty a partition of archived events"))
    }
}

impl Drop for Detaching {
    /// After an error, changes of the events are allowed again. If that fails, the next call that archives or attaches does it.
    fn drop(&mut self) {
        if !self.is_over {
            drop(settle_locked(&mut self.connection.session()));
        }
    }
}

/// The partition that a sequence belongs to, if it is not the last one.
fn partition_of(session: &mut Session<'_, Conn>, sequence: i64) -> Result<Option<Partition>> {
    let mut partitions = Divided::of(session)?.partitions.into_iter();
    let holds = |partition: &Partition| {
        let end = partition.end.unwrap_or(partition.start);
        (partition.start..end).contains(&sequence)
    };
    Ok(partitions.find(holds))
}

/// The first and the last event that are in a partition.
fn ends_of(session: &mut Session<'_, Conn>, partition: &Partition) -> Result<Option<(i64, i64)>> {
    let ends = sql::ENDS_OF_PARTITION.replace("{partition}", &partition.name);
    session.select_one(&ends, [], |row| {
        Ok(row.optional_integer(0)?.zip(row.optional_integer(1)?))
    })
}

/// Runs `work` with the partition that a sequence belongs to while nobody else uses the log; `None` if that is the last one.
fn alone_with_partition<R>(
    session: &mut Session<'_, Conn>,
    sequence: i64,
    mut work: impl FnMut(&mut Session<'_, Conn>, &Partition) -> Result<R>,
) -> Result<Option<R>> {
    unchanged(session, |session| {
        // Before the lock, for which everybody waits: the server looks the partitions up in its dictionary.
        let Some(partition) = partition_of(session, sequence)? else {
            return Ok(None);
        };
        patiently(|| alone_with_events(session, |session| work(session, &partition))).map(Some)
    })
}

/// Empties the partition whose events leave; if they have left, only if the partition is empty.
fn empty(session: &mut Session<'_, Conn>, first: i64, last: i64, have_left: bool) -> Result<()> {
    let emptied = alone_with_partition(session, first, |session, partition| {
        let truncate = format!("ALTER TABLE events TRUNCATE PARTITION {}", partition.name);
        match ends_of(session, partition)? {
            None if have_left => run(session, &truncate),
            Some(ends) if !have_left && ends == (first, last) => run(session, &truncate),
            _ if have_left => Ok(()),
            _ => Err(Error::new(kinds::unavailable(
                "somebody changed the partitions while events were leaving: retire again",
            ))),
        }
    });
    emptied.map(|_| ())
}

/// Deletes the keys that events have in the log, after they left it.
fn forget_left(session: &mut Session<'_, Conn>, first: i64, last: i64) -> Result<()> {
    let mut pace = Pace::new();
    loop {
        let values = vec![first.into(), last.into(), pace.events().into()];
        let forget = || session.execute(sql::FORGET_LEFT_KEYS, values.clone()).map_err(classify);
        if pace.step(|| repeated(forget))? == 0 {
            return finish(session);
        }
    }
}

/// Lets events stay in the log that were about to leave: deletes the keys that were written ahead, and restores the streams, newest first.
/// Readers do not count these keys meanwhile.
fn stop(session: &mut Session<'_, Conn>, first: i64, last: i64) -> Result<()> {
    let ends = [Value::from(first), Value::from(last)];
    let mut pace = Pace::new();
    loop {
        let values = [&ends[..], &[pace.events().into()]].concat();
        let keys = session.select(sql::PREPARED_KEYS, values, |row| Ok((row.integer(0)?, row.id(1)?)))?;
        let (Some((newest, _)), Some((oldest, _))) = (keys.first(), keys.last()) else {
            return finish(session);
        };
        let mut ids: Vec<_> = keys.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let ids: Vec<Value> = ids.into_iter().map(Value::from).collect();
        let of_keys = vec![Value::from(*oldest), Value::from(*newest)];
        let forget = || {
            session.committed(|session| {
                for statement in [sql::RESTORE_ARCHIVED_STREAM, sql::FORGET_PREPARED_STREAM] {
                    among_with(session, statement, &ends, ids.clone())?;
                }
                session
                    .execute(sql::FORGET_PREPARED_KEYS, of_keys.clone())
                    .map(drop)
                    .map_err(classify)
            })
        };
        pace.step(|| repeated(forget))?;
    }
}

/// Deletes the row of `firefly_leaving`.
fn finish(session: &mut Session<'_, Conn>) -> Result<()> {
    repeated(|| session.execute(sql::FINISH_LEAVING, Vec::new()).map_err(classify)).map(drop)
}
