-- Store events unchanged. The size is a generated column.
COPY events (
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
    checksum
) FROM STDIN WITH (FORMAT binary);
