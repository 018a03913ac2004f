-- A page of the snapshots of every aggregate, ordered by aggregate id, version and form.
-- ? ? aggregate_id · ? ? version · ? snapshot_type · ? most rows
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
  AND (aggregate_id > ? OR version > ? OR (version = ? AND snapshot_type > ?))
ORDER BY aggregate_id, version, snapshot_type
LIMIT ?
