-- Load a part of an aggregate's stream from a partitioned log, newest first. The keys tell where in the log the part lies, so that only the
-- partitions with its events are read, each by its index on streams. Versions ascend along the log. If another program stored them
-- otherwise, the rows have gaps or are in disorder, which the reader finds out.
-- $1 aggregate_id · $2 first version · $3 last version · $4 most events
-- If a part of the stream is archived, it is one more row, whatever part is loaded: the last archived version, its event id, the first
-- sequence, the time of the latest event, and the last sequence. Events have no last sequence. The row may come at any place.
WITH ends AS MATERIALIZED (
    SELECT
        LEAST(first.global_sequence, last.global_sequence) AS first_sequence,
        GREATEST(first.global_sequence, last.global_sequence) AS last_sequence,
        first.global_sequence <= last.global_sequence AS ascends
    FROM (
        SELECT global_sequence
        FROM firefly_event_keys
        WHERE aggregate_id = $1
          AND aggregate_version >= $2
        ORDER BY aggregate_version ASC
        LIMIT 1
    ) AS first
    CROSS JOIN (
        SELECT global_sequence
        FROM firefly_event_keys
        WHERE aggregate_id = $1
          AND aggregate_version <= $3
        ORDER BY aggregate_version DESC
        LIMIT 1
    ) AS last
)
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
        checksum,
        NULL::bigint AS last_sequence
    FROM (
        SELECT *
        FROM events
        WHERE aggregate_id = $1
          AND global_sequence >= (SELECT first_sequence FROM ends)
          AND global_sequence <= (SELECT last_sequence FROM ends)
          AND aggregate_version BETWEEN $2 AND $3
        ORDER BY global_sequence DESC
        LIMIT CASE WHEN (SELECT ascends FROM ends) THEN $4::bigint END
    ) AS events
    WHERE firefly_here()
)
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
