-- Delete keys that were written ahead, of events that do not leave after all.
-- ? first global_sequence · ? last
DELETE FROM firefly_archived_events
WHERE global_sequence BETWEEN ? AND ?
