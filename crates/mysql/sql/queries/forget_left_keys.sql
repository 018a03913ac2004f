-- Delete keys of events that left the log with their partition. The oldest first: the last key of a stream tells its version. Those of events
-- that somebody deleted by hand stay.
-- ? first global_sequence · ? last · ? most keys
DELETE FROM firefly_event_keys
WHERE global_sequence BETWEEN ? AND ?
  AND EXISTS (
      SELECT 1
      FROM firefly_archived_events AS archived
      WHERE archived.global_sequence = firefly_event_keys.global_sequence
  )
ORDER BY global_sequence
LIMIT ?
