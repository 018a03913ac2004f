-- What the server is, and what this connection can count on: last, that no value is changed silently.
SELECT
    VERSION(),
    @@auto_increment_increment,
    @@max_allowed_packet,
    LOCATE('STRICT_', @@sql_mode) > 0
        AND @@character_set_client = 'utf8mb4'
        AND @@character_set_connection = 'utf8mb4'
