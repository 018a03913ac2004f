-- The triggers of a table.
-- ? table
SELECT trigger_name
FROM information_schema.triggers
WHERE event_object_schema = DATABASE()
  AND event_object_table = ?
