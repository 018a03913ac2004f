-- Fill in checksums of snapshots.
-- $1 snapshot_id uuid[] · $2 checksum text[]
UPDATE snapshots
SET checksum = computed.checksum
FROM unnest($1::uuid[], $2::text[]) AS computed (snapshot_id, checksum)
WHERE snapshots.snapshot_id = computed.snapshot_id;
