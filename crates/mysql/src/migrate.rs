//! Migrations of the schema.

use std::thread;
use std::time::Duration;

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::kinds::{self, altered};
use firefly_eventstore_core::backend::migration::{self, AppliedMigration};
use firefly_eventstore_core::{Error, Indexes, Migration, Partitions, Result};
use mysql::prelude::Queryable;
use mysql::{Conn, Value};

use crate::adopt;
use crate::error::{classify, driver_error, is_of_another_who_migrates};
use crate::insert::TURNS;
use crate::mark::GATES;
use crate::migrations::{MIGRATIONS, columns_of, statement_of, statements};
use crate::options::Choices;
use crate::partitions;
use crate::pool::Connection;
use crate::schema::{self, GIVE_WAY_AFTER, OPTIONAL_INDEXES, TRIGGER, alone, giving_way, has, names, run};
use crate::session::Session;
use crate::sql::{self, Layout};
use crate::standing::Standing;

/// The step after which a new store has all its indexes and adopts tables made by hand. An older store has done so already.
const LAST_OF_TABLES: &str = "5.0.0";

/// The step that makes the gates as appends take them now.
const GATES_OF_NOW: &str = "7.0.0";

/// The objects that every store has.
const REQUIRED: &[&str] = &[
    "table events",
    "table snapshots",
    "table firefly_seals",
    "table firefly_consumers",
    "table firefly_consumer_members",
    "table firefly_parked_events",
    "table firefly_archives",
    "table firefly_archived_streams",
    "table firefly_archived_events",
    "table firefly_moves",
    "index firefly_archived_events.idx_archived_events_event_id",
    "index firefly_archived_events.idx_archived_events_version",
    "table firefly_gate",
    "table firefly_turn",
    "table firefly_flush",
    "table firefly_published_mark",
    "index events.PRIMARY",
];

/// The other objects that every store of a layout has: the keys of events.
const fn required(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Whole => &[
            "index events.idx_events_event_id",
            "index events.idx_events_aggregate_version",
        ],
        Layout::Partitioned => &[
            "table firefly_event_keys",
            "table firefly_partitions",
            "table firefly_leaving",
            "column firefly_archived_streams.former_version",
            "index firefly_event_keys.PRIMARY",
            "index firefly_event_keys.idx_events_event_id",
            "index firefly_event_keys.idx_events_aggregate_version",
        ],
    }
}

/// How many seconds to wait for other processes that migrate.
const PATIENCE: i64 = 600;

/// Fails if the schema is not the one for this crate. Returns the names of its objects.
pub(crate) fn require_current<C: Queryable>(session: &mut Session<'_, C>) -> Result<Vec<String>> {
    let names = names(session)?;
    migration::require_current(MIGRATIONS, &applied(session, &names)?)?;
    let mut all = REQUIRED.iter().chain(required(schema::layout(&names)));
    if let Some(missing) = all.find(|required| !has(&names, required)) {
        return Err(altered(format!(
            "the {missing} is missing; make it again as the migrations do"
        )));
    }
    if session.select(sql::GATES, [], |row| Ok((row.count(0)?, row.count(1)?)))?
        != [(u64::from(GATES), u64::from(TURNS))]
    {
        return Err(altered(
            "the tables firefly_gate and firefly_turn must have the rows that the migrations gave them: otherwise readers skip events",
        ));
    }
    Ok(names)
}

/// The migrations that the schema still needs.
pub(crate) fn pending(session: &mut Session<'_, Conn>) -> Result<Vec<Migration>> {
    let names = names(session)?;
    Ok(migration::pending(MIGRATIONS, &applied(session, &names)?)?.to_vec())
}

/// The version of the schema.
pub(crate) fn version(session: &mut Session<'_, Conn>) -> Result<Option<String>> {
    let names = names(session)?;
    Ok(applied(session, &names)?.pop().map(|step| step.version))
}

fn applied<C: Queryable>(session: &mut Session<'_, C>, names: &[String]) -> Result<Vec<AppliedMigration>> {
    match has(names, "table firefly_schema_history") {
        true => migration::applied(session),
        false => Ok(Vec::new()),
    }
}

/// Brings the schema up to date. Returns the steps that were applied. Other processes that migrate at the same time wait.
pub(crate) fn migrate(connection: &mut Connection, choices: &Choices) -> Result<Vec<Migration>> {
    choices
        .partitions
        .as_ref()
        .map(Partitions::checked_events)
        .transpose()?;
    alone(&mut connection.session(), PATIENCE, |session| {
        giving_way(session, GIVE_WAY_AFTER, |session| apply_beside_others(session, choices))
    })
}

