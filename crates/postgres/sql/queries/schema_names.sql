-- The names of the tables, indexes, views, sequences and functions in the store's schema, and of the triggers on events; and for each whether
-- it is a partitioned table.
SELECT
    relname::text,
    relkind = 'p' AS is_partitioned
FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
UNION ALL
SELECT
    proname::text,
    false
FROM pg_proc
WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
UNION ALL
SELECT
    tgname::text,
    false
FROM pg_trigger
WHERE tgrelid = to_regclass('events')
  AND tgenabled = 'A';
