//! Partitions of the log: how a store gets them, and how there is always one ahead.

use std::thread;
use std::time::Duration;

use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::{Error, Partitions, Result};
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::error::{classify, driver_error, is_lock_timeout};
use crate::read;
use crate::row::{decode, integer, optional, text};
use crate::schema::{self, OPTIONAL_INDEXES, TRIGGER, giving_way, has, names, run};
use crate::session::Session;
use crate::sql::{self, Layout};
use crate::standing::Standing;
use crate::statement::{columns_of, statements};

/// Partitions the log. If it is partitioned already, records the size of later partitions.
pub(crate) fn choose(session: &mut Session<'_, Conn>, partitions: Partitions) -> Result<()> {
    let events = partitions.checked_events()?;
    refuse_in_cluster(session)?;
    match schema::layout(&names(session)?) {
        Layout::Whole => divide(session, events),
        Layout::Partitioned => choose_size(session, events),
    }
}

/// In a cluster, a statement that changes a table waits for nobody: it aborts the transactions of all nodes that use the table. And a lock on
/// a table is known to one node.
fn refuse_in_cluster(session: &Session<'_, Conn>) -> Result<()> {
    match session.server.standing {
        Standing::Node { .. } => Err(Error::invalid(
            "on a node of a Galera cluster the log is one table: to add a partition would abort the appends that run on any node",
        )),
        _ => Ok(()),
    }
}

fn choose_size(session: &mut Session<'_, Conn>, events: i64) -> Result<()> {
    let chosen = session.execute(sql::CHOOSE_PARTITIONS, vec![events.into()]);
    chosen.map(drop).map_err(classify)
}

/// Makes an empty log partitioned. The server commits each statement by itself: after a crash in the middle, the log is one table whose keys
/// are written twice, and the next call goes on from there.
fn divide(session: &mut Session<'_, Conn>, events: i64) -> Result<()> {
    let there = names(session)?;
    let keeps_keys = has(&there, "table firefly_event_keys") && missing_triggers(&there).is_empty();
    if !keeps_keys && read::end(session)? > 0 {
        return Err(has_events());
    }
    for statement in statements(sql::KEYS) {
        statement.run_if_needed(session)?;
    }
    choose_size(session, events)?;
    for (_, trigger) in missing_triggers(&there) {
        run(session, &before_gate(trigger, &there))?;
    }
    // Nobody can write events without their keys from here on.
    if !session
        .query(sql::WITHOUT_KEYS, Vec::new())
        .map_err(classify)?
        .is_empty()
    {
        undo(session)?;
        return Err(has_events());
    }
    let indexes = indexes_by_sequence(&there);
    alone_with_events(session, |session| {
        let second = read::end(session)?.as_i64() + events + 1;
        let partitioned = sql::PARTITION_EVENTS
            .replace("{indexes}", &indexes)
            .replace("{second}", &second.to_string());
        run(session, &partitioned)
    })
}

fn has_events() -> Error {
    Error::invalid(
        "the log has events and is one table: only an empty log can be partitioned; choose no partitions, or import the log into a \
         new store",
    )
}

/// The missing triggers among those that write the keys.
pub(crate) fn missing_triggers(there: &[String]) -> Vec<(&'static str, &'static str)> {
    let is_missing = |(name, _): &&(&str, &str)| !has(there, &format!("trigger {name}"));
    sql::KEEP_KEYS.iter().filter(is_missing).copied().collect()
}

/// A trigger that comes before the one of `cover_other_writers`, which looks at the version that is stored.
fn before_gate(trigger: &str, there: &[String]) -> String {
    let place = "BEFORE INSERT ON events\nFOR EACH ROW\n";
    match has(there, TRIGGER) {
        true => trigger.replace(
            place,
            "BEFORE INSERT ON events\nFOR EACH ROW PRECEDES trigger_events_gate\n",
        ),
        false => trigger.to_owned(),
    }
}

