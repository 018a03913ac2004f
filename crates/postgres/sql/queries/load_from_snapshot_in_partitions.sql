-- Load the newest snapshot of an aggregate in a range of versions, and the events from its version on, from a partitioned log. Without a
-- snapshot, all events. Partitions are read as in load_in_partitions.sql.
-- $1 aggregate_id · $2 aggregate_type · $3 tenant_id or NULL · $4 first version · $5 last version · $6 snapshot_type or NULL
-- The snapshot is a row with the columns of an event, with its type and data. Its sequence is NULL, unlike an event's. An archived part of
-- the stream is a row as in load.sql. The rows have no defined order.
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
    FROM snapshots
    WHERE firefly_here()
      AND aggregate_id = $1
      AND aggregate_type = $2
      AND ($3::text IS NULL OR tenant_id = $3)
      AND version BETWEEN $4 AND $5
      AND ($6::text IS NULL OR snapshot_type = $6)
    ORDER BY version DESC, snapshot_type COLLATE "C" DESC
    LIMIT 1
)
SELECT
    snapshot_id AS event_id,
    aggregate_id,
    aggregate_type,
    version AS aggregate_version,
    NULL::bigint AS global_sequence,
    snapshot_type AS event_type,
    snapshot_data AS event_data,
    NULL::jsonb AS metadata,
    created_at,
    NULL::timestamptz AS updated_at,
    NULL::varchar AS created_by,
    tenant_id,
    NULL::varchar AS correlation_id,
    NULL::varchar AS causation_id,
    NULL::integer AS event_size_bytes,
    checksum,
    NULL::bigint AS last_sequence
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
    checksum,
    NULL::bigint AS last_sequence
FROM firefly_stream($1, COALESCE((SELECT version FROM snapshot), 0), 9223372036854775807, NULL, false)
WHERE firefly_here()
  -- As in load_in_partitions.sql.
  AND (SELECT true FROM events WHERE false) IS NULL
UNION ALL
SELECT
    last_event_id AS event_id,
    aggregate_id,
    aggregate_type,
    version AS aggregate_version,
    first_sequence AS global_sequence,
    NULL::varchar AS event_type,
    NULL::jsonb AS event_data,
    NULL::jsonb AS metadata,
    created_until AS created_at,
    NULL::timestamptz AS updated_at,
    NULL::varchar AS created_by,
    tenant_id,
    NULL::varchar AS correlation_id,
    NULL::varchar AS causation_id,
    NULL::integer AS event_size_bytes,
    NULL::varchar AS checksum,
    last_sequence
FROM firefly_archived_streams /* that count */ AS archived
WHERE firefly_here()
  AND aggregate_id = $1;
