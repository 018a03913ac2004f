//! Migrations: a new schema, several processes that migrate at once, interrupted migrations, another choice of indexes, and tables that
//! were made by hand from the source document.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, thread};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{SchemaProblem, verify};
use firefly_eventstore_postgres::driver::{Client, Config};
use firefly_eventstore_postgres::{Indexes, PostgresEventStore};
use firefly_eventstore_test_servers::{Database, PostgresServer};

use crate::support::{account, all_events, client, database, deposited, fresh};

/// The source document's tables, by its version 1.0.0 and its V4, without the parts that PostgreSQL refuses.
const BY_HAND: &str = "
    CREATE TABLE events (
        event_id UUID PRIMARY KEY,
        aggregate_id UUID NOT NULL,
        aggregate_type VARCHAR(255) NOT NULL,
        aggregate_version BIGINT NOT NULL,
        global_sequence BIGSERIAL UNIQUE,
        event_type VARCHAR(255) NOT NULL,
        event_data JSONB NOT NULL,
        metadata JSONB,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
        UNIQUE(aggregate_id, aggregate_version)
    );
    CREATE INDEX idx_events_aggregate ON events(aggregate_id, aggregate_type);
    CREATE INDEX idx_events_global_sequence ON events(global_sequence);
    CREATE INDEX idx_events_type ON events(event_type);
    CREATE INDEX idx_events_created_at ON events(created_at);";

const BY_HAND_V4: &str = "
    ALTER TABLE events ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE, ADD COLUMN created_by VARCHAR(255),
        ADD COLUMN tenant_id VARCHAR(255), ADD COLUMN correlation_id VARCHAR(255), ADD COLUMN causation_id VARCHAR(255),
        ADD COLUMN event_size_bytes INTEGER, ADD COLUMN checksum VARCHAR(64),
        ADD CHECK (aggregate_version > 0), ADD CHECK (event_type <> ''), ADD CHECK (aggregate_type <> '');
    CREATE INDEX idx_events_tenant_id ON events(tenant_id) WHERE tenant_id IS NOT NULL;
    CREATE INDEX idx_events_metadata_gin ON events USING GIN (metadata jsonb_path_ops);
    CREATE FUNCTION calculate_event_size() RETURNS TRIGGER AS $$
        BEGIN NEW.event_size_bytes = LENGTH(NEW.event_data::text); RETURN NEW; END; $$ LANGUAGE plpgsql;
    CREATE TRIGGER trigger_calculate_event_size BEFORE INSERT OR UPDATE ON events
        FOR EACH ROW EXECUTE FUNCTION calculate_event_size();
    CREATE VIEW v_event_statistics AS SELECT event_type, AVG(event_size_bytes) AS avg_size_bytes FROM events GROUP BY 1;
    CREATE MATERIALIZED VIEW mv_aggregate_summary AS SELECT aggregate_id, SUM(event_size_bytes) FROM events GROUP BY 1;";

/// The source document's sample data, with valid aggregate ids.
const SAMPLE: &str = r#"
    INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, global_sequence, event_type, event_data,
        metadata, created_at)
    VALUES
    ('550e8400-e29b-41d4-a716-446655440000', '123e4567-e89b-12d3-a456-426614174000', 'Account', 1, 1001, 'account.created',
     '{"accountNumber":"ACC001","initialBalance":1000.00,"owner":"Zoë"}', '{"correlationId":"corr-001"}', '2025-01-15 10:30:00+00'),
    ('550e8400-e29b-41d4-a716-446655440001', '123e4567-e89b-12d3-a456-426614174000', 'Account', 2, 1002, 'money.deposited',
     '{"amount":250.00,"reference":"DEP-001"}', '{"correlationId":"corr-002"}', '2025-01-15 10:35:00+00');
    SELECT setval('events_global_sequence_seq', 1002);"#;

fn open(database: &Database) -> PostgresEventStore {
    PostgresEventStore::open(database.url()).unwrap()
}

