-- Whether there is a table in the store's schema; one row if so.
-- $1 name
SELECT tablename
FROM pg_tables
WHERE schemaname = current_schema()
  AND tablename = $1;
