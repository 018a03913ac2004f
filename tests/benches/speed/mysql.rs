//! MySQL and MariaDB: private servers with their defaults, so that a commit waits for the disk.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use firefly_eventstore_core::consumer::{BoxError, Projection, project};
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::{EventEnvelope, EventQuery};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Opts, OptsBuilder, Params, Row, TxOpts, Value};
use firefly_eventstore_mysql::{Indexes, MysqlEventStore, MysqlTransaction, Partitions};
use firefly_eventstore_test_servers::{Database as Disposable, Disk, Flavour, MysqlServer};
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::append::{append, raw_workers};
use crate::backend::{Applied, Backend, Common, Database, Projector, Raw, Schema, counted};
use crate::events::{self, Dice, Sample};
use crate::harness::{Bench, Comparison, Contender, compete, per_second, rate, report};
use crate::{machine, partitions};

pub(crate) struct Mysql {
    flavour: Flavour,
    name: &'static str,
    server: MysqlServer,
}

const LEAN: &str = "
    CREATE TABLE events (
        global_sequence   BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        event_id          BINARY(16) NOT NULL UNIQUE,
        aggregate_id      BINARY(16) NOT NULL,
        aggregate_type    VARCHAR(255) NOT NULL,
        aggregate_version BIGINT NOT NULL,
        event_type        VARCHAR(255) NOT NULL,
        event_data        JSON NOT NULL,
        metadata          JSON,
        created_at        DATETIME(6) NOT NULL,
        updated_at        DATETIME(6),
        created_by        VARCHAR(255),
        tenant_id         VARCHAR(255),
        correlation_id    VARCHAR(255),
        causation_id      VARCHAR(255),
        checksum          VARCHAR(64),
        UNIQUE (aggregate_id, aggregate_version)
    ) CHARACTER SET utf8mb4";

const INSERT: &str = "
    INSERT INTO events (
        event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata, created_at,
        created_by, tenant_id, correlation_id, causation_id, checksum
    )
    VALUES ";

const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const READ: &str = "
    event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data, metadata,
    created_at, updated_at, created_by, tenant_id, correlation_id, causation_id, event_size_bytes, checksum";

/// The source document's table: text ids, and rows in the order of the event ids.
const TEXT_IDS: &str = "
    CREATE TABLE events (
        event_id          CHAR(36) PRIMARY KEY,
        aggregate_id      CHAR(36) NOT NULL,
        aggregate_type    VARCHAR(255) NOT NULL,
        aggregate_version BIGINT NOT NULL,
        global_sequence   BIGINT NOT NULL AUTO_INCREMENT UNIQUE,
        event_type        VARCHAR(255) NOT NULL,
        event_data        JSON NOT NULL,
        UNIQUE KEY uk_aggregate_version (aggregate_id, aggregate_version)
    ) CHARACTER SET utf8mb4";

/// The same table with binary ids, and rows in the order of the log.
const BINARY_IDS: &str = "
    CREATE TABLE events (
        global_sequence   BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        event_id          BINARY(16) NOT NULL UNIQUE,
        aggregate_id      BINARY(16) NOT NULL,
        aggregate_type    VARCHAR(255) NOT NULL,
        aggregate_version BIGINT NOT NULL,
        event_type        VARCHAR(255) NOT NULL,
        event_data        JSON NOT NULL,
        UNIQUE KEY idx_events_aggregate_version (aggregate_id, aggregate_version)
    ) CHARACTER SET utf8mb4";

/// What the store looks up within its `INSERT`: the previous version, and the gate.
const GUARD: &str = include_str!("../../../crates/mysql/sql/queries/append_guard.sql");
const GATE: &str = include_str!("../../../crates/mysql/sql/queries/append_gate.sql");

