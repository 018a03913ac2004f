//! Whether a server may be missing.

use std::env;

/// The server. If there is none, prints that and returns none; panics if `REQUIRE_BACKENDS` names it.
pub(crate) fn unless_missing<T>(name: &str, server: Result<T, String>) -> Option<T> {
    let reason = match server {
        Ok(server) => return Some(server),
        Err(reason) => reason,
    };
    let required = env::var("REQUIRE_BACKENDS").unwrap_or_default();
    assert!(
        !required.split(',').any(|required| required.trim() == name),
        "{name} is required: {reason}"
    );
    println!("skipped: {name} is not there: {reason}");
    None
}
