-- The indexes of the store's tables.
SELECT DISTINCT
    table_name,
    index_name
FROM information_schema.statistics
WHERE table_schema = DATABASE()
  AND table_name IN (
      'events', 'firefly_event_keys', 'firefly_partitions', 'snapshots', 'mv_aggregate_summary', 'firefly_gate', 'firefly_turn',
      'firefly_seals', 'firefly_consumers', 'firefly_consumer_members', 'firefly_parked_events', 'firefly_archives',
      'firefly_archived_streams', 'firefly_archived_events', 'firefly_moves', 'firefly_schema_history'
  )
ORDER BY table_name, index_name
