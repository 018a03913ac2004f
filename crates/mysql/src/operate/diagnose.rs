//! Diagnoses of the server, the schema and the settings, with advice.

use std::collections::HashMap;

use firefly_eventstore_core::backend::{Columns as _, checks, indexes};
use firefly_eventstore_core::operate::{Diagnosis, IndexUsage, Severity};
use firefly_eventstore_core::{ErrorKind, Result, backend};
use mysql::Conn;
use time::OffsetDateTime;

use super::usage::{if_allowed, index_usage};
use crate::conversion::{Begun, CONVERSION};
use crate::detach::Leaving;
use crate::error::{classify, is_not_shown};
use crate::mark::{GATES, free_gates, gates};
use crate::migrate;
use crate::options::Options;
use crate::partitions::{Divided, missing_triggers};
use crate::prepared;
use crate::read;
use crate::row::{decode, integer, text, time};
use crate::schema::{self, OPTIONAL_INDEXES, TRIGGER, has};
use crate::session::Session;
use crate::sql::{self, Layout};
use crate::topology;

/// Diagnoses everything that matters to a store, without waiting for anybody.
pub(super) fn diagnose(session: &mut Session<'_, Conn>, options: &Options) -> Result<Vec<Diagnosis>> {
    let surroundings = Surroundings::of(session)?;
    let settings = Settings::of(session)?;
    let mut diagnoses = vec![
        Diagnosis::good(
            "server",
            format!("{} {}", session.server.flavour.name(), surroundings.version),
        ),
        schema(session)?,
        surroundings.clock.clone(),
    ];
    diagnoses.extend(settings.durability());
    diagnoses.extend(settings.binary_log());
    diagnoses.push(settings.writable(options.server.read_replica));
    diagnoses.push(topology(session, options)?);
    diagnoses.push(replica(session, options.server.read_replica)?);
    diagnoses.push(published(session, options)?);
    diagnoses.push(open_transactions(session)?);
    diagnoses.push(prepared(session)?);
    diagnoses.push(other_writers(session)?);
    diagnoses.extend(Begun::pending(session)?);
    diagnoses.extend(partitions(session)?);
    diagnoses.extend(leaving(session)?);
    diagnoses.extend(indexes(&index_usage(session, options.choices.indexes)?));
    diagnoses.push(settings.strictness());
    diagnoses.push(packet(session.server.packet));
    diagnoses.extend(settings.sequences());
    diagnoses.extend(settings.connections(options.server.max_connections));
    diagnoses.push(encryption(session, &surroundings)?);
    diagnoses.push(settings.time_zone());
    diagnoses.push(surroundings.character_set());
    diagnoses.push(checks::limits(&options.server.limits));
    Ok(diagnoses)
}

/// The diagnosis when the user lacks the right to ask.
fn unknown(subject: &str, right: &str) -> Diagnosis {
    Diagnosis::bad(
        Severity::Notice,
        subject,
        "the server does not show it to this user",
        format!("give it {right}, or ask as an administrator"),
    )
}

fn schema(session: &mut Session<'_, Conn>) -> Result<Diagnosis> {
    let version = migrate::version(session)?;
    checks::schema(migrate::require_current(session).map(drop), version.as_deref())
}

/// The environment of a connection.
struct Surroundings {
    version: String,
    clock: Diagnosis,
    user: String,
    character_set: String,
    collation: String,
}

impl Surroundings {
    fn of(session: &mut Session<'_, Conn>) -> Result<Self> {
        let before = OffsetDateTime::now_utc();
        let rows = session.query(sql::SURROUNDINGS, Vec::new()).map_err(classify)?;
        let after = OffsetDateTime::now_utc();
        let found = decode(&rows, |row| {
            Ok(Self {
                version: text(row, 0)?.to_owned(),
                clock: checks::clock(before, time(row, 1)?, after),
                user: text(row, 2)?.to_owned(),
                character_set: text(row, 3)?.to_owned(),
                collation: text(row, 4)?.to_owned(),
            })
        })?;
        Ok(found.into_iter().next().expect("the database that is used is there"))
    }

