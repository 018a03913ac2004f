//! Detaching: events of an archive leave a partitioned log with their partitions.
//!
//! Deleting a million events one by one takes minutes and leaves a million dead rows. If an archive has all events of some partitions, these
//! are detached instead, in one transaction of some milliseconds, and then dropped. The work before and after it makes nobody wait.
//!
//! # The steps
//!
//! 1. *Begin.* A row of `firefly_leaving` names the first and the last event. From now on, triggers refuse changes of the partitions' rows.
//!    Only old partitions can be archived as a whole, so appends do not meet these triggers.
//! 2. *Prepare.* For each event of the file, the key in the log is compared, and written ahead into `firefly_archived_events`. The streams are
//!    written ahead into `firefly_archived_streams`; `former_version` and its neighbours keep what was archived of a stream before. Keys that
//!    are there are skipped, so this continues after an interruption. At the end, all keys of the partitions are compared with those that
//!    were written ahead.
//! 3. *Wait* until no transaction uses a snapshot from before the end of step 2. Otherwise the events leave one by one, after the keys were
//!    deleted again.
//! 4. *Detach.* In one short transaction, an empty table takes the place of the partitions, and `firefly_leaving` says so. Others wait for its
//!    lock. It gives up after 30 ms, and tries again after a pause.
//! 5. *Drop* the tables, and delete the keys of their events in the log, oldest first.
//!
//! # Why nothing is missing, and nothing is there twice
//!
//! The rule for readers: **an event that is leaving is in the log while its row is there, and archived afterwards.** Statements that find
//! what is archived of a stream, or of a part of the log, apply this rule (`firefly_stays`). They look at the row of the first event that is
//! leaving, since all leave together and nobody can change them meanwhile.
//!
//! PostgreSQL shows each statement the partitions as they are when it locks the table, even in a transaction whose snapshot is older. So
//! there are these readers:
//!
//! - Those that locked the table before step 4, in any isolation level. Step 4 waits for them. They see the rows.
//! - Those with a snapshot from after step 4. They see neither the rows nor the row of `firefly_leaving` in its earlier state. They see all
//!   keys as archived.
//! - Those with a snapshot from before step 4 that lock the table after it: a `REPEATABLE READ` transaction that read something else first,
//!   or a dump. They do not see the rows. Because of step 3, they see all keys. The rule tells them that these count.
//!
//! A `READ COMMITTED` statement gets its snapshot after its locks.
//!
//! # How old snapshots are waited for, and standbys
//!
//! A row is inserted into the small table `firefly_horizon` and deleted again. Then `VACUUM` is repeated until the table has no page. `VACUUM`
//! removes the row only if no snapshot can see it: not on this server, nor on a standby with `hot_standby_feedback`. A standby without it
//! replays this removal before step 4. It first waits for its transactions with older snapshots, and cancels them after
//! `max_standby_streaming_delay`, as for every `VACUUM`. In the same way it replays the lock of step 4: it waits for those who read the log,
//! or cancels them. So the three kinds of readers above are those of a standby, too.
//!
//! A transaction that has written anything, a prepared transaction, and the slot of a replica that is away hold `VACUUM` back as an old
//! snapshot does. That is more than needed, and not wrong. With `old_snapshot_threshold`, up to PostgreSQL 16, `VACUUM` removes rows that an
//! old snapshot sees. This proves nothing, so events leave one by one there.
//!
//! # Ids and versions
//!
//! Until step 5, appends find the keys in `firefly_event_keys`, whatever the archive's tables say: an append looks there first. The keys of an
//! event are deleted long after its archived ones were committed, and no older snapshot exists. So each append finds at least one of the
//! two. The oldest are deleted first, so the last key of a stream stays the head until the archived stream is.
//!
//! # Interruptions and others
//!
//! One process at a time does this, joins partitions, or converts the log: it holds an advisory lock of its connection. After an error it
//! undoes steps 1 and 2, so that the events can be changed. After it died, `retire` with the same file continues where it was, `attach` with it
//! undoes steps 1 and 2, or completes step 5 before the events come back. `doctor` says where it stands. A split or a merge of other partitions
//! may happen meanwhile.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use firefly_eventstore_core::backend::{self, Fingerprint, Pace, rows};
use firefly_eventstore_core::operate::{Archive, Detachment};
use firefly_eventstore_core::{EventEnvelope, GlobalSequence, Result};
use postgres::Client;
use postgres::types::ToSql;

