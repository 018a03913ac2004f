-- The server's settings that matter to a store, as far as the server has them.
SHOW GLOBAL VARIABLES
WHERE variable_name IN (
    'binlog_format',
    'innodb_autoinc_lock_mode',
    'innodb_doublewrite',
    'innodb_flush_log_at_trx_commit',
    'innodb_flush_method',
    'log_bin',
    'max_connections',
    'max_user_connections',
    'read_only',
    'sql_mode',
    'super_read_only',
    'sync_binlog',
    'system_time_zone',
    'time_zone'
)
