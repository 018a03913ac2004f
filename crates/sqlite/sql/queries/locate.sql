-- The positions of the events with these ids.
-- ?1 event ids, a JSON array
SELECT
    event_id,
    aggregate_id,
    aggregate_type,
    tenant_id,
    aggregate_version,
    global_sequence,
    event_type,
    checksum,
    metadata,
    created_at,
    created_by,
    correlation_id,
    causation_id
FROM main.events
WHERE event_id IN (SELECT value FROM json_each(?1));
