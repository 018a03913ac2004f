-- Let names mean what is in the schema of an opened store, whatever it is called by now, before what the connection's own search path
-- finds, temporary tables included; and let its functions know the store. No row means that it is not there any more.
-- $1 the server's system identifier · $2 oid of the database · $3 oid of the schema · $4 oid of events · $5 search path or NULL
SELECT
    set_config('search_path', concat_ws(', ', quote_ident(nspname), 'pg_temp', NULLIF($5::text, '')), false) AS pinned,
    set_config('firefly.store', pg_class.oid::text, false) AS store
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = $4::oid
  AND relname = 'events'
  AND relnamespace = $3::oid
  AND (SELECT oid FROM pg_database WHERE datname = current_database()) = $2::oid
  AND (SELECT system_identifier FROM pg_control_system()) = $1::bigint;
