-- The keys of events in the log: a list of sequences is added to this.
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version
FROM events FORCE INDEX (PRIMARY)
WHERE global_sequence IN
