-- Store the key of an event that is removed from the log.
-- ?1 global_sequence · ?2 event_id · ?3 aggregate_id · ?4 aggregate_version · ?5 fingerprint
INSERT INTO firefly_archived_events (
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version,
    fingerprint
)
VALUES (?1, ?2, ?3, ?4, ?5);