/// How often the steps are repeated because other nodes of a Galera cluster migrate, too, and the pause before each. The nodes do not share
/// the lock for migrations.
const MOST_ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

fn apply_beside_others(session: &mut Session<'_, Conn>, choices: &Choices) -> Result<Vec<Migration>> {
    let mut missing = None;
    let mut attempts = 1;
    loop {
        let result = pending(session).and_then(|pending| {
            // These steps will have been applied in the end, by any node.
            let missing = missing.get_or_insert(pending);
            apply(session, choices).map(|()| missing.clone())
        });
        let error = result.as_ref().err().and_then(driver_error);
        let is_raced = matches!(session.server.standing, Standing::Node { .. });
        match error.filter(|error| is_raced && is_of_another_who_migrates(error)) {
            None => return result,
            Some(_) if attempts == MOST_ATTEMPTS => {
                return result.map_err(|error| {
                    Error::new(kinds::unavailable(format!(
                        "in every attempt, another node of the cluster migrated at the same time: migrate on one node only ({error})"
                    )))
                });
            }
            Some(_) => {
                attempts += 1;
                thread::sleep(PAUSE);
            }
        }
    }
}

fn apply(session: &mut Session<'_, Conn>, choices: &Choices) -> Result<()> {
    let there = names(session)?;
    let applied = applied(session, &there)?;
    let pending = migration::pending(MIGRATIONS, &applied)?;
    if applied.is_empty() {
        adopt::set_aside(session, &there)?;
    }
    if !pending.is_empty() {
        run(session, sql::HISTORY)?;
    }
    let chosen = choices.indexes.unwrap_or_default();
    for step in pending {
        let there = names(session)?;
        for statement in statements(step.sql).filter(|statement| !statement.makes_more_than(chosen)) {
            statement.run_if_needed(session, &there)?;
        }
        if step.version == LAST_OF_TABLES {
            // Before the step is recorded, so that it is repeated after a crash.
            choose_indexes(session, chosen)?;
            adopt::take_in(session)?;
        }
        if step.version == GATES_OF_NOW {
            retire_gates(session)?;
        }
        let record = [step.version, step.name, &step.checksum().to_string()].map(Value::from);
        session
            .execute(sql::RECORD_MIGRATION, record.to_vec())
            .map_err(classify)?;
    }
    if let Some(indexes) = choices.indexes {
        choose_indexes(session, indexes)?;
    }
    if let Some(cover) = choices.cover_other_writers {
        choose_cover(session, cover)?;
    }
    if let Some(partitions) = &choices.partitions {
        partitions::choose(session, partitions)?;
    }
    Ok(())
}

/// Makes the chosen optional indexes, and drops the others.
fn choose_indexes(session: &mut Session<'_, Conn>, chosen: Indexes) -> Result<()> {
    let there = names(session)?;
    for (index, least) in OPTIONAL_INDEXES {
        let name = format!("index events.{index}");
        match (*least <= chosen, has(&there, &name)) {
            (true, false) => match schema::layout(&there) {
                Layout::Whole => statement_of(&name).run(session)?,
                Layout::Partitioned => {
                    let columns = columns_of(index);
                    run(
                        session,
                        &format!("CREATE INDEX {index} ON events ({columns}, global_sequence)"),
                    )?;
                }
            },
            (false, true) => run(session, &format!("DROP INDEX {index} ON events"))?,
            _ => {}
        }
    }
    Ok(())
}

/// Makes or drops the trigger by which other programs' appends take a gate, too.
fn choose_cover(session: &mut Session<'_, Conn>, cover: bool) -> Result<()> {
    match (cover, has(&names(session)?, TRIGGER)) {
        (true, false) => run(session, sql::COVER_OTHER_WRITERS),
        (false, true) => run(session, sql::DO_NOT_COVER_OTHER_WRITERS),
        _ => Ok(()),
    }
}

/// Removes the old gates, so that an older program fails instead of appending without the new gates, which readers look at. Waits for
/// appends that hold an old gate.
fn retire_gates(session: &mut Session<'_, Conn>) -> Result<()> {
    if has(&names(session)?, TRIGGER) {
        choose_cover(session, false)?;
        choose_cover(session, true)?;
    }
    run(session, sql::RETIRE_GATES)
}
