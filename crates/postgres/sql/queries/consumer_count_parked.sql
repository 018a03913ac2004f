-- How many events of a consumer are parked, of one aggregate or of all.
-- $1 name · $2 aggregate_id uuid, or NULL
SELECT COUNT(*)
FROM firefly_parked_events
WHERE firefly_here()
  AND name = $1::text
  AND ($2::uuid IS NULL OR aggregate_id = $2);
