-- The current summaries of aggregates, by aggregate id. The program adds filters to the condition. With an index on the filtered column,
-- only matching rows are read, and a page reads only the events of its aggregates.
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
