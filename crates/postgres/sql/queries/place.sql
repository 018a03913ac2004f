-- Which store the search path leads to; no row, or an error, means that there is none. When it was founded tells apart those of servers
-- that were set up alike, whose oids are the same. A store that was converted is known by the oid of its first table of events. And the
-- store that the connection was opened for, if any, and the encoding of what it sends. And whether the transaction sees what was committed
-- until its first statement only. And whether the table of events is partitioned.
SELECT
    (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
    relnamespace AS schema,
    COALESCE((SELECT former FROM firefly_conversions WHERE former IS NOT NULL ORDER BY id LIMIT 1)::oid, oid) AS events,
    (SELECT MIN(installed_at) AT TIME ZONE 'UTC' FROM firefly_schema_history)::text AS founded,
    current_setting('search_path') AS path,
    COALESCE(current_setting('firefly.store', true), '') AS store,
    current_setting('client_encoding') AS encoding,
    current_setting('transaction_isolation') <> 'read committed' AS looks_back,
    relkind = 'p' AS is_partitioned
FROM pg_class
WHERE oid = to_regclass('events');
