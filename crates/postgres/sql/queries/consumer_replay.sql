-- Request a replay of all parked events of an aggregate.
-- $1 name · $2 aggregate_id
UPDATE firefly_parked_events
SET replay = true
WHERE firefly_here()
  AND name = $1::text
  AND aggregate_id = $2;
