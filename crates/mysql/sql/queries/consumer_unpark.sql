-- Delete a parked event.
-- ? name · ? global_sequence
DELETE FROM firefly_parked_events
WHERE name = ?
  AND global_sequence = ?
