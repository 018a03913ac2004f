-- Record an archive, or where it is and whether all its events are out of the log.
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