#[test]
fn tables_made_by_hand_are_adopted_with_their_rows() {
    for script in [
        format!("{BY_HAND}{SAMPLE}"),
        format!("{BY_HAND}{BY_HAND_V4}{SAMPLE}"),
        format!("{BY_HAND}{SAMPLE}{BY_HAND_V4}"),
    ] {
        let Some(database) = database() else { return };
        client(&database).batch_execute(&script).unwrap();
        assert!(
            PostgresEventStore::open(database.url()).is_err(),
            "not before it is migrated"
        );
        PostgresEventStore::builder(database.url()).migrate().unwrap();
        let store = open(&database);
        let log = all_events(&store);
        assert_eq!(
            log.iter().map(|event| event.global_sequence.get()).collect::<Vec<_>>(),
            [1001, 1002]
        );
        assert!(log.iter().all(|event| event.updated_at.is_none()));
        let bytes = log[0].data.as_str().len() as u32;
        assert_eq!(log[0].size_bytes, Some(bytes), "bytes, not characters");
        let found = verify(&store, EventQuery::new(), |_| ()).unwrap();
        assert_eq!((found.checked, found.is_intact()), (2, true));

        let account = log[0].aggregate.clone();
        let appended = store.append(&account, Version::from(2), &[deposited(1)]).unwrap();
        assert_eq!(appended.last_sequence(), Some(GlobalSequence::from(1003)));
        assert!(
            PostgresEventStore::builder(database.url())
                .migrate()
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            catalog(&database),
            catalog(&fresh().unwrap().0),
            "adopted and new schemas differ"
        );
    }
}

#[test]
fn snapshots_made_by_hand_are_adopted_with_their_rows() {
    let Some(database) = database() else { return };
    let by_hand = "
        CREATE TABLE snapshots (
            snapshot_id UUID PRIMARY KEY,
            aggregate_id UUID NOT NULL,
            aggregate_type VARCHAR(255) NOT NULL,
            version BIGINT NOT NULL,
            snapshot_type VARCHAR(255) NOT NULL,
            snapshot_data JSONB NOT NULL,
            created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
            UNIQUE(aggregate_id, version)
        );
        CREATE INDEX idx_snapshots_aggregate ON snapshots(aggregate_id, aggregate_type);
        CREATE INDEX idx_snapshots_version ON snapshots(aggregate_id, version DESC);
        CREATE INDEX idx_snapshots_created_at ON snapshots(created_at);
        INSERT INTO snapshots (snapshot_id, aggregate_id, aggregate_type, version, snapshot_type, snapshot_data)
        SELECT gen_random_uuid(), '123e4567-e89b-12d3-a456-426614174000', 'Account', number, 'state',
            jsonb_build_object('balance', number)
        FROM generate_series(1, 1500) AS number;";
    client(&database).batch_execute(by_hand).unwrap();
    PostgresEventStore::builder(database.url()).migrate().unwrap();
    assert_eq!(catalog(&database), catalog(&fresh().unwrap().0));
    let id = Uuid::parse_str("123e4567-e89b-12d3-a456-426614174000").unwrap();
    let account = AggregateKey::new("Account", id).unwrap();
    let snapshots = open(&database).list_snapshots(None, &account).unwrap();
    assert_eq!(snapshots.len(), 1_500);
    for snapshot in snapshots {
        assert!(snapshot.checksum.is_some());
        snapshot.verify().unwrap();
    }
}

/// Every index, constraint, trigger and column, with its definition.
fn catalog(database: &Database) -> Vec<String> {
    let definitions = "
        SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, is_nullable, column_default)
                  FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT viewname || definition FROM pg_views WHERE schemaname = 'public'
        UNION ALL SELECT proname || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    let rows = client(database).query(definitions, &[]).unwrap();
    let mut definitions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    definitions.sort_unstable();
    definitions
}

#[test]
fn checksums_that_were_not_filled_in_yet_are_when_migrating_again() {
    let Some((database, store)) = fresh() else { return };
    for _ in 0..3 {
        let events: Vec<NewEvent> = (0..900).map(deposited).collect();
        store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    }
    client(&database)
        .batch_execute(
            "UPDATE events SET checksum = NULL WHERE global_sequence > 500; UPDATE events SET updated_at = NULL",
        )
        .unwrap();
    PostgresEventStore::builder(database.url()).migrate().unwrap();
    let found = verify(&store, EventQuery::new(), |_| ()).unwrap();
    assert_eq!((found.checked, found.is_intact()), (2_700, true));
}

