-- Load a whole stream, oldest first, as far as it is in the log. Without bounds and a limit the server has nothing to plan.
-- ? aggregate_id
SELECT
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    global_sequence,
    event_type,
    event_data,
    metadata,
    created_at,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    event_size_bytes,
    checksum
FROM events /* by their keys */ FORCE INDEX (idx_events_aggregate_version)
WHERE aggregate_id = ?
ORDER BY aggregate_version ASC
