-- Delete snapshots of every aggregate that were created before a time.
-- ? ? time or NULL for all · ? ? tenant_id or NULL
DELETE FROM snapshots
WHERE (? IS NULL OR created_at < ?)
  AND (? IS NULL OR tenant_id = ?)
