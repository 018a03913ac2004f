-- The snapshots of every aggregate, by its id and the version, those after a place.
-- ? ? aggregate_id · ? version · ? most rows
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
FROM snapshots FORCE INDEX (idx_snapshots_version)
WHERE aggregate_id >= ?
  AND (aggregate_id > ? OR version > ?)
ORDER BY aggregate_id, version
LIMIT ?
