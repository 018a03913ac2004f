//! The schema reference, `sql/README.md`, names what there is.

use std::path::Path;

use firefly_eventstore_sqlite::{Indexes, SqliteEventStore, driver as rusqlite};

#[test]
fn every_column_index_view_and_trigger_is_in_the_reference() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql/README.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    let store = SqliteEventStore::in_memory_builder()
        .indexes(Indexes::Full)
        .open()
        .unwrap();
    let names: Vec<String> = store
        .transaction(|tx| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let mut statement = tx.connection().prepare(
                "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'
                 UNION SELECT info.name FROM sqlite_schema AS tables, pragma_table_xinfo(tables.name) AS info
                 WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'",
            )?;
            let names = statement.query_map([], |row| row.get(0))?;
            Ok(names.collect::<rusqlite::Result<_>>()?)
        })
        .unwrap();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(
            reference.contains(&format!("`{name}`")),
            "{name} is not in the reference"
        );
    }
}
