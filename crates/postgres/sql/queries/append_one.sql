-- Append one event to an aggregate at any version. Like `append.sql`, but without arrays, which cost more than the row.
-- $1 event_id · $2 aggregate_id · $3 aggregate_type · $4 tenant_id · $5 whether the aggregate must exist
-- $6 event_type · $7 event_data · $8 metadata · $9 created_at or NULL for now · $10 created_by · $11 correlation_id
-- $12 causation_id · $13 checksum
-- Returns the row. No row means that the aggregate has another version or another owner, or that the event is archived. A unique violation
-- means that a concurrent append won, or that the event id is already in the log.
INSERT INTO events (
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    checksum
)
SELECT
    $1::uuid,
    $2::uuid,
    $3::text,
    COALESCE(head.aggregate_version, 0) + 1,
    $6::text,
    $7::text::jsonb,
    $8::text::jsonb,
    COALESCE($9::timestamptz, statement_timestamp()),
    $10::text,
    $4::text,
    $11::text,
    $12::text,
    $13::text
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (
    (
        SELECT
            aggregate_version,
            aggregate_type,
            tenant_id
        FROM events /* or their keys */
        WHERE aggregate_id = $2
        ORDER BY aggregate_version DESC
        LIMIT 1
    )
    UNION ALL
    -- Read only if the log has no event of the aggregate.
    SELECT
        version,
        aggregate_type,
        tenant_id
    FROM firefly_archived_streams
    WHERE aggregate_id = $2
    LIMIT 1
) AS head ON true
WHERE CASE
    WHEN head.aggregate_version IS NULL THEN NOT $5::boolean
    ELSE head.aggregate_type = $3::text AND head.tenant_id IS NOT DISTINCT FROM $4::text
END
  -- Refused if the sequence is behind the log: it would assign sequences that readers have passed.
  AND (SELECT COALESCE(MAX(global_sequence), 0) FROM events /* or their keys */)
      <= (SELECT COALESCE(pg_sequence_last_value('events_global_sequence_seq'), 0))
  -- Refused if the event is archived.
  AND NOT EXISTS (SELECT 1 FROM firefly_archived_events WHERE event_id = $1)
RETURNING global_sequence, aggregate_version;
