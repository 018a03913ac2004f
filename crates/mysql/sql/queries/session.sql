-- What the server is, and what this connection can count on: that no value is changed silently and every key is checked; and where
-- it is, which no failover and no copy of the data changes silently.
SELECT
    VERSION(),
    @@auto_increment_increment,
    @@max_allowed_packet,
    LOCATE('STRICT_', @@sql_mode) > 0
        AND @@character_set_client = 'utf8mb4'
        AND @@character_set_connection = 'utf8mb4'
        AND @@unique_checks,
    CONCAT_WS(':', @@hostname, @@port, @@server_id, @@datadir),
    DATABASE()
