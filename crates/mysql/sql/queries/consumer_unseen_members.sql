-- The processes of a group that were not seen for a time. Locks their rows, and skips rows that others have locked.
-- ? name · ? microseconds
SELECT holder
FROM firefly_consumer_members
WHERE name = ?
  AND seen_at < UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND
ORDER BY holder
FOR UPDATE SKIP LOCKED
