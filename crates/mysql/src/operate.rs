//! Operations: import, restore, maintenance and diagnosis.

mod diagnose;
mod usage;

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::backend::{ArchivedStream, SqlTransaction as _, archives_between, tables};
use firefly_eventstore_core::consumer::ConsumerStore;
use firefly_eventstore_core::operate::{
    Archive, Detachment, Diagnosis, Finding, FindingKind, IndexUsage, LogDigest, Operations, RestorePoint, Seal,
};
use firefly_eventstore_core::{Error, EventEnvelope, EventStore, GlobalSequence, Result, Snapshot, backend};
use mysql::prelude::Queryable;
use mysql::{Conn, Row, Value};
use uuid::Uuid;

use self::usage::{index_usage, tables};
use crate::detach::Leaving;
use crate::error::{classify, driver_error, is_refused};
use crate::insert::TURNS;
use crate::mark::GATES;
use crate::partitions::{self, Changed};
use crate::row::{decode, text, time_value};
use crate::schema::{self, has, run};
use crate::session::Session;
use crate::sql::{self, Layout};
use crate::standing::Standing;
use crate::store::{MysqlEventStore, Sessions};
use crate::{append, archive, detach};

impl Operations for MysqlEventStore {
    /// One round trip for 4,000 events, or for fewer if a packet is full before; one for 64 aggregates; and five more. The import and
    /// transactions that append to the same aggregates wait for each other.
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()> {
        self.require_writable()?;
        let proved = self.0.mark.proved();
        let import =
            || self.transaction_as_kept(|transaction| backend::import(&mut transaction.session()?, events, proved));
        let locate = |ids: &[Uuid]| self.with(|session| append::located(session, ids));
        backend::import_events(
            events,
            &self.0.options.server.limits,
            import,
            |error| driver_error(error).is_some_and(is_refused),
            locate,
        )?;
        self.wake().tell();
        Ok(())
    }

