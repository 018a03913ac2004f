//! The conformance suite on each of our backends.
//!
//! The cases, and what tests the suite itself, are in `crates/conformance`. Here is how each backend gets a fresh database, and what may
//! be done to it. A test is called `sqlite_file::append::rejects_a_stale_expected_version`.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

mod backend;

use backend::Backend;

/// The tests that these macros of the suite make, for one backend.
macro_rules! tests {
    ($backend:ident: $($kind:ident)+) => {
        mod $backend {
            $(firefly_eventstore_conformance::$kind!(crate::backend::$backend);)+
        }
    };
}

// The model is what the other backends are compared with.
tests!(memory: stores);
tests!(mariadb: stores model);
tests!(mariadb_lean: indexes model);
tests!(mysql: stores model);
tests!(mysql_lean: indexes model);
tests!(postgres: stores model);
tests!(postgres_lean: indexes model);
tests!(postgres_partitioned: stores model);
tests!(sqlite_memory: stores model);
tests!(sqlite_lean: indexes model);
tests!(sqlite_file: stores model);

/// What consumers do depends on the database, not on its indexes.
mod running {
    tests!(memory: consumers);
    tests!(mariadb: consumers);
    tests!(mysql: consumers);
    tests!(postgres: consumers);
    tests!(postgres_partitioned: consumers);
    tests!(sqlite_file: consumers);
}

/// A backend that is required is known, and is there.
#[test]
fn every_required_backend_is_there() {
    // A browser is what the tests of the reports need, Redis is published to, and a cluster is a backend in the driver's own tests.
    let others = ["browser", "galera", "redis"];
    for name in backend::required()
        .into_iter()
        .filter(|name| !others.contains(&name.as_str()))
    {
        let known: [(&str, Backend); 11] = [
            ("memory", backend::memory),
            ("mariadb", backend::mariadb),
            ("mariadb", backend::mariadb_lean),
            ("mysql", backend::mysql),
            ("mysql", backend::mysql_lean),
            ("postgres", backend::postgres),
            ("postgres", backend::postgres_lean),
            ("postgres", backend::postgres_partitioned),
            ("sqlite", backend::sqlite_memory),
            ("sqlite", backend::sqlite_lean),
            ("sqlite", backend::sqlite_file),
        ];
        let mut found = known.iter().filter(|(family, _)| *family == name).peekable();
        assert!(
            found.peek().is_some(),
            "REQUIRE_BACKENDS names {name}, which this suite does not know"
        );
        assert!(found.all(|(_, fresh)| fresh().is_some()));
    }
}
