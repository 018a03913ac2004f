//! Our backends. Each creates fresh databases.

mod memory;
mod mysql;
mod postgres;
mod splitter;
mod sqlite;

use std::env;

use firefly_eventstore_conformance::Environment;

pub(crate) use memory::memory;
pub(crate) use mysql::{mariadb, mariadb_lean, mariadb_partitioned, mysql, mysql_lean, mysql_partitioned};
pub(crate) use postgres::{postgres, postgres_by_type, postgres_lean, postgres_partitioned};
pub(crate) use sqlite::{sqlite_file, sqlite_lean, sqlite_memory};

/// A new, empty database of a backend; none, which is printed, if the backend is missing.
pub(crate) type Fresh = Option<Box<dyn Environment>>;

/// A backend, in the form that the suite needs.
pub(crate) type Backend = fn() -> Fresh;

/// Why a backend is missing.
#[derive(Debug)]
struct Missing(String);

/// The environment; none if its backend is missing. Fails if `REQUIRE_BACKENDS` names the backend's family.
fn unless_missing(family: &str, environment: Result<Box<dyn Environment>, Missing>) -> Fresh {
    unless_missing_of(&required(), family, environment)
}

fn unless_missing_of(required: &[String], family: &str, environment: Result<Box<dyn Environment>, Missing>) -> Fresh {
    let Missing(missing) = match environment {
        Ok(environment) => return Some(environment),
        Err(missing) => missing,
    };
    let is_required = required.iter().any(|name| name == family);
    assert!(!is_required, "{family} is required: {missing}");
    println!("skipped: {family} is not there: {missing}");
    None
}

/// The backends named in `REQUIRE_BACKENDS`, such as `sqlite,postgres`.
pub(crate) fn required() -> Vec<String> {
    let names = env::var("REQUIRE_BACKENDS").unwrap_or_default();
    names
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The columns of `events` that are not generated, in the order of an envelope's fields.
const EVENT_COLUMNS: [&str; 15] = [
    "event_id",
    "aggregate_id",
    "aggregate_type",
    "aggregate_version",
    "global_sequence",
    "event_type",
    "event_data",
    "metadata",
    "created_at",
    "updated_at",
    "created_by",
    "tenant_id",
    "correlation_id",
    "causation_id",
    "checksum",
];

/// Those of `snapshots`.
const SNAPSHOT_COLUMNS: [&str; 9] = [
    "snapshot_id",
    "aggregate_id",
    "aggregate_type",
    "version",
    "snapshot_type",
    "snapshot_data",
    "created_at",
    "tenant_id",
    "checksum",
];

/// Those of `firefly_seals`.
const SEAL_COLUMNS: [&str; 4] = ["global_sequence", "events", "digest", "sealed_at"];

#[test]
fn a_missing_backend_is_skipped_unless_it_is_required() {
    let missing = || Err(Missing("no such server".to_owned()));
    let environment = unless_missing_of(&["sqlite".to_owned()], "oracle", missing());
    assert!(environment.is_none());
    let required = ["sqlite".to_owned(), "oracle".to_owned()];
    let panic = std::panic::catch_unwind(|| unless_missing_of(&required, "oracle", missing()).is_none()).unwrap_err();
    assert_eq!(
        panic.downcast_ref::<String>().unwrap(),
        "oracle is required: no such server"
    );
}
