-- How often the database's indexes were read since the server started, if it counts that. Refused if the user may not read this.
SELECT
    object_name,
    index_name,
    CAST(count_fetch AS SIGNED)
FROM performance_schema.table_io_waits_summary_by_index_usage
WHERE object_schema = DATABASE()
  AND index_name IS NOT NULL
  AND @@global.performance_schema = 1
  AND EXISTS (
      SELECT 1
      FROM performance_schema.setup_instruments
      WHERE name = 'wait/io/table/sql/handler'
        AND enabled = 'YES'
  )
