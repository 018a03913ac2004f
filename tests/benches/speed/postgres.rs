//! PostgreSQL: a private server with its defaults, so that a commit waits for the disk.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use firefly_eventstore_core::consumer::{BoxError, Projection, project};
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::binary_copy::BinaryCopyInWriter;
use firefly_eventstore_postgres::driver::fallible_iterator::FallibleIterator;
use firefly_eventstore_postgres::driver::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use firefly_eventstore_postgres::driver::{Client, GenericClient, NoTls, Row, Statement};
use firefly_eventstore_postgres::{Indexes, Partitions, PostgresEventStore, PostgresTransaction};
use firefly_eventstore_test_servers::{Database as Disposable, Disk, PostgresServer};
use time::OffsetDateTime;

use crate::append;
use crate::backend::{Applied, Backend, Common, Database, Projector, Raw, Schema, counted};
use crate::events::Sample;
use crate::harness::{Bench, Comparison, Contender, compete, report};
use crate::partitions::{self, Filled};
use crate::{machine, retire};

pub(crate) struct Postgres {
    name: &'static str,
    server: PostgresServer,
}

const LEAN: &str = "
    CREATE TABLE events (
        event_id          UUID PRIMARY KEY,
        aggregate_id      UUID NOT NULL,
        aggregate_type    VARCHAR(255) NOT NULL,
        aggregate_version BIGINT NOT NULL,
        global_sequence   BIGSERIAL NOT NULL UNIQUE,
        event_type        VARCHAR(255) NOT NULL,
        event_data        JSONB NOT NULL,
        metadata          JSONB,
        created_at        TIMESTAMPTZ NOT NULL,
        updated_at        TIMESTAMPTZ,
        created_by        VARCHAR(255),
        tenant_id         VARCHAR(255),
        correlation_id    VARCHAR(255),
        causation_id      VARCHAR(255),
        checksum          VARCHAR(64),
        UNIQUE (aggregate_id, aggregate_version)
    )";

const WRITTEN: &str = "
    event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata, created_at,
    created_by, tenant_id, correlation_id, causation_id, checksum";

const VALUES: &str = "
    VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7::text::jsonb, $8, $9, $10, $11, $12, $13)";

const ARRAYS: &str = "
    SELECT e, $2, $3, v, t, d::jsonb, m::jsonb, $8, c, $10, $11, $12, s
    FROM unnest($1::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $9::text[], $13::text[])
        AS event (e, v, t, d, m, c, s)";

const READ: &str = "
    event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data, metadata,
    created_at, updated_at, created_by, tenant_id, correlation_id, causation_id, event_size_bytes, checksum";

