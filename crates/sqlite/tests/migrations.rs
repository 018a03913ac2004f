//! The schema: created, upgraded, adopted from tables that were created by hand, or refused; and readable by other
//! programs.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Migration, Order, SchemaProblem, SnapshotAt, time, verify};
use firefly_eventstore_sqlite::driver::functions::FunctionFlags;
use firefly_eventstore_sqlite::driver::{Connection, params, types::Value};
use firefly_eventstore_sqlite::{Indexes, JournalMode, SqliteBuilder, SqliteEventStore};
use time::macros::datetime;

use support::{
    Peer, account, all_events, another, assert_intact, column, deposited, not_tried, role, rows, tell, through,
    together, wait_for_parent,
};

const STEPS: [Migration; 10] = [
    Migration::new("1.0.0", "events", include_str!("../sql/migrations/1.0.0_events.sql")),
    Migration::new(
        "1.1.0",
        "snapshots",
        include_str!("../sql/migrations/1.1.0_snapshots.sql"),
    ),
    Migration::new(
        "1.2.0",
        "metadata indexes",
        include_str!("../sql/migrations/1.2.0_metadata_indexes.sql"),
    ),
    Migration::new(
        "4.0.0",
        "production",
        include_str!("../sql/migrations/4.0.0_production.sql"),
    ),
    Migration::new(
        "5.0.0",
        "integrity",
        include_str!("../sql/migrations/5.0.0_integrity.sql"),
    ),
    Migration::new(
        "5.1.0",
        "hardening",
        include_str!("../sql/migrations/5.1.0_hardening.sql"),
    ),
    Migration::new("5.2.0", "seals", include_str!("../sql/migrations/5.2.0_seals.sql")),
    Migration::new(
        "6.0.0",
        "consumers",
        include_str!("../sql/migrations/6.0.0_consumers.sql"),
    ),
    Migration::new(
        "6.1.0",
        "snapshots by form",
        include_str!("../sql/migrations/6.1.0_snapshots_by_form.sql"),
    ),
    Migration::new(
        "7.0.0",
        "archives",
        include_str!("../sql/migrations/7.0.0_archives.sql"),
    ),
];

/// The version of a schema that is up to date.
const LATEST: &str = STEPS[STEPS.len() - 1].version;

/// The programs of the other processes of these tests.
#[test]
fn child_process() {
    let Some((role, path)) = role() else { return };
    let builder = SqliteEventStore::builder(&path);
    match role.as_str() {
        "migrate" => {
            tell("ready");
            wait_for_parent();
            let applied = builder.migrate().unwrap().len();
            let store = builder.open().unwrap();
            store
                .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap();
            tell(&applied.to_string());
        }
        "adopt" => {
            builder.migrate().unwrap();
        }
        other => panic!("{other}"),
    }
}

// New files, and many who come at once.

#[test]
fn migrating_makes_a_schema_once_and_then_does_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let builder = SqliteEventStore::builder(directory.path().join("ledger.db"));
    assert_eq!(versions(&builder.pending().unwrap()), STEPS.map(|step| step.version));
    assert_eq!(builder.migrate().unwrap(), STEPS);
    assert!(builder.pending().unwrap().is_empty());
    assert!(builder.migrate().unwrap().is_empty());
    let store = builder.open().unwrap();
    assert_eq!(store.health().unwrap().schema_version.as_deref(), Some(LATEST));
}

#[test]
fn what_was_applied_is_recorded_with_its_checksum() {
    let (_directory, path) = new_file();
    SqliteEventStore::open(&path).unwrap();
    let history = rows(
        &Connection::open(&path).unwrap(),
        "SELECT version, description, checksum FROM firefly_schema_history ORDER BY installed_rank",
        [],
    );
    let expected = STEPS.map(|step| {
        [step.version, step.name, &step.checksum().to_string()]
            .map(text)
            .to_vec()
    });
    assert_eq!(history, expected);
}

#[test]
fn ten_processes_migrate_one_file_at_once() {
    let (_directory, path) = new_file();
    let mut peers: Vec<_> = (0..10)
        .map(|_| Peer::start(another("migrate", path.to_str().unwrap())))
        .collect();
    peers.iter_mut().for_each(|peer| peer.expect("ready"));
    peers.iter_mut().for_each(Peer::go_on);
    let mut applied: Vec<_> = peers.iter_mut().map(|peer| peer.hear().unwrap()).collect();
    peers.into_iter().for_each(Peer::finish);
    applied.sort();
    assert_eq!(applied[..9], ["0"; 9]);
    assert_eq!(applied[9], STEPS.len().to_string());
    assert_eq!(all_events(&SqliteEventStore::open(&path).unwrap()).len(), 10);
    assert_intact(&path);
}

#[test]
fn sixteen_threads_open_one_new_file_at_once() {
    let (_directory, path) = new_file();
    together(16, |_| {
        let store = SqliteEventStore::open(&path).unwrap();
        store
            .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
    });
    assert_eq!(all_events(&SqliteEventStore::open(&path).unwrap()).len(), 16);
}

#[test]
fn sixteen_threads_migrate_one_file_made_by_hand_at_once() {
    let (_directory, path) = by_hand(FIRST_SCHEMA, &[&sample()]);
    let mut applied = together(16, |_| SqliteEventStore::builder(&path).migrate().unwrap().len());
    applied.sort_unstable();
    assert_eq!(applied[..15], [0; 15]);
    assert_eq!(applied[15], STEPS.len());
    assert_eq!(all_events(&SqliteEventStore::open(&path).unwrap()).len(), 2);
}

/// The system's limit on the size of a file kills a process when a file would become larger: in the middle of adopting
/// many rows, and each time at the same place.
#[test]
fn a_crash_in_the_middle_of_an_adoption_leaves_the_file_as_it_was_and_the_next_one_finishes() {
    let (_directory, path) = by_hand(FIRST_SCHEMA, &[]);
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&format!(
            "WITH RECURSIVE numbers (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})
             INSERT INTO events SELECT printf('%08x-0000-4000-8000-%012x', n, n),
                 '550e8400-e29b-41d4-a716-446655440000', 'Account', n, n, 'money.deposited',
                 json_object('amount', n, 'note', hex(zeroblob(100))), NULL, '2025-01-15 10:30:00+00'
             FROM numbers"
        ))
        .unwrap();
    drop(connection);
    let before = dump(&path);
    let whole = path.with_extension("copy");
    fs::copy(&path, &whole).unwrap();
    SqliteEventStore::builder(&whole).migrate().unwrap();
    let size = fs::metadata(&whole).unwrap().len();

    for percent in [5, 30, 45, 60, 75, 90, 99] {
        // The shell counts in blocks of 512 bytes.
        let limit = (size * percent / 100 / 512).to_string();
        let shell = ["sh", "-c", "ulimit -c 0; ulimit -f \"$0\"; exec \"$@\"", &limit];
        let output = through(&shell, "adopt", path.to_str().unwrap()).output().unwrap();
        assert_eq!(
            output.status.code(),
            None,
            "killed by a signal at {percent} %: {output:?}"
        );
        // The next program that opens the file reverts the unfinished transaction. Nothing else happened.
        assert_eq!(dump(&path), before);
        let refused = SqliteEventStore::open(&path).unwrap_err();
        assert!(
            matches!(refused.kind(), ErrorKind::Schema(SchemaProblem::NotMigrated { .. })),
            "{refused:?}"
        );
    }

    assert_eq!(SqliteEventStore::builder(&path).migrate().unwrap(), STEPS);
    let store = SqliteEventStore::open(&path).unwrap();
    assert!(verify(&store, EventQuery::new(), |_| {}).unwrap().is_intact());
    assert_eq!(store.high_water_mark().unwrap(), MANY);
    drop(store);
    assert_intact(&path);
}

