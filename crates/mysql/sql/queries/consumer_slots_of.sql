-- The slots of one consumer.
-- ? name
SELECT
    name,
    slot,
    position,
    token,
    holder,
    TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), lease_until) AS lease_left,
    state,
    failing_sequence,
    attempts,
    last_error,
    definition,
    updated_at
FROM firefly_consumers
WHERE name = ?
ORDER BY slot
