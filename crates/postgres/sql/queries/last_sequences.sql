-- The last sequence of the log, and the last that was allocated, which is looked at later, so that whoever appends in between is
-- in the second at least.
SELECT
    COALESCE(MAX(global_sequence), 0) AS last,
    COALESCE(pg_sequence_last_value('events_global_sequence_seq'::regclass), 0) AS allocated
FROM events;
