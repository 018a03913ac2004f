-- Load the newest snapshot of an aggregate in a range of versions, and the events from its version on; without one, all events.
-- ? aggregate_id · ? aggregate_type · ? ? tenant_id or NULL · ? first version · ? last version · ? ? snapshot_type or NULL
-- ? aggregate_id · the snapshot's again · ? aggregate_id
-- The snapshot has the columns of an event: its type and data are the event's, and it has no sequence, which tells it from one. Nothing
-- is said about the order of the rows. The snapshot is looked for twice: a common table expression would copy the state into a temporary
-- table, on MariaDB one on the disk. What of the stream is archived has no id, as in load.sql. Where MariaDB would look through more than 100 snapshots, of other forms, it reads the whole stream.
(
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
    FROM snapshots
    WHERE aggregate_id = ?
      AND aggregate_type = ?
      AND (? IS NULL OR tenant_id = ?)
      AND version BETWEEN ? AND ?
      AND (? IS NULL OR snapshot_type = ?)
    ORDER BY version DESC, snapshot_type DESC
    LIMIT 1
)
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
FROM events /* by their keys */ FORCE INDEX (idx_events_aggregate_version)
WHERE aggregate_id = ?
  AND aggregate_version >= COALESCE((
      SELECT version
      FROM snapshots
      WHERE aggregate_id = ?
        AND aggregate_type = ?
        AND (? IS NULL OR tenant_id = ?)
        AND version BETWEEN ? AND ?
        AND (? IS NULL OR snapshot_type = ?)
      ORDER BY version DESC, snapshot_type DESC
      LIMIT 1
  ), 0)
UNION ALL
SELECT
    NULL,
    aggregate_id,
    aggregate_type,
    version,
    last_sequence,
    last_event_id,
    NULL,
    NULL,
    created_until,
    NULL,
    NULL,
    tenant_id,
    NULL,
    NULL,
    first_sequence,
    NULL
FROM firefly_archived_streams /* that count */ AS archived
WHERE aggregate_id = ?
