//! Operating a store: import, restore, maintenance, and what the server knows of its state.

mod diagnose;
mod usage;

use firefly_eventstore_core::backend::tables::{self, archives_between};
use firefly_eventstore_core::backend::{ArchivedStream, Fingerprint, SqlTransaction as _};
use firefly_eventstore_core::consumer::ConsumerStore;
use firefly_eventstore_core::operate::{
    Archive, Diagnosis, Finding, FindingKind, IndexUsage, LogDigest, Operations, RestorePoint, Seal,
};
use firefly_eventstore_core::{Error, ErrorKind, EventEnvelope, GlobalSequence, Result, Snapshot, backend};
use postgres::error::SqlState;
use postgres::{Client, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use self::usage::{Index, Table, indexes, tables, usage};
use crate::append::locate;
use crate::archive;
use crate::error::{classify, driver_error, is_refused};
use crate::import::import;
use crate::migrate::{behind, how_behind, required_indexes};
use crate::partitions::{self, Changed};
use crate::read::archived_streams;
use crate::row::{self, get};
use crate::session::Session;
use crate::sql::{self, Layout};
use crate::store::{PostgresEventStore, Sessions};

impl Operations for PostgresEventStore {
    /// Other writers wait until it has committed, and it waits for those that write already; readers go on. Nine round trips,
    /// and the events by `COPY`. Within a transaction that appended, it would wait for ever: call it outside.
    ///
    /// Needs the rights to `SELECT` and `INSERT` on the table `events`; to lock it, which is `UPDATE`, `DELETE` or `TRUNCATE`, or
    /// `MAINTAIN` from PostgreSQL 17 on; `USAGE` and `UPDATE` on the sequence `events_global_sequence_seq`; and to `SELECT` from the
    /// tables of archives.
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()> {
        backend::check_import(events, &self.options().server.limits)?;
        let Some(last) = events.last() else {
            return Ok(());
        };
        // Not repeated on another connection: if the commit went through, that would be taken for a contradiction.
        let imported = self.transaction(|transaction| {
            let given_away = self.proved()?;
            import(&mut transaction.session()?, events, last.global_sequence, given_away)
        });
        let imported = match imported {
            Err(error) if driver_error(&error).is_some_and(is_refused) => {
                let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
                let found = self.with(|session| locate(session, &ids));
                found.and_then(|found| Err(backend::refuse_import(events, &found)))
            }
            imported => imported,
        };
        imported.map_err(|error| error.during(format_args!("import {} events", events.len())))?;
        self.wake().tell();
        Ok(())
    }

    /// In one transaction, which reads the log up to the high-water mark once, for a time twice. Needs the right to `CREATE` in
    /// the schema. [`Archived`](ErrorKind::Archived) if the log up to there has events that were archived.
    fn restore_table(&self, point: RestorePoint) -> Result<u64> {
        let restore = || {
            let (until, time) = match point {
                RestorePoint::Sequence(sequence) => (sequence, None),
                // What is stored has microseconds: what is later than the time is later than its microsecond.
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

    /// Other writers wait until it has committed; readers go on. It waits 50 ms at most for those that write already, so that nobody waits
    /// behind it for longer, and is refused as [`Unavailable`](ErrorKind::Unavailable) if they are not done. Before that it waits up to 5
    /// s, which holds nobody up, for what maintains the table, such as a `VACUUM`. Eight round trips, and an `ANALYZE` of what is
    /// archived each time that it has doubled. Within a transaction that appended, it is always refused: call it outside.
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

    /// Waits, and lets others wait, as `retire_events`. Six round trips, and the events by `COPY`.
    ///
    /// Needs the rights to `SELECT` and `INSERT` on the table `events`, and to lock it, which is `UPDATE`, `DELETE` or `TRUNCATE`, or
    /// `MAINTAIN` from PostgreSQL 17 on; and to `SELECT`, `UPDATE` and `DELETE` on `firefly_archived_events` and
    /// `firefly_archived_streams`.
    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        self.transaction(|transaction| archive::attach(&mut transaction.session()?, events, &fingerprints))
    }

    /// One partition more for each that the log has begun, at the end. It waits for 50 ms at most for those that read or write, since others
    /// wait behind it, and tries again for a few seconds. Where appends are already in the last partition, and it is larger than 8 MiB, it
    /// is read once, while others go on. Needs to own the tables.
    fn add_partitions(&self) -> Result<Option<String>> {
        let during = |error: Error| error.during("add partitions");
        self.require_writable().map_err(during)?;
        let keep = |session: &mut Session<'_, Client>| match session.layout {
            Layout::Whole => Ok(None),
            Layout::Partitioned => partitions::keep(session).map(Some),
        };
        let Some(changed) = self.with(keep).map_err(during)? else {
            return Ok(None);
        };
        let Changed {
            partitions,
            added,
            merged,
        } = changed;
        let new = match added {
            0 => "and needs no more".to_owned(),
            added => format!("{added} of them new"),
        };
        let gone = match merged {
            0 => String::new(),
            merged => format!("; {merged} whose events are archived were joined to another"),
        };
        Ok(Some(format!("the log has {partitions}, {new}{gone}")))
    }

    /// `ANALYZE` of the store's tables, which reads a sample of each. Needs to own them, or the right to `MAINTAIN` them from
    /// PostgreSQL 17 on.
    fn update_statistics(&self) -> Result<String> {
        self.require_writable()
            .map_err(|error| error.during("update the statistics"))?;
        let update = |session: &mut Session<'_, Client>| {
            require_maintainable(&tables(session)?)?;
            let analyze = of_filled(session, sql::ANALYZE)?;
            session.execute(&analyze, &[]).map_err(classify)?;
            tables(session)
        };
        let tables = self
            .with(update)
            .map_err(|error| error.during("update the statistics"))?;
        let known = tables
            .iter()
            .map(|table| format!("{} (about {} rows)", table.name, table.estimated_rows));
        Ok(format!("ANALYZE of {}", known.collect::<Vec<_>>().join(", ")))
    }

    /// `VACUUM (ANALYZE)` of the store's tables: their room is given to new rows, that at their end to the file system. Readers and
    /// appends go on; imports and migrations wait. Rights as for `update_statistics`.
    fn vacuum(&self) -> Result<String> {
        self.require_writable().map_err(|error| error.during("vacuum"))?;
        let vacuum = |session: &mut Session<'_, Client>| {
            let before = tables(session)?;
            require_maintainable(&before)?;
            let vacuum = of_filled(session, sql::VACUUM)?;
            session.execute(&vacuum, &[]).map_err(classify)?;
            Ok((before, tables(session)?))
        };
        let (before, after) = self.with(vacuum).map_err(|error| error.during("vacuum"))?;
        let sizes = before
            .iter()
            .zip(&after)
            .map(|(before, after)| format!("{} ({}, was {})", after.name, after.size, before.size));
        Ok(format!("VACUUM (ANALYZE) of {}", sizes.collect::<Vec<_>>().join(", ")))
    }

    /// Those of the optional ones that are chosen when the store is opened; if none are, the least choice that has all which are
    /// there. An index that is invalid counts as missing: `REINDEX` makes it again. One round trip.
    fn index_usage(&self) -> Result<Vec<IndexUsage>> {
        self.with(|session| {
            Ok(usage(
                &indexes(session)?,
                self.options().choices.indexes,
                session.layout,
            ))
        })
        .map_err(|error| error.during("look at the indexes"))
    }

    /// Compares the log and its sequence; looks for keys that are missing, invalid indexes, and constraints that nobody validated;
    /// and, where PostgreSQL's extension `amcheck` is there and this role may use it, checks each B-tree, and that it has every row.
    /// `CREATE EXTENSION amcheck` makes it. Needs the right to `SELECT` on the sequence. Locks nobody out.
    fn check_storage(&self) -> Result<Vec<Finding>> {
        let check = || {
            let mut findings = self.with(sequence_findings)?;
            let (indexes, layout) = self.with(|session| Ok((indexes(session)?, session.layout)))?;
            findings.extend(key_findings(&indexes, layout));
            findings.extend(self.with(constraint_findings)?);
            if let Some(schema) = self.with(index_checker)? {
                for index in indexes.iter().filter(|index| index.is_btree && index.is_valid) {
                    findings.extend(self.with(|session| checked_index(session, &schema, index))?);
                }
            }
            Ok(findings)
        };
        check().map_err(|error: Error| error.during("check the storage"))
    }

    fn publish_mark(&self) -> Result<GlobalSequence> {
        Self::publish_mark(self)
    }

    /// Some ten round trips. What the role may not see, such as how long another's transaction is open, is left out.
    fn diagnose(&self) -> Result<Vec<Diagnosis>> {
        self.with(|session| diagnose::diagnose(session, self.options()))
            .map_err(|error| error.during("diagnose"))
    }
}

