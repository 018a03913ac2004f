-- Record an archive. If it is already recorded, update its location and whether all of its events are removed from the log.
-- ? digest · ? first_sequence · ? last_sequence · ? events · ? first_created_at · ? last_created_at · ? location · ? archived_at
-- ? log_events · ? log_digest · ? retired
INSERT INTO firefly_archives (
    digest,
    first_sequence,
    last_sequence,
    events,
    first_created_at,
    last_created_at,
    location,
    archived_at,
    log_events,
    log_digest,
    retired
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE
    location = VALUES(location),
    retired = VALUES(retired)
