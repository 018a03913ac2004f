-- Constraints that are not validated: older rows may violate them.
SELECT
    tables.relname::text,
    pg_constraint.conname::text
FROM pg_constraint
JOIN pg_class AS tables ON tables.oid = pg_constraint.conrelid
WHERE firefly_here()
  AND NOT pg_constraint.convalidated
  AND tables.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
  AND tables.relname IN ('events', 'snapshots')
ORDER BY tables.relname, pg_constraint.conname;
