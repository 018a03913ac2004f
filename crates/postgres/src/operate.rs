//! Operations: import, restore, maintenance, and diagnosis.

mod diagnose;
mod usage;

use std::time::Duration;

use firefly_eventstore_core::backend::{
    ArchivedStream, Fingerprint, Patience, SqlTransaction as _, archives_between, tables,
};
use firefly_eventstore_core::consumer::ConsumerStore;
use firefly_eventstore_core::operate::{
    Archive, Detachment, Diagnosis, Finding, FindingKind, IndexUsage, LogDigest, Operations, RestorePoint, Seal,
};
use firefly_eventstore_core::{Error, ErrorKind, EventEnvelope, GlobalSequence, Result, Snapshot, backend};
use postgres::error::SqlState;
use postgres::{Client, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use self::usage::{Index, Table, indexes, tables, usage};
use crate::append::locate;
use crate::archive;
use crate::detach::{self, Leaving};
use crate::error::{classify, driver_error, is_refused};
use crate::join::{self, Joining};
use crate::migrate::{behind, how_behind, required_indexes};
use crate::partitions::{self, Changed};
use crate::read::archived_streams;
use crate::row::{self, get};
use crate::session::Session;
use crate::sql::{self, Layout};
use crate::store::{PostgresEventStore, Sessions};

impl Operations for PostgresEventStore {
    /// The import waits for writers that are active, and other writers wait until it has committed. Readers do not wait. Nine round trips,
    /// and a `COPY` of the events. Do not call it within a transaction that has appended: it would wait for ever.
    ///
    /// Needs the rights to `SELECT` and `INSERT` on the table `events`; a right by which it can be locked: `UPDATE`, `DELETE` or
    /// `TRUNCATE`, or `MAINTAIN` from PostgreSQL 17 on; `USAGE` and `UPDATE` on the sequence `events_global_sequence_seq`; and `SELECT` on
    /// the tables of archives.
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()> {
        let import =
            || self.transaction(|transaction| backend::import(&mut transaction.session()?, events, self.proved()));
        let locate = |ids: &[Uuid]| self.with(|session| locate(session, ids));
        backend::import_events(
            events,
            &self.options().server.limits,
            import,
            |error| driver_error(error).is_some_and(is_refused),
            locate,
        )?;
        self.wake().tell();
        Ok(())
    }

    /// One transaction. It reads the log up to the high-water mark once, or twice for a time. Needs the right to `CREATE` in the schema.
    /// [`Archived`](ErrorKind::Archived) if events of that part of the log are archived.
    fn restore_table(&self, point: RestorePoint) -> Result<u64> {
        let restore = || {
            let (until, time) = match point {
                RestorePoint::Sequence(sequence) => (sequence, None),
                // Stored times have microseconds. So an event is later than the given time if it is later than the microsecond of that
                // time.
                RestorePoint::Time(time) => (GlobalSequence::MAX, Some(row::floor(time))),
            };
            let until = self.mark()?.min(until);
            self.transaction(|transaction| restored(&mut transaction.session()?, until, time))
        };
        restore().map_err(|error: Error| error.during("restore into the table events_restored"))
    }

    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
        tables::snapshots_after(&Sessions(self), after, limit)
    }

    /// Needs the right to `INSERT` and `SELECT` on the table `firefly_seals`. One round trip.
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
        let found = self.with(|session| archived_streams(session, &[aggregate_id]));
        found
            .map(|mut streams| streams.pop())
            .map_err(|error| error.during("look up what of a stream is archived"))
    }

    /// Needs the rights to `SELECT`, `INSERT` and `UPDATE` on the table `firefly_archives`. One round trip.
    fn record_archive(&self, archive: &Archive) -> Result<()> {
        tables::record_archive(&Sessions(self), archive)
    }

    /// Needs the rights to `SELECT` and `DELETE` on the table `firefly_archives`. One round trip.
    fn forget_archive(&self, digest: &LogDigest) -> Result<()> {
        tables::forget_archive(&Sessions(self), digest)
    }

    /// Other writers wait until it has committed; readers do not wait. First it waits up to 5 s, without delaying others, for maintenance
    /// of the table, such as a `VACUUM`. Then it waits at most 25 ms for active writers, because other writers queue behind it. If they do
    /// not end in time, it fails with [`Unavailable`](ErrorKind::Unavailable). Eight round trips, and an `ANALYZE` of the archive's tables
    /// each time that they have doubled. It always fails within a transaction that has appended: call it outside.
    ///
    /// Needs the rights to `SELECT` and `DELETE` on the table `events`, and to `SELECT`, `INSERT` and `UPDATE` on
    /// `firefly_archived_events` and `firefly_archived_streams`.
    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        let retired =
            self.transaction(|transaction| archive::retire(&mut transaction.session()?, events, &fingerprints))?;
        self.with(archive::analyze_if_grown)?;
        Ok(retired)
    }

    /// In a partitioned log, the partitions whose events are all in the archive, without the last one. The archive must be a range, and the
    /// role must own the tables. Otherwise `None`. If old snapshots or open transactions prevent it for 15 s, detaching them returns false.
    ///
    /// Everybody waits for detaching them, some milliseconds, and at most 30 ms more for its lock. Changes of their events are refused from
    /// the beginning on. It has a connection of its own. A standby cancels transactions that are older than it may wait for
    /// (`max_standby_streaming_delay`).
    fn detachment(&self, archive: &Archive) -> Result<Option<Box<dyn Detachment + '_>>> {
        let begin = || {
            self.require_writable()?;
            let is_partitioned = self.with_layout_now(|session| Ok(session.layout == Layout::Partitioned))?;
            if !is_partitioned {
                return Ok(None);
            }
            if archive.log.is_none() {
                self.settle_interrupted()?;
                return Ok(None);
            }
            detach::begin(self.location(), archive, self.mark()?)
        };
        let begun = begin().map_err(|error: Error| error.during("begin to detach partitions of archived events"))?;
        Ok(begun.map(|detaching| Box::new(detaching) as Box<dyn Detachment>))
    }

    /// Waits, and makes others wait, as `retire_events` does. Six round trips, and a `COPY` of the events.
    ///
    /// Needs the rights to `SELECT` and `INSERT` on the table `events`; a right by which it can be locked: `UPDATE`, `DELETE` or
    /// `TRUNCATE`, or `MAINTAIN` from PostgreSQL 17 on; and `SELECT`, `UPDATE` and `DELETE` on `firefly_archived_events` and
    /// `firefly_archived_streams`.
    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        self.settle_interrupted()?;
        let fingerprints = Fingerprint::of_all(events)?;
        self.transaction(|transaction| archive::attach(&mut transaction.session()?, events, &fingerprints))
    }

    /// Adds partitions until a whole one lies between the log and the last one; by month, ends the last partition if its month is over. Merges
    /// empty ones. It waits at most 50 ms for active readers and writers, because others queue behind it, and tries again for some seconds. If appends already go to the last partition, and that is larger than 8 MiB, it is
    /// read once, while others go on. Needs to own the tables.
    fn add_partitions(&self) -> Result<Option<String>> {
        let during = |error: Error| error.during("add partitions");
        self.require_writable().map_err(during)?;
        let keep = |session: &mut Session<'_, Client>| match session.layout {
            Layout::Whole => Ok(None),
            Layout::Partitioned => {
                let is_indexed = partitions::index_streams(session)?;
                partitions::keep(session).map(|changed| Some((changed, is_indexed)))
            }
        };
        let Some((changed, is_indexed)) = self.with_layout_now(keep).map_err(during)? else {
            return Ok(None);
        };
        let Changed {
            partitions,
            added,
            merged,
        } = changed;
        let indexed = match is_indexed {
            true => "; the index on streams was made",
            false => "",
        };
        Ok(Some(
            backend::report_partitions(partitions.unsigned_abs(), added, merged.unsigned_abs()) + indexed,
        ))
    }

    /// Joins the smallest adjacent partitions, if there are more than 24, until 12 are left: 8 at once, and twice in a call. The events are copied
    /// into a new table, while others read and append; this takes disk space, and about as long as an import. Then everybody waits for some
    /// milliseconds, and at most 30 ms more for the table's lock. Changes of these events are refused meanwhile. It waits up to 15 s for older
    /// snapshots. Has a connection of its own. Needs to own the tables.
    ///
    /// A log that is published for logical replication is left as it is: subscribers would get the copied events again.
    fn join_partitions(&self) -> Result<Option<String>> {
        let join = || {
            self.require_writable()?;
            let is_due = |session: &mut Session<'_, Client>| match session.layout {
                Layout::Whole => Ok(false),
                Layout::Partitioned => Joining::of(session).map(|joining| joining.is_due()),
            };
            match self.with_layout_now(is_due)? {
                true => join::join(self.location(), || self.mark()).map(Some),
                false => Ok(None),
            }
        };
        let joined = join().map_err(|error: Error| error.during("join partitions"))?;
        Ok(joined.and_then(|joined| joined.told()))
    }

    /// `ANALYZE` of the store's tables, which reads a sample of each. The role must own them, or have the right to `MAINTAIN` them (from
    /// PostgreSQL 17 on).
    fn update_statistics(&self) -> Result<String> {
        self.require_writable()
            .map_err(|error| error.during("update the statistics"))?;
        let update = |session: &mut Session<'_, Client>| {
            require_maintainable(&tables(session)?)?;
            maintain(session, sql::ANALYZE)?;
            tables(session)
        };
        let tables = self
            .with_layout_now(update)
            .map_err(|error| error.during("update the statistics"))?;
        let known = tables
            .iter()
            .map(|table| format!("{} (about {} rows)", table.name, table.estimated_rows));
        Ok(format!("ANALYZE of {}", known.collect::<Vec<_>>().join(", ")))
    }

    /// `VACUUM (ANALYZE)` of the store's tables: new rows can use the space of removed ones, and free space at the end goes back to the
    /// file system. Reads and appends go on; imports and migrations wait. Needs the rights of `update_statistics`.
    fn vacuum(&self) -> Result<String> {
        self.require_writable().map_err(|error| error.during("vacuum"))?;
        let vacuum = |session: &mut Session<'_, Client>| {
            let before = tables(session)?;
            require_maintainable(&before)?;
            maintain(session, sql::VACUUM)?;
            Ok((before, tables(session)?))
        };
        let (before, after) = self.with_layout_now(vacuum).map_err(|error| error.during("vacuum"))?;
        let sizes = before
            .iter()
            .zip(&after)
            .map(|(before, after)| format!("{} ({}, was {})", after.name, after.size, before.size));
        Ok(format!("VACUUM (ANALYZE) of {}", sizes.collect::<Vec<_>>().join(", ")))
    }

    /// The chosen indexes are those of the choice with which the store was opened. Without a choice, they are those of the choice that is
    /// nearest to the existing ones. An invalid index counts as missing: `REINDEX` repairs it. One round trip.
    fn index_usage(&self) -> Result<Vec<IndexUsage>> {
        self.with_layout_now(|session| {
            Ok(usage(
                &indexes(session)?,
                self.options().choices.indexes,
                session.layout,
            ))
        })
        .map_err(|error| error.during("look at the indexes"))
    }

    /// Compares the log with its sequence. Looks for missing keys, invalid indexes, and constraints that were not validated. If
    /// PostgreSQL's extension `amcheck` is installed (`CREATE EXTENSION amcheck`) and the role may use it, checks each B-tree and that it
    /// has every row. Needs the right to `SELECT` on the sequence. Blocks nobody.
    fn check_storage(&self) -> Result<Vec<Finding>> {
        self.with_layout_now(check_storage)
            .map_err(|error| error.during("check the storage"))
    }

    fn publish_mark(&self) -> Result<GlobalSequence> {
        Self::publish_mark(self)
    }

    /// About ten round trips. Leaves out what the role has no right to see, such as how long transactions of other roles are open.
    fn diagnose(&self) -> Result<Vec<Diagnosis>> {
        self.with_layout_now(|session| diagnose::diagnose(session, self.options()))
            .map_err(|error| error.during("diagnose"))
    }
}

