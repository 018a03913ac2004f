-- A page of the parked events of every consumer, in their order.
-- ?1 name and ?2 global_sequence of the one before · ?3 at most so many
SELECT
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at,
    replay
FROM main.firefly_parked_events
WHERE (name, global_sequence) > (?1, ?2)
ORDER BY name, global_sequence
LIMIT ?3;
