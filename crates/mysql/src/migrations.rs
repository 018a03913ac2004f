//! The migrations, and the statements that they consist of.

use firefly_eventstore_core::backend::indexes::OptionalIndex;
use firefly_eventstore_core::{Indexes, Result};
use mysql::Conn;

use crate::schema::{OPTIONAL_INDEXES, has, run};
use crate::session::Session;

firefly_eventstore_core::backend::migrations! {
    "1.0.0", "events", "1.0.0_events.sql";
    "1.1.0", "snapshots", "1.1.0_snapshots.sql";
    "1.2.0", "metadata indexes", "1.2.0_metadata_indexes.sql";
    "4.0.0", "production", "4.0.0_production.sql";
    "5.0.0", "integrity", "5.0.0_integrity.sql";
    "5.1.0", "hardening", "5.1.0_hardening.sql";
    "5.2.0", "seals", "5.2.0_seals.sql";
    "6.0.0", "consumers", "6.0.0_consumers.sql";
    "6.1.0", "snapshots by form", "6.1.0_snapshots_by_form.sql";
    "6.2.0", "gates", "6.2.0_gates.sql";
    "7.0.0", "archives", "7.0.0_archives.sql";
}

/// A statement of a migration, and the object that it makes. No other statement of the migration makes that object.
pub(crate) struct Statement<'a> {
    makes: Option<&'a str>,
    sql: &'a str,
}

/// The beginning of the line above a statement that names the object it makes.
const UNLESS: &str = "-- unless ";

/// The statements of a migration. Each DDL statement commits by itself, so after a crash it has run or not.
pub(crate) fn statements(migration: &str) -> impl Iterator<Item = Statement<'_>> {
    let texts = migration.split(";\n").filter(|text| !text.trim().is_empty());
    texts.map(|text| Statement {
        makes: text.lines().find_map(|line| line.strip_prefix(UNLESS)),
        sql: text,
    })
}

impl Statement<'_> {
    /// Runs this, unless the object that it makes is there already.
    pub(crate) fn run_if_needed(&self, session: &mut Session<'_, Conn>, there: &[String]) -> Result<()> {
        match self.makes {
            Some(made) if has(there, made) => Ok(()),
            _ => self.run(session),
        }
    }

    /// Whether this makes an optional index that is not among the chosen ones.
    pub(crate) fn makes_more_than(&self, chosen: Indexes) -> bool {
        let index = self.makes.and_then(|made| made.strip_prefix("index events."));
        let is_more = |(name, least): &OptionalIndex| index == Some(*name) && *least > chosen;
        OPTIONAL_INDEXES.iter().any(is_more)
    }

    pub(crate) fn run(&self, session: &mut Session<'_, Conn>) -> Result<()> {
        let mut sql = self.sql.replace("{collation}", session.server.flavour.collation());
        for (from, to) in REPLACEMENTS {
            sql = sql.replace(from, to);
        }
        run(session, &sql)
    }
}

/// What makes the migrations independent of settings of the server: `innodb_default_row_format`, without which long names cannot have an
/// index, and `sql_require_primary_key`.
const REPLACEMENTS: [(&str, &str); 2] = [
    ("ENGINE = InnoDB", "ENGINE = InnoDB ROW_FORMAT = DYNAMIC"),
    (
        "UNIQUE KEY idx_mv_aggregate_summary_pk (aggregate_id)",
        "PRIMARY KEY (aggregate_id), UNIQUE KEY idx_mv_aggregate_summary_pk (aggregate_id)",
    ),
];

/// The statement in the migrations that makes an index.
pub(crate) fn statement_of(index: &str) -> Statement<'static> {
    MIGRATIONS
        .iter()
        .flat_map(|step| statements(step.sql))
        .find(|statement| statement.makes == Some(index))
        .expect("the migrations make each optional index in a statement of its own")
}

/// The columns of an optional index of events, separated by commas.
pub(crate) fn columns_of(index: &str) -> &'static str {
    let (_, columns) = statement_of(&format!("index events.{index}"))
        .sql
        .split_once(" ON events (")
        .expect("the statement makes an index of events");
    columns.trim_end().trim_end_matches([';', ')'])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{MIGRATIONS, statements};
    use crate::sql;

    #[test]
    fn each_object_is_made_by_one_statement() {
        let migrations = MIGRATIONS.iter().map(|step| step.sql);
        let texts = migrations.chain([sql::KEYS, sql::CONVERSION_TABLE]);
        let made: Vec<_> = texts
            .flat_map(statements)
            .filter_map(|statement| statement.makes)
            .collect();
        assert!(made.len() > 35, "{made:?}");
        assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), made.len(), "{made:?}");
    }
}