    /// Whether the client is on the server's machine, so that nobody can listen on the way.
    fn is_local(&self) -> bool {
        let host = self.user.rsplit('@').next().unwrap_or_default();
        host == "localhost" || host == "::1" || host.starts_with("127.")
    }

    fn character_set(&self) -> Diagnosis {
        let found = format!("{}, {}", self.character_set, self.collation);
        if self.character_set == "utf8mb4" {
            return Diagnosis::good("character set", found);
        }
        Diagnosis::bad(
            Severity::Notice,
            "character set",
            format!("tables that are made in this database without saying otherwise have {found}"),
            "ALTER DATABASE … CHARACTER SET utf8mb4, for tables of your own; those of the store say their own",
        )
    }
}

/// The global settings of a server by name, as text.
struct Settings(HashMap<String, String>);

impl Settings {
    fn of(session: &mut Session<'_, Conn>) -> Result<Self> {
        let settings = session.select(sql::SETTINGS, [], |row| {
            Ok((row.text(0)?.to_lowercase(), row.text(1)?.to_owned()))
        })?;
        Ok(Self(settings.into_iter().collect()))
    }

    /// A setting; empty if the server does not have it.
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), "ON" | "1")
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }

    fn durability(&self) -> [Diagnosis; 3] {
        let flush = "innodb_flush_log_at_trx_commit";
        let value = self.get(flush);
        let flushed = match value {
            "0" => Diagnosis::bad(
                Severity::Danger,
                flush,
                "0: commits are written once a second; a crash of the server loses those of the last second",
                "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in the server's configuration",
            ),
            "2" => Diagnosis::bad(
                Severity::Warning,
                flush,
                "2: commits are flushed once a second; a power failure loses those of the last second",
                "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in the server's configuration",
            ),
            value => Diagnosis::good(flush, format!("{value}: a commit is on the disk when it is answered")),
        };
        let value = self.get("innodb_doublewrite");
        let whole = match value.to_uppercase().as_str() {
            "OFF" | "0" | "DETECT_ONLY" => Diagnosis::bad(
                Severity::Danger,
                "innodb_doublewrite",
                format!("{value}: a page that is half written when the machine ends is lost, with its events"),
                "set innodb_doublewrite = ON in the server's configuration and restart it, unless the file system writes pages whole",
            ),
            _ => Diagnosis::good("innodb_doublewrite", value),
        };
        let value = self.get("innodb_flush_method");
        let synced = match value.to_uppercase().contains("NOSYNC") {
            true => Diagnosis::bad(
                Severity::Danger,
                "innodb_flush_method",
                format!("{value}: nothing is flushed to the disk, whatever the other settings say"),
                "take it out of the server's configuration and restart it",
            ),
            false => Diagnosis::good("innodb_flush_method", value),
        };
        [flushed, whole, synced]
    }

    fn binary_log(&self) -> Vec<Diagnosis> {
        if !self.is_on("log_bin") {
            return vec![Diagnosis::good("sync_binlog", "there is no binary log")];
        }
        let value = self.get("sync_binlog");
        let synced = match value {
            "1" => Diagnosis::good("sync_binlog", "1: the binary log has what is committed"),
            _ => Diagnosis::bad(
                Severity::Warning,
                "sync_binlog",
                format!("{value}: after a crash, the last commits may be missing in the binary log and on replicas"),
                "SET GLOBAL sync_binlog = 1, and in the server's configuration",
            ),
        };
        let format = self.get("binlog_format");
        let written = match format {
            "STATEMENT" => Diagnosis::bad(
                Severity::Danger,
                "binlog_format",
                "STATEMENT: the server refuses every append",
                "SET GLOBAL binlog_format = 'ROW', and in the server's configuration",
            ),
            _ => Diagnosis::good("binlog_format", format),
        };
        vec![synced, written]
    }

    fn writable(&self, read_replica: bool) -> Diagnosis {
        let on = ["super_read_only", "read_only"]
            .into_iter()
            .find(|name| !matches!(self.get(name), "" | "OFF" | "0")); // newer MariaDB has more than ON for it
        match on {
            None => Diagnosis::good("read_only", "the server accepts writes"),
            Some(name) if read_replica => {
                Diagnosis::good("read_only", format!("{name} is on, and the store only reads"))
            }
            Some(name) => Diagnosis::bad(
                Severity::Warning,
                "read_only",
                format!("{name} is on: nothing can be stored, unless by an administrator"),
                "connect to the primary, or turn it off if this is it",
            ),
        }
    }

    fn strictness(&self) -> Diagnosis {
        let modes = self.get("sql_mode");
        match modes.contains("STRICT_") {
            true => Diagnosis::good("sql_mode", modes),
            false => Diagnosis::bad(
                Severity::Notice,
                "sql_mode",
                format!(
                    "not strict ({modes}): the store's connections are strict; on others, values that are too long are cut off"
                ),
                "add STRICT_ALL_TABLES to sql_mode, or use only this library to write",
            ),
        }
    }

    fn sequences(&self) -> Option<Diagnosis> {
        let name = "innodb_autoinc_lock_mode";
        Some(match self.number(name)? {
            0 => Diagnosis::bad(
                Severity::Notice,
                name,
                "0: appends at the same time wait for each other's statements",
                "set innodb_autoinc_lock_mode = 2 in the server's configuration and restart it",
            ),
            mode => Diagnosis::good(name, mode.to_string()),
        })
    }

    fn connections(&self, pool: u32) -> Option<Diagnosis> {
        let of_a_user = self.number("max_user_connections").filter(|most| *most > 0);
        let most = self.number("max_connections")?.min(of_a_user.unwrap_or(u64::MAX));
        let found = format!("the server takes {most}, and this store opens up to {pool}");
        Some(match u64::from(pool) >= most {
            false => Diagnosis::good("max_connections", found),
            true => Diagnosis::bad(
                Severity::Warning,
                "max_connections",
                found,
                "raise it, or lower the store's max_connections: other programs find no connection, nor does an administrator",
            ),
        })
    }

    fn time_zone(&self) -> Diagnosis {
        let zone = match self.get("time_zone") {
            "SYSTEM" => self.get("system_time_zone"),
            zone => zone,
        };
        Diagnosis::good(
            "time_zone",
            format!("the server's is {zone}; the store's times are UTC in any"),
        )
    }
}

