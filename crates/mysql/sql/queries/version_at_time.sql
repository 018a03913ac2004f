-- The version that an aggregate was at, at a time: the one before its first event that was created later, else its last one; 0 if it
-- has no events.
-- ? aggregate_id · ? time · ? aggregate_id
SELECT COALESCE(
    (SELECT MIN(aggregate_version) - 1 FROM events /* by their keys */ FORCE INDEX (idx_events_aggregate_version) WHERE aggregate_id = ? AND created_at > ?),
    (SELECT MAX(aggregate_version) FROM events /* or their keys */ FORCE INDEX (idx_events_aggregate_version) WHERE aggregate_id = ?),
    0
)
