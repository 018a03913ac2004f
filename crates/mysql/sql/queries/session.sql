-- What the server is, and what this connection can count on: last, that no value is changed silently.
SELECT
    VERSION(),
    @@auto_increment_increment,
    @@max_allowed_packet,
    @@sql_mode LIKE '%STRICT\_%' AND @@character_set_client = 'utf8mb4'
