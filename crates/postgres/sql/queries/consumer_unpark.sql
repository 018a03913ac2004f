-- Delete a parked event.
-- $1 name · $2 global_sequence
DELETE FROM firefly_parked_events
WHERE firefly_here()
  AND name = $1::text
  AND global_sequence = $2;