impl Mysql {
    /// The server's time for the look-ups within the store's `INSERT`: all contenders are the raw driver.
    pub(crate) fn lookups(&self, bench: &Bench) {
        for threads in [1, 4, 16] {
            let name = format!("{}: lookups of an append, threads: {threads}", self.name());
            if !bench.wants(&name) {
                continue;
            }
            let logs = [(false, false), (true, false), (false, true), (true, true)].map(|(gate, guard)| {
                let log = Log {
                    gate,
                    guard,
                    ..Log::new(&self.server)
                };
                MysqlEventStore::builder(log.database.url()).migrate().unwrap();
                log
            });
            let mut workers = logs.each_ref().map(|log| raw_workers(log, threads));
            let events = bench.scaled(4_000, 2_000);
            let mut contenders = workers
                .each_mut()
                .map(|workers| Contender::new(|| append(workers, events, 1)));
            compete(bench.rounds(), &mut contenders);
            let [raw, others @ ..] = &contenders;
            let comparisons = ["gate/raw", "guard/raw", "both/raw"]
                .into_iter()
                .zip(others)
                .map(|(name, contender)| Comparison {
                    name,
                    ratio: contender.ratio_to(raw),
                    target: None,
                })
                .collect::<Vec<_>>();
            report(&name, raw.rate(), &comparisons);
        }
    }

    /// The effect of the form of the ids and the order of the rows on inserts, loads and scans: binary ids compared with text.
    pub(crate) fn ids(&self, bench: &Bench) {
        for events in [10_000, bench.scaled(2_000_000, 100_000)] {
            let name = format!("{}: binary ids, {events} events", self.name());
            if !bench.wants(&name) {
                continue;
            }
            let mut dice = Dice::new(3);
            let pool = events::pool(&mut dice);
            let aggregates: Vec<Uuid> = (0..events / VERSIONS).map(|_| dice.id()).collect();
            let mut tables = [
                Table::new(self.server.new_database(), TEXT_IDS, |id| id.to_string().into()),
                Table::new(self.server.new_database(), BINARY_IDS, |id| {
                    id.as_bytes().as_slice().into()
                }),
            ];
            let [text, binary] = tables.each_mut().map(|table| table.fill(&aggregates, &pool));
            let filled = binary / text;
            let [text, binary] = &mut tables;
            let (mut text_dice, mut binary_dice) = (Dice::new(4), Dice::new(4));
            let loads = bench.scaled(2_000, 500);
            let mut loading = [
                Contender::new(|| rate(loads, || text.load(aggregates[text_dice.roll(aggregates.len())]))),
                Contender::new(|| rate(loads, || binary.load(aggregates[binary_dice.roll(aggregates.len())]))),
            ];
            compete(bench.rounds(), &mut loading);
            let [slow, fast] = &loading;
            let (load_rate, loaded) = (slow.rate(), fast.ratio_to(slow));
            drop(loading);
            let mut scanning = [
                Contender::new(|| rate(1, || text.scan(events))),
                Contender::new(|| rate(1, || binary.scan(events))),
            ];
            compete(3, &mut scanning);
            let [slow, fast] = &scanning;
            let compared = [
                ("load a stream of 20, binary/text", loaded),
                ("scan", fast.ratio_to(slow)),
            ];
            let comparisons = compared.map(|(name, ratio)| Comparison {
                name,
                ratio,
                target: None,
            });
            report(&name, load_rate, &comparisons);
            println!("  insert all of them in batches of 1,000, binary/text {filled:.2}");
        }
    }

    /// Commits do not wait for the disk, which would hide the cost of partitions.
    pub(crate) fn partitions(&self, bench: &Bench) {
        partitions::run(bench, self.name(), || {
            let server = MysqlServer::start_forgetful(self.flavour, &[]).unwrap();
            move |partitions: Option<Partitions>| {
                let log = Log::new(&server);
                let builder = MysqlEventStore::builder(log.database.url());
                match partitions {
                    Some(partitions) => drop(builder.partitions(partitions).migrate().unwrap()),
                    None => drop(builder.migrate().unwrap()),
                }
                Box::new(log) as Box<dyn Database>
            }
        });
    }

    /// Starts a server. None if it is not installed, which is printed.
    pub(crate) fn start(flavour: Flavour) -> Option<Self> {
        Self::start_as(flavour, flavour.name(), || MysqlServer::start(flavour, &[]))
    }

