-- The sizes of the database's indexes in bytes, by the statistics. Refused if the user may not read the server's own tables.
SELECT
    table_name,
    index_name,
    CAST(stat_value * @@innodb_page_size AS SIGNED)
FROM mysql.innodb_index_stats
WHERE database_name = DATABASE()
  AND stat_name = 'size'
