//! Operations: import, restore, maintenance and diagnosis.

mod diagnose;
mod usage;

use std::error::Error as _;

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::{ArchivedStream, Fingerprint, ImportTarget, archives_between, tables};
use firefly_eventstore_core::consumer::ConsumerStore;
use firefly_eventstore_core::operate::{
    Archive, Diagnosis, Finding, FindingKind, IndexUsage, LogDigest, Operations, RestorePoint, Seal,
};
use firefly_eventstore_core::{Error, ErrorKind, EventEnvelope, GlobalSequence, Result, Snapshot, backend};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use uuid::Uuid;

use self::usage::{index_usage, pragma};
use crate::append::{adopt_event, archived_stream, locate};
use crate::error::{classify, classify_writing, is_refused};
use crate::pool::Location;
use crate::row::time_text;
use crate::session::{Session, collect, prepared};
use crate::store::{Sessions, SqliteEventStore};
use crate::transaction::in_transaction;
use crate::{archive, schema, sql};

impl Operations for SqliteEventStore {
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()> {
        let import = || {
            self.alone(|connection| {
                in_transaction(connection, Some(self.database()), |connection| {
                    backend::import(&mut Session(connection), events, self.proved())
                })
            })
        };
        let locate = |ids: &[Uuid]| self.alone(|connection| locate(connection, ids));
        backend::import_events(events, &self.options().limits, import, is_refused, locate)?;
        self.wake().tell();
        Ok(())
    }

    /// Appends wait, as for any transaction.
    fn restore_table(&self, point: RestorePoint) -> Result<u64> {
        self.maintain(|connection| {
            in_transaction(connection, Some(self.database()), |connection| {
                restore(connection, point)
            })
        })
        .map_err(|error| error.during("restore into the table events_restored"))
    }

    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
        tables::snapshots_after(&Sessions(self), after, limit)
    }

    fn insert_seal(&self, seal: &Seal) -> Result<()> {
        tables::insert_seal(&Sessions(self), seal)
    }

    fn seals_after(&self, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>> {
        tables::seals_after(&Sessions(self), sequence, limit)
    }

    fn newest_seals(&self, limit: u32) -> Result<Vec<Seal>> {
        tables::newest_seals(&Sessions(self), limit)
    }

    fn archives(&self) -> Result<Vec<Archive>> {
        tables::archives(&Sessions(self))
    }

    fn archived_stream(&self, aggregate_id: Uuid) -> Result<Option<ArchivedStream>> {
        self.read(|connection| archived_stream(connection, aggregate_id))
            .map_err(|error| error.during("look up what of a stream is archived"))
    }

    fn record_archive(&self, archive: &Archive) -> Result<()> {
        tables::record_archive(&Sessions(self), archive)
    }

    fn forget_archive(&self, digest: &LogDigest) -> Result<()> {
        tables::forget_archive(&Sessions(self), digest)
    }

    /// Appends wait, as for any transaction. Then copies the write-ahead log into the file, for which they do not wait.
    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        self.move_events(|connection| archive::retire(connection, events, &fingerprints))
    }

    /// Appends wait, as for any transaction. Then copies the write-ahead log, as [`retire_events`](Self::retire_events) does.
    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        self.move_events(|connection| archive::attach(connection, events, &fingerprints))
    }

    /// `ANALYZE`, of 1,000 rows of each index: a transaction of milliseconds, however long the log is. Open connections may use the
    /// old statistics until they are opened again.
    fn update_statistics(&self) -> Result<String> {
        self.maintain(analyze)
            .map_err(|error| error.during("update the statistics"))
    }

    /// `VACUUM`: SQLite writes the whole database again. Appends wait meanwhile. With a write-ahead log, readers do not wait, and the log is
    /// emptied into the file afterwards.
    fn vacuum(&self) -> Result<String> {
        let what = match &self.database().location {
            Location::File(_) => "the file",
            Location::Memory(_) => "the database",
        };
        self.maintain(|connection| vacuum(connection, what))
            .map_err(|error| error.during("vacuum"))
    }

    /// Expects the indexes that [`SqliteBuilder::indexes`](crate::SqliteBuilder::indexes) chose, or else those of the choice that is nearest
    /// to the existing ones. SQLite does not count scans. It knows sizes only if it was compiled for that; then it reads every index.
    fn index_usage(&self) -> Result<Vec<IndexUsage>> {
        self.read_one_state(|connection| index_usage(connection, self.options().indexes))
            .map_err(|error| error.during("look at the indexes"))
    }

    /// `PRAGMA integrity_check` and `PRAGMA foreign_key_check`, which report up to 100 errors, and the last sequence that `AUTOINCREMENT`
    /// remembers. With a write-ahead log, readers and writers do not wait.
    fn check_storage(&self) -> Result<Vec<Finding>> {
        self.read_afresh(check_storage)
            .map_err(|error| error.during("check the storage"))
    }

    fn diagnose(&self) -> Result<Vec<Diagnosis>> {
        self.examine().map_err(|error| error.during("diagnose"))
    }
}

