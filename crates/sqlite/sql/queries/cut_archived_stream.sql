-- Shorten the archived part of an aggregate's stream: it now ends at a version.
-- ?1 aggregate_id · ?2 version
UPDATE firefly_archived_streams
SET version = ?2,
    (last_event_id, last_sequence) = (
        SELECT
            event_id,
            global_sequence
        FROM firefly_archived_events
        WHERE aggregate_id = ?1
          AND aggregate_version = ?2
    )
WHERE aggregate_id = ?1;
