-- The keys of an event that is not there, if there are any. Those of events that left with their partition are deleted soon.
SELECT firefly_event_keys.global_sequence
FROM firefly_event_keys
LEFT JOIN events ON events.global_sequence = firefly_event_keys.global_sequence
WHERE events.global_sequence IS NULL
  AND NOT EXISTS (
      SELECT 1
      FROM firefly_leaving
      WHERE firefly_event_keys.global_sequence BETWEEN first_sequence AND last_sequence
  )
LIMIT 1