#[test]
fn twenty_that_migrate_at_once_run_each_step_once() {
    let Some(database) = database() else { return };
    let applied = thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..20 {
            let migrate = || {
                PostgresEventStore::builder(database.url())
                    .schema("ledger")
                    .migrate()
                    .unwrap()
            };
            threads.push(scope.spawn(migrate));
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap().len())
            .sum::<usize>()
    });
    assert_eq!(applied, VERSIONS.len());
}

/// The versions of the schema.
const VERSIONS: [&str; 12] = [
    "1.0.0", "1.1.0", "1.2.0", "4.0.0", "5.0.0", "5.1.0", "5.2.0", "6.0.0", "6.1.0", "7.0.0", "8.0.0", "9.0.0",
];

#[test]
fn twenty_processes_that_migrate_at_once_run_each_step_once() {
    let Some(database) = database() else { return };
    let mut processes: Vec<Peer> = (0..20).map(|_| Peer::start(&database, None)).collect();
    for process in &mut processes {
        process.go_on();
    }
    let mut told: Vec<String> = processes.iter_mut().flat_map(Peer::hear).collect();
    told.sort_unstable();
    let mut expected = vec![format!("applied {}", VERSIONS.join(" "))];
    expected.extend((1..20).map(|_| "applied ".to_owned()));
    expected.sort_unstable();
    assert_eq!(told, expected);
    let recorded = "SELECT version FROM firefly_schema_history ORDER BY installed_rank";
    let recorded = client(&database).query(recorded, &[]).unwrap();
    let recorded: Vec<&str> = recorded.iter().map(|row| row.get(0)).collect();
    assert_eq!(recorded, VERSIONS);
    assert_eq!(catalog(&database), catalog(&fresh().unwrap().0));
}

/// Functions by which a session stops at the statement that its settings name. It raises a notice and waits for the advisory lock that its
/// settings name.
const WAITING: &str = "
    CREATE SCHEMA waiting;
    CREATE FUNCTION waiting.wait() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        until integer := COALESCE(NULLIF(current_setting('waiting.until', true), ''), '0');
    BEGIN
        PERFORM set_config('waiting.until', (until - 1)::text, false);
        IF until = 1 THEN
            RAISE NOTICE 'waiting';
            PERFORM pg_advisory_lock(current_setting('waiting.lock')::bigint);
        END IF;
    END $$;
    CREATE FUNCTION waiting.at_definition() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM waiting.wait(); END';
    CREATE FUNCTION waiting.at_update() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM waiting.wait(); RETURN NULL; END';";

/// Where a process waits: at the how-manieth statement, and for which lock.
#[derive(Clone, Copy)]
struct Wait {
    until: u32,
    lock: i64,
}

fn hold(client: &mut Client, wait: Wait) {
    client.query("SELECT pg_advisory_lock($1)", &[&wait.lock]).unwrap();
}

fn release(client: &mut Client, wait: Wait) {
    client.query("SELECT pg_advisory_unlock($1)", &[&wait.lock]).unwrap();
}

/// Makes every session able to wait at each statement that defines something.
fn wait_at_definitions(client: &mut Client) {
    let script =
        format!("{WAITING} CREATE EVENT TRIGGER wait ON ddl_command_end EXECUTE FUNCTION waiting.at_definition();");
    client.batch_execute(&script).unwrap();
}

/// The range of statements to wait at: more than one step has, fewer than all steps have together.
const STATEMENTS: std::ops::RangeInclusive<u32> = 1..=60;

#[test]
fn processes_that_are_killed_while_they_migrate_leave_nothing_in_the_way() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for tables in ["", BY_HAND, &format!("{BY_HAND}{BY_HAND_V4}")] {
        let Some(database) = database() else { return };
        let mut other = client(&database);
        let sample = if tables.is_empty() { "" } else { SAMPLE };
        other.batch_execute(&format!("{tables}{sample}")).unwrap();
        wait_at_definitions(&mut other);
        let mut killed = 0;
        for lock in 0..8 {
            let until = random.u32(STATEMENTS);
            let wait = Wait { until, lock };
            hold(&mut other, wait);
            let mut process = Peer::start(&database, Some(wait));
            process.go_on();
            if process.hear().unwrap() == "waiting" {
                process.kill();
                killed += 1;
            }
            // The server goes on with the statement that the killed process had sent. The next process waits for that.
            release(&mut other, wait);
        }
        assert!(killed > 0);
        assert_migrates(&database, sample);
    }
}

