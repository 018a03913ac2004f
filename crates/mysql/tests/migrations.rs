//! Migrations: crashes at every point, chosen indexes, and tables that were made by hand.

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{SchemaProblem, SummaryQuery};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Row, TxOpts};
use firefly_eventstore_mysql::{Indexes, MysqlEventStore};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer};

use crate::support::{account, all_events, append_one, builder, client, deposited, fresh, mark, on_both, run};

on_both!(
    a_migration_goes_on_after_a_crash_at_any_point,
    indexes_can_be_chosen_and_chosen_again,
    an_older_store_keeps_the_indexes_that_were_chosen_for_it,
    snapshots_of_an_older_store_stay_and_make_room_for_other_forms,
    the_gates_of_before_go_once_no_append_holds_one,
    a_store_of_before_there_were_archives_gets_what_they_need,
    a_gate_that_is_missing_is_found_out,
    the_source_documents_table_is_adopted,
    an_adoption_goes_on_after_a_crash,
    a_row_that_cannot_be_adopted_is_named,
    a_table_with_columns_of_its_own_is_refused,
    a_table_that_others_are_bound_to_is_refused,
    checks_made_by_hand_give_way_to_ours,
    a_check_of_another_table_is_in_the_way_on_mysql_only,
    summaries_made_by_hand_are_made_anew,
    summaries_with_columns_of_their_own_are_refused,
    works_with_a_binary_log_and_without_the_right_to_make_triggers,
    time_zones_and_sql_modes_of_the_server_do_not_matter,
);

/// The statement that creates each table, and the definition of each view.
fn schema(client: &mut Conn) -> Vec<String> {
    let tables: Vec<(String, String)> = client.query("SHOW FULL TABLES").unwrap();
    let show = |(table, kind): &(String, String)| {
        if kind == "VIEW" {
            let columns: Vec<String> = client
                .query_map(
                    format!("SHOW COLUMNS FROM {table}"),
                    |row: (String, String, String, String, Option<String>, String)| format!("{} {}", row.0, row.1),
                )
                .unwrap();
            return columns.join(", ");
        }
        let (_, statement): (String, String) = client
            .query_first(format!("SHOW CREATE TABLE {table}"))
            .unwrap()
            .unwrap();
        // Without the next sequence.
        let words = statement.split(' ').filter(|word| !word.starts_with("AUTO_INCREMENT="));
        words.collect::<Vec<_>>().join(" ")
    };
    tables.iter().map(show).collect()
}

fn a_migration_goes_on_after_a_crash_at_any_point(server: &MysqlServer) {
    let collation = match server.flavour() {
        Flavour::Mysql => "utf8mb4_0900_bin",
        Flavour::Mariadb => "utf8mb4_nopad_bin",
    };
    let reference = server.new_database();
    builder(&reference).indexes(Indexes::Full).migrate().unwrap();
    let expected = schema(&mut client(&reference));
    let history: Vec<(String, String, String)> = client(&reference)
        .query("SELECT version, description, checksum FROM firefly_schema_history ORDER BY installed_rank")
        .unwrap();
    let steps = builder(&server.new_database()).pending().unwrap();
    let statements = |sql: &str| -> Vec<String> {
        let sql = sql
            .replace("{collation}", collation)
            .replace("ENGINE = InnoDB", "ENGINE = InnoDB ROW_FORMAT = DYNAMIC");
        let parts = sql.split(";\n").filter(|part| !part.trim().is_empty());
        parts.map(str::to_owned).collect()
    };
    let points: usize = steps.iter().map(|step| statements(step.sql).len() + 1).sum();
    // Each point needs a database. So only the first and last of each step are tried, and some in between.
    for point in (0..points).step_by(3).chain([points - 1]) {
        let database = server.new_database();
        let mut other = client(&database);
        // The history table is created first.
        run(
            &mut other,
            &format!(
                "CREATE TABLE firefly_schema_history LIKE {}.firefly_schema_history",
                reference.name()
            ),
        );
        let mut left = point;
        'crash: for (step, recorded) in steps.iter().zip(&history) {
            for statement in statements(step.sql) {
                if left == 0 {
                    break 'crash;
                }
                left -= 1;
                run(&mut other, &statement);
            }
            if left == 0 {
                break;
            }
            left -= 1;
            let record = "INSERT INTO firefly_schema_history (version, description, checksum) VALUES (?, ?, ?)";
            other.exec_drop(record, recorded).unwrap();
        }
        let store = builder(&database)
            .indexes(Indexes::Full)
            .migrate_on_open(true)
            .open()
            .unwrap_or_else(|error| panic!("after {point} of {points}: {error:?}"));
        assert_eq!(schema(&mut other), expected, "after {point} of {points}");
        assert_eq!(append_one(&store), 1);
        assert!(builder(&database).migrate().unwrap().is_empty());
    }
}

