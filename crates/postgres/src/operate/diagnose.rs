//! Diagnoses of the server, the schema and the settings, with advice.

use firefly_eventstore_core::backend::{checks, indexes};
use firefly_eventstore_core::operate::{Diagnosis, IndexState, IndexUsage, Severity};
use firefly_eventstore_core::{ErrorKind, Result, backend};
use postgres::Client;
use time::{Duration, OffsetDateTime};

use super::usage::{Table, tables, usage};
use crate::conversion::{Begun, Chosen};
use crate::detach::Leaving;
use crate::error::classify;
use crate::join::Joining;
use crate::migrate;
use crate::options::Options;
use crate::partitions::Divided;
use crate::read;
use crate::replace::Adjacent;
use crate::row::{decode, get};
use crate::session::Session;
use crate::sql::{self, Layout};

pub(super) fn diagnose(session: &mut Session<'_, Client>, options: &Options) -> Result<Vec<Diagnosis>> {
    let settings = Settings::of(session)?;
    let topology = Topology::of(session)?;
    let mut diagnoses = vec![settings.server(), schema(session)?];
    diagnoses.extend(settings.durability());
    diagnoses.extend([
        checks::clock(settings.asked, settings.now, settings.answered),
        topology.replication(options.server.read_replica),
        published(session, &topology, options.server.read_replica)?,
        settings.read_only(),
        settings.connections(options.server.max_connections),
        settings.encryption(),
        sequence(session)?,
        open_writers(session)?,
        settings.transaction_ids(),
        room(&settings, &tables(session)?),
    ]);
    diagnoses.extend(Begun::pending(session)?);
    diagnoses.extend(Leaving::find(session)?.as_ref().map(of_leaving));
    if session.layout == Layout::Partitioned {
        diagnoses.extend(Joining::of(session)?.joined.map(of_joining));
        diagnoses.push(match Divided::of(session) {
            Ok(divided) => of_partitions(&divided),
            Err(error) => checks::schema(Err(error), None)?,
        });
        diagnoses.extend(settings.old_snapshots());
    }
    let usage = usage(
        &super::usage::indexes(session)?,
        options.choices.indexes,
        session.layout,
    );
    diagnoses.extend(of_indexes(usage, settings.now - settings.counted_since));
    diagnoses.push(checks::limits(&options.server.limits));
    Ok(diagnoses)
}

/// The result of `settings.sql`.
struct Settings {
    version: String,
    version_number: i32,
    now: OffsetDateTime,
    /// When the server was asked and has answered, by the clock of this process.
    asked: OffsetDateTime,
    answered: OffsetDateTime,
    fsync: bool,
    full_page_writes: bool,
    synchronous_commit: String,
    data_checksums: bool,
    checksum_failures: i64,
    is_read_only: bool,
    /// The connection limit of this role.
    connections: i64,
    is_encrypted: bool,
    is_local: bool,
    vacuums_itself: bool,
    /// The age, in transaction ids, of the oldest one that is not frozen.
    oldest_transaction: i64,
    counted_since: OffsetDateTime,
    /// How long a snapshot lasts, if the setting `old_snapshot_threshold` limits it.
    old_snapshots: Option<String>,
}

/// The oldest server version that the migrations work on.
const OLDEST_SERVER: i32 = 120_000;

/// The server stops writing at two thousand million.
const MANY_TRANSACTIONS: i64 = 1_000_000_000;

/// An index is reported if it has been unused for longer than this.
const LONG_UNUSED: Duration = Duration::days(7);

/// How many seconds a transaction that has appended may be open.
const LONG_OPEN: i64 = 60;

impl Settings {
    fn of(session: &mut Session<'_, Client>) -> Result<Self> {
        let asked = OffsetDateTime::now_utc();
        let rows = session.query(sql::SETTINGS, &[]).map_err(classify)?;
        let answered = OffsetDateTime::now_utc();
        let settings = decode(&rows, |row| {
            Ok(Self {
                version: get(row, 0)?,
                version_number: get(row, 1)?,
                now: get(row, 2)?,
                asked,
                answered,
                fsync: get(row, 3)?,
                full_page_writes: get(row, 4)?,
                synchronous_commit: get(row, 5)?,
                data_checksums: get(row, 6)?,
                checksum_failures: get(row, 7)?,
                is_read_only: get(row, 8)?,
                connections: get(row, 9)?,
                is_encrypted: get(row, 10)?,
                is_local: get(row, 11)?,
                vacuums_itself: get(row, 12)?,
                oldest_transaction: get(row, 13)?,
                counted_since: get(row, 14)?,
                old_snapshots: get(row, 15)?,
            })
        })?;
        Ok(settings
            .into_iter()
            .next()
            .expect("there is a database, and a role, that is connected"))
    }

