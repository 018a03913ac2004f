-- Forget the last sequence that was given in the log, before another one is kept.
DELETE FROM sqlite_sequence
WHERE name = 'events';