    /// Starts a server whose flushes take longer.
    pub(crate) fn start_on(disk: &Disk, flavour: Flavour) -> Option<Self> {
        Self::start_as(flavour, Self::on_slow_disk(flavour), || {
            MysqlServer::start_on(disk, flavour, &[])
        })
    }

    pub(crate) fn on_slow_disk(flavour: Flavour) -> &'static str {
        match flavour {
            Flavour::Mysql => "mysql, slow disk",
            Flavour::Mariadb => "mariadb, slow disk",
        }
    }

    fn start_as(
        flavour: Flavour,
        name: &'static str,
        start: impl FnOnce() -> Result<MysqlServer, String>,
    ) -> Option<Self> {
        let start = || {
            let server = start()?;
            let settings = "SELECT CONCAT(VERSION(), '; innodb_flush_log_at_trx_commit ',
                @@innodb_flush_log_at_trx_commit, ', log_bin ', @@log_bin, ', sync_binlog ', @@sync_binlog)";
            let database = server.new_database();
            let settings = connect(&database).query_first::<String, _>(settings);
            let settings = settings.map_err(|error| error.to_string())?.unwrap_or_default();
            println!("{} {settings}, in {}", flavour.name(), server.directory().display());
            Ok::<_, String>(Self { flavour, name, server })
        };
        start()
            .inspect_err(|reason| println!("{} is left out: {reason}", flavour.name()))
            .ok()
    }
}

/// How many events an aggregate has.
const VERSIONS: usize = 20;

/// A table with ids of one form.
struct Table {
    _database: Disposable,
    connection: Conn,
    id: fn(Uuid) -> Value,
}

impl Table {
    fn new(database: Disposable, create: &str, id: fn(Uuid) -> Value) -> Self {
        let mut connection = connect(&database);
        connection.query_drop(create).unwrap();
        Self {
            _database: database,
            connection,
            id,
        }
    }

    /// Inserts interleaved events of many aggregates, with random event ids, as most clients make them. Returns the number of events per
    /// second.
    fn fill(&mut self, aggregates: &[Uuid], pool: &[Sample]) -> f64 {
        let mut dice = Dice::new(5);
        let start = Instant::now();
        for group in aggregates.chunks(1_000) {
            for version in 1..=VERSIONS {
                let rows = vec!["(?, ?, 'Account', ?, ?, ?)"; group.len()].join(", ");
                let sql = format!(
                    "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                     VALUES {rows}"
                );
                let mut values = Vec::with_capacity(group.len() * 5);
                for aggregate in group {
                    let row = &pool[dice.roll(pool.len())].row;
                    values.extend([
                        (self.id)(dice.id()),
                        (self.id)(*aggregate),
                        version.into(),
                        row.event_type.as_str().into(),
                        Value::from(&*row.data),
                    ]);
                }
                self.connection.exec_drop(sql, Params::Positional(values)).unwrap();
            }
        }
        per_second(aggregates.len() * VERSIONS, start.elapsed())
    }

    fn load(&mut self, aggregate: Uuid) {
        let sql = "SELECT * FROM events WHERE aggregate_id = ? ORDER BY aggregate_version";
        let rows: Vec<Row> = self.connection.exec(sql, ((self.id)(aggregate),)).unwrap();
        assert_eq!(rows.len(), VERSIONS);
    }

    fn scan(&mut self, events: usize) {
        let rows = self
            .connection
            .exec_iter("SELECT * FROM events ORDER BY global_sequence", ());
        assert_eq!(rows.unwrap().inspect(|row| assert!(row.is_ok())).count(), events);
    }
}

fn connect(database: &Disposable) -> Conn {
    let options = Opts::from_url(database.url()).unwrap();
    let options = OptsBuilder::from_opts(options)
        .prefer_socket(false)
        .init(vec!["SET time_zone = '+00:00'"]);
    Conn::new(options).unwrap()
}

