//! PostgreSQL: one database for all cases, and in it a schema for each.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_conformance::{Ability, Damage, Environment, FAULTY, Handle, Unmigrated};
use firefly_eventstore_core::consumer::BoxError;
use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Limits, Migration};
use firefly_eventstore_postgres::driver::types::ToSql;
use firefly_eventstore_postgres::driver::{Client, NoTls};
use firefly_eventstore_postgres::{Indexes, Partitions, PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::Database;

use super::splitter::Splitter;
use super::{EVENT_COLUMNS, Fresh, Missing, SEAL_COLUMNS, SNAPSHOT_COLUMNS, unless_missing};

/// PostgreSQL with every index, so that every way to find events is tested.
pub(crate) fn postgres() -> Fresh {
    unless_missing("postgres", environment(Indexes::Full))
}

/// PostgreSQL without the optional indexes.
pub(crate) fn postgres_lean() -> Fresh {
    unless_missing("postgres", environment(Indexes::Lean))
}

/// PostgreSQL with a partitioned log: most cases append into several partitions, or beyond them.
pub(crate) fn postgres_partitioned() -> Fresh {
    let partitioned = || {
        let schema = Schema::fresh()?;
        let builder = schema.builder().indexes(Indexes::Full).migrate_on_open(true);
        let store = builder.partitions(Partitions::by_events(5)).open().unwrap();
        let splitter = Some(Splitter::of(schema.builder().max_connections(1).open().unwrap()));
        let environment = PostgresSchema {
            store,
            _splitter: splitter,
            schema,
        };
        Ok(Box::new(environment) as Box<dyn Environment>)
    };
    unless_missing("postgres", partitioned())
}

/// PostgreSQL with a log that is divided by aggregate type: some types of the cases have tables of their own.
pub(crate) fn postgres_by_type() -> Fresh {
    let by_type = || {
        let schema = Schema::fresh()?;
        let builder = schema.builder().indexes(Indexes::Full).migrate_on_open(true);
        let types = Partitions::by_aggregate_type(["Account", "account"]);
        let environment = PostgresSchema {
            store: builder.partitions(types).open().unwrap(),
            _splitter: None,
            schema,
        };
        Ok(Box::new(environment) as Box<dyn Environment>)
    };
    unless_missing("postgres", by_type())
}

fn environment(indexes: Indexes) -> Result<Box<dyn Environment>, Missing> {
    let schema = Schema::fresh()?;
    let store = schema.builder().indexes(indexes).migrate_on_open(true).open().unwrap();
    Ok(Box::new(PostgresSchema {
        store,
        _splitter: None,
        schema,
    }))
}

/// The database of this process. Its server ends with the process.
fn database() -> Result<&'static Database, Missing> {
    static DATABASE: OnceLock<Result<Database, String>> = OnceLock::new();
    let database = DATABASE.get_or_init(|| Ok(firefly_eventstore_test_servers::postgres()?.new_database()));
    database.as_ref().map_err(|reason| Missing(reason.clone()))
}

/// How long to wait for connections of a store that is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// A schema of its own. Dropping this drops it.
struct Schema {
    url: &'static str,
    name: String,
}

impl Schema {
    fn fresh() -> Result<Self, Missing> {
        Ok(Self {
            url: database()?.url(),
            name: format!("case_{}", Uuid::now_v7().simple()),
        })
    }

    fn builder(&self) -> PostgresBuilder {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        PostgresEventStore::builder(&format!("{}{separator}application_name={}", self.url, self.name))
            .schema(self.name.as_str())
            .max_connections(8)
    }

    /// A connection behind the store's back.
    fn client(&self) -> Client {
        let mut client = Client::connect(self.url, NoTls).unwrap();
        client
            .batch_execute(&format!(
                "SET search_path = {}; SET synchronous_commit = off",
                self.name
            ))
            .unwrap();
        client
    }

    fn run(&self, statements: &str) {
        self.client().batch_execute(statements).unwrap();
    }

