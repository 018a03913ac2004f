-- Let the next sequence be one after this, unless it is already. Not undone by a rollback.
-- $1 global_sequence
SELECT setval('events_global_sequence_seq', $1)
WHERE firefly_last_allocated('events_global_sequence_seq') < $1;
