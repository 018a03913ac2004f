-- Events without a checksum, from a table created by hand.
-- $1 most rows
SELECT
    event_id,
    event_data
FROM events
WHERE checksum IS NULL
ORDER BY global_sequence
LIMIT $1;
