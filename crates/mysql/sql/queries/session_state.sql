-- Settings that the caller's work may have changed on a connection and that cannot simply be set again, because the right value is the
-- server's, or setting it needs a right. Releases named locks.
SELECT
    RELEASE_ALL_LOCKS(),
    CONCAT_WS(
        ',',
        DATABASE(),
        CURRENT_USER(),
        CURRENT_ROLE(),
        @@auto_increment_increment,
        @@auto_increment_offset,
        @@insert_id,
        @@sql_log_bin,
        @@innodb_lock_wait_timeout,
        @@lock_wait_timeout,
        @@wait_timeout,
        @@net_read_timeout,
        @@net_write_timeout,
        @@group_concat_max_len,
        @@div_precision_increment,
        @@max_sort_length
        /*!80000 , @@gtid_next, @@max_execution_time */
        /*M!100600 , @@skip_replication, @@max_statement_time */
    )
