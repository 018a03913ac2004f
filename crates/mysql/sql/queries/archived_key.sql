-- The keys of archived events. The program adds a list of sequences.
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version,
    fingerprint
FROM firefly_archived_events FORCE INDEX (PRIMARY)
WHERE global_sequence IN
