-- Let names mean what is in the schema of an opened store, whatever it is called by now, before what the connection's own search path
-- finds, temporary tables included; and let its functions know the store's table of events. No row means that it is not there any more.
-- $1 oid of the schema · $2 search path or NULL
SELECT
    set_config('search_path', concat_ws(', ', quote_ident(nspname), 'pg_temp', NULLIF($2::text, '')), false) AS pinned,
    set_config('firefly.store', pg_class.oid::text, false) AS known
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'events'
  AND relnamespace = $1::oid;
