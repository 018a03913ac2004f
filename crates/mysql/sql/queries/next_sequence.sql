-- The last sequence of the log, 0 if it is empty, and the next that is given, NULL if the table gives none. After the greatest that
-- there is, MariaDB says one more than the column takes.
SELECT
    (SELECT COALESCE(MAX(global_sequence), 0) FROM events /* or their keys */) AS last,
    CASE
        WHEN column_of.extra LIKE '%auto_increment%'
        THEN CAST(LEAST(table_of.auto_increment, 9223372036854775807) AS SIGNED)
    END AS next
FROM information_schema.tables AS table_of
CROSS JOIN information_schema.columns AS column_of
WHERE table_of.table_schema = DATABASE()
  AND table_of.table_name = 'events'
  AND column_of.table_schema = DATABASE()
  AND column_of.table_name = 'events'
  AND column_name = 'global_sequence'