impl Postgres {
    /// Starts a server. None if PostgreSQL is not installed, which is printed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_as("postgres", || PostgresServer::start(&[]))
    }

    /// Starts a server whose flushes take longer.
    pub(crate) fn start_on(disk: &Disk) -> Option<Self> {
        Self::start_as(Self::ON_SLOW_DISK, || PostgresServer::start_on(disk, &[]))
    }

    pub(crate) const ON_SLOW_DISK: &str = "postgres, slow disk";

    fn start_as(name: &'static str, start: impl FnOnce() -> Result<PostgresServer, String>) -> Option<Self> {
        let start = || {
            let server = start()?;
            let settings = "SELECT version() || '; fsync ' || current_setting('fsync') || ', synchronous_commit '
                || current_setting('synchronous_commit') || ', shared_buffers ' || current_setting('shared_buffers')";
            let mut client = Client::connect(&server.url("postgres"), NoTls).map_err(|error| error.to_string())?;
            let row = client.query_one(settings, &[]).map_err(|error| error.to_string())?;
            println!("{}, in {}", row.get::<_, String>(0), server.directory().display());
            Ok::<_, String>(Self { name, server })
        };
        start()
            .inspect_err(|reason| println!("PostgreSQL is left out: {reason}"))
            .ok()
    }

    /// The cost of each index, and of the trigger, per event: processor time in the server, and bytes of write-ahead log. Unlike rates,
    /// these do not depend on other users of the machine.
    pub(crate) fn costs(&self, bench: &Bench) {
        let name = format!("{}: costs of the schema", self.name());
        if !bench.wants(&name) {
            return;
        }
        let full = self.log(Schema::OursWithAllIndexes);
        let indexes = full.client().query(
            "SELECT indexname::text, indexdef FROM pg_indexes
             WHERE tablename = 'events' AND indexdef NOT LIKE 'CREATE UNIQUE%' ORDER BY 1",
            &[],
        );
        let mut additions: Vec<(String, String)> =
            indexes.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
        let column = "ALTER TABLE events ADD COLUMN event_size_bytes INTEGER
            GENERATED ALWAYS AS (octet_length(event_data::text)) STORED";
        let checks = "ALTER TABLE events ADD CHECK (aggregate_version > 0), ADD CHECK (event_type <> ''),
            ADD CHECK (aggregate_type <> '')";
        additions.push(("event_size_bytes".to_owned(), column.to_owned()));
        additions.push(("the checks".to_owned(), checks.to_owned()));

        println!("{name}, per event: alone, in a batch of 100");
        let lean = self.log(Schema::Lean);
        let base = lean.costs(bench);
        println!("  {:34} {base}", "the lean schema");
        for (what, statement) in additions {
            let log = self.log(Schema::Lean);
            log.client().batch_execute(&statement).unwrap();
            println!("  {what:34} {}", log.costs(bench).beyond(&base));
        }
        let bare = self.log(Schema::OursWithoutIndexes);
        let with_trigger = self.log(Schema::OursWithoutIndexes).costs(bench);
        bare.client()
            .batch_execute("DROP TRIGGER trigger_events_announce ON events")
            .unwrap();
        let bare = bare.costs(bench);
        println!("  {:34} {}", "trigger_events_announce", with_trigger.beyond(&bare));
        for (what, schema) in [
            ("ours, lean", Schema::OursWithoutIndexes),
            ("ours, standard", Schema::Ours),
            ("ours, full", Schema::OursWithAllIndexes),
        ] {
            println!("  {what:34} {}", self.log(schema).costs(bench).beyond(&base));
        }
        self.cost_of_notifying(bench);
    }

    /// The cost of notifications: commits with a notification wait for each other.
    fn cost_of_notifying(&self, bench: &Bench) {
        for threads in [1, 16] {
            let with = self.log(Schema::Ours);
            drop(
                PostgresEventStore::builder(with.0.url())
                    .notify(true)
                    .migrate()
                    .unwrap(),
            );
            let without = self.log(Schema::Ours);
            let mut with = append::raw_workers(&with, threads);
            let mut without = append::raw_workers(&without, threads);
            let events = bench.scaled(4_000, 2_000);
            let mut contenders = [
                Contender::new(|| append::append(&mut with, events, 1)),
                Contender::new(|| append::append(&mut without, events, 1)),
            ];
            compete(bench.rounds(), &mut contenders);
            let [with, without] = &contenders;
            let comparison = Comparison {
                name: "with/without",
                ratio: with.ratio_to(without),
                target: None,
            };
            let name = format!("{}: notify, threads: {threads}", self.name());
            report(&name, without.rate(), &[comparison]);
        }
    }

    /// Commits do not wait for the disk, which would hide the cost of partitions.
    pub(crate) fn partitions(&self, bench: &Bench) {
        let start = || {
            let server = PostgresServer::start(&[("fsync", "off")]).unwrap();
            move |partitions: Option<Partitions>| {
                let log = Log(server.new_database());
                let builder = PostgresEventStore::builder(log.0.url());
                match partitions {
                    Some(partitions) => drop(builder.partitions(partitions).migrate().unwrap()),
                    None => drop(builder.migrate().unwrap()),
                }
                Box::new(log) as Box<dyn Database>
            }
        };
        partitions::run(bench, self.name(), start);
        partitions::run_joined(bench, self.name(), start);
        partitions::run_by_type(bench, self.name(), start);
        self.sizes(bench);
    }

    /// What a log in partitions saves: the bytes of the indexes that appends change, and the work of `VACUUM` after events were archived.
    fn sizes(&self, bench: &Bench) {
        let name = format!("{}, partitioned: indexes and vacuum", self.name());
        if !bench.wants(&name) {
            return;
        }
        let events = partitions::events(bench);
        println!("{name}, {events} events, of which a tenth is archived");
        let server = PostgresServer::start(&[("fsync", "off")]).unwrap();
        for partitions in [None, Some(Partitions::by_events(events as u64 / 10))] {
            let log = Log(server.new_database());
            let mut client = log.client();
            let mut builder = PostgresEventStore::builder(log.0.url());
            let layout = match partitions {
                None => "one table",
                Some(partitions) => {
                    builder = builder.partitions(partitions);
                    "12 partitions"
                }
            };
            builder.migrate().unwrap();
            let filled = Filled::of(Box::new(log), events, 10);
            let (newest, all) = bytes_of_indexes(&mut client);
            println!("  {layout}: indexes {all:.0} MiB, of which appends change {newest:.0} MiB");
            retire::retire_first(&*filled.store, events as u64 / 10);
            let (_, left) = bytes_of_indexes(&mut client);
            let start = Instant::now();
            client.batch_execute("VACUUM events").unwrap();
            let vacuum = start.elapsed().as_secs_f64();
            println!("    a tenth archived: indexes {left:.0} MiB; VACUUM events {vacuum:.2} s");
        }
    }

    fn new_database(&self) -> Log {
        Log(self.server.new_database())
    }

    fn log(&self, schema: Schema) -> Log {
        let log = self.new_database();
        let builder = PostgresEventStore::builder(log.0.url());
        match schema {
            Schema::Lean => log.client().batch_execute(LEAN).unwrap(),
            Schema::Ours => drop(builder.migrate().unwrap()),
            Schema::OursWithAllIndexes => drop(builder.indexes(Indexes::Full).migrate().unwrap()),
            Schema::OursWithoutIndexes => drop(builder.indexes(Indexes::Lean).migrate().unwrap()),
            Schema::Empty => {}
        }
        log
    }
}

