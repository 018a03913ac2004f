-- The keys of events that do not leave after all, newest first.
-- ? first global_sequence · ? last · ? most keys
SELECT
    global_sequence,
    aggregate_id
FROM firefly_archived_events FORCE INDEX (PRIMARY)
WHERE global_sequence BETWEEN ? AND ?
ORDER BY global_sequence DESC
LIMIT ?
