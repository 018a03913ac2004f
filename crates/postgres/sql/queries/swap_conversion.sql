-- Record the store's previous table, within the transaction that gives its name to another one.
-- $1 oid
UPDATE firefly_conversions
SET
    former = $1::oid::bigint,
    swapped_at = clock_timestamp()
WHERE finished_at IS NULL;