fn indexes_of(database: &Database) -> Vec<String> {
    let indexes = "SELECT DISTINCT index_name FROM information_schema.statistics
                   WHERE table_schema = DATABASE() AND table_name = 'events' ORDER BY index_name";
    client(database).query(indexes).unwrap()
}

fn indexes_can_be_chosen_and_chosen_again(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let standard = indexes_of(&database);
    append_one(&store);
    for (chosen, count) in [
        (Indexes::Lean, 3),
        (Indexes::Full, 14),
        (Indexes::Standard, 9),
        (Indexes::Lean, 3),
    ] {
        let store = builder(&database).indexes(chosen).migrate_on_open(true).open().unwrap();
        let there = indexes_of(&database);
        assert_eq!(there.len(), count, "{there:?}");
        assert_eq!(there == standard, chosen == Indexes::Standard);
        append_one(&store);
        let query = EventQuery::new().event_types(["money.deposited"]).unwrap();
        assert_eq!(store.read(query).count(), all_events(&store).len());
    }
    // A migration keeps the chosen indexes.
    builder(&database).migrate().unwrap();
    assert_eq!(indexes_of(&database).len(), 3);
}

fn an_older_store_keeps_the_indexes_that_were_chosen_for_it(server: &MysqlServer) {
    for (chosen, indexes) in [(Indexes::Lean, 3), (Indexes::Full, 14)] {
        let database = server.new_database();
        builder(&database).indexes(chosen).migrate().unwrap();
        let mut other = client(&database);
        run(&mut other, "DELETE FROM firefly_schema_history WHERE version > '5.0.0'");
        builder(&database).migrate().unwrap();
        assert_eq!(indexes_of(&database).len(), indexes, "{chosen:?}");
    }
}

fn snapshots_of_an_older_store_stay_and_make_room_for_other_forms(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let account = account();
    store
        .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let of_form = |form| NewSnapshot::new(&account, 1, form, &0).unwrap();
    store.save(&of_form("State.v1")).unwrap();
    let mut other = client(&database);
    // The state before the last step, and after a crash within it.
    for older in [
        "ALTER TABLE snapshots DROP INDEX idx_snapshots_version,
             ADD UNIQUE INDEX idx_snapshots_version (aggregate_id, version)",
        "SELECT 1",
    ] {
        run(&mut other, older);
        run(
            &mut other,
            "DELETE FROM firefly_schema_history WHERE version >= '6.1.0'",
        );
        assert_eq!(builder(&database).migrate().unwrap().len(), 3);
    }
    store.save(&of_form("State.v2")).unwrap();
    store.save(&of_form("State.v2")).unwrap();
    let kept = store.list_snapshots(None, &account).unwrap();
    let forms: Vec<&str> = kept.iter().map(|snapshot| snapshot.snapshot_type.as_str()).collect();
    assert_eq!(forms, ["State.v2", "State.v1"]);
}

