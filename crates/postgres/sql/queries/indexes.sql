-- The indexes of the store's tables: their size, how often each was read since the server's counters began (NULL if it does not count), and
-- whether they are valid.
SELECT
    tables.relname::text AS table_name,
    indexes.relname::text AS index_name,
    parts.oids,
    parts.bytes,
    CASE WHEN current_setting('track_counts') = 'on' THEN parts.scans END,
    pg_index.indisvalid AND pg_index.indisready,
    pg_index.indisunique,
    pg_am.amname = 'btree'
FROM pg_index
JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
JOIN pg_class AS tables ON tables.oid = pg_index.indrelid
JOIN pg_am ON pg_am.oid = indexes.relam
-- The index itself, or those of the partitions: an index of a partitioned table has no entries of its own.
CROSS JOIN LATERAL (
    SELECT
        COALESCE(array_agg(relations.oid), ARRAY[]::oid[]) AS oids,
        COALESCE(SUM(pg_relation_size(relations.oid)), 0)::bigint AS bytes,
        SUM(counted.idx_scan)::bigint AS scans
    FROM pg_class AS relations
    LEFT JOIN pg_stat_user_indexes AS counted ON counted.indexrelid = relations.oid
    WHERE relations.relkind = 'i'
      AND (
        relations.oid = indexes.oid
        OR relations.oid IN (SELECT relid FROM pg_partition_tree(indexes.oid))
      )
) AS parts
WHERE firefly_here()
  AND tables.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
  AND tables.relname IN (
    'events',
    'snapshots',
    'mv_aggregate_summary',
    'firefly_archived_events',
    'firefly_archived_streams',
    'firefly_archives',
    'firefly_consumer_members',
    'firefly_consumers',
    'firefly_conversions',
    'firefly_event_keys',
    'firefly_leaving',
    'firefly_parked_events',
    'firefly_partitions',
    'firefly_schema_history',
    'firefly_seals'
  )
ORDER BY tables.relname, indexes.relname;
