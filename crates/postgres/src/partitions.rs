//! Partitions of the log: how a log is partitioned, and how empty partitions are kept ready.

use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::{Error, Partitions, Result};
use postgres::{Client, Transaction};
use time::{OffsetDateTime, UtcOffset};

use crate::conversion::{State, recorded};
use crate::error::classify;
use crate::lock::{BRIEFLY, patiently};
use crate::pool::Connection;
use crate::row::{decode, get};
use crate::session::{Session, run};
use crate::sql;

/// Partitions an empty log. If the log is partitioned already, records the choice for later partitions.
pub(crate) fn choose(connection: &mut Connection, partitions: Partitions) -> Result<()> {
    to_record(partitions)?;
    let state = State::of(&mut connection.session())?;
    if state.is_partitioned {
        return choose_again(connection, partitions).map(drop);
    }
    match state.begun {
        None => divide(connection, partitions),
        Some(_) => Err(is_one_table()),
    }
}

/// Records another choice for the later partitions of a partitioned log. Returns false if it is the same.
pub(crate) fn choose_again(connection: &mut Connection, partitions: Partitions) -> Result<bool> {
    let events = to_record(partitions)?;
    let chosen = connection.session().execute(sql::CHOOSE_PARTITIONS, &[&events]);
    chosen.map(|changed| changed > 0).map_err(classify)
}

/// A choice as the database records it: how many sequences a partition has, or `None` for a partition each month.
pub(crate) fn to_record(partitions: Partitions) -> Result<Option<i64>> {
    partitions.events().map(|_| partitions.checked_events()).transpose()
}

/// Partitions an empty log, in one transaction.
fn divide(connection: &mut Connection, partitions: Partitions) -> Result<()> {
    let events = to_record(partitions)?;
    let mut transaction = connection.client.transaction().map_err(classify)?;
    run(&mut transaction, "LOCK TABLE events IN ACCESS EXCLUSIVE MODE")?;
    let found = transaction.query(sql::LAST_SEQUENCES, &[]).map_err(classify)?;
    let found = decode(&found, |row| Ok((get::<i64>(row, 0)?, get::<i64>(row, 1)?)))?;
    let (last, allocated) = found.into_iter().next().expect("an aggregate query returns one row");
    if last > 0 {
        return Err(is_one_table());
    }
    run(&mut transaction, sql::INDEX_STREAMS)?;
    run(&mut transaction, sql::KEEP_KEYS)?;
    transaction
        .execute(sql::BEGIN_CONVERSION, &[&events, &events.is_none()])
        .map_err(classify)?;
    run(&mut transaction, sql::MAKE_SUMMARIES)?;
    run(&mut transaction, sql::TAKE_SUMMARIES)?;
    let bound = events.map(|events| allocated + events + 1);
    partition_events(&mut transaction, bound, partitions)?;
    run(&mut transaction, sql::FORGET_OWN_KEYS)?;
    run(&mut transaction, sql::OWN_SEQUENCE)?;
    transaction.execute(sql::FINISH_CONVERSION, &[]).map_err(classify)?;
    transaction.commit().map_err(classify)
}

fn is_one_table() -> Error {
    Error::invalid(
        "the log has events, or is being converted, and is one table: convert it with PostgresBuilder::convert_to_partitions, while \
         programs go on, or choose no partitions",
    )
}

/// Makes the table of events, whose keys are in another table, the first partition of a new table, which takes its name. The second partition
/// begins at the bound. Without a bound there is none.
pub(crate) fn partition_events(
    transaction: &mut Transaction<'_>,
    bound: Option<i64>,
    partitions: Partitions,
) -> Result<()> {
    let events = to_record(partitions)?;
    let bound = bound.map_or("NULL".to_owned(), |bound| bound.to_string());
    take_name(transaction, |transaction| {
        run(transaction, &sql::PARTITION_EVENTS.replace("$1", &bound))?;
        let chosen = transaction.execute(sql::CHOOSE_PARTITIONS, &[&events]);
        chosen.map(drop).map_err(classify)
    })
}

