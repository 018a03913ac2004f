-- Like consumer_save.sql, on a connection that the caller's work has used. Writes nothing if the work changed the search path to another
-- schema's table, changed the encoding, or ended the transaction. (The lock on the slot has given the transaction an id.)
-- $1 name · $2 slot · $3 position · $4 token · $5 state · $6 failing_sequence · $7 attempts · $8 last_error · $9 oid of the schema
UPDATE firefly_consumers
SET
    position = $3,
    token = $4,
    state = $5,
    failing_sequence = $6,
    attempts = $7,
    last_error = $8,
    updated_at = clock_timestamp()
WHERE pg_catalog.txid_current_if_assigned() IS NOT NULL
  AND pg_catalog.current_setting('client_encoding') = 'UTF8'
  AND (SELECT relnamespace FROM pg_catalog.pg_class WHERE pg_class.oid = firefly_consumers.tableoid) = $9
  AND name = $1::text
  AND slot = $2;