fn the_gates_of_before_go_once_no_append_holds_one(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let mut admin = client(&database);
    for before in [
        "DELETE FROM firefly_schema_history WHERE version IN ('6.2.0', '7.0.0')",
        "DELETE FROM firefly_gate",
        "INSERT INTO firefly_gate (id) VALUES (0), (1), (2)",
        "CREATE TRIGGER trigger_events_gate BEFORE INSERT ON events FOR EACH ROW SET @firefly_gate = (
             SELECT id FROM firefly_gate WHERE id = MICROSECOND(NOW(6)) DIV 20000 MOD 3 LOCK IN SHARE MODE)",
    ] {
        run(&mut admin, before);
    }
    let mut older = client(&database);
    run(&mut older, "START TRANSACTION");
    run(
        &mut older,
        "SELECT id FROM firefly_gate WHERE id = 1 LOCK IN SHARE MODE",
    );
    thread::scope(|scope| {
        let migrating = scope.spawn(|| builder(&database).migrate());
        let began = Instant::now();
        loop {
            let connections: Vec<Row> = admin.query("SHOW FULL PROCESSLIST").unwrap();
            let statement = |row: &Row| row.get::<Option<Vec<u8>>, _>("Info").unwrap().unwrap_or_default();
            let is_deleting = |row: &Row| String::from_utf8_lossy(&statement(row)).contains("DELETE FROM firefly_gate");
            if connections.iter().any(is_deleting) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "nobody waits");
            thread::sleep(Duration::from_millis(5));
        }
        run(&mut older, "COMMIT");
        migrating.join().unwrap().unwrap();
    });
    let gates: (i64, i64, i64) = admin
        .query_first("SELECT MIN(id), MAX(id), COUNT(*) FROM firefly_gate")
        .unwrap()
        .unwrap();
    assert_eq!(gates, (3, 102, 100));
    // The same holds for appends of other programs.
    run(&mut older, "START TRANSACTION");
    run(
        &mut older,
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
         VALUES (RANDOM_BYTES(16), RANDOM_BYTES(16), 'Account', 1, 'account.opened', '{}')",
    );
    let free: Vec<i64> = admin
        .query("SELECT id FROM firefly_gate FOR UPDATE SKIP LOCKED")
        .unwrap();
    assert_eq!(free.len(), 99);
    run(&mut older, "COMMIT");
    append_one(&store);
    assert_eq!(mark(&store), 2);
}

fn a_store_of_before_there_were_archives_gets_what_they_need(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let account = account();
    let three = [1, 2, 3].map(deposited);
    store.append(&account, ExpectedVersion::NoStream, &three).unwrap();
    for before in [
        "DELETE FROM firefly_schema_history WHERE version = '7.0.0'",
        "DROP TABLE firefly_archives, firefly_archived_streams, firefly_archived_events, firefly_moves",
        "ALTER TABLE firefly_gate DROP COLUMN has_archived",
        "CREATE TRIGGER trigger_events_gate BEFORE INSERT ON events FOR EACH ROW SET @firefly_gate = (
             SELECT id FROM firefly_gate WHERE id = 3 + MICROSECOND(NOW(6)) DIV 10000 LOCK IN SHARE MODE)",
    ] {
        run(&mut client(&database), before);
    }
    let migrated = builder(&database).migrate().unwrap();
    assert_eq!(migrated.iter().map(|step| step.version).collect::<Vec<_>>(), ["7.0.0"]);
    let store = builder(&database).open().unwrap();
    let events = store.load(&account).unwrap().into_events();
    assert_eq!(store.retire_events(&events[..2]).unwrap(), 2);
    store
        .append(&account, ExpectedVersion::Exact(3.into()), &[deposited(4)])
        .unwrap();
    // Inserts of other programs are checked, too.
    let mut other = client(&database);
    let again = "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                 VALUES (?, ?, 'Account', 1, 'account.opened', '{}')";
    let refused = other.exec_drop(again, (events[0].event_id, Uuid::now_v7()));
    assert!(refused.unwrap_err().to_string().contains("archived"));
}

fn a_gate_that_is_missing_is_found_out(server: &MysqlServer) {
    let (database, _) = fresh(server);
    for (breaks, repairs) in [
        (
            "DELETE FROM firefly_gate WHERE id = 5",
            "INSERT INTO firefly_gate (id) VALUES (5)",
        ),
        (
            "DELETE FROM firefly_turn WHERE id = 7",
            "INSERT INTO firefly_turn VALUES (7)",
        ),
        ("RENAME TABLE firefly_gate TO gone", "RENAME TABLE gone TO firefly_gate"),
    ] {
        run(&mut client(&database), breaks);
        let error = builder(&database).open().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{breaks}: {error:?}"
        );
        run(&mut client(&database), repairs);
        builder(&database).open().unwrap();
    }
}

/// The source document's schema for MySQL, word for word.
const SOURCE: &str = "CREATE TABLE events (
    event_id CHAR(36) PRIMARY KEY,
    aggregate_id CHAR(36) NOT NULL,
    aggregate_type VARCHAR(255) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    global_sequence BIGINT NOT NULL AUTO_INCREMENT UNIQUE,
    event_type VARCHAR(255) NOT NULL,
    event_data JSON NOT NULL,
    metadata JSON,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    UNIQUE KEY uk_aggregate_version (aggregate_id, aggregate_version),
    KEY idx_aggregate (aggregate_id, aggregate_type),
    KEY idx_global_sequence (global_sequence),
    KEY idx_event_type (event_type),
    KEY idx_created_at (created_at)
)";