impl Backend for Mysql {
    fn lean_target(&self, threads: usize) -> Option<f64> {
        let of_16 = match self.flavour {
            Flavour::Mysql if self.name != Self::on_slow_disk(self.flavour) => 2.0,
            Flavour::Mysql | Flavour::Mariadb => 1.2,
        };
        (threads == 16).then_some(of_16)
    }

    fn own_dump(&self, database: &str, file: &Path) {
        let mut dump = self.server.command(self.flavour.dump());
        if self.flavour == Flavour::Mysql {
            dump.arg("--set-gtid-purged=OFF"); // which would need more rights to restore
        }
        dump.args([
            "--single-transaction",
            "--no-create-info",
            "--hex-blob",
            database,
            "events",
        ]);
        machine::run(dump.stdout(File::create(file).unwrap()));
    }

    fn own_restore(&self, file: &Path, database: &str) {
        let mut restore = self.server.command(self.flavour.client());
        machine::run(restore.arg(database).stdin(File::open(file).unwrap()));
    }

    fn own_check(&self, database: &str) {
        let mut check = self.server.command(self.flavour.client());
        machine::run(
            check
                .args([database, "--execute=CHECK TABLE events"])
                .stdout(Stdio::null()),
        );
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn database(&self, schema: Schema) -> Box<dyn Database> {
        let log = Log::new(&self.server);
        let builder = MysqlEventStore::builder(log.database.url());
        match schema {
            Schema::Lean => connect(&log.database).query_drop(LEAN).unwrap(),
            Schema::Ours => drop(builder.migrate().unwrap()),
            Schema::OursWithAllIndexes => drop(builder.indexes(Indexes::Full).migrate().unwrap()),
            Schema::OursWithoutIndexes => drop(builder.indexes(Indexes::Lean).migrate().unwrap()),
            Schema::Empty => {}
        }
        Box::new(log)
    }

    fn batches(&self) -> &'static [usize] {
        &[100, 1_000]
    }
}

/// A database on the server, and whether the raw driver's `INSERT` makes the same look-ups as the store's.
struct Log {
    database: Disposable,
    gate: bool,
    guard: bool,
}

impl Log {
    fn new(server: &MysqlServer) -> Self {
        Self {
            database: server.new_database(),
            gate: false,
            guard: false,
        }
    }
}

impl Database for Log {
    fn raw(&self) -> Box<dyn Raw> {
        Box::new(Connection {
            inner: connect(&self.database),
            gate: self.gate,
            guard: self.guard,
        })
    }

    fn name(&self) -> String {
        self.database.name().to_owned()
    }

    fn store(&self) -> Arc<dyn Operations> {
        let builder = MysqlEventStore::builder(self.database.url()).max_connections(32);
        Arc::new(builder.open().unwrap())
    }

    fn ungrouped_store(&self) -> Option<Arc<dyn Operations>> {
        let builder = MysqlEventStore::builder(self.database.url())
            .max_connections(32)
            .group(false);
        Some(Arc::new(builder.open().unwrap()))
    }

    fn make_read_model(&self) {
        let mut connection = connect(&self.database);
        for table in [
            "CREATE TABLE counts (name VARCHAR(50), aggregate_id BINARY(16), events BIGINT NOT NULL, PRIMARY KEY (name, aggregate_id))",
            "CREATE TABLE checkpoints (name VARCHAR(50) PRIMARY KEY, position BIGINT NOT NULL)",
        ] {
            connection.query_drop(table).unwrap();
        }
    }

    fn projector(&self) -> Projector {
        let store = MysqlEventStore::builder(self.database.url()).open().unwrap();
        Box::new(move |name, how| {
            let name = name.to_owned();
            project(&store, &Counts { name, how }).unwrap()
        })
    }

    fn statements(&self) -> Option<u64> {
        let status: Option<(String, u64)> = connect(&self.database)
            .query_first("SHOW GLOBAL STATUS LIKE 'Questions'")
            .unwrap();
        status.map(|(_, questions)| questions)
    }
}

/// Applies events to the read model.
fn count(connection: &mut impl Queryable, name: &str, aggregates: impl Iterator<Item = Uuid>, how: Applied) {
    let row = |(id, events): (Uuid, i64)| [name.into(), id.as_bytes().as_slice().into(), events.into()];
    let upsert = |rows: usize| {
        let rows = vec!["(?, ?, ?)"; rows].join(", ");
        format!("INSERT INTO counts VALUES {rows} ON DUPLICATE KEY UPDATE events = events + VALUES(events)")
    };
    match how {
        Applied::OneByOne => {
            let one = upsert(1);
            for id in aggregates {
                connection.exec_drop(&one, row((id, 1)).to_vec()).unwrap();
            }
        }
        Applied::Together => {
            let counted = counted(aggregates);
            let values: Vec<Value> = counted.iter().copied().flat_map(row).collect();
            connection.exec_drop(upsert(counted.len()), values).unwrap();
        }
    }
}

/// How many events each aggregate has.
struct Counts {
    name: String,
    how: Applied,
}

impl Projection<MysqlEventStore> for Counts {
    fn name(&self) -> &str {
        &self.name
    }

    fn query(&self) -> firefly_eventstore_core::Result<EventQuery> {
        Ok(EventQuery::new())
    }

    fn apply(&self, tx: &mut MysqlTransaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
        self.apply_all(tx, std::slice::from_ref(event))
    }

    fn apply_all(&self, tx: &mut MysqlTransaction<'_>, events: &[EventEnvelope]) -> Result<(), BoxError> {
        let aggregates = events.iter().map(|event| event.aggregate.id());
        count(tx.connection(), &self.name, aggregates, self.how);
        Ok(())
    }
}

/// The raw driver.
struct Connection {
    inner: Conn,
    gate: bool,
    guard: bool,
}

impl Raw for Connection {
    fn append(&mut self, common: &Common<'_>, events: &[&Sample]) {
        let last_version = common.aggregate.version;
        let aggregate_id = Value::from(common.aggregate.key.id().as_bytes().as_slice());
        let aggregate_type = Value::from(common.aggregate.key.aggregate_type().as_str());
        // For the first event of an aggregate, the store looks up nothing either.
        let is_guarded = self.guard && last_version > 0;
        let mut first = if is_guarded { GUARD.trim_end() } else { "?" }.to_owned();
        if self.gate {
            first = format!("{first} + 0 * {}", GATE.trim_end());
        }
        let mut rows = vec![ROW; events.len()];
        let first = ROW.replacen("?, ?, ?, ?", &format!("?, ?, ?, {first}"), 1);
        rows[0] = &first;
        let sql = format!("{INSERT}{}", rows.join(", "));
        let now = common.now.time;
        let now = Value::from(PrimitiveDateTime::new(now.date(), now.time()));
        let mut values = Vec::with_capacity(events.len() * 13);
        for (version, event) in (last_version + 1..).zip(events) {
            let row = &event.row;
            values.extend([
                Value::from(Uuid::now_v7().as_bytes().as_slice()),
                aggregate_id.clone(),
                aggregate_type.clone(),
            ]);
            if is_guarded && version == last_version + 1 {
                values.extend([
                    aggregate_id.clone(),
                    last_version.into(),
                    aggregate_type.clone(),
                    Value::NULL,
                ]);
            } else {
                values.push(version.into());
            }
            values.extend([
                row.event_type.as_str().into(),
                Value::from(&*row.data),
                row.metadata.as_deref().into(),
                now.clone(),
                row.created_by.as_str().into(),
                Value::NULL,
                common.correlation_id.into(),
                Value::NULL,
                row.checksum.as_str().into(),
            ]);
        }
        self.inner.exec_drop(sql, Params::Positional(values)).unwrap();
    }

    fn load(&mut self, aggregate_id: Uuid) -> usize {
        let sql = format!("SELECT {READ} FROM events WHERE aggregate_id = ? ORDER BY aggregate_version");
        read(&mut self.inner, &sql, vec![aggregate_id.as_bytes().as_slice().into()]).len()
    }

    fn page_of_type(&mut self, event_type: &str, after: i64, rows: i64) -> usize {
        let sql = format!(
            "SELECT {READ} FROM events WHERE event_type = ? AND global_sequence > ?
             ORDER BY global_sequence LIMIT ?"
        );
        read(
            &mut self.inner,
            &sql,
            vec![event_type.into(), after.into(), rows.into()],
        )
        .len()
    }

    fn scan(&mut self, events: i64) -> usize {
        let sql = format!("SELECT {READ} FROM events WHERE global_sequence <= ? ORDER BY global_sequence");
        let rows = self.inner.exec_iter(sql, (events,)).unwrap();
        rows.map(|row| Event::of(row.unwrap()))
            .inspect(|event| assert!(event.version > 0))
            .count()
    }

    fn page(&mut self, after: i64, until: i64, rows: i64) -> Vec<(i64, Uuid)> {
        let sql = format!(
            "SELECT {READ} FROM events WHERE global_sequence > ? AND global_sequence <= ?
             ORDER BY global_sequence LIMIT ?"
        );
        let page = read(&mut self.inner, &sql, vec![after.into(), until.into(), rows.into()]);
        page.iter()
            .map(|event| (event.global_sequence, event.aggregate_id))
            .collect()
    }

    fn last_sequence(&mut self) -> i64 {
        let last: Option<i64> = self
            .inner
            .query_first("SELECT MAX(global_sequence) FROM events")
            .unwrap();
        last.unwrap_or(0)
    }

    fn begin_read_model(&mut self, name: &str) {
        self.inner
            .exec_drop("INSERT INTO checkpoints VALUES (?, 0)", (name,))
            .unwrap();
    }

    fn apply(&mut self, name: &str, aggregates: &[Uuid], how: Applied, to: i64) {
        let mut transaction = self.inner.start_transaction(TxOpts::default()).unwrap();
        let lock = "SELECT position FROM checkpoints WHERE name = ? FOR UPDATE";
        let position: Option<i64> = transaction.exec_first(lock, (name,)).unwrap();
        assert!(position.unwrap() < to);
        count(&mut transaction, name, aggregates.iter().copied(), how);
        let advance = "UPDATE checkpoints SET position = ? WHERE name = ?";
        transaction.exec_drop(advance, (to, name)).unwrap();
        transaction.commit().unwrap();
    }
}

fn read(connection: &mut Conn, sql: &str, values: Vec<Value>) -> Vec<Event> {
    let rows = connection.exec_iter(sql, Params::Positional(values)).unwrap();
    rows.map(|row| Event::of(row.unwrap())).collect()
}

/// An event with every column decoded into what it owns; the JSON stays text.
#[expect(dead_code, reason = "most of what the raw driver reads is thrown away")]
struct Event {
    event_id: Uuid,
    aggregate_id: Uuid,
    aggregate_type: String,
    version: i64,
    global_sequence: i64,
    event_type: String,
    data: String,
    metadata: Option<String>,
    created_at: PrimitiveDateTime,
    updated_at: Option<PrimitiveDateTime>,
    created_by: Option<String>,
    tenant_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    size_bytes: Option<i64>,
    checksum: Option<String>,
}

impl Event {
    fn of(mut row: Row) -> Self {
        let mut id = |index| Uuid::from_slice(&row.take::<Vec<u8>, _>(index).unwrap()).unwrap();
        Self {
            event_id: id(0),
            aggregate_id: id(1),
            aggregate_type: row.take(2).unwrap(),
            version: row.take(3).unwrap(),
            global_sequence: row.take(4).unwrap(),
            event_type: row.take(5).unwrap(),
            data: row.take(6).unwrap(),
            metadata: row.take(7).unwrap(),
            created_at: row.take(8).unwrap(),
            updated_at: row.take(9).unwrap(),
            created_by: row.take(10).unwrap(),
            tenant_id: row.take(11).unwrap(),
            correlation_id: row.take(12).unwrap(),
            causation_id: row.take(13).unwrap(),
            size_bytes: row.take(14).unwrap(),
            checksum: row.take(15).unwrap(),
        }
    }
}
