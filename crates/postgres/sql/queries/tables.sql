-- The tables that maintenance is for: how large they are, what is known of them, and whether this role may maintain them.
SELECT
    tables.relname::text,
    pg_size_pretty(pg_total_relation_size(tables.oid)),
    GREATEST(tables.reltuples, 0)::bigint AS estimated_rows,
    COALESCE(counted.n_dead_tup, 0) AS dead_rows,
    COALESCE(counted.n_live_tup, 0) AS live_rows,
    GREATEST(counted.last_vacuum, counted.last_autovacuum) AS vacuumed_at,
    pg_has_role(tables.relowner, 'USAGE')
        OR pg_has_role(databases.datdba, 'USAGE')
        -- Older servers do not know this privilege, and refuse the question.
        OR CASE
            WHEN current_setting('server_version_num')::integer >= 170000 THEN has_table_privilege(tables.oid, 'MAINTAIN')
            ELSE false
        END AS may_maintain
FROM pg_class AS tables
JOIN pg_database AS databases ON databases.datname = current_database()
LEFT JOIN pg_stat_user_tables AS counted ON counted.relid = tables.oid
WHERE firefly_here()
  AND tables.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
  AND tables.relname IN ('events', 'firefly_archived_events', 'firefly_archived_streams', 'mv_aggregate_summary', 'snapshots')
ORDER BY tables.relname;