const MANY: u64 = 8_000;

// Schemas that are older, newer, or other.

#[test]
fn an_older_schema_is_refused_until_it_is_migrated_and_keeps_its_rows() {
    for applied in 1..STEPS.len() {
        let (_directory, path) = new_file();
        let connection = apply(&path, &STEPS[..applied]);
        insert_event(&connection, "1").unwrap();
        drop(connection);
        let before = rows(&Connection::open(&path).unwrap(), CORE_COLUMNS, []);
        let builder = SqliteEventStore::builder(&path);

        let refused = builder.clone().open().unwrap_err();
        let ErrorKind::Schema(SchemaProblem::NotMigrated { found, required }) = refused.kind() else {
            panic!("{refused:?}")
        };
        assert_eq!(
            (found.as_deref(), &**required),
            (Some(STEPS[applied - 1].version), LATEST)
        );
        let for_reading = builder.clone().read_only(true).open().unwrap_err();
        assert_eq!(for_reading.kind(), refused.kind());
        assert_eq!(builder.pending().unwrap(), STEPS[applied..]);

        if applied % 2 == 0 {
            assert_eq!(builder.migrate().unwrap(), STEPS[applied..]);
        }
        let store = builder.migrate_on_open(true).open().unwrap();
        assert_eq!(rows(&Connection::open(&path).unwrap(), CORE_COLUMNS, []), before);
        let next = AggregateKey::new("Account", AGGREGATE.parse().unwrap()).unwrap();
        assert_eq!(
            store
                .append(&next, Version::from(1), &[deposited(1)])
                .unwrap()
                .version(),
            2
        );
    }
}

/// `json_valid(NULL)` was 0 in older versions of SQLite, and is NULL, which passes a check, in newer ones.
#[test]
fn an_event_without_metadata_passes_the_checks_of_older_versions_of_sqlite() {
    for applied in 0..STEPS.len() {
        let (_directory, path) = new_file();
        drop(apply(&path, &STEPS[..applied]));
        SqliteEventStore::builder(&path).migrate().unwrap();
        let definition = "SELECT sql FROM sqlite_schema WHERE name = 'events'";
        let definition = column(&Connection::open(&path).unwrap(), definition);

        let older = Connection::open_in_memory().unwrap();
        like_an_older_version(&older);
        older.execute_batch(&definition[0]).unwrap();
        let insert = |metadata: Option<&str>| {
            let id = Uuid::now_v7().to_string();
            older.execute(
                "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata)
                 VALUES (?1, ?1, 'Account', 1, 'opened', '{}', ?2)",
                (id, metadata),
            )
        };
        insert(None).unwrap();
        insert(Some("{}")).unwrap();
        insert(Some("{")).unwrap_err();
    }
}

#[test]
fn a_store_comes_through_the_dump_of_the_systems_shell() {
    let shell = |path: &Path, input: &[u8]| {
        let mut command = Command::new("sqlite3");
        command
            .arg("-bail")
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = command.spawn().ok()?;
        let mut stdin = shell.stdin.take().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).unwrap());
            let output = shell.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            Some(output.stdout)
        })
    };
    let directory = tempfile::tempdir().unwrap();
    let [path, copy] = ["ledger.db", "copy.db"].map(|name| directory.path().join(name));
    let store = SqliteEventStore::open(&path).unwrap();
    let with_metadata = deposited(2)
        .metadata(&serde_json::json!({ "source": "a letter" }))
        .unwrap();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1), with_metadata])
        .unwrap();
    let Some(dump) = shell(&path, b".dump\n") else {
        return not_tried("the dump of a shell", "there is no sqlite3 here");
    };
    shell(&copy, &dump).unwrap();
    let copied = SqliteEventStore::open(&copy).unwrap();
    assert_eq!(all_events(&copied), all_events(&store));
    assert_eq!(schema(&copy), schema(&path));
    copied
        .append(&account(), ExpectedVersion::NoStream, &[deposited(3)])
        .unwrap();
    assert_eq!(copied.high_water_mark().unwrap(), 3);
}

fn like_an_older_version(connection: &Connection) {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let is_valid = |text: String| serde_json::from_str::<serde_json::Value>(&text).is_ok();
    connection
        .create_scalar_function("json_valid", 1, flags, move |context| {
            Ok(context.get::<Option<String>>(0)?.is_some_and(is_valid))
        })
        .unwrap();
}

#[test]
fn a_connection_that_is_open_while_another_migrates_goes_by_the_new_checks() {
    let (_directory, path) = new_file();
    let open = apply(&path, &STEPS[..5]);
    like_an_older_version(&open);
    insert_event(&open, "1").unwrap_err();
    SqliteEventStore::builder(&path).migrate().unwrap();
    insert_event(&open, "1").unwrap();
    assert_intact(&path);
}

#[test]
fn an_upgraded_file_is_like_a_new_one() {
    for indexes in [Indexes::Lean, Indexes::Standard, Indexes::Full] {
        let (_directory, fresh) = new_file();
        SqliteEventStore::builder(&fresh).indexes(indexes).open().unwrap();
        for applied in 1..STEPS.len() {
            let (_directory, old) = new_file();
            drop(apply(&old, &STEPS[..applied]));
            SqliteEventStore::builder(&old).indexes(indexes).migrate().unwrap();
            assert_eq!(schema(&old), schema(&fresh));
        }
        let (_directory, made_by_hand) = by_hand(FIRST_SCHEMA, &[&sample()]);
        SqliteEventStore::builder(&made_by_hand)
            .indexes(indexes)
            .migrate()
            .unwrap();
        assert_eq!(schema(&made_by_hand), schema(&fresh));
    }
}

#[test]
fn indexes_are_chosen_when_a_file_is_made_and_can_be_changed_later() {
    let (_directory, path) = new_file();
    let fresh = |indexes| {
        let (_directory, path) = new_file();
        SqliteEventStore::builder(&path).indexes(indexes).open().unwrap();
        schema(&path)
    };
    let standard = fresh(Indexes::Standard);
    assert!(fresh(Indexes::Lean).len() < standard.len() && standard.len() < fresh(Indexes::Full).len());

    SqliteEventStore::open(&path).unwrap();
    assert_eq!(schema(&path), standard, "unless something else is chosen");
    for indexes in [Indexes::Full, Indexes::Lean, Indexes::Standard, Indexes::Full] {
        let builder = SqliteEventStore::builder(&path).indexes(indexes);
        assert_eq!(builder.migrate().unwrap(), []);
        assert_eq!(schema(&path), fresh(indexes));
    }
    SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
    assert_eq!(
        schema(&path),
        fresh(Indexes::Full),
        "kept unless something else is chosen"
    );
}