/// Whether the mark can be proved here, and the alternative if not.
fn topology(session: &mut Session<'_, Conn>, options: &Options) -> Result<Diagnosis> {
    let subject = "topology";
    let standing = topology::standing_of(session)?;
    let found = standing.to_string();
    let (refusal, advice) = match options.server.read_replica {
        true => (
            standing.require_order(),
            "publish the mark on the primary, and read it here",
        ),
        false => (
            standing.require_provable(options.only_writer),
            "read where events are written, or open the store with read_replica where the mark is published",
        ),
    };
    Ok(match refusal {
        Ok(()) => Diagnosis::good(subject, found),
        Err(error) => Diagnosis::bad(Severity::Danger, subject, format!("{found}: {error}"), advice),
    })
}

/// The published mark, for readers of replicas.
fn published(session: &mut Session<'_, Conn>, options: &Options) -> Result<Diagnosis> {
    let published = read::published_mark(session);
    backend::diagnose_published_mark(published, options.server.read_replica.then_some(Severity::Danger))
}

/// A mark must be proved on the server that writes: a replica has neither the writers' locks nor their uncommitted rows. A store that reads
/// up to a published mark needs neither.
fn replica(session: &mut Session<'_, Conn>, read_replica: bool) -> Result<Diagnosis> {
    let Some(rows) = if_allowed(session.query(sql::REPLICA, Vec::new()))? else {
        return Ok(unknown("replica", "REPLICATION CLIENT, or REPLICA MONITOR on MariaDB"));
    };
    let Some(row) = rows.iter().find(|row| topology::replicates(row)) else {
        return Ok(Diagnosis::good("replica", "the server replicates no other"));
    };
    let of = |name: &str| row.get_opt::<Option<String>, _>(name).and_then(Result::ok).flatten();
    let source = of("Source_Host").or_else(|| of("Master_Host")).unwrap_or_default();
    let found = format!("the server is a replica of {source}");
    Ok(match read_replica {
        true => Diagnosis::good("replica", found),
        false => Diagnosis::bad(
            Severity::Warning,
            "replica",
            format!("{found}: a reader here can skip events that are committed late"),
            "follow the log on the primary",
        ),
    })
}

