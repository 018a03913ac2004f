//! Partitions of the log: how a log is partitioned, and how empty partitions are kept ready.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::{Error, GlobalSequence, Partitions, Result};
use postgres::{Client, Transaction};
use time::{OffsetDateTime, UtcOffset};

use crate::conversion::{Chosen, State};
use crate::error::classify;
use crate::lock::{BRIEFLY, patiently};
use crate::pool::Connection;
use crate::row::{Cells, decode, get};
use crate::session::{Session, run};
use crate::sql;

/// Partitions an empty log. If the log is partitioned already, records the choice for later partitions.
pub(crate) fn choose(connection: &mut Connection, partitions: &Partitions) -> Result<()> {
    let chosen = Chosen::of(partitions)?;
    let state = State::of(&mut connection.session())?;
    if state.is_partitioned {
        return choose_again(connection, &chosen).map(drop);
    }
    match state.begun {
        None => divide(connection, &chosen),
        Some(_) => Err(is_one_table()),
    }
}

/// Records another choice for the later partitions of a partitioned log. Returns false if it is the same.
pub(crate) fn choose_again(connection: &mut Connection, chosen: &Chosen) -> Result<bool> {
    let mut session = connection.session();
    if matches!(chosen, Chosen::Types(_)) && session.select(sql::TAKES_TYPES, &[], |row| get::<bool>(row, 0))? != [true]
    {
        return Err(Error::invalid(
            "the log is divided by its sequence alone, and only one table can be divided by aggregate type: make the log one table, with \
             PostgresBuilder::convert_to_one_table or the tool's partition --undo, and then divide it",
        ));
    }
    let (events, types) = chosen.to_record();
    let chosen = session.execute(sql::CHOOSE_PARTITIONS, &[&events, &types]);
    chosen.map(|changed| changed > 0).map_err(classify)
}

/// Partitions an empty log, in one transaction.
fn divide(connection: &mut Connection, chosen: &Chosen) -> Result<()> {
    let (events, types) = chosen.to_record();
    let mut transaction = connection.client.transaction().map_err(classify)?;
    run(&mut transaction, "LOCK TABLE events IN ACCESS EXCLUSIVE MODE")?;
    let found = transaction.query(sql::LAST_SEQUENCES, &[]).map_err(classify)?;
    let found = decode(&found, |row| Ok((get::<i64>(row, 0)?, get::<i64>(row, 1)?)))?;
    let (last, allocated) = found.into_iter().next().expect("an aggregate query returns one row");
    if last > 0 {
        return Err(is_one_table());
    }
    if types.is_some() {
        run(&mut transaction, sql::INDEX_TYPES)?;
    }
    run(&mut transaction, sql::INDEX_STREAMS)?;
    run(&mut transaction, sql::KEEP_KEYS)?;
    begin_conversion(&mut transaction, Some(chosen))?;
    run(&mut transaction, sql::MAKE_SUMMARIES)?;
    run(&mut transaction, sql::TAKE_SUMMARIES)?;
    let bound = events.map(|events| allocated + events + 1);
    partition_events(&mut transaction, bound, chosen)?;
    run(&mut transaction, sql::FORGET_OWN_KEYS)?;
    run(&mut transaction, sql::OWN_SEQUENCE)?;
    if types.is_some() {
        run(&mut transaction, sql::BEGIN_BY_TYPE)?;
    }
    transaction.execute(sql::FINISH_CONVERSION, &[]).map_err(classify)?;
    transaction.commit().map_err(classify)
}

fn is_one_table() -> Error {
    Error::invalid(
        "the log has events, or is being converted, and is one table: convert it with PostgresBuilder::convert_to_partitions, while \
         programs go on, or choose no partitions",
    )
}

/// Records that a conversion begins, into such partitions or into one table.
pub(crate) fn begin_conversion(transaction: &mut Transaction<'_>, into: Option<&Chosen>) -> Result<()> {
    let (events, types) = into.map(Chosen::to_record).unwrap_or_default();
    let by_month = matches!(into, Some(Chosen::Month));
    let begun = transaction.execute(sql::BEGIN_CONVERSION, &[&events, &by_month, &types]);
    begun.map(drop).map_err(classify)
}