    fn server(&self) -> Diagnosis {
        let found = format!("PostgreSQL {}", self.version);
        if self.version_number < OLDEST_SERVER {
            let advice = format!("update the server to PostgreSQL {} at least", OLDEST_SERVER / 10_000);
            return Diagnosis::bad(Severity::Warning, "server", found, advice);
        }
        Diagnosis::good("server", found)
    }

    /// Whether committed events survive a crash.
    fn durability(&self) -> Vec<Diagnosis> {
        let setting = |name: &str, is_on: bool, severity, advice: &str| match is_on {
            true => Diagnosis::good(name, "on"),
            false => Diagnosis::bad(severity, name, "off", advice),
        };
        let mut diagnoses = vec![
            setting(
                "fsync",
                self.fsync,
                Severity::Danger,
                "a crash of the machine can destroy the whole database; set fsync = on and reload the server",
            ),
            setting(
                "full_page_writes",
                self.full_page_writes,
                Severity::Danger,
                "a crash can leave half-written pages behind; set full_page_writes = on and reload the server",
            ),
        ];
        diagnoses.push(match self.synchronous_commit.as_str() {
            "off" => Diagnosis::bad(
                Severity::Warning,
                "synchronous_commit",
                "off",
                "a crash loses the last appends although they were acknowledged, and a sequence that a reader got already may come \
                 again with another event; set synchronous_commit = on for the role and the database that append",
            ),
            other => Diagnosis::good("synchronous_commit", other),
        });
        diagnoses.push(match (self.data_checksums, self.checksum_failures) {
            (_, failures) if failures > 0 => Diagnosis::bad(
                Severity::Danger,
                "data_checksums",
                format!("{failures} pages did not match their checksum"),
                "the disk or the memory fails; audit the store, and restore what is damaged from a backup",
            ),
            (true, _) => Diagnosis::good("data_checksums", "on"),
            (false, _) => Diagnosis::bad(
                Severity::Notice,
                "data_checksums",
                "off",
                "a page that the disk damaged goes unnoticed until an audit finds its events; with the server stopped, run \
                 pg_checksums --enable",
            ),
        });
        diagnoses
    }

    fn read_only(&self) -> Diagnosis {
        match self.is_read_only {
            false => Diagnosis::good("default_transaction_read_only", "off"),
            true => Diagnosis::bad(
                Severity::Danger,
                "default_transaction_read_only",
                "on",
                "nothing can be appended; set it off for the role and the database, once it is known why it is on",
            ),
        }
    }

    fn connections(&self, pool: u32) -> Diagnosis {
        let found = format!("the pool takes up to {pool}, this role may have {}", self.connections);
        match i64::from(pool) <= self.connections {
            true => Diagnosis::good("connections", found),
            false => Diagnosis::bad(
                Severity::Warning,
                "connections",
                found,
                "under load, calls will fail because no connection is free; lower max_connections of the store, or raise the server's",
            ),
        }
    }

    fn encryption(&self) -> Diagnosis {
        let in_use = self.is_encrypted.then_some("in use");
        checks::encryption(in_use, self.is_local, "sslmode=verify-full and sslrootcert=FILE")
    }

    /// Whether a setting keeps the partitions of a log from being detached.
    fn old_snapshots(&self) -> Option<Diagnosis> {
        let threshold = self.old_snapshots.as_ref()?;
        Some(Diagnosis::bad(
            Severity::Notice,
            "old_snapshot_threshold",
            format!(
                "{threshold}: archived events leave one by one, not with their partitions, and old partitions are not joined"
            ),
            "set old_snapshot_threshold = -1 and restart the server: with it, the server does not tell when no \
             older snapshot is left",
        ))
    }

    fn transaction_ids(&self) -> Diagnosis {
        let found = format!("{} used since the oldest that is not frozen", self.oldest_transaction);
        if self.oldest_transaction <= MANY_TRANSACTIONS {
            return Diagnosis::good("transaction ids", found);
        }
        Diagnosis::bad(
            Severity::Warning,
            "transaction ids",
            found,
            "at two thousand million the server stops writing; look for old open or prepared transactions and replication slots, then \
             run VACUUM in this database",
        )
    }
}

