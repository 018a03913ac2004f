-- How many bytes the store's tables and their indexes take, as the statistics know it. The last condition names the log, so that no
-- statement changes it meanwhile.
SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED)
FROM information_schema.tables
WHERE table_schema = DATABASE()
  AND table_name IN (
      'events', 'firefly_event_keys', 'firefly_partitions', 'firefly_leaving', 'snapshots', 'mv_aggregate_summary', 'firefly_gate',
      'firefly_turn', 'firefly_seals', 'firefly_consumers', 'firefly_consumer_members', 'firefly_parked_events', 'firefly_archives',
      'firefly_archived_streams', 'firefly_archived_events', 'firefly_moves', 'firefly_schema_history'
  )
  AND NOT EXISTS (SELECT 1 FROM events WHERE FALSE)
