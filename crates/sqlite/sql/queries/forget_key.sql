-- Delete the key of an event that is back in the log.
-- ?1 global_sequence
DELETE FROM firefly_archived_events
WHERE global_sequence = ?1;