/// The ids of 2,500 events of 500 aggregates, in a table of the source document.
fn by_hand(database: &Database) -> Vec<Uuid> {
    let mut other = client(database);
    run(&mut other, SOURCE);
    run(&mut other, "SET time_zone = '+02:00'");
    let accounts: Vec<Uuid> = (0..500).map(|_| Uuid::now_v7()).collect();
    let ids: Vec<Uuid> = (0..2_500).map(|_| Uuid::now_v7()).collect();
    let insert = "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, metadata, created_at)
                  VALUES (?, ?, 'Account', ?, 'money.deposited', ?, ?, '2025-01-15 12:30:00')";
    run(&mut other, "START TRANSACTION");
    for (number, id) in ids.iter().enumerate() {
        let aggregate = accounts[number % 500].to_string();
        let version = 1 + number / 500;
        let data = format!(r#"{{"amount":{number}}}"#);
        let metadata = (number % 2 == 0).then_some(r#"{"correlationId":"corr-001"}"#);
        // Ids in upper and in lower case.
        let id = match number % 3 {
            0 => id.to_string().to_uppercase(),
            _ => id.to_string(),
        };
        other
            .exec_drop(insert, (id, aggregate, version, data, metadata))
            .unwrap();
    }
    run(&mut other, "COMMIT");
    ids
}

fn assert_adopted(store: &MysqlEventStore, ids: &[Uuid]) {
    let log = all_events(store);
    assert_eq!(log.iter().map(|event| event.event_id).collect::<Vec<_>>(), ids);
    for (event, sequence) in log.iter().zip(1_i64..) {
        event.verify().unwrap();
        assert_eq!(event.global_sequence.as_i64(), sequence);
        assert_eq!(event.created_at.to_string(), "2025-01-15 10:30:00.0 +00:00:00");
        assert_eq!(event.updated_at, None);
        assert_eq!(event.size_bytes, u32::try_from(event.data.as_str().len()).ok());
    }
    assert_eq!(
        log.iter().filter(|event| event.metadata.is_some()).count(),
        ids.len() / 2
    );
    let stream = store.load(&log[0].aggregate).unwrap();
    assert_eq!(stream.version(), 5);
    store
        .append(&log[0].aggregate, stream.version(), &[deposited(1)])
        .unwrap();
}

fn the_source_documents_table_is_adopted(server: &MysqlServer) {
    let database = server.new_database();
    let ids = by_hand(&database);
    // Sequences that were allocated and whose events were deleted.
    let mut other = client(&database);
    run(
        &mut other,
        "INSERT INTO events SELECT UUID(), UUID(), 'Gone', 1, NULL, 'gone', '{}', NULL, NOW() FROM events LIMIT 100",
    );
    run(&mut other, "DELETE FROM events WHERE aggregate_type = 'Gone'");
    let store = builder(&database).migrate_on_open(true).open().unwrap();
    assert_adopted(&store, &ids);
    assert!(
        mark(&store) > 2_600,
        "a sequence was given a second time: {}",
        mark(&store)
    );
    let tables: Vec<String> = client(&database).query("SHOW TABLES LIKE '%by_hand'").unwrap();
    assert!(tables.is_empty());
    let empty = server.new_database();
    builder(&empty).migrate().unwrap();
    assert_eq!(schema(&mut client(&database)), schema(&mut client(&empty)));
}

fn an_adoption_goes_on_after_a_crash(server: &MysqlServer) {
    let database = server.new_database();
    let ids = by_hand(&database);
    // The migration fails at this row, twice. The rows before it stay converted.
    let mut other = client(&database);
    run(
        &mut other,
        "UPDATE events SET event_id = 'no id' WHERE global_sequence = 2400",
    );
    for _ in 0..2 {
        let error = builder(&database).migrate().unwrap_err();
        assert!(error.to_string().contains("no id"), "{error}");
        let count: Option<u64> = other.query_first("SELECT COUNT(*) FROM events").unwrap();
        assert_eq!(count, Some(2_000));
        builder(&database).open().unwrap_err();
    }
    let repair = "UPDATE events_by_hand SET event_id = ? WHERE global_sequence = 2400";
    other.exec_drop(repair, (ids[2_399].to_string(),)).unwrap();
    let store = builder(&database).migrate_on_open(true).open().unwrap();
    assert_adopted(&store, &ids);
}

fn a_row_that_cannot_be_adopted_is_named(server: &MysqlServer) {
    for (damage, says) in [
        ("event_data = '{\"a\":1,\"a\":2}'", "a"),
        ("metadata = '[1]'", "metadata is not a JSON object"),
        ("created_at = NULL", "created_at is NULL"),
        ("event_type = ''", "event_type"),
        ("aggregate_version = 7", "contiguous"),
        ("aggregate_type = 'account'", "several types"),
    ] {
        let database = server.new_database();
        let ids = by_hand(&database);
        let mut other = client(&database);
        if other
            .query_drop(format!("UPDATE events SET {damage} WHERE global_sequence = 2100"))
            .is_err()
        {
            continue; // this server does not take it in the first place
        }
        if damage.starts_with("event_data") && server.flavour() == Flavour::Mysql {
            continue; // its JSON keeps the last of two keys
        }
        let error = builder(&database).migrate().unwrap_err();
        let aggregate: Option<String> = other
            .query_first("SELECT aggregate_id FROM events_by_hand WHERE global_sequence = 2100")
            .unwrap();
        let message = error.to_string();
        assert!(message.contains(says), "{damage}: {message}");
        assert!(
            message.contains(&ids[2_099].to_string()) || message.contains(&aggregate.unwrap()),
            "{damage}: {message}"
        );
    }
}

fn a_table_with_columns_of_its_own_is_refused(server: &MysqlServer) {
    let database = server.new_database();
    by_hand(&database);
    run(&mut client(&database), "ALTER TABLE events ADD COLUMN note TEXT");
    let error = builder(&database).migrate().unwrap_err();
    assert!(error.to_string().contains("note"), "{error}");
    run(&mut client(&database), "ALTER TABLE events DROP COLUMN note");
    builder(&database).migrate().unwrap();
}

fn a_table_that_others_are_bound_to_is_refused(server: &MysqlServer) {
    let database = server.new_database();
    let ids = by_hand(&database);
    let mut other = client(&database);
    for (bind, bound, release) in [
        (
            "CREATE TRIGGER audited AFTER INSERT ON events FOR EACH ROW SET @audited = NEW.event_id",
            "trigger audited",
            "DROP TRIGGER audited",
        ),
        (
            "CREATE TABLE notes (about CHAR(36), CONSTRAINT note_of FOREIGN KEY (about) REFERENCES events (event_id))",
            "foreign key notes.note_of",
            "DROP TABLE notes",
        ),
        (
            "ALTER TABLE events ADD CONSTRAINT known_kind FOREIGN KEY (event_type) REFERENCES kinds (kind)",
            "foreign key events.known_kind",
            "ALTER TABLE events DROP FOREIGN KEY known_kind",
        ),
    ] {
        run(
            &mut other,
            "CREATE TABLE IF NOT EXISTS kinds (kind VARCHAR(255) PRIMARY KEY)",
        );
        run(&mut other, "INSERT IGNORE INTO kinds VALUES ('money.deposited')");
        run(&mut other, bind);
        let error = builder(&database).migrate().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains(bound), "{error}");
        let count: Option<usize> = other.query_first("SELECT COUNT(*) FROM events").unwrap();
        assert_eq!(count, Some(ids.len()), "nothing was touched");
        run(&mut other, release);
    }
    run(&mut other, "DROP TABLE kinds");
    let store = builder(&database).migrate_on_open(true).open().unwrap();
    assert_adopted(&store, &ids);
}

fn checks_made_by_hand_give_way_to_ours(server: &MysqlServer) {
    // Of as many of the three, a crash has left the others behind; and then before or after the table is renamed.
    for (left, renamed) in [(3, false), (1, false), (2, true)] {
        let database = server.new_database();
        let ids = by_hand(&database);
        let mut other = client(&database);
        for check in [
            "events_aggregate_version_check CHECK (aggregate_version > 0)",
            "events_event_type_check CHECK (event_type LIKE '%.%')",
            "Events_Aggregate_Type_Check CHECK (LENGTH(aggregate_type) < 100)",
            "of_its_own CHECK (event_type <> 'nothing')",
        ]
        .iter()
        .skip(3 - left)
        {
            run(&mut other, &format!("ALTER TABLE events ADD CONSTRAINT {check}"));
        }
        if renamed {
            run(&mut other, "RENAME TABLE events TO events_by_hand");
        }
        let store = builder(&database).migrate_on_open(true).open().unwrap();
        assert_adopted(&store, &ids);
        let empty = server.new_database();
        builder(&empty).migrate().unwrap();
        assert_eq!(schema(&mut other), schema(&mut client(&empty)));
        let nameless =
            "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                        VALUES (UNHEX('00'), UNHEX('00'), 'Account', 1, '', '{}')";
        let error = other.query_drop(nameless).unwrap_err();
        assert!(error.to_string().contains("events_event_type_check"), "{error}");
    }
}

fn a_check_of_another_table_is_in_the_way_on_mysql_only(server: &MysqlServer) {
    let database = server.new_database();
    let ids = by_hand(&database);
    let mut other = client(&database);
    run(
        &mut other,
        "CREATE TABLE notes (note INT, CONSTRAINT events_event_type_check CHECK (note > 0))",
    );
    if server.flavour() == Flavour::Mysql {
        let error = builder(&database).migrate().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(
            message.contains("notes") && message.contains("events_event_type_check"),
            "{message}"
        );
        let count: Option<usize> = other.query_first("SELECT COUNT(*) FROM events").unwrap();
        assert_eq!(count, Some(ids.len()), "nothing was touched");
        run(&mut other, "ALTER TABLE notes DROP CONSTRAINT events_event_type_check");
    }
    let store = builder(&database).migrate_on_open(true).open().unwrap();
    assert_adopted(&store, &ids);
}

fn summaries_made_by_hand_are_made_anew(server: &MysqlServer) {
    let as_query =
        "SELECT aggregate_id, aggregate_type, MAX(aggregate_version) AS current_version, COUNT(*) AS total_events
                    FROM events GROUP BY aggregate_id, aggregate_type";
    for made in [
        &format!("CREATE VIEW mv_aggregate_summary AS {as_query}"),
        &format!("CREATE TABLE mv_aggregate_summary AS {as_query}"),
        // Ours, but for the key that it is refreshed by.
        "CREATE TABLE mv_aggregate_summary (aggregate_id BINARY(16), aggregate_type TEXT, current_version INT, total_events INT,
             created_at DATETIME, last_modified_at DATETIME, total_size_bytes INT, tenant_id TEXT)",
    ] {
        let database = server.new_database();
        let ids = by_hand(&database);
        let mut other = client(&database);
        run(&mut other, made);
        let store = builder(&database).migrate_on_open(true).open().unwrap();
        // The summaries show the state of now, and later the state of each refresh.
        let summaries = store
            .aggregate_summaries(&SummaryQuery::new().as_of_last_refresh())
            .unwrap();
        assert_eq!(summaries.len(), 500);
        assert!(summaries.iter().all(|summary| summary.current_version == 5));
        assert_adopted(&store, &ids);
        store.refresh_aggregate_summaries().unwrap();
        let empty = server.new_database();
        builder(&empty).migrate().unwrap();
        assert_eq!(schema(&mut other), schema(&mut client(&empty)), "{made}");
    }
}

