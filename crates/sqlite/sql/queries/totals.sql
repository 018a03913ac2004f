-- The source document's first monitoring query: totals.
-- ?1 tenant_id, or NULL for everything
SELECT
    COUNT(*) AS total_events,
    COUNT(DISTINCT aggregate_id) AS total_aggregates,
    COALESCE(MAX(global_sequence), 0) AS current_global_sequence,
    COUNT(DISTINCT event_type) AS unique_event_types,
    COUNT(DISTINCT aggregate_type) AS unique_aggregate_types,
    (
        SELECT COUNT(*)
        FROM firefly_archived_events AS event
        WHERE ?1 IS NULL
           OR ?1 = (SELECT tenant_id FROM firefly_archived_streams AS stream WHERE stream.aggregate_id = event.aggregate_id)
    ) AS archived_events
FROM events
WHERE ?1 IS NULL OR tenant_id = ?1;
