-- Append events to one aggregate, if it has the expected version. Like `append.sql`, without the parts for several aggregates.
-- $1 aggregate_id · $2 aggregate_type · $3 tenant_id · $4 expected: a version, -1 for any, -2 for one that exists
-- $5 event_id uuid[] · $6 event_type · $7 event_data · $8 metadata · $9 created_at or NULL for now · $10 created_by
-- $11 correlation_id · $12 causation_id · $13 checksum: per event
-- Returns one row per event, unordered; no row means the aggregate is elsewhere, or somebody else's, or an event is archived. A unique
-- violation means that a concurrent append won, or that an event id is in the log already.
WITH head AS MATERIALIZED (
    (
        SELECT
            aggregate_version,
            aggregate_type = $2::text AND tenant_id IS NOT DISTINCT FROM $3::text AS is_own
        FROM events /* or their keys */
        WHERE aggregate_id = $1
        ORDER BY aggregate_version DESC
        LIMIT 1
    )
    UNION ALL
    -- Read only if the log has no event of the aggregate.
    SELECT
        version,
        aggregate_type = $2::text AND tenant_id IS NOT DISTINCT FROM $3::text
    FROM firefly_archived_streams
    WHERE aggregate_id = $1
    LIMIT 1
)
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
    event.event_id,
    $1::uuid,
    $2::text,
    COALESCE((SELECT aggregate_version FROM head), 0) + event.ordinal,
    event.event_type,
    event.event_data::jsonb,
    event.metadata::jsonb,
    COALESCE(event.created_at, statement_timestamp()),
    event.created_by,
    $3::text,
    event.correlation_id,
    event.causation_id,
    event.checksum
FROM unnest(
    $5::uuid[],
    $6::text[],
    $7::text[],
    $8::text[],
    $9::timestamptz[],
    $10::text[],
    $11::text[],
    $12::text[],
    $13::text[]
) WITH ORDINALITY AS event (
    event_id,
    event_type,
    event_data,
    metadata,
    created_at,
    created_by,
    correlation_id,
    causation_id,
    checksum,
    ordinal
)
WHERE COALESCE(
    (SELECT is_own AND $4::bigint IN (-1, -2, aggregate_version) FROM head),
    $4::bigint IN (-1, 0)
)
  -- Refused if the sequence is behind the log: it would assign sequences that readers have passed.
  AND (SELECT COALESCE(MAX(global_sequence), 0) FROM events /* or their keys */)
      <= (SELECT COALESCE(pg_sequence_last_value('events_global_sequence_seq'), 0))
  -- Refused if one of the events is archived.
  AND NOT EXISTS (
    SELECT 1
    FROM unnest($5::uuid[]) AS wanted (event_id)
    CROSS JOIN LATERAL (
        SELECT 1
        FROM firefly_archived_events AS archived
        WHERE archived.event_id = wanted.event_id
        LIMIT 1
    ) AS stored
  )
ORDER BY event.ordinal
RETURNING global_sequence, aggregate_version;
