-- The partitions of a table in their order: how many sequences new ones are to have, the name of each, the sequence that it ends before,
-- which is MAXVALUE for the last one, and the last sequence of the log. The last condition names the log, so that no statement changes it
-- meanwhile.
SELECT
    (SELECT MAX(events_per_range) FROM firefly_partitions),
    partition_name,
    partition_description,
    (SELECT COALESCE(MAX(global_sequence), 0) FROM firefly_event_keys)
FROM information_schema.partitions
WHERE table_schema = DATABASE()
  AND table_name = ?
  AND partition_name IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM events WHERE FALSE)
ORDER BY partition_ordinal_position
