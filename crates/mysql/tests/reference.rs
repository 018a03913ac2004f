//! The part of the schema reference, `sql/README.md`, for MySQL and MariaDB names everything in the schema, and nothing
//! else.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{builder, client, on_both};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::{Indexes, Partitions};
use firefly_eventstore_test_servers::{Database, MysqlServer};

on_both!(the_reference_names_what_there_is_and_no_more);

const NAMES: &str = "
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name IN ('events', 'snapshots')
    UNION SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()
    UNION SELECT index_name FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name <> 'firefly_schema_history' AND index_name <> 'PRIMARY'
    UNION SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()";

fn the_reference_names_what_there_is_and_no_more(server: &MysqlServer) {
    let database = server.new_database();
    builder(&database)
        .indexes(Indexes::Full)
        .cover_other_writers(true)
        .migrate()
        .unwrap();
    let partitioned = server.new_database();
    builder(&partitioned)
        .partitions(Partitions::by_events(10))
        .migrate()
        .unwrap();
    let names = |database: &Database| -> Vec<String> { client(database).query(NAMES).unwrap() };
    let names: BTreeSet<String> = [names(&database), names(&partitioned)].concat().into_iter().collect();
    assert!(names.len() > 40, "{names:?}");

    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql/README.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    let (_, part) = reference.split_once("\n## MySQL and MariaDB\n").unwrap();
    for name in &names {
        assert!(part.contains(&format!("`{name}`")), "{name} is not in the reference");
    }
    let is_a_name = |word: &&str| {
        let starts = [
            "idx_events_",
            "idx_snapshots_",
            "idx_mv_",
            "trigger_",
            "v_",
            "mv_",
            "firefly_",
        ];
        starts.iter().any(|start| word.starts_with(start))
    };
    for name in part.split('`').skip(1).step_by(2).filter(is_a_name) {
        assert!(
            names.contains(name) || NOT_HERE.contains(&name),
            "{name} is in the reference, and not in the database"
        );
    }
}

/// Names that the reference mentions, although the schema has them only while a log is converted.
const NOT_HERE: &[&str] = &["firefly_conversion", "firefly_next_events", "firefly_earlier_events"];