#[test]
fn a_server_that_is_stopped_while_a_process_migrates_leaves_nothing_in_the_way() {
    if database().is_none() {
        return;
    }
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let server = PostgresServer::start(&[]).unwrap();
    let database = server.new_database();
    let mut other = client(&database);
    other.batch_execute(&format!("{BY_HAND}{SAMPLE}")).unwrap();
    wait_at_definitions(&mut other);
    for lock in 0..6 {
        let until = random.u32(STATEMENTS);
        let wait = Wait { until, lock };
        let mut other = client(&database);
        hold(&mut other, wait);
        let mut process = Peer::start(&database, Some(wait));
        process.go_on();
        let told = process.hear().unwrap();
        let signal = if lock % 2 == 0 { "QUIT" } else { "KILL" };
        server.kill(signal);
        if told == "waiting" {
            // After SIGKILL to the server, the process that serves the session lives on and may finish its statement.
            let told = process.hear().unwrap();
            assert!(told == "retry" || signal == "KILL", "{told}");
        }
        server.restart();
    }
    assert_migrates(&database, SAMPLE);
}

/// Migrates the database, and asserts that its schema is that of a new one and that it has kept its rows.
fn assert_migrates(database: &Database, rows: &str) {
    PostgresEventStore::builder(database.url()).migrate().unwrap();
    assert_eq!(catalog(database), catalog(&fresh().unwrap().0));
    let store = open(database);
    let stored = if rows.is_empty() { 0 } else { 2 };
    let found = verify(&store, EventQuery::new(), |_| ()).unwrap();
    assert_eq!((found.checked, found.is_intact()), (stored, true));
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(all_events(&store).len() as u64, stored + 1);
}

#[test]
fn a_process_that_is_killed_while_it_computes_checksums_leaves_the_rest_to_the_next() {
    let Some(database) = database() else { return };
    let mut other = client(&database);
    let rows = "
        INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
        SELECT gen_random_uuid(), gen_random_uuid(), 'Account', 1, 'account.opened', jsonb_build_object('number', number)
        FROM generate_series(1, 5000) AS number;
        CREATE TRIGGER wait BEFORE UPDATE ON events FOR EACH STATEMENT EXECUTE FUNCTION waiting.at_update();";
    other.batch_execute(&format!("{WAITING}{BY_HAND}{rows}")).unwrap();
    let wait = Wait { until: 3, lock: 0 };
    hold(&mut other, wait);
    let mut process = Peer::start(&database, Some(wait));
    process.go_on();
    assert_eq!(process.hear().as_deref(), Some("waiting"));
    process.kill();
    // The server would go on with the statement of the killed process. Ending the session and waiting for its end makes the state certain.
    let terminate = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    assert_eq!(other.query(terminate, &[]).unwrap().len(), 1);

    let mut computed = || {
        let rows = "SELECT event_id, xmin::text FROM events WHERE checksum IS NOT NULL ORDER BY global_sequence";
        let rows = other.query(rows, &[]).unwrap();
        rows.iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect::<Vec<(Uuid, String)>>()
    };
    let before = computed();
    assert_eq!(before.len(), 2_000);
    PostgresEventStore::builder(database.url()).migrate().unwrap();
    let after = computed();
    assert_eq!(after.len(), 5_000);
    assert_eq!(after[..2_000], before, "what was done is not done again");
    let found = verify(&open(&database), EventQuery::new(), |_| ()).unwrap();
    assert_eq!((found.checked, found.is_intact()), (5_000, true));
}