/// How many seconds a transaction may be open before it is reported.
const LONG_OPEN: i64 = 10;

fn open_transactions(session: &mut Session<'_, Conn>) -> Result<Diagnosis> {
    let subject = "open transactions";
    let rows = match session.query(sql::OPEN_TRANSACTIONS, vec![LONG_OPEN.into()]) {
        Err(error) if is_not_shown(&error) => {
            return Ok(Diagnosis::bad(
                Severity::Notice,
                subject,
                "MySQL does not tell while a statement is at work, or waits, that has a binary value, such as an id, in its first 1,024 bytes",
                "ask again",
            ));
        }
        rows => if_allowed(rows)?,
    };
    let Some(rows) = rows else {
        return Ok(unknown(subject, "PROCESS"));
    };
    let open = decode(&rows, |row| {
        Ok(format!("connection {} for {} s", integer(row, 0)?, integer(row, 1)?))
    })?;
    if open.is_empty() {
        return Ok(Diagnosis::good(
            subject,
            format!("none holds locks for {LONG_OPEN} seconds or more"),
        ));
    }
    let Some(free) = if_allowed(free_gates(session, &gates()))? else {
        return Ok(unknown(subject, "UPDATE on firefly_gate"));
    };
    let open = open.join(", ");
    Ok(match usize::from(GATES).saturating_sub(free.len()) {
        0 => Diagnosis::bad(
            Severity::Notice,
            subject,
            format!("these have held locks for long, though not those of an append: {open}"),
            "end transactions soon; what they have locked, others wait for",
        ),
        held => Diagnosis::bad(
            Severity::Warning,
            subject,
            format!("{held} gates are held now, and these have held locks for long: {open}"),
            "end transactions soon: while a transaction that appended is open, readers do not see later events",
        ),
    })
}

fn prepared(session: &mut Session<'_, Conn>) -> Result<Diagnosis> {
    let subject = "prepared XA transactions";
    Ok(match prepared::told(session)? {
        None => unknown(subject, "XA_RECOVER_ADMIN"),
        Some(0) => Diagnosis::good(subject, "none"),
        Some(count) => Diagnosis::bad(
            Severity::Warning,
            subject,
            format!(
                "{count}, of any database of the server: if one has appended, what comes after is read only when it ends"
            ),
            "XA RECOVER names them: have their coordinator end each, or XA COMMIT or XA ROLLBACK it",
        ),
    })
}

fn other_writers(session: &mut Session<'_, Conn>) -> Result<Diagnosis> {
    let subject = "other writers";
    Ok(match has(&schema::names(session)?, TRIGGER) {
        true => Diagnosis::good(
            subject,
            "covered by trigger_events_gate: readers do not skip their events",
        ),
        false if !sees_triggers(session)? => unknown(subject, SEE_TRIGGERS),
        false => Diagnosis::bad(
            Severity::Notice,
            subject,
            "readers may skip what programs without this library insert",
            "if there are such programs, migrate with cover_other_writers(true)",
        ),
    })
}

fn partitions(session: &mut Session<'_, Conn>) -> Result<Vec<Diagnosis>> {
    let subject = "partitions";
    let names = schema::names(session)?;
    if session.server.layout == Layout::Whole {
        let is_begun = has(&names, "table firefly_event_keys") && !has(&names, CONVERSION);
        return Ok(is_begun.then(|| unfinished_partitions(subject)).into_iter().collect());
    }
    let divided = match Divided::of(session) {
        Err(error) if matches!(error.kind(), ErrorKind::Schema(_)) => {
            let advice = "events may find no partition, and are refused then: restore what is missing";
            return Ok(vec![Diagnosis::bad(
                Severity::Danger,
                subject,
                error.to_string(),
                advice,
            )]);
        }
        divided => divided?,
    };
    let (first, count) = (divided.first(), divided.count());
    let found = format!("{count}, the last one from {first} on");
    let reached = (divided.last >= first).then_some(divided.last);
    Ok(vec![
        checks::partitions(found, count as u64, reached, "maintain"),
        keys(session, &names)?,
    ])
}

