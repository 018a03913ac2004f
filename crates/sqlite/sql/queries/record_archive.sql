-- Record an archive. If it is already recorded, update its location and whether all of its events are removed from the log.
-- ?1 digest · ?2 first_sequence · ?3 last_sequence · ?4 events · ?5 first_created_at · ?6 last_created_at · ?7 location · ?8 archived_at
-- ?9 log_events · ?10 log_digest · ?11 retired
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
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT (digest) DO UPDATE SET
    location = excluded.location,
    retired = excluded.retired;