impl Backend for Postgres {
    fn lean_target(&self, threads: usize) -> Option<f64> {
        let of_16 = if self.name == Self::ON_SLOW_DISK { 1.2 } else { 1.5 };
        (threads == 16).then_some(of_16)
    }

    fn own_dump(&self, database: &str, file: &Path) {
        let mut dump = self.server.command("pg_dump");
        dump.args(["--data-only", "--table=events", database]);
        machine::run(dump.stdout(File::create(file).unwrap()));
    }

    fn own_restore(&self, file: &Path, database: &str) {
        let mut restore = self.server.command("psql");
        restore.args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname", database]);
        machine::run(restore.stdin(File::open(file).unwrap()).stdout(Stdio::null()));
    }

    fn own_check(&self, database: &str) {
        let mut check = self.server.command("pg_amcheck");
        machine::run(check.args(["--install-missing", "--table=events", database]));
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn database(&self, schema: Schema) -> Box<dyn Database> {
        Box::new(self.log(schema))
    }

    fn batches(&self) -> &'static [usize] {
        &[100, 1_000]
    }
}

/// The MiB of the indexes of events and their keys: those that appends change, which is all but those of earlier partitions, and all.
fn bytes_of_indexes(client: &mut Client) -> (f64, f64) {
    let bytes = "
        WITH tables AS (
            SELECT 'events'::regclass AS oid UNION ALL SELECT to_regclass('firefly_event_keys')
            UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'events'::regclass
        ), written AS (
            SELECT tableoid AS oid FROM events ORDER BY global_sequence DESC LIMIT 1
        )
        SELECT SUM(pg_indexes_size(tables.oid)) FILTER (WHERE inhrelid IS NULL OR tables.oid IN (SELECT oid FROM written))::double precision,
            SUM(pg_indexes_size(tables.oid))::double precision
        FROM tables LEFT JOIN pg_inherits ON inhrelid = tables.oid";
    let row = client.query_one(bytes, &[]).unwrap();
    let mebibytes = |column| row.get::<_, f64>(column) / f64::from(1 << 20);
    (mebibytes(0), mebibytes(1))
}

/// A database on the server.
struct Log(Disposable);

/// The server's cost of an event: microseconds of processor time and bytes of write-ahead log, alone and in a batch.
struct Costs([(f64, f64); 2]);

impl Costs {
    fn beyond(&self, base: &Self) -> Self {
        let [alone, batch] = self.0;
        let [base_alone, base_batch] = base.0;
        let difference = |(cpu, wal), (base_cpu, base_wal)| (cpu - base_cpu, wal - base_wal);
        Self([difference(alone, base_alone), difference(batch, base_batch)])
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(cpu, wal), (batch_cpu, batch_wal)] = self.0;
        write!(
            f,
            "{cpu:6.1} µs {wal:6.0} bytes, {batch_cpu:6.1} µs {batch_wal:6.0} bytes"
        )
    }
}

