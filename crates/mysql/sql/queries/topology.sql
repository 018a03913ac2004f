-- What tells whether other servers write what this one shows, and in which order it commits that; MySQL and MariaDB have some each.
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
