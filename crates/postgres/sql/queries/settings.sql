-- The properties of the server, the database and this connection that matter to a store.
SELECT
    current_setting('server_version'),
    current_setting('server_version_num')::integer,
    clock_timestamp(),
    current_setting('fsync') = 'on',
    current_setting('full_page_writes') = 'on',
    current_setting('synchronous_commit'),
    current_setting('data_checksums') = 'on',
    COALESCE(counted.checksum_failures, 0) AS checksum_failures,
    current_setting('default_transaction_read_only') = 'on',
    -- -1 means no limit.
    LEAST(
        current_setting('max_connections')::integer
            - current_setting('superuser_reserved_connections')::integer
            - COALESCE(current_setting('reserved_connections', true)::integer, 0),
        NULLIF(databases.datconnlimit, -1),
        NULLIF(roles.rolconnlimit, -1)
    )::bigint AS connections,
    COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
    inet_client_addr() IS NULL OR host(inet_client_addr()) = host(inet_server_addr()) AS local,
    current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on' AS vacuums_itself,
    age(databases.datfrozenxid)::bigint AS oldest_transaction,
    -- If unknown, the server has counted at least since its start.
    GREATEST(
        COALESCE(counted.stats_reset, pg_postmaster_start_time()),
        (SELECT MAX(installed_at) FROM firefly_schema_history)
    ) AS counted_since,
    -- PostgreSQL 17 has no such setting.
    NULLIF(current_setting('old_snapshot_threshold', true), '-1') AS old_snapshots
FROM pg_database AS databases
JOIN pg_roles AS roles ON roles.rolname = current_user
LEFT JOIN pg_stat_database AS counted ON counted.datid = databases.oid
WHERE databases.datname = current_database();
