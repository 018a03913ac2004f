-- The mark that was published, and the end of the log, both as of one moment; no row if none was published. And how many seconds
-- ago it was published.
SELECT
    global_sequence,
    (SELECT COALESCE(MAX(log.global_sequence), 0) FROM events /* or their keys */ AS log),
    TIMESTAMPDIFF(SECOND, published_at, UTC_TIMESTAMP(6))
FROM firefly_published_mark
