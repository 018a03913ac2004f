-- The indexes and triggers on tables that may have been created by hand, and all views.
SELECT
    type,
    name,
    sql
FROM sqlite_schema
WHERE sql IS NOT NULL
  AND (type = 'view' OR tbl_name IN ('events', 'snapshots') AND type <> 'table');
