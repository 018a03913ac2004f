-- Delete the keys of events that are back in the log. Run only while no other transaction writes events.
-- $1 global_sequence bigint[]: per event · $2 aggregate_id uuid[] · $3 version bigint[]: the last one of each stream that is archived
-- afterwards, 0 if none is
WITH attached AS (
    DELETE FROM firefly_archived_events
    WHERE global_sequence = ANY($1::bigint[])
), left_over AS (
    SELECT
        aggregate_id,
        version
    FROM unnest($2::uuid[], $3::bigint[]) AS left_over (aggregate_id, version)
), ended AS (
    DELETE FROM firefly_archived_streams AS stream
    USING left_over
    WHERE stream.aggregate_id = left_over.aggregate_id
      AND left_over.version = 0
)
UPDATE firefly_archived_streams AS stream
SET
    version = last.aggregate_version,
    last_event_id = last.event_id,
    last_sequence = last.global_sequence
FROM left_over
JOIN firefly_archived_events AS last
    ON last.aggregate_id = left_over.aggregate_id
    AND last.aggregate_version = left_over.version
WHERE stream.aggregate_id = left_over.aggregate_id;
