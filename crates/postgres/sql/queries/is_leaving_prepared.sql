-- Whether prepare_leaving.sql has stored the keys of all events that leave with their partitions.
SELECT
    (
        SELECT COUNT(*)
        FROM firefly_archived_events
        WHERE global_sequence BETWEEN leaving.first_sequence AND leaving.last_sequence
    ) = (
        SELECT COUNT(*)
        FROM firefly_event_keys
        WHERE global_sequence >= leaving.first_sequence
          AND global_sequence < leaving.end_sequence
    )
    AND NOT EXISTS (
        SELECT 1
        FROM firefly_archived_events AS ahead
        LEFT JOIN firefly_event_keys AS live ON live.global_sequence = ahead.global_sequence
        WHERE ahead.global_sequence BETWEEN leaving.first_sequence AND leaving.last_sequence
          AND live.event_id IS DISTINCT FROM ahead.event_id
    )
FROM firefly_leaving AS leaving
WHERE firefly_here();
