-- Shorten the archived parts of some aggregates' streams to what is still archived. The program adds a list of ids.
UPDATE firefly_archived_streams AS stream
JOIN (
    SELECT
        aggregate_id,
        MAX(aggregate_version) AS version
    FROM firefly_archived_events FORCE INDEX (idx_archived_events_version)
    WHERE aggregate_id IN {list}
    GROUP BY aggregate_id
) AS left_over ON left_over.aggregate_id = stream.aggregate_id
JOIN firefly_archived_events AS last
    ON last.aggregate_id = left_over.aggregate_id
    AND last.aggregate_version = left_over.version
SET stream.version = last.aggregate_version,
    stream.last_event_id = last.event_id,
    stream.last_sequence = last.global_sequence
