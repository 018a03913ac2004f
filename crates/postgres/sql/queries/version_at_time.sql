-- The version before the first event of an aggregate that was created after a time; none if there is no such event.
-- $1 aggregate_id · $2 time
SELECT MIN(aggregate_version) - 1
FROM events
WHERE firefly_here()
  AND aggregate_id = $1
  AND created_at > $2;