use crate::archive::{Retired, analyze_if_grown};
use crate::conversion::State;
use crate::error::classify;
use crate::join;
use crate::lock::{self, BRIEFLY};
use crate::pool::{Connection, Location};
use crate::read::end_of_log;
use crate::replace::{Adjacent, drop_left, locked, wait_for_snapshots};
use crate::row::{Cells, get, is_null};
use crate::session::{Session, run};
use crate::sql;

/// The scripts of the steps.
const MAKE_EMPTIED: &str = include_str!("../sql/partitions/make_emptied.sql");
const STOP_LEAVING: &str = include_str!("../sql/partitions/stop_leaving.sql");
const NOTE_DETACHED: &str = "UPDATE firefly_leaving SET detached = true";

/// The events that are leaving with their partitions: the row of `firefly_leaving`.
pub(crate) struct Leaving {
    digest: String,
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// The end of their last partition.
    until: i64,
    pub(crate) is_detached: bool,
    pub(crate) location: Option<String>,
}

impl Leaving {
    pub(crate) fn find(session: &mut Session<'_, Client>) -> Result<Option<Self>> {
        let found = session.select(sql::LEAVING, &[], |row| {
            Ok(Self {
                digest: get(row, 0)?,
                first: get(row, 1)?,
                last: get(row, 2)?,
                until: get(row, 3)?,
                is_detached: get(row, 4)?,
                location: get(row, 5)?,
            })
        })?;
        Ok(found.into_iter().next())
    }

    const fn partitions(&self) -> Adjacent {
        Adjacent {
            from: self.first,
            until: self.until,
        }
    }
}

/// Begins to detach the partitions whose events are all in an archive, or continues; `None` if there are none.
pub(crate) fn begin(location: &Location, archive: &Archive, mark: GlobalSequence) -> Result<Option<Detaching>> {
    let mut connection = locked(location)?;
    join::settle(&mut connection)?;
    let digest = archive.digest.to_string();
    let mut leaving = Leaving::find(&mut connection.session())?;
    if leaving
        .as_ref()
        .is_some_and(|leaving| leaving.is_detached && leaving.digest != digest)
    {
        finish(&mut connection)?;
        leaving = None;
    }
    let leaving = match leaving {
        Some(leaving) if leaving.digest != digest => {
            return Err(backend::interrupted_archiving(leaving.location.as_deref()));
        }
        None if note(&mut connection.session(), archive, mark)? => Leaving::find(&mut connection.session())?,
        leaving => leaving,
    };
    let Some(leaving) = leaving else {
        return Ok(None);
    };
    let mut detaching = Detaching {
        connection,
        first: GlobalSequence::try_from(leaving.first)?,
        last: GlobalSequence::try_from(leaving.last)?,
        partitions: leaving.partitions(),
        is_detached: leaving.is_detached,
    };
    if !detaching.is_detached {
        detaching.partitions.freeze(&mut detaching.connection.client)?;
    }
    Ok(Some(detaching))
}

/// Notes the first and the last event that leave with their partitions. Returns false if no partition can leave, if the role may not detach
/// any, or if the server does not tell when older snapshots are gone.
fn note(session: &mut Session<'_, Client>, archive: &Archive, mark: GlobalSequence) -> Result<bool> {
    if session.select(sql::MAY_REPLACE, &[], |row| get::<bool>(row, 0))? != [true] {
        return Ok(false);
    }
    let values: [&(dyn ToSql + Sync); 4] = [
        &archive.digest.to_string(),
        &archive.first.as_i64(),
        &archive.last.as_i64(),
        &mark.as_i64(),
    ];
    session
        .execute(sql::BEGIN_LEAVING, &values)
        .map(|noted| noted > 0)
        .map_err(classify)
}

/// Completes what was interrupted after the partitions were detached, or undoes what was interrupted before.
pub(crate) fn settle(location: &Location) -> Result<()> {
    settle_locked(&mut locked(location)?)
}

/// As [`settle`], on a connection with the lock.
pub(crate) fn settle_locked(connection: &mut Connection) -> Result<()> {
    if State::of(&mut connection.session())?.is_partitioned {
        join::settle(connection)?;
    }
    match Leaving::find(&mut connection.session())? {
        None => Ok(()),
        Some(leaving) if leaving.is_detached => finish(connection),
        Some(leaving) => stop(connection, leaving.partitions()),
    }
}

/// Events that are leaving with their partitions. The connection has the lock against others that do this.
pub(crate) struct Detaching {
    connection: Connection,
    first: GlobalSequence,
    last: GlobalSequence,
    partitions: Adjacent,
    is_detached: bool,
}

