-- A page of the parked events of one consumer and aggregate, in their order.
-- ? name · ? aggregate_id · ? the sequence · ? at most so many
SELECT
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at,
    replay
FROM firefly_parked_events
WHERE name = ?
  AND aggregate_id = ?
  AND global_sequence > ?
ORDER BY global_sequence
LIMIT ?
