//! The conformance suite on each of our backends.
//!
//! The cases, and the tests of the suite itself, are in `crates/conformance`. Here, each backend creates fresh databases, and changes them
//! for the cases. A test has a name such as `sqlite_file::append::rejects_a_stale_expected_version`.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

mod backend;

use backend::Backend;

/// The tests of one backend, made by the suite's macros.
macro_rules! tests {
    ($backend:ident: $($kind:ident)+) => {
        mod $backend {
            $(firefly_eventstore_conformance::$kind!(crate::backend::$backend);)+
        }
    };
}

// The in-memory store is the reference of the model test.
tests!(memory: stores);
tests!(mariadb: stores model);
tests!(mariadb_lean: indexes model);
tests!(mariadb_partitioned: layouts model);
tests!(mysql: stores model);
tests!(mysql_lean: indexes model);
tests!(mysql_partitioned: layouts model);
tests!(postgres: stores model);
tests!(postgres_by_type: layouts model);
tests!(postgres_lean: indexes model);
tests!(postgres_partitioned: stores model);
tests!(sqlite_memory: stores model);
tests!(sqlite_lean: indexes model);
tests!(sqlite_file: stores model);

/// The work of consumers depends on the database, not on its indexes.
mod running {
    tests!(memory: consumers);
    tests!(mariadb: consumers);
    tests!(mysql: consumers);
    tests!(postgres: consumers);
    tests!(postgres_partitioned: consumers);
    tests!(sqlite_file: consumers);
}

/// Checks that every required backend is known, and available.
#[test]
fn every_required_backend_is_there() {
    // The tests of reports need a browser, those of publishing need Redis, and the MySQL driver's own tests need a cluster.
    let others = ["browser", "galera", "redis"];
    for name in backend::required()
        .into_iter()
        .filter(|name| !others.contains(&name.as_str()))
    {
        let known: [(&str, Backend); 14] = [
            ("memory", backend::memory),
            ("mariadb", backend::mariadb),
            ("mariadb", backend::mariadb_lean),
            ("mariadb", backend::mariadb_partitioned),
            ("mysql", backend::mysql),
            ("mysql", backend::mysql_lean),
            ("mysql", backend::mysql_partitioned),
            ("postgres", backend::postgres),
            ("postgres", backend::postgres_by_type),
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