    /// Replaces all rows of a table.
    fn rewrite<T>(
        &self,
        table: &str,
        columns: &[&str],
        rows: &[T],
        write: impl Fn(&T, &mut dyn FnMut(&[&(dyn ToSql + Sync)])),
    ) {
        let value = |(index, column): (usize, &&str)| match column.ends_with("data") {
            true => format!("${}::text::jsonb", index + 1),
            false => format!("${}", index + 1),
        };
        let values: Vec<String> = columns.iter().enumerate().map(value).collect();
        let insert = format!(
            "INSERT INTO {table} ({}) VALUES ({})",
            columns.join(", "),
            values.join(", ")
        );
        let mut client = self.client();
        let mut transaction = client.transaction().unwrap();
        transaction.execute(&format!("DELETE FROM {table}"), &[]).unwrap();
        for row in rows {
            write(row, &mut |values| {
                transaction.execute(&insert, values).unwrap();
            });
        }
        transaction.commit().unwrap();
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let mut client = self.client();
        // A store that is gone may still be making a connection, which looks at several tables. The server would take that for a deadlock.
        // Cases that panic leave transactions open, which end soon.
        let connections = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1";
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE && !client.query(connections, &[&self.name]).unwrap().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        let drop = format!(
            "SET client_min_messages = warning; DROP SCHEMA IF EXISTS {} CASCADE",
            self.name
        );
        client.batch_execute(&drop).unwrap();
    }
}

struct PostgresSchema {
    store: PostgresEventStore,
    _splitter: Option<Splitter>,
    schema: Schema,
}

impl Environment for PostgresSchema {
    fn store(&self) -> Handle {
        Arc::new(self.store.clone())
    }

    fn reopen(&self) -> Handle {
        Arc::new(self.schema.builder().open().unwrap())
    }

    fn lacks(&self) -> &[Ability] {
        &[Ability::JsonAsText]
    }

    fn store_with(&self, limits: Limits) -> Handle {
        Arc::new(self.schema.builder().limits(limits).open().unwrap())
    }

    fn verifying_store(&self) -> Handle {
        Arc::new(self.schema.builder().verify_on_read(true).open().unwrap())
    }

    fn damage(&self, event: Uuid, damage: &Damage<'_>) {
        let (assignment, value): (_, &(dyn ToSql + Sync)) = match damage {
            Damage::Data(data) => ("event_data = $1::text::jsonb", data),
            Damage::Checksum(checksum) => ("checksum = $1", checksum),
            Damage::NoChecksum => ("checksum = $1", &None::<&str>),
            Damage::Version(version) => ("aggregate_version = $1", &version.cast_signed()),
        };
        let update = format!("UPDATE events SET {assignment} WHERE event_id = $2");
        let mut client = self.schema.client();
        assert_eq!(client.execute(&update, &[value, &event]).unwrap(), 1);
    }

    fn rewrite_log(&self, events: &[EventEnvelope]) {
        self.schema.rewrite("events", &EVENT_COLUMNS, events, |event, insert| {
            insert(&[
                &event.event_id,
                &event.aggregate.id(),
                &event.aggregate.aggregate_type().as_str(),
                &event.version.as_i64(),
                &event.global_sequence.as_i64(),
                &event.event_type.as_str(),
                &event.data.as_str(),
                &event.metadata.as_ref().map(|json| json.as_str()),
                &event.created_at,
                &event.updated_at,
                &event.created_by.as_ref().map(|name| name.as_str()),
                &event.tenant.as_ref().map(|name| name.as_str()),
                &event.correlation_id.as_ref().map(|name| name.as_str()),
                &event.causation_id.as_ref().map(|name| name.as_str()),
                &event.checksum.map(|checksum| checksum.to_string()),
            ]);
        });
    }

    fn rewrite_snapshots(&self, snapshots: &[Snapshot]) {
        self.schema
            .rewrite("snapshots", &SNAPSHOT_COLUMNS, snapshots, |snapshot, insert| {
                insert(&[
                    &snapshot.snapshot_id,
                    &snapshot.aggregate.id(),
                    &snapshot.aggregate.aggregate_type().as_str(),
                    &snapshot.version.as_i64(),
                    &snapshot.snapshot_type.as_str(),
                    &snapshot.state.as_str(),
                    &snapshot.created_at,
                    &snapshot.tenant.as_ref().map(|name| name.as_str()),
                    &snapshot.checksum.map(|checksum| checksum.to_string()),
                ]);
            });
    }

