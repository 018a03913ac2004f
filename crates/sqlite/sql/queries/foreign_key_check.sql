-- Rows with a foreign key that refers to a missing row. The store's own tables have no foreign keys; other tables of the database may.
SELECT
    "table",
    rowid,
    parent
FROM pragma_foreign_key_check
LIMIT 100;
