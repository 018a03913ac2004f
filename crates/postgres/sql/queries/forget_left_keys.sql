-- Delete keys of events that have left the log with their partitions. The oldest first: the last key of a stream says at which version the
-- stream is.
-- $1 most keys
DELETE FROM firefly_event_keys
WHERE global_sequence = ANY(ARRAY(
    SELECT keys.global_sequence
    FROM firefly_event_keys AS keys
    JOIN firefly_leaving AS leaving
        ON leaving.detached
        AND keys.global_sequence BETWEEN leaving.first_sequence AND leaving.last_sequence
    WHERE firefly_here()
    ORDER BY keys.global_sequence
    LIMIT $1::bigint
));