/// Makes the table of events, whose keys are in another table, the first partition of a new table, which takes its name. The second partition
/// begins at the bound. Without a bound there is none.
pub(crate) fn partition_events(transaction: &mut Transaction<'_>, bound: Option<i64>, chosen: &Chosen) -> Result<()> {
    let (events, types) = chosen.to_record();
    let bound = bound.map_or("NULL".to_owned(), |bound| bound.to_string());
    take_name(transaction, |transaction| {
        run(transaction, &sql::PARTITION_EVENTS.replace("$1", &bound))?;
        let chosen = transaction.execute(sql::CHOOSE_PARTITIONS, &[&events, &types]);
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
    /// What new partitions are to have.
    chosen: Chosen,
    /// The tables that have events, or will.
    pub(crate) partitions: i64,
    /// How many empty partitions, which the log has passed, follow another empty one.
    mergeable: i64,
    /// The quoted name.
    name: String,
    /// The aggregate types that have partitions of their own within the last one, or `None` if it is one table.
    types: Option<Vec<String>>,
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
            let mut types: Option<Vec<String>> = get(row, 11)?;
            types.iter_mut().for_each(|types| types.sort_unstable());
            Ok(Self {
                chosen: Chosen::recorded(get(row, 0)?, get(row, 10)?),
                types,
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

    pub(crate) const fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The first sequence that the last partition can have.
    pub(crate) fn first(&self) -> i64 {
        self.first.unwrap_or(1)
    }

    /// Whether there is less than a whole partition before the last one; or whether the last one has the events of a month that is over, or
    /// events and other types than chosen.
    pub(crate) fn needs_another(&self) -> bool {
        match &self.chosen {
            Chosen::Events(events) => self.allocated >= self.first() - events,
            Chosen::Month => self.filled_since.is_some_and(|since| is_over(since, self.now)),
            Chosen::Types(types) => self.filled_since.is_some() && self.types.as_ref() != Some(types),
        }
    }

    /// The sequence at which a little last partition is to be split: `None` for the next one that is allocated.
    fn cut(&self, doublings: u32) -> Option<i64> {
        match &self.chosen {
            Chosen::Events(events) => Some(self.first().max(self.allocated + 1) + events),
            Chosen::Month => None,
            Chosen::Types(_) => Some(self.allocated + 1 + (FEW_MEANWHILE << doublings)),
        }
    }

    /// How many events may be appended while a large last partition is read, which takes the longer the more events it has. They stay in it,
    /// which matters for months: a thirtieth is about one day.
    fn margin(&self) -> i64 {
        match self.chosen {
            Chosen::Events(events) => events.max(APPENDED_MEANWHILE),
            Chosen::Month | Chosen::Types(_) => {
                ((self.allocated - self.first()) / 30).clamp(LEAST_MEANWHILE, APPENDED_MEANWHILE)
            }
        }
    }

    /// How many tables another partition has.
    fn tables(&self) -> u64 {
        match &self.chosen {
            Chosen::Events(_) | Chosen::Month => 1,
            Chosen::Types(types) => types.len() as u64 + 1,
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

/// How many events may be appended while the tables of a partition by aggregate type are made.
pub(crate) const FEW_MEANWHILE: i64 = 100;

/// How often these numbers are doubled if more were appended.
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
            ..=LITTLE_BYTES => divided.cut(failed),
            _ => Some(bounded(session, &divided, failed)?),
        };
        if let (Chosen::Types(_), Some(cut)) = (divided.chosen(), cut) {
            prepare(session.client, cut)?;
        }
        match split(session, cut, &divided.name)? {
            true => changed.added += divided.tables(),
            false => failed = MOST_DOUBLINGS.min(failed + 1),
        }
    }
}

/// Makes the tables of the partition that is to begin at a sequence, while others append. There are many, and an empty index takes a write to
/// the disk.
pub(crate) fn prepare(client: &mut Client, first: i64) -> Result<()> {
    let prepare = sql::PREPARE_PARTITION.replace("$1", &first.to_string());
    patiently(client, |transaction| {
        run(transaction, "SET LOCAL lock_timeout = '5s'")?;
        run(transaction, &prepare)
    })
}

/// Begins a transaction's wait for a partition: while appends go on, for operations such as a vacuum; then only briefly. An automatic vacuum
/// gives way only to those who wait for a second (`deadlock_timeout`).
fn wait_for(transaction: &mut Transaction<'_>, partition: &str) -> Result<()> {
    run(
        transaction,
        &format!("SET LOCAL lock_timeout = '5s'; LOCK TABLE {partition} IN SHARE UPDATE EXCLUSIVE MODE"),
    )?;
    run(transaction, BRIEFLY)
}

/// Splits the last partition, which has this name. Returns false if another process did, or if the sequence is allocated by now.
fn split(session: &mut Session<'_, Client>, cut: Option<i64>, name: &str) -> Result<bool> {
    patiently(session.client, |transaction| {
        wait_for(transaction, name)?;
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
            wait_for(transaction, name)?;
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
    if session.select(sql::IS_INDEX_VALID, &[&"idx_events_stream"], |row| get::<bool>(row, 0))? == [true] {
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

/// The first sequences of the partitions, as a store last saw them. Other processes may have added, joined or dropped partitions since. So they
/// only say where it is best to look first.
#[derive(Default)]
pub(crate) struct Starts(Mutex<Option<(Instant, Arc<[GlobalSequence]>)>>);

impl Starts {
    /// The first sequences, in ascending order. Looks again after a minute.
    pub(crate) fn known(&self, session: &mut Session<'_, Client>) -> Result<Arc<[GlobalSequence]>> {
        let seen = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, starts)) = &*seen()
            && at.elapsed() < LOOK_EVERY
        {
            return Ok(Arc::clone(starts));
        }
        let starts: Arc<[GlobalSequence]> = session
            .select(sql::PARTITION_STARTS, &[], |row| Cells(row).sequence(0))?
            .into();
        *seen() = Some((Instant::now(), Arc::clone(&starts)));
        Ok(starts)
    }
}

/// How often a store looks where its partitions begin.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The partitions with events.
pub(crate) fn filled(session: &mut Session<'_, Client>) -> Result<Vec<String>> {
    session.select(sql::FILLED_PARTITIONS, &[], |row| get(row, 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use firefly_eventstore_core::backend::Sql;
    use firefly_eventstore_test_servers::{postgres_unless_missing, without_autovacuum};
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
        looks_into_one_table_each(Partitions::by_events(1_000));
    }

    #[test]
    fn what_is_found_by_keys_is_looked_up_in_the_table_of_its_type() {
        looks_into_one_table_each(Partitions::by_aggregate_type(["A", "Aggregate", "B"]));
    }

    fn looks_into_one_table_each(partitions: Partitions) {
        let Some(server) = postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
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
        without_autovacuum(&mut client);
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
