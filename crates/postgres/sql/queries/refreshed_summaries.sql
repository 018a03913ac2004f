-- The contents of mv_aggregate_summary, as of its last refresh, by aggregate id.
-- $1 after this aggregate_id or NULL · $2 aggregate_type or NULL · $3 tenant_id or NULL · $4 most rows or NULL
SELECT
    aggregate_id,
    aggregate_type,
    current_version,
    total_events,
    created_at,
    last_modified_at,
    total_size_bytes::bigint,
    tenant_id
FROM mv_aggregate_summary
WHERE firefly_here()
  AND ($1::uuid IS NULL OR aggregate_id > $1)
  AND ($2::text IS NULL OR aggregate_type = $2)
  AND ($3::text IS NULL OR tenant_id = $3)
ORDER BY aggregate_id
LIMIT $4;
