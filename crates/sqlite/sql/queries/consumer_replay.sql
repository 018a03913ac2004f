-- Ask for all parked events of an aggregate to be handled again.
-- ?1 name · ?2 aggregate_id
UPDATE main.firefly_parked_events
SET replay = 1
WHERE name = ?1
  AND aggregate_id = ?2;
