//! Partitions of the log: how a store gets them, and how there is always one ahead.

use std::time::Duration;

use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::backend::{Columns as _, Patience};
use firefly_eventstore_core::{Error, Partitions, Result};
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::conversion::CONVERSION;
use crate::error::{classify, is_held};
use crate::migrations::{columns_of, statements};
use crate::read;
use crate::row::{decode, integer, optional, text};
use crate::schema::{self, OPTIONAL_INDEXES, TRIGGER, giving_way, has, names, run};
use crate::session::{Flavour, Session};
use crate::sql::{self, Layout};
use crate::standing::Standing;

/// Partitions the log. If it is partitioned already, records the size of later partitions.
pub(crate) fn choose(session: &mut Session<'_, Conn>, partitions: &Partitions) -> Result<()> {
    let events = partitions.checked_events()?;
    refuse_in_cluster(session)?;
    let there = names(session)?;
    match schema::layout(&there) {
        Layout::Whole if has(&there, CONVERSION) => Err(Error::invalid(
            "the log is being converted, or the conversion was interrupted: call convert_to_partitions or convert_to_one_table, which \
             continues",
        )),
        Layout::Whole => divide(session, events),
        Layout::Partitioned => choose_size(session, events),
    }
}

/// In a cluster, a statement that changes a table waits for nobody: it aborts the transactions of all nodes that use the table. And a lock on
/// a table is known to one node.
pub(crate) fn refuse_in_cluster(session: &Session<'_, Conn>) -> Result<()> {
    match session.server.standing {
        Standing::Node { .. } => Err(Error::invalid(
            "on a node of a Galera cluster the log is one table: to add a partition would abort the appends that run on any node",
        )),
        _ => Ok(()),
    }
}

pub(crate) fn choose_size(session: &mut Session<'_, Conn>, events: i64) -> Result<()> {
    let chosen = session.execute(sql::CHOOSE_PARTITIONS, vec![events.into()]);
    chosen.map(drop).map_err(classify)
}

