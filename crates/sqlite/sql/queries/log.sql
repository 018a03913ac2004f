-- Read the log. The program adds filters, an order and a limit.
-- ?1 the sequence to read after · ?2 the sequence to read up to
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
FROM events
WHERE global_sequence > ?1
  AND global_sequence <= ?2