impl SqliteEventStore {
    /// Moves events in a transaction, which changes pages in all of the file. Then copies these pages from the write-ahead log into it.
    /// Otherwise an append would do that, and hold up the others until the disk has them. A reading connection does it meanwhile.
    fn move_events(&self, work: impl FnOnce(&Connection) -> Result<u64>) -> Result<u64> {
        let moved = self.alone(|connection| in_transaction(connection, Some(self.database()), work))?;
        // What was not copied is copied later.
        drop(self.read(|connection| connection.query_row(sql::COPY_WAL, [], |_| Ok(())).map_err(classify)));
        Ok(moved)
    }
}

impl ImportTarget for Session<'_> {
    /// Nobody else writes: the transaction is the writing one.
    fn hold_writers(&mut self, _events: &[EventEnvelope]) -> Result<GlobalSequence> {
        last_given(self.0)
    }

    fn insert(&mut self, events: &[EventEnvelope]) -> Result<()> {
        let mut insert = prepared(self.0, sql::ADOPT_EVENT)?;
        for event in events {
            adopt_event(&mut insert, event).map_err(classify_writing)?;
        }
        Ok(())
    }
}

/// The greatest sequence that any event has had, deleted or not.
fn last_given(connection: &Connection) -> Result<GlobalSequence> {
    let (last, given) = sequences(connection)?;
    match given {
        Given::Up(given) => GlobalSequence::try_from(given.max(last)),
        Given::Nothing | Given::Unreadable => GlobalSequence::try_from(last),
    }
}

/// The last sequence that `AUTOINCREMENT` remembers.
enum Given {
    Nothing,
    /// Every sequence up to this one may have been used.
    Up(i64),
    /// Not a number.
    Unreadable,
}

/// The last sequence of the log, and the last one that `AUTOINCREMENT` remembers.
fn sequences(connection: &Connection) -> Result<(i64, Given)> {
    let rows = collect(connection, sql::NEXT_SEQUENCE, [], |row| {
        let given = match row.0.get_ref(1).map_err(classify)? {
            ValueRef::Null => Given::Nothing,
            ValueRef::Integer(given) => Given::Up(given),
            _ => Given::Unreadable,
        };
        Ok((row.integer(0)?, given))
    })?;
    Ok(rows.into_iter().next().expect("an aggregate query returns one row"))
}

fn restore(connection: &Connection, point: RestorePoint) -> Result<u64> {
    if let Some(archive) =
        archives_between(&mut Session(connection), GlobalSequence::ZERO, GlobalSequence::MAX)?.first()
    {
        return Err(archive.needed());
    }
    if schema::has_name(connection, "events_restored")? {
        return Err(Error::invalid(
            "there is a table events_restored already; drop it, or give it another name",
        ));
    }
    connection.execute_batch(sql::RESTORE_TABLE).map_err(classify)?;
    let copied = match point {
        RestorePoint::Sequence(sequence) => {
            prepared(connection, sql::RESTORE_UNTIL_SEQUENCE)?.execute([sequence.as_i64()])
        }
        // Stored times have microseconds. So an event is later than the given time if it is later than the microsecond of that time.
        RestorePoint::Time(time) => prepared(connection, sql::RESTORE_UNTIL_TIME)?.execute([time_text(time).as_str()]),
    };
    Ok(copied.map_err(classify)? as u64)
}

