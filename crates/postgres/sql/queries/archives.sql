-- The archives that may have events between two sequences, ordered by their first sequence.
-- $1 first global_sequence · $2 last
SELECT
    digest,
    first_sequence,
    last_sequence,
    events,
    first_created_at,
    last_created_at,
    location,
    archived_at,
    log_events,
    log_digest,
    retired
FROM firefly_archives
WHERE firefly_here()
  AND last_sequence >= $1
  AND first_sequence <= $2
ORDER BY first_sequence, digest;
