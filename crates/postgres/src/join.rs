//! Joining: old partitions of a log become one, so that their number stays small although the log grows.
//!
//! # The steps
//!
//! 1. *Choose.* `firefly_partitions` says which adjacent partitions are joined. From now on, triggers refuse changes of their rows. Only
//!    partitions that appends do not reach any more are joined, so appends do not meet these triggers.
//! 2. *Copy* their events into another table, some in each transaction, and make its indexes. After an interruption, copying continues after
//!    the last copied event.
//! 3. *Wait* until no transaction uses a snapshot from before the end of step 2.
//! 4. *Replace.* In one short transaction, the table takes the place of the partitions. Others wait for its lock. It gives up after 30 ms, and
//!    tries again after a pause.
//! 5. *Drop* the tables that were partitions.
//!
//! # Why nothing is missing, and nothing is there twice
//!
//! PostgreSQL shows each statement the partitions as they are when it locks the table, even in a transaction whose snapshot is older. A reader
//! that locked the table before step 4 reads the rows of the partitions, and step 4 waits for it. Any other reader reads the copies. It sees
//! all of them: they were committed before step 3, and after that step each snapshot is later. The copies are equal to the rows, because
//! nobody could change the rows since step 1. A row and its copy are never both in the log.
//!
//! The module `detach` says how step 3 waits for older snapshots, and why a standby is safe, too. There, the server also replays the removal
//! of a row that was deleted after the copies were committed. It can do that only when its older snapshots have ended, so it waits for them
//! or cancels them. Only then does it replay step 4.
//!
//! # Interruptions and others
//!
//! Only one process at a time joins partitions, archives, or converts the log: it holds an advisory lock of its connection. After an error, it
//! undoes steps 1 and 2. If it died, the next call continues, or archiving, attaching and converting undo steps 1 and 2 before they begin.
//! `doctor` reports an unfinished join. Meanwhile, partitions may be added at the end, and empty ones may be merged.

use firefly_eventstore_core::backend::{checks::MANY_PARTITIONS, kinds};
use firefly_eventstore_core::{Error, GlobalSequence, Result};
use postgres::Client;

use crate::error::classify;
use crate::lock::{self, BRIEFLY};
use crate::pool::{Connection, Location};
use crate::replace::{Adjacent, drop_left, try_locked, wait_for_snapshots};
use crate::row::{decode, get};
use crate::session::{Session, run};
use crate::sql;

/// The scripts of the steps.
const ARE_JOINED: &str = include_str!("../sql/partitions/are_joined.sql");
const COPY_JOINED: &str = include_str!("../sql/partitions/copy_joined.sql");
const INDEX_JOINED: &str = include_str!("../sql/partitions/index_joined.sql");
const MAKE_JOINED: &str = include_str!("../sql/partitions/make_joined.sql");
const NOTE_NONE: &str = "UPDATE firefly_partitions SET join_from = NULL, join_until = NULL";

/// How many partitions are left if there were many. A log whose months are archived after less than two years keeps a partition for each.
const ENOUGH_PARTITIONS: i64 = 12;

/// How many partitions become one. The disk has to have space for the copies of their events.
const JOINED_AT_ONCE: i64 = 8;

/// How often a call joins partitions.
const MOST_JOINS: u32 = 2;

/// How many events a transaction copies.
const COPIED_AT_ONCE: i64 = 20_000;

/// The table that becomes a partition.
const TABLE: &str = "firefly_joined_events";

/// The partitions of a log, and which are being joined.
pub(crate) struct Joining {
    partitions: i64,
    pub(crate) joined: Option<Adjacent>,
    /// Whether tables are left that were partitions.
    has_left: bool,
}

