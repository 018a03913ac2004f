//! Migrations, and the adoption of tables that were made by hand.

use firefly_eventstore_core::backend::indexes::{OPTIONAL, OptionalIndex};
use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::backend::migration::{self, AppliedMigration};
use firefly_eventstore_core::{Error, ErrorKind, EventData, Indexes, Migration, Result};
use postgres::{Client, GenericClient};
use uuid::Uuid;

use crate::conversion::Chosen;
use crate::error::classify;
use crate::options::Choices;
use crate::partitions;
use crate::pool::{Connection, quoted};
use crate::row::{Json, decode, get};
use crate::session::{Session, run};
use crate::sql::{self, Layout};

firefly_eventstore_core::backend::migrations! {
    "1.0.0", "events", "1.0.0_events.sql";
    "1.1.0", "snapshots", "1.1.0_snapshots.sql";
    "1.2.0", "metadata indexes", "1.2.0_metadata_indexes.sql";
    "4.0.0", "production", "4.0.0_production.sql";
    "5.0.0", "integrity", "5.0.0_integrity.sql";
    "5.1.0", "hardening", "5.1.0_hardening.sql";
    "5.2.0", "seals", "5.2.0_seals.sql";
    "6.0.0", "consumers", "6.0.0_consumers.sql";
    "6.1.0", "snapshots by form", "6.1.0_snapshots_by_form.sql";
    "7.0.0", "archives", "7.0.0_archives.sql";
    "8.0.0", "conversions", "8.0.0_conversions.sql";
    "9.0.0", "detaching", "9.0.0_detaching.sql";
}

/// The step after which a new store has every index that exists. The indexes of an older store were chosen before.
const LAST_WITH_INDEXES: &str = "5.0.0";

/// The optional indexes, with the least [`Indexes`] that includes each.
pub(crate) fn optional_indexes() -> Vec<OptionalIndex> {
    [OPTIONAL, &[("idx_events_metadata_gin", Indexes::Full)]].concat()
}

/// A required index: its table, its name, and whether it is a key.
type RequiredIndex = (&'static str, &'static str, bool);

/// The indexes that every store with this layout has.
pub(crate) fn required_indexes(layout: Layout) -> impl Iterator<Item = RequiredIndex> {
    REQUIRED_INDEXES.iter().chain(indexes_of(layout)).copied()
}

const REQUIRED_INDEXES: &[RequiredIndex] = &[
    ("events", "idx_events_global_sequence", true),
    ("firefly_archived_events", "idx_archived_events_event_id", true),
    ("firefly_archived_events", "firefly_archived_events_pkey", true),
    ("firefly_archived_events", "idx_archived_events_version", true),
    ("firefly_archived_streams", "firefly_archived_streams_pkey", true),
    ("firefly_archives", "firefly_archives_pkey", true),
    ("firefly_consumer_members", "firefly_consumer_members_pkey", true),
    ("firefly_consumers", "firefly_consumers_pkey", true),
    ("firefly_conversions", "firefly_conversions_pkey", true),
    ("firefly_conversions", "idx_conversions_unfinished", true),
    ("firefly_leaving", "firefly_leaving_pkey", true),
    ("firefly_parked_events", "firefly_parked_events_pkey", true),
    ("firefly_parked_events", "idx_parked_events_aggregate", false),
    ("firefly_schema_history", "firefly_schema_history_pkey", true),
    ("firefly_schema_history", "firefly_schema_history_version_key", true),
    ("firefly_seals", "firefly_seals_pkey", true),
    ("mv_aggregate_summary", "idx_mv_aggregate_summary_pk", true),
    ("snapshots", "idx_snapshots_created_at", false),
    ("snapshots", "idx_snapshots_version", true),
    ("snapshots", "snapshots_pkey", true),
];

/// The keys of events, on the table that the layout has for them.
const fn indexes_of(layout: Layout) -> &'static [RequiredIndex] {
    match layout {
        Layout::Whole => &[
            ("events", "events_pkey", true),
            ("events", "idx_events_aggregate_version", true),
        ],
        Layout::Partitioned => &[
            ("firefly_event_keys", "firefly_event_keys_pkey", true),
            ("firefly_event_keys", "idx_event_keys_aggregate_version", true),
            ("firefly_event_keys", "idx_event_keys_global_sequence", true),
            ("firefly_partitions", "firefly_partitions_pkey", true),
            ("events", "idx_events_stream", false),
        ],
    }
}

/// The objects that every store with this layout has, without the keys of events.
const fn required(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Whole => &[],
        Layout::Partitioned => &[
            "firefly_event_keys",
            "firefly_partitions",
            "trigger_events_keys",
            "trigger_events_keys_deleted",
            "trigger_events_keys_updated",
            "trigger_events_keys_truncated",
            "firefly_stream",
        ],
    }
}

