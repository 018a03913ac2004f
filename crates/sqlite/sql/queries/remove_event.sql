-- Remove an event from the log. Its key is already stored.
-- ?1 global_sequence
DELETE FROM events
WHERE global_sequence = ?1;
