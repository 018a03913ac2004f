-- The tables that need maintenance: their size, the planner's statistics, and whether this role may maintain them.
SELECT
    tables.relname::text,
    pg_size_pretty(parts.bytes),
    parts.estimated_rows,
    parts.dead_rows,
    parts.live_rows,
    parts.vacuumed_at,
    pg_has_role(tables.relowner, 'USAGE')
        OR pg_has_role(databases.datdba, 'USAGE')
        -- Older servers do not know this privilege, and refuse the query.
        OR CASE
            WHEN current_setting('server_version_num')::integer >= 170000 THEN has_table_privilege(tables.oid, 'MAINTAIN')
            ELSE false
        END AS may_maintain
FROM pg_class AS tables
JOIN pg_database AS databases ON databases.datname = current_database()
-- The table and its partitions; a partitioned table has no rows of its own.
CROSS JOIN LATERAL (
    SELECT
        SUM(pg_total_relation_size(relations.oid)) AS bytes,
        (SUM(GREATEST(relations.reltuples, 0)) FILTER (WHERE relations.relkind <> 'p'))::bigint AS estimated_rows,
        COALESCE(SUM(counted.n_dead_tup), 0)::bigint AS dead_rows,
        COALESCE(SUM(counted.n_live_tup), 0)::bigint AS live_rows,
        MAX(GREATEST(counted.last_vacuum, counted.last_autovacuum)) AS vacuumed_at
    FROM pg_class AS relations
    LEFT JOIN pg_stat_user_tables AS counted ON counted.relid = relations.oid
    WHERE relations.oid = tables.oid
       OR relations.oid IN (SELECT relid FROM pg_partition_tree(tables.oid))
) AS parts
WHERE firefly_here()
  AND tables.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
  AND tables.relname IN (
    'events',
    'firefly_archived_events',
    'firefly_archived_streams',
    'firefly_event_keys',
    'mv_aggregate_summary',
    'snapshots'
  )
  -- Not if it was dropped since this statement began.
  AND parts.bytes IS NOT NULL
  AND parts.estimated_rows IS NOT NULL
ORDER BY tables.relname;