impl Log {
    fn costs(&self, bench: &Bench) -> Costs {
        let mut worker = append::raw_workers(self, 1);
        Costs([(1, 12_000), (100, 60_000)].map(|(batch, events)| {
            let events = bench.scaled(events, events / 4);
            append::append(&mut worker, events / 4, batch);
            let mut client = self.client();
            client.batch_execute("CHECKPOINT").unwrap();
            let (cpu, wal) = self.used(&mut client);
            append::append(&mut worker, events, batch);
            let (cpu_after, wal_after) = self.used(&mut client);
            let per_event = |used: f64| used / events as f64;
            (per_event(cpu_after - cpu), per_event(wal_after - wal))
        }))
    }

    /// The processor time, in microseconds, of this database's other connections, and the position in the write-ahead log.
    fn used(&self, client: &mut Client) -> (f64, f64) {
        let query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let pids = client.query(query, &[]).unwrap();
        let ticks: f64 = pids.iter().map(|row| machine::cpu_ticks(row.get::<_, i32>(0))).sum();
        let query = "SELECT (pg_current_wal_insert_lsn() - '0/0')::double precision";
        let wal = client.query_one(query, &[]).unwrap();
        (ticks * 1e6 / machine::TICKS_A_SECOND, wal.get(0))
    }

    fn client(&self) -> Client {
        Client::connect(self.0.url(), NoTls).unwrap()
    }

    fn connection(&self, bulk: bool) -> Connection {
        Connection {
            client: self.client(),
            statements: HashMap::new(),
            bulk,
        }
    }
}

impl Database for Log {
    fn raw(&self) -> Box<dyn Raw> {
        Box::new(self.connection(false))
    }

    fn bulk(&self) -> Option<Box<dyn Raw>> {
        Some(Box::new(self.connection(true)))
    }

    fn name(&self) -> String {
        self.0.url().to_owned()
    }

    fn store(&self) -> Arc<dyn Operations> {
        let builder = PostgresEventStore::builder(self.0.url()).max_connections(32);
        Arc::new(builder.open().unwrap())
    }

    fn ungrouped_store(&self) -> Option<Arc<dyn Operations>> {
        let builder = PostgresEventStore::builder(self.0.url())
            .max_connections(32)
            .group(false);
        Some(Arc::new(builder.open().unwrap()))
    }

    fn make_read_model(&self) {
        let tables = "
            CREATE TABLE counts (name TEXT, aggregate_id UUID, events BIGINT NOT NULL, PRIMARY KEY (name, aggregate_id));
            CREATE TABLE checkpoints (name TEXT PRIMARY KEY, position BIGINT NOT NULL)";
        self.client().batch_execute(tables).unwrap();
    }

    fn projector(&self) -> Projector {
        let store = PostgresEventStore::builder(self.0.url()).open().unwrap();
        Box::new(move |name, how| {
            let name = name.to_owned();
            project(&store, &Counts { name, how }).unwrap()
        })
    }

    /// A statement outside of a transaction counts as one. A server publishes its counters after a second, or after ten if nothing happens.
    fn statements(&self) -> Option<u64> {
        thread::sleep(Duration::from_secs(11));
        let query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
        let row = self.client().query_one(query, &[]).unwrap();
        u64::try_from(row.get::<_, i64>(0)).ok()
    }
}

const COUNT_ONE: &str = "
    INSERT INTO counts VALUES ($1, $2, 1)
    ON CONFLICT (name, aggregate_id) DO UPDATE SET events = counts.events + 1";

const COUNT_ALL: &str = "
    INSERT INTO counts SELECT $1, counted.* FROM unnest($2::uuid[], $3::bigint[]) AS counted
    ON CONFLICT (name, aggregate_id) DO UPDATE SET events = counts.events + excluded.events";

/// Applies events to the read model.
fn count(client: &mut impl GenericClient, name: &str, aggregates: impl Iterator<Item = Uuid>, how: Applied) {
    match how {
        Applied::OneByOne => aggregates.for_each(|id| {
            client.execute(COUNT_ONE, &[&name, &id]).unwrap();
        }),
        Applied::Together => {
            let (ids, counts): (Vec<Uuid>, Vec<i64>) = counted(aggregates).into_iter().unzip();
            client.execute(COUNT_ALL, &[&name, &ids, &counts]).unwrap();
        }
    }
}

/// How many events each aggregate has.
struct Counts {
    name: String,
    how: Applied,
}