/// Gives the name of the table of events to another table. Records the previous table, so that open stores continue.
pub(crate) fn take_name(
    transaction: &mut Transaction<'_>,
    take: impl FnOnce(&mut Transaction<'_>) -> Result<()>,
) -> Result<()> {
    let former = transaction
        .query("SELECT 'events'::regclass::oid", &[])
        .map_err(classify)?;
    let former = decode(&former, |row| get::<u32>(row, 0))?;
    take(transaction)?;
    let noted = transaction.execute(sql::SWAP_CONVERSION, &[&former[0]]);
    noted.map(drop).map_err(classify)
}

/// The division of a log, with its last partition.
pub(crate) struct Divided {
    /// How many sequences a new partition has, or `None` if each month gets one.
    events: Option<i64>,
    pub(crate) partitions: i64,
    /// How many empty partitions, which the log has passed, follow another empty one.
    mergeable: i64,
    /// The quoted name.
    name: String,
    /// The first sequence of the last partition. The only partition has none.
    first: Option<i64>,
    bytes: i64,
    /// The bound that an interrupted call was about to set.
    bound: Option<i64>,
    /// The last allocated sequence.
    pub(crate) allocated: i64,
    /// Since when the last partition has had events, or `None` if it has none.
    filled_since: Option<OffsetDateTime>,
    /// The time by the clock of the database.
    now: OffsetDateTime,
}

impl Divided {
    pub(crate) fn of(session: &mut Session<'_, Client>) -> Result<Self> {
        let divided = session.select(sql::PARTITIONS, &[], |row| {
            Ok(Self {
                events: get(row, 0)?,
                partitions: get(row, 1)?,
                mergeable: get(row, 2)?,
                name: get(row, 3)?,
                first: get(row, 4)?,
                bytes: get(row, 5)?,
                bound: get(row, 6)?,
                allocated: get(row, 7)?,
                filled_since: get(row, 8)?,
                now: get(row, 9)?,
            })
        })?;
        let none = || {
            altered(
                "no partition of events takes every sequence to come: attach one FOR VALUES FROM (…) TO (MAXVALUE), and keep the row of \
                 firefly_partitions",
            )
        };
        divided.into_iter().next().ok_or_else(none)
    }

    pub(crate) fn chosen(&self) -> Partitions {
        recorded(self.events)
    }

    /// The first sequence that the last partition can have.
    pub(crate) fn first(&self) -> i64 {
        self.first.unwrap_or(1)
    }

    /// Whether there is less than a whole partition before the last one, or whether the last one has the events of a month that is over.
    pub(crate) fn needs_another(&self) -> bool {
        match self.events {
            Some(events) => self.allocated >= self.first() - events,
            None => self.filled_since.is_some_and(|since| is_over(since, self.now)),
        }
    }

    /// The sequence at which a little last partition is to be split: `None` for the next one that is allocated.
    fn cut(&self) -> Option<i64> {
        self.events.map(|events| self.first().max(self.allocated + 1) + events)
    }

    /// How many events may be appended while a large last partition is read, which takes the longer the more events it has. They stay in it,
    /// which matters for months: a thirtieth is about one day.
    fn margin(&self) -> i64 {
        match self.events {
            Some(events) => events.max(APPENDED_MEANWHILE),
            None => ((self.allocated - self.first()) / 30).clamp(LEAST_MEANWHILE, APPENDED_MEANWHILE),
        }
    }
}

/// Whether the calendar month is over in which a partition got its first event.
///
/// Clocks go wrong. If the clock is set back from the first of a month to the last of the one before, the partition keeps its month. If it is
/// more than a month behind the partition, it was ahead before, and the partition does not wait for that time.
fn is_over(since: OffsetDateTime, now: OffsetDateTime) -> bool {
    let month = |time: OffsetDateTime| {
        let time = time.to_offset(UtcOffset::UTC);
        time.year() * 12 + i32::from(u8::from(time.month()))
    };
    !(0..=1).contains(&(month(since) - month(now)))
}

/// A table up to this size is read while others wait, which takes a few milliseconds.
pub(crate) const LITTLE_BYTES: i64 = 8 << 20;

/// How many events may be appended while a larger table is read.
pub(crate) const APPENDED_MEANWHILE: i64 = 1_000_000;

/// The same for the partition of a month, at least.
const LEAST_MEANWHILE: i64 = 10_000;

/// How often that number is doubled if more were appended.
const MOST_DOUBLINGS: u32 = 10;

/// The changes to the partitions of a log.
#[derive(Default)]
pub(crate) struct Changed {
    /// The number of partitions now.
    pub(crate) partitions: i64,
    pub(crate) added: u64,
    /// How many empty partitions were merged into others.
    pub(crate) merged: i64,
}

/// Adds partitions until a whole one is ahead of the log and before the last one, or one for the month. Merges empty ones.
pub(crate) fn keep(session: &mut Session<'_, Client>) -> Result<Changed> {
    let mut changed = Changed::default();
    let mut failed = 0;
    loop {
        let divided = Divided::of(session)?;
        changed.partitions = divided.partitions;
        if divided.mergeable > 0 {
            let merged = merge(session)?;
            changed.merged += merged;
            if merged > 0 {
                continue;
            }
        }
        if !divided.needs_another() {
            return Ok(changed);
        }
        let cut = match divided.bytes {
            ..=LITTLE_BYTES => divided.cut(),
            _ => Some(bounded(session, &divided, failed)?),
        };
        match split(session, cut, &divided.name)? {
            true => changed.added += 1,
            false => failed = MOST_DOUBLINGS.min(failed + 1),
        }
    }
}

/// Splits the last partition, which has this name. Returns false if another process did, or if the sequence is allocated by now.
fn split(session: &mut Session<'_, Client>, cut: Option<i64>, name: &str) -> Result<bool> {
    patiently(session.client, |transaction| {
        run(transaction, BRIEFLY)?;
        let split = transaction
            .query(sql::SPLIT_PARTITION, &[&cut, &name])
            .map_err(classify)?;
        Ok(decode(&split, |row| get::<bool>(row, 0))? == [true])
    })
}

/// Merges empty partitions, and returns how many fewer there are.
fn merge(session: &mut Session<'_, Client>) -> Result<i64> {
    patiently(session.client, |transaction| {
        run(transaction, BRIEFLY)?;
        let merged = transaction.query(sql::MERGE_PARTITIONS, &[]).map_err(classify)?;
        let merged = decode(&merged, |row| get::<i64>(row, 0))?;
        Ok(merged.into_iter().sum())
    })
}

/// Checks, while others append, that no event of a large last partition is beyond a bound. Then the partition can be split without being
/// read. The check of an earlier call is used unless appends have nearly reached its bound.
fn bounded(session: &mut Session<'_, Client>, divided: &Divided, doublings: u32) -> Result<i64> {
    let name = &divided.name;
    let from = divided
        .first
        .map_or(String::new(), |first| format!("global_sequence >= {first} AND "));
    let margin = divided.margin().saturating_mul(1 << doublings);
    let left = divided.bound.filter(|bound| *bound > divided.allocated + margin / 2);
    let cut = left.unwrap_or(divided.allocated + 1 + margin);
    if left.is_none() {
        let bound = format!(
            "ALTER TABLE {name} DROP CONSTRAINT IF EXISTS firefly_bound, ADD CONSTRAINT firefly_bound \
             CHECK ({from}global_sequence < {cut}) NOT VALID"
        );
        patiently(session.client, |transaction| {
            run(transaction, BRIEFLY)?;
            run(transaction, &bound)
        })?;
    }
    run(
        session.client,
        &format!("ALTER TABLE {name} VALIDATE CONSTRAINT firefly_bound"),
    )?;
    Ok(cut)
}

/// Makes the index on streams in a log that was partitioned before there was one. Returns false if there is one. Others go on, but it waits for
/// transactions with an older snapshot.
pub(crate) fn index_streams(session: &mut Session<'_, Client>) -> Result<bool> {
    if session.select(sql::STREAM_INDEX, &[], |row| get::<bool>(row, 0))? == [true] {
        return Ok(false);
    }
    let on_the_whole = sql::INDEX_STREAMS
        .replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS")
        .replace("ON events", "ON ONLY events");
    briefly(session.client, &on_the_whole)?;
    let lacking = session.select(sql::PARTITIONS_WITHOUT_STREAM_INDEX, &[], |row| {
        Ok((get::<String>(row, 0)?, get::<String>(row, 1)?))
    })?;
    // The index of all becomes valid once every partition has its own.
    for (partition, index) in lacking {
        // An earlier call was cut off while it built this.
        briefly(session.client, &format!("DROP INDEX IF EXISTS {index}"))?;
        let build = format!("CREATE INDEX CONCURRENTLY {index} ON {partition} (aggregate_id, global_sequence)");
        run(session.client, &build)?;
        let attach = format!("ALTER INDEX idx_events_stream ATTACH PARTITION {index}");
        briefly(session.client, &attach)?;
    }
    Ok(true)
}

/// Runs statements in a transaction that waits only briefly for locks.
fn briefly(client: &mut Client, statements: &str) -> Result<()> {
    patiently(client, |transaction| {
        run(transaction, BRIEFLY)?;
        run(transaction, statements)
    })
}

/// The partitions with events.
pub(crate) fn filled(session: &mut Session<'_, Client>) -> Result<Vec<String>> {
    session.select(sql::FILLED_PARTITIONS, &[], |row| get(row, 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use firefly_eventstore_core::backend::Sql;
    use firefly_eventstore_test_servers::postgres_unless_missing;
    use postgres::NoTls;

    use super::*;
    use crate::PostgresEventStore;
    use crate::sql::Layout;

    const AGGREGATE: &str = "00000001-0000-7000-9000-000000000001";

    /// 20 events in each aggregate. The aggregates take turns.
    const FILL: &str = "
        INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
        SELECT
            gen_random_uuid(),
            (lpad(to_hex(n % 600), 8, '0') || '-0000-7000-9000-' || lpad(to_hex(n % 600), 12, '0'))::uuid,
            'Aggregate',
            1 + n / 600,
            'event.' || n % 100,
            jsonb_build_object('amount', n)
        FROM generate_series(0, 11999) AS n";

    /// Each statement that finds events by their keys, with values, and how often it looks into a partition at most: once for each event.
    /// The first ones look once into each partition that has some of the events.
    const STATEMENTS: &[(&str, &str, i64)] = &[
        (sql::LOAD_IN_PARTITIONS, "'AGGREGATE', 3, 7, NULL", 4),
        (sql::LOAD_IN_PARTITIONS, "'AGGREGATE', 3, 7, 2", 2),
        (sql::LOAD_IN_PARTITIONS, "'AGGREGATE', 1, 100, NULL", 12),
        (sql::LOAD_IN_PARTITIONS, "'AGGREGATE', 21, 100, NULL", 0),
        (sql::LOAD_BACKWARDS_IN_PARTITIONS, "'AGGREGATE', 3, 7, NULL", 4),
        (sql::LOAD_BACKWARDS_IN_PARTITIONS, "'AGGREGATE', 3, 7, 2", 2),
        (sql::LOAD_BACKWARDS_IN_PARTITIONS, "'AGGREGATE', 1, 100, 1", 1),
        (
            sql::LOAD_FROM_SNAPSHOT_IN_PARTITIONS,
            "'AGGREGATE', 'Aggregate', NULL, 1, 100, NULL",
            12,
        ),
        (sql::LOAD, "'AGGREGATE', 3, 7, NULL", 5),
        (sql::LOAD, "'AGGREGATE', 3, 7, 2", 2),
        (sql::LOAD_BACKWARDS, "'AGGREGATE', 3, 7, NULL", 5),
        (sql::LOAD_BACKWARDS, "'AGGREGATE', 3, 7, 2", 2),
        (
            sql::LOAD_FROM_SNAPSHOT,
            "'AGGREGATE', 'Aggregate', NULL, 1, 100, NULL",
            20,
        ),
        (sql::shared(Sql::VersionAtTime), "'AGGREGATE', now()", 20),
        (sql::LOCATE, "array_fill('AGGREGATE'::uuid, ARRAY[100])", 0),
        (sql::AGGREGATE_SUMMARIES, "2", 100),
        (sql::HEAD, "array_fill('AGGREGATE'::uuid, ARRAY[100])", 0),
        (sql::KEYS, "array_fill(1::bigint, ARRAY[100])", 0),
        (sql::shared(Sql::VersionAtSequence), "'AGGREGATE', 5000", 0),
        (sql::END_OF_LOG, "", 0),
        (sql::LAST_SEQUENCES, "", 0),
        (sql::LOG_END, "", 0),
        (sql::MARK, "", 0),
    ];

    #[test]
    fn what_is_found_by_keys_is_looked_up_in_one_partition_each() {
        let Some(server) = postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
        let partitions = Partitions::by_events(1_000);
        let builder = PostgresEventStore::builder(database.url()).partitions(partitions);
        let store = builder.migrate_on_open(true).open().unwrap();
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        // Twelve partitions in all. None is analyzed, so the planner has no statistics.
        for cut in (2..12).map(|ordinal| ordinal * 1_000_i64 + 1) {
            client
                .query("SELECT firefly_split_last_partition($1)", &[&cut])
                .unwrap();
        }
        client
            .batch_execute("SET plan_cache_mode = force_generic_plan")
            .unwrap();
        let mut prepared = Vec::new();
        for (statement, values, lookups) in STATEMENTS {
            let name = format!("planned_{}", prepared.len());
            let statement = Layout::Partitioned.of(statement).into_owned();
            client.batch_execute(&format!("PREPARE {name} AS {statement}")).unwrap();
            let call = match *values {
                "" => name,
                values => format!("{name} ({})", values.replace("AGGREGATE", AGGREGATE)),
            };
            // The plan is made while every partition is empty.
            client.batch_execute(&format!("EXPLAIN EXECUTE {call}")).unwrap();
            prepared.push((call, *lookups));
        }
        // Autovacuum would analyze the tables, and the statements would be planned again.
        client
            .batch_execute(
                "DO $$ DECLARE partition regclass; BEGIN
                     FOR partition IN SELECT firefly_ranges.partition FROM firefly_ranges() LOOP
                         EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', partition);
                     END LOOP;
                 END $$; ALTER TABLE firefly_event_keys SET (autovacuum_enabled = off)",
            )
            .unwrap();
        client.batch_execute(FILL).unwrap();
        for _ in 0..2 {
            for (call, lookups) in &prepared {
                check(&mut client, call, *lookups);
            }
            // Again with the plans that are made after an `ANALYZE`.
            firefly_eventstore_core::operate::Operations::update_statistics(&store).unwrap();
        }
    }

    /// Whoever detaches a partition locks the log. If a load locked it later than it takes its snapshot, it could find keys and no events.
    #[test]
    fn a_load_locks_the_log_before_it_looks_at_keys() {
        let Some(server) = postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
        let builder = PostgresEventStore::builder(database.url());
        builder.partitions(Partitions::by_events(1_000)).migrate().unwrap();
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        let loads = STATEMENTS
            .iter()
            .filter(|(statement, ..)| statement.contains("firefly_stream("));
        assert_eq!(loads.clone().count(), 8);
        for (statement, values, _) in loads {
            // The aggregate has no events, so no partition is read.
            let values = values.replace("AGGREGATE", AGGREGATE);
            let call = format!("PREPARE load AS {statement} BEGIN; EXECUTE load ({values})");
            client.batch_execute(&call).unwrap();
            let locks = "SELECT COUNT(*) FROM pg_locks WHERE relation = 'events'::regclass AND pid = pg_backend_pid()";
            let locks: i64 = client.query_one(locks, &[]).unwrap().get(0);
            assert_eq!(locks, 1, "{statement}");
            client.batch_execute("COMMIT; DEALLOCATE load").unwrap();
        }
    }

    fn check(client: &mut Client, call: &str, most: i64) {
        // The server may plan again, which looks into partitions, too.
        client.batch_execute(&format!("EXECUTE {call}")).unwrap();
        let mut transaction = client.transaction().unwrap();
        let counted = |transaction: &mut Transaction<'_>| -> [i64; 3] {
            let counts = "SELECT SUM(idx_scan)::bigint, SUM(idx_tup_fetch)::bigint, SUM(seq_scan)::bigint
                FROM pg_stat_xact_user_tables
                WHERE relname LIKE 'events\\_from\\_%'";
            let row = transaction.query_one(counts, &[]).unwrap();
            [0, 1, 2].map(|column| row.get(column))
        };
        let before = counted(&mut transaction);
        let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE {call}");
        let rows = transaction.query(&explain, &[]).unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let after = counted(&mut transaction);
        let [looked, fetched, read_whole] = [0, 1, 2].map(|count| after[count] - before[count]);
        assert!(looked <= most, "{looked}: {lines:#?}");
        // The events of other streams are not read.
        assert!(fetched <= most.max(20), "{fetched}: {lines:#?}");
        assert_eq!(read_whole, 0, "{lines:#?}");
        assert!(
            !lines.iter().any(|line| line.contains("Seq Scan on firefly_event_keys")),
            "{lines:#?}"
        );
    }
}
