//! MySQL and MariaDB: a server for all cases, and on it a database for each.

use std::sync::Arc;

use firefly_eventstore_conformance::{Ability, Damage, Environment, FAULTY, Handle, Unmigrated};
use firefly_eventstore_core::consumer::BoxError;
use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Limits, Migration};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Value};
use firefly_eventstore_mysql::{Indexes, MysqlBuilder, MysqlEventStore, Partitions};
use firefly_eventstore_test_servers::{
    Database, Flavour, MysqlServer, mariadb as mariadb_server, mysql as mysql_server,
};

use super::splitter::Splitter;
use super::{EVENT_COLUMNS, Fresh, Missing, SEAL_COLUMNS, SNAPSHOT_COLUMNS, unless_missing};

/// MySQL with every index, so that every way to find events is tested.
pub(crate) fn mysql() -> Fresh {
    unless_missing("mysql", environment(mysql_server(), Indexes::Full))
}

/// MySQL without the optional indexes.
pub(crate) fn mysql_lean() -> Fresh {
    unless_missing("mysql", environment(mysql_server(), Indexes::Lean))
}

/// MariaDB with every index, so that every way to find events is tested.
pub(crate) fn mariadb() -> Fresh {
    unless_missing("mariadb", environment(mariadb_server(), Indexes::Full))
}

/// MariaDB without the optional indexes.
pub(crate) fn mariadb_lean() -> Fresh {
    unless_missing("mariadb", environment(mariadb_server(), Indexes::Lean))
}

/// MySQL with a partitioned log: most cases append into several partitions, or beyond them.
pub(crate) fn mysql_partitioned() -> Fresh {
    unless_missing("mysql", partitioned(mysql_server()))
}

/// MariaDB with a partitioned log.
pub(crate) fn mariadb_partitioned() -> Fresh {
    unless_missing("mariadb", partitioned(mariadb_server()))
}

fn partitioned(server: Result<&'static MysqlServer, String>) -> Result<Box<dyn Environment>, Missing> {
    let server = server.map_err(Missing)?;
    let database = server.new_database();
    let builder = builder(&database).migrate_on_open(true);
    let store = builder.partitions(Partitions::by_events(5)).open().unwrap();
    let splitter = Splitter::of(self::builder(&database).max_connections(1).open().unwrap());
    Ok(Box::new(MysqlDatabase {
        store,
        _splitter: Some(splitter),
        database,
        server,
    }))
}

fn environment(
    server: Result<&'static MysqlServer, String>,
    indexes: Indexes,
) -> Result<Box<dyn Environment>, Missing> {
    let server = server.map_err(Missing)?;
    let database = server.new_database();
    let store = builder(&database)
        .indexes(indexes)
        .migrate_on_open(true)
        .open()
        .unwrap();
    Ok(Box::new(MysqlDatabase {
        store,
        _splitter: None,
        database,
        server,
    }))
}

fn builder(database: &Database) -> MysqlBuilder {
    MysqlEventStore::builder(database.url()).max_connections(8)
}

struct MysqlDatabase {
    store: MysqlEventStore,
    _splitter: Option<Splitter>,
    database: Database,
    server: &'static MysqlServer,
}

impl MysqlDatabase {
    /// A connection behind the store's back.
    fn client(&self) -> Conn {
        let mut client = Conn::new(self.database.url()).unwrap();
        if self.server.flavour() == Flavour::Mariadb {
            client.query_drop("SET SESSION check_constraint_checks = OFF").unwrap();
        }
        client
    }

    fn run(&self, statement: &str) {
        self.client().query_drop(statement).unwrap();
    }

    /// Replaces all rows of a table.
    fn rewrite<T>(&self, table: &str, columns: &[&str], rows: &[T], values: impl Fn(&T) -> Vec<Value>) {
        let marks = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
        let mut client = self.client();
        client.query_drop("START TRANSACTION").unwrap();
        client.query_drop(format!("DELETE FROM {table}")).unwrap();
        client.exec_batch(insert, rows.iter().map(values)).unwrap();
        client.query_drop("COMMIT").unwrap();
    }
}

