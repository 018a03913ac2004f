-- Request a replay of all parked events of an aggregate.
-- ?1 name · ?2 aggregate_id
UPDATE main.firefly_parked_events
SET replay = 1
WHERE name = ?1
  AND aggregate_id = ?2;
