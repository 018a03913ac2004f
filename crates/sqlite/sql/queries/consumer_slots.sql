-- The slots of every consumer.
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
ORDER BY name, slot;