fn time_value(time: OffsetDateTime) -> Value {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.time().as_hms_micro();
    let year = u16::try_from(year).unwrap();
    Value::Date(year, month.into(), day, hour, minute, second, micro)
}

impl Environment for MysqlDatabase {
    fn store(&self) -> Handle {
        Arc::new(self.store.clone())
    }

    fn reopen(&self) -> Handle {
        Arc::new(builder(&self.database).open().unwrap())
    }

    fn lacks(&self) -> &[Ability] {
        match self.server.flavour() {
            Flavour::Mysql => &[Ability::JsonAsText],
            Flavour::Mariadb => &[],
        }
    }

    fn store_with(&self, limits: Limits) -> Handle {
        Arc::new(builder(&self.database).limits(limits).open().unwrap())
    }

    fn verifying_store(&self) -> Handle {
        Arc::new(builder(&self.database).verify_on_read(true).open().unwrap())
    }

    fn damage(&self, event: Uuid, damage: &Damage<'_>) {
        let (column, value) = match damage {
            Damage::Data(data) => ("event_data", Value::from(*data)),
            Damage::Checksum(checksum) => ("checksum", Value::from(*checksum)),
            Damage::NoChecksum => ("checksum", Value::NULL),
            Damage::Version(version) => ("aggregate_version", Value::from(version.cast_signed())),
        };
        let update = format!("UPDATE events SET {column} = ? WHERE event_id = ?");
        let mut client = self.client();
        client.exec_drop(update, (value, event)).unwrap();
        assert_eq!(client.affected_rows(), 1);
    }

    fn rewrite_log(&self, events: &[EventEnvelope]) {
        self.rewrite("events", &EVENT_COLUMNS, events, |event| {
            vec![
                event.event_id.into(),
                event.aggregate.id().into(),
                event.aggregate.aggregate_type().as_str().into(),
                event.version.as_i64().into(),
                event.global_sequence.as_i64().into(),
                event.event_type.as_str().into(),
                event.data.as_str().into(),
                event.metadata.as_ref().map(|json| json.as_str()).into(),
                time_value(event.created_at),
                event.updated_at.map_or(Value::NULL, time_value),
                event.created_by.as_ref().map(|name| name.as_str()).into(),
                event.tenant.as_ref().map(|name| name.as_str()).into(),
                event.correlation_id.as_ref().map(|name| name.as_str()).into(),
                event.causation_id.as_ref().map(|name| name.as_str()).into(),
                event.checksum.map(|checksum| checksum.to_string()).into(),
            ]
        });
    }

    fn rewrite_snapshots(&self, snapshots: &[Snapshot]) {
        self.rewrite("snapshots", &SNAPSHOT_COLUMNS, snapshots, |snapshot| {
            vec![
                snapshot.snapshot_id.into(),
                snapshot.aggregate.id().into(),
                snapshot.aggregate.aggregate_type().as_str().into(),
                snapshot.version.as_i64().into(),
                snapshot.snapshot_type.as_str().into(),
                snapshot.state.as_str().into(),
                time_value(snapshot.created_at),
                snapshot.tenant.as_ref().map(|name| name.as_str()).into(),
                snapshot.checksum.map(|checksum| checksum.to_string()).into(),
            ]
        });
    }

    fn rewrite_seals(&self, seals: &[Seal]) {
        self.rewrite("firefly_seals", &SEAL_COLUMNS, seals, |seal| {
            vec![
                seal.global_sequence.as_i64().into(),
                seal.events.into(),
                seal.digest.to_string().into(),
                time_value(seal.sealed_at),
            ]
        });
    }

