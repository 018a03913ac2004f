-- The source document's first monitoring query: totals.
-- $1 tenant_id, or NULL for everything
SELECT
    COUNT(*) AS total_events,
    COUNT(DISTINCT aggregate_id) AS total_aggregates,
    COALESCE(MAX(global_sequence), 0) AS current_global_sequence,
    COUNT(DISTINCT event_type) AS unique_event_types,
    COUNT(DISTINCT aggregate_type) AS unique_aggregate_types,
    (
        -- Each stream's versions from 1 on.
        SELECT COALESCE(SUM(version), 0)::bigint
        FROM firefly_archived_streams /* that count */ AS archived
        WHERE $1::text IS NULL OR tenant_id = $1
    ) AS archived_events
FROM events
WHERE firefly_here()
  AND ($1::text IS NULL OR tenant_id = $1);
