-- The last sequence that was given in the log, or in the table made by hand that is taken over; NULL if none was.
SELECT MAX(seq)
FROM sqlite_sequence
WHERE name IN ('events', 'events_by_hand');
