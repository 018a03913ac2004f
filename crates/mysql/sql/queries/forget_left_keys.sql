-- Delete keys of events that left the log with their partition. The oldest first: the last key of a stream tells its version.
-- ? first global_sequence · ? last · ? most keys
DELETE FROM firefly_event_keys
WHERE global_sequence BETWEEN ? AND ?
ORDER BY global_sequence
LIMIT ?
