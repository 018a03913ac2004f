-- The high-water mark: there is one writer, and AUTOINCREMENT, so the order of commits is the order of sequences.
SELECT COALESCE(MAX(global_sequence), 0)
FROM events;
