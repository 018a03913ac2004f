-- The slots of a consumer that no process holds, or whose lease has ended. Locks them, and skips slots that others have locked.
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
  AND (holder IS NULL OR lease_until IS NULL OR lease_until <= UTC_TIMESTAMP(6))
ORDER BY slot
FOR UPDATE SKIP LOCKED
