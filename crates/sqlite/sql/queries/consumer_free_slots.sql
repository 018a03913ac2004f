-- The slots of a consumer that no process holds, or whose lease has ended. There is one writer at a time, so no row is locked.
-- ?1 name · ?2 now
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
  AND (holder IS NULL OR lease_until IS NULL OR lease_until <= ?2)
ORDER BY slot;
