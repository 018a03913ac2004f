-- The source document's first monitoring query: totals.
-- ? ? ? ? tenant_id, or NULL for everything
-- The archived versions of a stream begin at 1, so the last one is their number.
SELECT
    COUNT(*) AS total_events,
    COUNT(DISTINCT aggregate_id) AS total_aggregates,
    COALESCE(MAX(global_sequence), 0) AS current_global_sequence,
    COUNT(DISTINCT event_type) AS unique_event_types,
    COUNT(DISTINCT aggregate_type) AS unique_aggregate_types,
    (
        SELECT CAST(COALESCE(SUM(version), 0) AS SIGNED)
        FROM firefly_archived_streams /* that count */ AS archived
        WHERE ? IS NULL OR tenant_id = ?
    ) AS archived_events
FROM events
WHERE ? IS NULL OR tenant_id = ?
