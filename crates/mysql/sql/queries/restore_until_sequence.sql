-- Copy the log up to a global sequence.
-- ? global_sequence
INSERT INTO events_restored_unfinished (
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    metadata_correlation,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    event_size_bytes,
    checksum
)
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    metadata_correlation,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    event_size_bytes,
    checksum
FROM events
WHERE global_sequence <= ?
ORDER BY global_sequence
