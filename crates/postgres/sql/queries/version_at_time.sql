-- The version that an aggregate was at, at a time: the one before its first event that was created later, else its last one; 0 if it
-- has no events.
-- $1 aggregate_id · $2 time
SELECT COALESCE(
    (SELECT MIN(aggregate_version) - 1 FROM events /* by their keys */ AS events WHERE aggregate_id = $1 AND created_at > $2),
    (SELECT MAX(aggregate_version) FROM events /* or their keys */ WHERE aggregate_id = $1),
    0
)
WHERE firefly_here();
