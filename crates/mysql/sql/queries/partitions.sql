-- The partitions in their order: how many sequences new ones are to have, the name of each, the sequence that it ends before, which is MAXVALUE
-- for the last one, and the last sequence of the log.
SELECT
    (SELECT MAX(events_per_range) FROM firefly_partitions),
    partition_name,
    partition_description,
    (SELECT COALESCE(MAX(global_sequence), 0) FROM firefly_event_keys)
FROM information_schema.partitions
WHERE table_schema = DATABASE()
  AND table_name = 'events'
  AND partition_name IS NOT NULL
ORDER BY partition_ordinal_position
