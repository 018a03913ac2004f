-- The slots of one consumer.
-- ?1 name
SELECT
    name,
    slot,
    position,
    token,
    holder,
    lease_until,
    state,
    failing_sequence,
    attempts,
    last_error,
    definition,
    updated_at
FROM main.firefly_consumers
WHERE name = ?1
ORDER BY slot;
