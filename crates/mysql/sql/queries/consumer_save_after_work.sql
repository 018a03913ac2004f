-- Like consumer_save.sql, on a connection that the caller's work has used. Writes nothing if the connection now uses another database, an
-- SQL mode that changes values silently, or autocommit.
-- ? position · ? token · ? state · ? failing_sequence · ? attempts · ? last_error · ? name · ? slot · ? server · ? database
UPDATE firefly_consumers
SET
    position = ?,
    token = ?,
    state = ?,
    failing_sequence = ?,
    attempts = ?,
    last_error = ?,
    updated_at = UTC_TIMESTAMP(6)
WHERE name = ?
  AND slot = ?
  AND CONCAT_WS(':', @@hostname, @@port, @@server_id, @@datadir) = ?
  AND DATABASE() = ?
  AND LOCATE('STRICT_', @@sql_mode) > 0
  AND @@character_set_client = 'utf8mb4'
  AND @@character_set_connection = 'utf8mb4'
  AND @@unique_checks
  AND @@autocommit = 0
