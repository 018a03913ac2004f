-- As consumer_save.sql, on a connection that somebody's work has had meanwhile: nothing is written where that leads to another database,
-- changes values silently, or commits each statement by itself.
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
