-- How many events of a consumer are parked, of one aggregate or of all.
-- ?1 name · ?2 aggregate_id, or NULL
SELECT COUNT(*)
FROM main.firefly_parked_events
WHERE name = ?1
  AND (?2 IS NULL OR aggregate_id = ?2);
