-- The statistics of snapshots.
-- $1 tenant_id, or NULL for everything
SELECT
    COUNT(*) AS snapshots,
    COUNT(DISTINCT aggregate_id) AS aggregates,
    COALESCE(SUM(octet_length(snapshot_data::text)), 0)::bigint AS total_bytes,
    MIN(created_at) AS oldest,
    MAX(created_at) AS newest
FROM snapshots
WHERE firefly_here()
  AND ($1::text IS NULL OR tenant_id = $1);
