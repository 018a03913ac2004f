-- Copy the log of a past point: up to a sequence, and for each aggregate the events before its first later one.
-- $1 the last global_sequence · $2 the last time or NULL for any
INSERT INTO events_restored (
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
)
SELECT
    events.event_id,
    events.aggregate_id,
    events.aggregate_type,
    events.aggregate_version,
    events.global_sequence,
    events.event_type,
    events.event_data,
    events.metadata,
    events.created_at,
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
        MIN(global_sequence) AS global_sequence
    FROM events
    WHERE global_sequence <= $1
      AND created_at > $2::timestamptz
    GROUP BY aggregate_id
) AS later ON later.aggregate_id = events.aggregate_id
WHERE firefly_here()
  AND events.global_sequence <= $1
  AND (later.global_sequence IS NULL OR events.global_sequence < later.global_sequence)
ORDER BY events.global_sequence;