/// The result of `topology.sql`.
struct Topology {
    is_standby: bool,
    /// The number of servers that stream from this one.
    replicas: i64,
    /// The number of replicas that each commit waits for, as far as this role may see it.
    synchronous: i64,
    /// Whether commits wait for a replica.
    waits: bool,
}

impl Topology {
    fn of(session: &mut Session<'_, Client>) -> Result<Self> {
        session.select_one(sql::TOPOLOGY, &[], |row| {
            Ok(Self {
                is_standby: get(row, 0)?,
                replicas: get(row, 1)?,
                synchronous: get(row, 2)?,
                waits: get(row, 3)?,
            })
        })
    }

    fn replication(&self, read_replica: bool) -> Diagnosis {
        let subject = "replication";
        let replicas = match self.replicas {
            0 => "no server streams from it".to_owned(),
            1 => format!("one server streams from it, {} synchronous", self.synchronous),
            several => format!("{several} servers stream from it, {} synchronous", self.synchronous),
        };
        if self.is_standby {
            let found = format!("this server is a standby, or recovers; {replicas}");
            return match read_replica {
                true => Diagnosis::good(subject, found),
                false => Diagnosis::bad(
                    Severity::Warning,
                    subject,
                    found,
                    "it shows neither the sequence nor the locks of writers, so it has no high-water mark: connect to the primary (of \
                     several hosts in a URL, the store takes the one that accepts writes), or open the store with read_replica",
                ),
            };
        }
        let found = format!("this is the primary; {replicas}");
        match (self.replicas, self.synchronous, self.waits) {
            (0, _, false) => Diagnosis::good(subject, found),
            (_, 0, true) => Diagnosis::bad(
                Severity::Warning,
                subject,
                found,
                "synchronous_standby_names asks for one: appends wait until there is; start the standby, or change the setting and reload",
            ),
            (_, 0, false) => Diagnosis::bad(
                Severity::Notice,
                subject,
                found,
                "a failover may lose the last appends although they were acknowledged; set synchronous_standby_names where they matter",
            ),
            _ => Diagnosis::good(subject, found),
        }
    }
}

/// The published mark, for readers of replicas.
fn published(session: &mut Session<'_, Client>, topology: &Topology, read_replica: bool) -> Result<Diagnosis> {
    let needed = match (read_replica, topology.is_standby) {
        (true, _) => Some(Severity::Danger),
        (false, true) => Some(Severity::Warning),
        (false, false) => None,
    };
    let published = read::published_mark(session);
    backend::diagnose_published_mark(published, needed)
}

fn schema(session: &mut Session<'_, Client>) -> Result<Diagnosis> {
    let version = migrate::version(session)?;
    checks::schema(migrate::require_current(session).map(drop), version.as_deref())
}

fn sequence(session: &mut Session<'_, Client>) -> Result<Diagnosis> {
    let subject = "events_global_sequence_seq";
    let behind = match migrate::behind(session) {
        // Without the right to read the sequence, this is unknown.
        Err(error) if *error.kind() == ErrorKind::PermissionDenied => None,
        behind => behind?,
    };
    if let Some((last, allocated)) = behind {
        return Ok(Diagnosis::bad(
            Severity::Danger,
            subject,
            format!("at {allocated}, and the log goes on to {last}"),
            format!(
                "appends are refused, and readers see nothing after {allocated}; run SELECT setval('{subject}', {last})"
            ),
        ));
    }
    Ok(match migrate::counts_one_by_one(session)? {
        true => Diagnosis::good(subject, "counts one by one, for all connections alike"),
        false => Diagnosis::bad(
            Severity::Danger,
            subject,
            "missing, or with a CACHE, a negative INCREMENT or CYCLE",
            "readers may skip events; run ALTER SEQUENCE events_global_sequence_seq INCREMENT 1 CACHE 1 NO CYCLE",
        ),
    })
}

/// Events that are leaving the log with their partitions.
fn of_leaving(leaving: &Leaving) -> Diagnosis {
    let left = leaving
        .is_detached
        .then_some("their partitions are detached and not dropped yet");
    checks::leaving(leaving.first, leaving.last, leaving.location.as_deref(), left)
}

