-- The triggers of a table. The last condition names the table, so that no statement changes it meanwhile.
-- ? table, which also replaces the name in the last condition
SELECT trigger_name
FROM information_schema.triggers
WHERE event_object_schema = DATABASE()
  AND event_object_table = ?
  AND NOT EXISTS (SELECT 1 FROM events /* or that table */ WHERE FALSE)
