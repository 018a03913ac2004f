-- Where the store is that the search path leads to; no row means that there is none. And the store that the
-- connection was opened for, if any, and the encoding of what it sends.
SELECT
    (SELECT system_identifier FROM pg_control_system()) AS server,
    (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
    relnamespace AS schema,
    oid AS events,
    current_setting('search_path') AS path,
    COALESCE(current_setting('firefly.store', true), '') AS store,
    current_setting('client_encoding') AS encoding
FROM pg_class
WHERE oid = to_regclass('events');
