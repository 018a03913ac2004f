-- The greatest sequence of the log; 0 in an empty one.
SELECT COALESCE(MAX(global_sequence), 0)
FROM events /* or their keys */