impl Detaching {
    fn try_prepare(
        &mut self,
        events: &[EventEnvelope],
        fingerprints: &HashMap<GlobalSequence, Fingerprint>,
    ) -> Result<()> {
        let mut session = self.connection.session();
        let newest = end_of_log(&mut session)?;
        let sequences: Vec<i64> = events.iter().map(|event| event.global_sequence.as_i64()).collect();
        let (mut live, mut ahead) = (HashMap::new(), HashMap::new());
        for row in &session.query(sql::LEAVING_KEYS, &[&sequences]).map_err(classify)? {
            match is_null(row, 4)? {
                true => {
                    let key = rows::event_key(&Cells(row))?;
                    live.insert(key.global_sequence, key);
                }
                false => {
                    let key = rows::archived_key(&Cells(row))?;
                    ahead.insert(key.0.global_sequence, key);
                }
            }
        }
        let ids = backend::aggregate_ids(events);
        let streams = session.select(sql::LEAVING_STREAMS, &[&ids], |row| rows::archived_stream(&Cells(row)))?;
        let streams = streams
            .into_iter()
            .map(|stream| (stream.aggregate.id(), stream))
            .collect();
        let retired = backend::admit_retirement(events, &live, &ahead, &streams, newest)?;
        let retired = Retired::of(&retired, fingerprints);
        let first = self.first.as_i64();
        let mut values = retired.values().to_vec();
        values.push(&first);
        session.execute(sql::PREPARE_LEAVING, &values).map_err(classify)?;
        Ok(())
    }

    /// Undoes what was prepared, unless the partitions are detached, or nothing is prepared any more.
    fn undo(&mut self) -> Result<()> {
        if self.is_detached || self.connection.client.is_closed() {
            return Ok(());
        }
        match Leaving::find(&mut self.connection.session())? {
            Some(leaving) if !leaving.is_detached => stop(&mut self.connection, self.partitions),
            _ => Ok(()),
        }
    }

    fn try_detach(&mut self) -> Result<bool> {
        if !self.is_detached {
            let mut session = self.connection.session();
            analyze_if_grown(&mut session)?;
            let is_prepared = session.select_one(sql::IS_LEAVING_PREPARED, &[], |row| get::<bool>(row, 0))?;
            if !is_prepared || !self.try_detach_partitions()? {
                stop(&mut self.connection, self.partitions)?;
                return Ok(false);
            }
            self.is_detached = true;
        }
        finish(&mut self.connection)?;
        Ok(true)
    }

    /// Detaches the partitions. Returns false if transactions of others prevent it for too long.
    fn try_detach_partitions(&mut self) -> Result<bool> {
        let client = &mut self.connection.client;
        lock::patiently(client, |transaction| {
            run(transaction, BRIEFLY)?;
            run(transaction, MAKE_EMPTIED)
        })?;
        Ok(wait_for_snapshots(client)?
            && self
                .partitions
                .replace(client, "firefly_emptied_events", NOTE_DETACHED)?)
    }
}

impl Detachment for Detaching {
    fn sequences(&self) -> RangeInclusive<GlobalSequence> {
        self.first..=self.last
    }

    fn prepare(&mut self, events: &[EventEnvelope]) -> Result<()> {
        if self.is_detached {
            return Ok(());
        }
        let fingerprints = Fingerprint::of_all(events)?;
        self.try_prepare(events, &fingerprints)
    }

    fn detach(mut self: Box<Self>) -> Result<bool> {
        self.try_detach()
            .map_err(|error| error.during("detach partitions of archived events"))
    }
}

/// After an error, the events stay in the log, and may be changed again. If the connection is lost, the next call that archives, attaches or
/// converts decides.
impl Drop for Detaching {
    fn drop(&mut self) {
        let _ = self.undo();
    }
}

/// Lets the events stay in the log that were about to leave: allows changes again, and deletes the keys that were written ahead.
fn stop(connection: &mut Connection, partitions: Adjacent) -> Result<()> {
    lock::patiently(&mut connection.client, |transaction| {
        run(transaction, BRIEFLY)?;
        partitions.release(transaction)?;
        run(transaction, STOP_LEAVING)
    })
}

/// Drops the detached partitions, and deletes the keys of their events in the log.
fn finish(connection: &mut Connection) -> Result<()> {
    drop_left(connection)?;
    let mut session = connection.session();
    let mut pace = Pace::new();
    loop {
        let most = pace.events() as i64;
        let forget = || session.execute(sql::FORGET_LEFT_KEYS, &[&most]).map_err(classify);
        if pace.step(forget)? == 0 {
            break;
        }
    }
    session.execute(sql::FINISH_LEAVING, &[]).map(drop).map_err(classify)
}
