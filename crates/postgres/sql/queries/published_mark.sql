-- The published mark and the end of the log, in one state of the database; no row if none was published. Also whether the server is a
-- standby, which may be behind, and how many seconds ago the mark was published.
SELECT
    published.global_sequence,
    COALESCE((SELECT MAX(stored.global_sequence) FROM events /* or their keys */ AS stored), 0),
    pg_is_in_recovery(),
    EXTRACT(EPOCH FROM clock_timestamp() - published.published_at)::bigint
FROM firefly_published_mark AS published
WHERE firefly_here();
