-- Ask for all parked events of an aggregate to be handled again.
-- ? name · ? aggregate_id
UPDATE firefly_parked_events
SET replay = TRUE
WHERE name = ?
  AND aggregate_id = ?