#[test]
fn an_index_of_the_source_document_that_was_made_by_hand_is_kept() {
    let (_directory, path) = by_hand(PRODUCTION_SCHEMA, &[]);
    SqliteEventStore::builder(&path).migrate().unwrap();
    let made = "CREATE INDEX idx_events_aggregate_type_created ON events (aggregate_type, created_at DESC)";
    assert!(schema(&path).iter().any(|statement| statement == made));
}

/// The statements that define the objects in a file.
#[test]
fn snapshots_of_an_older_store_stay_and_make_room_for_other_forms() {
    let (_directory, path) = new_file();
    let store = SqliteEventStore::open(&path).unwrap();
    let account = account();
    store
        .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let of_form = |form| NewSnapshot::new(&account, 1, form, &0).unwrap();
    store.save(&of_form("State.v1")).unwrap();
    drop(store);
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "DROP INDEX idx_snapshots_version;
             CREATE UNIQUE INDEX idx_snapshots_version ON snapshots (aggregate_id, version DESC);
             DROP TABLE firefly_archives;
             DROP TABLE firefly_archived_streams;
             DROP TABLE firefly_archived_events;
             DELETE FROM firefly_schema_history WHERE version >= '6.1.0'",
        )
        .unwrap();
    assert_eq!(SqliteEventStore::builder(&path).migrate().unwrap().len(), 2);
    let store = SqliteEventStore::open(&path).unwrap();
    store.save(&of_form("State.v2")).unwrap();
    store.save(&of_form("State.v2")).unwrap();
    let kept = store.list_snapshots(None, &account).unwrap();
    let forms: Vec<&str> = kept.iter().map(|snapshot| snapshot.snapshot_type.as_str()).collect();
    assert_eq!(forms, ["State.v2", "State.v1"]);
}

fn schema(path: &Path) -> Vec<String> {
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name";
    column(&Connection::open(path).unwrap(), sql)
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (_directory, path) =
        altered("INSERT INTO firefly_schema_history (version, description, checksum) VALUES ('9.0.0', 'later', 'x')");
    for error in refusals(&path) {
        let ErrorKind::Schema(SchemaProblem::TooNew { found, required }) = error.kind() else {
            panic!("{error:?}")
        };
        assert_eq!((&**found, &**required), ("9.0.0", LATEST));
        assert!(error.to_string().contains("update this program"), "{error}");
    }
}

#[test]
fn a_history_with_another_checksum_is_refused() {
    let (_directory, path) =
        altered("UPDATE firefly_schema_history SET checksum = 'x' || substr(checksum, 2) WHERE version = '1.1.0'");
    for error in refusals(&path) {
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains("1.1.0"), "{error}");
    }
}

#[test]
fn a_history_with_a_version_of_somebody_elses_is_refused() {
    let (_directory, path) = altered("UPDATE firefly_schema_history SET version = '1.3.0' WHERE version = '1.2.0'");
    for error in refusals(&path) {
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("1.3.0") && error.to_string().contains("1.2.0"),
            "{error}"
        );
    }
}

