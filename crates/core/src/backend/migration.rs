//! Migrations: finds those that a schema still needs, in the same way on every backend.

use std::fmt;

use sha2::{Digest, Sha256};

use super::rows::Columns as _;
use super::sql::{Sql, SqlSession};
use crate::{Checksum, Error, ErrorKind, Result, SchemaProblem};

/// One step of a schema, as a backend ships it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The version the schema has afterwards, such as `1.1.0`.
    pub version: &'static str,
    /// A short name of the step.
    pub name: &'static str,
    /// The statements of the step.
    pub sql: &'static str,
}

impl Migration {
    /// For authors of backends: a step and its statements, which must never change after they were released.
    #[must_use]
    pub const fn new(version: &'static str, name: &'static str, sql: &'static str) -> Self {
        Self { version, name, sql }
    }

    /// SHA-256 of the statements. A schema's history records it.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        Checksum::from_bytes(Sha256::digest(self.sql.as_bytes()).into())
    }
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.name)
    }
}

/// Writes `MIGRATIONS`, the steps of a driver's schema in order, each from a file in `sql/migrations`. For authors of backends.
#[doc(hidden)]
#[macro_export]
macro_rules! migrations {
    ($($version:literal, $name:literal, $file:literal;)*) => {
        /// Every step of the schema, in order: the source document's versions, then ours.
        pub(crate) static MIGRATIONS: &[$crate::Migration] = &[$(
            $crate::Migration::new($version, $name, include_str!(concat!("../sql/migrations/", $file))),
        )*];
    };
}

/// An applied step in a schema's history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedMigration {
    /// Its version.
    pub version: String,
    /// The checksum of its statements.
    pub checksum: String,
}

impl AppliedMigration {
    /// For authors of backends: a row of the history.
    #[must_use]
    pub fn new(version: String, checksum: String) -> Self {
        Self { version, checksum }
    }
}

/// The history of a schema that has one, in its order.
///
/// # Errors
///
/// Those of the backend.
pub fn applied(session: &mut impl SqlSession) -> Result<Vec<AppliedMigration>> {
    session.rows(Sql::AppliedMigrations, &[], |row| {
        Ok(AppliedMigration::new(row.text(0)?.to_owned(), row.text(1)?.to_owned()))
    })
}

/// The steps of `known` that a schema with this history still needs.
///
/// # Errors
///
/// [`Schema`](ErrorKind::Schema) if the history is longer than `known`, or differs from it.
pub fn pending(known: &'static [Migration], applied: &[AppliedMigration]) -> Result<&'static [Migration]> {
    let required = known.last().map_or("none", |migration| migration.version);
    for (step, migration) in applied.iter().zip(known) {
        if step.version != migration.version {
            return Err(schema(SchemaProblem::Altered {
                reason: format!(
                    "its history has version {} where this library has {}",
                    step.version, migration.version
                )
                .into(),
            }));
        }
        if step.checksum != migration.checksum().to_string() {
            return Err(schema(SchemaProblem::Altered {
                reason: format!(
                    "the migration to version {} was not the one of this library",
                    step.version
                )
                .into(),
            }));
        }
    }
    if let Some(unknown) = applied.get(known.len()..).and_then(<[_]>::last) {
        return Err(schema(SchemaProblem::TooNew {
            found: unknown.version.as_str().into(),
            required: required.into(),
        }));
    }
    Ok(&known[applied.len()..])
}

/// Refuses a schema that still needs a step.
///
/// # Errors
///
/// As [`pending`], and [`SchemaProblem::NotMigrated`].
pub fn require_current(known: &'static [Migration], applied: &[AppliedMigration]) -> Result<()> {
    if pending(known, applied)?.is_empty() {
        return Ok(());
    }
    Err(schema(SchemaProblem::NotMigrated {
        found: applied.last().map(|step| step.version.as_str().into()),
        required: known.last().map_or("none", |migration| migration.version).into(),
    }))
}

fn schema(problem: SchemaProblem) -> Error {
    Error::new(ErrorKind::Schema(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    static KNOWN: [Migration; 2] = [
        Migration::new("1.0.0", "events", "CREATE TABLE events"),
        Migration::new("1.1.0", "snapshots", "CREATE TABLE snapshots"),
    ];

    fn applied(count: usize) -> Vec<AppliedMigration> {
        let step = |migration: &Migration| AppliedMigration {
            version: migration.version.to_owned(),
            checksum: migration.checksum().to_string(),
        };
        KNOWN.iter().take(count).map(step).collect()
    }

    #[test]
    fn names_what_a_schema_still_needs() {
        assert_eq!(pending(&KNOWN, &[]).unwrap(), &KNOWN);
        assert_eq!(pending(&KNOWN, &applied(1)).unwrap(), &KNOWN[1..]);
        require_current(&KNOWN, &applied(2)).unwrap();
        let error = require_current(&KNOWN, &applied(1)).unwrap_err();
        assert!(
            error.to_string().contains("at version 1.0.0, this library needs 1.1.0"),
            "{error}"
        );
    }

    #[test]
    fn refuses_a_newer_or_altered_history() {
        let mut newer = applied(2);
        newer.push(AppliedMigration {
            version: "9.0.0".into(),
            checksum: String::new(),
        });
        let problem = pending(&KNOWN, &newer).unwrap_err();
        assert!(
            matches!(problem.kind(), ErrorKind::Schema(SchemaProblem::TooNew { found, .. }) if &**found == "9.0.0")
        );

        let mut altered = applied(2);
        altered[0].checksum = "0".repeat(64);
        let problem = pending(&KNOWN, &altered).unwrap_err();
        assert!(matches!(
            problem.kind(),
            ErrorKind::Schema(SchemaProblem::Altered { .. })
        ));
    }
}