    fn break_at(&self, _position: u64) {
        self.run(&format!(
            "CREATE TRIGGER suite_fault BEFORE INSERT ON events FOR EACH ROW
             IF NEW.event_type = '{FAULTY}' THEN
                 SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the disk makes strange noises';
             END IF"
        ));
    }

    fn repair(&self) {
        self.run("DROP TRIGGER suite_fault");
    }

    fn make_hole(&self) -> GlobalSequence {
        let mut client = self.client();
        let last_but_one = "SELECT global_sequence FROM events ORDER BY global_sequence DESC LIMIT 1 OFFSET 1";
        let sequence: i64 = client.query_first(last_but_one).unwrap().unwrap();
        client
            .exec_drop("DELETE FROM events WHERE global_sequence = ?", (sequence,))
            .unwrap();
        GlobalSequence::try_from(sequence).unwrap()
    }

    fn cut_log(&self, after: GlobalSequence) {
        let delete = "DELETE FROM events WHERE global_sequence > ?";
        self.client().exec_drop(delete, (after.as_i64(),)).unwrap();
    }

    fn writes_beside_a_transaction(&self) -> bool {
        true
    }

    fn keeps_summaries(&self) -> bool {
        true
    }

    fn widest_limits(&self) -> Limits {
        let mut limits = Limits::TEXT;
        match self.server.flavour() {
            Flavour::Mysql => {
                limits.max_depth = 100;
                limits.max_key_bytes = Limits::PORTABLE.max_key_bytes;
                limits.allow_inexact_numbers = false;
            }
            Flavour::Mariadb => limits.max_depth = 31,
        }
        limits
    }

    fn out_of_time(&self) -> BoxError {
        let mut client = self.client();
        let statements: &[&str] = match self.server.flavour() {
            Flavour::Mariadb => &["SET SESSION max_statement_time = 0.01", "SELECT SLEEP(60)"],
            // MySQL's SLEEP returns at its time limit without an error.
            Flavour::Mysql => &[
                "SET SESSION max_execution_time = 10, cte_max_recursion_depth = 4294967295",
                "WITH RECURSIVE endless AS (SELECT 1 AS n UNION ALL SELECT n FROM endless) SELECT COUNT(*) FROM endless",
            ],
        };
        client.query_drop(statements[0]).unwrap();
        client.query_first::<u64, _>(statements[1]).unwrap_err().into()
    }

    fn unmigrated(&self) -> Box<dyn Unmigrated> {
        let database = self.server.new_database();
        // The database of a program that has its own tables.
        run(&database, "CREATE TABLE notes (note TEXT NOT NULL)");
        Box::new(UnmigratedDatabase(database))
    }
}

fn run(database: &Database, statement: &str) {
    Conn::new(database.url()).unwrap().query_drop(statement).unwrap();
}

struct UnmigratedDatabase(Database);

fn versions(migrations: Vec<Migration>) -> Vec<String> {
    let version = |migration: Migration| migration.version.to_owned();
    migrations.into_iter().map(version).collect()
}

impl Unmigrated for UnmigratedDatabase {
    fn pending(&self) -> Result<Vec<String>, Error> {
        builder(&self.0).pending().map(versions)
    }

    fn migrate(&self) -> Result<Vec<String>, Error> {
        builder(&self.0).migrate().map(versions)
    }

    fn open(&self) -> Result<Handle, Error> {
        Ok(Arc::new(builder(&self.0).open()?))
    }

    fn make_newer(&self) {
        run(
            &self.0,
            "INSERT INTO firefly_schema_history (version, description, checksum) VALUES ('999.0.0', 'from the future', '')",
        );
    }

    fn alter_history(&self) {
        run(
            &self.0,
            "UPDATE firefly_schema_history SET checksum = REPLACE(checksum, LEFT(checksum, 1), 'x') WHERE version = '1.0.0'",
        );
    }

    fn make_older(&self) {
        run(
            &self.0,
            "DELETE FROM firefly_schema_history ORDER BY installed_rank DESC LIMIT 1",
        );
    }
}
