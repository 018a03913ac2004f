-- One slot, locked until the transaction ends. The rest of the lease is computed after the wait for the lock.
-- $1 name · $2 slot
WITH locked AS MATERIALIZED (
    SELECT *
    FROM firefly_consumers
    WHERE firefly_here()
      AND name = $1::text
      AND slot = $2
    FOR UPDATE
)
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
FROM locked;
