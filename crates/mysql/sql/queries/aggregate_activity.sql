-- The source document's third monitoring query: how active the aggregates of each type are.
-- ? ? tenant_id, or NULL for everything
SELECT
    aggregate_type,
    COUNT(DISTINCT aggregate_id) AS aggregate_count,
    CAST(SUM(aggregate_version) AS DOUBLE) / COUNT(*) AS avg_version,
    MAX(aggregate_version) AS max_version
FROM events /* or their keys */
WHERE ? IS NULL OR tenant_id = ?
GROUP BY aggregate_type
ORDER BY aggregate_type
