-- Save a snapshot. Replaces one of the same aggregate and form at the same version. If its id belongs to another snapshot, the new id is
-- NULL, which is refused.
-- ? snapshot_id · ? aggregate_id · ? aggregate_type · ? version · ? snapshot_type · ? snapshot_data · ? created_at
-- ? tenant_id · ? checksum
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
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE
    snapshot_id = IF(
        aggregate_id = VALUES(aggregate_id) AND version = VALUES(version) AND snapshot_type = VALUES(snapshot_type),
        VALUES(snapshot_id),
        NULL
    ),
    aggregate_type = VALUES(aggregate_type),
    snapshot_data = VALUES(snapshot_data),
    created_at = VALUES(created_at),
    tenant_id = VALUES(tenant_id),
    checksum = VALUES(checksum)