fn unfinished_partitions(subject: &str) -> Diagnosis {
    Diagnosis::bad(
        Severity::Notice,
        subject,
        "the log is one table, and keys are written beside it: a migration that was to partition it was cut off",
        "migrate with partitions(…) again",
    )
}

/// The right to see the triggers of events.
const SEE_TRIGGERS: &str = "TRIGGER on events";

/// Whether the server shows the triggers of events to this user. If it has the right by a role only, this is unknown, and false.
fn sees_triggers(session: &mut Session<'_, Conn>) -> Result<bool> {
    Ok(session.select(sql::SEES_TRIGGERS, [], |row| row.integer(0))? == [1])
}

/// Whether the triggers are there that write the keys of events.
fn keys(session: &mut Session<'_, Conn>, names: &[String]) -> Result<Diagnosis> {
    let subject = "keys of events";
    let missing: Vec<&str> = missing_triggers(names).into_iter().map(|(name, _)| name).collect();
    if missing.is_empty() {
        return Ok(Diagnosis::good(subject, "triggers write them, whoever writes events"));
    }
    // Either all are missing, or the server shows none to this user.
    if missing.len() == sql::KEEP_KEYS.len() && !sees_triggers(session)? {
        return Ok(unknown(subject, SEE_TRIGGERS));
    }
    Ok(Diagnosis::bad(
        Severity::Danger,
        subject,
        format!(
            "the triggers {} are missing: appends are refused, or events are stored without keys",
            missing.join(", ")
        ),
        "make them again as sql/mysql/partitions has them, then verify the storage",
    ))
}

/// Events that are leaving the log with their partition.
fn leaving(session: &mut Session<'_, Conn>) -> Result<Option<Diagnosis>> {
    if session.server.layout == Layout::Whole {
        return Ok(None);
    }
    let told = Leaving::find(session)?.map(|leaving| {
        let left = leaving
            .has_left
            .then_some("their keys in firefly_event_keys are not deleted yet");
        checks::leaving(leaving.first, leaving.last, leaving.location.as_deref(), left)
    });
    Ok(told)
}

fn indexes(usage: &[IndexUsage]) -> Vec<Diagnosis> {
    let mut diagnoses = indexes::diagnose(usage, OPTIONAL_INDEXES, true);
    if usage.iter().all(|index| index.scans.is_none()) {
        diagnoses.push(Diagnosis::bad(
            Severity::Notice,
            "unused indexes",
            "the server does not count how often indexes are read, or does not tell this user",
            "set performance_schema = ON in its configuration and restart it, or give the user SELECT on performance_schema",
        ));
    }
    diagnoses
}

/// What a server of today takes at least.
const SMALL_PACKET: usize = 16 << 20;

fn packet(bytes: usize) -> Diagnosis {
    let found = format!("{bytes} bytes");
    match bytes < SMALL_PACKET {
        false => Diagnosis::good("max_allowed_packet", found),
        true => Diagnosis::bad(
            Severity::Notice,
            "max_allowed_packet",
            format!("{found}: larger events are refused, and large batches take several statements"),
            "set max_allowed_packet = 64M in the server's configuration, and in the URL if it is there",
        ),
    }
}

fn encryption(session: &mut Session<'_, Conn>, surroundings: &Surroundings) -> Result<Diagnosis> {
    let ciphers = session.select(sql::ENCRYPTION, [], |row| Ok(row.text(1)?.to_owned()))?;
    let cipher = ciphers.iter().find(|cipher| !cipher.is_empty()).map(String::as_str);
    Ok(checks::encryption(
        cipher,
        surroundings.is_local(),
        "root_cert_path=FILE",
    ))
}
