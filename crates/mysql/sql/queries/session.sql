-- The server and the settings of this connection: whether values are never changed silently and every key is checked; the identity of the
-- server, which a failover or a copy of the data changes; whether the server shows commits before they are flushed, although it flushes
-- each; whether autocommit is on; and whether the server refuses writes.
SELECT
    VERSION(),
    @@auto_increment_increment,
    @@max_allowed_packet,
    LOCATE('STRICT_', @@sql_mode) > 0
        AND @@character_set_client = 'utf8mb4'
        AND @@character_set_connection = 'utf8mb4'
        AND @@unique_checks,
    CONCAT_WS(':', @@hostname, @@port, @@server_id, @@datadir),
    DATABASE(),
    @@global.log_bin = 0 AND @@global.innodb_flush_log_at_trx_commit IN (1, 3),
    @@autocommit,
    CAST(@@global.read_only AS CHAR) NOT IN ('0', 'OFF')
