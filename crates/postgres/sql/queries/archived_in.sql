-- The first archive with an event in a part of the log that may match the filters, judged by the keys; no row if there is none.
-- $1 first global_sequence · $2 last · $3 first created_at or NULL · $4 last created_at or NULL · $5 aggregate_id or NULL
-- $6 event_id uuid[] or NULL · $7 tenant_id or NULL · $8 aggregate_type text[] or NULL
SELECT
    digest,
    first_sequence,
    last_sequence,
    events,
    first_created_at,
    last_created_at,
    location,
    archived_at,
    log_events,
    log_digest,
    retired
FROM firefly_archives AS archive
WHERE firefly_here()
  AND archive.last_sequence >= $1
  AND archive.first_sequence <= $2
  AND ($3::timestamptz IS NULL OR archive.last_created_at >= $3)
  AND ($4::timestamptz IS NULL OR archive.first_created_at <= $4)
  -- One query for each filter, with the key that finds the fewest rows, so that the key is used even if the statement was planned when
  -- there were few rows.
  AND CASE
    WHEN $6::uuid[] IS NOT NULL THEN EXISTS (
        SELECT 1
        FROM unnest($6) AS wanted (event_id)
        CROSS JOIN LATERAL (
            SELECT aggregate_id
            FROM firefly_archived_events AS archived
            WHERE archived.event_id = wanted.event_id
              AND archived.global_sequence BETWEEN GREATEST($1, archive.first_sequence) AND LEAST($2, archive.last_sequence)
            LIMIT 1
        ) AS event
        CROSS JOIN LATERAL (
            SELECT 1
            FROM firefly_archived_streams AS archived
            WHERE archived.aggregate_id = event.aggregate_id
              AND ($5::uuid IS NULL OR archived.aggregate_id = $5)
              AND ($7::text IS NULL OR archived.tenant_id = $7)
              AND ($8::text[] IS NULL OR archived.aggregate_type = ANY($8))
            LIMIT 1
        ) AS stream
    )
    WHEN $5 IS NOT NULL THEN EXISTS (
        SELECT 1
        FROM firefly_archived_streams AS stream
        CROSS JOIN LATERAL (
            SELECT 1
            FROM firefly_archived_events AS archived
            WHERE archived.aggregate_id = stream.aggregate_id
              AND archived.global_sequence + 0 BETWEEN GREATEST($1, archive.first_sequence) AND LEAST($2, archive.last_sequence)
            LIMIT 1
        ) AS event
        WHERE stream.aggregate_id = $5
          AND ($7 IS NULL OR stream.tenant_id = $7)
          AND ($8 IS NULL OR stream.aggregate_type = ANY($8))
    )
    WHEN $7 IS NOT NULL OR $8 IS NOT NULL THEN EXISTS (
        SELECT 1
        FROM firefly_archived_streams AS stream
        CROSS JOIN LATERAL (
            SELECT 1
            FROM firefly_archived_events AS archived
            WHERE archived.aggregate_id = stream.aggregate_id
              -- Keeps the planner from the index on sequences: it would read the whole part of the log for each stream.
              AND archived.global_sequence + 0 BETWEEN GREATEST($1, archive.first_sequence) AND LEAST($2, archive.last_sequence)
            LIMIT 1
        ) AS event
        WHERE stream.last_sequence >= GREATEST($1, archive.first_sequence)
          AND stream.first_sequence <= LEAST($2, archive.last_sequence)
          AND ($7 IS NULL OR stream.tenant_id = $7)
          AND ($8 IS NULL OR stream.aggregate_type = ANY($8))
    )
    ELSE EXISTS (
        SELECT 1
        FROM firefly_archived_events AS archived
        WHERE archived.global_sequence BETWEEN GREATEST($1, archive.first_sequence) AND LEAST($2, archive.last_sequence)
    )
  END
ORDER BY first_sequence, digest
LIMIT 1;
