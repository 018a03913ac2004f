-- One slot. There is one writer at a time, so the row is not locked.
-- ?1 name · ?2 slot
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
  AND slot = ?2;
