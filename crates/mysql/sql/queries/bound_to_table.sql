-- The objects that belong to a table or refer to it. They would be lost, or would prevent a DROP.
-- Parameters: the table, three times.
SELECT CONCAT('trigger ', trigger_name)
FROM information_schema.triggers
WHERE event_object_schema = DATABASE()
  AND event_object_table = ?
UNION ALL
SELECT CONCAT('foreign key ', table_name, '.', constraint_name)
FROM information_schema.referential_constraints
WHERE constraint_schema = DATABASE()
  AND (table_name = ? OR referenced_table_name = ?)
