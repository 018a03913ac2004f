-- Leave the next sequence out.
SELECT nextval('events_global_sequence_seq');
