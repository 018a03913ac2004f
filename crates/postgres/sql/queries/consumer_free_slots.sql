-- The slots of a consumer that no process holds, or whose lease has ended. Locks them, and skips slots that others have locked.
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
  AND (holder IS NULL OR lease_until IS NULL OR lease_until <= clock_timestamp())
ORDER BY slot
FOR UPDATE SKIP LOCKED;