    /// Reads the log once, or twice for a time, in one statement. Blocks nobody.
    fn restore_table(&self, point: RestorePoint) -> Result<u64> {
        let restore = || {
            self.require_writable()?;
            // The snapshot that fills the table is younger than the mark.
            let mark = self.high_water_mark()?;
            self.with(refuse_restored)?;
            self.with(|session| refuse_archived(session, point, mark))?;
            self.once(|session| restore(session, point, mark))
        };
        restore().map_err(|error: Error| error.during("restore the log into the table events_restored"))
    }

    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
        tables::snapshots_after(&Sessions(self), after, limit)
    }

    /// Needs `INSERT`, `UPDATE` and `SELECT` on `firefly_seals`. One round trip.
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
        self.with(|session| archive::stream(session, aggregate_id))
            .map_err(|error| error.during("look up what of a stream is archived"))
    }

    /// Needs `INSERT`, `UPDATE` and `SELECT` on `firefly_archives`. One round trip.
    fn record_archive(&self, archive: &Archive) -> Result<()> {
        tables::record_archive(&Sessions(self), archive)
    }

    /// Needs `DELETE` and `SELECT` on `firefly_archives`. One round trip.
    fn forget_archive(&self, digest: &LogDigest) -> Result<()> {
        tables::forget_archive(&Sessions(self), digest)
    }

    /// Holds all gates until the commit, some ten milliseconds, for which appends wait. Takes about thirteen round trips, and needs `DELETE`
    /// on `events`. If transactions that have appended stay open, it fails after 20 milliseconds with a retryable error.
    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        self.move_events(events, archive::retire)
    }

    /// In a partitioned log, the first partition whose events are all in the archive. The last one stays, and so do partitions that have events
    /// of other archives. The archive must be a range. Otherwise `None`, also if the user may not lock tables, or if others use the log for
    /// longer than about ten seconds.
    ///
    /// Everybody waits until the server has replaced the file of the partition, and for its lock up to 1 second, on MariaDB up to twice, because
    /// other statements wait behind it. After five attempts, the events leave one by one. Changes of the events are refused from the
    /// beginning on. It has a connection of its own. Needs `ALTER`, `DROP` and `LOCK TABLES` on `events`, and `SELECT`, `INSERT`, `UPDATE` and
    /// `DELETE` on the tables of archives, on `firefly_event_keys` and on `firefly_leaving`.
    fn detachment(&self, archive: &Archive) -> Result<Option<Box<dyn Detachment + '_>>> {
        let begin = || {
            self.require_writable()?;
            if self.layout_now()? == Layout::Whole || archive.log.is_none() {
                return Ok(None);
            }
            let standing = self.with(|session| Ok(session.server.standing))?;
            standing.require_provable(self.0.options.only_writer)?;
            if matches!(standing, Standing::Node { .. }) {
                return Ok(None);
            }
            detach::begin(&self.0.location, archive, self.high_water_mark()?)
        };
        let begun = begin().map_err(|error: Error| error.during("begin to empty a partition of archived events"))?;
        Ok(begun.map(|detaching| Box::new(detaching) as Box<dyn Detachment>))
    }

    /// Appends wait as for [`retire_events`](Self::retire_events).
    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        if self.layout_now()? == Layout::Partitioned && self.with(Leaving::find)?.is_some() {
            self.require_writable()?;
            detach::settle(&self.0.location)?;
        }
        self.move_events(events, archive::attach)
    }

    /// Adds partitions at the end until a whole one lies between the log and the last one. Joins neighbours whose events are all archived.
    ///
    /// It waits for open transactions, up to 1 second, on MariaDB up to twice, because other statements wait behind it. After five attempts,
    /// it fails with a retryable error. If the last partition has up to 10,000 events, the server copies them, and appends wait. If it has
    /// more, the call is refused. Needs `ALTER`, `CREATE`, `INSERT`, `DROP` and `LOCK TABLES` on `events`, and `SELECT` on
    /// `firefly_event_keys` and `firefly_partitions`.
    fn add_partitions(&self) -> Result<Option<String>> {
        let during = |error: Error| error.during("add partitions");
        self.require_writable().map_err(during)?;
        let kept = self.with_layout_now(|session| match session.server.layout {
            Layout::Whole => Ok(None),
            Layout::Partitioned => partitions::keep(session).map(Some),
        });
        let Some(Changed {
            partitions,
            added,
            joined,
        }) = kept.map_err(during)?
        else {
            return Ok(None);
        };
        Ok(Some(backend::report_partitions(
            partitions as u64,
            added as u64,
            joined as u64,
        )))
    }

    /// `ANALYZE TABLE` of the store's tables. Needs `SELECT` and `INSERT` on them.
    fn update_statistics(&self) -> Result<String> {
        self.require_writable()
            .and_then(|()| self.with_layout_now(analyze))
            .map_err(|error| error.during("update the statistics of the tables"))
    }

    /// `OPTIMIZE TABLE`: rewrites each table while others read and write. It needs disk space for a copy, and `SELECT` and `INSERT` on the
    /// tables. It fails with [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if a transaction that has used the table stays
    /// open for five seconds. On MySQL, it also does if an append is repeated meanwhile, or meets another version than it expects: call it
    /// when few programs write.
    fn vacuum(&self) -> Result<String> {
        self.require_writable()
            .and_then(|()| self.with_layout_now(vacuum))
            .map_err(|error| error.during("vacuum the tables"))
    }

    /// Four round trips. Sizes need `SELECT` on `mysql.innodb_index_stats`, counts on `performance_schema`.
    fn index_usage(&self) -> Result<Vec<IndexUsage>> {
        self.with_layout_now(|session| index_usage(session, self.0.options.choices.indexes))
            .map_err(|error| error.during("look at the indexes"))
    }

    /// `CHECK TABLE`, which reads every index, while others read and write.
    fn check_storage(&self) -> Result<Vec<Finding>> {
        self.with_layout_now(check_storage)
            .map_err(|error| error.during("check the storage"))
    }

    fn publish_mark(&self) -> Result<GlobalSequence> {
        Self::publish_mark(self)
    }

    /// About twenty round trips. What the user has no right to see becomes a notice.
    fn diagnose(&self) -> Result<Vec<Diagnosis>> {
        self.with_layout_now(|session| diagnose::diagnose(session, &self.0.options))
            .map_err(|error| error.during("diagnose the store"))
    }
}

impl MysqlEventStore {
    /// How the events are kept now.
    fn layout_now(&self) -> Result<Layout> {
        self.with(schema::layout_now)
    }