#[test]
fn a_missing_table_or_index_is_refused() {
    for (kind, name) in [
        ("TABLE", "events"),
        ("TABLE", "snapshots"),
        ("INDEX", "idx_events_event_id"),
    ] {
        let (_directory, path) = altered(&format!("DROP {kind} {name}"));
        let error = SqliteEventStore::open(&path).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// The errors of `open`, `migrate`, `pending` and opening for reading. None of them changes the file.
fn refusals(path: &Path) -> [Error; 4] {
    let before = fs::read(path).unwrap();
    let builder = SqliteEventStore::builder(path);
    let errors = [
        builder.clone().open().unwrap_err(),
        builder.migrate().unwrap_err(),
        builder.pending().unwrap_err(),
        builder.clone().read_only(true).open().unwrap_err(),
    ];
    for error in &errors {
        assert!(error.to_string().contains("ledger.db"), "{error}");
    }
    assert_eq!(fs::read(path).unwrap(), before);
    errors
}

fn altered(sql: &str) -> (tempfile::TempDir, PathBuf) {
    let (directory, path) = new_file();
    SqliteEventStore::builder(&path)
        .journal_mode(JournalMode::Delete)
        .open()
        .unwrap();
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    (directory, path)
}

/// Makes the schema that an older library had.
fn apply(path: &Path, steps: &[Migration]) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(include_str!("../sql/queries/history.sql"))
        .unwrap();
    for step in steps {
        connection.execute_batch(step.sql).unwrap();
        let record = include_str!("../sql/queries/record_migration.sql");
        let parameters = params![step.version, step.name, step.checksum().to_string()];
        connection.execute(record, parameters).unwrap();
    }
    connection
}

// Tables made by hand.

/// The source document's version 1.0.0, with its types, in SQLite's syntax.
const FIRST_SCHEMA: &str = "
CREATE TABLE events (
    event_id UUID PRIMARY KEY,
    aggregate_id UUID NOT NULL,
    aggregate_type VARCHAR(255) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    global_sequence BIGSERIAL UNIQUE,
    event_type VARCHAR(255) NOT NULL,
    event_data JSONB NOT NULL,
    metadata JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(aggregate_id, aggregate_version)
);
CREATE INDEX idx_events_aggregate ON events(aggregate_id, aggregate_type);
CREATE INDEX idx_events_global_sequence ON events(global_sequence);
CREATE INDEX idx_events_type ON events(event_type);
CREATE INDEX idx_events_created_at ON events(created_at);";

/// The source document's schema for an embedded database: the sequence is SQLite's rowid.
const EMBEDDED_SCHEMA: &str = "
CREATE TABLE events (
    event_id UUID NOT NULL UNIQUE,
    aggregate_id UUID NOT NULL,
    aggregate_type VARCHAR(255) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    global_sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_type VARCHAR(255) NOT NULL,
    event_data CLOB NOT NULL,
    metadata CLOB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(aggregate_id, aggregate_version)
);";

/// The source document's whole table of events, with V4, its triggers and views.
const PRODUCTION_SCHEMA: &str = "
CREATE TABLE events (
    event_id UUID PRIMARY KEY,
    aggregate_id UUID NOT NULL,
    aggregate_type VARCHAR(255) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    global_sequence BIGSERIAL UNIQUE,
    event_type VARCHAR(255) NOT NULL,
    event_data JSONB NOT NULL,
    metadata JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE,
    created_by VARCHAR(255),
    tenant_id VARCHAR(255),
    correlation_id VARCHAR(255),
    causation_id VARCHAR(255),
    event_size_bytes INTEGER,
    checksum VARCHAR(64),
    UNIQUE(aggregate_id, aggregate_version),
    CHECK (aggregate_version > 0),
    CHECK (event_type <> ''),
    CHECK (aggregate_type <> '')
);
CREATE INDEX idx_events_aggregate ON events(aggregate_id, aggregate_type);
CREATE INDEX idx_events_correlation_id ON events(correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX idx_events_tenant_id ON events(tenant_id) WHERE tenant_id IS NOT NULL;
CREATE INDEX idx_events_aggregate_type_created ON events(aggregate_type, created_at DESC);
CREATE TRIGGER trigger_events_updated_at AFTER UPDATE OF event_data ON events BEGIN
    UPDATE events SET updated_at = CURRENT_TIMESTAMP WHERE event_id = NEW.event_id;
END;
CREATE TRIGGER trigger_calculate_event_size AFTER INSERT ON events BEGIN
    UPDATE events SET event_size_bytes = LENGTH(NEW.event_data) WHERE event_id = NEW.event_id;
END;
CREATE VIEW v_recent_events AS SELECT * FROM events WHERE created_at > datetime('now', '-24 hours');
CREATE VIEW mv_aggregate_summary AS
    SELECT aggregate_id, MAX(aggregate_version) AS current_version FROM events GROUP BY aggregate_id;";

const SNAPSHOTS_SCHEMA: &str = "
CREATE TABLE snapshots (
    snapshot_id UUID PRIMARY KEY,
    aggregate_id UUID NOT NULL,
    aggregate_type VARCHAR(255) NOT NULL,
    version BIGINT NOT NULL,
    snapshot_type VARCHAR(255) NOT NULL,
    snapshot_data JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(aggregate_id, version)
);
CREATE INDEX idx_snapshots_aggregate ON snapshots(aggregate_id, aggregate_type);
CREATE INDEX idx_snapshots_version ON snapshots(aggregate_id, version DESC);
CREATE INDEX idx_snapshots_created_at ON snapshots(created_at);";

const AGGREGATE: &str = "123e4567-e89b-12d3-a456-426614174000";

/// The source document's sample data, word for word. Its aggregate ids are not UUIDs.
const SAMPLE: &str = r#"INSERT INTO events VALUES 
(
    '550e8400-e29b-41d4-a716-446655440000',
    'acc-123e4567-e89b-12d3-a456-426614174000',
    'Account',
    1,
    1001,
    'account.created',
    '{"aggregateId":"acc-123e4567-e89b-12d3-a456-426614174000","accountNumber":"ACC001","initialBalance":1000.00}',
    '{"correlationId":"corr-001","userId":"user-123","source":"banking-service"}',
    '2025-01-15 10:30:00+00'
),
(
    '550e8400-e29b-41d4-a716-446655440001',
    'acc-123e4567-e89b-12d3-a456-426614174000',
    'Account',
    2,
    1002,
    'money.deposited',
    '{"aggregateId":"acc-123e4567-e89b-12d3-a456-426614174000","amount":250.00,"reference":"DEP-001"}',
    '{"correlationId":"corr-002","userId":"user-123","source":"banking-service"}',
    '2025-01-15 10:35:00+00'
);"#;

/// The same data with a UUID for the aggregate. The text within the events stays.
fn sample() -> String {
    SAMPLE.replace("'acc-", "'")
}

#[test]
fn the_sample_of_the_source_document_is_adopted_with_its_ids_versions_sequences_and_times() {
    let (_directory, path) = by_hand(FIRST_SCHEMA, &[&sample()]);
    let refused = SqliteEventStore::open(&path).unwrap_err();
    assert!(
        matches!(
            refused.kind(),
            ErrorKind::Schema(SchemaProblem::NotMigrated { found: None, .. })
        ),
        "{refused:?}"
    );

    assert_eq!(SqliteEventStore::builder(&path).migrate().unwrap(), STEPS);
    let store = SqliteEventStore::builder(&path).verify_on_read(true).open().unwrap();
    let account = AggregateKey::new("Account", AGGREGATE.parse().unwrap()).unwrap();
    let stream = store.load(&account).unwrap();
    let [created, deposited_250] = stream.events() else {
        panic!("{stream:?}")
    };
    assert_eq!(created.event_id.to_string(), "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!((created.version.get(), created.global_sequence.get()), (1, 1001));
    assert_eq!(created.created_at, datetime!(2025-01-15 10:30 UTC));
    assert_eq!(created.event_type, "account.created");
    assert!(
        created.data.as_str().contains(r#""initialBalance":1000.00}"#),
        "{}",
        created.data
    );
    assert_eq!(created.size_bytes, Some(created.data.as_str().len() as u32));
    assert!(created.metadata.as_ref().unwrap().as_str().contains("corr-001"));
    assert_eq!(
        (deposited_250.version.get(), deposited_250.global_sequence.get()),
        (2, 1002)
    );
    assert_eq!(deposited_250.created_at, datetime!(2025-01-15 10:35 UTC));
    assert!(
        verify(&store, EventQuery::new(), |_| {}).unwrap().is_intact(),
        "checksums were filled in"
    );

    let next = store.append(&account, Version::from(2), &[deposited(1)]).unwrap();
    assert_eq!((next.version().get(), next.last_sequence().unwrap().get()), (3, 1003));
    let again = NewEvent::from_json("money.deposited", deposited_250.data.as_str()).unwrap();
    let again = match &deposited_250.metadata {
        Some(metadata) => again.metadata_json(metadata.as_str()).unwrap(),
        None => again,
    };
    let again = store
        .append(&account, ExpectedVersion::Any, &[again.with_id(deposited_250.event_id)])
        .unwrap();
    assert!(
        again.is_already_stored(),
        "appending is safe to retry across the adoption"
    );
    drop(store);
    assert_intact(&path);
}

#[test]
fn opening_adopts_when_it_is_told_to() {
    let (_directory, path) = by_hand(EMBEDDED_SCHEMA, &[]);
    insert_event(&Connection::open(&path).unwrap(), "7").unwrap();
    let store = SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
    assert_eq!(all_events(&store).len(), 1);
    let next = store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(next.last_sequence().unwrap(), 2);
}

#[test]
fn a_sequence_that_was_given_and_deleted_is_not_given_again() {
    let (_directory, path) = by_hand(EMBEDDED_SCHEMA, &[]);
    let connection = Connection::open(&path).unwrap();
    insert_event(&connection, "1").unwrap();
    connection
        .execute_batch("UPDATE sqlite_sequence SET seq = 41 WHERE name = 'events'")
        .unwrap();
    drop(connection);
    let store = SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
    let next = store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(
        next.last_sequence().unwrap(),
        42,
        "a consumer may have seen what was deleted"
    );
}

#[test]
fn the_columns_of_v4_are_kept_and_what_is_computed_is_computed_anew() {
    let (_directory, path) = by_hand(
        PRODUCTION_SCHEMA,
        &[&format!(
            "INSERT INTO events VALUES ('550e8400-e29b-41d4-a716-446655440000', '{AGGREGATE}', 'Account', 1, 5, 'a.b',
                 '{{\"owner\": \"Zoë\"}}', NULL, '2025-01-15T10:30:00.5Z', '2025-01-16 00:00:00', 'clerk-7', 'acme',
                 'corr-1', 'cause-1', 999, 'stale')"
        )],
    );
    let store = SqliteEventStore::builder(&path)
        .migrate_on_open(true)
        .verify_on_read(true)
        .open()
        .unwrap();
    let [event] = &all_events(&store)[..] else { panic!() };
    assert_eq!(event.created_at, datetime!(2025-01-15 10:30:00.5 UTC));
    assert_eq!(event.updated_at, Some(datetime!(2025-01-16 00:00 UTC)));
    assert_eq!(event.created_by.as_ref().unwrap(), "clerk-7");
    assert_eq!(event.tenant.as_ref().unwrap(), "acme");
    assert_eq!(event.correlation_id.as_ref().unwrap(), "corr-1");
    assert_eq!(event.causation_id.as_ref().unwrap(), "cause-1");
    assert_eq!(event.metadata, None);
    assert_eq!(event.size_bytes, Some(17), "in bytes, not in characters");
    let summaries = rows(
        &Connection::open(&path).unwrap(),
        "SELECT total_events FROM mv_aggregate_summary",
        [],
    );
    assert_eq!(
        summaries,
        [[Value::Integer(1)]],
        "the view is the one of the whole source document"
    );
}

#[test]
fn snapshots_made_by_hand_are_adopted_with_or_without_events() {
    let snapshot = format!(
        "INSERT INTO snapshots VALUES ('650E8400-E29B-41D4-A716-446655440000', '{AGGREGATE}', 'Account', 2, 'balance',
             '{{\"balance\": 1250.00}}', '2025-01-15 10:36:00+00')"
    );
    for events in ["", FIRST_SCHEMA] {
        let (_directory, path) = by_hand(&format!("{events}{SNAPSHOTS_SCHEMA}"), &[&snapshot]);
        let store = SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
        let account = AggregateKey::new("Account", AGGREGATE.parse().unwrap()).unwrap();
        let found = store
            .find_snapshot(None, &account, SnapshotAt::Latest)
            .unwrap()
            .unwrap();
        found.verify().unwrap();
        assert_eq!(
            (found.version.get(), found.state.as_str()),
            (2, r#"{"balance": 1250.00}"#)
        );
        assert_eq!(found.created_at, datetime!(2025-01-15 10:36 UTC));
        assert_eq!(found.snapshot_id.to_string(), "650e8400-e29b-41d4-a716-446655440000");
    }
}

#[test]
fn times_are_understood_as_sqlite_postgresql_and_java_write_them() {
    for (written, meant) in [
        ("2025-01-15 10:30:00+00", datetime!(2025-01-15 10:30 UTC)),
        ("2025-01-15 10:30:00", datetime!(2025-01-15 10:30 UTC)),
        ("2025-01-15 10:30", datetime!(2025-01-15 10:30 UTC)),
        ("2025-01-15", datetime!(2025-01-15 0:00 UTC)),
        ("2025-01-15 10:30:00.5", datetime!(2025-01-15 10:30:00.5 UTC)),
        (
            "2025-01-15 10:30:00.123456+00",
            datetime!(2025-01-15 10:30:00.123_456 UTC),
        ),
        ("2025-01-15 10:30:00.123000000", datetime!(2025-01-15 10:30:00.123 UTC)),
        ("2025-01-15T10:30:00Z", datetime!(2025-01-15 10:30 UTC)),
        ("2025-01-15T10:30:00.001Z", datetime!(2025-01-15 10:30:00.001 UTC)),
        ("2025-01-15 12:30:00+02", datetime!(2025-01-15 10:30 UTC)),
        ("2025-01-15T05:00:00-05:30", datetime!(2025-01-15 10:30 UTC)),
    ] {
        let (_directory, path) = by_hand(FIRST_SCHEMA, &[&sample().replace("2025-01-15 10:30:00+00", written)]);
        let store = SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
        assert_eq!(all_events(&store)[0].created_at, meant, "{written}");
    }
}

#[test]
fn ids_are_understood_in_capitals_and_as_bytes() {
    let capitals = sample().replace("'550e8400-e29b-41d4-a716-", "'550E8400-E29B-41D4-A716-");
    let bytes = sample().replace(
        "'123e4567-e89b-12d3-a456-426614174000'",
        "x'123e4567e89b12d3a456426614174000'",
    );
    assert_ne!(bytes, sample());
    for insert in [capitals, bytes] {
        let (_directory, path) = by_hand(FIRST_SCHEMA, &[&insert]);
        let store = SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
        let events = all_events(&store);
        assert_eq!(events[0].event_id.to_string(), "550e8400-e29b-41d4-a716-446655440000");
        assert_eq!(events[1].aggregate.id().to_string(), AGGREGATE);
    }
}

#[test]
fn rows_without_a_sequence_get_one_in_the_order_they_were_written() {
    let without_column = FIRST_SCHEMA
        .replace("    global_sequence BIGSERIAL UNIQUE,\n", "")
        .replace(
            "CREATE INDEX idx_events_global_sequence ON events(global_sequence);\n",
            "",
        );
    let without_values = sample().replace("    1001,\n", "").replace("    1002,\n", "");
    assert_ne!(without_column, FIRST_SCHEMA);
    let nulls = sample()
        .replace("    1001,\n", "    NULL,\n")
        .replace("    1002,\n", "    NULL,\n");
    for (schema, insert) in [(without_column.as_str(), without_values), (FIRST_SCHEMA, nulls)] {
        let (_directory, path) = by_hand(schema, &[&insert]);
        let store = SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
        let sequences: Vec<_> = all_events(&store)
            .iter()
            .map(|event| event.global_sequence.get())
            .collect();
        assert_eq!(sequences, [1, 2]);
    }
}

#[test]
fn what_its_maker_put_on_a_table_survives() {
    let own = "
        CREATE TABLE audit (event_id TEXT);
        CREATE TABLE notes (
            event_id UUID NOT NULL REFERENCES events(event_id) ON DELETE CASCADE,
            note TEXT NOT NULL
        );
        CREATE INDEX my_index ON events(json_extract(metadata, '$.userId'));
        CREATE TRIGGER my_trigger AFTER INSERT ON events BEGIN INSERT INTO audit VALUES (NEW.event_id); END;
        CREATE TRIGGER my_other_trigger AFTER INSERT ON notes BEGIN
            UPDATE notes
            SET note = COALESCE((SELECT event_type FROM events WHERE event_id = NEW.event_id), '') || ': ' || NEW.note
            WHERE event_id = NEW.event_id;
        END;
        CREATE VIEW \"my view\" AS SELECT event_id, aggregate_type FROM events WHERE event_type = 'money.deposited';";
    let note = "INSERT INTO notes VALUES ('550e8400-e29b-41d4-a716-446655440001', 'a gift')";
    let (_directory, path) = by_hand(&format!("{FIRST_SCHEMA}{own}"), &[&sample(), note]);
    let objects =
        "SELECT sql FROM sqlite_schema WHERE name IN ('my_index', 'my_trigger', 'my_other_trigger', 'my view',
         'notes', 'audit') ORDER BY name";
    let connection = Connection::open(&path).unwrap();
    let before = (
        column(&connection, objects),
        rows(&connection, "SELECT * FROM audit", []),
    );
    assert_eq!((before.0.len(), before.1.len()), (6, 2));
    drop(connection);

    let store = SqliteEventStore::builder(&path).migrate_on_open(true).open().unwrap();
    let connection = Connection::open(&path).unwrap();
    let after = (
        column(&connection, objects),
        rows(&connection, "SELECT * FROM audit", []),
    );
    assert_eq!(after, before, "the trigger did not take the adopted rows for new ones");
    assert_eq!(rows(&connection, "SELECT * FROM \"my view\"", []).len(), 1);
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(
        rows(&connection, "SELECT * FROM audit", []).len(),
        3,
        "the trigger works on"
    );
    assert_eq!(
        column(&connection, "SELECT note FROM notes"),
        ["money.deposited: a gift"]
    );

    connection.pragma_update(None, "foreign_keys", true).unwrap();
    let dangling = connection.execute(
        "INSERT INTO notes VALUES ('00000000-0000-0000-0000-000000000000', '')",
        [],
    );
    assert!(dangling.unwrap_err().to_string().contains("FOREIGN KEY"));
    drop(store);
    assert_intact(&path);
}

#[test]
fn a_row_that_cannot_be_kept_is_named_and_nothing_is_changed() {
    let second = |from: &str, to: &str| {
        let at = sample().rfind(from).unwrap_or_else(|| panic!("{from}"));
        let mut insert = sample();
        insert.replace_range(at..at + from.len(), to);
        insert
    };
    const SECOND_ID: &str = "550e8400-e29b-41d4-a716-446655440001";
    let aggregate = format!("'{AGGREGATE}'");
    for (insert, reason) in [
        (SAMPLE.to_owned(), &["row 1", "events", "acc-123e4567"][..]),
        (second(&aggregate, "'nobody'"), &["row 2", "events", "nobody"]),
        (second(SECOND_ID, "not-an-id"), &["row 2", "event_id", "not-an-id"]),
        (second(&format!("'{SECOND_ID}'"), "NULL"), &["row 2", "event_id"]),
        (
            second(SECOND_ID, "550E8400-E29B-41D4-A716-446655440000"),
            &["row 2", "event_id"],
        ),
        (second("\"amount\":250.00", "\"amount\":"), &["row 2", "data"]),
        (
            second("\"amount\":250.00", "\"amount\":1,\"amount\":2"),
            &["row 2", "data", "amount"],
        ),
        (second("{\"correlationId\"", "{correlationId"), &["row 2", "metadata"]),
        (
            second("2025-01-15 10:35:00+00", "yesterday"),
            &["row 2", "created_at", "yesterday"],
        ),
        (
            second("2025-01-15 10:35:00+00", "2025-01-15 10:35:00.1234567"),
            &["row 2", "created_at", "exactly"],
        ),
        (
            second("'2025-01-15 10:35:00+00'", "NULL"),
            &["row 2", "created_at", "NULL"],
        ),
        (second("    2,\n", "    3,\n"), &[AGGREGATE, "contiguous"]),
        (second("    2,\n", "    0,\n"), &["row 2", "aggregate_version"]),
        (second("'Account'", "'Customer'"), &[AGGREGATE, "types"]),
        (second("'Account'", "''"), &["row 2", "aggregate_type"]),
        (second("'money.deposited'", "''"), &["row 2", "event_type"]),
        (second("    1002,\n", "    0,\n"), &["row 2", "global_sequence"]),
        (second("    1002,\n", "    -7,\n"), &["row 2", "global_sequence"]),
        (second("    1002,\n", "    1000,\n"), &[AGGREGATE, "sequence"]),
    ] {
        let (_directory, path) = by_hand(FIRST_SCHEMA, &[&insert]);
        assert_refused_and_unchanged(&path, reason);
    }
}

#[test]
fn an_aggregate_of_two_tenants_is_refused() {
    let insert = |id: u8, version: u8, tenant: &str| {
        format!(
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data,
                                 tenant_id)
             VALUES ('550e8400-e29b-41d4-a716-44665544000{id}', '{AGGREGATE}', 'Account', {version}, 'a.b', '1',
                     {tenant})"
        )
    };
    for tenants in [["'acme'", "'globex'"], ["'acme'", "NULL"]] {
        let rows = [insert(1, 1, tenants[0]), insert(2, 2, tenants[1])];
        let (_directory, path) = by_hand(PRODUCTION_SCHEMA, &[&rows[0], &rows[1]]);
        assert_refused_and_unchanged(&path, &[AGGREGATE, "tenants"]);
    }
}

#[test]
fn a_snapshot_that_cannot_be_kept_is_named_and_nothing_is_changed() {
    for (id, data, reason) in [
        ("snap-1", "{}", &["row 1", "snapshots", "snapshot_id"][..]),
        (
            "650e8400-e29b-41d4-a716-446655440000",
            "{",
            &["row 1", "snapshots", "data"],
        ),
    ] {
        let snapshot = format!(
            "INSERT INTO snapshots
             VALUES ('{id}', '{AGGREGATE}', 'Account', 2, 'balance', '{data}', '2025-01-15 10:36:00')"
        );
        let (_directory, path) = by_hand(&format!("{FIRST_SCHEMA}{SNAPSHOTS_SCHEMA}"), &[&sample(), &snapshot]);
        assert_refused_and_unchanged(&path, reason);
    }
}

#[test]
fn a_column_that_would_be_lost_is_named_and_nothing_is_changed() {
    let own_column = "ALTER TABLE events ADD COLUMN my_column TEXT";
    let (_directory, path) = by_hand(&format!("{FIRST_SCHEMA}{own_column}"), &[]);
    assert_refused_and_unchanged(&path, &["events", "my_column"]);
    let (_directory, path) = by_hand(
        &format!("{SNAPSHOTS_SCHEMA}{}", own_column.replace("events", "snapshots")),
        &[],
    );
    assert_refused_and_unchanged(&path, &["snapshots", "my_column"]);
}

#[test]
fn a_table_without_a_column_that_must_be_there_is_refused_and_nothing_is_changed() {
    let (_directory, path) = by_hand("CREATE TABLE events (event_id TEXT PRIMARY KEY, title TEXT)", &[]);
    assert_refused_and_unchanged(&path, &["events", "title"]);
    let incomplete =
        "CREATE TABLE events (event_id TEXT PRIMARY KEY, aggregate_id TEXT, event_type TEXT, event_data TEXT)";
    let (_directory, path) = by_hand(incomplete, &["INSERT INTO events VALUES ('1', '2', 'a.b', '{}')"]);
    assert_refused_and_unchanged(&path, &["events"]);
}

fn assert_refused_and_unchanged(path: &Path, reason: &[&str]) {
    let (before, bytes) = (dump(path), fs::read(path).unwrap());
    let open = |builder: SqliteBuilder| builder.migrate_on_open(true).open();
    let builder = SqliteEventStore::builder(path);
    for error in [builder.migrate().unwrap_err(), open(builder.clone()).unwrap_err()] {
        assert!(
            error.is_invalid_input() || matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{reason:?}: {error:?}"
        );
        for part in reason {
            assert!(error.to_string().contains(part), "{part} is not in: {error}");
        }
    }
    assert_eq!(dump(path), before);
    assert_eq!(fs::read(path).unwrap(), bytes);
}

fn by_hand(schema: &str, inserts: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let (directory, path) = new_file();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema).unwrap();
    for insert in inserts {
        connection
            .execute_batch(insert)
            .unwrap_or_else(|error| panic!("{insert}: {error}"));
    }
    (directory, path)
}

