-- Copy the log up to a global sequence and a time: for each aggregate, the events before its first later one.
-- ? time · ? ? global_sequence
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
    events.global_sequence,
    events.event_id,
    events.aggregate_id,
    events.aggregate_type,
    events.aggregate_version,
    events.event_type,
    events.event_data,
    events.metadata,
    events.created_at,
    events.metadata_correlation,
    events.updated_at,
    events.created_by,
    events.tenant_id,
    events.correlation_id,
    events.causation_id,
    events.event_size_bytes,
    events.checksum
FROM events
LEFT JOIN (
    SELECT
        aggregate_id,
        MIN(global_sequence) AS first_sequence
    FROM events
    WHERE created_at > ?
      AND global_sequence <= ?
    GROUP BY aggregate_id
) AS later ON later.aggregate_id = events.aggregate_id
WHERE events.global_sequence <= ?
  AND (later.first_sequence IS NULL OR events.global_sequence < later.first_sequence)
ORDER BY events.global_sequence
