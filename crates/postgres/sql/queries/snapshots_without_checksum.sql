-- Snapshots without a checksum, from a table created by hand.
-- $1 most rows
SELECT
    snapshot_id,
    snapshot_data
FROM snapshots
WHERE checksum IS NULL
LIMIT $1;