fn restored(
    session: &mut Session<'_, Transaction<'_>>,
    until: GlobalSequence,
    time: Option<OffsetDateTime>,
) -> Result<u64, Error> {
    // What is archived, and what is not, are of one state.
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

/// A statement that maintains tables, for those that there are.
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

/// Refuses what the server would skip, with no more than a warning.
fn require_maintainable(tables: &[Table]) -> Result<()> {
    match tables.iter().find(|table| !table.may_maintain) {
        None => Ok(()),
        Some(table) => Err(Error::new(ErrorKind::PermissionDenied).during(format_args!("maintain {}", table.name))),
    }
}

fn sequence_findings(session: &mut Session<'_, Client>) -> Result<Vec<Finding>> {
    let finding = |sequences| Finding::of_store(FindingKind::Sequence, how_behind(sequences));
    Ok(behind(session)?.map(finding).into_iter().collect())
}

/// What is wrong with the indexes: invalid ones, and keys that keep nothing unique.
fn key_findings(indexes: &[Index], layout: Layout) -> Vec<Finding> {
    let invalid = indexes.iter().filter(|index| !index.is_valid).map(|index| {
        format!(
            "the index {} on {} is invalid, or not built to its end; if nobody builds it, run REINDEX INDEX CONCURRENTLY {}",
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

/// The schema of the extension that checks indexes, if it may be used.
fn index_checker(session: &mut Session<'_, Client>) -> Result<Option<String>> {
    Ok(session.select(sql::INDEX_CHECKER, &[], |row| get(row, 0))?.pop())
}

/// What the extension says of an index, if it is damaged.
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
