-- The last sequence of the log, 0 if it is empty; and the last assigned sequence, NULL if there is none.
SELECT
    COALESCE(MAX(global_sequence), 0) AS last,
    (SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'events') AS given
FROM events;
