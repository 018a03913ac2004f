-- The contents of the view v_event_statistics, of everything or of one tenant.
-- $1 tenant_id, or NULL for everything
SELECT
    aggregate_type,
    event_type,
    COUNT(*) AS event_count,
    SUM(event_size_bytes)::double precision / COUNT(*) AS avg_size_bytes,
    MAX(event_size_bytes)::bigint AS max_size_bytes,
    MIN(created_at) AS first_event_at,
    MAX(created_at) AS last_event_at,
    COUNT(DISTINCT aggregate_id) AS unique_aggregates
FROM events
WHERE $1::text IS NULL OR tenant_id = $1
GROUP BY aggregate_type, event_type
ORDER BY aggregate_type COLLATE "C", event_type COLLATE "C";
