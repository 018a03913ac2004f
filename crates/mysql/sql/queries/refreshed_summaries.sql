-- The contents of mv_aggregate_summary, as of its last refresh, by aggregate id.
-- ? ? after this aggregate_id or NULL · ? ? aggregate_type or NULL · ? ? tenant_id or NULL · ? most rows
SELECT
    aggregate_id,
    aggregate_type,
    current_version,
    total_events,
    created_at,
    last_modified_at,
    total_size_bytes,
    tenant_id
FROM mv_aggregate_summary
WHERE (? IS NULL OR aggregate_id > ?)
  AND (? IS NULL OR aggregate_type = ?)
  AND (? IS NULL OR tenant_id = ?)
ORDER BY aggregate_id
LIMIT ?
