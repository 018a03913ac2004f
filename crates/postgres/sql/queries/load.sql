-- Load a part of an aggregate's stream, oldest first.
-- $1 aggregate_id · $2 first version · $3 last version · $4 most events
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
FROM events
WHERE firefly_here()
  AND aggregate_id = $1
  AND aggregate_version BETWEEN $2 AND $3
ORDER BY aggregate_version ASC
LIMIT $4;
