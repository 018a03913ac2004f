-- Skip the next sequence.
SELECT nextval('events_global_sequence_seq');
