-- The contents of mv_aggregate_summary, by aggregate id.
-- ?1 after this aggregate_id · ?2 aggregate_type or NULL · ?3 tenant_id or NULL · ?4 most rows
SELECT
    aggregate_id,
    aggregate_type,
    MAX(aggregate_version) AS current_version,
    COUNT(*) AS total_events,
    MIN(created_at) AS created_at,
    MAX(created_at) AS last_modified_at,
    SUM(event_size_bytes) AS total_size_bytes,
    tenant_id
FROM events
WHERE aggregate_id > ?1
  AND (?2 IS NULL OR aggregate_type = ?2)
  AND (?3 IS NULL OR tenant_id = ?3)
GROUP BY aggregate_id
ORDER BY aggregate_id
LIMIT ?4;