/// Partitions that are being joined.
fn of_joining(joined: Adjacent) -> Diagnosis {
    let Adjacent { from, until } = joined;
    Diagnosis::bad(
        Severity::Warning,
        "joining",
        format!(
            "the partitions with the global sequences {from} to {} are being joined: their events cannot be changed",
            until - 1
        ),
        "if no program runs maintain now, that was interrupted: run it to continue",
    )
}

fn open_writers(session: &mut Session<'_, Client>) -> Result<Diagnosis> {
    let writers = session.select(sql::OLDEST_WRITER, &[], |row| {
        Ok(Writer {
            process: get(row, 0)?,
            open_for: get(row, 1)?,
        })
    })?;
    Ok(of_oldest(writers.first()))
}

/// An open transaction that has appended. It holds the mark back.
struct Writer {
    /// `None` if the transaction is prepared for a two-phase commit.
    process: Option<i32>,
    /// In seconds, if the role may see it.
    open_for: Option<i64>,
}

fn of_oldest(writer: Option<&Writer>) -> Diagnosis {
    let subject = "open transactions";
    let held_back = "readers of the log see nothing that was appended after it";
    match writer.map(|writer| (writer.process, writer.open_for)) {
        Some((None, _)) => Diagnosis::bad(
            Severity::Warning,
            subject,
            "one that appended is prepared for a commit in two phases",
            format!("{held_back}; find it in pg_prepared_xacts, and commit it or roll it back"),
        ),
        Some((Some(process), Some(seconds))) if seconds > LONG_OPEN => Diagnosis::bad(
            Severity::Warning,
            subject,
            format!("process {process} appended in one that is open for {seconds} s"),
            format!(
                "{held_back}; find it in pg_stat_activity, and let it end, or run SELECT pg_terminate_backend({process})"
            ),
        ),
        _ => Diagnosis::good(subject, "none holds readers of the log back for long"),
    }
}

/// Whether the space of dead rows is reclaimed.
fn room(settings: &Settings, tables: &[Table]) -> Diagnosis {
    let subject = "autovacuum";
    if !settings.vacuums_itself {
        return Diagnosis::bad(
            Severity::Warning,
            subject,
            "off",
            "tables grow, plans get worse, and transaction ids run out; set autovacuum = on and track_counts = on, and reload the server",
        );
    }
    // Tables with several times as many dead rows as those at which autovacuum starts by default.
    let neglected = tables
        .iter()
        .find(|table| table.dead_rows > 10_000 + table.live_rows / 2);
    let Some(table) = neglected else {
        return Diagnosis::good(subject, "on, and keeps up");
    };
    let last = table
        .vacuumed_at
        .map_or("never".to_owned(), |time| format!("last at {time}"));
    Diagnosis::bad(
        Severity::Notice,
        subject,
        format!(
            "{} has {} dead rows; it was vacuumed {last}",
            table.name, table.dead_rows
        ),
        "look for old open transactions, which keep them; then vacuum",
    )
}

fn of_partitions(divided: &Divided) -> Diagnosis {
    let subject = "partitions";
    let chosen = divided.chosen();
    let last = match chosen {
        Chosen::Events(_) | Chosen::Month => "the last one",
        Chosen::Types(_) => "the last ones",
    };
    let found = format!(
        "{} {}, {last} from {} on",
        divided.partitions,
        chosen.partitions(),
        divided.first()
    );
    match chosen {
        Chosen::Month if divided.needs_another() => {
            return Diagnosis::bad(
                Severity::Warning,
                subject,
                format!("{found}, with events of a month that is over"),
                "run maintain now, and at the beginning of each month: what is appended until then stays in the partition of the month before",
            );
        }
        Chosen::Types(_) if divided.needs_another() => {
            return Diagnosis::bad(
                Severity::Notice,
                subject,
                format!("{found}, which were made before these types were chosen"),
                "run maintain: it makes those for the events to come",
            );
        }
        _ => {}
    }
    let reaches = matches!(chosen, Chosen::Events(_)) && divided.allocated >= divided.first();
    let reached = reaches.then_some(divided.allocated);
    checks::partitions(
        found,
        divided.partitions.unsigned_abs(),
        reached,
        "vacuum and maintain, which also joins old ones",
    )
}

