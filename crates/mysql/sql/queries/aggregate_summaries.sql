-- The summaries of aggregates as of now, by aggregate id. Filters are added to the condition: with an index on what they filter by,
-- they read what they find, and a page reads the events of its aggregates.
-- ? most rows
SELECT
    aggregate_id,
    MIN(aggregate_type) AS aggregate_type,
    MAX(aggregate_version) AS current_version,
    COUNT(*) AS total_events,
    MIN(created_at) AS created_at,
    MAX(created_at) AS last_modified_at,
    CAST(SUM(event_size_bytes) AS SIGNED) AS total_size_bytes,
    MIN(tenant_id) AS tenant_id
FROM events /* by their keys */
WHERE TRUE
GROUP BY aggregate_id
ORDER BY aggregate_id
LIMIT ?
