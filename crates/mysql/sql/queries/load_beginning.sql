-- Load the beginning of a stream, oldest first, as far as it is in the log. `load.sql` also tells what is archived, for which the servers
-- make a temporary table of the events.
-- ? aggregate_id · ? first version · ? last version · ? most events
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
