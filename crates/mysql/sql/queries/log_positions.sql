-- Read positions in the log: as log.sql, where rows are found in several ways, and merged before they are read.
SELECT
    global_sequence AS place,
    created_at AS moment
FROM events
