-- What the server is, and what this connection can count on: that no value is changed silently and every key is checked; where
-- it is, which no failover and no copy of the data changes silently; whether the server shows commits to others that are not yet on its
-- disk, although it is to flush each; whether each statement commits by itself; and whether the server takes no writes.
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
