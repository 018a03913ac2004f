-- Append for several callers at once, each to one aggregate. Aggregates without the expected version are left out.
-- $1 aggregate_id uuid[] · $2 aggregate_type text[] · $3 tenant_id text[] · $4 expected bigint[]: a version, -1 for any, -2 for
-- one that exists: per aggregate
-- $5 which aggregate, from 1 · $6 how many versions after the one it is at · $7 event_id · $8 event_type · $9 event_data
-- $10 metadata · $11 created_at or NULL for now · $12 created_by · $13 correlation_id · $14 causation_id · $15 checksum: per event
-- Returns one row per event, unordered. An aggregate with another version or another owner has no rows. If one of the events is archived,
-- there are no rows at all. A unique violation means that a concurrent append won, or that an event id is already in the log; then nothing
-- is stored.
WITH appends AS MATERIALIZED (
    SELECT
        wanted.ordinal,
        wanted.aggregate_id,
        wanted.aggregate_type,
        wanted.tenant_id,
        COALESCE(head.aggregate_version, 0) AS version
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
        WITH ORDINALITY AS wanted (aggregate_id, aggregate_type, tenant_id, expected, ordinal)
    LEFT JOIN LATERAL (
        (
            SELECT
                aggregate_version,
                aggregate_type,
                tenant_id
            FROM events /* or their keys */ AS stored
            WHERE stored.aggregate_id = wanted.aggregate_id
            ORDER BY aggregate_version DESC
            LIMIT 1
        )
        UNION ALL
        -- Read only if the log has no event of the aggregate.
        SELECT
            version,
            aggregate_type,
            tenant_id
        FROM firefly_archived_streams AS archived
        WHERE archived.aggregate_id = wanted.aggregate_id
        LIMIT 1
    ) AS head ON true
    WHERE CASE
        WHEN head.aggregate_version IS NULL THEN wanted.expected IN (-1, 0)
        WHEN head.aggregate_type <> wanted.aggregate_type THEN false
        WHEN head.tenant_id IS DISTINCT FROM wanted.tenant_id THEN false
        ELSE wanted.expected IN (-1, -2, head.aggregate_version)
    END
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
    appends.aggregate_id,
    appends.aggregate_type,
    appends.version + event.step,
    event.event_type,
    event.event_data::jsonb,
    event.metadata::jsonb,
    COALESCE(event.created_at, statement_timestamp()),
    event.created_by,
    appends.tenant_id,
    event.correlation_id,
    event.causation_id,
    event.checksum
FROM unnest(
    $5::bigint[],
    $6::bigint[],
    $7::uuid[],
    $8::text[],
    $9::text[],
    $10::text[],
    $11::timestamptz[],
    $12::text[],
    $13::text[],
    $14::text[],
    $15::text[]
) WITH ORDINALITY AS event (
    append,
    step,
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
JOIN appends ON appends.ordinal = event.append
-- Refused if the sequence is behind the log: it would assign sequences that readers have passed.
WHERE (SELECT COALESCE(MAX(global_sequence), 0) FROM events /* or their keys */)
      <= (SELECT COALESCE(pg_sequence_last_value('events_global_sequence_seq'), 0))
  -- A group does not wait long for another transaction's lock: each caller then appends alone.
  AND (SELECT set_config('lock_timeout', '100', true)) IS NOT NULL
  -- Refused if one of the events is archived.
  AND NOT EXISTS (
    SELECT 1
    FROM unnest($7::uuid[]) AS wanted (event_id)
    CROSS JOIN LATERAL (
        SELECT 1
        FROM firefly_archived_events AS archived
        WHERE archived.event_id = wanted.event_id
        LIMIT 1
    ) AS stored
  )
ORDER BY event.ordinal
RETURNING global_sequence, aggregate_version, aggregate_id;