/// The objects that every store has.
const REQUIRED: &[&str] = &[
    "events",
    "snapshots",
    "firefly_archived_events",
    "firefly_archived_streams",
    "firefly_archives",
    "firefly_consumer_members",
    "firefly_consumers",
    "firefly_conversions",
    "firefly_horizon",
    "firefly_leaving",
    "firefly_parked_events",
    "firefly_published_mark",
    "firefly_seals",
    "idx_events_global_sequence",
    "firefly_archived_events_pkey",
    "idx_archived_events_event_id",
    "firefly_archived_streams_pkey",
    "idx_archived_events_version",
    "trigger_events_announce",
];

/// Fails if the schema is not the one for this crate. Returns the names of the schema's objects, including indexes.
pub(crate) fn require_current(session: &mut Session<'_, Client>) -> Result<Vec<String>> {
    migration::require_current(MIGRATIONS, &applied(session)?)?;
    let names = session.query(sql::SCHEMA_NAMES, &[]).map_err(classify)?;
    let names: Vec<(String, bool)> = decode(&names, |row| Ok((get(row, 0)?, get(row, 1)?)))?;
    let layout = match names
        .iter()
        .any(|(name, is_partitioned)| name == "events" && *is_partitioned)
    {
        true => Layout::Partitioned,
        false => Layout::Whole,
    };
    let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    let keys = indexes_of(layout).iter().filter(|(_, _, is_key)| *is_key);
    let keys = keys.map(|(_, name, _)| name);
    let mut all = REQUIRED.iter().chain(required(layout)).chain(keys);
    if let Some(missing) = all.find(|required| !names.iter().any(|name| name == **required)) {
        return Err(altered(format!(
            "{missing} is missing or disabled; make it again as the migrations do"
        )));
    }
    if !counts_one_by_one(session)? {
        return Err(altered(
            "the sequence events_global_sequence_seq must be there, with CACHE 1, a positive INCREMENT and NO CYCLE: \
             otherwise readers skip events",
        ));
    }
    match require_ahead(session) {
        // Without the right to read the sequence, the role can neither prove a mark nor append.
        Err(error) if *error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => Ok(names),
    }
}

/// Fails if the sequence is behind the log: after a `setval`, after a partial restore, or if another server's rows are replicated into the
/// table.
pub(crate) fn require_ahead(session: &mut Session<'_, Client>) -> Result<()> {
    match behind(session)? {
        None => Ok(()),
        Some(sequences) => Err(altered(how_behind(sequences))),
    }
}

/// Explains that the sequence is behind the log, and what to do.
pub(crate) fn how_behind((last, allocated): (i64, i64)) -> String {
    format!(
        "the sequence events_global_sequence_seq is at {allocated}, and the log goes on to {last}: appends are refused, and readers see \
         nothing after {allocated}; run SELECT setval('events_global_sequence_seq', {last})"
    )
}

/// The last sequence of the log and the last allocated one, if the next one would not come after the log.
pub(crate) fn behind(session: &mut Session<'_, Client>) -> Result<Option<(i64, i64)>> {
    let Some(sequences @ (last, _)) = lagging(session)? else {
        return Ok(None);
    };
    let next = session.select(sql::NEXT_SEQUENCE, &[], |row| get::<i64>(row, 0))?;
    Ok(next.iter().any(|next| *next <= last).then_some(sequences))
}

/// The last sequence of the log, and the last allocated one if that is less. It counts as 0 if the sequence was set, to any value, and has
/// allocated nothing since.
fn lagging<C: GenericClient>(session: &mut Session<'_, C>) -> Result<Option<(i64, i64)>> {
    let sequences = session.select(sql::LAST_SEQUENCES, &[], |row| {
        Ok((get::<i64>(row, 0)?, get::<i64>(row, 1)?))
    })?;
    Ok(sequences.into_iter().find(|(last, allocated)| allocated < last))
}

/// If the sequence was set and has allocated nothing since, skips one sequence, after which appends work. Fails if the sequence is behind
/// the log.
pub(crate) fn go_on<C: GenericClient>(session: &mut Session<'_, C>) -> Result<()> {
    let Some(sequences @ (last, allocated)) = lagging(session)? else {
        return Ok(());
    };
    if allocated > 0 {
        return Err(altered(how_behind(sequences)));
    }
    let skipped = session.select(sql::SKIP_SEQUENCE, &[], |row| get::<i64>(row, 0))?;
    match skipped.iter().any(|skipped| *skipped <= last) {
        true => Err(altered(how_behind(sequences))),
        false => Ok(()),
    }
}

/// Whether the sequence is configured so that readers skip no event.
pub(crate) fn counts_one_by_one(session: &mut Session<'_, Client>) -> Result<bool> {
    Ok(session.select(sql::SEQUENCE, &[], |row| get::<bool>(row, 0))? == [true])
}

/// The migrations that the schema still needs.
pub(crate) fn pending(session: &mut Session<'_, Client>) -> Result<Vec<Migration>> {
    Ok(migration::pending(MIGRATIONS, &applied(session)?)?.to_vec())
}

/// The version of the schema.
pub(crate) fn version(session: &mut Session<'_, Client>) -> Result<Option<String>> {
    Ok(applied(session)?.pop().map(|step| step.version))
}