impl PostgresEventStore {
    /// Completes or undoes what was interrupted that would refuse changes of events.
    fn settle_interrupted(&self) -> Result<()> {
        let is_interrupted = self.with_layout_now(|session| {
            let is_joining = match session.layout {
                Layout::Whole => false,
                Layout::Partitioned => Joining::of(session)?.joined.is_some(),
            };
            Ok(is_joining || Leaving::find(session)?.is_some())
        })?;
        match is_interrupted {
            true => detach::settle(self.location()),
            false => Ok(()),
        }
    }
}

fn restored(
    session: &mut Session<'_, Transaction<'_>>,
    until: GlobalSequence,
    time: Option<OffsetDateTime>,
) -> Result<u64, Error> {
    // So that archived events and events of the log are read in one state.
    let one_state = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    session.client.batch_execute(one_state).map_err(classify)?;
    if let Some(archive) = archives_between(session, GlobalSequence::ZERO, until)?.first() {
        return Err(archive.needed());
    }
    session.client.batch_execute(sql::CREATE_RESTORED).map_err(|error| {
        if error.code() == Some(&SqlState::DUPLICATE_TABLE) {
            return Error::invalid("there is a table events_restored; drop or rename it first").with_source(error);
        }
        classify(error)
    })?;
    session
        .execute(sql::FILL_RESTORED, &[&until.as_i64(), &time])
        .map_err(classify)
}

