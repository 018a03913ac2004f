-- A page of the snapshots of every aggregate, ordered by aggregate id, version and form.
-- $1 aggregate_id · $2 version · $3 snapshot_type · $4 most rows
SELECT
    snapshot_id,
    aggregate_id,
    aggregate_type,
    version,
    snapshot_type,
    snapshot_data,
    created_at,
    tenant_id,
    checksum
FROM snapshots
WHERE firefly_here()
  AND (aggregate_id, version, snapshot_type COLLATE "C") > ($1, $2, $3)
ORDER BY aggregate_id, version, snapshot_type COLLATE "C"
LIMIT $4;
