-- Note which table the store was before, within the transaction that lets another one take its name.
-- $1 oid
UPDATE firefly_conversions
SET
    former = $1::oid::bigint,
    swapped_at = clock_timestamp()
WHERE finished_at IS NULL;
