-- The first archive with an event in a part of the log that may match the filters, judged by the keys; no row if there is none.
-- $1 first global_sequence · $2 last · $3 first created_at or NULL · $4 last created_at or NULL · $5 aggregate_id or NULL
-- $6 event_id uuid[] or NULL · $7 tenant_id or NULL · $8 aggregate_type text[] or NULL
SELECT
    archive.digest,
    archive.first_sequence,
    archive.last_sequence,
    archive.events,
    archive.first_created_at,
    archive.last_created_at,
    archive.location,
    archive.archived_at,
    archive.log_events,
    archive.log_digest,
    archive.retired
FROM firefly_archives AS archive
-- Events that are leaving with their partitions are not archived yet.
LEFT JOIN (
    SELECT
        first_sequence,
        last_sequence
    FROM firefly_leaving
    WHERE firefly_stays(first_sequence)
) AS staying ON true
-- The part before these events, or all if there are none, and the part after them.
CROSS JOIN LATERAL (
    VALUES
        (
            GREATEST($1, archive.first_sequence),
            LEAST($2, archive.last_sequence, staying.first_sequence - 1)
        ),
        (
            GREATEST($1, archive.first_sequence, staying.last_sequence + 1),
            CASE WHEN staying.last_sequence IS NOT NULL THEN LEAST($2, archive.last_sequence) END
        )
) AS part (first_sequence, last_sequence)
WHERE firefly_here()
  AND archive.last_sequence >= $1
  AND archive.first_sequence <= $2
  AND part.first_sequence <= part.last_sequence
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
              AND archived.global_sequence BETWEEN part.first_sequence AND part.last_sequence
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
              AND archived.global_sequence + 0 BETWEEN part.first_sequence AND part.last_sequence
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
              AND archived.global_sequence + 0 BETWEEN part.first_sequence AND part.last_sequence
            LIMIT 1
        ) AS event
        WHERE stream.last_sequence >= part.first_sequence
          AND stream.first_sequence <= part.last_sequence
          AND ($7 IS NULL OR stream.tenant_id = $7)
          AND ($8 IS NULL OR stream.aggregate_type = ANY($8))
    )
    ELSE EXISTS (
        SELECT 1
        FROM firefly_archived_events AS archived
        WHERE archived.global_sequence BETWEEN part.first_sequence AND part.last_sequence
    )
  END
ORDER BY archive.first_sequence, archive.digest
LIMIT 1;
