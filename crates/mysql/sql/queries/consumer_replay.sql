-- Request a replay of all parked events of an aggregate.
-- ? name · ? aggregate_id
UPDATE firefly_parked_events
SET replay = TRUE
WHERE name = ?
  AND aggregate_id = ?
