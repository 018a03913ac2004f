-- How many processes of a group were seen within a time.
-- ? name · ? microseconds
SELECT COUNT(*)
FROM firefly_consumer_members
WHERE name = ?
  AND seen_at >= UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND
