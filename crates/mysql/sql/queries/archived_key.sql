-- The keys of archived events: a list of sequences is added to this.
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version,
    fingerprint
FROM firefly_archived_events FORCE INDEX (PRIMARY)
WHERE global_sequence IN