fn summaries_with_columns_of_their_own_are_refused(server: &MysqlServer) {
    let database = server.new_database();
    let ids = by_hand(&database);
    let mut other = client(&database);
    run(
        &mut other,
        "CREATE TABLE mv_aggregate_summary (aggregate_id CHAR(36) PRIMARY KEY, opinion TEXT)",
    );
    let error = builder(&database).migrate().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Schema(SchemaProblem::Altered { .. })),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("mv_aggregate_summary") && message.contains("opinion"),
        "{message}"
    );
    let count: Option<usize> = other.query_first("SELECT COUNT(*) FROM events").unwrap();
    assert_eq!(count, Some(ids.len()), "nothing was touched");
    run(&mut other, "RENAME TABLE mv_aggregate_summary TO opinions");
    let store = builder(&database).migrate_on_open(true).open().unwrap();
    assert_adopted(&store, &ids);
}

fn works_with_a_binary_log_and_without_the_right_to_make_triggers(server: &MysqlServer) {
    let server = MysqlServer::start_forgetful(server.flavour(), &[("log_bin", "binlog"), ("server_id", "1")]).unwrap();
    let database = server.new_database();
    let mut other = client(&database);
    run(&mut other, "CREATE USER clerk@'%' IDENTIFIED BY 'secret'");
    run(
        &mut other,
        &format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW ON {}.* TO clerk@'%'",
            database.name()
        ),
    );
    let url = server.url_at(server.address(), database.name());
    let (_, host) = url.split_once('@').unwrap();
    let store = MysqlEventStore::builder(&format!("mysql://clerk:secret@{host}"))
        .migrate_on_open(true)
        .open()
        .unwrap();
    let account = account();
    store.append(&account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
    store
        .transaction(|tx| tx.append(&account, ExpectedVersion::Any, &[deposited(2)]))
        .unwrap();
    assert_eq!(mark(&store), 2);
    store.refresh_aggregate_summaries().unwrap();
    let error = MysqlEventStore::builder(&format!("mysql://clerk:secret@{host}"))
        .cover_other_writers(true)
        .migrate()
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PermissionDenied);
    assert!(!format!("{error:?} {store:?}").contains("secret"));
}

