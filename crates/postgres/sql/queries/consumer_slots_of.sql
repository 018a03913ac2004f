-- The slots of one consumer.
-- $1 name
SELECT
    name,
    slot,
    position,
    token,
    holder,
    (EXTRACT(EPOCH FROM lease_until - clock_timestamp()) * 1000000)::bigint AS lease_left,
    state,
    failing_sequence,
    attempts,
    last_error,
    definition,
    updated_at
FROM firefly_consumers
WHERE firefly_here()
  AND name = $1::text
ORDER BY slot;
