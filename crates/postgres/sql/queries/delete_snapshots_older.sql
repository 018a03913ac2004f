-- Delete snapshots of every aggregate that were created before a time.
-- $1 time or NULL for all · $2 tenant_id or NULL
DELETE FROM snapshots
WHERE firefly_here()
  AND ($1::timestamptz IS NULL OR created_at < $1)
  AND ($2::text IS NULL OR tenant_id = $2);
