-- Keep the keys of events that leave the log: the rows are added to this, each with its values bound.
INSERT INTO firefly_archived_events (
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version,
    fingerprint
)
VALUES
