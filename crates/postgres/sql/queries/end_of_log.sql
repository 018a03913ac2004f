-- The last sequence of the log, whoever can see it yet; 0 if it is empty.
SELECT COALESCE(MAX(global_sequence), 0)
FROM events /* or their keys */;
