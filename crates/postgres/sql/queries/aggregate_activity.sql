-- The source document's third monitoring query: the activity of the aggregates of each type.
-- $1 tenant_id, or NULL for everything
SELECT
    aggregate_type,
    COUNT(DISTINCT aggregate_id) AS aggregate_count,
    SUM(aggregate_version)::double precision / COUNT(*) AS avg_version,
    MAX(aggregate_version) AS max_version
FROM events
WHERE $1::text IS NULL OR tenant_id = $1
GROUP BY aggregate_type
ORDER BY aggregate_type COLLATE "C";
