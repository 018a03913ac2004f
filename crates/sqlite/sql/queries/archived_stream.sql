-- The archived part of an aggregate's stream.
-- ?1 aggregate_id
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
FROM main.firefly_archived_streams
WHERE aggregate_id = ?1;
