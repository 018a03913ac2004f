-- The summaries of aggregates as of now, by aggregate id. Filters are added to the condition: with an index on what they filter by,
-- they read what they find, and a page reads the events of its aggregates.
-- $1 most rows or NULL
SELECT
    aggregate_id,
    aggregate_type,
    MAX(aggregate_version) AS current_version,
    COUNT(*) AS total_events,
    MIN(created_at) AS created_at,
    MAX(created_at) AS last_modified_at,
    SUM(event_size_bytes)::bigint AS total_size_bytes,
    tenant_id
FROM events /* by their keys */ AS events
WHERE firefly_here()
GROUP BY aggregate_id, aggregate_type, tenant_id
ORDER BY aggregate_id
LIMIT $1;
