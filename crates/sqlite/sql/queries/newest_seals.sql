-- The last seals, the newest first.
-- ?1 at most so many
SELECT
    global_sequence,
    events,
    digest,
    sealed_at
FROM firefly_seals
ORDER BY global_sequence DESC
LIMIT ?1;