impl Joining {
    /// Reads it from the database. The log must be partitioned.
    pub(crate) fn of(session: &mut Session<'_, Client>) -> Result<Self> {
        let found = session.select(sql::JOINING, &[], |row| {
            let joined = match (get(row, 1)?, get(row, 2)?) {
                (Some(from), Some(until)) => Some(Adjacent { from, until }),
                _ => None,
            };
            Ok(Self {
                partitions: get(row, 0)?,
                joined,
                has_left: get(row, 3)?,
            })
        })?;
        // `doctor` tells that the row is missing.
        Ok(found.into_iter().next().unwrap_or(Self {
            partitions: 0,
            joined: None,
            has_left: false,
        }))
    }

    /// Whether there is something to do.
    pub(crate) fn is_due(&self) -> bool {
        self.partitions > MANY_PARTITIONS.cast_signed() || self.joined.is_some() || self.has_left
    }
}

/// What was done.
#[derive(Default)]
pub(crate) struct Joined {
    /// How many partitions there are now.
    pub(crate) partitions: i64,
    /// How many there were before.
    pub(crate) before: i64,
    /// What kept some from being joined.
    pub(crate) hindrance: Option<&'static str>,
}

impl Joined {
    /// What was done, or what prevents it, if there was something to do.
    pub(crate) fn told(&self) -> Option<String> {
        let Self {
            partitions,
            before,
            hindrance,
        } = self;
        let done = (partitions < before).then(|| format!("{before} partitions were joined into {partitions}"));
        match (done, hindrance) {
            (done, None) => done,
            (Some(done), Some(hindrance)) => Some(format!("{done}; no more were, because {hindrance}")),
            (None, Some(hindrance)) => Some(format!("no partitions were joined, because {hindrance}")),
        }
    }
}

/// Joins old partitions, or continues.
pub(crate) fn join(location: &Location, mark: impl Fn() -> Result<GlobalSequence>) -> Result<Joined> {
    let Some(mut connection) = try_locked(location)? else {
        return Ok(Joined {
            hindrance: Some("another process archives, joins partitions or converts the log"),
            ..Joined::default()
        });
    };
    let before = Joining::of(&mut connection.session())?;
    let mut most = match before.joined {
        // A join that has begun is finished, however many partitions there are.
        Some(_) => 0,
        None => MANY_PARTITIONS.cast_signed(),
    };
    drop_left(&mut connection)?;
    let mut hindrance = None;
    for _ in 0..MOST_JOINS {
        let now = Joining::of(&mut connection.session())?;
        if now.partitions <= most {
            break;
        }
        most = ENOUGH_PARTITIONS;
        hindrance = join_some(&mut connection, &now, &mark)?;
        if hindrance.is_some() {
            break;
        }
    }
    Ok(Joined {
        partitions: Joining::of(&mut connection.session())?.partitions,
        before: before.partitions,
        hindrance,
    })
}

/// Joins partitions once. Returns what prevents it.
fn join_some(
    connection: &mut Connection,
    now: &Joining,
    mark: impl Fn() -> Result<GlobalSequence>,
) -> Result<Option<&'static str>> {
    const OLD_SNAPSHOTS: &str = "a transaction, a dump or a replication slot has used an older snapshot for too long, or somebody holds the table";
    let joined = match now.joined {
        Some(joined) => joined,
        None => {
            if !connection
                .session()
                .select_one(sql::MAY_REPLACE, &[], |row| get(row, 0))?
            {
                return Ok(Some("this role lacks rights, or old_snapshot_threshold is set"));
            }
            // Fails early: a snapshot that lasts too long now would probably also do so after the copying.
            if !wait_for_snapshots(&mut connection.client)? {
                return Ok(Some(OLD_SNAPSHOTS));
            }
            let count = JOINED_AT_ONCE.min(now.partitions - ENOUGH_PARTITIONS + 1);
            match begin(connection, count, mark()?)? {
                Some(joined) => joined,
                None => {
                    return Ok(Some(
                        "they are published, or another role owns them, or events are leaving, or the log is being converted",
                    ));
                }
            }
        }
    };
    match try_join(connection, joined) {
        Ok(true) => drop_left(connection).map(|()| None),
        Ok(false) => stop(connection, joined).map(|()| Some(OLD_SNAPSHOTS)),
        Err(error) => {
            // If the connection is lost, the next call continues.
            let _ = stop(connection, joined);
            Err(error)
        }
    }
}

