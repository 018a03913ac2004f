-- Delete snapshots of one aggregate in a range of versions, except the newest ones.
-- ? aggregate_id · ? aggregate_type · ? ? tenant_id or NULL · ? first version · ? last version
-- ? ? snapshot_type or NULL · ? how many to keep
DELETE snapshots
FROM snapshots
JOIN (
    SELECT snapshot_id
    FROM snapshots
    WHERE aggregate_id = ?
      AND aggregate_type = ?
      AND (? IS NULL OR tenant_id = ?)
      AND version BETWEEN ? AND ?
      AND (? IS NULL OR snapshot_type = ?)
    ORDER BY version DESC, snapshot_type DESC
    LIMIT 9223372036854775807 OFFSET ?
) AS deleted ON deleted.snapshot_id = snapshots.snapshot_id
