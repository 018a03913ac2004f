-- Save a snapshot. Replaces one of the same aggregate and form at the same version.
-- ?1 snapshot_id · ?2 aggregate_id · ?3 aggregate_type · ?4 version · ?5 snapshot_type · ?6 snapshot_data · ?7 created_at
-- ?8 tenant_id · ?9 checksum
INSERT INTO snapshots (
    snapshot_id,
    aggregate_id,
    aggregate_type,
    version,
    snapshot_type,
    snapshot_data,
    created_at,
    tenant_id,
    checksum
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (aggregate_id, version, snapshot_type) DO UPDATE SET
    snapshot_id = excluded.snapshot_id,
    aggregate_type = excluded.aggregate_type,
    snapshot_data = excluded.snapshot_data,
    created_at = excluded.created_at,
    tenant_id = excluded.tenant_id,
    checksum = excluded.checksum;
