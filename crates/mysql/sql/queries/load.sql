-- Load a part of an aggregate's stream, oldest first.
-- ? aggregate_id · ? first version · ? last version · ? most events · ? aggregate_id
-- What of the stream is archived comes last. It has the columns of an event, without an id: the type is the id of its last event, and the
-- size the sequence of its first.
(
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
      AND aggregate_version BETWEEN ? AND ?
    ORDER BY aggregate_version ASC
    LIMIT ?
)
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
