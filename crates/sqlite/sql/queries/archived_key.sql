-- The key of an archived event.
-- ?1 global_sequence
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version,
    fingerprint
FROM firefly_archived_events
WHERE global_sequence = ?1;
