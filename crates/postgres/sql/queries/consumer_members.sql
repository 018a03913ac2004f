-- How many processes of a group were seen within a time.
-- $1 name · $2 microseconds bigint
SELECT COUNT(*)
FROM firefly_consumer_members
WHERE firefly_here()
  AND name = $1::text
  AND seen_at >= clock_timestamp() - $2::bigint * INTERVAL '1 microsecond';
