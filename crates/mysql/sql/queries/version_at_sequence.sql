-- The version that an aggregate was at when the log was at a global sequence; 0 if it had no events.
-- ? aggregate_id · ? global_sequence
SELECT COALESCE(MAX(aggregate_version), 0)
FROM events /* or their keys */ FORCE INDEX (idx_events_aggregate_version)
WHERE aggregate_id = ?
  AND global_sequence <= ?
