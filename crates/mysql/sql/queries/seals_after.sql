-- The seals after a sequence, in their order.
-- ? the sequence · ? at most so many
SELECT
    global_sequence,
    events,
    digest,
    sealed_at
FROM firefly_seals
WHERE global_sequence > ?
ORDER BY global_sequence
LIMIT ?