/// An invalid index counts as missing, but has a size.
fn of_indexes(usage: Vec<IndexUsage>, counted: Duration) -> Vec<Diagnosis> {
    let is_invalid = |index: &IndexUsage| index.state == IndexState::Missing && index.bytes.is_some();
    let (invalid, usage): (Vec<_>, Vec<_>) = usage.into_iter().partition(is_invalid);
    let invalid = invalid.iter().map(|index| {
        Diagnosis::bad(
            Severity::Notice,
            format!("index {}", index.name),
            format!(
                "on {}, invalid: nothing reads it, and each write updates it",
                index.table
            ),
            format!("run REINDEX INDEX CONCURRENTLY {}", index.name),
        )
    });
    let others = indexes::diagnose(&usage, &migrate::optional_indexes(), counted > LONG_UNUSED);
    invalid.chain(others).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use time::macros::datetime;

    use super::*;

    fn settings() -> Settings {
        let now = datetime!(2025-01-15 10:30 UTC);
        Settings {
            version: "17.2".to_owned(),
            version_number: 170_002,
            now,
            asked: now,
            answered: now,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".to_owned(),
            data_checksums: true,
            checksum_failures: 0,
            is_read_only: false,
            connections: 97,
            is_encrypted: false,
            is_local: true,
            vacuums_itself: true,
            oldest_transaction: 12,
            counted_since: now - Duration::days(30),
            old_snapshots: None,
        }
    }

    #[test]
    fn transaction_ids_that_run_out_and_connections_that_are_too_few_are_warnings() {
        assert_eq!(settings().transaction_ids().severity, Severity::Good);
        let old = Settings {
            oldest_transaction: 1_500_000_000,
            ..settings()
        };
        assert_eq!(old.transaction_ids().severity, Severity::Warning);
        assert_eq!(settings().connections(97).severity, Severity::Good);
        assert_eq!(settings().connections(98).severity, Severity::Warning);
    }

    #[test]
    fn replicas_that_may_lose_appends_or_that_appends_wait_for_in_vain_are_told() {
        let told = |is_standby, replicas, synchronous, waits| {
            let topology = Topology {
                is_standby,
                replicas,
                synchronous,
                waits,
            };
            topology.replication(false).severity
        };
        assert_eq!(told(false, 0, 0, false), Severity::Good);
        assert_eq!(told(false, 2, 1, true), Severity::Good);
        assert_eq!(told(false, 2, 0, false), Severity::Notice);
        assert_eq!(told(false, 0, 0, true), Severity::Warning);
        assert_eq!(told(true, 0, 0, false), Severity::Warning);
    }

    #[test]
    fn pages_that_were_found_damaged_are_a_danger() {
        let damaged = Settings {
            checksum_failures: 2,
            ..settings()
        };
        assert!(
            settings()
                .durability()
                .iter()
                .all(|found| found.severity == Severity::Good)
        );
        assert!(
            damaged
                .durability()
                .iter()
                .any(|found| found.severity == Severity::Danger)
        );
    }

    #[test]
    fn a_transaction_that_holds_readers_back_for_long_is_named() {
        let oldest = |process, open_for| of_oldest(Some(&Writer { process, open_for }));
        assert_eq!(of_oldest(None).severity, Severity::Good);
        assert_eq!(oldest(Some(7), Some(60)).severity, Severity::Good);
        assert_eq!(
            oldest(Some(7), None).severity,
            Severity::Good,
            "nobody may see how long"
        );
        let long = oldest(Some(7), Some(61));
        assert_eq!(long.severity, Severity::Warning);
        assert!(long.advice.unwrap().contains("pg_terminate_backend(7)"));
        assert_eq!(oldest(None, None).severity, Severity::Warning);
    }

    #[test]
    fn tables_that_are_not_vacuumed_are_told() {
        let table = |dead_rows, live_rows| Table {
            name: "snapshots".to_owned(),
            size: "8 MB".to_owned(),
            estimated_rows: live_rows,
            dead_rows,
            live_rows,
            vacuumed_at: None,
            may_maintain: true,
        };
        assert_eq!(room(&settings(), &[table(10_000, 0)]).severity, Severity::Good);
        assert_eq!(room(&settings(), &[table(50_000, 100_000)]).severity, Severity::Good);
        let neglected = room(&settings(), &[table(0, 0), table(60_001, 100_000)]);
        assert_eq!(neglected.severity, Severity::Notice);
        assert!(neglected.found.contains("never"), "{}", neglected.found);
        let off = Settings {
            vacuums_itself: false,
            ..settings()
        };
        assert_eq!(room(&off, &[]).severity, Severity::Warning);
    }
}
