-- Update the aggregate summaries. Readers see the old ones meanwhile.
INSERT INTO mv_aggregate_summary (
    aggregate_id,
    aggregate_type,
    current_version,
    total_events,
    created_at,
    last_modified_at,
    total_size_bytes,
    tenant_id
)
SELECT
    aggregate_id,
    MIN(aggregate_type),
    MAX(aggregate_version),
    COUNT(*),
    MIN(created_at),
    MAX(created_at),
    SUM(event_size_bytes),
    MIN(tenant_id)
FROM events
GROUP BY aggregate_id
ON DUPLICATE KEY UPDATE
    current_version = VALUES(current_version),
    total_events = VALUES(total_events),
    created_at = VALUES(created_at),
    last_modified_at = VALUES(last_modified_at),
    total_size_bytes = VALUES(total_size_bytes)
