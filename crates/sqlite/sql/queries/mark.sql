-- The high-water mark. With one writer and AUTOINCREMENT, the order of commits is the order of sequences.
SELECT COALESCE(MAX(global_sequence), 0)
FROM events;
