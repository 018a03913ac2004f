-- The names of the tables, indexes, views and sequences in the store's schema, and of the triggers on its events.
SELECT relname::text
FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
UNION ALL
SELECT tgname::text
FROM pg_trigger
WHERE tgrelid = to_regclass('events')
  AND tgenabled = 'A';
