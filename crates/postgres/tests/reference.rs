//! The PostgreSQL part of the schema reference, `sql/README.md`, names everything in the schema, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use firefly_eventstore_postgres::{Indexes, Partitions, PostgresEventStore};

use crate::support::{client, database};

/// Every column, index, view, trigger, function and table of the store.
const NAMES: &str = "
SELECT relname::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 'I', 'v', 'm')
UNION SELECT attname::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal
UNION SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace";

#[test]
fn the_reference_names_what_there_is_and_no_more() {
    let Some(database) = database() else { return };
    PostgresEventStore::builder(database.url())
        .indexes(Indexes::Full)
        .notify(true)
        .migrate()
        .unwrap();
    let Some(partitioned) = self::database() else { return };
    PostgresEventStore::builder(partitioned.url())
        .partitions(Partitions::by_events(10))
        .migrate()
        .unwrap();
    let names = |database| client(database).query(NAMES, &[]).unwrap();
    let rows = [names(&database), names(&partitioned)].concat();
    let names = rows.iter().map(|row| row.get::<_, String>(0));
    let names: BTreeSet<String> = names.filter(|name| !is_partition(name)).collect();
    assert!(names.len() > 50, "{names:?}");

    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql/README.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    let (_, part) = reference.split_once("\n## PostgreSQL\n").unwrap();
    let part = part.split("\n## ").next().unwrap();
    for name in &names {
        assert!(part.contains(&format!("`{name}`")), "{name} is not in the reference");
    }
    let is_a_name = |word: &&str| {
        let starts = ["idx_", "trigger_", "v_", "mv_", "firefly_", "events_", "snapshots_"];
        starts.iter().any(|start| word.starts_with(start))
    };
    let described = part
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name)
        .filter(|name| !name.contains('`'));
    let quoted = part.split('`').skip(1).step_by(2);
    let named = quoted.map(|word| word.trim_end_matches("()")).filter(is_a_name);
    for name in described.chain(named) {
        assert!(
            names.contains(name) || NOT_HERE.contains(&name) || is_partition(name),
            "{name} is in the reference, and not in the database"
        );
    }
}

/// The names of partitions and of their indexes contain the partition's first sequence.
fn is_partition(name: &str) -> bool {
    name.starts_with("events_from_")
}

/// Names that the reference mentions, although the schema does not have them, or has them only on request, or while it is changed.
const NOT_HERE: &[&str] = &[
    "idx_events_aggregate",
    "events_restored",
    "firefly_bound",
    "firefly_joined_events",
];