    /// Moves events between the log and the archives. Only the server that writes can do that.
    fn move_events(
        &self,
        events: &[EventEnvelope],
        how: impl Fn(&mut Session<'_, Conn>, &[EventEnvelope]) -> Result<u64>,
    ) -> Result<u64> {
        self.require_writable()?;
        if events.is_empty() {
            return Ok(0);
        }
        self.transaction_as_kept(|transaction| {
            let session = &mut transaction.session()?;
            session.server.layout = schema::layout_now(session)?;
            session.server.standing.require_provable(self.0.options.only_writer)?;
            how(session, events)
        })
    }
}

fn refuse_restored(session: &mut Session<'_, Conn>) -> Result<()> {
    let names = schema::names(session)?;
    match ["table events_restored", "view events_restored"]
        .iter()
        .any(|name| has(&names, name))
    {
        true => Err(there_is_a_restored_log()),
        false => Ok(()),
    }
}

/// Refuses to restore a log whose archived events are missing.
fn refuse_archived(session: &mut Session<'_, Conn>, point: RestorePoint, mark: GlobalSequence) -> Result<()> {
    let until = match point {
        RestorePoint::Sequence(sequence) => sequence.min(mark),
        RestorePoint::Time(_) => mark,
    };
    let is_older = |archive: &Archive| match point {
        RestorePoint::Sequence(_) => true,
        RestorePoint::Time(time) => archive.created_from <= time,
    };
    let archives = archives_between(session, GlobalSequence::ZERO, until)?;
    match archives.iter().find(|archive| is_older(archive)) {
        None => Ok(()),
        Some(archive) => Err(archive.needed()),
    }
}

fn there_is_a_restored_log() -> Error {
    Error::invalid("there is a table events_restored already; drop it or give it another name first")
}

/// Fills a table under another name, and renames it when it is complete, because each step commits.
fn restore(session: &mut Session<'_, Conn>, point: RestorePoint, mark: GlobalSequence) -> Result<u64> {
    if session.select(sql::LOCK_RESTORE, [], |row| row.optional_integer(0))? != [Some(1)] {
        return Err(Error::new(kinds::unavailable(
            "another program is restoring into the table events_restored",
        )));
    }
    let result = restore_under_another_name(session, point, mark);
    if result.is_err() {
        // This fails if the connection is lost. The next restore begins with it.
        let _ = session.client.query_drop(sql::RESTORE_UNDO);
    }
    session.query(sql::UNLOCK_RESTORE, Vec::new()).map_err(classify)?;
    result
}

fn restore_under_another_name(
    session: &mut Session<'_, Conn>,
    point: RestorePoint,
    mark: GlobalSequence,
) -> Result<u64> {
    schema::run(session, sql::RESTORE_UNDO)?;
    schema::run(session, sql::RESTORE_TABLE)?;
    let until = |sequence: GlobalSequence| Value::from(sequence.as_i64());
    let restored = match point {
        RestorePoint::Sequence(sequence) => {
            session.execute(sql::RESTORE_UNTIL_SEQUENCE, vec![until(sequence.min(mark))])
        }
        // Stored times have microseconds. So an event is later than the given time if it is later than the microsecond of that time.
        RestorePoint::Time(time) => session.execute(
            sql::RESTORE_UNTIL_TIME,
            vec![time_value(time), until(mark), until(mark)],
        ),
    };
    let restored = restored.map_err(classify)?;
    session
        .client
        .query_drop(sql::RESTORE_FINISH)
        .map_err(|error| match &error {
            mysql::Error::MySqlError(reason) if reason.code == 1050 => there_is_a_restored_log().with_source(error),
            _ => classify(error),
        })?;
    Ok(restored)
}

/// What the server reports about a table.
struct Remark {
    table: String,
    kind: String,
    text: String,
}

impl Remark {
    /// The errors of a statement that reports about tables: the first one of each table. Fails if one of them is about the moment, and not about
    /// the table.
    fn bad_of(session: &mut Session<'_, Conn>, statement: &str) -> Result<Vec<Self>> {
        // In English, because the server tells its errors as rows, without their codes.
        run(session, "SET SESSION lc_messages = 'en_US'")?;
        let remarks = Self::of(session, statement);
        run(session, "SET SESSION lc_messages = DEFAULT")?;
        let mut remarks = remarks?;
        remarks.retain(|remark| !remark.is_good());
        remarks.dedup_by(|next, last| next.table == last.table && next.kind == "status");
        match remarks.iter().find(|remark| remark.is_passing()) {
            None => Ok(remarks),
            Some(passing) => Err(Error::new(kinds::unavailable(format!(
                "the table {} was in use: {}",
                passing.table, passing.text
            )))),
        }
    }

    fn of(session: &mut Session<'_, Conn>, statement: &str) -> Result<Vec<Self>> {
        // As text: MySQL cannot prepare all of these.
        let statement = session.server.layout.of(statement);
        let rows: Vec<Row> = session.client.query(&*statement).map_err(classify)?;
        decode(&rows, |row| {
            Ok(Self {
                // The name of the database comes first.
                table: text(row, 0)?.rsplit('.').next().unwrap_or_default().to_owned(),
                kind: text(row, 2)?.to_lowercase(),
                text: text(row, 3)?.to_owned(),
            })
        })
    }

