-- The first and the last event of a part of the log, NULL if it has none, and whether events between them are archived.
-- ? the first sequence of the part · ? the sequence that it ends before
SELECT
    ends.first_event,
    ends.last_event,
    EXISTS (
        SELECT 1
        FROM firefly_archived_events AS archived
        WHERE archived.global_sequence BETWEEN ends.first_event AND ends.last_event
    )
FROM (
    SELECT
        MIN(global_sequence) AS first_event,
        MAX(global_sequence) AS last_event
    FROM firefly_event_keys
    WHERE global_sequence >= ?
      AND global_sequence < ?
) AS ends