fn undo(session: &mut Session<'_, Conn>) -> Result<()> {
    for (trigger, _) in sql::KEEP_KEYS {
        run(session, &format!("DROP TRIGGER IF EXISTS {trigger}"))?;
    }
    run(session, "DROP TABLE firefly_event_keys, firefly_partitions")
}

/// The optional indexes that are there, dropped and made anew with the sequence at their end.
fn indexes_by_sequence(there: &[String]) -> String {
    let names = OPTIONAL_INDEXES.iter().map(|(name, _)| *name);
    names
        .filter(|name| has(there, &format!("index events.{name}")))
        .map(|name| {
            let columns = columns_of(name);
            format!(",\n    DROP INDEX {name},\n    ADD INDEX {name} ({columns}, global_sequence)")
        })
        .collect()
}

/// One partition, and the sequence that it ends before; none if it takes all that are to come.
struct Partition {
    name: String,
    end: Option<i64>,
}

/// How a log is divided.
pub(crate) struct Divided {
    /// How many sequences a partition is to have.
    events: i64,
    partitions: Vec<Partition>,
    /// The last sequence of the log.
    pub(crate) last: i64,
}

impl Divided {
    pub(crate) fn of(session: &mut Session<'_, Conn>) -> Result<Self> {
        let rows = session.query(sql::PARTITIONS, Vec::new()).map_err(classify)?;
        let found = decode(&rows, |row| {
            let partition = Partition {
                name: text(row, 1)?.to_owned(),
                end: text(row, 2)?.parse().ok(),
            };
            Ok((optional(row, 0, integer)?, partition, integer(row, 3)?))
        })?;
        let (events, last) = match found.last() {
            Some((Some(events), Partition { end: None, .. }, last)) => (*events, *last),
            _ => {
                return Err(altered(
                    "the last partition of events must take every sequence to come: add one VALUES LESS THAN (MAXVALUE), and keep the row \
                     of firefly_partitions",
                ));
            }
        };
        Ok(Self {
            events,
            partitions: found.into_iter().map(|(_, partition, _)| partition).collect(),
            last,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.partitions.len()
    }

    /// The first sequence of the last partition.
    pub(crate) fn first(&self) -> i64 {
        let ends = self.partitions.iter().filter_map(|partition| partition.end);
        ends.max().unwrap_or(1)
    }

    /// Whether less than a whole partition is left before the last one.
    fn needs_another(&self) -> bool {
        self.last >= self.first() - self.events
    }

    /// Ends the last partition, and begins another.
    fn split(&self) -> String {
        let cut = self.first().max(self.last + 1) + self.events;
        let last = &self.partitions[self.partitions.len() - 1].name;
        format!(
            "ALTER TABLE events REORGANIZE PARTITION {last} INTO \
             (PARTITION {last} VALUES LESS THAN ({cut}), PARTITION events_from_{cut} VALUES LESS THAN (MAXVALUE))"
        )
    }

    /// The partitions without events that the log has left behind.
    fn emptied(&self, session: &mut Session<'_, Conn>) -> Result<Vec<&str>> {
        let mut emptied = Vec::new();
        for Partition { name, end } in &self.partitions {
            if end.is_some_and(|end| end <= self.last) {
                let found = format!("SELECT 1 FROM events PARTITION ({name}) LIMIT 1");
                let found: Option<i64> = session.client.query_first(found).map_err(classify)?;
                if found.is_none() {
                    emptied.push(name.as_str());
                }
            }
        }
        Ok(emptied)
    }
}

/// What was done to the partitions of a log.
#[derive(Default)]
pub(crate) struct Changed {
    /// How many there are now.
    pub(crate) partitions: usize,
    pub(crate) added: usize,
    /// How many were without events, which are archived, and are gone.
    pub(crate) dropped: usize,
}

/// What is copied within a moment.
const FEW_EVENTS: i64 = 10_000;

/// How long to wait for another change of the schema, in seconds.
const PATIENCE: i64 = 10;

/// Makes partitions until a whole one is ahead of the log and before the last one, and drops those whose events are archived.
pub(crate) fn keep(session: &mut Session<'_, Conn>) -> Result<Changed> {
    refuse_in_cluster(session)?;
    schema::alone(session, PATIENCE, |session| giving_way(session, BRIEFLY, keep_alone))
}

fn keep_alone(session: &mut Session<'_, Conn>) -> Result<Changed> {
    let mut changed = Changed::default();
    loop {
        let divided = Divided::of(session)?;
        changed.partitions = divided.count();
        if !divided.emptied(session)?.is_empty() {
            let dropped = patiently(|| drop_emptied(session, &divided))?;
            changed.dropped += dropped;
            if dropped > 0 {
                continue;
            }
        }
        if !divided.needs_another() {
            return Ok(changed);
        }
        let copied = divided.last - divided.first();
        if copied > FEW_EVENTS {
            return Err(Error::invalid(format!(
                "the last partition has up to {copied} events by now, and appends would wait while the server copies them; when they may, \
                 run LOCK TABLES events WRITE; {}; UNLOCK TABLES; and add partitions more often than one fills",
                divided.split()
            )));
        }
        patiently(|| split(session))?;
        changed.added += 1;
    }
}

/// Ends the last partition, and begins another.
fn split(session: &mut Session<'_, Conn>) -> Result<()> {
    alone_with_events(session, |session| {
        let split = Divided::of(session)?.split();
        run(session, &split)
    })
}

/// Runs `work` while nobody else uses the log. MariaDB chooses the next sequence before `ALTER TABLE` has its lock. Without this lock, it would
/// give a sequence twice.
fn alone_with_events<R>(
    session: &mut Session<'_, Conn>,
    work: impl FnOnce(&mut Session<'_, Conn>) -> Result<R>,
) -> Result<R> {
    run(
        session,
        "LOCK TABLES events WRITE, firefly_event_keys READ, firefly_partitions READ",
    )?;
    let result = work(session);
    run(session, "UNLOCK TABLES")?;
    result
}

/// Drops partitions without events, unless somebody brought events back meanwhile; returns how many are gone.
fn drop_emptied(session: &mut Session<'_, Conn>, divided: &Divided) -> Result<usize> {
    alone_with_events(session, |session| {
        let emptied = divided.emptied(session)?;
        if !emptied.is_empty() {
            run(
                session,
                &format!("ALTER TABLE events DROP PARTITION {}", emptied.join(", ")),
            )?;
        }
        Ok(emptied.len())
    })
}

/// How long a change waits for the table, in seconds. Reads and appends queue behind it. MariaDB waits for two locks, one after the other.
const BRIEFLY: u32 = 1;

/// How often the table is asked for, and the pause in which others go on.
const MOST_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

fn patiently<R>(mut work: impl FnMut() -> Result<R>) -> Result<R> {
    for _ in 1..MOST_ATTEMPTS {
        match work() {
            Err(error) if driver_error(&error).is_some_and(is_lock_timeout) => thread::sleep(PAUSE),
            result => return result,
        }
    }
    work()
}

/// Finds the first event without its keys, and the first keys without their event.
pub(crate) fn damage(session: &mut Session<'_, Conn>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (statement, what) in [
        (
            sql::WITHOUT_KEYS,
            "an event has no keys, or those of another event, in firefly_event_keys, so that loads and appends miss it",
        ),
        (
            sql::KEYS_WITHOUT_EVENT,
            "firefly_event_keys has the keys of an event that is not there: somebody truncated, exchanged or dropped a partition",
        ),
    ] {
        let rows = session.query(statement, Vec::new()).map_err(classify)?;
        let sequences = decode(&rows, |row| integer(row, 0))?;
        found.extend(
            sequences
                .iter()
                .map(|sequence| format!("at sequence {sequence}, {what}")),
        );
    }
    Ok(found)
}
