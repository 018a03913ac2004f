-- Copy the log up to a time: for each aggregate, the events before its first later one.
-- ?1 time
WITH later AS MATERIALIZED (
    SELECT
        aggregate_id,
        MIN(global_sequence) AS first_sequence
    FROM events
    WHERE created_at > ?1
    GROUP BY aggregate_id
)
INSERT INTO events_restored (
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
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
    events.updated_at,
    events.created_by,
    events.tenant_id,
    events.correlation_id,
    events.causation_id,
    events.checksum
FROM events
LEFT JOIN later
  ON later.aggregate_id = events.aggregate_id
WHERE later.first_sequence IS NULL
   OR events.global_sequence < later.first_sequence
ORDER BY events.global_sequence;
