-- The version before the first event of an aggregate that was created after a time; none if there is no such event.
-- ? aggregate_id · ? time
SELECT MIN(aggregate_version) - 1
FROM events FORCE INDEX (idx_events_aggregate_version)
WHERE aggregate_id = ?
  AND created_at > ?