#[test]
fn each_step_is_recorded_by_the_transaction_that_made_it() {
    let Some(database) = database() else { return };
    PostgresEventStore::builder(database.url())
        .indexes(Indexes::Full)
        .migrate()
        .unwrap();
    let recorded = "
        SELECT made.version
        FROM (VALUES
            ('1.0.0', 'events', 'event_id'),
            ('1.1.0', 'snapshots', 'snapshot_id'),
            ('1.2.0', 'idx_events_metadata_correlation', 'expr'),
            ('4.0.0', 'events', 'checksum'),
            ('5.0.0', 'snapshots', 'checksum'),
            ('5.1.0', 'firefly_published_mark', 'global_sequence'),
            ('5.2.0', 'firefly_seals', 'digest'),
            ('6.0.0', 'firefly_parked_events', 'replay'),
            ('6.1.0', 'idx_snapshots_version', 'snapshot_type'),
            ('7.0.0', 'firefly_archived_events', 'fingerprint'),
            ('8.0.0', 'firefly_conversions', 'former'),
            ('9.0.0', 'firefly_leaving', 'digest')
        ) AS made (version, relation, attribute)
        JOIN firefly_schema_history AS history ON history.version = made.version
        JOIN pg_attribute ON attrelid = made.relation::regclass AND attname = made.attribute
        WHERE pg_attribute.xmin = history.xmin
        ORDER BY made.version";
    let recorded = client(&database).query(recorded, &[]).unwrap();
    let recorded: Vec<&str> = recorded.iter().map(|row| row.get(0)).collect();
    assert_eq!(recorded, VERSIONS);
}

const DATABASE: &str = "FIREFLY_TEST_DATABASE";
const SETTINGS: &str = "FIREFLY_TEST_SETTINGS";

/// Marks the messages between the processes in the test runner's output.
const MARK: &str = ">> ";

/// The child process: it migrates when its parent says so, and reports the result.
#[test]
fn child_process() {
    let Ok(url) = env::var(DATABASE) else { return };
    let mut config: Config = url.parse().unwrap();
    if let Ok(settings) = env::var(SETTINGS) {
        config.options(&settings);
    }
    config.notice_callback(|notice| {
        if notice.message() == "waiting" {
            tell("waiting");
        }
    });
    tell("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    match PostgresEventStore::configure(config).migrate() {
        Ok(applied) => {
            let versions: Vec<&str> = applied.iter().map(|step| step.version).collect();
            tell(&format!("applied {}", versions.join(" ")));
        }
        Err(error) if error.is_retryable() => tell("retry"),
        Err(error) => panic!("{error:?}"),
    }
}

/// Sends the other process a line, in one write.
fn tell(line: &str) {
    let line = format!("\n{MARK}{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// A child process that migrates. It is killed when this value is dropped.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the process. It does not migrate before [`go_on`](Self::go_on).
    fn start(database: &Database, wait: Option<Wait>) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "migrations::child_process", "--nocapture"])
            .env(DATABASE, database.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(Wait { until, lock }) = wait {
            command.env(SETTINGS, format!("-c waiting.until={until} -c waiting.lock={lock}"));
        }
        let mut child = command.spawn().unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Waits until the process is ready, and lets it migrate.
    fn go_on(&mut self) {
        assert_eq!(self.hear().as_deref(), Some("ready"));
        self.input.write_all(b"go on\n").unwrap();
    }

    /// The next message of the process, or `None` if it has ended.
    fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            if let Some(told) = line.strip_suffix('\n')?.strip_prefix(MARK) {
                return Some(told.to_owned());
            }
        }
    }

    /// Sends the process SIGKILL and waits for its end.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The process may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The seed of the test's random choices.
