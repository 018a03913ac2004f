-- The last sequence of the log, and the last allocated one. The second is read later, so it includes every append in between.
SELECT
    COALESCE(MAX(global_sequence), 0) AS last,
    firefly_last_allocated('events_global_sequence_seq') AS allocated
FROM events /* or their keys */;
