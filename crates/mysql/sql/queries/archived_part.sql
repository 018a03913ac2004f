-- The archived part of an aggregate's stream, if there is one.
-- ? aggregate_id
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
FROM firefly_archived_streams /* that count */ AS archived
WHERE aggregate_id = ?
