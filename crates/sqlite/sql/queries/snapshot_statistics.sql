-- The statistics of snapshots.
-- ?1 tenant_id, or NULL for everything
SELECT
    COUNT(*) AS snapshots,
    COUNT(DISTINCT aggregate_id) AS aggregates,
    COALESCE(SUM(length(CAST(snapshot_data AS BLOB))), 0) AS total_bytes,
    MIN(created_at) AS oldest,
    MAX(created_at) AS newest
FROM snapshots
WHERE ?1 IS NULL OR tenant_id = ?1;
