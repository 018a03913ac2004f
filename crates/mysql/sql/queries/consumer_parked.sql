-- A page of the parked events of every consumer, in their order.
-- ? name of the one before · ? the same · ? its global_sequence · ? at most so many
SELECT
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at,
    replay
FROM firefly_parked_events
WHERE name > ?
   OR (name = ? AND global_sequence > ?)
ORDER BY name, global_sequence
LIMIT ?
