-- Load the newest snapshot of an aggregate in a range of versions, and the events from its version on. Without a snapshot, all events.
-- ?1 aggregate_id · ?2 aggregate_type · ?3 tenant_id or NULL · ?4 first version · ?5 last version · ?6 snapshot_type or NULL
-- The snapshot is a row with the columns of an event, with its type and data. Its sequence is NULL, unlike an event's. The rows have no
-- defined order.
WITH snapshot AS (
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
    FROM main.snapshots
    WHERE aggregate_id = ?1
      AND aggregate_type = ?2
      AND (?3 IS NULL OR tenant_id = ?3)
      AND version BETWEEN ?4 AND ?5
      AND (?6 IS NULL OR snapshot_type = ?6)
    ORDER BY version DESC, snapshot_type DESC
    LIMIT 1
)
SELECT
    snapshot_id AS event_id,
    aggregate_id,
    aggregate_type,
    version AS aggregate_version,
    NULL AS global_sequence,
    snapshot_type AS event_type,
    snapshot_data AS event_data,
    NULL AS metadata,
    created_at,
    NULL AS updated_at,
    NULL AS created_by,
    tenant_id,
    NULL AS correlation_id,
    NULL AS causation_id,
    NULL AS event_size_bytes,
    checksum
FROM snapshot
UNION ALL
SELECT
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    global_sequence,
    event_type,
    event_data,
    metadata,
    created_at,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    event_size_bytes,
    checksum
FROM main.events
WHERE aggregate_id = ?1
  AND aggregate_version >= COALESCE((SELECT version FROM snapshot), 0);
