-- Whether the server is a standby; how many servers stream from it, and for how many of those each commit waits, as far as this role may
-- see that; and whether commits wait for any server.
SELECT
    pg_is_in_recovery(),
    COUNT(replicas.pid),
    COUNT(replicas.pid) FILTER (WHERE replicas.sync_state IN ('sync', 'quorum')),
    current_setting('synchronous_standby_names') <> ''
FROM pg_stat_replication AS replicas;