impl Projection<PostgresEventStore> for Counts {
    fn name(&self) -> &str {
        &self.name
    }

    fn query(&self) -> firefly_eventstore_core::Result<EventQuery> {
        Ok(EventQuery::new())
    }

    fn apply(&self, tx: &mut PostgresTransaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
        self.apply_all(tx, std::slice::from_ref(event))
    }

    fn apply_all(&self, tx: &mut PostgresTransaction<'_>, events: &[EventEnvelope]) -> Result<(), BoxError> {
        let aggregates = events.iter().map(|event| event.aggregate.id());
        count(tx.connection(), &self.name, aggregates, self.how);
        Ok(())
    }
}

/// A connection with its prepared statements.
struct Connection {
    client: Client,
    statements: HashMap<String, Statement>,
    bulk: bool,
}

impl Connection {
    fn prepared(&mut self, sql: &str) -> Statement {
        if let Some(statement) = self.statements.get(sql) {
            return statement.clone();
        }
        let statement = self.client.prepare(sql).unwrap();
        self.statements.insert(sql.to_owned(), statement.clone());
        statement
    }

    fn insert(&mut self, common: &Common<'_>, event: &Sample) {
        let statement = self.prepared(&format!("INSERT INTO events ({WRITTEN}) {VALUES}"));
        let row = &event.row;
        let values: [&(dyn ToSql + Sync); 13] = [
            &Uuid::now_v7(),
            &common.aggregate.key.id(),
            &common.aggregate.key.aggregate_type().as_str(),
            &(common.aggregate.version + 1),
            &row.event_type,
            &&*row.data,
            &row.metadata.as_deref(),
            &common.now.time,
            &row.created_by,
            &None::<&str>,
            &common.correlation_id,
            &None::<&str>,
            &row.checksum,
        ];
        self.client.execute(&statement, &values).unwrap();
    }

    fn insert_arrays(&mut self, common: &Common<'_>, events: &[&Sample]) {
        let statement = self.prepared(&format!("INSERT INTO events ({WRITTEN}) {ARRAYS}"));
        let version = common.aggregate.version;
        let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
        let versions: Vec<i64> = (version + 1..).take(events.len()).collect();
        let types: Vec<&str> = events.iter().map(|event| event.row.event_type.as_str()).collect();
        let data: Vec<&str> = events.iter().map(|event| &*event.row.data).collect();
        let metadata: Vec<Option<&str>> = events.iter().map(|event| event.row.metadata.as_deref()).collect();
        let creators: Vec<&str> = events.iter().map(|event| event.row.created_by.as_str()).collect();
        let checksums: Vec<&str> = events.iter().map(|event| event.row.checksum.as_str()).collect();
        let values: [&(dyn ToSql + Sync); 13] = [
            &ids,
            &common.aggregate.key.id(),
            &common.aggregate.key.aggregate_type().as_str(),
            &versions,
            &types,
            &data,
            &metadata,
            &common.now.time,
            &creators,
            &None::<&str>,
            &common.correlation_id,
            &None::<&str>,
            &checksums,
        ];
        self.client.execute(&statement, &values).unwrap();
    }

    fn copy(&mut self, common: &Common<'_>, events: &[&Sample]) {
        const TYPES: [Type; 13] = [
            Type::UUID,
            Type::UUID,
            Type::VARCHAR,
            Type::INT8,
            Type::VARCHAR,
            Type::JSONB,
            Type::JSONB,
            Type::TIMESTAMPTZ,
            Type::VARCHAR,
            Type::VARCHAR,
            Type::VARCHAR,
            Type::VARCHAR,
            Type::VARCHAR,
        ];
        let sql = format!("COPY events ({WRITTEN}) FROM STDIN BINARY");
        let mut rows = BinaryCopyInWriter::new(self.client.copy_in(&sql).unwrap(), &TYPES);
        for (version, event) in (common.aggregate.version + 1..).zip(events) {
            let row = &event.row;
            rows.write(&[
                &Uuid::now_v7(),
                &common.aggregate.key.id(),
                &common.aggregate.key.aggregate_type().as_str(),
                &version,
                &row.event_type,
                &Json(&row.data),
                &row.metadata.as_deref().map(Json),
                &common.now.time,
                &row.created_by,
                &None::<&str>,
                &common.correlation_id,
                &None::<&str>,
                &row.checksum,
            ])
            .unwrap();
        }
        rows.finish().unwrap();
    }

