-- The statements that give the copy of a partitioned log the indexes that the log has now.
WITH indexes AS (
    SELECT
        pg_index.indrelid AS relation,
        pg_index.indexrelid AS index,
        pg_class.relname::text AS name
    FROM pg_index
    JOIN pg_class ON pg_class.oid = pg_index.indexrelid
    WHERE pg_index.indrelid IN (to_regclass('events'), to_regclass('firefly_whole_events'))
), wanted AS (
    SELECT
        'whole_' || name AS name,
        pg_get_indexdef(index) AS definition
    FROM indexes
    WHERE relation = to_regclass('events')
      -- One table finds its streams by another one. The key of a log that is divided by aggregate type contains the type.
      AND name NOT IN ('idx_events_stream', 'idx_events_global_sequence')
), there AS (
    SELECT name
    FROM indexes
    WHERE relation = to_regclass('firefly_whole_events')
)
SELECT regexp_replace(
    definition,
    '^(CREATE( UNIQUE)? INDEX) .*? USING ',
    format('\1 %I ON firefly_whole_events USING ', name)
)
FROM wanted
WHERE name NOT IN (SELECT name FROM there)
UNION ALL
SELECT format('DROP INDEX %I', name)
FROM there
WHERE name NOT IN (SELECT name FROM wanted)
  AND name NOT IN ('whole_events_pkey', 'whole_idx_events_aggregate_version', 'whole_idx_events_global_sequence')
