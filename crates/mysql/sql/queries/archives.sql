-- The archives with events between two sequences, in their order.
-- ? the first sequence · ? the last
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
WHERE last_sequence >= ?
  AND first_sequence <= ?
ORDER BY first_sequence, digest
