//! The health of the store.

use crate::environment::Environment;
use crate::support::*;

pub(crate) fn a_working_store_is_healthy(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 3);
    let health = store.health().unwrap();
    assert!(health.writable);
    assert!(!health.backend.is_empty());
    assert!(!health.server_version.is_empty());
    assert_eq!(health.high_water_mark, store.high_water_mark().unwrap());
    assert_eq!(health.high_water_mark, log(&*store)[2].global_sequence);
}

pub(crate) fn a_store_with_a_schema_tells_its_version(env: &dyn Environment) {
    let health = env.store().health().unwrap();
    assert_eq!(
        health.schema_version.is_some(),
        env.has_driver(),
        "`Environment::has_driver` says whether there is a schema with a version"
    );
    assert!(health.writable);
}