    fn is_good(&self) -> bool {
        match self.kind.as_str() {
            "status" => matches!(self.text.as_str(), "OK" | "Table is already up to date"),
            kind => matches!(kind, "note" | "info"),
        }
    }

    /// Whether this is about other sessions, which used the table. MySQL writes a table anew together with a log of what others write
    /// meanwhile. An insert that was refused, because its event or its version is already stored, is in that log, and is refused again: as a
    /// duplicate entry.
    fn is_passing(&self) -> bool {
        let passing = ["Lock wait timeout exceeded", "Deadlock found", "Duplicate entry"];
        passing.iter().any(|passing| self.text.starts_with(passing))
    }
}

/// Runs a maintenance statement, which changes no data, and returns the tables.
fn maintain(session: &mut Session<'_, Conn>, statement: &str) -> Result<String> {
    if let Some(bad) = Remark::bad_of(session, statement)?.first() {
        let reason = format!("the server could not do it to the table {}: {}", bad.table, bad.text);
        return Err(Error::new(kinds::backend(reason)));
    }
    let tables: Vec<&str> = tables(session.server.layout).map(|(table, _)| table).collect();
    Ok(tables.join(", "))
}

fn analyze(session: &mut Session<'_, Conn>) -> Result<String> {
    Ok(format!("analyzed {}", maintain(session, sql::ANALYZE)?))
}

fn vacuum(session: &mut Session<'_, Conn>) -> Result<String> {
    // Without this, the size would be an old estimate.
    maintain(session, sql::ANALYZE)?;
    let before = table_bytes(session)?;
    let tables = schema::giving_way(session, schema::GIVE_WAY_AFTER, |session| {
        maintain(session, sql::VACUUM)
    })?;
    let after = table_bytes(session)?;
    Ok(format!(
        "wrote {tables} anew: {before} bytes before, {after} bytes after"
    ))
}

fn table_bytes(session: &mut Session<'_, Conn>) -> Result<u64> {
    schema::disable_statistics_cache(session)?;
    Ok(session
        .select(sql::TABLE_BYTES, [], |row| row.count(0))?
        .into_iter()
        .sum())
}

fn check_storage(session: &mut Session<'_, Conn>) -> Result<Vec<Finding>> {
    let bad = Remark::bad_of(session, sql::INTEGRITY_CHECK)?;
    let finding =
        |bad: Remark| Finding::of_store(FindingKind::Storage, format!("the table {}: {}", bad.table, bad.text));
    let mut findings: Vec<Finding> = bad.into_iter().map(finding).collect();
    findings.extend(check_next_sequence(session)?);
    findings.extend(check_gates(session)?);
    if session.server.layout == Layout::Partitioned {
        let found = partitions::damage(session)?;
        findings.extend(
            found
                .into_iter()
                .map(|reason| Finding::of_store(FindingKind::Storage, reason)),
        );
    }
    Ok(findings)
}

fn check_next_sequence(session: &mut Session<'_, Conn>) -> Result<Option<Finding>> {
    schema::disable_statistics_cache(session)?;
    // The condition names the log also if it is partitioned, so that no statement changes it meanwhile.
    let next_sequence = format!(
        "{}  AND NOT EXISTS (SELECT 1 FROM events WHERE FALSE)",
        sql::NEXT_SEQUENCE
    );
    let places = session.select(&next_sequence, [], |row| {
        Ok((row.integer(0)?, row.optional_integer(1)?))
    })?;
    let reason = match places.as_slice() {
        [(last, Some(next))] if next > last => return Ok(None),
        [(last, Some(next))] => format!("the next global sequence is {next}, but the log ends at {last}"),
        _ => "the table events gives no global sequences: the column has lost its AUTO_INCREMENT".to_owned(),
    };
    Ok(Some(Finding::of_store(FindingKind::Sequence, reason)))
}

fn check_gates(session: &mut Session<'_, Conn>) -> Result<Option<Finding>> {
    let (gates, turns) = session.select_one(sql::GATES, [], |row| Ok((row.count(0)?, row.count(1)?)))?;
    if (gates, turns) == (u64::from(GATES), u64::from(TURNS)) {
        return Ok(None);
    }
    let reason = format!(
        "firefly_gate has {gates} of its {GATES} rows and firefly_turn {turns} of its {TURNS}: readers skip events, or appends fail; \
         insert what is missing, as the migrations do"
    );
    Ok(Some(Finding::of_store(FindingKind::Storage, reason)))
}
