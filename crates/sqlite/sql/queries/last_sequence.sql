-- The last assigned sequence of the log, or of a table made by hand that is being adopted; NULL if there is none.
SELECT MAX(seq)
FROM sqlite_sequence
WHERE name IN ('events', 'events_by_hand');
