-- The last sequence of the log, and the last that was allocated, which is looked at later, so that whoever appends in between is
-- in the second at least.
SELECT
    COALESCE(MAX(global_sequence), 0) AS last,
    firefly_last_allocated('events_global_sequence_seq') AS allocated
FROM events /* or their keys */;
