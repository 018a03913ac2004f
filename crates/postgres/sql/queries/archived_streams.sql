-- The archived parts of these aggregates' streams; no row for an aggregate without one.
-- $1 aggregate_id uuid[]
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
FROM firefly_archived_streams /* that count */ AS archived
WHERE firefly_here()
  AND aggregate_id = ANY($1::uuid[]);
