-- Take an event out of the log, whose key is kept.
-- ?1 global_sequence
DELETE FROM events
WHERE global_sequence = ?1;
