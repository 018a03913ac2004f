-- A page of the parked events of one consumer and aggregate, in their order.
-- ?1 name · ?2 aggregate_id · ?3 the sequence · ?4 at most so many
SELECT
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at,
    replay
FROM main.firefly_parked_events
WHERE name = ?1
  AND aggregate_id = ?2
  AND global_sequence > ?3
ORDER BY global_sequence
LIMIT ?4;
