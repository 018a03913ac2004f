-- Events that have no checksum yet, from a table made by hand.
-- $1 most rows
SELECT
    event_id,
    event_data
FROM events
WHERE checksum IS NULL
ORDER BY global_sequence
LIMIT $1;
