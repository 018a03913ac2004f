-- The keys of events in the log. The program adds a list of sequences.
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version
FROM events FORCE INDEX (PRIMARY)
WHERE global_sequence IN
