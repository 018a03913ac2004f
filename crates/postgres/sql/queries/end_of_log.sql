-- The greatest committed sequence, even if it is beyond the high-water mark; 0 if the log is empty.
SELECT COALESCE(MAX(global_sequence), 0)
FROM events /* or their keys */;
