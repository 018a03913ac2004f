-- Read the log: what finds the rows, the filters, an order and a limit are added to this.
-- $1 the sequence to read from · $2 the sequence to read up to · $3 most rows
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
