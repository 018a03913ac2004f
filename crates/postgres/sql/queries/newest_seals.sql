-- The last seals, the newest first.
-- $1 at most so many bigint
SELECT
    global_sequence,
    events,
    digest,
    sealed_at
FROM firefly_seals
WHERE firefly_here()
ORDER BY global_sequence DESC
LIMIT $1;