    fn rewrite_seals(&self, seals: &[Seal]) {
        self.schema
            .rewrite("firefly_seals", &SEAL_COLUMNS, seals, |seal, insert| {
                insert(&[
                    &seal.global_sequence.as_i64(),
                    &seal.events.cast_signed(),
                    &seal.digest.to_string(),
                    &seal.sealed_at,
                ]);
            });
    }

    fn break_at(&self, _position: u64) {
        self.schema.run(&format!(
            "CREATE FUNCTION suite_fault() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''the disk makes strange noises''; END';
             CREATE TRIGGER suite_fault BEFORE INSERT ON events FOR EACH ROW
                 WHEN (NEW.event_type = '{FAULTY}') EXECUTE FUNCTION suite_fault()"
        ));
    }

    fn repair(&self) {
        // The log is locked before its partitions, as the splitter locks them.
        self.schema
            .run("BEGIN; LOCK TABLE events; DROP FUNCTION suite_fault() CASCADE; COMMIT");
    }

    fn make_hole(&self) -> GlobalSequence {
        let delete = "DELETE FROM events WHERE global_sequence =
                          (SELECT global_sequence FROM events ORDER BY global_sequence DESC LIMIT 1 OFFSET 1)
                      RETURNING global_sequence";
        let row = self.schema.client().query_one(delete, &[]).unwrap();
        GlobalSequence::try_from(row.get::<_, i64>(0)).unwrap()
    }

    fn cut_log(&self, after: GlobalSequence) {
        let delete = "DELETE FROM events WHERE global_sequence > $1";
        self.schema.client().execute(delete, &[&after.as_i64()]).unwrap();
    }

    fn writes_beside_a_transaction(&self) -> bool {
        true
    }

    fn keeps_summaries(&self) -> bool {
        true
    }

    fn widest_limits(&self) -> Limits {
        let mut limits = Limits::TEXT;
        limits.allow_nul = false;
        limits
    }

    fn out_of_time(&self) -> BoxError {
        let error = self
            .schema
            .client()
            .batch_execute("SET statement_timeout = 1; SELECT pg_sleep(60)");
        error.unwrap_err().into()
    }

    fn unmigrated(&self) -> Box<dyn Unmigrated> {
        let schema = Schema::fresh().expect("the backend is there");
        // The schema of a program that has its own tables.
        schema.run(&format!(
            "CREATE SCHEMA {}; CREATE TABLE notes (note TEXT NOT NULL)",
            schema.name
        ));
        Box::new(UnmigratedSchema(schema))
    }
}

struct UnmigratedSchema(Schema);

fn versions(migrations: Vec<Migration>) -> Vec<String> {
    let version = |migration: Migration| migration.version.to_owned();
    migrations.into_iter().map(version).collect()
}

impl Unmigrated for UnmigratedSchema {
    fn pending(&self) -> Result<Vec<String>, Error> {
        self.0.builder().pending().map(versions)
    }

    fn migrate(&self) -> Result<Vec<String>, Error> {
        self.0.builder().migrate().map(versions)
    }

    fn open(&self) -> Result<Handle, Error> {
        Ok(Arc::new(self.0.builder().open()?))
    }

    fn make_newer(&self) {
        self.0.run(
            "INSERT INTO firefly_schema_history (version, description, checksum) VALUES ('999.0.0', 'from the future', '')",
        );
    }

    fn alter_history(&self) {
        self.0.run(
            "UPDATE firefly_schema_history SET checksum = replace(checksum, left(checksum, 1), 'x') WHERE version = '1.0.0'",
        );
    }

    fn make_older(&self) {
        self.0.run(
            "DELETE FROM firefly_schema_history
             WHERE installed_rank = (SELECT MAX(installed_rank) FROM firefly_schema_history)",
        );
    }
}