/// Runs a maintenance statement. It names the partitions, and one may go before it begins: then it is repeated.
fn maintain(session: &mut Session<'_, Client>, sql: &str) -> Result<()> {
    let is_gone =
        |error: &Error| driver_error(error).is_some_and(|error| error.code() == Some(&SqlState::UNDEFINED_TABLE));
    ATTEMPTS.repeat(is_gone, || {
        let statement = of_filled(session, sql)?;
        session.execute(&statement, &[]).map(drop).map_err(classify)
    })
}

/// How often a maintenance statement is tried while partitions go.
const ATTEMPTS: Patience = Patience::new(5, Duration::ZERO);

/// Fills a maintenance statement with the tables that exist.
fn of_filled(session: &mut Session<'_, Client>, sql: &str) -> Result<String> {
    let events = match session.layout {
        Layout::Whole => vec!["events".to_owned()],
        Layout::Partitioned => {
            let mut filled = partitions::filled(session)?;
            filled.push("firefly_event_keys".to_owned());
            filled
        }
    };
    Ok(sql.replace("events /* or filled partitions, and their keys */", &events.join(", ")))
}

/// Fails if the server would skip a table with only a warning.
fn require_maintainable(tables: &[Table]) -> Result<()> {
    match tables.iter().find(|table| !table.may_maintain) {
        None => Ok(()),
        Some(table) => Err(Error::new(ErrorKind::PermissionDenied).during(format_args!("maintain {}", table.name))),
    }
}

