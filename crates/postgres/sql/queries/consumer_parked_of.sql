-- A page of the parked events of one consumer, in their order.
-- $1 name · $2 the sequence · $3 at most so many bigint
SELECT
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at,
    replay
FROM firefly_parked_events
WHERE firefly_here()
  AND name = $1::text
  AND global_sequence > $2
ORDER BY global_sequence
LIMIT $3;