    fn events(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Event> {
        let statement = self.prepared(sql);
        let rows = self.client.query(&statement, parameters).unwrap();
        rows.iter().map(Event::of).collect()
    }
}

impl Raw for Connection {
    fn append(&mut self, common: &Common<'_>, events: &[&Sample]) {
        match events {
            _ if self.bulk => self.copy(common, events),
            [event] => self.insert(common, event),
            events => self.insert_arrays(common, events),
        }
    }

    fn load(&mut self, aggregate_id: Uuid) -> usize {
        let sql = format!("SELECT {READ} FROM events WHERE aggregate_id = $1 ORDER BY aggregate_version");
        self.events(&sql, &[&aggregate_id]).len()
    }

    fn page_of_type(&mut self, event_type: &str, after: i64, rows: i64) -> usize {
        let sql = format!(
            "SELECT {READ} FROM events WHERE event_type = $1 AND global_sequence > $2
             ORDER BY global_sequence LIMIT $3"
        );
        self.events(&sql, &[&event_type, &after, &rows]).len()
    }

    fn scan(&mut self, events: i64) -> usize {
        let statement = self.prepared(&format!(
            "SELECT {READ} FROM events WHERE global_sequence <= $1 ORDER BY global_sequence"
        ));
        let rows = self.client.query_raw(&statement, [events]).unwrap();
        rows.map(|row| Ok(Event::of(&row))).count().unwrap()
    }

    fn page(&mut self, after: i64, until: i64, rows: i64) -> Vec<(i64, Uuid)> {
        let sql = format!(
            "SELECT {READ} FROM events WHERE global_sequence > $1 AND global_sequence <= $2
             ORDER BY global_sequence LIMIT $3"
        );
        let page = self.events(&sql, &[&after, &until, &rows]);
        page.iter()
            .map(|event| (event.global_sequence, event.aggregate_id))
            .collect()
    }

    fn last_sequence(&mut self) -> i64 {
        let statement = self.prepared("SELECT COALESCE(MAX(global_sequence), 0) FROM events");
        self.client.query_one(&statement, &[]).unwrap().get(0)
    }

    fn begin_read_model(&mut self, name: &str) {
        self.client
            .execute("INSERT INTO checkpoints VALUES ($1, 0)", &[&name])
            .unwrap();
    }

    fn apply(&mut self, name: &str, aggregates: &[Uuid], how: Applied, to: i64) {
        let lock = self.prepared("SELECT position FROM checkpoints WHERE name = $1 FOR UPDATE");
        let advance = self.prepared("UPDATE checkpoints SET position = $2 WHERE name = $1");
        let mut transaction = self.client.transaction().unwrap();
        let position: i64 = transaction.query_one(&lock, &[&name]).unwrap().get(0);
        assert!(position < to);
        count(&mut transaction, name, aggregates.iter().copied(), how);
        transaction.execute(&advance, &[&name, &to]).unwrap();
        transaction.commit().unwrap();
    }
}

/// The text of a JSONB column.
#[derive(Debug)]
struct Json<'a>(&'a str);

const JSONB_VERSION: u8 = 1;

impl<'a> FromSql<'a> for Json<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let text = raw.strip_prefix(&[JSONB_VERSION]).ok_or("not JSONB")?;
        Ok(Self(std::str::from_utf8(text)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}

impl ToSql for Json<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_u8(JSONB_VERSION);
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }

    to_sql_checked!();
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
    created_at: OffsetDateTime,
    updated_at: Option<OffsetDateTime>,
    created_by: Option<String>,
    tenant_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    size_bytes: Option<i32>,
    checksum: Option<String>,
}

impl Event {
    fn of(row: &Row) -> Self {
        Self {
            event_id: row.get(0),
            aggregate_id: row.get(1),
            aggregate_type: row.get(2),
            version: row.get(3),
            global_sequence: row.get(4),
            event_type: row.get(5),
            data: row.get::<_, Json<'_>>(6).0.to_owned(),
            metadata: row.get::<_, Option<Json<'_>>>(7).map(|json| json.0.to_owned()),
            created_at: row.get(8),
            updated_at: row.get(9),
            created_by: row.get(10),
            tenant_id: row.get(11),
            correlation_id: row.get(12),
            causation_id: row.get(13),
            size_bytes: row.get(14),
            checksum: row.get(15),
        }
    }
}
