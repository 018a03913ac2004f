-- How many snapshots an aggregate has.
-- $1 aggregate_id · $2 aggregate_type · $3 tenant_id or NULL
SELECT COUNT(*)
FROM snapshots
WHERE firefly_here()
  AND aggregate_id = $1
  AND aggregate_type = $2
  AND ($3::text IS NULL OR tenant_id = $3);
