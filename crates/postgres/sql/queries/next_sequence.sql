-- The next sequence to be assigned, also if the sequence was set and has not been used since.
SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END
FROM events_global_sequence_seq;
