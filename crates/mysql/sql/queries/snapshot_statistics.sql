-- The statistics of snapshots.
-- ? ? tenant_id, or NULL for everything
SELECT
    COUNT(*) AS snapshots,
    COUNT(DISTINCT aggregate_id) AS aggregates,
    CAST(COALESCE(SUM(LENGTH(snapshot_data)), 0) AS SIGNED) AS total_bytes,
    MIN(created_at) AS oldest,
    MAX(created_at) AS newest
FROM snapshots
WHERE ? IS NULL OR tenant_id = ?
