-- What belongs to the table of events, and cannot be moved to another table: triggers that are not the store's, foreign keys, and indexes
-- that a partitioned table cannot have. The last condition names the log, so that no statement changes it meanwhile.
SELECT CONCAT('the trigger ', trigger_name)
FROM information_schema.triggers
WHERE event_object_schema = DATABASE()
  AND event_object_table = 'events'
  AND trigger_name NOT IN (
      'trigger_events_gate',
      'trigger_events_earlier_gate',
      'trigger_events_guard',
      'trigger_events_keys',
      'trigger_events_keys_deleted',
      'trigger_events_keys_updated',
      'trigger_events_next_deleted',
      'trigger_events_next_inserted',
      'trigger_events_next_updated'
  )
UNION ALL
SELECT CONCAT('the foreign key ', table_name, '.', constraint_name)
FROM information_schema.referential_constraints
WHERE constraint_schema = DATABASE()
  AND (table_name = 'events' OR referenced_table_name = 'events')
UNION ALL
SELECT DISTINCT CONCAT('the index ', index_name)
FROM information_schema.statistics
WHERE table_schema = DATABASE()
  AND table_name = 'events'
  AND index_name NOT IN ('PRIMARY', 'idx_events_event_id', 'idx_events_aggregate_version')
  AND (non_unique = 0 OR index_type <> 'BTREE')
  AND NOT EXISTS (SELECT 1 FROM events WHERE FALSE)
