-- Delete snapshots of one aggregate in a range of versions, except the newest ones.
-- ?1 aggregate_id · ?2 aggregate_type · ?3 tenant_id or NULL · ?4 first version · ?5 last version
-- ?6 snapshot_type or NULL · ?7 how many to keep
DELETE FROM snapshots
WHERE snapshot_id IN (
    SELECT snapshot_id
    FROM snapshots
    WHERE aggregate_id = ?1
      AND aggregate_type = ?2
      AND (?3 IS NULL OR tenant_id = ?3)
      AND version BETWEEN ?4 AND ?5
      AND (?6 IS NULL OR snapshot_type = ?6)
    ORDER BY version DESC, snapshot_type DESC
    LIMIT -1 OFFSET ?7
);