fn applied(session: &mut Session<'_, Client>) -> Result<Vec<AppliedMigration>> {
    let history = session.query(sql::HAS_TABLE, &[&"firefly_schema_history"]);
    match history.map_err(classify)?.is_empty() {
        true => Ok(Vec::new()),
        false => migration::applied(session),
    }
}

/// Brings the schema up to date, each step in a transaction. Returns the steps that were applied. Other processes that migrate at the same
/// time wait.
pub(crate) fn migrate(connection: &mut Connection, schema: Option<&str>, choices: &Choices) -> Result<Vec<Migration>> {
    choices.partitions.as_ref().map(Chosen::of).transpose()?;
    connection
        .session()
        .query(sql::LOCK_MIGRATIONS, &[&schema])
        .map_err(classify)?;
    let result = apply(connection, schema, choices);
    let unlocked = connection.session().query(sql::UNLOCK_MIGRATIONS, &[&schema]);
    let applied = result?;
    unlocked.map_err(classify)?;
    Ok(applied)
}

fn apply(connection: &mut Connection, schema: Option<&str>, choices: &Choices) -> Result<Vec<Migration>> {
    if let Some(schema) = schema {
        run(
            &mut connection.client,
            &format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)),
        )?;
    }
    let applied = applied(&mut connection.session())?;
    let pending = migration::pending(MIGRATIONS, &applied)?;
    if !pending.is_empty() {
        run(&mut connection.client, sql::HISTORY)?;
    }
    for step in pending {
        let mut transaction = connection.client.transaction().map_err(classify)?;
        run(&mut transaction, step.sql)?;
        transaction
            .execute(
                sql::RECORD_MIGRATION,
                &[&step.version, &step.name, &step.checksum().to_string()],
            )
            .map_err(classify)?;
        if step.version == LAST_WITH_INDEXES && choices.indexes.is_none() {
            choose_indexes(&mut transaction, Indexes::default())?;
        }
        transaction.commit().map_err(classify)?;
    }
    if let Some(indexes) = choices.indexes {
        let mut transaction = connection.client.transaction().map_err(classify)?;
        choose_indexes(&mut transaction, indexes)?;
        transaction.commit().map_err(classify)?;
    }
    if let Some(notify) = choices.notify {
        choose_notifications(connection, notify)?;
    }
    if let Some(partitions) = &choices.partitions {
        partitions::choose(connection, partitions)?;
    }
    fill_checksums(&mut connection.session(), sql::WITHOUT_CHECKSUM, sql::FILL_CHECKSUMS)?;
    fill_checksums(
        &mut connection.session(),
        sql::SNAPSHOTS_WITHOUT_CHECKSUM,
        sql::FILL_SNAPSHOT_CHECKSUMS,
    )?;
    Ok(pending.to_vec())
}

/// Makes the chosen optional indexes, and drops the others.
fn choose_indexes(client: &mut impl GenericClient, chosen: Indexes) -> Result<()> {
    for (index, least) in optional_indexes() {
        if least <= chosen {
            run(client, statement_of(index))?;
        } else {
            run(client, &format!("DROP INDEX IF EXISTS {index}"))?;
        }
    }
    Ok(())
}

/// Makes or drops the trigger that notifies, if that changes something: it locks the table.
fn choose_notifications(connection: &mut Connection, notify: bool) -> Result<()> {
    let channels = connection.session().query(sql::CHANNEL, &[]).map_err(classify)?;
    match (notify, channels.is_empty()) {
        (true, true) => run(&mut connection.client, sql::NOTIFY),
        (false, false) => run(&mut connection.client, sql::DO_NOT_NOTIFY),
        _ => Ok(()),
    }
}

/// The statement in the migrations that makes an index.
fn statement_of(index: &str) -> &'static str {
    let start = format!("CREATE INDEX IF NOT EXISTS {index} ");
    MIGRATIONS
        .iter()
        .flat_map(|step| step.sql.lines())
        .find(|line| line.starts_with(&start))
        .expect("the migrations make each optional index in a line of its own")
}

/// How many rows get a checksum in one statement. After a crash, at most these are done again.
const CHECKSUMS_AT_ONCE: i64 = 1_000;

/// Computes the checksums of rows that another program wrote before the tables were adopted.
fn fill_checksums(session: &mut Session<'_, Client>, find: &str, fill: &str) -> Result<()> {
    loop {
        let rows = session.query(find, &[&CHECKSUMS_AT_ONCE]).map_err(classify)?;
        if rows.is_empty() {
            return Ok(());
        }
        let found: Vec<(Uuid, String)> = decode(&rows, |row| {
            let id = get(row, 0)?;
            let checksum = EventData::from_stored(get::<Json<'_>>(row, 1)?.0).checksum();
            let refuse = |error| Error::invalid(format!("the row {id} cannot be adopted: {error}"));
            Ok((id, checksum.map_err(refuse)?.to_string()))
        })?;
        let (ids, checksums): (Vec<Uuid>, Vec<String>) = found.into_iter().unzip();
        session.execute(fill, &[&ids, &checksums]).map_err(classify)?;
    }
}
