-- The version of an aggregate at a global sequence; 0 if it had no events.
-- ?1 aggregate_id · ?2 global_sequence
SELECT COALESCE(MAX(aggregate_version), 0)
FROM main.events
WHERE aggregate_id = ?1
  AND global_sequence <= ?2;
