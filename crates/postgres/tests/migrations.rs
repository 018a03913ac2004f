//! The schema: made, made by many at once, resumed, chosen anew, and adopted from tables that somebody made by hand from the
//! source document.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::verify;
use firefly_eventstore_postgres::{Indexes, PostgresEventStore};
use firefly_eventstore_test_servers::Database;

use support::{account, all_events, client, database, deposited, fresh};

/// The source document's tables, as its version 1.0.0 and its V4 have them, but for what PostgreSQL refuses.
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

/// The source document's sample, with aggregate ids that are ids.
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

/// Every index, constraint, trigger and column there is, with its definition.
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
    assert_eq!(applied, 5);
}

#[test]
fn a_migration_that_was_cut_off_between_steps_goes_on() {
    let Some((database, _)) = fresh() else { return };
    let whole = catalog(&database);
    // As a crash before each of the steps leaves it: those after it were neither made nor recorded.
    for steps in (0..5).rev() {
        client(&database)
            .batch_execute(&format!(
                "DELETE FROM firefly_schema_history WHERE installed_rank > {steps}"
            ))
            .unwrap();
        let applied = PostgresEventStore::builder(database.url()).migrate().unwrap();
        assert_eq!(applied.len(), 5 - steps);
        client(&database)
            .batch_execute(
                "UPDATE firefly_schema_history SET installed_rank = array_position(
                ARRAY['1.0.0', '1.1.0', '1.2.0', '4.0.0', '5.0.0'], version)",
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
        // A store that there is keeps the indexes that were chosen for it.
        PostgresEventStore::builder(database.url()).migrate().unwrap();
        assert_eq!(optional(&database), expected, "{indexes:?}");
        assert_eq!(all_events(&store).len(), 1);
    }
}
