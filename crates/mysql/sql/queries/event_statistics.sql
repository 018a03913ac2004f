-- The contents of the view v_event_statistics, of everything or of one tenant.
-- ? ? tenant_id, or NULL for everything
SELECT
    aggregate_type,
    event_type,
    COUNT(*) AS event_count,
    CAST(SUM(event_size_bytes) AS DOUBLE) / COUNT(*) AS avg_size_bytes,
    MAX(event_size_bytes) AS max_size_bytes,
    MIN(created_at) AS first_event_at,
    MAX(created_at) AS last_event_at,
    COUNT(DISTINCT aggregate_id) AS unique_aggregates
FROM events
WHERE ? IS NULL OR tenant_id = ?
GROUP BY aggregate_type, event_type
ORDER BY aggregate_type, event_type
