-- How many bytes the indexes of the database take, as the statistics know it. Refused to whom may not read the server's own tables.
SELECT
    table_name,
    index_name,
    CAST(stat_value * @@innodb_page_size AS SIGNED)
FROM mysql.innodb_index_stats
WHERE database_name = DATABASE()
  AND stat_name = 'size'
