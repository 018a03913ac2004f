-- Delete a parked event.
-- ?1 name · ?2 global_sequence
DELETE FROM main.firefly_parked_events
WHERE name = ?1
  AND global_sequence = ?2;