fn seed() -> u64 {
    let seed = match env::var("FIREFLY_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("run again with FIREFLY_TEST_SEED={seed}");
    seed
}

#[test]
fn a_migration_that_was_cut_off_between_steps_goes_on() {
    let Some((database, _)) = fresh() else { return };
    let whole = catalog(&database);
    // The state that a crash before the step leaves: neither it nor the later steps have been made or recorded.
    for steps in (0..VERSIONS.len()).rev() {
        client(&database)
            .batch_execute(&format!(
                "DELETE FROM firefly_schema_history WHERE installed_rank > {steps}"
            ))
            .unwrap();
        let applied = PostgresEventStore::builder(database.url()).migrate().unwrap();
        assert_eq!(applied.len(), VERSIONS.len() - steps);
        client(&database)
            .execute(
                "UPDATE firefly_schema_history SET installed_rank = array_position($1, version)",
                &[&VERSIONS.as_slice()],
            )
            .unwrap();
    }
    assert_eq!(catalog(&database), whole);
}

#[test]
fn indexes_are_chosen_and_changed_later() {
    let Some((database, store)) = fresh() else { return };
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let optional = |database: &Database| {
        let names = "SELECT COUNT(*) FROM pg_indexes WHERE tablename = 'events'";
        client(database).query_one(names, &[]).unwrap().get::<_, i64>(0) - 3
    };
    assert_eq!(optional(&database), 6);
    for (indexes, expected) in [(Indexes::Lean, 0), (Indexes::Full, 12), (Indexes::Standard, 6)] {
        PostgresEventStore::builder(database.url())
            .indexes(indexes)
            .migrate()
            .unwrap();
        assert_eq!(optional(&database), expected, "{indexes:?}");
        // An existing store keeps the indexes that were chosen for it.
        PostgresEventStore::builder(database.url()).migrate().unwrap();
        assert_eq!(optional(&database), expected, "{indexes:?}");
        assert_eq!(all_events(&store).len(), 1);
    }
}

#[test]
fn an_older_store_keeps_the_indexes_that_were_chosen_for_it() {
    for (indexes, expected) in [(Indexes::Lean, 0), (Indexes::Full, 12)] {
        let Some(database) = database() else { return };
        let store = || PostgresEventStore::builder(database.url());
        store().indexes(indexes).migrate().unwrap();
        let mut other = client(&database);
        other
            .batch_execute(
                "DELETE FROM firefly_schema_history WHERE version > '5.0.0'; DROP TABLE firefly_published_mark",
            )
            .unwrap();
        store().migrate().unwrap();
        let names = "SELECT COUNT(*) FROM pg_indexes WHERE tablename = 'events'";
        let found: i64 = other.query_one(names, &[]).unwrap().get(0);
        assert_eq!(found - 3, expected, "{indexes:?}");
    }
}

#[test]
fn snapshots_of_an_older_store_stay_and_make_room_for_other_forms() {
    let Some((database, store)) = fresh() else { return };
    let account = account();
    store
        .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let of_form = |form| NewSnapshot::new(&account, 1, form, &0).unwrap();
    store.save(&of_form("State.v1")).unwrap();
    drop(store);
    client(&database)
        .batch_execute(
            "DROP INDEX idx_snapshots_version;
             CREATE UNIQUE INDEX idx_snapshots_version ON snapshots (aggregate_id, version DESC);
             DELETE FROM firefly_schema_history WHERE version >= '6.1.0'",
        )
        .unwrap();
    assert_eq!(PostgresEventStore::builder(database.url()).migrate().unwrap().len(), 4);
    let store = open(&database);
    store.save(&of_form("State.v2")).unwrap();
    store.save(&of_form("State.v2")).unwrap();
    let kept = store.list_snapshots(None, &account).unwrap();
    let forms: Vec<&str> = kept.iter().map(|snapshot| snapshot.snapshot_type.as_str()).collect();
    assert_eq!(forms, ["State.v2", "State.v1"]);
}

#[test]
fn a_sequence_that_connections_take_numbers_of_in_advance_is_refused() {
    let Some((database, store)) = fresh() else { return };
    drop(store);
    let mut client = client(&database);
    let open = || PostgresEventStore::open(database.url());
    for (spoiled, mended) in [
        ("CACHE 10", "CACHE 1"),
        ("CYCLE", "NO CYCLE"),
        ("INCREMENT -1", "INCREMENT 1"),
    ] {
        let alter = |option| format!("ALTER SEQUENCE events_global_sequence_seq {option} MINVALUE 1");
        client.batch_execute(&alter(spoiled)).unwrap();
        let error = open().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error}"
        );
        assert!(error.to_string().contains("CACHE 1"), "{error}");
        client.batch_execute(&alter(mended)).unwrap();
        open().unwrap();
    }
}
