-- Rows that refer to a row that is not there. The store's own tables have no foreign keys, others of the database may.
SELECT
    "table",
    rowid,
    parent
FROM pragma_foreign_key_check
LIMIT 100;
