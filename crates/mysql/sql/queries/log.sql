-- Read the log. The program adds the index, the filters, an order and a limit. Each row also has the last archived sequence, NULL if there
-- is none; it is looked up once.
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
