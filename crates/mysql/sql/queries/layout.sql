-- Whether the log is partitioned now. The last condition names the log, so that no statement changes it meanwhile.
SELECT COUNT(*)
FROM information_schema.tables
WHERE table_schema = DATABASE()
  AND table_name = 'events'
  AND create_options LIKE '%partitioned%'
  AND NOT EXISTS (SELECT 1 FROM events WHERE FALSE)
