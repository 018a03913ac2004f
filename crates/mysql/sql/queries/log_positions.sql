-- Read positions in the log. Like log.sql, but rows are found with several indexes, and merged before they are read.
SELECT
    global_sequence AS place,
    created_at AS moment
FROM events