fn check_storage(session: &mut Session<'_, Client>) -> Result<Vec<Finding>> {
    let mut findings = sequence_findings(session)?;
    let indexes = indexes(session)?;
    findings.extend(key_findings(&indexes, session.layout));
    findings.extend(constraint_findings(session)?);
    if let Some(schema) = index_checker(session)? {
        for index in indexes.iter().filter(|index| index.is_btree && index.is_valid) {
            findings.extend(checked_index(session, &schema, index)?);
        }
    }
    Ok(findings)
}

fn sequence_findings(session: &mut Session<'_, Client>) -> Result<Vec<Finding>> {
    let finding = |sequences| Finding::of_store(FindingKind::Sequence, how_behind(sequences));
    Ok(behind(session)?.map(finding).into_iter().collect())
}

/// Findings about indexes: invalid ones, and keys that do not enforce uniqueness.
fn key_findings(indexes: &[Index], layout: Layout) -> Vec<Finding> {
    let invalid = indexes.iter().filter(|index| !index.is_valid).map(|index| {
        format!(
            "the index {} on {} is invalid or incomplete; if no session is building it, run REINDEX INDEX CONCURRENTLY {}",
            index.name, index.table, index.name
        )
    });
    let is_kept = |key: &str| indexes.iter().any(|index| index.name == key && index.is_unique);
    let keys = required_indexes(layout).filter(|(_, name, is_key)| *is_key && !is_kept(name));
    let missing = keys.map(|(table, name, _)| {
        format!("{table} has no unique index {name}, so nothing keeps its key; make it again as the migrations do")
    });
    let reasons = invalid.chain(missing);
    reasons
        .map(|reason| Finding::of_store(FindingKind::Storage, reason))
        .collect()
}

fn constraint_findings(session: &mut Session<'_, Client>) -> Result<Vec<Finding>> {
    session.select(sql::UNVALIDATED_CONSTRAINTS, &[], |row| {
        let (table, name): (String, String) = (get(row, 0)?, get(row, 1)?);
        Ok(Finding::of_store(
            FindingKind::Storage,
            format!(
                "the constraint {name} on {table} was never validated, so rows may violate it; run ALTER TABLE {table} VALIDATE \
                 CONSTRAINT {name}"
            ),
        ))
    })
}

/// The schema of the extension `amcheck`, if the role may use it.
fn index_checker(session: &mut Session<'_, Client>) -> Result<Option<String>> {
    Ok(session.select(sql::INDEX_CHECKER, &[], |row| get(row, 0))?.pop())
}

/// Checks an index with the extension. Returns a finding if it is damaged.
fn checked_index(session: &mut Session<'_, Client>, schema: &str, index: &Index) -> Result<Option<Finding>> {
    let mut transaction = session.client.transaction().map_err(classify)?;
    transaction.query(sql::FIND_IN_SCHEMA, &[&schema]).map_err(classify)?;
    let mut check = |part| transaction.query(sql::CHECK_INDEX, &[part]).err();
    let Some(error) = index.parts.iter().find_map(|part| check(part)) else {
        return Ok(None);
    };
    let said = error.as_db_error().map(|error| error.message().to_owned());
    let error = classify(error);
    if !error.is_integrity() {
        return Err(error);
    }
    Ok(Some(Finding::of_store(
        FindingKind::Storage,
        format!(
            "the index {} on {} is damaged: {}; run REINDEX INDEX CONCURRENTLY {}, and find out why, such as a failing disk or \
             an update of the collation library",
            index.name,
            index.table,
            said.unwrap_or_default(),
            index.name
        ),
    )))
}
