-- How many events of a consumer are parked, of one aggregate or of all.
-- ? name · ? aggregate_id, or NULL · ? the same
SELECT COUNT(*)
FROM firefly_parked_events
WHERE name = ?
  AND (? IS NULL OR aggregate_id = ?)