/// The whole contents of a file: its schema and every row.
fn dump(path: &Path) -> Vec<Vec<Value>> {
    let connection = Connection::open(path).unwrap();
    let mut dump = rows(
        &connection,
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid",
        [],
    );
    for table in column(
        &connection,
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid",
    ) {
        dump.extend(rows(
            &connection,
            &format!("SELECT rowid, * FROM \"{table}\" ORDER BY rowid"),
            [],
        ));
    }
    dump
}

// Readable by anybody.

#[test]
fn ids_and_times_and_data_are_readable_without_this_library() {
    let (_directory, path) = new_file();
    let store = SqliteEventStore::open(&path).unwrap();
    let account = AggregateKey::new("Account", AGGREGATE.parse().unwrap()).unwrap();
    let event = NewEvent::from_json("money.deposited", r#"{"amount":250.00}"#)
        .unwrap()
        .with_id("550E8400-E29B-41D4-A716-446655440000".parse().unwrap())
        .created_at(datetime!(2025-01-15 10:30:00.000_001 UTC))
        .unwrap();
    store
        .append(&account, ExpectedVersion::NoStream, std::slice::from_ref(&event))
        .unwrap();
    let seen = rows(
        &Connection::open(&path).unwrap(),
        "SELECT event_id, aggregate_id, event_data, created_at, checksum, event_size_bytes, unixepoch(created_at)
         FROM events",
        [],
    );
    let expected = vec![
        text("550e8400-e29b-41d4-a716-446655440000"),
        text(AGGREGATE),
        text(r#"{"amount":250.00}"#),
        text("2025-01-15T10:30:00.000001Z"),
        text(&event.checksum().to_string()),
        Value::Integer(17),
        Value::Integer(1_736_937_000),
    ];
    assert_eq!(seen, [expected]);
}

#[test]
fn the_six_query_patterns_of_the_source_document_return_what_the_store_reads() {
    let (_directory, path) = new_file();
    let store = SqliteEventStore::open(&path).unwrap();
    let aggregates: Vec<_> = (0..3).map(|_| account()).collect();
    for number in 0..30_u32 {
        let event = NewEvent::new(
            format!("type.{}", number % 5).as_str(),
            &serde_json::json!({ "number": number }),
        )
        .unwrap()
        .metadata(&serde_json::json!({ "userId": "user-123" }))
        .unwrap()
        .created_at(datetime!(2025-01-15 10:30 UTC) + time::Duration::seconds(i64::from(number)))
        .unwrap();
        store
            .append(&aggregates[number as usize % 3], ExpectedVersion::Any, &[event])
            .unwrap();
    }
    let connection = Connection::open(&path).unwrap();
    let (id, aggregate_type) = (aggregates[1].id().to_string(), "Account");
    let read = |query: EventQuery| store.read(query).collect::<Result<Vec<_>, _>>().unwrap();
    let seen = |sql, parameters: &[&dyn firefly_eventstore_sqlite::driver::ToSql]| rows(&connection, sql, parameters);
    let stream = store.load(&aggregates[1]).unwrap();
    assert_eq!(stream.len(), 10);

    let sql = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE aggregate_id = ? 
  AND aggregate_type = ?
ORDER BY aggregate_version ASC;";
    assert_eq!(seen(sql, params![id, aggregate_type]), as_rows(stream.events()));

    let sql = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE aggregate_id = ? 
  AND aggregate_type = ? 
  AND aggregate_version >= ?
ORDER BY aggregate_version ASC;";
    let range = StreamRange::all().from_version(Version::from(4));
    let part = store.load_range(&aggregates[1], &range).unwrap();
    assert_eq!(part.len(), 7);
    assert_eq!(seen(sql, params![id, aggregate_type, 4]), as_rows(part.events()));

    let sql = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE global_sequence >= ?
ORDER BY global_sequence ASC;";
    let log = read(EventQuery::new().after(20));
    assert_eq!(log.len(), 10);
    assert_eq!(seen(sql, params![21]), as_rows(&log));

    let sql = "
SELECT COALESCE(MAX(aggregate_version), 0) as version
FROM events 
WHERE aggregate_id = ? 
  AND aggregate_type = ?;";
    assert_eq!(seen(sql, params![id, aggregate_type]), [[Value::Integer(10)]]);
    assert_eq!(store.version(&aggregates[1]).unwrap(), 10);
    assert_eq!(seen(sql, params![id, "Nobody"]), [[Value::Integer(0)]]);

    let sql = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE event_type IN (?, ?, ?)
ORDER BY global_sequence ASC;";
    let of_types = read(EventQuery::new().event_types(["type.0", "type.2", "type.3"]).unwrap());
    assert_eq!(of_types.len(), 18);
    assert_eq!(seen(sql, params!["type.0", "type.2", "type.3"]), as_rows(&of_types));

    let sql = "
SELECT event_id, aggregate_id, aggregate_type, aggregate_version, 
       global_sequence, event_type, event_data, metadata, created_at
FROM events 
WHERE created_at BETWEEN ? AND ?
ORDER BY created_at ASC;";
    let (from, to) = (datetime!(2025-01-15 10:30:05 UTC), datetime!(2025-01-15 10:30:14 UTC));
    let in_time = read(EventQuery::new().created_at(from..=to).ordered_by(Order::Time));
    assert_eq!(in_time.len(), 10);
    let bounds = ["2025-01-15T10:30:05.000000Z", "2025-01-15T10:30:14.000000Z"];
    assert_eq!(seen(sql, params![bounds[0], bounds[1]]), as_rows(&in_time));
}

fn as_rows(events: &[EventEnvelope]) -> Vec<Vec<Value>> {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let row = |event: &EventEnvelope| {
        vec![
            text(&event.event_id.to_string()),
            text(&event.aggregate.id().to_string()),
            text(event.aggregate.aggregate_type().as_str()),
            Value::Integer(event.version.as_i64()),
            Value::Integer(event.global_sequence.as_i64()),
            text(event.event_type.as_str()),
            text(event.data.as_str()),
            event
                .metadata
                .as_ref()
                .map_or(Value::Null, |metadata| text(metadata.as_str())),
            text(&event.created_at.format(&format).unwrap()),
        ]
    };
    events.iter().map(row).collect()
}

#[test]
fn the_names_of_the_source_document_are_there() {
    let (_directory, path) = new_file();
    SqliteEventStore::builder(&path).indexes(Indexes::Full).open().unwrap();
    let connection = Connection::open(&path).unwrap();
    let objects = |kind: &str| {
        let sql =
            format!("SELECT name FROM sqlite_schema WHERE type = '{kind}' AND name NOT LIKE 'sqlite%' ORDER BY name");
        column(&connection, &sql)
    };
    let columns = |table: &str| {
        let mut names = column(&connection, &format!("SELECT name FROM pragma_table_xinfo('{table}')"));
        names.sort();
        names
    };

    assert_eq!(
        objects("table"),
        [
            "events",
            "firefly_archived_events",
            "firefly_archived_streams",
            "firefly_archives",
            "firefly_consumer_members",
            "firefly_consumers",
            "firefly_parked_events",
            "firefly_schema_history",
            "firefly_seals",
            "snapshots"
        ]
    );
    assert_eq!(
        columns("events"),
        [
            "aggregate_id",
            "aggregate_type",
            "aggregate_version",
            "causation_id",
            "checksum",
            "correlation_id",
            "created_at",
            "created_by",
            "event_data",
            "event_id",
            "event_size_bytes",
            "event_type",
            "global_sequence",
            "metadata",
            "tenant_id",
            "updated_at",
        ]
    );
    assert_eq!(
        columns("snapshots"),
        [
            "aggregate_id",
            "aggregate_type",
            "checksum",
            "created_at",
            "snapshot_data",
            "snapshot_id",
            "snapshot_type",
            "tenant_id",
            "version",
        ]
    );
    let indexes = objects("index");
    for index in [
        "idx_events_type",
        "idx_events_created_at",
        "idx_events_correlation_id",
        "idx_events_causation_id",
        "idx_events_tenant_id",
        "idx_events_created_by",
        "idx_events_aggregate_version",
        "idx_events_aggregate_type_created",
        "idx_events_type_created",
        "idx_events_tenant_aggregate",
        "idx_events_metadata_correlation",
        "idx_snapshots_version",
        "idx_snapshots_created_at",
    ] {
        assert!(
            indexes.iter().any(|name| name == index),
            "{index} is not in {indexes:?}"
        );
    }
    assert_eq!(
        objects("view"),
        ["mv_aggregate_summary", "v_event_statistics", "v_recent_events"]
    );
    assert_eq!(objects("trigger"), ["trigger_events_updated_at"]);
}

#[test]
fn the_views_say_what_the_store_says() {
    let (_directory, path) = new_file();
    let store = SqliteEventStore::open(&path).unwrap();
    let (aggregate, other) = (account(), account());
    let long_ago = deposited(1_000).created_at(datetime!(2025-01-15 10:30 UTC)).unwrap();
    store
        .append(&aggregate, ExpectedVersion::NoStream, &[long_ago, deposited(2)])
        .unwrap();
    store
        .append(&other, ExpectedVersion::NoStream, &[deposited(3)])
        .unwrap();
    let connection = Connection::open(&path).unwrap();

    let statistics = rows(
        &connection,
        "SELECT aggregate_type, event_type, event_count, avg_size_bytes, max_size_bytes, first_event_at,
                last_event_at >= first_event_at, unique_aggregates
         FROM v_event_statistics",
        [],
    );
    let expected = vec![
        text("Account"),
        text("money.deposited"),
        Value::Integer(3),
        Value::Real(13.0),
        Value::Integer(15),
        text("2025-01-15T10:30:00.000000Z"),
        Value::Integer(1),
        Value::Integer(2),
    ];
    assert_eq!(statistics, [expected]);

    let recent = "SELECT global_sequence FROM v_recent_events ORDER BY global_sequence";
    assert_eq!(
        rows(&connection, recent, []),
        [[Value::Integer(2)], [Value::Integer(3)]]
    );

    let summary = rows(
        &connection,
        "SELECT current_version, total_events, created_at, total_size_bytes, tenant_id FROM mv_aggregate_summary
         WHERE aggregate_id = ?1 AND aggregate_type = 'Account'",
        [aggregate.id().to_string()],
    );
    let created = text("2025-01-15T10:30:00.000000Z");
    let expected = vec![
        Value::Integer(2),
        Value::Integer(2),
        created,
        Value::Integer(27),
        Value::Null,
    ];
    assert_eq!(summary, [expected]);
}

#[test]
fn an_update_by_hand_is_dated_and_its_size_is_right() {
    let (_directory, path) = new_file();
    let store = SqliteEventStore::open(&path).unwrap();
    let aggregate = account();
    store
        .append(&aggregate, ExpectedVersion::NoStream, &[deposited(1), deposited(2)])
        .unwrap();
    assert_eq!(store.load(&aggregate).unwrap().events()[0].updated_at, None);

    let connection = Connection::open(&path).unwrap();
    let update = "UPDATE events SET event_data = '{\"owner\":\"Zoë\"}' WHERE aggregate_version = 1";
    assert_eq!(connection.execute(update, []).unwrap(), 1);
    let stream = store.load(&aggregate).unwrap();
    let [corrected, untouched] = stream.events() else {
        panic!()
    };
    assert!(
        corrected
            .updated_at
            .is_some_and(|updated| updated + time::Duration::MILLISECOND >= corrected.created_at)
    );
    assert_eq!(corrected.size_bytes, Some(16), "in bytes, not in characters");
    assert_eq!(untouched.updated_at, None);
    assert!(
        corrected.verify().unwrap_err().is_integrity(),
        "the checksum says that the data was changed"
    );

    let dated = "UPDATE events SET updated_at = '2025-01-15T10:30:00.000000Z' WHERE aggregate_version = 2";
    connection.execute(dated, []).unwrap();
    assert_eq!(
        store.load(&aggregate).unwrap().events()[1].updated_at,
        Some(datetime!(2025-01-15 10:30 UTC)),
        "a date that is given is kept"
    );
}

#[test]
fn rows_of_other_writers_get_what_they_leave_out() {
    let (_directory, path) = new_file();
    let store = SqliteEventStore::open(&path).unwrap();
    insert_event(&Connection::open(&path).unwrap(), "1").unwrap();
    let [event] = &all_events(&store)[..] else { panic!() };
    assert_eq!(event.global_sequence, 1);
    assert_eq!(event.size_bytes, Some(1));
    assert_eq!(event.checksum, None);
}

#[test]
fn rows_that_make_no_sense_are_refused_whoever_writes_them() {
    let (_directory, path) = new_file();
    SqliteEventStore::open(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    insert_event(&connection, "1").unwrap();
    let long = format!("'{}'", "x".repeat(256));
    for (column, values) in [
        (
            "event_id",
            &["NULL", "'e1'", "'650E8400-E29B-41D4-A716-446655440000'", "x'550e8400'"][..],
        ),
        (
            "aggregate_id",
            &["NULL", "'a1'", "'123E4567-E89B-12D3-A456-426614174000'"],
        ),
        ("aggregate_type", &["NULL", "''", &long]),
        ("aggregate_version", &["NULL", "0", "-1", "'two'", "1.5"]),
        ("event_type", &["NULL", "''", &long]),
        ("event_data", &["NULL", "''", "'{'", "'{\"a\":}'"]),
        ("metadata", &["''", "'{'"]),
        ("created_at", &["NULL", "''", "'2025-01-15 10:30:00'", "0"]),
        ("updated_at", &["'2025-01-15 10:30:00'"]),
        ("created_by", &["''", &long]),
        ("tenant_id", &["''", &long]),
        ("correlation_id", &["''", &long]),
        ("causation_id", &["''", &long]),
        ("checksum", &["'abc'"]),
        ("global_sequence", &["'first'", "0", "-1"]),
    ] {
        for value in values {
            let update = format!("UPDATE events SET {column} = {value}");
            assert!(connection.execute(&update, []).is_err(), "{update}");
        }
    }
    let same_version = insert_event(&connection, "2");
    assert!(same_version.unwrap_err().to_string().contains("aggregate_version"));
    assert!(
        connection
            .execute("UPDATE events SET event_size_bytes = 1", [])
            .is_err()
    );
}

// What they are made with.

const CORE_COLUMNS: &str = "
    SELECT global_sequence, event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata,
           created_at
    FROM events";

/// An insert by another program: the first event of one aggregate.
fn insert_event(connection: &Connection, data: &str) -> firefly_eventstore_sqlite::driver::Result<usize> {
    connection.execute(
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
         VALUES (?1, ?2, 'Account', 1, 'money.deposited', ?3)",
        params![Uuid::now_v7().to_string(), AGGREGATE, data],
    )
}

fn new_file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    (directory, path)
}

fn versions(migrations: &[Migration]) -> Vec<&'static str> {
    migrations.iter().map(|migration| migration.version).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