/// Makes an empty log partitioned. The server commits each statement by itself: after a crash in the middle, the log is one table whose keys
/// are written twice, and the next call goes on from there. Only if MariaDB dies within the last statement, it may not be able to open the
/// table any more, which has no events.
fn divide(session: &mut Session<'_, Conn>, events: i64) -> Result<()> {
    let there = names(session)?;
    let keeps_keys = has(&there, "table firefly_event_keys") && missing_triggers(&there).is_empty();
    if !keeps_keys && read::end(session)? > 0 {
        return Err(has_events());
    }
    for statement in statements(sql::KEYS) {
        statement.run_if_needed(session, &there)?;
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
    alone_with_events(session, |session| {
        let second = read::end(session)?.as_i64().checked_add(events + 1);
        let second = second
            .ok_or_else(|| Error::invalid("no sequences are left for a second partition: choose fewer events"))?;
        run(session, &partitioned("events", &there, &[second]))
    })
}

fn has_events() -> Error {
    Error::invalid(
        "the log has events and is one table, and a migration partitions only an empty one: choose no partitions, or divide the log by \
         convert_to_partitions",
    )
}

/// The statement that partitions a table like events with the indexes that are there. Each partition but the last ends before one of these
/// sequences.
pub(crate) fn partitioned(table: &str, there: &[String], ends: &[i64]) -> String {
    let starts = [1].into_iter().chain(ends.iter().copied());
    let ends = ends.iter().copied().map(Some).chain([None]);
    let partitions: Vec<String> = starts.zip(ends).map(|(start, end)| definition(start, end)).collect();
    sql::PARTITION_EVENTS
        .replace("{table}", table)
        .replace("{indexes}", &indexes_by_sequence(there))
        .replace("{partitions}", &partitions.join(",\n    "))
}

/// A partition from a sequence, and before another one, if it does not take all that are to come.
///
/// Its name tells both. So no partition has the name of one that it replaces. If it had, MariaDB would first make it with another name, and
/// could not open the table any more if it died before the name was changed.
fn definition(start: i64, end: Option<i64>) -> String {
    let start = start.max(1);
    match end {
        Some(end) => format!("PARTITION events_from_{start}_to_{} VALUES LESS THAN ({end})", end - 1),
        None => format!("PARTITION events_from_{start} VALUES LESS THAN (MAXVALUE)"),
    }
}

/// Drops a table, if it is there, which may be partitioned.
///
/// If a MariaDB server dies while it drops one, partitions may remain that belong to no table, and no other table could have such partitions.
pub(crate) fn drop_table(session: &mut Session<'_, Conn>, table: &str) -> Result<()> {
    run(session, &format!("DROP TABLE IF EXISTS {table}"))?;
    let remains: Vec<String> = match session.server.flavour {
        Flavour::Mariadb => session.select(sql::REMAINS_OF_TABLE, [table.into()], |row| Ok(row.text(0)?.to_owned()))?,
        Flavour::Mysql => Vec::new(),
    };
    // The prefix says that the name is that of a file.
    let drop = |partition| run(session, &format!("DROP TABLE IF EXISTS `#mysql50#{partition}`"));
    remains.iter().try_for_each(drop)
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
    run(
        session,
        "DROP TABLE firefly_event_keys, firefly_partitions, firefly_leaving",
    )
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

/// One partition.
pub(crate) struct Partition {
    pub(crate) name: String,
    /// Its first possible sequence.
    pub(crate) start: i64,
    /// The sequence that it ends before; none if it takes all that are to come.
    pub(crate) end: Option<i64>,
}

/// How a log is divided.
pub(crate) struct Divided {
    table: &'static str,
    /// How many sequences a partition is to have.
    pub(crate) events: i64,
    pub(crate) partitions: Vec<Partition>,
    /// The last sequence of the log.
    pub(crate) last: i64,
}

impl Divided {
    pub(crate) fn of(session: &mut Session<'_, Conn>) -> Result<Self> {
        Self::of_table(session, "events")
    }

    pub(crate) fn of_table(session: &mut Session<'_, Conn>, table: &'static str) -> Result<Self> {
        let rows = session.query(sql::PARTITIONS, vec![table.into()]).map_err(classify)?;
        let mut start = 0;
        let found = decode(&rows, |row| {
            let end = text(row, 2)?.parse().ok();
            let partition = Partition {
                name: text(row, 1)?.to_owned(),
                start,
                end,
            };
            start = end.unwrap_or(start);
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
            table,
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
    pub(crate) fn needs_another(&self) -> bool {
        self.last >= self.first() - self.events
    }

    /// How many events the last partition may have, which a split copies.
    fn copied(&self) -> i64 {
        self.last - self.first()
    }

    /// Whether a split copies what takes longer than a moment.
    pub(crate) fn is_split_slowly(&self) -> bool {
        self.copied() > FEW_EVENTS
    }

    /// Ends the last partition, and begins another. `None` if no sequences are left for another.
    pub(crate) fn split(&self) -> Option<String> {
        let cut = self.last.checked_add(1)?.max(self.first()).checked_add(self.events)?;
        let last = self.partitions.last()?;
        Some(format!(
            "ALTER TABLE {} REORGANIZE PARTITION {} INTO ({}, {})",
            self.table,
            last.name,
            definition(last.start, Some(cut)),
            definition(cut, None)
        ))
    }

    /// The first neighbours without events that the log has left behind, two at least; none if there are no two.
    ///
    /// They are joined, not dropped. A transaction with an older snapshot, which may still see events there, is refused by the server, because
    /// the joined partition is newer than its snapshot (error 1412). If they were dropped, it would miss these events and not know.
    fn emptied(&self, session: &mut Session<'_, Conn>) -> Result<&[Partition]> {
        let passed = self.partitions.iter();
        let passed = passed.take_while(|partition| partition.end.is_some_and(|end| end <= self.last));
        let (mut begin, mut end) = (0, 0);
        for (place, partition) in passed.enumerate() {
            match is_empty(session, partition)? {
                true => end = place + 1,
                false if end - begin >= 2 => break,
                false => (begin, end) = (place + 1, place + 1),
            }
        }
        match end - begin {
            2.. => Ok(&self.partitions[begin..end]),
            _ => Ok(&[]),
        }
    }
}

/// Whether a partition has no events.
pub(crate) fn is_empty(session: &mut Session<'_, Conn>, partition: &Partition) -> Result<bool> {
    let found = format!("SELECT 1 FROM events PARTITION ({}) LIMIT 1", partition.name);
    let found: Option<i64> = session.client.query_first(found).map_err(classify)?;
    Ok(found.is_none())
}

/// What was done to the partitions of a log.
#[derive(Default)]
pub(crate) struct Changed {
    /// How many there are now.
    pub(crate) partitions: usize,
    pub(crate) added: usize,
    /// How many without events, which are archived, were joined to another.
    pub(crate) joined: usize,
}

/// What is copied within a moment.
const FEW_EVENTS: i64 = 10_000;

/// How long to wait for another change of the schema, in seconds.
pub(crate) const PATIENCE: i64 = 10;

/// Makes partitions until a whole one is ahead of the log and before the last one, and joins those whose events are archived.
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
            let joined = patiently(|| join_emptied(session))?;
            changed.joined += joined;
            if joined > 0 {
                continue;
            }
        }
        if !divided.needs_another() {
            return Ok(changed);
        }
        let Some(statement) = divided.split() else {
            return Ok(changed); // the last partition has all sequences that are left
        };
        if divided.is_split_slowly() {
            return Err(Error::invalid(format!(
                "the last partition has up to {} events by now, and appends would wait while the server copies them; when they may, \
                 run LOCK TABLES events WRITE; {statement}; UNLOCK TABLES; and add partitions more often than one fills",
                divided.copied()
            )));
        }
        patiently(|| split(session))?;
        changed.added += 1;
    }
}

/// Ends the last partition, and begins another.
fn split(session: &mut Session<'_, Conn>) -> Result<()> {
    alone_with_events(session, |session| match Divided::of(session)?.split() {
        Some(split) => run(session, &split),
        None => Ok(()),
    })
}

/// Runs `work` while nobody else uses the log. MariaDB chooses the next sequence before `ALTER TABLE` has its lock. Without this lock, it would
/// give a sequence twice.
pub(crate) fn alone_with_events<R>(
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

/// Joins neighbours without events to one partition, unless somebody brought events back meanwhile. Returns how many are gone.
fn join_emptied(session: &mut Session<'_, Conn>) -> Result<usize> {
    alone_with_events(session, |session| {
        let divided = Divided::of(session)?;
        let emptied = divided.emptied(session)?;
        let [first, .., last] = emptied else { return Ok(0) };
        let names: Vec<&str> = emptied.iter().map(|one| one.name.as_str()).collect();
        let joined = format!(
            "ALTER TABLE events REORGANIZE PARTITION {} INTO ({})",
            names.join(", "),
            definition(first.start, last.end)
        );
        run(session, &joined)?;
        Ok(names.len() - 1)
    })
}

/// How long a change waits for the table, in seconds. Reads and appends queue behind it. MariaDB waits for two locks, one after the other.
pub(crate) const BRIEFLY: u32 = 1;

/// How often the table is asked for. Others go on during the pauses.
const ATTEMPTS: Patience = Patience::new(5, Duration::from_secs(1));

/// Repeats a step that did not get a lock in time, or was the victim of a deadlock.
pub(crate) fn patiently<R>(work: impl FnMut() -> Result<R>) -> Result<R> {
    ATTEMPTS.repeat(is_held, work)
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

#[cfg(test)]
mod tests {
    use super::{Divided, Partition};

    #[test]
    fn no_partition_has_the_name_of_one_that_it_replaces() {
        let mut divided = Divided {
            table: "events",
            events: 10,
            partitions: vec![Partition {
                name: "events_from_1".to_owned(),
                start: 0,
                end: None,
            }],
            last: 0,
        };
        assert_eq!(
            divided.split().as_deref(),
            Some(
                "ALTER TABLE events REORGANIZE PARTITION events_from_1 INTO (PARTITION events_from_1_to_10 VALUES LESS THAN (11), \
                 PARTITION events_from_11 VALUES LESS THAN (MAXVALUE))"
            )
        );
        divided.last = i64::MAX;
        assert_eq!(divided.split(), None);
    }
}
