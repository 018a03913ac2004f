-- Whether the store's schema has a table; one row if so.
-- $1 name
SELECT tablename
FROM pg_tables
WHERE schemaname = current_schema()
  AND tablename = $1;
