-- The tables, views, columns, indexes, checks and triggers of the database, each with its kind; and which columns have binary ids.
SELECT CONCAT(IF(table_type = 'VIEW', 'view ', 'table '), table_name)
FROM information_schema.tables
WHERE table_schema = DATABASE()
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
WHERE constraint_schema = DATABASE()
  AND constraint_type = 'CHECK'
UNION ALL
SELECT CONCAT('trigger ', trigger_name)
FROM information_schema.triggers
WHERE trigger_schema = DATABASE()
UNION ALL
SELECT CONCAT('binary ', table_name, '.', column_name)
FROM information_schema.columns
WHERE table_schema = DATABASE()
  AND column_type = 'binary(16)'
