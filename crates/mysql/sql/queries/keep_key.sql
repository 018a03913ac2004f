-- Store the keys of events that are removed from the log. The program adds the rows, with bound values.
INSERT INTO firefly_archived_events (
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version,
    fingerprint
)
VALUES
