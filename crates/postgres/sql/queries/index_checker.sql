-- The schema of the PostgreSQL extension that checks indexes; no row if it is not installed, or this role may not use it.
SELECT pg_namespace.nspname::text
FROM pg_extension
JOIN pg_namespace ON pg_namespace.oid = pg_extension.extnamespace
JOIN pg_proc ON pg_proc.pronamespace = pg_namespace.oid
WHERE pg_extension.extname = 'amcheck'
  AND pg_proc.proname = 'bt_index_check'
  AND pg_proc.pronargs = 2
  AND has_schema_privilege(pg_namespace.oid, 'USAGE')
  AND has_function_privilege(pg_proc.oid, 'EXECUTE');
