-- The sequence that is given out next, also where the sequence was set and has given out nothing since.
SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END
FROM events_global_sequence_seq;