/// Chooses partitions, and makes the table for their events.
fn begin(connection: &mut Connection, count: i64, mark: GlobalSequence) -> Result<Option<Adjacent>> {
    lock::patiently(&mut connection.client, |transaction| {
        run(transaction, BRIEFLY)?;
        let chosen = transaction
            .query(sql::BEGIN_JOIN, &[&count, &mark.as_i64()])
            .map_err(classify)?;
        let chosen = decode(&chosen, |row| {
            Ok(Adjacent {
                from: get(row, 0)?,
                until: get(row, 1)?,
            })
        })?;
        let Some(joined) = chosen.into_iter().next() else {
            return Ok(None);
        };
        let Adjacent { from, until } = joined;
        let lower = match from {
            0 => String::new(),
            from => format!("global_sequence >= {from} AND "),
        };
        let range = format!("{lower}global_sequence < {until}");
        run(transaction, &MAKE_JOINED.replace("$1", &range))?;
        Ok(Some(joined))
    })
}

/// Does the steps from refusing changes to replacing the partitions. Returns false if transactions of others prevent it for too long.
fn try_join(connection: &mut Connection, joined: Adjacent) -> Result<bool> {
    joined.freeze(&mut connection.client)?;
    copy(&mut connection.session(), joined)?;
    let client = &mut connection.client;
    lock::patiently(client, |transaction| {
        run(transaction, BRIEFLY)?;
        run(transaction, INDEX_JOINED)
    })?;
    if !wait_for_snapshots(client)? {
        return Ok(false);
    }
    run(client, &format!("VACUUM (ANALYZE) {TABLE}"))?;
    joined.replace(client, TABLE, NOTE_NONE)
}

/// Copies the events that are not copied yet. Fails if the copies are not complete afterwards.
fn copy(session: &mut Session<'_, Client>, joined: Adjacent) -> Result<()> {
    // The first partition has no lower bound.
    let first = match joined.from {
        0 => i64::MIN,
        from => from,
    };
    let columns = session.select_one(sql::COLUMNS, &[], |row| get::<String>(row, 0))?;
    let copy = COPY_JOINED.replace("$columns", &columns);
    let last_copied = format!("SELECT MAX(global_sequence) FROM {TABLE}");
    let mut copied = session
        .select_one(&last_copied, &[], |row| get::<Option<i64>>(row, 0))?
        .unwrap_or(first.saturating_sub(1));
    while let Some(last) = session.select_one(&copy, &[&copied, &joined.until, &COPIED_AT_ONCE], |row| {
        get::<Option<i64>>(row, 0)
    })? {
        copied = last;
    }
    match session.select_one(ARE_JOINED, &[&first, &joined.until], |row| get::<bool>(row, 0))? {
        true => Ok(()),
        false => Err(Error::new(kinds::unavailable(
            "the events changed while they were copied: call again",
        ))),
    }
}

/// Undoes what was begun, and drops the tables that were partitions.
pub(crate) fn settle(connection: &mut Connection) -> Result<()> {
    if let Some(joined) = Joining::of(&mut connection.session())?.joined {
        stop(connection, joined)?;
    }
    drop_left(connection)
}

/// Gives up: allows changes of the events again, and drops the copies.
fn stop(connection: &mut Connection, joined: Adjacent) -> Result<()> {
    lock::patiently(&mut connection.client, |transaction| {
        run(transaction, BRIEFLY)?;
        joined.release(transaction)?;
        run(transaction, &format!("DROP TABLE IF EXISTS {TABLE}"))?;
        run(transaction, NOTE_NONE)
    })
}