fn time_zones_and_sql_modes_of_the_server_do_not_matter(server: &MysqlServer) {
    let options = [
        ("default_time_zone", "+05:30"),
        ("sql_mode", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT"),
        ("transaction_isolation", "SERIALIZABLE"),
        ("character_set_server", "latin1"),
    ];
    let server = MysqlServer::start_forgetful(server.flavour(), &options).unwrap();
    let (database, store) = fresh(&server);
    let before = OffsetDateTime::now_utc();
    let opened = NewEvent::from_json("account.opened", r#"{"owner":"Zoë \\ \"😀\""}"#).unwrap();
    let account = AggregateKey::new("Konto \"ß\" \\", Uuid::now_v7()).unwrap();
    store
        .append(&account, ExpectedVersion::NoStream, std::slice::from_ref(&opened))
        .unwrap();
    let event = all_events(&store).remove(0);
    event.verify().unwrap();
    assert_eq!(event.aggregate, account);
    assert_eq!(event.data.canonical().unwrap(), opened.data().canonical().unwrap());
    let age = event.created_at - before;
    assert!(age.abs().whole_seconds() < 60, "{age}");
    assert_eq!(
        store
            .recent_events(age.unsigned_abs() + std::time::Duration::from_secs(60))
            .count(),
        1
    );

    // Also times that the database itself writes, and times in sessions with another time zone.
    let snapshot = NewSnapshot::from_json(&account, Version::from(1), "Account", "{}").unwrap();
    store.save_snapshot(None, &snapshot).unwrap();
    let correct = "UPDATE events SET created_by = 'clerk-7'";
    store
        .transaction(|tx| {
            tx.connection().query_drop(correct).unwrap();
            Ok::<_, Error>(())
        })
        .unwrap();
    let mut other = client(&database);
    run(&mut other, "SET time_zone = '-11:00'");
    run(&mut other, "SET sql_mode = 'STRICT_ALL_TABLES'");
    run(&mut other, "SET NAMES utf8mb4");
    let mut transaction = other.start_transaction(TxOpts::default()).unwrap();
    let events = [deposited(1)];
    let append = [Append::new(&account, ExpectedVersion::Any, &events)];
    store.append_within(&mut transaction, &append).unwrap();
    transaction.commit().unwrap();
    let insert =
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
                  VALUES (?, ?, 'Account', 1, 'account.opened', '{}')";
    other.exec_drop(insert, (Uuid::now_v7(), Uuid::now_v7())).unwrap();
    for (times, count) in [
        ("created_at FROM events", 3),
        ("updated_at FROM events WHERE updated_at IS NOT NULL", 1),
        ("created_at FROM snapshots", 1),
        ("installed_at FROM firefly_schema_history", 11),
    ] {
        let (column, from) = times.split_once(' ').unwrap();
        let ages: Vec<i64> = other
            .query(format!(
                "SELECT ABS(TIMESTAMPDIFF(SECOND, {column}, UTC_TIMESTAMP(6))) {from}"
            ))
            .unwrap();
        assert_eq!(ages.len(), count, "{times}");
        assert!(ages.iter().all(|age| *age < 60), "{times}: {ages:?}");
    }
}
