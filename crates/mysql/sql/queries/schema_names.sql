-- The tables, views, columns, indexes, checks and triggers of the database, each with its kind; which tables are partitioned; and which
-- columns have binary ids. Each part names the column by which MariaDB finds a database. Otherwise it would open the tables of all
-- databases.
SELECT CONCAT(IF(table_type = 'VIEW', 'view ', 'table '), table_name)
FROM information_schema.tables
WHERE table_schema = DATABASE()
UNION ALL
SELECT CONCAT('partitioned ', table_name)
FROM information_schema.tables
WHERE table_schema = DATABASE()
  AND create_options LIKE '%partitioned%'
UNION ALL
SELECT CONCAT('column ', table_name, '.', column_name)
FROM information_schema.columns
WHERE table_schema = DATABASE()
UNION ALL
SELECT DISTINCT CONCAT('index ', table_name, '.', index_name)
FROM information_schema.statistics
WHERE table_schema = DATABASE()
UNION ALL
SELECT CONCAT('check ', table_name, '.', constraint_name)
FROM information_schema.table_constraints
WHERE table_schema = DATABASE()
  AND constraint_type = 'CHECK'
UNION ALL
SELECT CONCAT('trigger ', trigger_name)
FROM information_schema.triggers
WHERE event_object_schema = DATABASE()
UNION ALL
SELECT CONCAT('binary ', table_name, '.', column_name)
FROM information_schema.columns
WHERE table_schema = DATABASE()
  AND column_type = 'binary(16)'
