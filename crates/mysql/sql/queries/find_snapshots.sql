-- The snapshots of an aggregate in a range of versions. Newest version first; for the same version, by descending name of the form.
-- ? aggregate_id · ? aggregate_type · ? ? tenant_id or NULL · ? first version · ? last version
-- ? ? snapshot_type or NULL · ? most rows
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
WHERE aggregate_id = ?
  AND aggregate_type = ?
  AND (? IS NULL OR tenant_id = ?)
  AND version BETWEEN ? AND ?
  AND (? IS NULL OR snapshot_type = ?)
ORDER BY version DESC, snapshot_type DESC
LIMIT ?
