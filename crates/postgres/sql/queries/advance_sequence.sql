-- Advance the sequence, so that the next value is greater than this. Does nothing if it is already. A rollback does not undo it.
-- $1 global_sequence
SELECT setval('events_global_sequence_seq', $1)
WHERE firefly_last_allocated('events_global_sequence_seq') < $1;
