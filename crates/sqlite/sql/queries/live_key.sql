-- The key of an event in the log.
-- ?1 global_sequence
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version
FROM events
WHERE global_sequence = ?1;
