-- The archives with events between two sequences, in their order.
-- ?1 the first sequence · ?2 the last
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
FROM main.firefly_archives
WHERE last_sequence >= ?1
  AND first_sequence <= ?2
ORDER BY first_sequence, digest;
