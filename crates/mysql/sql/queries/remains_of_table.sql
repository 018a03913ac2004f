-- The partitions that remain of a table that is gone, on MariaDB only, which leaves them if it dies while it drops a partitioned table.
-- ? table
SELECT SUBSTRING_INDEX(name, '/', -1)
FROM information_schema.innodb_sys_tables
WHERE SUBSTRING_INDEX(name, '/', 1) = CAST(CONVERT(DATABASE() USING filename) AS BINARY)
  AND SUBSTRING_INDEX(LOWER(SUBSTRING_INDEX(name, '/', -1)), '#p#', 1) = ?