/// How many rows of an index `ANALYZE` looks at.
const ANALYZED_ROWS: i64 = 1_000;

fn analyze(connection: &mut Connection) -> Result<String> {
    connection
        .execute_batch(&format!("PRAGMA analysis_limit = {ANALYZED_ROWS}"))
        .and_then(|()| connection.execute_batch(sql::ANALYZE))
        .map_err(classify)?;
    Ok(format!("ANALYZE, by up to {ANALYZED_ROWS} rows of each index"))
}

fn vacuum(connection: &mut Connection, what: &str) -> Result<String> {
    let had = bytes(connection)?;
    connection.execute_batch(sql::VACUUM).map_err(classify)?;
    let busy: bool = connection
        .query_row(sql::WAL_CHECKPOINT, [], |row| row.get(0))
        .map_err(classify)?;
    let has = bytes(connection)?;
    let later = match busy {
        true => "; another connection reads, so the file shrinks when the write-ahead log is next emptied",
        false => "",
    };
    Ok(format!("VACUUM: {what} had {had} bytes and has {has}{later}"))
}

fn bytes(connection: &Connection) -> Result<i64> {
    Ok(pragma::<i64>(connection, "page_count")? * pragma::<i64>(connection, "page_size")?)
}

fn check_storage(connection: &Connection) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let checked = collect(connection, sql::INTEGRITY_CHECK, [], |row| {
        let lines = row.text(0)?.lines();
        let lines = lines.filter(|line| *line != "ok" && !line.starts_with("*** in database "));
        findings.extend(lines.map(|line| storage(format!("the integrity check: {line}"))));
        Ok(())
    });
    findings.extend(checked.err().map(found).transpose()?);
    let checked = collect(connection, sql::FOREIGN_KEY_CHECK, [], |row| {
        let (table, parent) = (row.text(0)?, row.text(2)?);
        let which = row.optional_integer(1)?;
        let which = which.map_or_else(|| "a row".to_owned(), |id| format!("row {id}"));
        findings.push(storage(format!(
            "{which} of the table {table} refers to a row of {parent} that does not exist"
        )));
        Ok(())
    });
    findings.extend(checked.err().map(found).transpose()?);
    match sequences(connection) {
        Ok((last, given)) => findings.extend(out_of_step(last, &given)),
        Err(error) => findings.push(found(error)?),
    }
    Ok(findings)
}

fn storage(reason: String) -> Finding {
    Finding::of_store(FindingKind::Storage, reason)
}

/// A check that failed because of damage has found that damage.
fn found(error: Error) -> Result<Finding> {
    if !matches!(error.kind(), ErrorKind::Integrity { .. } | ErrorKind::Schema(_)) {
        return Err(error);
    }
    Ok(storage(match error.source() {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }))
}

fn out_of_step(last: i64, given: &Given) -> Option<Finding> {
    let reason = match *given {
        Given::Nothing if last == 0 => return None,
        Given::Nothing => {
            format!("sqlite_sequence has no row for events, but the log ends at {last}")
        }
        Given::Up(given) if given == last => return None,
        Given::Up(given) if given < last => {
            format!("sqlite_sequence says that the last sequence is {given}, but the log ends at {last}")
        }
        Given::Up(given) => {
            format!("sequences up to {given} were allocated, but the log ends at {last}: its last events were deleted")
        }
        Given::Unreadable => format!("sqlite_sequence has no number for events, but the log ends at {last}"),
    };
    Some(Finding::of_store(FindingKind::Sequence, reason))
}
