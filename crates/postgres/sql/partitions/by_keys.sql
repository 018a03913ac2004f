-- Events, found by their keys. Statements read this instead of a partitioned table. Filters and orders on key columns use the table of
-- keys, and each event is looked up in the one partition that has it.
SELECT
    keys.event_id,
    keys.aggregate_id,
    keys.aggregate_type,
    keys.aggregate_version,
    keys.global_sequence,
    keys.tenant_id,
    found.event_type,
    found.event_data,
    found.metadata,
    found.created_at,
    found.updated_at,
    found.created_by,
    found.correlation_id,
    found.causation_id,
    found.event_size_bytes,
    found.checksum
FROM firefly_event_keys AS keys
CROSS JOIN LATERAL (
    SELECT
        event_type,
        event_data,
        metadata,
        created_at,
        updated_at,
        created_by,
        correlation_id,
        causation_id,
        event_size_bytes,
        checksum
    FROM events
    WHERE events.global_sequence = keys.global_sequence
      -- Leads to one table in a partition that is divided by aggregate type.
      AND events.aggregate_type = keys.aggregate_type
    -- One row at most, so that the server does not search further partitions.
    LIMIT 1
) AS found
