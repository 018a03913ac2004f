-- The seals after a sequence, in their order.
-- $1 the sequence bigint · $2 at most so many bigint
SELECT
    global_sequence,
    events,
    digest,
    sealed_at
FROM firefly_seals
WHERE firefly_here()
  AND global_sequence > $1
ORDER BY global_sequence
LIMIT $2;
