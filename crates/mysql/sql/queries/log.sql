-- Read the log: which index finds the rows, the filters, an order and a limit are added to this. Each row tells, too, up to which
-- sequence events are archived, NULL if none are; that is looked up once.
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
    checksum,
    (SELECT MAX(last_sequence) FROM firefly_archives) AS archived_until
FROM events
