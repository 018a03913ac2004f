-- Settings that show whether other servers write this server's data, and in which order this one commits it. MySQL and MariaDB have
-- different ones.
SHOW GLOBAL VARIABLES
WHERE variable_name IN (
    'group_replication_group_name',
    'group_replication_single_primary_mode',
    'gtid_slave_pos',
    'read_only',
    'replica_parallel_workers',
    'replica_preserve_commit_order',
    'slave_parallel_threads',
    'slave_parallel_workers',
    'slave_preserve_commit_order',
    'super_read_only',
    'wsrep_on',
    'wsrep_provider'
)
