-- Delete the last assigned sequence of the log, before another one is stored.
DELETE FROM sqlite_sequence
WHERE name = 'events';
