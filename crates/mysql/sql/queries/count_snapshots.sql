-- How many snapshots an aggregate has.
-- ? aggregate_id · ? aggregate_type · ? ? tenant_id or NULL
SELECT COUNT(*)
FROM snapshots
WHERE aggregate_id = ?
  AND aggregate_type = ?
  AND (? IS NULL OR tenant_id = ?)
