-- What belongs to a table, or refers to it, and would be lost or in the way if it were dropped.
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
