-- A page of the parked events of every consumer, in their order.
-- $1 name and $2 global_sequence of the one before · $3 at most so many bigint
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
  AND (name, global_sequence) > ($1::text, $2)
ORDER BY name, global_sequence
LIMIT $3;
